"""Report each request on the terminal: refused ones as an ASGI wrapper, all others as a middleware.

The ASGI wrapper sees only HTTP, the middleware only the request. A context variable, which is inherited by all
tasks of a request, connects the two.

Easy to get wrong: reporting a request twice, because an error of a handler also has an HTTP status.
"""

import asyncio
import time
from collections.abc import Iterable, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from enfilade.app import MCPApp
from enfilade.dev.line_format import Kind, Line, Screen, clean
from enfilade.serving.channel import Outlet, Peer
from enfilade.serving.dispatcher import MethodHandler
from enfilade.serving.request import Request
from enfilade.transports.asgi import Receive, Scope, Send
from enfilade.wire.jsonrpc import RpcError
from enfilade.wire.message import Message
from enfilade.wire.notifications import SEVERITY, LoggingLevel
from enfilade.wire.revisions import STATELESS

_BODY_EXCERPT: Final = 64 * 1024  # bytes of a body that are examined
#: Methods whose handlers may send log messages, progress and questions.
_WITH_MESSAGES: Final = {"tools/call", "prompts/get", "resources/read", "completion/complete"}


class LoggedExchange(msgspec.Struct):
    """An HTTP request and its response.

    Attributes:
        is_reported: whether the middleware reports it.
        status: HTTP status of the response; 0 before it begins.
        request_body: the first bytes of the request's body.
        response_body: the first bytes of the response's body; None if it is not JSON.
    """

    is_reported: bool = False
    status: int = 0
    request_body: bytes = b""
    response_body: bytes | None = None

    def record_request(self, body: bytes) -> None:
        """Record bytes of the request's body, up to a limit."""
        if not self.is_reported and len(self.request_body) < _BODY_EXCERPT:
            self.request_body += body[:_BODY_EXCERPT]

    def record_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Record status and content type of the response."""
        self.status = status
        content_types = [value for name, value in headers if name.lower() == b"content-type"]
        is_json = bool(content_types) and content_types[0].startswith(b"application/json")
        self.response_body = b"" if is_json else None

    def record_response(self, body: bytes) -> None:
        """Record bytes of the response's body, if it is JSON, up to a limit."""
        if self.response_body is not None and not self.is_reported and len(self.response_body) < _BODY_EXCERPT:
            self.response_body += body


#: Advice by HTTP status and a text in the error's message; the first match counts.
_ADVICE: Final[tuple[tuple[int, str, str], ...]] = (
    (
        400,
        "session id",
        "a client up to 2025-11-25 sends initialize first, and Mcp-Session-Id with all later requests",
    ),
    (400, "protocol version", "the MCP-Protocol-Version header must have a supported revision"),
    (400, "header", "headers and body must agree: check Mcp-Method, Mcp-Name and MCP-Protocol-Version"),
    (400, "json", "the body must be one JSON-RPC message, in UTF-8"),
    (400, "_meta", "since 2026-07-28 each request has its revision and client in _meta"),
    (
        404,
        "session",
        "the session has ended, or was sealed with another secret; the client should send initialize again",
    ),
    (404, "endpoint", "configure the client with the complete URL, including the path"),
    (404, "method", "the server does not support this method; the client may only be testing for it"),
    (406, "", "send Accept: application/json, text/event-stream"),
    (413, "", "send a smaller body, or raise ENFILADE_BODY_LIMIT"),
    (500, "", "the log above has the traceback under the id"),
    (503, "", "the store is unavailable, or the server is stopping; see the log above"),
)

_exchange: Final[ContextVar[LoggedExchange | None]] = ContextVar("exchange", default=None)


class ObservedApp:
    """An ASGI application that wraps an app and reports its requests.

    Args:
        app: the app; a middleware is added to it.
        screen: the output.
    """

    def __init__(self, app: MCPApp, screen: Screen) -> None:
        self._app = app
        self._screen = screen
        app.add_middleware(self.observe, outermost=True)

    def drain(self) -> None:
        """Prepare for shutdown."""
        self._app.drain()

    # -- middleware --------------------------------------------------------------------------------------------

    async def observe(self, request: Request, call_next: MethodHandler) -> Message:
        """Report a request when it has ended, and the messages of its handler before."""
        if (exchange := _exchange.get()) is not None:
            exchange.is_reported = True
        if request.parent is None and request.method in _WITH_MESSAGES:
            request.channel.outlet = MessageReporter(request, self._screen)
            request.channel.log_level = "debug"
        started = time.perf_counter()
        try:
            result = await call_next(request)
        except (Exception, asyncio.CancelledError) as error:
            outcome, kind, reasons = _describe_failure(request, error)
            self._show(request, started, outcome, kind, reasons)
            raise
        failed = bool(getattr(result, "is_error", False))
        asks = type(result).__name__ == "InputRequiredResult"
        outcome = "tool error" if failed else "asks the client" if asks else "ok"
        kind = "warning" if failed else "asks" if asks else "ok"
        self._show(request, started, outcome, kind, (_text_of(result),) if failed else ())
        return result

    def _show(self, request: Request, started: float, outcome: str, kind: Kind, reasons: tuple[str, ...]) -> None:
        depth, parent = 0, request.parent
        while parent is not None:
            depth, parent = depth + 1, parent.parent
        self._screen.show(
            Line(
                subject=_subject(request.method, request.params),
                milliseconds=(time.perf_counter() - started) * 1000,
                outcome=outcome,
                kind=kind,
                peer=_describe_peer(request.peer),
                reasons=tuple(clean(reason) for reason in reasons if reason),
                depth=depth,
            )
        )

    # -- ASGI --------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, and report it if it was refused before the middleware was called."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = LoggedExchange()
        started = time.perf_counter()

        async def receive_and_record() -> MutableMapping[str, Any]:
            message = await receive()
            exchange.record_request(message.get("body", b""))
            return message

        async def send_and_record(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                exchange.record_head(message["status"], message.get("headers", ()))
            else:
                exchange.record_response(bytes(message.get("body", b"")))
            await send(message)

        token = _exchange.set(exchange)
        try:
            await self._app(scope, receive_and_record, send_and_record)
        finally:
            _exchange.reset(token)
            if not exchange.is_reported:
                self._show_refusal(scope, exchange, (time.perf_counter() - started) * 1000)

    def _show_refusal(self, scope: Scope, exchange: LoggedExchange, milliseconds: float) -> None:
        code, message = _error_in(exchange.response_body)
        target = clean(f"{scope['method']} {scope['path']}")
        if exchange.status < 400 and code is None:
            if scope["method"] == "DELETE":
                self._screen.show(
                    Line(subject=target, milliseconds=milliseconds, outcome="session ended", kind="ok")
                )
            return
        hint = advice(exchange.status, message)
        self._screen.show(
            Line(
                subject=_subject_of_body(exchange.request_body) or target,
                milliseconds=milliseconds,
                outcome=f"refused {exchange.status}" if exchange.status >= 400 else f"error {code}",
                kind="failure",
                reasons=tuple(reason for reason in (clean(message), hint) if reason),
            )
        )


class MessageReporter:
    """Replaces the outlet of a request to report its messages, including those below the client's log level.

    Args:
        request: the request whose outlet is replaced.
        screen: the output.
    """

    def __init__(self, request: Request, screen: Screen) -> None:
        self._outlet: Outlet = request.channel.outlet
        self._client_level: LoggingLevel | None = request.channel.log_level
        self._subject = clean(_name(request.params) or request.method, 30)
        self._screen = screen

    def push(self, message: bytes) -> bool:
        """Send and report a notification."""
        notification = msgspec.json.decode(message)
        params: dict[str, Any] = notification.get("params") or {}
        if notification["method"] == "notifications/message":
            self._screen.note(self._subject, clean(f"{params['level']}: {_plain(params.get('data'))}"))
            if self._client_level is None or SEVERITY[params["level"]] < SEVERITY[self._client_level]:
                return True
        elif notification["method"] == "notifications/progress":
            total = f" of {params['total']:g}" if "total" in params else ""
            text = f" {params['message']}" if params.get("message") else ""
            self._screen.note(self._subject, clean(f"{params['progress']:g}{total}{text}"))
        return self._outlet.push(message)

    def send(self, message: bytes) -> bool:
        """Send and report a request to the client."""
        method = msgspec.json.decode(message).get("method")
        self._screen.note(self._subject, clean(f"asks the client: {method}"))
        return self._outlet.send(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outlet, name)


def _describe_failure(request: Request, error: BaseException) -> tuple[str, Kind, tuple[str, ...]]:
    """Return the outcome of a request without a result, its kind, and the reasons."""
    if request.round is not None and request.round.has_ended:
        return "asks the client", "asks", ()
    if request.verdict is not None:
        return "stopped", "failure", (request.verdict.message,)
    if isinstance(error, asyncio.CancelledError):
        return "cancelled", "warning", ()
    if isinstance(error, RpcError):
        return f"error {error.code}", "failure", (error.message,)
    return "error -32603", "failure", (f"{type(error).__name__}: the log has the traceback",)


def _describe_peer(peer: Peer) -> str:
    """Return the era, the revision, and the name and version of the client."""
    era = "stateless" if peer.revision in STATELESS else "session"
    info = peer.client_info
    client = f" {info.name} {info.version}" if info is not None else ""
    return clean(f"{era} {peer.revision}{client}", 80)


def _subject(method: str, params: Any) -> str:
    return clean(f"{method} {_name(params)}".rstrip(), 200)


def _name(params: Any) -> str:
    """Return the name of the tool or prompt, or the URI of the resource, in the parameters of a request."""
    for key in ("name", "uri"):
        value = params.get(key) if isinstance(params, dict) else getattr(params, key, None)
        if isinstance(value, str):
            return value
    return ""


def _text_of(result: Message) -> str:
    """Return the first text of a failed tool's result."""
    content = getattr(result, "content", None) or ()
    return next((block.text for block in content if isinstance(getattr(block, "text", None), str)), "")


def _plain(data: Any) -> str:
    return data if isinstance(data, str) else msgspec.json.encode(data).decode()


def _decoded(body: bytes | None) -> dict[str, Any]:
    try:
        message = msgspec.json.decode(body or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return message if isinstance(message, dict) else {}


def _subject_of_body(body: bytes) -> str:
    """Return method and name of the message in a body; empty if there is none."""
    message = _decoded(body)
    method = message.get("method")
    return _subject(method, message.get("params")) if isinstance(method, str) else ""


def _error_in(body: bytes | None) -> tuple[int | None, str]:
    """Return code and message of the error in a response's body."""
    error = _decoded(body).get("error")
    if not isinstance(error, dict):
        return None, ""
    return error.get("code"), str(error.get("message", ""))


def advice(status: int, message: str) -> str | None:
    """Return advice about a refused request for the author of the server or client; None if there is none.

    Args:
        status: the HTTP status.
        message: the message of the error; 400 and 404 have several reasons, which it tells apart.
    """
    lowered = message.lower()
    return next((hint for code, text, hint in _ADVICE if code == status and text in lowered), None)
