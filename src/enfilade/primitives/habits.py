"""Names from other frameworks, and what to write here in their place.

Who comes from FastMCP, FastAPI or the official SDK writes `tags=`, `auth=`, `app.mount(…)` or `ctx.get_state(…)`.
An option that is only spelled otherwise is taken as it is meant; for the rest the error says what to write.

Easy to get wrong: a substitute that does less than what it stands for. Where there is none, the text says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import wraps
from inspect import unwrap
from typing import Any, Final, NoReturn, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
K = TypeVar("K", bound=type)

#: Where it is all listed.
PAGE: Final = "docs/from-fastmcp.md"

AUTH: Final = "authorization is not there yet; let the ASGI host check tokens, and look at ctx.peer.principal"
_TAGS: Final = 'tags are not there; put them into meta={"tags": [...]}, and add and remove things while it runs'
_ENABLED: Final = "what is registered is offered; use app.remove_tool(name), remove_resource or remove_prompt"
_TASK: Final = "background tasks are not there; a call may take long, report progress and be resumed"
_VERSIONS: Final = "one of each name is offered; put the version into its name or meta"
_DUPLICATES: Final = "two things of one name are always an error"
_ONE_SETTING: Final = "it is a setting: MCPApp(settings=Settings({0}=...)), or ENFILADE_{1} in the environment"

#: Options that are called otherwise here.
SPELLINGS: Final = {
    "desc": "description",
    "summary": "title",
    "mimeType": "mime_type",
    "website": "website_url",
    "response_type": "wanted",
    "schema": "wanted",
}

_ANY: Final = {
    "tags": _TAGS,
    "auth": AUTH,
    "requires_auth": AUTH,
    "enabled": _ENABLED,
    "task": _TASK,
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
    "question": dict.fromkeys(
        ("response_title", "response_description"),
        "title and describe the fields of what is wanted: Field(title=...)",
    ),
    "middleware": dict.fromkeys(
        ("allow_origins", "allow_methods", "allow_headers", "allow_credentials", "allowed_hosts", "minimum_size"),
        "middleware of Starlette goes around the app: CORSMiddleware(app, ...); "
        "for browsers and host names there are the settings allowed_origins and allowed_hosts",
    ),
    "server": {
        "auth": AUTH,
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
        "stateless_http": "both eras are served at once, and any worker serves any session",
        "transforms": "transforms are not there; write a tool that calls another by ctx.tools.call",
        "providers": "providers are not there; use app.add_tool and app.add_tools_from_module",
        "tasks": _TASK,
        "debug": 'use log_level="debug"',
        "session_state_store": "it is store=..., for what sessions need; values of yours belong into a database",
        "sampling_handler": "ctx.sample asks the client; call a model of your own from the tool",
        "streamable_http_path": "it is path=...",
        "sse_path": "the HTTP+SSE transport of 2024 is not served; the endpoint is path=...",
        "message_path": "the HTTP+SSE transport of 2024 is not served; the endpoint is path=...",
        "dereference_schemas": "what $ref refers to is written out in place; MCPApp(schema_refs=True) keeps it",
        "resource_security": "paths out of a folder are refused; verbatim=[...] of @app.resource takes them",
        "request_state_security": "it is sealed with secret=...",
        **dict.fromkeys(
            ("cache_ttl", "cache_scope"), 'use caching={"tools/list": Caching(ttl=60)}, and ttl= of resources'
        ),
        "experimental_capabilities": "experimental capabilities are not there",
        "client_log_level": "the client chooses it for itself",
        "json_response": _ONE_SETTING.format("json_response", "JSON_RESPONSE"),
        "list_page_size": _ONE_SETTING.format("page_size", "PAGE_SIZE"),
        **dict.fromkeys(
            ("on_duplicate", "on_duplicate_tools", "on_duplicate_resources", "on_duplicate_prompts"), _DUPLICATES
        ),
    },
}

_ROUTE: Final = "put routes into an ASGI host beside it: Starlette(routes=[Route(...), app.host_route()])"
_ASGI: Final = "the app is an ASGI application itself: give `app` to the server, or app.host_route() to a host"
_CLIENT: Final = "as a client does: async with connect(app) as client: await client."
_MOUNT: Final = (
    "take its tools with app.add_tools_from_module(module), or give each server a path of an ASGI host"
)

#: What to write for an attribute of `MCPApp`.
OF_APP: Final[Mapping[str, str]] = {
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
    **dict.fromkeys(("add_transform", "add_tool_transformation"), OPTIONS["server"]["transforms"]),
    **dict.fromkeys(("enable", "disable"), _ENABLED),
    "add_provider": OPTIONS["server"]["providers"],
    "add_template": "app.add_resource(fn, uri) takes URIs with variables as well",
    "add_completion_handler": '@app.completion("prompt or template", "argument")',
    "add_extension": "extensions are not there; middleware sees every request",
    **dict.fromkeys(("get_tasks", "docket"), _TASK),
    **dict.fromkeys(("get_tools", "list_tools", "get_tool"), "look at app.tools, by name app.tools.get(name)"),
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
    "middleware": "use @app.add_middleware on async def mw(request, call_next)",
    "exception_handler": "use @app.add_middleware on async def mw(request, call_next)",
}

_STATE: Final = (
    "ctx.state is for one request, from middleware to tools; what lasts longer belongs into a database"
)
#: What to do without the headers of a request.
HTTP: Final = "headers do not reach tools; let the ASGI host authenticate, and look at ctx.peer.principal"

#: What to write for an attribute of `Context`.
OF_CONTEXT: Final[Mapping[str, str]] = {
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
    **dict.fromkeys(("lifespan_context",), "ctx.lifespan"),
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
    "client_supports_extension": "ctx.supports(name) knows the capabilities of the protocol",
    **dict.fromkeys(("is_background_task", "task_id"), _TASK),
    **dict.fromkeys(("enable_components", "disable_components", "reset_visibility"), _ENABLED),
    "sample_step": "await ctx.sample(...)",
    "send_notification": "changes are announced by themselves; messages go by ctx.log and ctx.progress",
}


def advised(what: str) -> Callable[[F], F]:
    """Let a function that registers something explain options that it does not have.

    Args:
        what: what it registers, a key of `OPTIONS`.
    """

    def decorate(fn: F) -> F:
        code = unwrap(fn).__code__
        known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

        @wraps(fn)
        def checked(*args: Any, **options: Any) -> Any:
            return fn(*args, **understood(what, options, known))

        return checked  # type: ignore[return-value]  # takes what `fn` takes

    return decorate


def understood(what: str, options: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return options under the names that they have here.

    Raises:
        TypeError: there is no such option; says what to write.
    """
    if options.keys() <= set(known):
        return options
    found = {}
    for name, value in options.items():
        own = name if name in known or SPELLINGS.get(name) not in known else SPELLINGS[name]
        if own not in known:
            _refuse(what, name, known)
        if own in found or (own != name and own in options):
            raise TypeError(f"{name} and {own} are the same; give one of them")
        found[own] = value
    return found


def _refuse(what: str, name: str, known: Collection[str]) -> NoReturn:
    import difflib

    advice = OPTIONS[what].get(name)
    if advice is not None:
        raise TypeError(f"a {what} has no option {name!r}: {advice} (see {PAGE})")
    names = [each for each in known if each not in ("self", "fn", "uri")]
    near = difflib.get_close_matches(name, names, 1)
    raise TypeError(
        f"a {what} has no option {name!r}; " + (f"is it {near[0]!r}?" if near else f"it has: {', '.join(names)}")
    )


class Elsewhere:
    """An attribute that other frameworks have; whoever asks for it is told what to write."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self._of = owner.__name__

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(f"{self._of} has no {self._name!r}: {self._text} (see {PAGE})")


def explaining(names: Mapping[str, str]) -> Callable[[K], K]:
    """Give a class attributes that only say what to write; those that it has are left alone."""

    def add(kind: K) -> K:
        for name, text in names.items():
            if not any(name in vars(each) for each in kind.__mro__):
                each = Elsewhere(text)
                each.__set_name__(kind, name)
                setattr(kind, name, each)
        return kind

    return add


def check_middleware(middleware: object) -> None:
    """Refuse what other frameworks call middleware.

    Raises:
        TypeError: it is a class, or an object with a method for each kind of request.
    """
    if isinstance(middleware, type):
        raise TypeError(
            f"middleware is one function, async def mw(request, call_next), not the class {middleware.__name__}; "
            f"that of Starlette goes around the app: {middleware.__name__}(app, ...) (see docs/middleware.md)"
        )
    hooks = sorted(name for name in dir(type(middleware)) if name.startswith("on_"))
    if hooks or not callable(middleware):
        advice = f"; what {hooks[0]} does goes there, for request.method" if hooks else ""
        raise TypeError(
            f"middleware is one function, async def mw(request, call_next), not a {type(middleware).__name__} "
            f"object{advice} (see docs/middleware.md)"
        )
