"""An HTTP request and its response in memory: what the endpoint speaks to, without ASGI and without a socket."""

import asyncio
import json
from collections.abc import Iterable, MutableMapping
from typing import Any

from enfilade.serving.observation.record import RequestRecord
from enfilade.serving.principal import Principal
from enfilade.transports.asgi import host_principal
from enfilade.transports.exchange import DisconnectedError
from support.exchanges import Message, messages_of


class MemoryExchange:
    """An `HttpExchange` whose response can be read while it is written.

    Args:
        chunks: the body of the request.
        method: of the request.
        headers: of the request, besides Host.
        user: what the host knows of its sender.
        is_complete: whether the body ends after the chunks; its client goes away otherwise.

    Attributes:
        status: of the response; None before its head was sent.
        response_headers: of the response.
        written: the chunks of its body.
        has_ended: whether it is complete.
        room: cleared while the connection takes nothing.
    """

    version = "1.1"
    path, query = "/mcp", b""
    client: tuple[str, int | None] | None = ("127.0.0.1", 50000)
    principal: Principal | None = None
    fields: dict[bytes, bytes] | None = None
    whole_body = None
    verdict: Any = None
    record: RequestRecord | None = None

    def __init__(
        self,
        *chunks: bytes,
        method: str = "POST",
        headers: Iterable[tuple[str, str]] = (),
        user: object = None,
        is_complete: bool = True,
    ) -> None:
        self.method = method
        fields = {"host": "127.0.0.1:8000", **dict(headers)}
        self.headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
        self.scope: MutableMapping[str, Any] = {"user": user}
        self._chunks = list(chunks) or [b""]
        self._is_complete = is_complete
        self._gone = asyncio.Event()
        self.status: int | None = None
        self.response_headers: dict[str, str] = {}
        self.written: list[bytes] = []
        self.has_ended = False
        self.room = asyncio.Event()
        self.room.set()

    def expect_body(self, digest: bytes, error: Exception) -> None:
        raise AssertionError("nobody sends a proof with a digest of the body")

    def add_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.response_headers |= {name.decode(): value.decode() for name, value in headers}

    def host_principal(self) -> Principal | None:
        return host_principal(self.scope)

    # -- the request -------------------------------------------------------------------------------------------

    def forget_head(self) -> None:
        self.headers, self.scope = [], {}

    async def read(self) -> tuple[bytes, bool]:
        if not self._chunks:
            raise DisconnectedError
        chunk = self._chunks.pop(0)
        return chunk, bool(self._chunks) or not self._is_complete

    async def disconnected(self) -> None:
        await self._gone.wait()

    def watch(self, gone: "asyncio.Future[None]") -> bool:
        return False

    # -- the response ------------------------------------------------------------------------------------------

    async def send(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        await self.start(status, headers)
        await self.write(body, is_last=True)
        assert int(self.response_headers["content-length"]) == len(body)

    async def send_json(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        length = (b"content-length", b"%d" % len(body))
        await self.send(200, [(b"content-type", b"application/json"), length, *headers], body)

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self._wait_for_room()
        assert self.status is None, "a second head"
        self.status = status
        self.response_headers = {name.decode(): value.decode() for name, value in headers}

    def write_now(self, chunk: bytes) -> bool:
        return False

    async def write(self, chunk: bytes, *, is_last: bool) -> None:
        await self._wait_for_room()
        assert self.status is not None, "a body before its head"
        assert not self.has_ended, "a chunk after the last"
        self.written.append(chunk)
        self.has_ended = is_last

    async def _wait_for_room(self) -> None:
        await self.room.wait()
        if self._gone.is_set():
            raise ConnectionResetError

    # -- what its client does ----------------------------------------------------------------------------------

    def disconnect(self) -> None:
        """Go away."""
        self._gone.set()
        self.room.set()

    @property
    def body(self) -> bytes:
        """What was written of the response by now."""
        return b"".join(self.written)

    @property
    def messages(self) -> list[Message]:
        """The messages of a complete response."""
        assert self.has_ended
        return messages_of(self.response_headers.get("content-type", ""), self.body)


def post(message: Any, headers: Iterable[tuple[str, str]] = (), *, chunk_size: int = 1 << 20) -> MemoryExchange:
    """Return the POST of a message, in chunks of that size."""
    body = json.dumps(message).encode()
    fields = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        **dict(headers),
    }
    chunks = [body[start : start + chunk_size] for start in range(0, len(body), chunk_size)]
    return MemoryExchange(*chunks, headers=fields.items())
