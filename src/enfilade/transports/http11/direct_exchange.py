"""A request that an endpoint answers without ASGI in between, and its response: an `HttpExchange`.

An application that has an endpoint says at which path it is served (`DirectApplication`). All else is as for
other requests: limits, timeouts, pipelining, the end of a server. Where requests are recorded, the record is
opened and closed here, as `Observation.recording` does behind ASGI.

Easy to get wrong: what goes past ASGI goes past its middleware. An application with middleware, or within another
one, answers by way of ASGI (`asgi_cycle.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from enfilade.serving.observation.current import current_record
from enfilade.transports.exchange import DisconnectedError, Headers, HttpExchange
from enfilade.transports.http11.known_heads import KnownHead
from enfilade.transports.http11.request_cycle import COPIED_BODY, RequestCycle, Target

if TYPE_CHECKING:
    from enfilade.serving.observation.observer import Observation
    from enfilade.serving.principal import Principal

#: A response that is plain: the date, the length, the id of a recorded request, and a body that is copied.
_PLAIN: Final = b"HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_RECORDED: Final = (
    b"HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n\r\n%b"
)
_JSON: Final = (b"content-type", b"application/json")


class DirectEndpoint(Protocol):
    """What serves requests without ASGI."""

    @property
    def observation(self) -> "Observation | None":
        """What makes the records of requests; None if nobody observes them."""
        ...

    def serve_unrecorded(self, exchange: HttpExchange) -> Awaitable[None]:
        """Serve one request, whose record is opened and closed by the caller."""
        ...


class DirectApplication(Protocol):
    """An application that can serve its endpoint without ASGI."""

    def direct_endpoint(self, path: str) -> DirectEndpoint | None:
        """Return what serves requests for a path; None if they have to go through the application."""
        ...


class DirectExchange(RequestCycle, eq=False, kw_only=True):
    """One request and its response.

    Attributes:
        endpoint: serves it.
        target: what it is for.
        is_plain: whether its head is plain, as `known_heads.py` says.
        head: what is remembered of its head for the next request; None for nothing.
        fields: its headers by their names, once they were read.
        verdict: what the endpoint makes of them.
    """

    version: ClassVar[str] = "1.1"

    endpoint: DirectEndpoint
    target: Target
    is_plain: bool = False
    head: KnownHead | None = None
    fields: dict[bytes, bytes] | None = None
    verdict: Any = None
    principal: "Principal | None" = None
    _headers: Sequence[tuple[bytes, bytes]] | None = None  # None if `fields` has them
    _scope: MutableMapping[str, Any] | None = None
    _added: Headers | None = None
    _checker: Callable[[bytes, bool], None] | None = None

    def _answer(self) -> Awaitable[Any]:
        endpoint = self.endpoint
        if endpoint.observation is not None:
            self.record = record = endpoint.observation.open_http(self)
            current_record.set(record)  # of the task, which serves this request alone
        return endpoint.serve_unrecorded(self)

    def _drop_head(self) -> None:
        if self.head is not None and self.head.fields is None:
            self.head.fields, self.head.verdict = self.fields, self.verdict
        self.head = None

    def _release(self) -> None:
        if self._headers is not None and self.response_complete:  # else the head is a known one, which is small
            self._connection.forget_head(self)

    # -- the request -------------------------------------------------------------------------------------------

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers as they came."""
        if self._headers is None:
            self._headers = list((self.fields or {}).items())
        return self._headers

    @property
    def path(self) -> str:
        """The path, decoded."""
        return self.target.path

    @property
    def query(self) -> bytes:
        """What follows the question mark."""
        return self.target.query

    @property
    def client(self) -> tuple[str, int | None] | None:
        """Address and port of the client."""
        return self._connection.client_address

    @property
    def scope(self) -> MutableMapping[str, Any]:
        """The scope that an ASGI application would have got; made for whoever asks for it."""
        if self._scope is None:
            self._scope = self._connection.scope_of(self.target, self.method, self.version, list(self.headers))
        return self._scope

    def host_principal(self) -> "Principal | None":
        """Return None: there is no host."""
        return None

    def forget_head(self) -> None:
        self._headers, self.fields, self.verdict, self._scope = (), None, None, None
        self._connection.release_parser(self)

    def expect_body(self, digest: bytes, refusal: Exception) -> None:
        from hashlib import sha256

        body = sha256()

        def check(chunk: bytes, has_more: bool) -> None:
            body.update(chunk)
            if not has_more and body.digest() != digest:
                raise refusal

        self._checker = check

    def whole_body(self, most: int) -> bytes | None:
        body = self._body
        if self.more_body or len(body) > most or self._is_disconnected or self._checker is not None:
            return None
        if self.expects_continue or self._connection.flow.read_paused:
            return None
        self._body, self._has_event = b"", False
        if self.record is not None:
            self.record.bytes_in = len(body)
        return bytes(body)

    async def read(self) -> tuple[bytes, bool]:
        if self._has_event and not self.expects_continue and not self._connection.flow.read_paused:
            self._has_event = False  # nearly always
        else:
            await self._next_event()
        if self._is_disconnected or self.response_complete:
            raise DisconnectedError
        body, self._body = bytes(self._body), b""
        has_more = self.more_body
        if self.record is not None:
            self.record.bytes_in += len(body)
        if self._checker is not None:
            self._checker(body, has_more)
        return body, has_more

    async def disconnected(self) -> None:
        while not (self._is_disconnected or self.response_complete):
            await self._next_event()

    def watch(self, gone: "asyncio.Future[None]") -> bool:
        if self.more_body:
            return False
        if self._is_disconnected or self.response_complete:
            if not gone.done():
                gone.set_result(None)
        else:
            self._connection.resume_reading()  # else nobody notices
            self._receivers += (gone,)
        return True

    # -- the response ------------------------------------------------------------------------------------------

    def add_headers(self, headers: Headers) -> None:
        self._added = [*(self._added or ()), *headers]

    def send_json(self, body: bytes, headers: Headers) -> Coroutine[Any, Any, None] | None:
        connection = self._connection
        defaults = connection.default_head()  # which may end the connection
        if (
            headers
            or self._added is not None
            or not self.keep_alive
            or self.more_body
            or self._is_disconnected
            or connection.flow.write_paused
            or self.method == "HEAD"
        ):
            return self.send(200, [_JSON, (b"content-length", b"%d" % len(body)), *headers], body)
        if self.response_started:
            raise RuntimeError("The response has started already.")
        if connection.logs_access:
            self._log_access(200)
        self.response_started = self.response_complete = True
        if self.head is not None:
            self._drop_head()
        size, record = len(body), self.record
        copied = body if size <= COPIED_BODY else b""
        if record is None:
            data = _PLAIN % (defaults, size, copied)
        else:
            record.status = 200
            record.bytes_out += size
            data = _RECORDED % (defaults, size, record.id or record.find_id(), copied)
        connection.transport.write(data)
        if not copied:
            connection.transport.write(body)
        if self._receivers:
            self.wake_receiver()
        connection.response_completed(True)
        return None

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        if self.record is not None:
            headers = self.record.note_response(status, len(body), headers)
        if await self._is_writable():
            self._begin(status, headers)
            self._send_body(body, False)

    async def start(self, status: int, headers: Headers) -> None:
        if self.record is not None:
            headers = self.record.note_response(status, 0, headers)
        if await self._is_writable():
            self._begin(status, headers)

    def write_now(self, chunk: bytes) -> bool:
        if self._connection.flow.write_paused or self._is_disconnected or self.response_complete:
            return False
        if self.record is not None:
            self.record.bytes_out += len(chunk)
        self._send_body(chunk, True)
        return True

    async def write(self, chunk: bytes, *, is_last: bool) -> None:
        if self.record is not None:
            self.record.bytes_out += len(chunk)
        if await self._is_writable():
            if not self.response_started or self.response_complete:
                raise RuntimeError("A part of a response that has not started, or is complete.")
            self._send_body(chunk, not is_last)

    async def _is_writable(self) -> bool:
        """Wait until the client has read enough of what was written; return False if it has gone."""
        flow = self._connection.flow
        if flow.write_paused and not self._is_disconnected:
            await flow.wait_writable()
        return not self._is_disconnected

    def _begin(self, status: int, headers: Headers) -> None:
        if self.response_started:
            raise RuntimeError("The response has started already.")
        if self._added is not None:
            present = {name for name, _ in headers}
            headers = [*headers, *(header for header in self._added if header[0] not in present)]
        self._start(status, headers)
