"""GET requests of a session: a stream is opened, or resumed after a disconnect (`Last-Event-ID`, R-331, R-351).

    GET with Last-Event-ID ─────▶ GetEndpoint.serve ──▶ SealedEventLog.resume ──▶ StreamReaders.follow
                                  └─ of a standalone stream: lock first, and serve_stream afterwards
    GET without Last-Event-ID ──▶ GetEndpoint.serve ──▶ lock ──▶ SseResponse ──▶ serve_stream

*Resuming.* A client that comes back, to any worker, is sent what the log has after the event that it names, and
then what is added. The log is the only source, so nothing is lost or sent twice where the past meets the present.
The worker that writes the stream is told who reads it now: it ends its own connection, and says when there is
more. A worker that is gone never writes again, so a reader that gets nothing checks the lease of the worker.

*The standalone stream.* One per session is open at a time, since a message goes on exactly one stream (R-330),
and it is the newest (R-333). A reconnecting client may still hold the lock through a dead connection, such as one
behind a proxy that lost its client; the new GET steals the lock, and the old connection ends. What is sent on the
stream is decided by the caller: `StandaloneStreams` of our own endpoint, `ServerStream` of the bridge.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Final, NamedTuple, Protocol

from enfilade.counters import count
from enfilade.serving.cluster import WorkerChannel
from enfilade.state.store import StoreError
from enfilade.transports.exchange import Headers, HttpExchange, HttpRequest
from enfilade.transports.http.event_log import EventBatch, EventPosition, SealedEventLog
from enfilade.transports.http.event_recorder import RELEASED, StreamRecorder
from enfilade.transports.http.sse_stream import EventStream, StreamOptions
from enfilade.transports.http.stream_lock import StreamLock, StreamLocks
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, RpcError, encode_error

#: How reading ends, besides the ways in which a stream itself ends (`CONCLUDED`, `RELEASED`).
ORPHANED: Final = 3
INTERRUPTED: Final = 4

_ANYTHING: Final = b"*/*"

GONE_TEXT: Final = (
    "The worker that served this request is gone, and what became of the request is not known; "
    "send it again if it may be done twice"
)


class ReaderAccess(Protocol):
    """What the client that resumes a stream may read, by the scopes that the stream needs."""

    def may_read(self, scopes: Set[str]) -> bool:
        """Whether it has them."""
        ...

    def refusal(self, scopes: Set[str]) -> RpcError:
        """Return the error of a client that lacks some of them, as long as the request has its head."""
        ...


class ReadOutcome(NamedTuple):
    """How the reading of a stream ended.

    Attributes:
        end: as the stream ended (`CONCLUDED`, `RELEASED`); `ORPHANED` if its worker is gone; `INTERRUPTED` if the
            client is, or if another reader has the stream now.
        position: of the last message that was read.
    """

    end: int
    position: int


class _StreamReader:
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
    """The readers of this worker."""

    def __init__(self, event_log: SealedEventLog, worker_channel: WorkerChannel) -> None:
        self._event_log = event_log
        self._worker_channel = worker_channel
        self._readers: dict[str, _StreamReader] = {}
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
        self,
        start: EventPosition,
        batch: EventBatch,
        stream: EventStream,
        gone: "asyncio.Future[None]",
        access: ReaderAccess | None = None,
    ) -> ReadOutcome:
        """Send what follows an event, until there is nothing more to follow.

        Args:
            start: the event that the client has seen last.
            batch: what was read from there already.
            stream: the connection by which it came back.
            gone: done when the client has gone again.
            access: what the client may read; None for everything. If what is added needs more scopes, the
                connection is closed, and the client is refused when it comes back.
        """
        timings, number, reader = self._event_log.timings, secrets.token_hex(8), _StreamReader()
        self._readers[number] = reader
        clock, last_call = asyncio.get_running_loop().time, float("-inf")
        worker, position = batch.head.worker, start.position
        try:
            while True:
                if batch.scopes and access is not None and not access.may_read(batch.scopes):
                    return ReadOutcome(INTERRUPTED, position)
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

    async def _wait(self, reader: _StreamReader, gone: "asyncio.Future[None]") -> None:
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
        """Tell the client, and later readers, that its request ended with the worker that served it."""
        message = encode_error(batch.head.request_id, RpcError(INTERNAL_ERROR, GONE_TEXT))
        with contextlib.suppress(StoreError):  # this client is told all the same
            await self._event_log.append_terminal_error(start.stream, position + 1, message)
        stream.replay(position + 1, message, start.prefix)


# -- GET -------------------------------------------------------------------------------------------------------


class SseResponse:
    """The response to a GET, which can still be refused until it is opened.

    Attributes:
        retry: seconds after which a client whose stream is ended on purpose should reconnect; None if it does not
            understand that.
        missed_changes: whether its client may have missed something: it came back later than its stream was
            retained, or did not say what it had seen.
    """

    __slots__ = ("_disconnect", "_request", "_stream", "_stream_arguments", "missed_changes", "retry")

    def __init__(
        self, exchange: HttpExchange, headers: Headers, options: StreamOptions, retry: float | None
    ) -> None:
        self._stream_arguments = exchange, headers, options
        self.retry = retry
        self._request: HttpRequest = exchange
        self._disconnect: asyncio.Task[None] | None = None
        self._stream: EventStream | None = None
        self.missed_changes = False

    def open(self) -> EventStream:
        """Return the open stream, with status 200: from now on nothing can be refused."""
        if self._stream is None:
            self._stream = EventStream(*self._stream_arguments)
            self._stream.open()
        return self._stream

    def disconnect(self) -> "asyncio.Task[None]":
        """Return a task that is done when the client has gone."""
        if self._disconnect is None:
            self._disconnect = asyncio.get_running_loop().create_task(_wait_for_disconnect(self._request))
        return self._disconnect

    def close(self) -> None:
        """Stop watching for the disconnect."""
        if self._disconnect is not None:
            self._disconnect.cancel()

    def until(self, over: "asyncio.Future[None]") -> Awaitable[None]:
        """Return what waits until the client has gone, the connection is closed, or a future is done.

        Most responses do nothing else for most of their life. So no task is made for it, and nothing at all where
        the server can do without.

        Args:
            over: whoever has nothing more to send sets its result; so may this response.
        """
        self.open().watch(over)
        if self._disconnect is None and self._request.watch(over):
            return over
        return self._disconnected_or(over)

    async def _disconnected_or(self, over: "asyncio.Future[None]") -> None:
        # Besides `TimeoutError`, servers raise different errors for a client that has gone.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(None) as limit:

                def stop(_: object = None) -> None:
                    with contextlib.suppress(RuntimeError):  # it is over already
                        limit.reschedule(0.0)

                over.add_done_callback(stop)
                try:
                    await (self._disconnect or self._request.disconnected())
                finally:
                    over.remove_done_callback(stop)


class ServeStream(Protocol):
    """Sends what belongs on a session's standalone stream."""

    async def __call__(self, lock: StreamLock, response: SseResponse) -> None:
        """Send until the client has gone, or there will be nothing more to send.

        Args:
            lock: the lock of the session, which this connection holds.
            response: where it is sent; it is not open yet, unless the client has resumed a stream on it.
        """
        ...


class GetEndpoint:
    """Serves the GETs of this worker: standalone streams, and resumption by `Last-Event-ID`.

    Attributes:
        locks: the locks that connections here hold.
        readers: the clients that have resumed a stream; None if none can.
        open_responses: the responses that are open, and the session of each.
    """

    def __init__(
        self, worker_channel: WorkerChannel, event_log: SealedEventLog | None, options: StreamOptions
    ) -> None:
        #: Is called with what names the span of the request whose stream is resumed; None if nobody observes.
        self.on_resumption: Callable[[str], None] | None = None
        self._event_log = event_log
        self._options = options
        self.locks = StreamLocks(worker_channel)
        self.readers = None if event_log is None else StreamReaders(event_log, worker_channel)
        self.open_responses: dict[SseResponse, object] = {}

    async def serve(
        self,
        session_id: str,
        serve_stream: ServeStream,
        fields: Mapping[bytes, bytes],
        headers: Headers,
        exchange: HttpExchange,
        *,
        ttl: float,
        retry: float | None,
        may_be_forgotten: bool = False,
        session: object = None,
        access: ReaderAccess | None = None,
    ) -> None:
        """Serve one GET, until its client goes or there is nothing more to send.

        Args:
            serve_stream: sends what belongs on the standalone stream.
            headers: response headers besides those of every event stream.
            ttl: seconds for which the store remembers which connection holds the lock of the session.
            retry: as `SseResponse.retry`.
            may_be_forgotten: whether the standalone stream may have been opened longer ago than `ttl`.
            session: what `open_responses` has for it.
            access: what the client may read of recorded streams; None for everything.

        Raises:
            RpcError: HTTP 400 for an event that is not known, 406 for a client that takes no event stream; and
                what `serve_stream` refuses before it opens the response, and the refusal of `access`.
            StoreError: the store does not answer.
        """
        if not http.acceptable(fields.get(b"accept", _ANYTHING))[1]:
            raise RpcError(INVALID_REQUEST, "Accept must allow text/event-stream", status=406)
        event_id = fields.get(http.LAST_EVENT_ID, b"").strip()
        start = batch = lock = None
        if event_id and self._event_log is not None:
            start = self._event_log.parse_event_id(event_id, session_id)
            batch = await self._event_log.resume(start)
            if batch.scopes and access is not None and not access.may_read(batch.scopes):
                raise access.refusal(batch.scopes)
            if self.on_resumption is not None:
                self.on_resumption(batch.head.traceparent)
        del fields  # they are not needed any more, for however long the stream is open
        exchange.forget_head()
        if batch is None or not batch.head.is_response:
            lock = await self.locks.steal(session_id, ttl, may_be_forgotten=may_be_forgotten)
        response = SseResponse(exchange, headers, self._options, retry)
        response.missed_changes = start is None and lock is not None and lock.was_held
        self.open_responses[response] = session
        try:
            if start is not None and batch is not None:
                await self._resume(start, batch, lock, serve_stream, response, access)
            elif lock is not None:
                serving = serve_stream(lock, response)
                del access, serve_stream  # as the fields
                await serving
        finally:
            del self.open_responses[response]
            response.close()
            if lock is not None:
                await self.locks.release(lock)

    async def _resume(
        self,
        start: EventPosition,
        batch: EventBatch,
        lock: StreamLock | None,
        serve_stream: ServeStream,
        response: SseResponse,
        access: ReaderAccess | None,
    ) -> None:
        """Send the rest of a stream, and go on with the standalone stream if it was one and has no outcome."""
        assert self.readers is not None
        count("streams_resumed")
        stream = response.open()
        if lock is not None:
            lock.attach(stream)
        try:
            outcome = await self.readers.follow(start, batch, stream, response.disconnect(), access)
            if outcome.end in (RELEASED, ORPHANED) and lock is not None:
                response.missed_changes = True
                await serve_stream(lock, response)
            else:
                if outcome.end == ORPHANED:
                    await self.readers.finish_orphaned(start, batch, outcome.position, stream)
                if not response.disconnect().done():
                    await stream.finish(None, retry=response.retry if outcome.end == INTERRUPTED else None)
        finally:
            stream.abandon()


async def retain(
    recorder: StreamRecorder, ended: "asyncio.Future[None]", session_time_left: Callable[[], float]
) -> None:
    """Wait for as long as a disconnected client may come back, or reads from elsewhere.

    Args:
        ended: done when there is nothing more to send.
    """
    recorder.last_read = time.monotonic()
    while (remaining := min(recorder.last_read + recorder.retention - time.monotonic(), session_time_left())) > 0:
        if (await asyncio.wait((ended,), timeout=remaining))[0]:
            return


async def _wait_for_disconnect(request: HttpRequest) -> None:
    with contextlib.suppress(Exception):  # servers differ in how they say that the client has gone
        await request.disconnected()
