"""Looking on at both ends of a request: at the door for what was refused, and around its handler for the rest.

The door sees HTTP alone, the middleware the request alone. What belongs together is told by a context variable,
which goes along into every task that a request starts. The easy thing to get wrong is to tell of one request
twice: an error of a handler also has a status at the door.
"""

import asyncio
import time
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from enfilade.app import MCPApp
from enfilade.dev.hints import advice
from enfilade.dev.line_format import Kind, Line, Screen, clean
from enfilade.serving.channel import Outlet, Peer
from enfilade.serving.dispatcher import MethodHandler
from enfilade.serving.request import Request
from enfilade.transports.asgi_types import Receive, Scope, Send
from enfilade.wire.jsonrpc import RpcError
from enfilade.wire.message import Message
from enfilade.wire.notifications import SEVERITY, LoggingLevel
from enfilade.wire.revisions import STATELESS

_KEPT: Final = 64 * 1024  # bytes of a body that are looked at
_TALKATIVE: Final = {"tools/call", "prompts/get", "resources/read", "completion/complete"}


class Visit(msgspec.Struct):
    """One HTTP request as the door sees it.

    Attributes:
        told: whether it has been told of already.
        status: of the response; 0 before there is one.
        asked: the beginning of its body.
        answered: the beginning of the response's body, if that is JSON.
    """

    told: bool = False
    status: int = 0
    asked: bytes = b""
    answered: bytes | None = None


_visit: Final[ContextVar[Visit | None]] = ContextVar("visit", default=None)


class Watched:
    """An app that somebody looks on at, as the ASGI application that is served in its place.

    Args:
        app: what is served; it gets a middleware.
        screen: where it is shown.
    """

    def __init__(self, app: MCPApp, screen: Screen) -> None:
        self._app = app
        self._screen = screen
        app.add_middleware(self.watch, outermost=True)

    def drain(self) -> None:
        """Prepare for the end."""
        self._app.drain()

    # -- around handlers ---------------------------------------------------------------------------------------

    async def watch(self, request: Request, call_next: MethodHandler) -> Message:
        """Show a request when its outcome is known, and what its handler says before."""
        if (visit := _visit.get()) is not None:
            visit.told = True
        if request.parent is None and request.method in _TALKATIVE:
            request.channel.outlet = Overheard(request, self._screen)
            request.channel.log_level = "debug"
        started = time.perf_counter()
        try:
            result = await call_next(request)
        except (Exception, asyncio.CancelledError) as error:
            outcome, kind, reasons = _failure(request, error)
            self._show(request, started, outcome, kind, reasons)
            raise
        failed = bool(getattr(result, "is_error", False))
        asks = type(result).__name__ == "InputRequiredResult"
        outcome = "tool error" if failed else "asks the client" if asks else "ok"
        kind = "warning" if failed else "asks" if asks else "ok"
        self._show(request, started, outcome, kind, (_text_of(result),) if failed else ())
        return result

    def _show(self, request: Request, started: float, outcome: str, kind: Kind, reasons: tuple[str, ...]) -> None:
        depth, above = 0, request.parent
        while above is not None:
            depth, above = depth + 1, above.parent
        self._screen.show(
            Line(
                what=_what(request.method, request.params),
                milliseconds=(time.perf_counter() - started) * 1000,
                outcome=outcome,
                kind=kind,
                peer=_who(request.peer),
                reasons=tuple(clean(reason) for reason in reasons if reason),
                depth=depth,
            )
        )

    # -- at the door -------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, and show what was refused before a handler heard of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = Visit()
        started = time.perf_counter()

        async def heard() -> MutableMapping[str, Any]:
            message = await receive()
            if not visit.told and len(visit.asked) < _KEPT:
                visit.asked += message.get("body", b"")[:_KEPT]
            return message

        async def seen(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                kinds = [value for name, value in message.get("headers", ()) if name.lower() == b"content-type"]
                visit.answered = b"" if kinds and kinds[0].startswith(b"application/json") else None
            elif visit.answered is not None and not visit.told and len(visit.answered) < _KEPT:
                visit.answered += bytes(message.get("body", b""))
            await send(message)

        token = _visit.set(visit)
        try:
            await self._app(scope, heard, seen)
        finally:
            _visit.reset(token)
            if not visit.told:
                self._show_refusal(scope, visit, (time.perf_counter() - started) * 1000)

    def _show_refusal(self, scope: Scope, visit: Visit, milliseconds: float) -> None:
        code, said = _error_in(visit.answered)
        where = clean(f"{scope['method']} {scope['path']}")
        if visit.status < 400 and code is None:
            if scope["method"] == "DELETE":
                self._screen.show(Line(what=where, milliseconds=milliseconds, outcome="session ended", kind="ok"))
            return
        hint = advice(visit.status, said)
        self._screen.show(
            Line(
                what=_asked_in(visit.asked) or where,
                milliseconds=milliseconds,
                outcome=f"refused {visit.status}" if visit.status >= 400 else f"error {code}",
                kind="failure",
                reasons=tuple(each for each in (clean(said), hint) if each),
            )
        )


class Overheard:
    """The outlet of a request, with somebody who hears what goes by; also what its client did not ask to hear.

    Args:
        request: whose outlet it takes the place of.
        screen: where it is shown.
    """

    def __init__(self, request: Request, screen: Screen) -> None:
        self._outlet: Outlet = request.channel.outlet
        self._level: LoggingLevel | None = request.channel.log_level
        self._about = clean(_name(request.params) or request.method, 30)
        self._screen = screen

    def push(self, message: bytes) -> bool:
        """Take one notification."""
        said = msgspec.json.decode(message)
        params: dict[str, Any] = said.get("params") or {}
        if said["method"] == "notifications/message":
            self._screen.note(self._about, clean(f"{params['level']}: {_plain(params.get('data'))}"))
            if self._level is None or SEVERITY[params["level"]] < SEVERITY[self._level]:
                return True
        elif said["method"] == "notifications/progress":
            total = f" of {params['total']:g}" if "total" in params else ""
            told = f" {params['message']}" if params.get("message") else ""
            self._screen.note(self._about, clean(f"{params['progress']:g}{total}{told}"))
        return self._outlet.push(message)

    def send(self, message: bytes) -> bool:
        """Take a question."""
        method = msgspec.json.decode(message).get("method")
        self._screen.note(self._about, clean(f"asks the client: {method}"))
        return self._outlet.send(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outlet, name)


def _failure(request: Request, error: BaseException) -> tuple[str, Kind, tuple[str, ...]]:
    """Return how a request ended that has no result."""
    if request.round is not None and request.round.has_ended:
        return "asks the client", "asks", ()
    if request.verdict is not None:
        return "stopped", "failure", (request.verdict.message,)
    if isinstance(error, asyncio.CancelledError):
        return "cancelled", "warning", ()
    if isinstance(error, RpcError):
        return f"error {error.code}", "failure", (error.message,)
    return "error -32603", "failure", (f"{type(error).__name__}: the log has the whole failure",)


def _who(peer: Peer) -> str:
    """Return who asks: era, revision, and what the client says it is."""
    era = "stateless" if peer.revision in STATELESS else "session"
    info = peer.client_info
    named = f" {info.name} {info.version}" if info is not None else ""
    return clean(f"{era} {peer.revision}{named}", 80)


def _what(method: str, params: Any) -> str:
    return clean(f"{method} {_name(params)}".rstrip(), 200)


def _name(params: Any) -> str:
    """Return what a request is about: a tool, a prompt, a resource."""
    for key in ("name", "uri"):
        said = params.get(key) if isinstance(params, dict) else getattr(params, key, None)
        if isinstance(said, str):
            return said
    return ""


def _text_of(result: Message) -> str:
    """Return what a failed tool tells the model."""
    content = getattr(result, "content", None) or ()
    return next((each.text for each in content if isinstance(getattr(each, "text", None), str)), "")


def _plain(data: Any) -> str:
    return data if isinstance(data, str) else msgspec.json.encode(data).decode()


def _decoded(body: bytes | None) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _asked_in(body: bytes) -> str:
    """Return method and name of a message that nobody has read yet; empty if it is none."""
    message = _decoded(body)
    method = message.get("method")
    return _what(method, message.get("params")) if isinstance(method, str) else ""


def _error_in(body: bytes | None) -> tuple[int | None, str]:
    """Return code and message of the error in a response."""
    error = _decoded(body).get("error")
    if not isinstance(error, dict):
        return None, ""
    return error.get("code"), str(error.get("message", ""))
