"""One response as a stream of events, written from a bounded buffer by a small task, while there is something.

What is complete before anybody has begun to write it, as with a handler that reports on its way and never waits,
goes out as a whole, after the log has it, and needs no task for that.

A handler never waits for the network: what it sends goes into the buffer, and a reader that stalls hurts only its
own stream. What overflows is decided by kind: notifications may be dropped (and are counted), the outcome of the
request never is. With a recording the stream outlives its connection: what is sent afterwards goes into the log
alone, for whoever comes for the rest.

The easy thing to get wrong is the end: a client that never reads must not keep the writer for ever. Our protocol
closes its connection after `write_timeout`. Behind another ASGI server, which may have no such limit, a stream
is given up here once no send has returned for twice as long.
"""

import asyncio
import logging
from typing import Final

import msgspec

from enfilade.serving.failures import LimitedLog
from enfilade.transports.asgi_types import Headers, Send
from enfilade.transports.http.complete_stream import send_at_once
from enfilade.transports.http.event_recorder import CONCLUDED, LET_GO, Recording
from enfilade.transports.http.framing import BEGINNING, Framed, Framing
from enfilade.transports.http.keepalive_timer import Silence
from enfilade.transports.http.recorder import Recorder
from enfilade.transports.http.stream_options import HEAD, StreamOptions
from enfilade.wire.sse import KEEP_ALIVE, OPENING, come_back, numbered

log = logging.getLogger("enfilade.transports")

# Clients decide how often these happen.
_missed: Final = LimitedLog(log)
_given_up: Final = LimitedLog(log)

#: Above this many waiting bytes a sender that can wait should wait.
HIGH_WATER: Final = 64 * 1024
#: Seconds that a sender waits for a reader that does not read.
PATIENCE: Final = 5.0

#: Seconds that a connection gets to take its last bytes when somebody else comes for the rest of its stream.
PARTING: Final = 1.0


class EventStream(msgspec.Struct, eq=False):
    """Writes events to one ASGI response.

    Attributes:
        send: the ASGI send of the response, of which nothing was sent yet.
        headers: response headers besides those of every event stream.
        options: how streams behave.
        recorder: begins the stream in the log once it is begun here; None if it cannot be resumed, or not yet.
        priming: whether the client understands an event that has an id and nothing else (R-353).
        dropped: notifications for which there was no room.
    """

    send: Send
    headers: Headers
    options: StreamOptions
    recorder: Recorder | None = None
    priming: bool = False
    dropped: int = 0
    _recording: Recording | None = None
    _framing: Framing | None = None
    _waiting: list[bytes] = []  # messages, and what is `Framed`
    _mixed: bool = False  # whether something that waits is `Framed`
    _size: int = 0
    _sends: int = 0  # that have returned
    _closing: bool = False  # nothing more is taken
    _begun: bool = False
    _started: bool = False  # the head went out
    _ending: bool = False  # the response ends after what waits
    _over: bool = False  # nobody writes any more
    _stalled: bool = False
    _task: asyncio.Task[None] | None = None  # there is one while there is something to write
    _parted: asyncio.Future[None] | None = None
    _room: asyncio.Future[None] | None = None
    _silence: Silence | None = None

    def begin(self) -> None:
        """Begin to write: what was sent so far, and from then on whatever is sent.

        A response that is said as a whole before anybody has begun to write it costs no task.
        """
        if self._begun or self._over:
            return
        self._silence = Silence(self.options.keep_alive, self.knock)
        if self.recorder is not None:
            said, self._waiting = self._waiting, []
            recording = self.recorder.begin()
            self.resume_as(recording, priming=self.priming)
            recording.take(said)
            self._waiting += said
        self._begun = True
        self._rouse()

    # -- what goes in ------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether anything that is sent may still arrive on this connection."""
        return not (self._ending or self._over)

    @property
    def overfull(self) -> bool:
        """Whether more waits for the reader than should."""
        return self._size > self.options.capacity

    @property
    def crowded(self) -> bool:
        if self._size > HIGH_WATER and not self._stalled and not self._over:
            return True
        return self._recording is not None and self._recording.crowded

    @property
    def parted(self) -> "asyncio.Future[None]":
        """What is done once nothing more is written to this connection."""
        if self._parted is None:
            self._parted = asyncio.get_running_loop().create_future()
            if self._over:
                self._parted.set_result(None)
        return self._parted

    async def drained(self) -> None:
        """Wait until reader and log have taken what was waiting, for at most `PATIENCE` seconds."""
        if self._recording is not None and self._recording.crowded:
            await self._recording.drained()
        if self._size <= HIGH_WATER or self._over:
            return
        self._room = self._room or asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait((self._room,), timeout=PATIENCE)
        if not done:
            self._stalled = True  # from here on overflow is dropped at once instead of waited for

    def push(self, message: bytes) -> bool:
        """Take one notification; False if there was no room for it, or nobody to take it."""
        size = self._size + len(message)
        if self._closing or (size > self.options.capacity and self.connected):
            self.dropped += 1
            return False
        if self._recording is not None:
            self._recording.record(message, droppable=True)
        if self._ending or self._over:
            return self._recording is not None
        self._waiting.append(message)
        self._size = size
        if self._task is None and self._begun:
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
        self._framing = None
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
            self.begin()
            self._end_with(retry)
            asyncio.get_running_loop().call_later(PARTING, self.abandon)

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
        if self.dropped:
            _missed.write(logging.WARNING, "notifications that a slow reader missed: %d", self.dropped)
        whole = message is not None and self.connected and not self._begun
        try:
            await (self._write_whole() if whole else self._finish(message, retry))
        except TimeoutError:
            text = "gave up on a reader that took nothing for %g seconds"
            _given_up.write(logging.WARNING, text, self._patience)
        finally:
            if not self._over:
                self.abandon()

    async def _finish(self, message: bytes | None, retry: float | None) -> None:
        self.begin()
        if self._recording is not None:
            self._recording.end(LET_GO if message is None else CONCLUDED)
        self._end_with(retry)
        while True:
            sends = self._sends
            if (await asyncio.wait((self.parted,), timeout=self._patience))[0]:
                return
            if self._sends == sends:
                raise TimeoutError

    @property
    def _patience(self) -> float:
        return 2 * self.options.write_timeout

    async def _write_whole(self) -> None:
        """Write all of a response that nobody has begun to write, once the log has had its time to take it."""
        self._ending = True
        try:
            body = await self._whole()
            if not self._over:  # the client has not gone meanwhile
                await send_at_once(self.send, body, self.headers, self._patience)
        finally:
            self._end()

    async def _whole(self) -> bytes:
        framing = Framing(self.options.retry)
        if self.recorder is None:
            return framing.messages(self._waiting)
        framing.named(await self.recorder.keep(self._waiting))
        return framing.whole(self._waiting, priming=self.priming)

    def abandon(self) -> None:
        """Stop writing to this connection at once: nobody is there any more."""
        if self._task is not None:
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
        """Let somebody write; most streams are silent nearly always, so nobody waits for that."""
        if self._begun and self._task is None and not self._over:
            if self._silence is not None:
                self._silence.ends()
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Write until nothing waits."""
        goes_on = False
        try:
            if not self._started:
                self._started = True
                head = HEAD + self.headers
                await self.send({"type": "http.response.start", "status": 200, "headers": head})
                self._sends += 1
                if not self._waiting or (self._recording is not None and self._recording.waits):
                    # Proxies and clients hold a response back until its first byte, so it has one at once.
                    await self.send({"type": "http.response.body", "body": OPENING, "more_body": True})
                    self._sends += 1
            ended = False
            while self._waiting and not ended:
                ended = await self._write_some()
            if self._ending and not ended:
                await self.send({"type": "http.response.body", "body": b"", "more_body": False})
            goes_on = not self._ending
        except Exception as error:  # servers differ in what they raise once the client is gone, if anything
            log.debug("the reader of a stream went away: %r", error)
        finally:
            if goes_on and self._silence is not None:
                self._task = None
                self._silence.begins()
            else:
                self._end()

    async def _write_some(self) -> bool:
        """Write what waits now, and return whether the response has ended with it."""
        framing = await self._named()
        size, last = self._size, self._ending
        frame = framing.mixed if self._mixed else framing.messages
        waiting, self._waiting, self._mixed = self._waiting, [], False
        await self.send({"type": "http.response.body", "body": frame(waiting), "more_body": not last})
        self._size -= size
        self._sends += 1
        self._make_room()
        return last

    async def _named(self) -> Framing:
        """Return what frames the messages, once it has the name of the stream, if that is to have one."""
        if self._framing is None:
            self._framing = Framing(self.options.retry)
        framing = self._framing
        if self._recording is not None and framing.name is None:
            framing.named(await self._recording.named())
        return framing

    def _end(self) -> None:
        """Let nobody wait for a reader any more."""
        self._over = True
        self._make_room()
        if self._silence is not None:
            self._silence.stop()
        if self._parted is not None and not self._parted.done():
            self._parted.set_result(None)

    def _make_room(self) -> None:
        self._stalled = False
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
