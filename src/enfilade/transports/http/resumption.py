"""Coming back for the rest of a stream: by GET with `Last-Event-ID`, at any worker (R-351).

Whoever comes back reads the log, from the position after the event it names, and goes on reading as it grows.
There is no other source, so nothing can be missed or come twice where the past meets the present. The worker that
writes the stream is told who reads it now: it ends the connection that it had itself, and says when there is
more.

The easy thing to get wrong is to wait for a worker that will never write again. Its lease tells.
"""

import asyncio
import contextlib
import secrets
from typing import Final, NamedTuple

from enfilade.serving.cluster import LOOK, Relay
from enfilade.state.store import StoreError
from enfilade.transports.http.event_log import EventBatch, EventPosition, SealedEventLog
from enfilade.transports.http.event_recorder import RELEASED
from enfilade.transports.http.sse_stream import EventStream
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError, encode_error

#: How reading ends, besides the ways in which a stream ends itself.
ORPHANED: Final = 3
INTERRUPTED: Final = 4

#: Seconds after which a reader says again that it is there.
CALL_AGAIN: Final = 5.0

GONE_TEXT: Final = (
    "The worker that served this request is gone, and what became of the request is not known; "
    "send it again if it may be done twice"
)


class Fate(NamedTuple):
    """How the reading of a stream ended.

    Attributes:
        how: as the stream ended itself (`CONCLUDED`, `RELEASED`), `ORPHANED` if its worker is gone, or
            `INTERRUPTED` if the client is, or is read to by somebody else now.
        at: the position that was read last.
    """

    how: int
    at: int


class _Reader:
    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.stopped = False
        self.unserved = False

    def stop(self) -> None:
        self.stopped = True
        self.woken.set()

    def give_up(self) -> None:
        self.unserved = True
        self.woken.set()


class Readers:
    """Those who read streams at this worker.

    Args:
        event_log: the streams.
        relay: the workers that write them.
    """

    def __init__(self, event_log: SealedEventLog, relay: Relay) -> None:
        self._event_log = event_log
        self._relay = relay
        self._reading: dict[str, _Reader] = {}
        relay.on("wake", self._wake)
        relay.on("superseded", self._supersede)
        relay.on("unserved", self._give_up)

    def __len__(self) -> int:
        return len(self._reading)

    def stop(self) -> None:
        """Let all of them go, because this worker stops; they come back elsewhere."""
        for reader in self._reading.values():
            reader.stop()

    def _wake(self, number: str) -> None:
        if number in self._reading:
            self._reading[number].woken.set()

    def _supersede(self, number: str) -> None:
        if number in self._reading:
            self._reading[number].stop()

    def _give_up(self, number: str) -> None:
        """Take in that a worker is there, but has nothing to do with the stream any more."""
        if number in self._reading:
            self._reading[number].give_up()

    async def follow(
        self, place: EventPosition, page: EventBatch, out: EventStream, gone: "asyncio.Future[None]"
    ) -> "Fate":
        """Send what follows, until there is nothing more to follow.

        Args:
            place: where the client was.
            page: what was read from there already.
            out: the connection it came back by.
            gone: done when the client has gone again.
        """
        number, reader = secrets.token_hex(8), _Reader()
        self._reading[number] = reader
        clock, called = asyncio.get_running_loop().time, float("-inf")
        head, at = page.head, place.position
        try:
            while True:
                for at, message in page.messages:
                    out.replay(at, message, place.prefix)
                    if out.crowded:
                        await out.drained()
                    if out.over_capacity or not out.connected:  # or a page of large events waits as a whole
                        return Fate(INTERRUPTED, at)
                if page.end:
                    return Fate(page.end, at)
                if clock() - called > CALL_AGAIN:
                    said = [place.stream, self._relay.worker, number, called < 0]
                    self._relay.tell("resume", said, head.worker)
                    called = clock()
                elif not page.messages:
                    served = not reader.unserved and await self._served(place.stream, head.worker)
                    page = await self._read(place.stream, at, page)
                    if page.messages or page.end:
                        continue  # it was written while we asked
                    if not served:
                        return Fate(ORPHANED, at)
                    await self._pause(reader, gone)
                if reader.stopped or gone.done() or not out.connected:
                    return Fate(INTERRUPTED, at)
                reader.woken.clear()
                page = await self._read(place.stream, at, page)
        finally:
            del self._reading[number]

    async def _pause(self, reader: _Reader, gone: "asyncio.Future[None]") -> None:
        """Wait until there may be more, the client has gone, or it is time to look anyway."""
        woken = asyncio.ensure_future(reader.woken.wait())
        try:
            await asyncio.wait((woken, gone), timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _read(self, stream: str, at: int, page: EventBatch) -> EventBatch:
        """Return what follows; nothing, while the log does not say."""
        try:
            return await self._event_log.read(stream, at)
        except StoreError:
            return EventBatch(page.head, [], page.end)
        except RpcError:  # it has expired while it was read
            return EventBatch(page.head, [], RELEASED)

    async def _served(self, stream: str, worker: str) -> bool:
        """Whether somebody is there who will write the rest, as far as anybody knows."""
        if worker == self._relay.worker:
            return stream in self._event_log
        try:
            return await self._relay.is_alive(worker)
        except StoreError:
            return True

    async def bury(self, place: EventPosition, page: EventBatch, at: int, out: EventStream) -> None:
        """Tell the client, and whoever asks after it, that its request died with the worker that served it."""
        message = encode_error(page.head.request_id, RpcError(INTERNAL_ERROR, GONE_TEXT))
        with contextlib.suppress(StoreError):  # it is said to this client all the same
            await self._event_log.append_terminal_error(place.stream, at + 1, message)
        out.replay(at + 1, message, place.prefix)
