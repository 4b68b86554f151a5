"""GETs of a session: its own stream opened anew, and the rest of any stream for who comes back for it (R-351).

What is sent on the session's own stream is decided by the caller; here is who may open one, and what there is
to read before it goes on. The easy thing to get wrong is the client whose old connection nobody has missed
yet, as behind a proxy that lost its client: a new GET takes the stream over from the old one, which ends.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from enfilade.serving.cluster import Relay
from enfilade.transports.asgi_types import Headers, Receive, Send
from enfilade.transports.http.event_log import EventBatch, EventPosition, SealedEventLog
from enfilade.transports.http.event_recorder import RELEASED, StreamRecorder
from enfilade.transports.http.resumption import INTERRUPTED, ORPHANED, Readers
from enfilade.transports.http.sse_stream import EventStream, StreamOptions
from enfilade.transports.http.stream_lock import Seat, Seats
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError

#: Seconds that a stream goes on for a client that was cut off.
LINGER: Final = 30.0

_ANYTHING: Final = b"*/*"


class Response:
    """The response to a GET, which is not begun before it is opened.

    Attributes:
        continues: whether it is that of a client that may have missed something: it came back later than its
            stream went on, or without saying what it had seen.
    """

    __slots__ = ("_gone", "_parts", "_receive", "_stream", "continues")

    def __init__(self, receive: Receive, send: Send, headers: Headers, options: StreamOptions) -> None:
        self._parts = send, headers, options
        self._receive = receive
        self._gone: asyncio.Task[None] | None = None
        self._stream: EventStream | None = None
        self.continues = False

    def opened(self) -> EventStream:
        """Return it begun, with status 200: nothing can be refused any more."""
        if self._stream is None:
            self._stream = EventStream(*self._parts)
            self._stream.open()
        return self._stream

    def gone(self) -> "asyncio.Task[None]":
        """Return what is done when the client has gone."""
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_task(_disconnect(self._receive))
        return self._gone

    def close(self) -> None:
        """Mind no longer whether the client goes."""
        if self._gone is not None:
            self._gone.cancel()

    async def until_over(self, ended: "asyncio.Future[None]") -> None:
        """Wait until the client has gone, there is nothing more to say, or the connection is over.

        Most responses do nothing else for most of their life, so no task is made for it.

        Args:
            ended: done when there is nothing more to say.
        """
        first = (ended, self.opened().closed)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as limit:

                def stop(_: object = None) -> None:
                    with contextlib.suppress(RuntimeError):  # it is over already
                        limit.reschedule(0.0)

                for each in first:
                    each.add_done_callback(stop)
                try:
                    await (self._gone or _disconnect(self._receive))
                finally:
                    for each in first:
                        each.remove_done_callback(stop)


class Tell(Protocol):
    """Writes what a session is told of the server's own accord."""

    async def __call__(self, seat: Seat, response: Response) -> None:
        """Write until the client has gone, or there is nothing more to say ever."""
        ...


class Gets:
    """The GETs of this worker.

    Args:
        relay: the workers at which a session may have its stream as well.
        event_log: where streams are recorded; None if they cannot be resumed.
        options: how streams behave.

    Attributes:
        seats: who has a stream open.
        readers: those who came back; None if nobody can.
        open: the responses that are open, and the session of each.
    """

    def __init__(self, relay: Relay, event_log: SealedEventLog | None, options: StreamOptions) -> None:
        self._event_log = event_log
        self._options = options
        self.seats = Seats(relay)
        self.readers = None if event_log is None else Readers(event_log, relay)
        self.open: dict[Response, object] = {}

    async def serve(
        self,
        session_id: str,
        tell: Tell,
        fields: Mapping[bytes, bytes],
        headers: Headers,
        receive: Receive,
        send: Send,
        *,
        ttl: float,
        retry: float | None,
        forgotten: bool = False,
        session: object = None,
    ) -> None:
        """Serve one GET, until its client goes or there is nothing more to say.

        Args:
            ttl: seconds for which the store remembers which connection has the session's stream.
            retry: after how many seconds a client that was cut off on purpose should come back; None if it
                would not.
            forgotten: whether the session's stream may have been opened longer ago than that.
            session: whose it is, for `open`.

        Raises:
            RpcError: HTTP 400 for an event that is not known, 406 for a client that takes no event stream; and
                what `tell` refuses before it opens the response.
            StoreError: the store does not say what must be known first.
        """
        if not http.acceptable(fields.get(b"accept", _ANYTHING))[1]:
            raise RpcError(INVALID_REQUEST, "Accept must allow text/event-stream", status=406)
        event_id = fields.get(http.LAST_EVENT_ID, b"").strip()
        del fields  # of which no more is needed, for however long the stream is open
        place = page = seat = None
        if event_id and self._event_log is not None:
            place = self._event_log.parse_event_id(event_id, session_id)
            page = await self._event_log.resume(place)
            if not page.head.is_response:
                seat = await self.seats.take_over(session_id, ttl, forgotten=forgotten)
        else:
            seat = await self.seats.take_over(session_id, ttl, forgotten=forgotten)
        response = Response(receive, send, headers, self._options)
        response.continues = place is None and seat is not None and seat.inherited
        self.open[response] = session
        try:
            if place is not None and page is not None:
                await self._resume(place, page, seat, tell, response, retry)
            elif seat is not None:
                await tell(seat, response)
        finally:
            del self.open[response]
            response.close()
            if seat is not None:
                await self.seats.leave(seat)

    async def _resume(
        self,
        place: EventPosition,
        page: EventBatch,
        seat: Seat | None,
        tell: Tell,
        response: Response,
        retry: float | None,
    ) -> None:
        """Read the rest of a stream to a client that came back; if it was a GET stream, go on where it ended."""
        assert self.readers is not None
        out = response.opened()
        if seat is not None:
            seat.open(out)
        try:
            fate = await self.readers.follow(place, page, out, response.gone())
            if fate.how in (RELEASED, ORPHANED) and seat is not None:
                response.continues = True
                await tell(seat, response)
            else:
                if fate.how == ORPHANED:
                    await self.readers.bury(place, page, fate.at, out)
                if not response.gone().done():
                    await out.finish(None, retry=retry if fate.how == INTERRUPTED else None)
        finally:
            out.abandon()


async def linger(recorder: StreamRecorder, ended: "asyncio.Future[None]", left: Callable[[], float]) -> None:
    """Wait for as long as a client that was cut off may come back, or reads from elsewhere.

    Args:
        ended: done when there is nothing more to say.
        left: returns the seconds that the session has left.
    """
    recorder.last_read = time.monotonic()
    while (remaining := min(recorder.last_read + LINGER - time.monotonic(), left())) > 0:
        if (await asyncio.wait((ended,), timeout=remaining))[0]:
            return


async def _disconnect(receive: Receive) -> None:
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except Exception:  # servers differ in how they say that nobody is there any more
        return
