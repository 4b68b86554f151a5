"""What a session loop says of its own accord, on the stream that the client opens by GET.

Until the client has opened one, and while it has none, messages wait here: a question that is dropped would leave
the loop waiting for its answer. The easy thing to get wrong is a connection that has broken without anybody
having noticed: a stream that can be resumed takes what is said, one that cannot must not.
"""

import asyncio
import logging
from math import inf
from typing import Final

from enfilade.transports.bridge.session import SoleSession
from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.event_recorder import StreamRecorder
from enfilade.transports.http.sse_stream import EventStream
from enfilade.transports.http.standalone_stream import SseResponse, retain
from enfilade.transports.http.stream_lock import StreamLock
from enfilade.wire.revisions import POLLING

log = logging.getLogger("enfilade.transports")

#: Messages, and bytes of notifications, that wait for a client to open its stream.
MOST_WAITING: Final = 100
LARGEST_WAITING: Final = 64 * 1024


class OwnStream:
    """The stream that one session has by GET.

    Args:
        session: whose it is.
        event_log: where it is recorded, so that it can be resumed; None if it cannot be.
    """

    def __init__(self, session: SoleSession, event_log: SealedEventLog | None) -> None:
        self._session = session
        self._event_log = event_log
        self._lingering: set[asyncio.Task[None]] = set()
        self._stream: EventStream | None = None
        self._waiting: list[bytes] = []
        self._size = 0
        self._over = False
        self._ended: asyncio.Future[None] | None = None  # made with the first stream: there may be no loop yet
        self.dropped = 0

    def say(self, message: bytes, *, question: bool) -> bool:
        """Take a message; False if there is no room for it."""
        stream = self._stream
        if stream is not None and (stream.connected or self._event_log is not None):
            return stream.push_always(message) if question else stream.push(message)
        full = len(self._waiting) >= MOST_WAITING or (not question and self._size > LARGEST_WAITING)
        if full or self._over:
            self.dropped += 1
            if self.dropped == 1:
                log.warning("nobody has opened the session's stream, and no more messages can wait for it")
            return False
        self._waiting.append(message)
        self._size += len(message)
        return True

    def part(self) -> None:
        """End the connection, for the client to come back."""
        if self._stream is not None:
            self._stream.part(0.0)

    def end(self) -> None:
        """End the stream, because the session is over."""
        self._over = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        self._waiting.clear()

    async def stop(self) -> None:
        """Wait until nothing goes on, after the end."""
        if self._lingering:
            await asyncio.wait(self._lingering)

    async def tell(self, lock: StreamLock, response: SseResponse) -> None:
        """Send what is said from now on, and what waits, until the client has gone or the session is over."""
        before, recorder = self._stream, None
        stream = response.open()
        lock.attach(stream)
        if lock.revoked:
            await stream.finish(None)
            return
        self._stream = stream
        if before is not None and before is not stream:
            before.release()
        if self._event_log is not None:
            recorder = self._event_log.start_stream(self._session.key, is_response=False)
            stream.record_to(recorder, priming=self._session.revision in POLLING)
        waiting, self._waiting, self._size = self._waiting, [], 0
        for message in waiting:
            stream.push_always(message)
        lingers = False
        try:
            await response.wait_until_over(self._end())
            if self._over:
                await stream.finish(None)
            elif recorder is not None and self._stream is stream:
                lingers = True
                task = asyncio.get_running_loop().create_task(self._linger(stream, recorder))
                self._lingering.add(task)
                task.add_done_callback(self._lingering.discard)
        finally:
            if not lingers:
                self._close(stream)
            if stream.connected:
                stream.abandon()

    async def _linger(self, stream: EventStream, recorder: StreamRecorder) -> None:
        """Go on for a client that was cut off, as long as it may come back or reads from elsewhere."""
        try:
            await retain(recorder, self._end(), lambda: inf)
        finally:
            self._close(stream)

    def _end(self) -> "asyncio.Future[None]":
        """Return what is done when the session is over."""
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
            if self._over:
                self._ended.set_result(None)
        return self._ended

    def _close(self, stream: EventStream) -> None:
        if self._stream is stream:
            self._stream = None
        stream.release()
