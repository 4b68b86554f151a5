"""GET requests of a session: its standalone stream, and the resumption of any stream (R-331 ff, R-351).

    GET without Last-Event-ID ──▶ GetEndpoint.serve ──▶ lock ──▶ SseResponse ──▶ serve_stream (changes)
    GET with Last-Event-ID ─────▶ GetEndpoint.serve ──▶ SealedEventLog.resume ──▶ StreamReaders.follow
                                  └─ of a standalone stream: lock first, and serve_stream afterwards

One standalone stream per session is open at a time, since a message goes on exactly one stream (R-330), and it is
the newest (R-333). A reconnecting client may still hold the lock through a dead connection, such as one behind a
proxy that lost its client; the new GET steals the lock, and the old connection ends.

`GetEndpoint` is shared with `HTTPStreamableTransport`; what is sent on the standalone stream is decided by its
caller. Our own endpoint (`StandaloneStreams`) sends changes of lists and resources, and nothing else: whatever
belongs to a call is sent on that call's stream, its response included (R-332).

A stream that can be resumed is retained for a while without its client, so that no change is missed because of a
short disconnect (R-357). A client that comes back later than that is told of every change that it may have
missed, although nobody knows whether there was one.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, Protocol

from enfilade.serving.cluster import WorkerChannel
from enfilade.serving.subscriptions import Change, Changes, Listener, all_changes, notification_of
from enfilade.transports.exchange import Headers, HttpExchange, HttpRequest
from enfilade.transports.http.event_log import EventBatch, EventPosition, SealedEventLog
from enfilade.transports.http.event_recorder import RELEASED, StreamRecorder
from enfilade.transports.http.resumption import INTERRUPTED, ORPHANED, StreamReaders
from enfilade.transports.http.sessions import Session, Sessions
from enfilade.transports.http.sse_stream import EventStream, StreamOptions
from enfilade.transports.http.stream_lock import StreamLock, StreamLocks
from enfilade.transports.refusal_log import RefusalError
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, RpcError
from enfilade.wire.revisions import POLLING

#: Standalone streams that are retained at once. The oldest gives way to the next one.
MOST_RETAINED: Final = 256

_ANYTHING: Final = b"*/*"


class SseResponse:
    """The response to a GET, which can still be refused until it is opened.

    Attributes:
        missed_changes: whether its client may have missed something: it came back later than its stream was
            retained, or did not say what it had seen.
    """

    __slots__ = ("_disconnect", "_request", "_stream", "_stream_arguments", "missed_changes")

    def __init__(self, exchange: HttpExchange, headers: Headers, options: StreamOptions) -> None:
        self._stream_arguments = exchange, headers, options
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

    async def wait_until_over(self, ended: "asyncio.Future[None]") -> None:
        """Wait until the client has gone, there is nothing more to send, or the connection is closed.

        Most responses do nothing else for most of their life, so no task is made for it.

        Args:
            ended: done when there is nothing more to send.
        """
        futures = (ended, self.open().closed)
        # Besides `TimeoutError`, servers raise different errors for a client that has gone.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(None) as limit:

                def stop(_: object = None) -> None:
                    with contextlib.suppress(RuntimeError):  # it is over already
                        limit.reschedule(0.0)

                for future in futures:
                    future.add_done_callback(stop)
                try:
                    await (self._disconnect or self._request.disconnected())
                finally:
                    for future in futures:
                        future.remove_done_callback(stop)


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
    """Serves the GETs of this worker.

    Args:
        worker_channel: the workers at which a session may have its stream as well.
        event_log: where streams are recorded; None if they cannot be resumed.
        options: how streams behave.

    Attributes:
        locks: the locks that connections here hold.
        readers: the clients that have resumed a stream; None if none can.
        open_responses: the responses that are open, and the session of each.
    """

    def __init__(
        self, worker_channel: WorkerChannel, event_log: SealedEventLog | None, options: StreamOptions
    ) -> None:
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
    ) -> None:
        """Serve one GET, until its client goes or there is nothing more to send.

        Args:
            session_id: the session of the client.
            serve_stream: sends what belongs on the standalone stream.
            fields: request headers.
            headers: response headers besides those of every event stream.
            exchange: the request with its response.
            ttl: seconds for which the store remembers which connection holds the lock of the session.
            retry: seconds after which a client whose stream is ended on purpose should reconnect; None if it does
                not understand that.
            may_be_forgotten: whether the standalone stream may have been opened longer ago than `ttl`.
            session: what `open_responses` has for it.

        Raises:
            RpcError: HTTP 400 for an event that is not known, 406 for a client that takes no event stream; and
                what `serve_stream` refuses before it opens the response.
            StoreError: the store does not answer.
        """
        if not http.acceptable(fields.get(b"accept", _ANYTHING))[1]:
            raise RpcError(INVALID_REQUEST, "Accept must allow text/event-stream", status=406)
        event_id = fields.get(http.LAST_EVENT_ID, b"").strip()
        del fields  # they are not needed any more, for however long the stream is open
        start = batch = lock = None
        if event_id and self._event_log is not None:
            start = self._event_log.parse_event_id(event_id, session_id)
            batch = await self._event_log.resume(start)
        if batch is None or not batch.head.is_response:
            lock = await self.locks.steal(session_id, ttl, may_be_forgotten=may_be_forgotten)
        response = SseResponse(exchange, headers, self._options)
        response.missed_changes = start is None and lock is not None and lock.was_held
        self.open_responses[response] = session
        try:
            if start is not None and batch is not None:
                await self._resume(start, batch, lock, serve_stream, response, retry)
            elif lock is not None:
                await serve_stream(lock, response)
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
        retry: float | None,
    ) -> None:
        """Send the rest of a stream, and go on with the standalone stream if it was one and has no outcome."""
        assert self.readers is not None
        stream = response.open()
        if lock is not None:
            lock.attach(stream)
        try:
            outcome = await self.readers.follow(start, batch, stream, response.disconnect())
            if outcome.end in (RELEASED, ORPHANED) and lock is not None:
                response.missed_changes = True
                await serve_stream(lock, response)
            else:
                if outcome.end == ORPHANED:
                    await self.readers.finish_orphaned(start, batch, outcome.position, stream)
                if not response.disconnect().done():
                    await stream.finish(None, retry=retry if outcome.end == INTERRUPTED else None)
        finally:
            stream.abandon()


async def retain(
    recorder: StreamRecorder, ended: "asyncio.Future[None]", session_time_left: Callable[[], float]
) -> None:
    """Wait for as long as a disconnected client may come back, or reads from elsewhere.

    Args:
        recorder: records the stream meanwhile.
        ended: done when there is nothing more to send.
        session_time_left: returns the seconds until the session ends.
    """
    recorder.last_read = time.monotonic()
    while (remaining := min(recorder.last_read + recorder.retention - time.monotonic(), session_time_left())) > 0:
        if (await asyncio.wait((ended,), timeout=remaining))[0]:
            return


async def _wait_for_disconnect(request: HttpRequest) -> None:
    with contextlib.suppress(Exception):  # servers differ in how they say that the client has gone
        await request.disconnected()


class StandaloneStreams:
    """The standalone streams of this worker's sessions, which tell of changes.

    Args:
        changes: what they tell of.
        sessions: the resources that each session watches.
        options: how streams behave.
        worker_channel: the workers at which a session may have its stream as well.
        event_log: where streams are recorded; None if they cannot be resumed.
        offers: whether a method is offered in a revision.
    """

    def __init__(
        self,
        changes: Changes,
        sessions: Sessions,
        options: StreamOptions,
        worker_channel: WorkerChannel,
        event_log: SealedEventLog | None,
        offers: Callable[[str, str], bool],
    ) -> None:
        self._changes = changes
        self._sessions = sessions
        self._options = options
        self._worker_channel = worker_channel
        self._event_log = event_log
        self._offers = offers
        self._endpoint = GetEndpoint(worker_channel, event_log, options)
        self.readers = self._endpoint.readers
        self._listeners: dict[str, list[Listener]] = {}
        self._retained: dict[Listener, None] = {}

    def __len__(self) -> int:
        return len(self._endpoint.locks)

    def sessions(self) -> set[Session]:
        """Return the sessions that have a stream open by GET here."""
        return {session for session in self._endpoint.open_responses.values() if isinstance(session, Session)}

    def serve(
        self, session: Session, fields: dict[bytes, bytes], headers: Headers, exchange: HttpExchange
    ) -> Awaitable[None]:
        """Return what serves one GET, until its client goes, its session ends or the server stops.

        Raises, when it is awaited:
            RpcError: HTTP 400 for an event that is not known, 404 if the session was ended just now, 406 for a
                client that takes no event stream, 503 if there are too many streams.
            StoreError: the store does not answer.
        """
        ttl = session.longest_idle
        return self._endpoint.serve(
            str(session.peer.session_id),
            partial(self._serve_changes, session),
            fields,
            headers,
            exchange,
            ttl=ttl,
            retry=self._retry(session),
            may_be_forgotten=time.time() > session.opened + ttl,
            session=session,
        )

    async def _serve_changes(self, session: Session, lock: StreamLock, response: SseResponse) -> None:
        """Send changes to a session; all that there can be, if some may have been missed."""
        stream: EventStream | None = None
        revision, streaming = session.peer.revision, self._sessions.streaming
        key = lock.session_id

        def possible_changes() -> list[Change]:
            return all_changes(lambda method: self._offers(method, revision), streaming.get(key, ()))

        def is_wanted(change: Change) -> bool:
            return change.uri is None or change.uri in streaming.get(key, ())

        def send_change(change: Change) -> bool:
            if stream is None or stream.is_congested:
                return False
            return stream.push(notification_of(change, revision, streaming.get(key, {})))

        listener = Listener(is_wanted, send_change, all_changes=possible_changes, timings=self._options.timings)
        recorder: StreamRecorder | None = None
        is_retained = False
        try:
            if not lock.revoked:  # else a newer stream tells of changes already
                await self._attach(session, listener)
            stream = response.open()
            lock.attach(stream)
            if lock.revoked:
                await stream.finish(None)
                return
            if self._event_log is not None:
                recorder = self._event_log.start_stream(key, is_response=False)
                stream.record_to(recorder, priming=revision in POLLING)
            if response.missed_changes:
                listener.offer_all()
            await response.wait_until_over(listener.ended)
            if listener.ended.done():
                self._detach(key, listener)
                await stream.finish(None, retry=None if recorder is None else self._retry(session))
            elif recorder is not None:
                is_retained = True
                self._make_room(listener)
                self._worker_channel.spawn(self._retain(session, listener, stream, recorder))
        finally:
            if not is_retained:
                self._detach(key, listener)
                if stream is not None:
                    stream.release()
            if stream is not None and stream.connected:
                stream.abandon()

    def _retry(self, session: Session) -> float | None:
        """Return when a client should reconnect, if it is one that understands."""
        return self._options.retry if session.peer.revision in POLLING else None

    async def _attach(self, session: Session, listener: Listener) -> None:
        """Let a stream hear of changes, and of those of the resources that its session watched before."""
        key, streaming = str(session.peer.session_id), self._sessions.streaming
        self.end(key)  # this connection holds the lock, so what is retained for an earlier one may go
        streaming.setdefault(key, {})  # from here on it is kept up to date
        self._listeners.setdefault(key, []).append(listener)
        record = await self._sessions.record(key)
        if record.ended:
            raise RpcError(INVALID_REQUEST, "Session not found: send initialize again", status=404)
        streaming[key] = streaming[key] | record.watched
        if not self._changes.attach(listener):
            text = "Too many event streams are open; try again later"
            raise RefusalError("", INTERNAL_ERROR, text, status=503)

    def _make_room(self, listener: Listener) -> None:
        """Retain one more stream. Anybody can open sessions, so the number of retained streams is bounded."""
        self._retained[listener] = None
        if len(self._retained) > MOST_RETAINED:
            oldest = next(iter(self._retained))
            del self._retained[oldest]
            oldest.end()

    async def _retain(
        self, session: Session, listener: Listener, stream: EventStream, recorder: StreamRecorder
    ) -> None:
        """Retain a stream whose client was disconnected, as long as it may come back or reads from elsewhere."""
        try:
            await retain(recorder, listener.ended, lambda: max(0.0, session.expires - time.time()))
        finally:
            self._retained.pop(listener, None)
            self._detach(str(session.peer.session_id), listener)
            stream.release()

    def _detach(self, key: str, listener: Listener) -> None:
        """Let a stream hear of nothing any more."""
        self._changes.detach(listener)
        listeners = self._listeners.get(key, [])
        if listener in listeners:
            listeners.remove(listener)
        if not listeners and key in self._listeners:
            del self._listeners[key]
            self._sessions.streaming.pop(key, None)

    def end(self, session_id: str) -> None:
        """End the streams of a session that has ended."""
        for listener in self._listeners.get(session_id, ()):
            listener.end()
