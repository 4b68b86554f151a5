"""Drives an HTTP/1.1 protocol of an ASGI server with raw bytes and no socket, and says what it made of them.

The transport does what asyncio's does as far as a protocol can see: it pauses, it closes after what was written,
and nothing is delivered once it has closed. Easy to get wrong: a protocol may need several turns of the event
loop for one request, so bytes are followed by turns until nothing happens any more.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import uvicorn
from uvicorn.server import ServerState

from enfilade.transports.exchange import DisconnectedError, HttpExchange
from enfilade.transports.http.request_checks import HeaderVerdict

_QUIET = 4  # turns of the event loop in which nothing happens: longer than any step of a request takes


class Verdict(NamedTuple):
    """What became of some bytes.

    Attributes:
        statuses: of the responses, in order.
        served: what the application got: method, target, body and A header of each request.
        lives: the connection is open for more.
    """

    statuses: tuple[int, ...]
    served: tuple[bytes, ...]
    lives: bool


class RecordingTransport(asyncio.Transport):
    """A transport without a socket."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.1", 5), "sockname": ("10.0.0.2", 80)})
        self.written = bytearray()
        self.paused = self.closed = self.ended = False
        self.events = 0
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        assert not self.ended, "written after the end"
        if not self.closed:
            self.written += data
        self.events += 1

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def write_eof(self) -> None:
        self.ended = True
        self.events += 1

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.events += 1
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        self.events += 1

    def is_reading(self) -> bool:
        return not self.paused and not self.closed


class Echo:
    """Answers a request with what it got of it, once it has all of it."""

    def __init__(self, wire: RecordingTransport) -> None:
        self.wire = wire
        self.served: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            self.wire.events += 1
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        target = scope["path"].encode() + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        seen = b",".join(value for name, value in scope["headers"] if name == b"a")
        said = b"%b %b %b%b" % (scope["method"].encode(), target, body, b" a=" + seen if seen else b"")
        self.served.append(said)
        length = (b"content-length", b"%d" % len(said))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": said})


class DirectEcho(Echo):
    """The same for connections that have a way past ASGI."""

    observation = None

    def direct_endpoint(self, path: str) -> "DirectEcho":
        return self

    async def serve_unrecorded(self, exchange: HttpExchange) -> None:
        take = exchange.whole_body
        body, more = b"", True
        if take is not None and (whole := take(1000)) is not None:
            body, more = whole, False
            self.wire.events += 1
        while more:
            try:
                chunk, more = await exchange.read()
            except DisconnectedError:
                return
            self.wire.events += 1
            body += chunk
        target = exchange.path.encode() + (b"?" + exchange.query if exchange.query else b"")
        seen = b",".join(value for name, value in exchange.headers if name == b"a")
        said = b"%b %b %b%b" % (exchange.method.encode(), target, body, b" a=" + seen if seen else b"")
        self.served.append(said)
        if exchange.fields is None:  # as the endpoint does; else the head is known
            exchange.fields, exchange.verdict = dict(exchange.headers), HeaderVerdict()
        sending = exchange.send_json(said, [])
        if sending is not None:
            await sending


class Driver:
    """Makes connections of one protocol; within a running event loop.

    Args:
        protocol: what uvicorn would make for each connection.
        is_direct: whether requests are answered without ASGI.
    """

    def __init__(self, protocol: Any, *, is_direct: bool = False) -> None:
        self._is_direct = is_direct
        config = uvicorn.Config(
            self if is_direct else self._app,
            http=protocol,
            log_level="critical",
            proxy_headers=False,
            lifespan="off",
            interface="asgi3",
        )
        config.load()
        self._config, self._protocol = config, protocol
        self._echo: Any = None

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await self._echo(scope, receive, send)

    __call__ = _app

    def direct_endpoint(self, path: str) -> DirectEcho:
        """Return what answers a request for a path; asked only of a driver that is direct."""
        echo: DirectEcho = self._echo
        return echo

    async def judge(
        self, segments: Sequence[bytes], default_headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> Verdict:
        """Return what becomes of these bytes when they come in these segments.

        Args:
            segments: of the bytes.
            default_headers: what the server wants on each response.
        """
        wire = RecordingTransport()
        self._echo = echo = DirectEcho(wire) if self._is_direct else Echo(wire)
        state = ServerState()
        state.default_headers = list(default_headers)
        connection = self._protocol(config=self._config, server_state=state, app_state={})
        wire.protocol = connection
        connection.connection_made(wire)
        waiting = [segment for segment in segments if segment]
        while True:
            await self._settle(wire)
            if not waiting or wire.closed:
                break
            assert not wire.paused, "reading was paused, and nothing happens"
            connection.data_received(waiting.pop(0))
        lives = not wire.closed and not wire.ended
        wire.close()
        for _ in range(_QUIET):
            await asyncio.sleep(0)
        assert not [task for task in state.tasks if not task.done()]
        return Verdict(statuses_of(bytes(wire.written), echo.served), tuple(echo.served), lives)

    async def _settle(self, wire: RecordingTransport) -> None:
        quiet, before = 0, -1
        while quiet < _QUIET:
            await asyncio.sleep(0)
            quiet = quiet + 1 if wire.events == before else 0
            before = wire.events


def statuses_of(written: bytes, served: Sequence[bytes]) -> tuple[int, ...]:
    """Return the statuses of some responses, each of which must be whole and have its body."""
    statuses, bodies = [], list(served)
    while written:
        head, end, written = written.partition(b"\r\n\r\n")
        found = re.match(rb"HTTP/1\.1 (\d{3}) [^\r\n]*(\r\n|\Z)", head)
        assert end, f"no end of a head: {head!r}"
        assert found, f"no head of a response: {head!r}"
        status = int(found[1])
        statuses.append(status)
        if status == 100:
            continue
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        if length:
            expected = bodies[0] if status == 200 else b""
            size = 0 if expected.startswith((b"HEAD ", b"CONNECT ")) else int(length[1])
            assert len(written) >= size, "a body that is too short"
            body, written = written[:size], written[size:]
        else:  # h11 sends what it refuses in one chunk, or up to the end of the connection
            body, written = written, b""
        if status == 200:
            said = bodies.pop(0)
            assert body == (b"" if said.startswith((b"HEAD ", b"CONNECT ")) else said)
    assert not bodies, "a request without its response"
    return tuple(statuses)
