"""The session era's GET stream: what the server says of its own accord, to one session (R-331 ff).

Only changes travel here; whatever belongs to a call goes on that call's own stream. One stream per session is
open at a time, because a message goes on exactly one (R-330), and it is the newest (R-333). How it is opened, and
how a client comes back for the rest, is in `standalone_stream.py`.

A stream that can be resumed goes on for a while without its client, so that a change is not missed by somebody
who was cut off for a moment. The easy thing to get wrong is the client that comes back later than that: what it
may have missed is told, although nobody knows whether it happened.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from enfilade.serving.changes import Change, Changes, Listener, everything
from enfilade.serving.cluster import Relay
from enfilade.serving.subscriptions import notification_of
from enfilade.transports.asgi_types import Headers, Receive, Send
from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.event_recorder import StreamRecorder
from enfilade.transports.http.sessions import Session, Sessions
from enfilade.transports.http.sse_stream import EventStream, StreamOptions
from enfilade.transports.http.standalone_stream import Gets, Response, linger
from enfilade.transports.http.stream_lock import Seat
from enfilade.transports.refusal_log import RefusalError
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, RpcError
from enfilade.wire.revisions import POLLING

#: GET streams that go on at once for clients that were cut off. The oldest gives way to the next one.
MOST_LINGERING: Final = 256


class OpenStreams:
    """The GET streams of this worker.

    Args:
        changes: what they tell of.
        sessions: what they watch.
        options: how streams behave.
        relay: the workers at which a session may have its stream as well.
        event_log: where streams are recorded; None if they cannot be resumed.
        offers: whether a method is offered in a revision.
    """

    def __init__(
        self,
        changes: Changes,
        sessions: Sessions,
        options: StreamOptions,
        relay: Relay,
        event_log: SealedEventLog | None,
        offers: Callable[[str, str], bool],
    ) -> None:
        self._changes = changes
        self._sessions = sessions
        self._options = options
        self._relay = relay
        self._event_log = event_log
        self._offers = offers
        self._gets = Gets(relay, event_log, options)
        self.readers = self._gets.readers
        self._listening: dict[str, list[Listener]] = {}
        self._lingering: dict[Listener, None] = {}

    def __len__(self) -> int:
        return len(self._gets.seats)

    def sessions(self) -> set[Session]:
        """Return the sessions that have a stream open by GET here, or read the rest of one."""
        return {session for session in self._gets.open.values() if isinstance(session, Session)}

    def serve(
        self, session: Session, fields: dict[bytes, bytes], headers: Headers, receive: Receive, send: Send
    ) -> Awaitable[None]:
        """Return what serves one GET, until its client goes, its session is over or the server stops.

        Raises, when it is awaited:
            RpcError: HTTP 400 for an event that is not known, 404 if the session was ended just now, 406 for a
                client that takes no event stream, 503 if there are too many streams.
            StoreError: the store does not say what must be known first.
        """
        session_id, tell = str(session.peer.session_id), partial(self._tell, session)
        ttl, retry = session.longest_idle, self._retry(session)
        old = time.time() > session.opened + ttl
        return self._gets.serve(
            session_id, tell, fields, headers, receive, send, ttl=ttl, retry=retry, forgotten=old, session=session
        )

    async def _tell(self, session: Session, seat: Seat, response: Response) -> None:
        """Tell a session of changes; of all, if some may have been missed."""
        stream: EventStream | None = None
        revision, streaming = session.peer.revision, self._sessions.streaming
        key = seat.session_id

        def all_of_it() -> list[Change]:
            return everything(lambda method: self._offers(method, revision), streaming.get(key, ()))

        def wants(change: Change) -> bool:
            return change.uri is None or change.uri in streaming.get(key, ())

        def tell(change: Change) -> bool:
            if stream is None or stream.crowded:
                return False
            return stream.push(notification_of(change, revision, streaming.get(key, {})))

        listener = Listener(wants, tell, everything=all_of_it)
        recorder: StreamRecorder | None = None
        lingers = False
        try:
            if not seat.lost:  # else a newer stream is told of changes already
                await self._begin(session, listener)
            stream = response.opened()
            seat.open(stream)
            if seat.lost:
                await stream.finish(None)
                return
            if self._event_log is not None:
                recorder = self._event_log.start_stream(key, is_response=False)
                stream.record_to(recorder, priming=revision in POLLING)
            if response.continues:
                listener.offer_everything()
            await response.until_over(listener.ended)
            if listener.ended.done():
                self._end(key, listener)
                await stream.finish(None, retry=None if recorder is None else self._retry(session))
            elif recorder is not None:
                lingers = True
                self._make_room(listener)
                self._relay.soon(self._linger(session, listener, stream, recorder))
        finally:
            if not lingers:
                self._end(key, listener)
                if stream is not None:
                    stream.release()
            if stream is not None and stream.connected:
                stream.abandon()

    def _retry(self, session: Session) -> float | None:
        """Return when a client should come back, if it is one that understands."""
        return self._options.retry if session.peer.revision in POLLING else None

    async def _begin(self, session: Session, listener: Listener) -> None:
        """Let a stream hear of changes, and of what its session watched before."""
        key, streaming = str(session.peer.session_id), self._sessions.streaming
        self.end(key)  # whoever has the seat is alone: what lingers for a client that did not come back may go
        streaming.setdefault(key, {})  # from here on it is kept up to date
        self._listening.setdefault(key, []).append(listener)
        record = await self._sessions.record(key)
        if record.ended:
            raise RpcError(INVALID_REQUEST, "Session not found: send initialize again", status=404)
        streaming[key] = streaming[key] | record.watched
        if not self._changes.attach(listener):
            text = "Too many event streams are open; try again later"
            raise RefusalError("", INTERNAL_ERROR, text, status=503)

    def _make_room(self, listener: Listener) -> None:
        """Let one more stream go on without its client: sessions are free, so there is no end of such streams."""
        self._lingering[listener] = None
        if len(self._lingering) > MOST_LINGERING:
            oldest = next(iter(self._lingering))
            del self._lingering[oldest]
            oldest.end()

    async def _linger(
        self, session: Session, listener: Listener, stream: EventStream, recorder: StreamRecorder
    ) -> None:
        """Go on for a client that was cut off, as long as it may come back or reads from elsewhere."""
        try:
            await linger(recorder, listener.ended, lambda: _left(session))
        finally:
            self._lingering.pop(listener, None)
            self._end(str(session.peer.session_id), listener)
            stream.release()

    def _end(self, key: str, listener: Listener) -> None:
        """Let a stream hear of nothing any more."""
        self._changes.detach(listener)
        listening = self._listening.get(key, [])
        if listener in listening:
            listening.remove(listener)
        if not listening and key in self._listening:
            del self._listening[key]
            self._sessions.streaming.pop(key, None)

    def end(self, session_id: str) -> None:
        """End the streams of a session that has ended."""
        for listener in self._listening.get(session_id, ()):
            listener.end()


def _left(session: Session) -> float:
    """Return the seconds that a session has left."""
    return max(0.0, session.expires - time.time())
