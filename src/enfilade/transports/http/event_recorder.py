"""One stream on its way into the event log, while a worker serves it.

Every message of a stream has a position, counted from 1, and its event id is the stream's name and that position.
What is sent goes to the client at once and to the log in the background, gathered, so that a stream that can be
resumed costs hardly more than one that cannot; only before its first byte is the log waited for. The easy thing
to get wrong is what that means for a reader: the client may have seen more than the log has, and waits for what
follows.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, Final

import msgspec

from enfilade.state.memory import MemoryLog
from enfilade.state.store import StoreError
from enfilade.wire.jsonrpc import RequestId

if TYPE_CHECKING:
    from enfilade.transports.http.event_log import Recordings

log = logging.getLogger("enfilade.transports")

#: How a stream ended: not yet; with its outcome; without one, because nobody serves it any more.
GOES_ON: Final = 0
CONCLUDED: Final = 1
LET_GO: Final = 2

#: Seconds for which events are gathered before they are written, unless the stream has ended.
GATHER: Final = 0.02

#: Bytes not yet written above which a sender that can wait should wait, and above which notifications are left
#: out.
HIGH_WATER: Final = 256 * 1024
CAPACITY: Final = 4 * 1024 * 1024

#: Bytes of messages in one entry of the log, about.
ENTRY: Final = 128 * 1024

#: Seconds for which a log that refuses is tried again.
GIVE_UP: Final = 30.0
_BACKOFF: Final = (0.05, 2.0)


class Head(msgspec.Struct, array_like=True):
    """What a stream is opened with.

    Attributes:
        worker: who writes it.
        request_id: the request that it answers; None for a session's stream of its own (GET).
        answers: whether it answers a request.
    """

    worker: str
    answers: bool
    request_id: RequestId | None


class Entry(msgspec.Struct, array_like=True):
    """Some messages in a row, as they are kept.

    Attributes:
        first: the position of the first of them.
        messages: each one position above the one before; an empty one stands for a notification left out.
        end: whether and how the stream ends after them.
    """

    first: int
    messages: list[bytes]
    end: int = GOES_ON


class Recording:
    """One stream on its way into the log; made by `Recordings.begin`.

    Attributes:
        stream: its key in the log.
        position: of its last message.
        reader: the worker and the number of whoever reads it now in place of the client's first connection.
        seen: when somebody last read it, by the monotonic clock.
        on_taken: called when somebody comes for the rest of it: the connection that it had is over.
    """

    def __init__(self, owner: "Recordings", session_id: str, head: Head) -> None:
        self.number = new_number()
        self.stream = stream_key(session_id, self.number)
        self.position = 0
        self.reader: tuple[str, str] | None = None
        self.seen = time.monotonic()
        self.on_taken: Callable[[], None] | None = None
        self.written_at = self.seen
        self.lost = 0
        self._owner = owner
        self._session_id = session_id
        self._head = head
        self._name: bytes | None = None
        self._waited = False
        self._opened = False
        self._waiting: list[bytes] = []  # up to `position`, without a gap
        self._size = 0
        self._end = GOES_ON
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def unwritten(self) -> bool:
        """Whether something was said that the log does not have."""
        return bool(self._waiting or self._end)

    @property
    def crowded(self) -> bool:
        """Whether a sender that can wait should wait for the log."""
        return self._size > HIGH_WATER

    async def drained(self) -> None:
        """Return once the log has taken what was waiting, or has been given up on."""
        self.write()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=1.0)

    @property
    def waits(self) -> bool:
        """Whether its name is not known yet and has to be waited for."""
        return self._name is None and self._owner.at_hand is None

    async def named(self) -> bytes | None:
        """Return the stream's name, by which its event ids begin; None if it cannot be resumed.

        No id is given out before the log knows of the stream, if it does so in time: if this worker dies, whoever
        comes back with the id shall be told what became of the request, and not that it is unknown.
        """
        if self._name is None:
            if not self._opened and not self._waited:
                self._waited = True  # once: a log that is out of order must not slow down what it cannot keep
                await self.drained()
            anchor = None
            if self._owner.anchored is not None:  # a foreign store names its first event itself
                anchor = self._owner.anchored.anchor(self.stream)
                if anchor is None:
                    return None
            self._name = self._owner.name(self._session_id, self.number, anchor)
        return self._name

    def record(self, message: bytes, *, droppable: bool) -> int:
        """Take a message, without waiting, and return its position."""
        self.position += 1
        if droppable and self._size > CAPACITY:
            self.lost += 1
            message = b""
        self._waiting.append(message)
        self._size += len(message)
        self._plan()
        return self.position

    def take(self, messages: list[bytes]) -> None:
        """Take messages that were said before the recording was begun."""
        self.position += len(messages)
        self._waiting += messages
        self._size += sum(map(len, messages))
        self._plan()

    def end(self, how: int) -> None:
        """Say that nothing follows."""
        if self._end == GOES_ON:
            self._end = how
            self.write()

    def taken(self, worker: str, number: str, *, anew: bool = True) -> None:
        """Let somebody who came for the rest read it from now on, and nobody else.

        Args:
            anew: whether it came just now; who only is there still has to give way to whoever came later.
        """
        self.seen = time.monotonic()
        if self.reader == (worker, number):
            return
        if self.reader is not None and not anew:
            self._owner.relay.tell("superseded", number, worker)
            return
        if self.reader is not None:
            self._owner.relay.tell("superseded", self.reader[1], self.reader[0])
        self.reader = (worker, number)
        if self.on_taken is not None:
            self.on_taken()

    def write(self) -> None:
        """Begin to write now, gathering no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None or not (self._waiting or self._end or not self._opened):
            return
        if self._owner.at_hand is None or not self._write_now(self._owner.at_hand):
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def stop(self) -> None:
        """Give up whatever the log has not taken yet."""
        self._waiting.clear()
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def _plan(self) -> None:
        """Write after a while, unless that is planned or done already."""
        if self._timer is None and self._task is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER, self.write)

    async def _write(self) -> None:
        """Bring into the log what waits now; what comes meanwhile is gathered again, unless it is the end."""
        ended = False
        try:
            while not ended and (self._end or self._waiting or not self._opened):
                ended = await self._insist()
                if not self._end:
                    break
        finally:
            self._task = None
            if ended:
                self._owner.closed(self)
            elif self._waiting:
                self._plan()

    async def _insist(self) -> bool:
        """Write one entry, however often it takes, and return whether nothing follows."""
        pause, since = _BACKOFF[0], time.monotonic()
        while True:
            try:
                return await self._write_some()
            except StoreError as error:
                if time.monotonic() - since > GIVE_UP:
                    self._abandon(error)
                    return self._end != GOES_ON
                await asyncio.sleep(pause)
                pause = min(2 * pause, _BACKOFF[1])

    async def _write_some(self) -> bool:
        """Write one entry, and return whether it was the last."""
        position, entry = self._next()
        await self._append(position, entry)
        return self._taken_in(entry)

    def _write_now(self, log: MemoryLog) -> bool:
        """Write all that waits to a log that takes it at once; False if it refuses."""
        try:
            ended = False
            while not ended and (self._end or self._waiting or not self._opened):
                position, entry = self._next()
                kept = () if entry is None else ((position, self._owner.kept(self.stream, position, entry)),)
                head = None if self._opened else self._owner.kept(self.stream, 0, self._head)
                log.write(self.stream, head, kept)
                self._opened = True
                ended = self._taken_in(entry)
        except StoreError:
            return False
        if ended:
            self._owner.closed(self)
        return True

    def _next(self) -> tuple[int, Entry | None]:
        """Return what is written next, and where: the end lies after all messages, so who has them finds it."""
        count = len(self._waiting)
        first = self.position - count + 1
        if self._size > ENTRY:
            sizes = accumulate(map(len, self._waiting))
            count = max(1, sum(1 for _ in takewhile(lambda size: size < ENTRY, sizes)))
        end = self._end if count == len(self._waiting) else GOES_ON
        if not (count or end):
            return first - 1, None
        return first + count if end else first + count - 1, Entry(first, self._waiting[:count], end)

    def _taken_in(self, entry: Entry | None) -> bool:
        """Forget what the log has taken, and return whether it was the last."""
        if entry is not None:
            del self._waiting[: len(entry.messages)]
            self._size -= sum(map(len, entry.messages))
        self.written_at = time.monotonic()
        if self.reader is not None:
            self._owner.relay.tell("wake", self.reader[1], self.reader[0])
        return entry is not None and entry.end != GOES_ON

    async def _append(self, position: int, entry: Entry | None) -> None:
        owner = self._owner
        work: list[Callable[[], Awaitable[None]]] = []
        if not self._opened:
            work.append(partial(owner.log.open, self.stream, owner.kept(self.stream, 0, self._head)))
        if entry is not None:
            kept = owner.kept(self.stream, position, entry)
            work.append(partial(owner.log.append, self.stream, [(position, kept)]))
        if len(work) == 1 or owner.anchored is not None:
            for each in work:
                await each()
        else:  # at once, so that they go the same way together
            await asyncio.gather(*(each() for each in work))
        self._opened = True

    def _abandon(self, error: StoreError) -> None:
        lost = len(self._waiting)
        log.warning("the log took nothing for %g seconds: %s; events lost: %d", GIVE_UP, error, lost)
        self._waiting.clear()
        self._size = 0


def stream_key(session_id: str, number: str) -> str:
    """Return the key of a session's stream in the log."""
    return f"{session_id}.{number}"


def new_number() -> str:
    """Return what tells a stream from all others of its session."""
    return os.urandom(12).hex()
