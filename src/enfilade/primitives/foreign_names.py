"""What to write here in place of the names of other frameworks: FastMCP, the official SDK, FastAPI, Starlette.

Tables alone; `other_frameworks.py` reads them. A class is recognized by its module and its name, so none of these
packages is imported. `mcp.types` of the official SDK are the protocol's own types, which results may hold; only
what belongs to its server (`mcp.server.…`) is foreign.

Easy to get wrong: a substitute that does less than what it stands for. Where there is none, the text says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Where it is all listed.
PAGE: Final = "docs/from-fastmcp.md"

AUTH: Final = "authorization is not there yet; let the ASGI host check tokens, and look at ctx.peer.principal"
ENABLED: Final = "what is registered is offered; use app.remove_tool(name), remove_resource or remove_prompt"
TRANSFORMS: Final = "transforms are not there; write a tool that calls another by ctx.tools.call"
PROVIDERS: Final = "providers are not there; use app.add_tool and app.add_tools_from_module"
TASK: Final = "background tasks are not there; a call may take long, report progress and be resumed"

#: Options that are called otherwise here.
SPELLINGS: Final = {
    "desc": "description",
    "summary": "title",
    "mimeType": "mime_type",
    "website": "website_url",
    "wanted": "response_type",
    "schema": "response_type",
    "isError": "is_error",
    "structuredContent": "structured_content",
    "_meta": "meta",
}

_ROUTE: Final = "put routes into an ASGI host beside it: Starlette(routes=[Route(...), app.host_route()])"
_ASGI: Final = "the app is an ASGI application itself: give `app` to the server, or app.host_route() to a host"
_CLIENT: Final = "as a client does: async with connect(app) as client: await client."
_MOUNT: Final = (
    "take its tools with app.add_tools_from_module(module), or give each server a path of an ASGI host"
)

#: What to write for an attribute of `MCPApp`.
APP_ATTRIBUTES: Final[Mapping[str, str]] = {
    "mount": _MOUNT,
    "import_server": _MOUNT,
    "include_router": _MOUNT,
    **dict.fromkeys(("custom_route", "get", "post", "route"), _ROUTE),
    **dict.fromkeys(("http_app", "streamable_http_app", "sse_app"), _ASGI),
    **dict.fromkeys(
        ("run_http_async", "run_stdio_async", "run_streamable_http_async"), "await app.run_async(...)"
    ),
    **dict.fromkeys(
        ("from_openapi", "from_fastapi", "as_proxy"), "that is not there; write the tools that a model needs"
    ),
    "run_sse_async": "the HTTP+SSE transport of 2024 is not served; await app.run_async(...)",
    "session_manager": "sessions need no manager; " + _ASGI,
    "description": "what the client's model is told about the server is app.instructions",
    **dict.fromkeys(("add_transform", "add_tool_transformation", "transforms", "wrap_transform"), TRANSFORMS),
    **dict.fromkeys(("enable", "disable"), ENABLED),
    "local_provider": "look at app.tools, app.resources, app.templates and app.prompts",
    **{
        name: f"app.settings.{name}"
        for name in ("host", "port", "path", "transport", "log_level", "tool_names", "request_timeout")
    },
    "lifespan": "what it yielded is ctx.lifespan; app.has_lifespan says whether there is one",
    "add_provider": PROVIDERS,
    "add_template": "app.add_resource(fn, uri) takes URIs with variables as well",
    "add_completion_handler": '@app.completion("prompt or template", "argument")',
    "required_extensions": "extensions are not there",
    "add_extension": "extensions are not there; middleware sees every request",
    **dict.fromkeys(("get_tasks", "docket"), TASK),
    **dict.fromkeys(
        ("get_tools", "list_tools", "get_tool", "get_app_tool", "get_tool_by_hash"),
        "look at app.tools, by name app.tools.get(name)",
    ),
    **dict.fromkeys(
        ("get_resource", "get_resources", "get_resource_template", "list_resources", "list_resource_templates"),
        "look at app.resources and app.templates",
    ),
    **dict.fromkeys(("get_prompts", "list_prompts"), "look at app.prompts"),
    **{name: _CLIENT + f"{name}(...)" for name in ("call_tool", "read_resource", "get_prompt")},
    "render_prompt": _CLIENT + "get_prompt(...)",
    "get_context": "take it as a parameter: ctx: Context",
    "dependency_overrides": "with app.override(fn, other): ...",
    "on_event": "use MCPApp(lifespan=...)",
    **dict.fromkeys(
        ("middleware", "exception_handler"), "use @app.add_middleware on async def mw(request, call_next)"
    ),
}

_STATE: Final = (
    "ctx.state is for one request, from middleware to tools; what lasts longer belongs into a database"
)
#: What to do without the headers of a request.
HTTP: Final = "headers do not reach tools; let the ASGI host authenticate, and look at ctx.peer.principal"

#: What to write for an attribute of `Context.log`.
LOG_ATTRIBUTES: Final[Mapping[str, str]] = {
    "warn": "await ctx.log.warning(...)",
    "fatal": "await ctx.log.critical(...)",
    "exception": "await ctx.log.error(...); the server's own log is Python's logging",
    "setLevel": "the client chooses the level",
}
#: What to write for an attribute of what `Context.sample` returns.
SAMPLE_ATTRIBUTES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("text", "result"), "text_of(result), with text_of from enfilade"),
    "history": "the conversation is what you gave to ctx.sample, and its result",
}
#: What to write for an attribute of `Context`.
CONTEXT_ATTRIBUTES: Final[Mapping[str, str]] = {
    **{
        level: f"await ctx.log.{level}(...)"
        for level in ("debug", "info", "notice", "warning", "error", "critical")
    },
    "report_progress": "await ctx.progress.report(done, total, message)",
    **dict.fromkeys(("get_state", "set_state", "delete_state"), _STATE),
    **dict.fromkeys(("request", "headers", "get_http_request"), HTTP),
    **dict.fromkeys(
        ("fastmcp", "mcp_server", "server"), "use the app itself, and ctx.tools, ctx.resources, ctx.prompts"
    ),
    "lifespan_context": "ctx.lifespan",
    "request_context": "ctx.lifespan, ctx.meta, ctx.request_id and ctx.peer have what it has",
    "session": "ctx.elicit, ctx.sample and ctx.roots ask the client; ctx.session_id is its id",
    "client_id": "ctx.peer.principal, or ctx.peer.client_info for what the client says it is",
    "call_tool": "await ctx.tools.call(name, arguments)",
    "list_tools": "ctx.tools.list()",
    "read_resource": "await ctx.resources.read(uri)",
    "list_resources": "ctx.resources.list()",
    "get_prompt": "await ctx.prompts.get(name, arguments)",
    "list_prompts": "ctx.prompts.list()",
    "list_roots": "await ctx.roots()",
    "close_sse_stream": "ctx.close_stream()",
    "request_state": "ctx.input_state",
    "origin_request_id": "ctx.request_id",
    "transport": "a tool does not see the transport; ctx.session_id says whether there is a session",
    **dict.fromkeys(
        (f"notify_{kind}_changed" for kind in ("tools", "resources", "prompts")),
        "changes are announced by themselves when something is added or removed",
    ),
    "notify_resource_updated": "app.notify_resource_updated(uri)",
    "close_standalone_sse_stream": "a client closes its own stream; ctx.close_stream() ends that of this call",
    "protocol_version": "ctx.peer.revision",
    "client_capabilities": "ctx.peer.capabilities, or ctx.supports(name) for one",
    "client_extension_settings": "ctx.peer.capabilities has what the client declared",
    "client_supports_extension": "ctx.supports(name) knows the capabilities of the protocol",
    **dict.fromkeys(("is_background_task", "task_id"), TASK),
    **dict.fromkeys(("enable_components", "disable_components", "reset_visibility"), ENABLED),
    "sample_step": "await ctx.sample(...)",
    "send_notification": "changes are announced by themselves; messages go by ctx.log and ctx.progress",
}


# -- options ---------------------------------------------------------------------------------------------------
_TAGS: Final = 'tags are not there; put them into meta={"tags": [...]}, and add and remove things while it runs'
_VERSIONS: Final = "one of each name is offered; put the version into its name or meta"
_DUPLICATES: Final = "two things of one name are always an error"
_STATELESS: Final = "both eras are served at once, and any worker serves any session"
_ONE_SETTING: Final = "it is a setting: MCPApp(settings=Settings({0}=...)), or ENFILADE_{1} in the environment"

_KINDS: Final = ("tools", "resources", "prompts")
_SSE: Final = "the HTTP+SSE transport of 2024 is not served; the endpoint is path=..."
#: Settings that are called otherwise here.
_SETTINGS: Final = {
    foreign: _ONE_SETTING.format(name, name.upper())
    for foreign, name in {
        "host_origin_protection": "allowed_hosts",
        "transport_security": "allowed_hosts",
        "max_request_body_size": "body_limit",
        "session_idle_timeout": "session_ttl",
        "retry_interval": "stream_retry",
        "list_page_size": "page_size",
        "timeout_keep_alive": "idle_timeout",
        "timeout_graceful_shutdown": "shutdown_timeout",
        "limit_concurrency": "max_requests",
    }.items()
} | {
    "max_sessions": "a session is sealed into its id and takes no memory, so there is no limit to set",
    **dict.fromkeys(("sse_path", "message_path"), _SSE),
}

_ANY: Final = {
    "tags": _TAGS,
    "auth": AUTH,
    "requires_auth": AUTH,
    "enabled": ENABLED,
    "task": TASK,
    "version": _VERSIONS,
    "app": 'the view of a tool stands in its meta: meta={"ui": {"resourceUri": "ui://..."}}',
    "dependencies": "let a parameter depend on it: x: Annotated[T, Depends(fn)]",
}
#: What to write for an option, by what takes it.
OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "tool": _ANY
    | {
        "exclude_args": "make it a dependency, which no client sees: x: Annotated[T, Depends(fn)]",
        "serializer": "return text, or ToolResult(content=..., structured_content=...)",
        "response_model": "annotate what the function returns",
        "run_in_thread": "plain `def` functions always run in a thread, `async def` functions never",
        "requires_metadata": "read ctx.meta",
        **dict.fromkeys(
            ("read_only", "readOnlyHint", "destructive", "destructiveHint", "idempotent", "idempotentHint"),
            'hints stand in annotations={"read_only_hint": True, "destructive_hint": False, ...}',
        ),
    },
    "resource": _ANY | {"security": "verbatim=[...] names the variables that may hold any path"},
    "prompt": _ANY,
    "result": {
        "data": "it is structured_content=..., and its JSON is the text as well",
        "text": "it is content=...",
        "annotations": "annotations belong to a block of the content: TextContent(text=..., annotations=...)",
    },
    "question": dict.fromkeys(
        ("response_title", "response_description"),
        "title and describe the fields of what is wanted: Field(title=...)",
    ),
    "middleware": dict.fromkeys(
        ("allow_origins", "allow_methods", "allow_headers", "allow_credentials", "allowed_hosts", "minimum_size"),
        "middleware of Starlette goes around the app: CORSMiddleware(app, ...); "
        "for browsers and host names there are the settings allowed_origins and allowed_hosts",
    ),
    "sample": {
        "result_type": "ask for JSON in the message, and read it from text_of(result) by a model of pydantic",
        "context": "what the client's model gets is messages, system_prompt and include_context",
        "mask_error_details": "it is always so: only the text of ToolError and its kin reaches the client",
        "max_tool_rounds": "one answer is one message; go on with the tools that it asks for yourself",
    },
    "run": {
        "show_banner": "there is no banner; log_level=... says how much is logged",
        **dict.fromkeys(("stateless_http", "stateless"), _STATELESS),
        "uvicorn_config": "what can be set is in Settings; or give `app` to a uvicorn of your own",
        "middleware": "middleware of Starlette goes around the app, which an ASGI server serves then",
        **_SETTINGS,
        "sockets": "it binds host and port itself; an ASGI server takes `app` and sockets of yours",
        "mount_path": "it is path=...",
        "streamable_http_path": "it is path=...",
        "event_store": "it is MCPApp(event_store=...)",
    },
    "server": {
        **dict.fromkeys(("auth", "auth_server_provider", "token_verifier"), AUTH),
        "extensions": "extensions are not there; middleware sees every request",
        "subscriptions": "clients are told of changes by themselves, and by app.notify_resource_updated(uri)",
        "tags": _TAGS,
        "include_tags": _TAGS,
        "exclude_tags": _TAGS,
        "description": "what the client's model is told about the server is instructions=...",
        "desc": "what the client's model is told about the server is instructions=...",
        "tools": "add each with app.add_tool(fn)",
        "resources": "add each with app.add_resource(fn, uri)",
        "dependencies": "packages stand in pyproject.toml",
        "mask_error_details": "it is always so: only the text of ToolError and its kin reaches the client",
        "strict_input_validation": "arguments are always validated; what is surely meant is converted",
        "stateless_http": _STATELESS,
        "transforms": TRANSFORMS,
        "providers": PROVIDERS,
        "tasks": TASK,
        "debug": 'use log_level="debug"',
        "session_state_store": "it is store=..., for what sessions need; values of yours belong into a database",
        "sampling_handler": "ctx.sample asks the client; call a model of your own from the tool",
        "streamable_http_path": "it is path=...",
        **_SETTINGS,
        "dereference_schemas": "what $ref refers to is written out in place; MCPApp(schema_refs=True) keeps it",
        "resource_security": "paths out of a folder are refused; verbatim=[...] of @app.resource takes them",
        "request_state_security": "it is sealed with secret=...",
        **dict.fromkeys(
            ("cache_ttl", "cache_scope", "cache_hints"),
            'use caching={"tools/list": Caching(ttl=60)}, and ttl= of resources',
        ),
        "tool_serializer": "return text, or ToolResult(content=..., structured_content=...)",
        "experimental_capabilities": "experimental capabilities are not there",
        "client_log_level": "the client chooses it for itself",
        "json_response": _ONE_SETTING.format("json_response", "JSON_RESPONSE"),
        **dict.fromkeys(
            ("on_duplicate", *(f"{how}_duplicate_{kind}" for how in ("on", "warn_on") for kind in _KINDS)),
            _DUPLICATES,
        ),
    },
}


# -- types, exceptions and imported names ----------------------------------------------------------------------
#: The title of a package in errors, by the first part of its modules' names; `uncalled_for` is a part of fastmcp.
PACKAGES: Final = {
    "fastmcp": "fastmcp",
    "uncalled_for": "fastmcp",
    "mcp": "the official SDK",
    "fastapi": "FastAPI",
    "starlette": "Starlette",
}
#: Modules of which every class is foreign; of those of FastAPI and Starlette only those in `TYPES` are.
FOREIGN_MODULES: Final = ("fastmcp.", "uncalled_for.", "mcp.server.")

_CONTEXT: Final = "take the context as ctx: Context, with Context from enfilade"
_DEPENDS: Final = "write x: Annotated[T, Depends(fn)], with Depends from enfilade"
_DATA: Final = "return data, text or ToolResult; status codes and headers are not the tool's to choose"
_CONTENTS: Final = "return text, bytes, data, or TextResourceContents and BlobResourceContents of enfilade"
_APP: Final = "use the app itself, and ctx.tools, ctx.resources, ctx.prompts"
_TOKEN: Final = f"use {CONTEXT_ATTRIBUTES['client_id']}"

#: What to write for a type or a mark, by the name of its class without underscores at its beginning.
TYPES: Final = {
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
    **dict.fromkeys(("Progress", "ProgressLike", "InMemoryProgress"), CONTEXT_ATTRIBUTES["report_progress"]),
    "BackgroundTasks": "await what is to be done, or start a task of the lifespan's",
    "ServerSession": CONTEXT_ATTRIBUTES["session"],
    "ElicitationResult": "annotate Elicited of enfilade, which await ctx.elicit(message, T) returns",
    **dict.fromkeys(("Elicit", "ListRoots", "Sample"), "ask by await ctx.elicit, ctx.roots or ctx.sample"),
}

_RAISE: Final = "its text is kept from the client; raise {0} of enfilade where the client should read it"
#: What to raise for an exception, by the name of its class.
EXCEPTIONS: Final = {
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
NAMES: Final = {
    **{name: advice for name, advice in TYPES.items() if name not in ("Depends", "Message")},
    **{name: advice.partition("; ")[2] or advice for name, advice in EXCEPTIONS.items()},
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
