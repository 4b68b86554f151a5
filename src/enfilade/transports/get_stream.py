"""The session era's GET stream: what the server says of its own accord, to one session (R-331 ff).

Only changes travel here; whatever belongs to a call goes on that call's own stream. One stream per session is
open at a time, because a message goes on exactly one (R-330, R-333). The easy thing to get wrong is a stream that
looks open and is dead (D8), so the place is taken before the first byte and given back whatever happens.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from enfilade.serving.changes import Change, Changes, Listener
from enfilade.serving.subscriptions import notification_of
from enfilade.transports.sessions import Session, Sessions
from enfilade.transports.stream import EventStream, Headers, Send
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError

if TYPE_CHECKING:
    from enfilade.transports.answer import AnswerOptions, Receive

_ANYTHING: Final = b"*/*"


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
        self._by_session: dict[str | None, Listener] = {}

    async def serve(
        self, session: Session, fields: dict[bytes, bytes], headers: Headers, receive: "Receive", send: Send
    ) -> None:
        """Serve one GET, until its client goes, its session ends or the server stops.

        Raises:
            RpcError: HTTP 406 for a client that takes no event stream, 409 if the session has its stream
                already, 503 if there are too many streams.
        """
        if not http.acceptable(fields.get(b"accept", _ANYTHING))[1]:
            raise RpcError(INVALID_REQUEST, "Accept must allow text/event-stream", status=406)
        key = session.peer.session_id
        if key in self._by_session:
            raise RpcError(INVALID_REQUEST, "This session has its event stream open already", status=409)
        revision = session.peer.revision
        watched = self._sessions.open_streams[key] = session.watched

        def tell(change: Change) -> None:
            if not stream.push(notification_of(change, revision)):
                listener.ended.set()

        listener = Listener(lambda change: change.uri is None or change.uri in watched, tell)
        self._by_session[key] = listener
        try:
            if not self._changes.attach(listener):
                raise RpcError(INVALID_REQUEST, "Too many event streams are open; try again later", status=503)
            stream = EventStream(send, headers, self._options.keep_alive, self._options.capacity)
            try:
                await _until_over(listener, receive)
                await stream.finish(None)
            finally:
                stream.abandon()
        finally:
            self._changes.detach(listener)
            del self._by_session[key], self._sessions.open_streams[key]

    def end(self, session: Session) -> None:
        """End the stream of a session that has ended."""
        listener = self._by_session.get(session.peer.session_id)
        if listener is not None:
            listener.end()


async def _until_over(listener: Listener, receive: "Receive") -> None:
    """Return when the client has gone or the listener has ended."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    waiting = [asyncio.ensure_future(gone()), asyncio.ensure_future(listener.ended.wait())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
