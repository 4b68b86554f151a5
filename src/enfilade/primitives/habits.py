"""Names from other frameworks, and what to write here in their place.

Who comes from FastMCP, FastAPI or the official SDK writes `tags=`, `auth=`, `app.mount(…)` or `ctx.get_state(…)`.
An option that is only spelled otherwise is taken as it is meant; for the rest the error says what to write.

Easy to get wrong: a substitute that does less than what it stands for. Where there is none, the text says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from inspect import unwrap
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from enfilade.startup.lazy import LazyModule

F = TypeVar("F", bound=Callable[..., Any])
K = TypeVar("K", bound=type)

if TYPE_CHECKING:
    from enfilade.primitives import foreign_options as _foreign
else:  # for mistakes alone
    _foreign = LazyModule("enfilade.primitives.foreign_options")

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
OF_LOG: Final[Mapping[str, str]] = {
    "warn": "await ctx.log.warning(...)",
    "fatal": "await ctx.log.critical(...)",
    "exception": "await ctx.log.error(...); the server's own log is Python's logging",
    "setLevel": "the client chooses the level",
}
#: What to write for an attribute of what `Context.sample` returns.
OF_SAMPLE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("text", "result"), "text_of(result), with text_of from enfilade"),
    "history": "the conversation is what you gave to ctx.sample, and its result",
}
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


def advised(
    subject: str,
    options: type | None = None,
    *,
    refuse_first: Callable[[str, Mapping[str, Any], Collection[str]], object] | None = None,
) -> Callable[[F], F]:
    """Let a function explain arguments that it does not have, and take those that are only spelled otherwise.

    Args:
        subject: what it makes or does, a key of `foreign_options.OPTIONS`.
        options: the TypedDict of its `**options`, if it has some.
        refuse_first: gets the function's name, the unknown options of which no table knows, and its own; may
            raise a `TypeError` that says more about them.
    """

    def decorate(fn: F) -> F:
        code = unwrap(fn).__code__
        positional = code.co_varnames[: code.co_argcount]
        known = (
            *code.co_varnames[: code.co_argcount + code.co_kwonlyargcount],
            *(options.__annotations__ if options else ()),
        )

        as_written = frozenset(known) - SPELLINGS.keys()

        @wraps(fn)
        def checked(*args: Any, **arguments: Any) -> Any:
            if len(args) > len(positional):
                owner, _, name = fn.__qualname__.rpartition(".")
                _refuse_position(owner if name == "__init__" else name, positional)
            if arguments.keys() <= as_written:
                return fn(*args, **arguments)
            if refuse_first is not None:
                refuse_first(
                    fn.__name__, {k: v for k, v in arguments.items() if k not in _foreign.OPTIONS[subject]}, known
                )
            return fn(*args, **understood(subject, arguments, known))

        return checked  # type: ignore[return-value]  # takes what `fn` takes

    return decorate


def _refuse_position(function: str, positional: Sequence[str]) -> NoReturn:
    """Refuse more arguments by position than a function takes."""
    names = [name for name in positional if name != "self"]
    takes = f"{len(names)} arguments" if len(names) > 1 else "one argument" if names else "no arguments"
    raise TypeError(
        f"{function}() takes {takes} by position"
        f"{': ' if names else ''}{', '.join(names)}; give the others by name, such as description=..."
    )


def understood(subject: str, options: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return options under the names that they have here.

    Raises:
        TypeError: there is no such option; says what to write.
    """
    understood_options: dict[str, Any] = {}
    for name, value in options.items():
        spelled = SPELLINGS.get(name, name)
        own = spelled if spelled in known else name
        if own not in known:
            _refuse(subject, name, known)
        if own in understood_options or (own != name and own in options):
            raise TypeError(f"{name} and {own} are the same; give one of them")
        understood_options[own] = value
    return understood_options


def _refuse(subject: str, name: str, known: Collection[str]) -> NoReturn:
    """Refuse an option with what to write, or with the name that comes near it."""
    import difflib

    advice = _foreign.OPTIONS[subject].get(name)
    if advice is not None:
        raise TypeError(f"a {subject} has no option {name!r}: {advice} (see {PAGE})")
    names = [option for option in known if option not in ("self", "fn", "uri")]
    near = difflib.get_close_matches(name, names, 1)
    raise TypeError(
        f"a {subject} has no option {name!r}; "
        + (f"is it {near[0]!r}?" if near else f"it has: {', '.join(names)}")
    )


class Elsewhere:
    """An attribute that other frameworks have; whoever asks for it is told what to write."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self._of = owner.__name__

    def __get__(self, instance: object, owner: type) -> NoReturn:
        text = f"{self._of} has no {self._name!r}: {self._text} (see {PAGE})"
        raise AttributeError(text, name=self._name, obj=None)  # without an object Python suggests no other name


def explaining(names: Mapping[str, str]) -> Callable[[K], K]:
    """Give a class attributes that only say what to write, unless it has them; `dir` of an object omits them."""

    def add(kind: K) -> K:
        def listed(self: object) -> list[str]:
            own = getattr(self, "__dict__", ())
            names = object.__dir__(self)
            return [name for name in names if name in own or not isinstance(_static(type(self), name), Elsewhere)]

        setattr(kind, "__dir__", listed)  # noqa: B010 - which type checkers do not take as an assignment
        for name, text in names.items():
            if not any(name in vars(base) for base in kind.__mro__):
                attribute = Elsewhere(text)
                attribute.__set_name__(kind, name)
                setattr(kind, name, attribute)
        return kind

    return add


def _static(kind: type, name: str) -> object:
    """Return an attribute as the class or a base has it, without calling a descriptor."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


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
