"""An HTTP exchange whose request is recorded: its bytes are counted, and its response has the id of the request.

It wraps any `HttpExchange`, and is there only if somebody observes requests.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from enfilade.serving.observation.current import current_record
from enfilade.serving.observation.observer import Observation
from enfilade.serving.observation.record import RequestRecord
from enfilade.transports.exchange import Headers, HttpExchange

if TYPE_CHECKING:
    from enfilade.serving.principal import Principal

_REQUEST_ID: Final = b"x-request-id"


def observed(
    observation: Observation, serve: Callable[[HttpExchange], Awaitable[None]]
) -> Callable[[HttpExchange], Awaitable[None]]:
    """Return what serves an HTTP request as `serve` does, with a record of it."""

    async def serve_and_record(exchange: HttpExchange) -> None:
        record = observation.open_http("http", exchange, exchange.method, exchange.path)
        token = current_record.set(record)
        try:
            await serve(ObservedExchange(exchange, record))
        except asyncio.CancelledError:
            record.settle(None)
            raise
        finally:
            current_record.reset(token)
            record.close()

    return serve_and_record


class ObservedExchange:
    """An `HttpExchange` and the record of its request."""

    __slots__ = ("_id", "_inner", "method", "record")

    def __init__(self, inner: HttpExchange, record: RequestRecord) -> None:
        self._inner = inner
        self.record = record
        self.method = inner.method
        self._id = (_REQUEST_ID, record.request_id.encode())

    # -- the request -------------------------------------------------------------------------------------------

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._inner.headers

    @property
    def client(self) -> tuple[str, int | None] | None:
        return self._inner.client

    @property
    def path(self) -> str:
        return self._inner.path

    @property
    def query(self) -> bytes:
        return self._inner.query

    @property
    def version(self) -> str:
        return self._inner.version

    @property
    def scope(self) -> MutableMapping[str, Any]:
        return self._inner.scope

    @property
    def principal(self) -> "Principal | None":
        return self._inner.principal

    @principal.setter
    def principal(self, principal: "Principal") -> None:
        self._inner.principal = principal

    def forget_head(self) -> None:
        self._inner.forget_head()

    async def read(self) -> tuple[bytes, bool]:
        chunk = await self._inner.read()
        self.record.bytes_in += len(chunk[0])
        return chunk

    def expect_body(self, digest: bytes, refusal: Exception) -> None:
        self._inner.expect_body(digest, refusal)

    async def disconnected(self) -> None:
        await self._inner.disconnected()

    # -- the response ------------------------------------------------------------------------------------------

    def add_headers(self, headers: Headers) -> None:
        self._inner.add_headers(headers)

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        record = self.record
        record.status = status
        record.bytes_out += len(body)
        await self._inner.send(status, [*headers, self._id], body)

    async def start(self, status: int, headers: Headers) -> None:
        self.record.status = status
        await self._inner.start(status, [*headers, self._id])

    async def write(self, chunk: bytes, *, is_last: bool) -> None:
        self.record.bytes_out += len(chunk)
        await self._inner.write(chunk, is_last=is_last)
