"""One response as a stream of events, written by one small task from a bounded buffer.

A handler never waits for the network: what it sends goes into the buffer, and a reader that stalls hurts only its
own stream. What overflows is decided by kind: notifications may be dropped (and are counted), the outcome of the
request never is. With a recording the stream outlives its connection: what is sent afterwards goes into the log
alone, for whoever comes for the rest.

The easy thing to get wrong is the end: a reader that never reads must not keep the writer for ever, so after
`STALL` seconds without progress the stream is given up.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

from enfilade.transports.recording import CONCLUDED, LET_GO, Recording
from enfilade.wire.sse import KEEP_ALIVE, NUMBERED, come_back, event, prime

log = logging.getLogger("enfilade.transports")

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

#: Above this many waiting bytes a sender that can wait should wait.
HIGH_WATER: Final = 64 * 1024
#: Seconds that a sender waits for a reader that does not read, and a finished stream for its last bytes.
PATIENCE: Final = 5.0
STALL: Final = 60.0

#: Seconds that a connection gets to take its last bytes when somebody else comes for the rest of its stream.
PARTING: Final = 1.0

HEAD: Final[Headers] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How event streams behave; times in seconds, sizes in bytes.

    Attributes:
        keep_alive: silence after which a comment is sent.
        capacity: what may wait for a slow reader before notifications are dropped.
        retry: after how long a client that was cut off should come back.
    """

    keep_alive: float = 15.0
    capacity: int = 1024 * 1024
    retry: float = 1.0


class _Framed(bytes):
    """What goes out as it is."""


#: Stands for the event that says where a stream begins.
_BEGINNING: Final = _Framed()


class EventStream:
    """Writes events to one ASGI response.

    Args:
        send: the ASGI send of the response, of which nothing was sent yet.
        headers: response headers besides those of every event stream.
        options: how streams behave.
        recording: the stream in the log, which gives its events their ids; None if it cannot be resumed.
        priming: whether the client understands an event that has an id and nothing else (R-353).

    Attributes:
        parted: done once nothing more is written to this connection.
    """

    def __init__(
        self,
        send: Send,
        headers: Headers,
        options: StreamOptions,
        recording: Recording | None = None,
        *,
        priming: bool = False,
    ) -> None:
        self._send = send
        self._headers = HEAD + headers
        self._options = options
        self._recording: Recording | None = None
        self._waiting: list[bytes] = []  # messages, and what is `_Framed`
        self._size = 0
        self._position = 0  # of the last message that went out
        self._closing = False  # nothing more is taken
        self._ending = False  # the response ends after what waits
        self._stalled = False
        self._name: bytes | None = None
        self.dropped = 0
        self._loop = asyncio.get_running_loop()
        self.parted: asyncio.Future[None] = self._loop.create_future()
        self._wake: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        if recording is not None:
            self.resume_as(recording, priming=priming)
        self._task = self._loop.create_task(self._write())

    # -- what goes in ------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether anything that is sent may still arrive on this connection."""
        return not (self._ending or self._task.done())

    @property
    def overfull(self) -> bool:
        """Whether more waits for the reader than should."""
        return self._size > self._options.capacity

    @property
    def crowded(self) -> bool:
        if self._recording is not None and self._recording.crowded:
            return True
        return self._size > HIGH_WATER and not self._stalled and not self._task.done()

    async def drained(self) -> None:
        """Wait until reader and log have taken what was waiting, for at most `PATIENCE` seconds."""
        if self._recording is not None and self._recording.crowded:
            await self._recording.drained()
        if self._size <= HIGH_WATER or self._task.done():
            return
        if self._room is None:
            self._room = self._loop.create_future()
        done, _ = await asyncio.wait((self._room,), timeout=PATIENCE)
        if not done:
            self._stalled = True  # from here on overflow is dropped at once instead of waited for

    def push(self, message: bytes) -> bool:
        """Take one notification; False if there was no room for it, or nobody to take it."""
        if self._closing or (self.connected and self._size + len(message) > self._options.capacity):
            self.dropped += 1
            return False
        return self._take(message, droppable=True)

    def push_always(self, message: bytes) -> bool:
        """Take a message that must not be lost, whatever waits already; False if there is nobody to take it."""
        return not self._closing and self._take(message, droppable=False)

    def _take(self, message: bytes, *, droppable: bool) -> bool:
        if self._recording is not None:
            self._recording.record(message, droppable=droppable)
        if self.connected:
            self._put(message)
            return True
        return self._recording is not None

    def replay(self, position: int, message: bytes, name: bytes) -> None:
        """Send an event that has its id from the log already."""
        self._put(_Framed(NUMBERED % (name, position, message)))

    def knock(self) -> None:
        """Send a comment now, to learn sooner that nobody is there."""
        self._put(_Framed(KEEP_ALIVE))

    def resume_as(self, recording: Recording, *, priming: bool) -> None:
        """Record what follows, under a new name; nothing may have gone into an earlier recording."""
        self._recording, self._name, self._position = recording, None, 0
        recording.on_taken = self.part
        if priming:
            self._put(_BEGINNING)

    # -- how it ends -------------------------------------------------------------------------------------------

    def part(self, retry: float | None = None) -> None:
        """End the connection, and let the stream go on without it.

        Args:
            retry: seconds after which the client should come back for the rest; None to say nothing.
        """
        if not self.connected:
            return
        if retry is not None:
            self._put(_Framed(come_back(round(retry * 1000))))
        self._ending = True
        self._rouse()
        self._loop.call_later(PARTING, self._task.cancel)

    async def finish(self, message: bytes | None, *, retry: float | None = None) -> None:
        """Send the outcome, if there is one to send, and end the stream."""
        if message is not None:
            self._take(message, droppable=False)
        self._closing = True
        if self._recording is not None:
            self._recording.end(LET_GO if message is None else CONCLUDED)
        if self.dropped:
            log.warning("a slow reader missed %d notifications", self.dropped)
        if self.connected:
            if retry is not None:
                self._put(_Framed(come_back(round(retry * 1000))))
            self._ending = True
            self._rouse()
        try:
            done, _ = await asyncio.wait((self._task,), timeout=STALL)
        finally:
            self._task.cancel()
        if not done:
            log.warning("gave up on a reader that took nothing for %d seconds", STALL)

    def abandon(self) -> None:
        """Stop writing to this connection at once: nobody is there any more."""
        self._task.cancel()

    def let_go(self) -> None:
        """Say that nobody will send anything any more."""
        self._closing = True
        if self._recording is not None:
            self._recording.end(LET_GO)

    # -- what goes out -----------------------------------------------------------------------------------------

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
                    waiting, self._waiting, size = self._waiting, [], self._size
                    last = self._ending
                    if self._recording is not None and self._name is None:
                        self._name = await self._recording.named()
                    chunk = b"".join(self._framed(waiting))
                    await self._send({"type": "http.response.body", "body": chunk, "more_body": not last})
                    self._size -= size
                    self._make_room()
                    if last:
                        return
                elif self._ending:
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
                else:
                    await self._sleep()
        except Exception as error:  # servers differ in what they raise once the client is gone, if anything
            log.debug("the reader of a stream went away: %r", error)
        finally:
            self._make_room()
            if not self.parted.done():
                self.parted.set_result(None)

    def _framed(self, waiting: list[bytes]) -> list[bytes]:
        """Return what goes out; messages become events, which have ids on a stream that has a name."""
        name = self._name
        if name is None:
            self._position += sum(type(each) is bytes for each in waiting)
            return [event(each) if type(each) is bytes else each for each in waiting]
        chunks = []
        for each in waiting:
            if type(each) is bytes:
                self._position += 1
                chunks.append(NUMBERED % (name, self._position, each))
            elif each is _BEGINNING:
                chunks.append(prime(b"%b%d" % (name, self._position), round(self._options.retry * 1000)))
            else:
                chunks.append(each)
        return chunks

    def _make_room(self) -> None:
        self._stalled = False
        if self._room is not None:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None

    async def _sleep(self) -> None:
        """Wait for something to write; when the silence gets long, a comment is."""
        self._wake = self._loop.create_future()
        timer = self._loop.call_later(self._options.keep_alive, self.knock)
        try:
            await self._wake
        finally:
            timer.cancel()
            self._wake = None
