"""Types, marks, values, exceptions and names of other frameworks, and what to write here in their place.

A class is recognized by its module and its name, so none of these packages is imported.

Easy to get wrong: `mcp.types` of the official SDK are the protocol's own types, which results may hold. Only what
belongs to its server (`mcp.server.…`) is foreign, and of that the messages of prompts are converted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NoReturn

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.foreign_options import OPTIONS
from enfilade.primitives.habits import AUTH, HTTP, OF_CONTEXT, PAGE

#: What errors call a package, by the first part of its modules' names; `uncalled_for` is a part of fastmcp.
_TITLES: Final = {
    "fastmcp": "fastmcp",
    "uncalled_for": "fastmcp",
    "mcp": "the official SDK",
    "fastapi": "FastAPI",
    "starlette": "Starlette",
}
#: Modules of which every class is foreign; of those of FastAPI and Starlette only the ones in `_TYPES` are.
_WHOLLY: Final = ("fastmcp.", "uncalled_for.", "mcp.server.")

_CONTEXT: Final = "take the context as ctx: Context, with Context from enfilade"
_DEPENDS: Final = "write x: Annotated[T, Depends(fn)], with Depends from enfilade"
_DATA: Final = "return data, text or ToolResult; status codes and headers are not the tool's to choose"
_CONTENTS: Final = "return text, bytes, data, or TextResourceContents and BlobResourceContents of enfilade"
_APP: Final = "use the app itself, and ctx.tools, ctx.resources, ctx.prompts"
_TOKEN: Final = f"use {OF_CONTEXT['client_id']}"

#: What to write for a type or a mark, by the name of its class without underscores at its beginning.
_TYPES: Final = {
    **dict.fromkeys(("Context", "CurrentContext", "OptionalCurrentContext"), _CONTEXT),
    **dict.fromkeys(("Depends", "Security", "Resolve", "Shared"), _DEPENDS),
    **dict.fromkeys(("CurrentFastMCP", "FastMCP", "MCPServer"), _APP),
    **dict.fromkeys(("CurrentAccessToken", "AccessToken", "TokenClaim"), _TOKEN),
    **dict.fromkeys(("CurrentHeaders", "CurrentRequest", "Header", "Cookie"), HTTP),
    **dict.fromkeys(("Request", "HTTPConnection", "WebSocket"), HTTP),
    **dict.fromkeys(("Response", "JSONResponse", "PlainTextResponse", "StreamingResponse"), _DATA),
    **dict.fromkeys(("FileResponse", "HTMLResponse", "RedirectResponse"), _DATA),
    **dict.fromkeys(("ResourceResult", "ResourceContent"), _CONTENTS),
    **dict.fromkeys(
        ("ToolResult", "Message", "UserMessage", "AssistantMessage", "PromptResult", "Image", "Audio", "File"),
        "use the class of this name from enfilade",
    ),
    **dict.fromkeys(("Progress", "ProgressLike", "InMemoryProgress"), OF_CONTEXT["report_progress"]),
    "BackgroundTasks": "await what is to be done, or start a task of the lifespan's",
    "ServerSession": OF_CONTEXT["session"],
    "ElicitationResult": "annotate Elicited of enfilade, which await ctx.elicit(message, T) returns",
    **dict.fromkeys(("Elicit", "ListRoots", "Sample"), "ask by await ctx.elicit, ctx.roots or ctx.sample"),
}

_RAISE: Final = "its text is kept from the client; raise {0} of enfilade where the client should read it"
#: What to raise for an exception, by the name of its class.
_EXCEPTIONS: Final = {
    **{name: _RAISE.format(name) for name in ("ToolError", "ResourceError", "PromptError")},
    "NotFoundError": _RAISE.format("ResourceNotFound"),
    **dict.fromkeys(("ResourceNotFoundError", "ResourceSecurityError"), _RAISE.format("ResourceNotFound")),
    **dict.fromkeys(
        ("ValidationError", "AuthorizationError", "DisabledError", "InsufficientScopeError", "InvalidSignature"),
        _RAISE.format("ToolError"),
    ),
    **dict.fromkeys(("MCPError", "McpError", "HTTPException"), _RAISE.format("ToolError")),
}

_MIDDLEWARE: Final = "middleware is one function: async def mw(request: Request, call_next)"
_ANSWER: Final = "await ctx.elicit(message, T) returns Elicited, which has .action, .accepted and .data"
_FILES: Final = "app.add_text_resource, app.add_file_resource and app.add_directory make resources"
_DECORATE: Final = "decorate a function: @app.tool, @app.resource(uri) or @app.prompt"

#: What to write for a name that is imported from `enfilade`, or for a module below it.
_NAMES: Final = {
    **{name: advice for name, advice in _TYPES.items() if name not in ("Depends", "Message")},
    **{name: advice.partition("; ")[2] or advice for name, advice in _EXCEPTIONS.items()},
    **dict.fromkeys(("FastMCP", "MCPServer", "Server", "App"), "the server is MCPApp"),
    "FastMCPError": "the base of all errors is EnfiladeError",
    "Client": "connect(app) and connect(url) give the official client, whose class is mcp.Client",
    **dict.fromkeys(("Middleware", "MiddlewareContext", "CallNext", "middleware"), _MIDDLEWARE),
    **dict.fromkeys(("get_context", "RequestContext"), _CONTEXT),
    **dict.fromkeys(("get_http_headers", "get_http_request"), HTTP),
    **dict.fromkeys(("get_access_token", "BearerAuthProvider", "AuthProvider", "auth"), AUTH),
    "get_server": _APP,
    **dict.fromkeys(
        ("AcceptedElicitation", "DeclinedElicitation", "CancelledElicitation", "ElicitResult", "elicit"), _ANSWER
    ),
    **dict.fromkeys(("TextResource", "FileResource", "BinaryResource", "DirectoryResource"), _FILES),
    **dict.fromkeys(("Tool", "FunctionTool", "FunctionResource", "FunctionPrompt"), _DECORATE),
    **dict.fromkeys(("Resource", "ResourceTemplate", "Prompt", "resource", "prompt"), _DECORATE),
    "HttpResource": "decorate a function that reads it: @app.resource(uri)",
    "PromptMessage": "use Message, UserMessage or AssistantMessage",
    "Lifespan": "MCPApp(lifespan=...) takes an @asynccontextmanager function",
    **dict.fromkeys(("Field", "BaseModel"), "it is in pydantic"),
    "stdio_server": "app.run() serves over stdio",
    "run": "app.run() serves",
    "ResourceSecurity": OPTIONS["resource"]["security"],
    "server": f"MCPApp, Context and Depends are in enfilade itself; {_MIDDLEWARE}",
    "dependencies": f"Depends is in enfilade itself; {_CONTEXT}",
    "utilities": "Image, Audio and File are in enfilade itself",
    "tools": "ToolResult is in enfilade itself",
    "prompts": "Message and PromptResult are in enfilade itself",
    "resources": _FILES,
    "context": "Context is in enfilade itself",
    "types": "TextContent and the like are in enfilade itself, and all types of the protocol in mcp.types",
}
#: Those of them that are modules elsewhere.
MODULES: Final = frozenset(
    (
        "auth",
        "context",
        "dependencies",
        "middleware",
        "prompts",
        "resources",
        "server",
        "tools",
        "types",
        "utilities",
    )
)


def advice_on_name(name: str) -> str:
    """Return what to write for a name that this package does not have; empty if nothing is known of it."""
    advice = _NAMES.get(name)
    return "" if advice is None else f": {advice} (see {PAGE})"


def refuse_types(kinds: Iterable[type], where: str, *, returned: bool = False) -> None:
    """Refuse classes of other frameworks in an annotation or as a default.

    Args:
        kinds: the classes; those of which nothing is known are fine.
        where: what errors call the place.
        returned: they stand in a return annotation.

    Raises:
        TypeError: one of them is foreign; says what to write.
    """
    for kind in kinds:
        for base in kind.__mro__:
            if not (returned and is_converted(base)) and (text := _advice(base)) is not None:
                raise TypeError(f"{where}: {text}")


def refuse_value(value: object) -> NoReturn:
    """Refuse a value that a function returned.

    Raises:
        ReturnedValueError: says what to return.
    """
    raise ReturnedValueError(f"It returned a value that cannot be sent. {_advice(type(value))}")


def is_converted(kind: type) -> bool:
    """Whether values of a foreign class are taken: the messages of prompts in the official SDK."""
    return kind.__module__.startswith("mcp.server.") and kind.__module__.endswith(".prompts.base")


def hint_for(error: BaseException) -> str:
    """Return what the log says beside an exception of another framework; empty if there is nothing to say."""
    package, name = type(error).__module__.partition(".")[0], type(error).__name__
    if package not in _TITLES or name not in _EXCEPTIONS:
        return ""
    return f"{name} of {_TITLES[package]}: {_EXCEPTIONS[name]}"


def _advice(kind: type[Any]) -> str | None:
    """Return what to write in place of a class; None if it is not foreign."""
    module, name = str(kind.__module__), kind.__name__.lstrip("_")
    package = module.partition(".")[0]
    is_foreign = module.startswith(_WHOLLY) or (package in ("fastapi", "starlette") and name in _TYPES)
    if not is_foreign:
        return None
    advice = _TYPES.get(name, "no client can send it, and none can receive it")
    return f"{name} of {_TITLES[package]} is not understood here: {advice} (see {PAGE})"
