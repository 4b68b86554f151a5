"""The session era's GET stream: what the server says of its own accord, to one session (R-331 ff).

Only changes travel here; whatever belongs to a call goes on that call's own stream. One stream per session is
open at a time, because a message goes on exactly one (R-330, R-333). The easy thing to get wrong is a stream that
looks open and is dead (D8), so the place is taken before the first byte and given back whatever happens; and a
client that comes back finds it free, although the server may not have noticed yet that it had gone.
"""

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from enfilade.serving.changes import Change, Changes, Listener
from enfilade.serving.subscriptions import notification_of
from enfilade.transports.sessions import Session, Sessions
from enfilade.transports.stream import EventStream, Headers, Send
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, RpcError

if TYPE_CHECKING:
    from enfilade.transports.answer import AnswerOptions, Receive

#: Seconds that a second stream of a session waits for the first to turn out to be gone.
HANDOVER: Final = 0.5

_ANYTHING: Final = b"*/*"


class _Place:
    """A session's place, and who has it."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.stream: EventStream | None = None
        self.left = asyncio.Event()

    async def vacated(self) -> None:
        """Wait a moment for whoever has it to leave.

        Something is written to the stream meanwhile: to a connection that the client has given up, that is what
        brings the answer that nobody is there.
        """
        if self.stream is not None:
            self.stream.knock()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.left.wait(), HANDOVER)


class OpenStreams:
    """The GET streams of this worker, by session.

    Args:
        changes: what they tell of.
        sessions: what they watch.
        options: how streams behave.
    """

    def __init__(self, changes: Changes, sessions: Sessions, options: "AnswerOptions") -> None:
        self._changes = changes
        self._sessions = sessions
        self._options = options
        self._places: dict[str | None, _Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    async def serve(
        self, session: Session, fields: dict[bytes, bytes], headers: Headers, receive: "Receive", send: Send
    ) -> None:
        """Serve one GET, until its client goes, its session is over or the server stops.

        Raises:
            RpcError: HTTP 406 for a client that takes no event stream, 409 if the session has its stream
                already, 404 if it was ended just now, 503 if there are too many streams.
        """
        if not http.acceptable(fields.get(b"accept", _ANYTHING))[1]:
            raise RpcError(INVALID_REQUEST, "Accept must allow text/event-stream", status=406)
        key, revision, streaming = session.peer.session_id, session.peer.revision, self._sessions.streaming

        def wants(change: Change) -> bool:
            return change.uri is None or change.uri in streaming.get(key, ())

        def tell(change: Change) -> bool:
            return not stream.crowded and stream.push(notification_of(change, revision, streaming.get(key, {})))

        listener = Listener(wants, tell)
        place = await self._take(key, listener)
        try:
            await self._begin(session, listener)
            place.stream = stream = EventStream(send, headers, self._options.keep_alive, self._options.capacity)
            try:
                gone = await _until_over(listener, receive, session.expires - time.time())
                self._release(key, place)  # a client that comes back need not wait for the last bytes
                if not gone:
                    await stream.finish(None)
            finally:
                stream.abandon()
        finally:
            self._release(key, place)

    async def _take(self, key: str | None, listener: Listener) -> _Place:
        """Take the session's place. Nothing is awaited between looking and taking (D8)."""
        taken = self._places.get(key)
        if taken is not None:
            await taken.vacated()
        if key in self._places:
            raise RpcError(INVALID_REQUEST, "This session has its event stream open already", status=409)
        self._sessions.streaming[key] = {}  # from here on it is kept up to date
        place = self._places[key] = _Place(listener)
        return place

    async def _begin(self, session: Session, listener: Listener) -> None:
        """Let the stream hear of changes, and of what its session watched before."""
        key, streaming = session.peer.session_id, self._sessions.streaming
        record = await self._sessions.record(session.peer)
        if record.ended:
            raise RpcError(INVALID_REQUEST, "Session not found: send initialize again", status=404)
        streaming[key] = streaming[key] | record.watched
        if not self._changes.attach(listener):
            raise RpcError(INTERNAL_ERROR, "Too many event streams are open; try again later", status=503)

    def _release(self, key: str | None, place: _Place) -> None:
        """Give the session's place back, unless that was done already."""
        self._changes.detach(place.listener)
        if self._places.get(key) is place:
            del self._places[key], self._sessions.streaming[key]
            place.left.set()

    def end(self, session: Session) -> None:
        """End the stream of a session that has ended."""
        place = self._places.get(session.peer.session_id)
        if place is not None:
            place.listener.end()


async def _until_over(listener: Listener, receive: "Receive", remaining: float) -> bool:
    """Wait until the client has gone, the listener has ended or the time is over; return whether it has gone."""
    gone = asyncio.ensure_future(_disconnect(receive))
    ended = asyncio.ensure_future(listener.ended.wait())
    try:
        await asyncio.wait((gone, ended), timeout=max(0.0, remaining), return_when=asyncio.FIRST_COMPLETED)
        return gone.done()
    finally:
        gone.cancel()
        ended.cancel()


async def _disconnect(receive: "Receive") -> None:
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except Exception:  # servers differ in how they say that nobody is there any more
        return
