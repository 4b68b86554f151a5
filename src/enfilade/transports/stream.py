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
from typing import Final

from enfilade.transports.framing import BEGINNING, Framed, Framing
from enfilade.transports.recording import CONCLUDED, LET_GO, Recording
from enfilade.transports.stream_options import HEAD, Headers, Send, StreamOptions
from enfilade.wire.sse import KEEP_ALIVE, come_back, numbered

__all__ = ["HEAD", "EventStream", "Headers", "Send", "StreamOptions"]

log = logging.getLogger("enfilade.transports")

#: Above this many waiting bytes a sender that can wait should wait.
HIGH_WATER: Final = 64 * 1024
#: Seconds that a sender waits for a reader that does not read, and a finished stream for its last bytes.
PATIENCE: Final = 5.0
STALL: Final = 60.0

#: Seconds that a connection gets to take its last bytes when somebody else comes for the rest of its stream.
PARTING: Final = 1.0
_SOON: Final = 0.002  # seconds that are not worth another timer


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
        self._waiting: list[bytes] = []  # messages, and what is `Framed`
        self._mixed = False  # whether something that waits is `Framed`
        self._size = 0
        self._closing = False  # nothing more is taken
        self._ending = False  # the response ends after what waits
        self._begun = False  # somebody writes, or has written
        self._over = False  # nobody writes any more
        self._stalled = False
        self._limit: asyncio.Timeout | None = None
        self._framing = Framing(options.retry)
        self.dropped = 0
        self._loop = asyncio.get_running_loop()
        self.parted: asyncio.Future[None] = self._loop.create_future()
        self._wake: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._silent_since = 0.0
        if recording is not None:
            self.resume_as(recording, priming=priming)
        self._task = self._loop.create_task(self._begin())

    # -- what goes in ------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether anything that is sent may still arrive on this connection."""
        return not (self._ending or self._over)

    @property
    def overfull(self) -> bool:
        """Whether more waits for the reader than should."""
        return self._size > self._options.capacity

    @property
    def crowded(self) -> bool:
        if self._size > HIGH_WATER and not self._stalled and not self._over:
            return True
        return self._recording is not None and self._recording.crowded

    async def drained(self) -> None:
        """Wait until reader and log have taken what was waiting, for at most `PATIENCE` seconds."""
        if self._recording is not None and self._recording.crowded:
            await self._recording.drained()
        if self._size <= HIGH_WATER or self._over:
            return
        self._room = self._room or self._loop.create_future()
        done, _ = await asyncio.wait((self._room,), timeout=PATIENCE)
        if not done:
            self._stalled = True  # from here on overflow is dropped at once instead of waited for

    def push(self, message: bytes) -> bool:
        """Take one notification; False if there was no room for it, or nobody to take it."""
        size, recording = self._size + len(message), self._recording
        if self._closing or (size > self._options.capacity and self.connected):
            self.dropped += 1
            return False
        if recording is not None:
            recording.record(message, droppable=True)
        if self._ending or self._over:
            return recording is not None
        self._waiting.append(message)
        self._size = size
        if self._wake is not None:
            self._rouse()
        return True

    def push_always(self, message: bytes) -> bool:
        """Take a message that must not be lost, whatever waits already; False if there is nobody to take it."""
        if self._closing:
            return False
        if self._recording is not None:
            self._recording.record(message, droppable=False)
        if self.connected:
            self._put(message)
            return True
        return self._recording is not None

    def replay(self, position: int, message: bytes, name: bytes) -> None:
        """Send an event that has its id from the log already."""
        self._put_framed(Framed(numbered(name) % (position, message)))

    def knock(self) -> None:
        """Send a comment now, to learn sooner that nobody is there."""
        self._put_framed(Framed(KEEP_ALIVE))

    def resume_as(self, recording: Recording, *, priming: bool) -> None:
        """Record what follows, under a new name; nothing may have gone into an earlier recording."""
        if self._recording is not None:
            self._framing = Framing(self._options.retry)
        self._recording, recording.on_taken = recording, self.part
        if priming:
            self._put_framed(BEGINNING)

    # -- how it ends -------------------------------------------------------------------------------------------

    def part(self, retry: float | None = None) -> None:
        """End the connection, and let the stream go on without it.

        Args:
            retry: seconds after which the client should come back for the rest; None to say nothing.
        """
        if self.connected:
            self._end_with(retry)
            self._loop.call_later(PARTING, self.abandon)

    def _end_with(self, retry: float | None) -> None:
        if self.connected:
            if retry is not None:
                self._put_framed(Framed(come_back(round(retry * 1000))))
            self._ending = True
            self._rouse()

    async def finish(self, message: bytes | None, *, retry: float | None = None) -> None:
        """Send the outcome, if there is one to send, and end the stream."""
        if message is not None:
            self.push_always(message)
        self._closing = True
        if self._recording is not None:
            self._recording.end(LET_GO if message is None else CONCLUDED)
        if self.dropped:
            log.warning("a slow reader missed %d notifications", self.dropped)
        whole = self.connected and not self._begun
        self._end_with(retry)
        try:
            await (self._write_whole() if whole else self._written())
        except TimeoutError:
            log.warning("gave up on a reader that took nothing for %d seconds", STALL)
        finally:
            if not self._over:
                self.abandon()

    async def _write_whole(self) -> None:
        """Write what is complete before its task has begun, which so has nothing to do but to mind the time."""
        self._begun = True
        async with asyncio.timeout(None) as self._limit:
            await self._write()

    async def _written(self) -> None:
        async with asyncio.timeout(STALL):
            await asyncio.wait((self._task,))

    def abandon(self) -> None:
        """Stop writing to this connection at once: nobody is there any more."""
        self._task.cancel()
        self._end()

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

    def _put_framed(self, chunk: Framed) -> None:
        self._mixed = True
        self._put(chunk)

    def _rouse(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    async def _begin(self) -> None:
        begun, self._begun = self._begun, True
        if not begun:
            await self._write()
        elif self._limit is not None and not self._over:  # it is written elsewhere, and takes its time
            self._limit.reschedule(self._loop.time() + STALL)

    async def _write(self) -> None:
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
            while True:
                if self._waiting:
                    if self._recording is not None and self._framing.name is None:
                        self._framing.named(await self._recording.named())
                    size, last = self._size, self._ending
                    frame = self._framing.mixed if self._mixed else self._framing.messages
                    waiting, self._waiting, self._mixed = self._waiting, [], False
                    await self._send(
                        {"type": "http.response.body", "body": frame(waiting), "more_body": not last}
                    )
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
            self._end()

    def _end(self) -> None:
        """Let nobody wait for a reader any more."""
        self._over = True
        self._make_room()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self.parted.done():
            self.parted.set_result(None)

    def _make_room(self) -> None:
        self._stalled = False
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    async def _sleep(self) -> None:
        """Wait for something to write."""
        self._silent_since = self._loop.time()
        if self._alarm is None:
            self._alarm = self._loop.call_later(self._options.keep_alive, self._listen)
        self._wake = self._loop.create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    def _listen(self) -> None:
        """Send a comment if the silence has been long, and look again when it may be."""
        self._alarm = None
        if self._wake is None:
            return  # there is no silence, and whoever writes sees to the next one
        left = self._silent_since + self._options.keep_alive - self._loop.time()
        if left > _SOON:
            self._alarm = self._loop.call_later(left, self._listen)
        else:
            self.knock()
