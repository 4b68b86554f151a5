"""One request and its response, as the ASGI application sees them: what `HttpProtocol` calls it with.

The easy thing to get wrong is when to write. A head that promises a length is kept until the body comes, so that
both go out in one write. One that does not is the head of a stream: it goes out at once, since the first event
may be a long time coming.
"""

import asyncio
import http
import logging
from collections.abc import Iterable, MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

if TYPE_CHECKING:
    from enfilade.transports.http11.protocol import HttpProtocol

Message = MutableMapping[str, Any]

_PHRASES: Final = {status.value: status.phrase for status in http.HTTPStatus}
STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode() for status in range(100, 600)
}

_CONTROLS: Final = bytes({*range(0x20), 0x7F} - {0x09})
_NOT_IN_NAMES: Final = bytes({*range(0x21), 0x7F, *b'()<>@,;:[]={}\\"'})
_UNKNOWN, _LENGTH, _CHUNKS, _CLOSE = range(4)  # what shows the client where the body ends
_MEANINGS: Final = {b"content-length": "length", b"transfer-encoding": "coding", b"connection": "connection"}
_SMALL: Final = 16384  # bytes of a body that are sooner copied behind their head than written on their own

log = logging.getLogger("uvicorn.error")
access_log = logging.getLogger("uvicorn.access")


class Cycle:
    """One request and its response.

    Args:
        connection: the one it came on.
        app: what to call.
        scope: what to call it with.
        keep_alive: the client may send another request after this one.
        expects_continue: the client waits for a word before it sends the body.
    """

    __slots__ = (
        "_app",
        "_body",
        "_connection",
        "_disconnected",
        "_expects_continue",
        "_framing",
        "_head",
        "_is_head",
        "_news",
        "_receiving",
        "_scope",
        "_unsent",
        "keep_alive",
        "more_body",
        "received",
        "response_complete",
        "response_started",
        "task",
    )

    def __init__(
        self,
        connection: "HttpProtocol",
        app: Any,
        scope: dict[str, Any],
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self._connection = connection
        self._app = app
        self._scope = scope
        self.task: asyncio.Task[None] | None = None
        self._disconnected = False
        self._news = False  # there is something to receive
        self._receiving: tuple[asyncio.Future[None], ...] = ()  # who waits for it

        self.more_body = True
        self.received = 0  # bytes of the body, once it has taken more than one feed of the parser
        self._body: bytes | bytearray = b""  # what has come of it and was not received
        self._expects_continue = expects_continue

        self.keep_alive = keep_alive
        self.response_started = False
        self.response_complete = False
        self._is_head = scope["method"] == "HEAD"
        self._framing = _UNKNOWN
        self._unsent = 0  # bytes of the body that are promised and have not been sent
        self._head = b""  # waits for the body

    def end_by_close(self) -> None:
        """Send no chunks: what has no length ends with the connection, for HTTP/1.0 (RFC 9112 §6.1)."""
        self._framing = _CLOSE

    # -- what the connection says ------------------------------------------------------------------------------

    @property
    def is_continue_due(self) -> bool:
        """Whether the client may wait for 100 Continue, which is sent when the application asks for the body."""
        return self._expects_continue

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of a request that has no response yet."""
        headers: list[tuple[bytes, bytes]] = self._scope["headers"]
        return headers

    @property
    def unread(self) -> int:
        """Bytes of the body that have come and that the application has not received."""
        return len(self._body)

    async def run(self) -> None:
        """Call the application, and see to it that there is an end whatever it does."""
        try:
            result = await self._app(self._scope, self.receive, self.send)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self.task is not None and self.task.cancelling():
                await self._fail(503, b"The server is stopping")
            else:
                log.error("Exception in ASGI application\n", exc_info=error)
                await self._fail()
        else:
            if result is not None:
                log.error("ASGI callable should return None, but returned '%s'.", result)
                self._break_off()
            elif not self.response_complete and not self._disconnected:
                missing = "completing" if self.response_started else "starting"
                log.error("ASGI callable returned without %s response.", missing)
                await self._fail()
        finally:
            self._connection.server_state.tasks.discard(self.task)
            self.task = None

    def take(self, body: bytes) -> int:
        """Keep a part of the body for the application; return how much of it waits now."""
        if not self._body:
            self._body = body
        else:  # in one piece: a client may send chunks of one byte, each of which would be an object
            if type(self._body) is bytes:
                self._body = bytearray(self._body)
            self._body += body
        self.tell()
        return len(self._body)

    def count_waiting(self) -> None:
        """Count what has come of a body whose first feed has just ended: all of it waits for the application."""
        self.received = len(self._body)

    def disconnect(self) -> None:
        """The client has gone, or nothing more can be told it: what the application sends is dropped."""
        self._disconnected = not self.response_complete
        self._expects_continue = False
        self.tell()

    def tell(self) -> None:
        """Let `receive` return."""
        self._news = True
        for waiting in self._receiving:
            if not waiting.done():
                waiting.set_result(None)

    # -- what the application says -----------------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return what has come of the body, once something has; in the end, that the client has gone."""
        connection = self._connection
        if self._expects_continue and not connection.transport.is_closing():
            connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._expects_continue = False
        if not self._disconnected and not self.response_complete:
            if connection.flow.read_paused:
                connection.resume_reading()
            if not self._news:
                waiting = asyncio.get_running_loop().create_future()
                self._receiving += (waiting,)
                try:
                    await waiting
                finally:
                    self._receiving = tuple(each for each in self._receiving if each is not waiting)
            self._news = False
        if self._disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), b""
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """Write a part of the response, when the client has read enough of what was written before.

        Raises:
            RuntimeError: the application must not send this, or not now.
        """
        flow = self._connection.flow
        if flow.write_paused and not self._disconnected:
            await flow.drain()
        if self._disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{kind}'.")
            self._start(message["status"], message.get("headers", ()))
        elif not self.response_complete:
            if kind != "http.response.body":
                raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
            self._go_on(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"Unexpected ASGI message '{kind}' sent, after response already completed.")

    # ----------------------------------------------------------------------------------------------------------

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        connection = self._connection
        if connection.logs_access:
            self._log_access(status)
        if self.more_body and self.keep_alive:
            self.keep_alive = self._can_discard_rest(connection)
        self._expects_continue = False
        self._scope = {}  # which may be large, and the response may be a stream that is open for days
        defaults, closes = connection.default_head(), False
        lines: list[bytes] = []
        for name, value in headers:
            start, meaning = _field(name)
            lines += (start, value, b"\r\n")
            if meaning is None:
                continue
            if meaning == "length" and self._framing != _CHUNKS:
                self._unsent = int(value)
                self._framing = _LENGTH
            elif meaning == "coding" and value.lower() == b"chunked":
                self._take_chunks(lines)
            elif meaning == "connection" and has_close(value):
                closes = True
        fields = b"".join(lines)
        # One look at all of them: a line has the two control characters at its end, and no others.
        if len(fields.translate(None, _CONTROLS)) != len(fields) - 2 * (len(lines) // 3):
            raise RuntimeError("Invalid HTTP header value.")
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            fields += b"connection: close\r\n"
        if self._framing == _UNKNOWN and not self._is_head and status not in (204, 304):
            self._framing = _CHUNKS
            fields += b"transfer-encoding: chunked\r\n"
        self._head = b"%b%b%b\r\n" % (STATUS_LINES[status], defaults, fields)
        if self._framing != _LENGTH:
            self._write(b"")

    def _take_chunks(self, lines: list[bytes]) -> None:
        """Send chunks as the last of these lines says, or drop that line where the client knows no chunks."""
        if self._framing == _CLOSE:
            del lines[-3:]
        else:
            self._unsent = 0
            self._framing = _CHUNKS

    def _can_discard_rest(self, connection: "HttpProtocol") -> bool:
        """Whether the connection can go on after a response that comes before the end of the body.

        It cannot if the client waits for 100 Continue, as that may send the body or not (RFC 9110 §10.1.1).
        """
        if self._expects_continue:
            return False
        length = dict(self._scope["headers"]).get(b"content-length")
        return connection.may_discard(None if length is None else int(length), self.received)

    def _go_on(self, body: bytes, more_body: bool) -> None:
        if self._is_head:
            self._unsent = 0
            body = b""
        elif self._framing <= _LENGTH:
            if len(body) > self._unsent:
                raise RuntimeError("Response content longer than Content-Length")
            self._unsent -= len(body)
        elif self._framing == _CHUNKS:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more_body:
                body += b"0\r\n\r\n"
        self._write(body)
        if not more_body:
            if self._unsent:
                raise RuntimeError("Response content shorter than Content-Length")
            self.response_complete = True
            self.tell()
            self._connection.response_completed(self.keep_alive)

    def _write(self, body: bytes) -> None:
        """Write what there is of the response, the head first if it waits."""
        write = self._connection.transport.write
        if self._head:
            if len(body) > _SMALL:
                write(self._head)
            else:
                body = self._head + body
            self._head = b""
        if body:
            write(body)

    async def _fail(self, status: int = 500, body: bytes = b"Internal Server Error") -> None:
        """Say that something went wrong, if that can still be said."""
        if self.response_complete:
            return
        if self.response_started:
            self._break_off()
            return
        self.keep_alive = False
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def _break_off(self) -> None:
        """Close the connection, so that the client sees that there is no more to come."""
        if not self._disconnected:
            self._write(b"")
            self._connection.transport.close()

    def _log_access(self, status: int) -> None:
        if access_log.isEnabledFor(logging.INFO):  # before the path is quoted for nobody
            scope: Any = self._scope
            client, path = get_client_addr(scope), get_path_with_query_string(scope)
            access_log.info(
                '%s - "%s %s HTTP/%s" %d', client, scope["method"], path, scope["http_version"], status
            )


@lru_cache(maxsize=256)  # an application has few
def _field(name: bytes) -> tuple[bytes, str | None]:
    """Return how the line of a header begins, and what it means for the response.

    Raises:
        RuntimeError: no header can have this name.
    """
    if not name or name.translate(None, _NOT_IN_NAMES) != name:
        raise RuntimeError("Invalid HTTP header name.")
    name = name.lower()
    return name + b": ", _MEANINGS.get(name)


def has_token(value: bytes, token: bytes) -> bool:
    """Whether a header that is a list has this element, which is in lower case (RFC 9110 §5.6.1)."""
    return token in (each.strip() for each in value.lower().split(b","))


def has_close(value: bytes) -> bool:
    """Whether a `connection` header closes it."""
    return has_token(value, b"close")
