"""One response as a stream of events, written by one small task from a bounded buffer.

A handler never waits for the network: what it sends goes into the buffer, and a reader that stalls hurts only its
own stream. What overflows is decided by kind: notifications may be dropped (and are counted), the outcome of the
request never is. The easy thing to get wrong is the end: a reader that never reads must not keep the writer for
ever, so after `STALL` seconds without progress the stream is given up.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from enfilade.wire.sse import KEEP_ALIVE, event

log = logging.getLogger("enfilade.transports")

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

#: Above this many waiting bytes a sender that can wait should wait.
HIGH_WATER: Final = 64 * 1024
#: Seconds that a sender waits for a reader that does not read, and a finished stream for its last bytes.
PATIENCE: Final = 5.0
STALL: Final = 60.0

HEAD: Final[Headers] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """Writes events to one ASGI response.

    Args:
        send: the ASGI send of the response, of which nothing was sent yet.
        headers: response headers besides those of every event stream.
        keep_alive: seconds of silence after which a comment is sent.
        capacity: bytes that may wait for the reader before notifications are dropped.
    """

    def __init__(self, send: Send, headers: Headers, keep_alive: float, capacity: int) -> None:
        self._send = send
        self._headers = HEAD + headers
        self._keep_alive = keep_alive
        self._capacity = capacity
        self._waiting: list[bytes] = []
        self._size = 0
        self._closing = False
        self._stalled = False
        self.dropped = 0
        self._loop = asyncio.get_running_loop()
        self._wake: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._task = self._loop.create_task(self._write())

    @property
    def crowded(self) -> bool:
        return self._size > HIGH_WATER and not self._stalled and not self._task.done()

    async def drained(self) -> None:
        """Wait until the reader has taken what was waiting, for at most `PATIENCE` seconds."""
        if self._room is None:
            self._room = self._loop.create_future()
        done, _ = await asyncio.wait((self._room,), timeout=PATIENCE)
        if not done:
            self._stalled = True  # from here on overflow is dropped at once instead of waited for

    def push(self, message: bytes) -> bool:
        """Take one notification; False if there was no room for it."""
        if self._closing or self._task.done() or self._size + len(message) > self._capacity:
            self.dropped += 1
            return False
        self._put(event(message))
        return True

    def push_always(self, message: bytes) -> None:
        """Take a message that must not be lost, whatever waits already."""
        self._put(event(message))

    def knock(self) -> None:
        """Send a comment now, to learn sooner that nobody is there."""
        self._put(KEEP_ALIVE)

    async def finish(self, message: bytes | None) -> None:
        """Send the outcome, if there is one to send, and end the stream."""
        if message is not None:
            self.push_always(message)
        self._closing = True
        self._rouse()
        if self.dropped:
            log.warning("a slow reader missed %d notifications", self.dropped)
        try:
            done, _ = await asyncio.wait((self._task,), timeout=STALL)
        finally:
            self._task.cancel()
        if not done:
            log.warning("gave up on a reader that took nothing for %d seconds", STALL)

    def abandon(self) -> None:
        """Stop writing at once: nobody is there any more."""
        self._task.cancel()

    def _put(self, chunk: bytes) -> None:
        self._waiting.append(chunk)
        self._size += len(chunk)
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _write(self) -> None:
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
            while True:
                if self._waiting:
                    chunk, self._waiting = b"".join(self._waiting), []
                    last = self._closing
                    await self._send({"type": "http.response.body", "body": chunk, "more_body": not last})
                    self._size -= len(chunk)
                    self._make_room()
                    if last:
                        return
                elif self._closing:
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
                else:
                    await self._sleep()
        except Exception as error:  # servers differ in what they raise once the client is gone, if anything
            log.debug("the reader of a stream went away: %r", error)
        finally:
            self._make_room()

    def _make_room(self) -> None:
        self._stalled = False
        if self._room is not None:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None

    async def _sleep(self) -> None:
        """Wait for something to write; when the silence gets long, a comment is."""
        self._wake = self._loop.create_future()
        timer = self._loop.call_later(self._keep_alive, self._put, KEEP_ALIVE)
        try:
            await self._wake
        finally:
            timer.cancel()
            self._wake = None
