"""A reverse proxy without stickiness: every request goes to another server than the one before, as the worst load
balancer would have it, and a test may cut, stall or strand whatever passes.

A request gets a connection of its own to the server, and the client's connection ends with the response. The easy
thing to get wrong is to repair what is broken: a server that dies within a response takes the client's connection
with it, a client that goes away takes the server's, and a reset stays a reset.
"""

import asyncio
import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Self, TypeVar

from support.http_client.message_heads import field, rewritten

T = TypeVar("T")

HOST = "127.0.0.1"
LIMIT = 128 * 1024
"""Bytes that a head may have, and that one direction keeps of what the other side does not take."""

LINGER = 2.0  # seconds that a client gets to take the end of a response

PIN = "x-backend"
"""Request header, taken off on the way: the index of the backend that must serve the request."""

SERVED_BY = "x-served-by"
"""Response header: the index of the backend that served it."""

Direction = Literal["up", "down"]


@dataclass(eq=False)
class ProxiedExchange:
    """One request that came through.

    Attributes:
        verb: its method, such as `POST`.
        session: the session that it is of, or that its response opened.
        backend: index of the backend that took it; None if none did.
        status: of the response, once there is one.
        ended: who ended it: `backend` (also in the middle, if it died), `client`, or the proxy: `refused`, `cut`.
    """

    verb: str
    session: str | None
    backend: int | None = None
    status: int | None = None
    ended: str | None = None


Which = Callable[[ProxiedExchange], bool]
EVERY: Which = lambda _: True  # noqa: E731 - a default that reads well


class _Side:
    """One of a crossing's two connections."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def close(self, *, reset: bool) -> None:
        """End the connection: with all that was written to it, or by a reset."""
        if not reset:
            self.writer.close()
            return
        linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        with contextlib.suppress(OSError):  # it is gone already
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


@dataclass(eq=False)
class _Crossing:
    hop: ProxiedExchange
    client: _Side
    backend: _Side
    stranded: bool = False


class RoundRobinProxy:
    """The proxy, on a free port of this machine, for the length of a `with` block.

    Args:
        backends: ports of the servers behind it. No session meets the same one twice in a row if there are two.

    Attributes:
        log: every request so far, in the order in which they came.
    """

    def __init__(self, backends: Sequence[int]) -> None:
        self._backends = list(backends)
        self._out: set[int] = set()
        self._next = 0
        self._last: dict[str, int] = {}
        self._crossings: set[_Crossing] = set()
        self._stalls: list[tuple[Direction, Which]] = []
        self._socket = socket.create_server((HOST, 0), backlog=1024)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}/mcp"
        self.log: list[ProxiedExchange] = []
        self._up: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._up.result(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._in_loop(self._over.set)
        self._thread.join(30)
        self._socket.close()

    # -- what a test may do ------------------------------------------------------------------------------------

    def add(self, port: int) -> int:
        """Take one more server; returns its index."""
        self._backends.append(port)
        return len(self._backends) - 1

    def take_out(self, backend: int) -> None:
        """Send no more requests to a backend; those under way go on. One that refuses is passed over anyway."""
        self._out.add(backend)

    def put_back(self, backend: int) -> None:
        self._out.discard(backend)

    def cut(self, which: Which = EVERY, *, reset: bool = True) -> int:
        """Break connections off on both sides, by a reset or by an untimely end; returns how many there were."""
        return self._in_loop(lambda: self._cut(which, reset=reset, strand=False))

    def strand(self, which: Which = EVERY) -> int:
        """Reset the clients' connections and tell the servers nothing: to them the clients seem to be there."""
        return self._in_loop(lambda: self._cut(which, reset=True, strand=True))

    @contextlib.contextmanager
    def stalled(self, direction: Direction, which: Which = EVERY) -> Iterator[None]:
        """Let nothing through in one direction (`down` is to the client), as long as the block lasts."""
        stall = direction, which
        self._in_loop(lambda: self._stalls.append(stall))
        try:
            yield
        finally:
            self._in_loop(lambda: self._let_go(stall))

    def under_way(self, which: Which = EVERY) -> list[ProxiedExchange]:
        """Return the requests that are not over."""
        return [hop for hop in list(self.log) if hop.ended is None and which(hop)]

    # -- the loop ----------------------------------------------------------------------------------------------

    def _in_loop(self, work: Callable[[], T]) -> T:
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(30)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over, self._freed = asyncio.Event(), asyncio.Event()
        server = await asyncio.start_server(self._serve, sock=self._socket, limit=LIMIT)
        self._up.set_result(None)
        await self._over.wait()
        server.close()
        for crossing in self._crossings:
            crossing.client.close(reset=True)
            crossing.backend.close(reset=True)

    def _cut(self, which: Which, *, reset: bool, strand: bool) -> int:
        found = [each for each in self._crossings if each.hop.ended is None and which(each.hop)]
        for crossing in found:
            crossing.hop.ended, crossing.stranded = "cut", strand
            crossing.client.close(reset=reset)
            if not strand:
                crossing.backend.close(reset=reset)
        return len(found)

    def _let_go(self, stall: tuple[Direction, Which]) -> None:
        self._stalls.remove(stall)
        self._freed.set()
        self._freed = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Side(reader, writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError, OSError):
            client.close(reset=True)
            return
        hop = ProxiedExchange(head.split(b" ", 1)[0].decode("latin-1"), field(head, "mcp-session-id"))
        self.log.append(hop)
        backend = await self._connect(hop, field(head, PIN))
        if backend is None:
            hop.status, hop.ended = 502, "refused"
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await self._linger(client)
            return
        backend.writer.write(rewritten(head, {PIN, "connection", "keep-alive"}, {"connection": "close"}))
        crossing = _Crossing(hop, client, backend)
        self._crossings.add(crossing)
        with contextlib.suppress(asyncio.CancelledError):  # the proxy ends
            await self._cross(crossing)
        if not crossing.stranded:  # what is stranded stays until the proxy ends
            self._crossings.discard(crossing)

    async def _connect(self, hop: ProxiedExchange, pin: str | None) -> _Side | None:
        """Return a connection to the backend whose turn it is; those that refuse lose their turn."""
        count, last = len(self._backends), self._last.get(hop.session or "")
        turns = [(self._next + turn) % count for turn in range(count)]
        turns = [each for each in turns if each != last] + [each for each in turns if each == last]
        for each in [int(pin)] if pin else [each for each in turns if each not in self._out]:
            try:
                side = _Side(*await asyncio.open_connection(HOST, self._backends[each], limit=LIMIT))
            except OSError:
                continue
            hop.backend, self._next = each, (each + 1) % count
            self._last[hop.session or ""] = each
            return side
        return None

    async def _cross(self, crossing: _Crossing) -> None:
        """Pass on in both directions, until one side is gone; then see to it that the other learns how."""
        hop, client, backend = crossing.hop, crossing.client, crossing.backend
        up = asyncio.create_task(self._pass_on(hop, "up", client, backend))
        down = asyncio.create_task(self._pass_down(crossing))
        # Who could not write leaves it to the other direction to find out how the connection ended.
        while not (over := [each for each in (up, down) if each.done() and each.result() != "unwritable"]):
            waiting = [each for each in (up, down) if not each.done()]
            if not waiting:
                break
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in (up, down):
            each.cancel()
        await asyncio.wait((up, down))
        if hop.ended == "cut":
            return
        reset = any(each.result() == "reset" for each in over)
        hop.ended = "backend" if down in over else "client"
        backend.close(reset=reset)
        if hop.ended == "backend" and not reset:
            await self._linger(client)
        else:
            client.close(reset=reset)

    async def _pass_down(self, crossing: _Crossing) -> str:
        hop, backend, client = crossing.hop, crossing.backend, crossing.client
        try:
            head = await backend.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            return "reset"  # the backend went without a response
        hop.status = int(head.split(b" ", 2)[1])
        hop.session = hop.session or field(head, "mcp-session-id")
        if hop.session is not None and hop.backend is not None:
            self._last[hop.session] = hop.backend
        await self._gate(hop, "down")
        client.writer.write(rewritten(head, {"connection"}, {"connection": "close", SERVED_BY: str(hop.backend)}))
        return await self._pass_on(hop, "down", backend, client)

    async def _pass_on(self, hop: ProxiedExchange, direction: Direction, source: _Side, target: _Side) -> str:
        """Pass bytes on as they come; return how it ended: `end`, `reset`, or `unwritable` if by the target."""
        while True:
            try:
                data = await source.reader.read(LIMIT)
            except OSError:
                return "reset"
            if not data:
                return "end"
            await self._gate(hop, direction)
            try:
                target.writer.write(data)
                await target.writer.drain()
            except OSError:
                return "unwritable"

    async def _gate(self, hop: ProxiedExchange, direction: Direction) -> None:
        while any(stalled == direction and which(hop) for stalled, which in self._stalls):
            await self._freed.wait()

    async def _linger(self, client: _Side) -> None:
        """End a response properly: to close while the client still sends would be a reset."""
        with contextlib.suppress(OSError, TimeoutError):
            client.writer.write_eof()
            async with asyncio.timeout(LINGER):
                while await client.reader.read(LIMIT):
                    pass
        client.writer.close()
