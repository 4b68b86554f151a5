"""One request on a connection, and its response: what is the same whoever answers it.

`asgi_cycle.py` has those that an ASGI application answers, `direct_exchange.py` those that an endpoint answers
without ASGI in between.

    received in full      `more_body` is False
    response started      the head has been passed on to be sent: `response_started`
    response complete     `response_complete`; the connection goes on to the next request, or closes
    disconnected          the client has gone, or can be told nothing more: what is sent is dropped

Easy to get wrong: when to write. A head with a Content-Length waits for the body, so that both go out in one
write. One without is the head of a stream: it goes out at once, since the first event may be a long time coming.
"""

import asyncio
import enum
import http
import logging
from collections.abc import Awaitable, Iterable, MutableMapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string
from uvicorn.server import ServerState

from enfilade.transports.http11.flow_control import BackPressure

_PHRASES: Final = {status.value: status.phrase for status in http.HTTPStatus}
_STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode() for status in range(100, 600)
}

_CONTROLS: Final = bytes({*range(0x20), 0x7F} - {0x09})
_NOT_IN_NAMES: Final = bytes({*range(0x21), 0x7F, *b'()<>@,;:[]={}\\"'})
_MEANINGS: Final = {b"content-length": "length", b"transfer-encoding": "coding", b"connection": "connection"}
COPIED_BODY: Final = 16384  # bytes up to which copying a body behind its head costs less than a write of its own

if TYPE_CHECKING:
    from enfilade.serving.observation.record import RequestRecord

log = logging.getLogger("uvicorn.error")
access_log = logging.getLogger("uvicorn.access")


class _Framing(enum.Enum):
    """What shows the client where the body of the response ends (RFC 9112 §6.3)."""

    UNKNOWN = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    CLOSE = enum.auto()


# As globals, which are faster to read than attributes of an Enum.
_UNKNOWN, _LENGTH, _CHUNKED, _CLOSE = _Framing


class Target(NamedTuple):
    """What a request is for.

    Attributes:
        path: decoded, with the root path.
        raw_path: as it came.
        query: what follows the question mark.
    """

    path: str
    raw_path: bytes
    query: bytes


class ConnectionApi(Protocol):
    """The connection of a request."""

    transport: asyncio.Transport
    flow: BackPressure
    server_state: ServerState
    logs_access: bool

    def default_head(self) -> bytes:
        """Return the header lines that uvicorn wants on each response."""
        ...

    @property
    def client_address(self) -> tuple[str, int] | None:
        """Address of the client."""
        ...

    def scope_of(
        self, target: Target, method: str, version: str, headers: list[tuple[bytes, bytes]]
    ) -> dict[str, Any]:
        """Return the scope of a request as ASGI has it."""
        ...

    def may_discard(self, announced: int | None, received: int) -> bool:
        """Whether the rest of a body is so small that it can be read and dropped."""
        ...

    def forget_head(self, cycle: "RequestCycle") -> None:
        """Keep of a request that is answered only its state."""
        ...

    def release_parser(self, cycle: "RequestCycle") -> None:
        """Do without a parser until something arrives behind a request, if it has arrived."""
        ...

    def response_completed(self, keep_alive: bool) -> None:
        """Go on with the next request, or close the connection."""
        ...

    def resume_reading(self) -> None:
        """Read from the client again."""
        ...


class RequestCycle(msgspec.Struct, eq=False):
    """One request and its response; a base class.

    Attributes:
        method: the HTTP method.
        keep_alive: the connection stays open after the response, so that the client may send another request.
        expects_continue: the client waits for 100 Continue before it sends the body.
        more_body: some of the body has not arrived.
        received: bytes of the body, once it has taken more than one feed of the parser.
        record: what is recorded of it; None if nobody does so here.
        response_complete: the whole response has been written.
        response_started: the head of the response has been passed on to be sent.
        task: runs what answers it; None before and after.
    """

    _connection: ConnectionApi
    method: str
    keep_alive: bool = True
    expects_continue: bool = False
    more_body: bool = True
    received: int = 0
    record: "RequestRecord | None" = None
    response_started: bool = False
    response_complete: bool = False
    task: "asyncio.Task[None] | None" = None
    _is_disconnected: bool = False
    _has_event: bool = False  # there is something to receive
    _receivers: "tuple[asyncio.Future[None], ...]" = ()  # calls of `_next_event` that wait for it
    _body: bytes | bytearray = b""  # has arrived, and was not received by what answers
    _framing: _Framing = _UNKNOWN
    _unsent: int = 0  # bytes of the Content-Length that have not been sent
    _head: bytes = b""  # waits for the body

    def _release(self) -> None:
        """Let the connection forget what it does not need of a request that is over."""

    def without_head(self) -> "RequestCycle":
        """Return what stands for this request once it is answered."""
        return RequestCycle(
            self._connection,
            self.method,
            keep_alive=self.keep_alive,
            more_body=self.more_body,
            received=self.received,
            response_started=True,
            response_complete=True,
        )

    def end_by_close(self) -> None:
        """Send no chunks: a response without length ends with the connection, for HTTP/1.0 (RFC 9112 §6.1)."""
        self._framing = _CLOSE

    # -- calls by the connection -------------------------------------------------------------------------------

    @property
    def is_continue_due(self) -> bool:
        """Whether the client may wait for 100 Continue, which is sent when the application asks for the body."""
        return self.expects_continue

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Headers of a request that has no response yet."""
        raise NotImplementedError

    @property
    def scope(self) -> MutableMapping[str, Any]:
        """The scope of the request as ASGI has it, while it has no response yet."""
        raise NotImplementedError

    def _answer(self) -> Awaitable[Any]:
        """Return what answers the request."""
        raise NotImplementedError

    def _drop_head(self) -> None:
        """Free the head, which may be large: the response may be a stream that is open for days."""
        raise NotImplementedError

    @property
    def unread(self) -> int:
        """Bytes of the body that have arrived and that the application has not received."""
        return len(self._body)

    async def run(self) -> None:
        """Call the application, and make sure that the response ends whatever it does."""
        try:
            result = await self._answer()
        except BaseException as error:
            if self.record is not None and isinstance(error, asyncio.CancelledError):
                self.record.settle(None)
            if isinstance(error, asyncio.CancelledError) and self.task is not None and self.task.cancelling():
                await self._fail(503, b"The server is stopping")
            else:
                log.error("Exception in ASGI application\n", exc_info=error)
                await self._fail()
        else:
            if result is not None:
                log.error("ASGI callable should return None, but returned '%s'.", result)
                self._break_off()
            elif not self.response_complete and not self._is_disconnected:
                missing = "completing" if self.response_started else "starting"
                log.error("ASGI callable returned without %s response.", missing)
                await self._fail()
        finally:
            if self.record is not None:
                self.record.close()
            self._connection.server_state.tasks.discard(self.task)
            self.task = None
            self._release()

    def add_body(self, body: bytes) -> int:
        """Buffer a part of the body for the application; return how many bytes are buffered now."""
        if not self._body:
            self._body = body
        else:  # in one piece: a client may send chunks of one byte, each of which would be an object
            if type(self._body) is bytes:
                self._body = bytearray(self._body)
            self._body += body
        self.wake_receiver()
        return len(self._body)

    def count_buffered(self) -> None:
        """Set `received` after the first feed of a body, all of which is buffered."""
        self.received = len(self._body)

    def disconnect(self) -> None:
        """Note that the client has gone, or can be told nothing more: what the application sends is dropped."""
        self._is_disconnected = not self.response_complete
        self.expects_continue = False
        self.wake_receiver()

    def wake_receiver(self) -> None:
        """Let `receive` return."""
        self._has_event = True
        for future in self._receivers:
            if not future.done():
                future.set_result(None)

    # -- for what answers it -----------------------------------------------------------------------------------

    async def _next_event(self) -> None:
        """Return once some of the body has arrived, or its end, or the client has gone."""
        connection = self._connection
        if self.expects_continue and not connection.transport.is_closing():
            connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.expects_continue = False
        if self._is_disconnected or self.response_complete:
            return
        if connection.flow.read_paused:
            connection.resume_reading()
        if not self._has_event:
            future = asyncio.get_running_loop().create_future()
            self._receivers += (future,)
            try:
                await future
            finally:
                self._receivers = tuple(other for other in self._receivers if other is not future)
        self._has_event = False

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        connection = self._connection
        if connection.logs_access:
            self._log_access(status)
        if self.more_body and self.keep_alive:
            self.keep_alive = self._can_discard_rest(connection)
        self.expects_continue = False
        self._drop_head()
        defaults, closes = connection.default_head(), False
        lines: list[bytes] = []
        for name, value in headers:
            start, meaning = _field(name)
            lines += (start, value, b"\r\n")
            if meaning is None:
                continue
            if meaning == "length" and self._framing is not _CHUNKED:
                self._unsent = int(value)
                self._framing = _LENGTH
            elif meaning == "coding" and value.lower() == b"chunked":
                self._apply_chunked(lines)
            elif meaning == "connection" and has_close(value):
                closes = True
        fields = b"".join(lines)
        # One search for all of them: a line has the two control characters at its end, and no others.
        if len(fields.translate(None, _CONTROLS)) != len(fields) - 2 * (len(lines) // 3):
            raise RuntimeError("Invalid HTTP header value.")
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            fields += b"connection: close\r\n"
        if self._framing is _UNKNOWN and self.method != "HEAD" and status not in (204, 304):
            self._framing = _CHUNKED
            fields += b"transfer-encoding: chunked\r\n"
        self._head = b"%b%b%b\r\n" % (_STATUS_LINES[status], defaults, fields)
        if self._framing is not _LENGTH:
            self._write(b"")

    def _apply_chunked(self, lines: list[bytes]) -> None:
        """Send chunks as the last of these lines says, or drop that line for a client of HTTP/1.0."""
        if self._framing is _CLOSE:
            del lines[-3:]
        else:
            self._unsent = 0
            self._framing = _CHUNKED

    def _can_discard_rest(self, connection: ConnectionApi) -> bool:
        """Whether the connection can go on after a response that comes before the end of the body.

        It cannot if the client waits for 100 Continue, as that may send the body or not (RFC 9110 §10.1.1).
        """
        if self.expects_continue:
            return False
        length = dict(self.headers).get(b"content-length")
        return connection.may_discard(None if length is None else int(length), self.received)

    def _send_body(self, body: bytes, more_body: bool) -> None:
        framing = self._framing
        if self.method == "HEAD":
            self._unsent = 0
            body = b""
        elif framing is _LENGTH or framing is _UNKNOWN:
            if len(body) > self._unsent:
                raise RuntimeError("Response content longer than Content-Length")
            self._unsent -= len(body)
        elif framing is _CHUNKED:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more_body:
                body += b"0\r\n\r\n"
        self._write(body)
        if not more_body:
            if self._unsent:
                raise RuntimeError("Response content shorter than Content-Length")
            self.response_complete = True
            self.wake_receiver()
            self._connection.response_completed(self.keep_alive)

    def _write(self, body: bytes) -> None:
        """Write a part of the body, behind the head if that waits."""
        write = self._connection.transport.write
        if self._head:
            if len(body) > COPIED_BODY:
                write(self._head)
            else:
                body = self._head + body
            self._head = b""
        if body:
            write(body)

    async def _fail(self, status: int = 500, body: bytes = b"Internal Server Error") -> None:
        """Answer with an error, or break off a response that has started."""
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
        flow = self._connection.flow
        if flow.write_paused and not self._is_disconnected:
            await flow.wait_writable()
        if not self._is_disconnected:
            self._start(status, headers)
            self._send_body(body, False)

    def _break_off(self) -> None:
        """Close the connection, so that the client sees that the response is incomplete."""
        if not self._is_disconnected:
            self._write(b"")
            self._connection.transport.close()

    def _log_access(self, status: int) -> None:
        if access_log.isEnabledFor(logging.INFO):  # before the path is quoted for nobody
            scope: Any = self.scope
            client, path = get_client_addr(scope), get_path_with_query_string(scope)
            access_log.info(
                '%s - "%s %s HTTP/%s" %d', client, scope["method"], path, scope["http_version"], status
            )


def refusal_response(status: int, reason: str, default_lines: bytes) -> bytes:
    """Return the whole response that refuses a request before the application sees it.

    Args:
        default_lines: header lines that every response has.
    """
    body = reason.encode()
    return b"%b%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
        _STATUS_LINES[status],
        default_lines,
        len(body),
        body,
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
    return token in (element.strip() for element in value.lower().split(b","))


def has_close(value: bytes) -> bool:
    """Whether a `connection` header closes it."""
    return has_token(value, b"close")
