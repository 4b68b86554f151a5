"""Resumption of a stream after a disconnect: GET with `Last-Event-ID`, at any worker (R-351).

`GetEndpoint` in `standalone_stream.py` reads the header, `parse_event_id` in `event_log.py` the id.

A client that comes back is sent what the log has after the event that it names, and then what is added. The log
is the only source, so nothing is lost or sent twice where the past meets the present. The worker that writes the
stream is told who reads it now: it ends its own connection, and says when there is more.

A worker that is gone never writes again, so a reader that gets nothing checks the lease of the worker.
"""

import asyncio
import contextlib
import secrets
from typing import Final, NamedTuple

from enfilade.serving.cluster import WorkerChannel
from enfilade.state.store import StoreError
from enfilade.transports.http.event_log import EventBatch, EventPosition, SealedEventLog
from enfilade.transports.http.event_recorder import RELEASED
from enfilade.transports.http.sse_stream import EventStream
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError, encode_error

#: How reading ends, besides the ways in which a stream itself ends (`CONCLUDED`, `RELEASED`).
ORPHANED: Final = 3
INTERRUPTED: Final = 4

GONE_TEXT: Final = (
    "The worker that served this request is gone, and what became of the request is not known; "
    "send it again if it may be done twice"
)


class ReadOutcome(NamedTuple):
    """How the reading of a stream ended.

    Attributes:
        end: as the stream ended (`CONCLUDED`, `RELEASED`); `ORPHANED` if its worker is gone; `INTERRUPTED` if the
            client is, or if another reader has the stream now.
        position: of the last message that was read.
    """

    end: int
    position: int


class _Reader:
    """One reader.

    Attributes:
        woken: set when there may be something to read or to do.
        stopped: whether it should stop.
        is_unserved: whether the worker of the stream has said that it does not write it any more.
    """

    __slots__ = ("is_unserved", "stopped", "woken")

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.stopped = False
        self.is_unserved = False


class StreamReaders:
    """The readers of this worker.

    Args:
        event_log: the streams.
        worker_channel: the workers that write them.
    """

    def __init__(self, event_log: SealedEventLog, worker_channel: WorkerChannel) -> None:
        self._event_log = event_log
        self._worker_channel = worker_channel
        self._readers: dict[str, _Reader] = {}
        worker_channel.on("wake", self._wake)
        worker_channel.on("superseded", self._supersede)
        worker_channel.on("unserved", self._mark_unserved)

    def __len__(self) -> int:
        return len(self._readers)

    def stop(self) -> None:
        """Stop all of them, because this worker stops; their clients come back elsewhere."""
        for number in self._readers:
            self._supersede(number)

    def _wake(self, number: str) -> None:
        if number in self._readers:
            self._readers[number].woken.set()

    def _supersede(self, number: str) -> None:
        if number in self._readers:
            self._readers[number].stopped = True
            self._readers[number].woken.set()

    def _mark_unserved(self, number: str) -> None:
        """Note that a worker is there, but does not write the stream any more."""
        if number in self._readers:
            self._readers[number].is_unserved = True
            self._readers[number].woken.set()

    async def follow(
        self, start: EventPosition, batch: EventBatch, stream: EventStream, gone: "asyncio.Future[None]"
    ) -> ReadOutcome:
        """Send what follows an event, until there is nothing more to follow.

        Args:
            start: the event that the client has seen last.
            batch: what was read from there already.
            stream: the connection by which it came back.
            gone: done when the client has gone again.
        """
        timings, number, reader = self._event_log.timings, secrets.token_hex(8), _Reader()
        self._readers[number] = reader
        clock, last_call = asyncio.get_running_loop().time, float("-inf")
        worker, position = batch.head.worker, start.position
        try:
            while True:
                for position, message in batch.messages:
                    stream.replay(position, message, start.prefix)
                    if stream.is_congested:
                        await stream.wait_for_room()
                    if stream.over_capacity or not stream.connected:  # or a large batch waits
                        return ReadOutcome(INTERRUPTED, position)
                if batch.end:
                    return ReadOutcome(batch.end, position)
                if clock() - last_call > timings.reader_renewal:
                    claim = [start.stream, self._worker_channel.worker, number, last_call < 0]
                    self._worker_channel.send("resume", claim, worker)
                    last_call = clock()
                elif not batch.messages:
                    is_served = not reader.is_unserved and await self._is_served(start.stream, worker)
                    batch = await self._read(start.stream, position, batch)
                    if batch.messages or batch.end:
                        continue  # it was written meanwhile
                    if not is_served:
                        return ReadOutcome(ORPHANED, position)
                    await self._wait(reader, gone)
                if reader.stopped or gone.done() or not stream.connected:
                    return ReadOutcome(INTERRUPTED, position)
                reader.woken.clear()
                batch = await self._read(start.stream, position, batch)
        finally:
            del self._readers[number]

    async def _wait(self, reader: _Reader, gone: "asyncio.Future[None]") -> None:
        """Wait until there may be more, the client has gone, or it is time to look anyway."""
        poll = self._event_log.timings.reader_poll
        woken = asyncio.ensure_future(reader.woken.wait())
        try:
            await asyncio.wait((woken, gone), timeout=poll, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _read(self, stream: str, position: int, previous: EventBatch) -> EventBatch:
        """Return what follows; nothing, while the log does not answer."""
        try:
            return await self._event_log.read(stream, position)
        except StoreError:
            return EventBatch(previous.head, [], previous.end)
        except RpcError:  # it has expired while it was read
            return EventBatch(previous.head, [], RELEASED)

    async def _is_served(self, stream: str, worker: str) -> bool:
        """Whether a worker is there that will write the rest, as far as is known."""
        if worker == self._worker_channel.worker:
            return stream in self._event_log
        try:
            return await self._worker_channel.is_alive(worker)
        except StoreError:
            return True

    async def finish_orphaned(
        self, start: EventPosition, batch: EventBatch, position: int, stream: EventStream
    ) -> None:
        """Tell the client, and later readers, that its request ended with the worker that served it.

        Args:
            start: the event that the client has seen last, before it came back.
            batch: what was read from there.
            position: of the last message of the stream.
            stream: the connection to the client.
        """
        message = encode_error(batch.head.request_id, RpcError(INTERNAL_ERROR, GONE_TEXT))
        with contextlib.suppress(StoreError):  # this client is told all the same
            await self._event_log.append_terminal_error(start.stream, position + 1, message)
        stream.replay(position + 1, message, start.prefix)
