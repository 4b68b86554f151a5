"""The standalone stream of a session, which carries notifications of changes of lists and resources (R-331 ff).

`GetEndpoint` in `resumption.py` opens and resumes it. It has changes and nothing else: whatever belongs to a call
is sent on that call's stream, its response included (R-332).

A stream that can be resumed is retained for a while without its client, so that no change is missed because of a
short disconnect (R-357). A client that comes back later than that is told of every change that it may have
missed, although nobody knows whether there was one.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from enfilade.serving.callers.access import AccessPolicy, Caller
from enfilade.serving.cluster import WorkerChannel
from enfilade.serving.subscriptions import (
    Change,
    Changes,
    Listener,
    Watched,
    all_changes,
    hears,
    notification_of,
    session_topic,
)
from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.event_recorder import StreamRecorder
from enfilade.transports.http.resumption import SseResponse, retain
from enfilade.transports.http.sessions import Session, Sessions, session_not_found
from enfilade.transports.http.sse_stream import EventStream, StreamOptions
from enfilade.transports.http.stream_lock import StreamLock
from enfilade.transports.refusal_log import RefusalError
from enfilade.wire.jsonrpc import INTERNAL_ERROR
from enfilade.wire.revisions import POLLING

if TYPE_CHECKING:
    from enfilade.serving.principal import Principal

#: Standalone streams that are retained at once. The oldest gives way to the next one.
MOST_RETAINED: Final = 256


class _Outlet:
    """What a listener of a session is told of, and where that is sent.

    Attributes:
        stream: is open; None before.
    """

    __slots__ = ("_key", "_offers", "_revision", "_streaming", "stream")

    def __init__(
        self, session: Session, streaming: Mapping[str | None, Watched], offers: Callable[[str, str], bool]
    ) -> None:
        self._key = session.peer.session_id
        self._revision = session.peer.revision
        self._streaming = streaming
        self._offers = offers
        self.stream: EventStream | None = None

    def possible_changes(self) -> list[Change]:
        """Return all changes that there can be."""
        watched = self._streaming.get(self._key, ())
        return all_changes(lambda method: self._offers(method, self._revision), watched)

    def is_wanted(self, change: Change) -> bool:
        """Whether the session is told of a change."""
        if change.uri is None or change.uri in self._streaming.get(self._key, ()):
            return True
        return change.params is not None and change.uri == session_topic(str(self._key))

    def send(self, change: Change) -> bool:
        """Send a change; False if there is no room now."""
        stream = self.stream
        if stream is None or stream.is_congested:
            return False
        return stream.push_now(notification_of(change, self._revision, self._streaming.get(self._key, {})))


class StandaloneStreams:
    """The standalone streams of this worker's sessions, which carry change notifications.

    Args:
        sessions: the resources that each session watches.
        event_log: where streams are recorded; None if they cannot be resumed.
        access: who may see what.
        offers: whether a method is offered in a revision.
    """

    def __init__(
        self,
        changes: Changes,
        sessions: Sessions,
        options: StreamOptions,
        worker_channel: WorkerChannel,
        event_log: SealedEventLog | None,
        access: AccessPolicy,
        offers: Callable[[str, str], bool],
    ) -> None:
        self._changes = changes
        self._sessions = sessions
        self._options = options
        self._worker_channel = worker_channel
        self._event_log = event_log
        self._access = access
        self._offers = offers
        self._listeners: dict[str, list[Listener]] = {}
        self._retained: dict[Listener, None] = {}

    async def serve(
        self, session: Session, principal: "Principal | None", lock: StreamLock, response: SseResponse
    ) -> None:
        """Send changes to a session; all that there can be, if some may have been missed.

        Args:
            principal: who opened the stream, and hears of what it may see as long as the stream lasts.

        Raises:
            RpcError: HTTP 404 if the session was ended just now, 503 if there are too many streams.
            StoreError: the store does not answer.
        """
        stream: EventStream | None = None
        key = lock.session_id
        outlet = _Outlet(session, self._sessions.streaming, self._offers)
        listener = Listener(
            outlet.is_wanted,
            outlet.send,
            all_changes=outlet.possible_changes,
            may_see=partial(hears, self._access, Caller(principal, session.peer)),
            timings=self._options.timings,
        )
        listener.end_with(principal, self._access.leeway)
        recorder: StreamRecorder | None = None
        is_retained = False
        try:
            if not lock.revoked:  # else a newer stream tells of changes already
                await self._attach(session, listener)
            stream = outlet.stream = response.open()
            lock.attach(stream)
            if lock.revoked:
                await stream.finish(None)
                return
            if self._event_log is not None:
                recorder = self._event_log.start_stream(key, is_response=False)
                stream.record_to(recorder, priming=session.peer.revision in POLLING)
            if response.missed_changes:
                listener.offer_all()
            over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            listener.watch(over)
            await response.until(over)
            if listener.is_stopped:
                self._detach(key, listener)
                await stream.finish(None, retry=None if recorder is None else response.retry)
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

    async def _attach(self, session: Session, listener: Listener) -> None:
        """Let a stream hear of changes, and of those of the resources that its session watched before."""
        key, streaming = str(session.peer.session_id), self._sessions.streaming
        self.end(key)  # this connection holds the lock, so what is retained for an earlier one may go
        streaming.setdefault(key, {})  # from here on it is kept up to date
        self._listeners.setdefault(key, []).append(listener)
        record = await self._sessions.record(key)
        if record.ended:
            raise session_not_found()
        streaming[key] = streaming[key] | record.watched
        if not self._changes.attach(listener):
            text = "Too many event streams are open; try again later"
            raise RefusalError("max_total_streams", INTERNAL_ERROR, text, status=503)

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
