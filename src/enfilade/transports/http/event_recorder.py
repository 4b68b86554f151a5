"""Writes one stream into the event log while it is sent to its client.

Every message of a stream has a position, counted from 1, and its event id is the stream's prefix and that
position. A message goes to the client at once and to the log in the background, gathered with others, so a stream
that can be resumed costs hardly more than one that cannot. Only its first byte waits for the log. So a client may
have seen more than the log has, and a reader of the log waits for what follows.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from itertools import accumulate, takewhile
from typing import Final, Protocol

import msgspec

from enfilade.state.store import StoreError
from enfilade.timings import Timings
from enfilade.wire.jsonrpc import RequestId

log = logging.getLogger("enfilade.transports")

#: How a stream ended: not yet; with its outcome; without one, because nobody serves it any more.
NOT_ENDED: Final = 0
CONCLUDED: Final = 1
RELEASED: Final = 2

#: Bytes not yet written above which a producer that can wait should wait, and above which notifications are
#: dropped.
RECORDER_HIGH_WATER: Final = 256 * 1024
RECORDER_CAPACITY: Final = 4 * 1024 * 1024

#: Bytes of messages in one entry of the log, about.
ENTRY_SIZE: Final = 128 * 1024

#: The first and the longest pause between two attempts to write, in seconds.
_BACKOFF: Final = (0.05, 2.0)


class StreamHead(msgspec.Struct, array_like=True):
    """The first record of a stream in the log.

    Attributes:
        is_response: whether it is the response to a request.
        request_id: that request; None for a session's standalone stream (GET).
        scopes: what is needed to read the stream, as far as that was known when it was opened.
        traceparent: names the span of the request; empty if nobody traces it.
    """

    worker: str
    is_response: bool
    request_id: RequestId | None
    scopes: list[str] = []
    traceparent: str = ""


class Entry(msgspec.Struct, array_like=True):
    """Some messages in a row, as the log has them.

    Attributes:
        first: the position of the first of them.
        messages: each one position above the one before; an empty one stands for a dropped notification.
        end: whether and how the stream ends after them.
        scopes: what is needed to read them: the operations needed it that they come from.
    """

    first: int
    messages: list[bytes]
    end: int = NOT_ENDED
    scopes: list[str] = []


class LogWriter(Protocol):
    """What a recorder needs of the event log; `SealedEventLog` has it."""

    timings: Timings

    @property
    def is_local(self) -> bool:
        """Whether `append_now` may be used: the log is in this process, and its own."""
        ...

    def append_now(self, stream: str, head: StreamHead | None, position: int, entry: Entry | None) -> None:
        """Write to a local log, without waiting; the arguments are those of `append`.

        Raises:
            StoreError: the log refuses.
        """
        ...

    async def append(self, stream: str, head: StreamHead | None, position: int, entry: Entry | None) -> None:
        """Write to the log.

        Args:
            head: opens the stream; None if it is open.
            position: where the entry ends.
            entry: what is appended; None if the stream is only opened.

        Raises:
            StoreError: the log refuses, or does not answer.
        """
        ...

    def gather(self, recorder: "StreamRecorder") -> None:
        """Let a recorder write after a while, together with others."""
        ...

    def tell_reader(self, kind: str, reader: tuple[str, str]) -> None:
        """Send a message to whoever reads a stream in place of its first connection."""
        ...

    def forget(self, recorder: "StreamRecorder") -> None:
        """Forget a stream that is in the log to its end."""
        ...


class Pending(msgspec.Struct, eq=False):
    """What of a stream is not in the log yet.

    Attributes:
        messages: the last messages of the stream, without a gap.
        size: bytes in them.
        end: how the stream ends after them.
        dropped: notifications for which there was no room.
    """

    messages: list[bytes] = []
    size: int = 0
    end: int = NOT_ENDED
    dropped: int = 0

    def next_entry(self, last_position: int, scopes: Collection[str]) -> tuple[int, Entry | None]:
        """Return the next entry, and where it ends; None if there is none.

        The end of a stream has a position of its own, after all messages, so a reader that has these finds it.

        Args:
            last_position: of the last message.
            scopes: what is needed to read the messages.
        """
        count = len(self.messages)
        first = last_position - count + 1
        if self.size > ENTRY_SIZE:
            sizes = accumulate(map(len, self.messages))
            count = max(1, sum(1 for _ in takewhile(lambda size: size < ENTRY_SIZE, sizes)))
        end = self.end if count == len(self.messages) else NOT_ENDED
        if not (count or end):
            return first - 1, None
        return first + count if end else first + count - 1, Entry(first, self.messages[:count], end, list(scopes))

    def remove(self, entry: Entry) -> None:
        """Remove what is in the log now."""
        del self.messages[: len(entry.messages)]
        self.size -= sum(map(len, entry.messages))

    def clear(self) -> None:
        """Remove all messages."""
        self.messages.clear()
        self.size = 0


class StreamRecorder:
    """Writes one stream into the log; made by `SealedEventLog.start_stream`.

    Args:
        stream: its key in the log.
        find_prefix: returns what its event ids begin with; None while the log has not named its first event.
        scopes: what is needed to read it; who starts the stream adds to them before the messages that need more.

    Attributes:
        stream: its key in the log.
        position: of its last message.
        reader: worker and number of whoever reads it in place of the client's first connection; None if nobody.
        last_read: when somebody last read it, by the monotonic clock.
        last_write: when the log last took something of it, by the monotonic clock.
        on_claimed: called when a reader comes for the rest of it: the connection that it had is over.
    """

    __slots__ = (
        "_find_prefix",
        "_head",
        "_is_gathered",
        "_log",
        "_pending",
        "_prefix",
        "_scopes",
        "_task",
        "_waited",
        "last_read",
        "last_write",
        "on_claimed",
        "position",
        "reader",
        "stream",
    )

    def __init__(
        self,
        log: LogWriter,
        stream: str,
        head: StreamHead,
        find_prefix: Callable[[], bytes | None],
        scopes: Collection[str] = (),
    ) -> None:
        self.stream = stream
        self.position = 0
        self.reader: tuple[str, str] | None = None
        self.last_read = self.last_write = time.monotonic()
        self.on_claimed: Callable[[], None] | None = None
        self._log = log
        self._head: StreamHead | None = head  # None once the log has it
        self._find_prefix: Callable[[], bytes | None] | None = find_prefix
        self._scopes = scopes
        self._prefix: bytes | None = None
        self._waited = False
        self._pending = Pending()
        self._task: asyncio.Task[None] | None = None
        self._is_gathered = False

    @property
    def retention(self) -> float:
        """Seconds for which the stream is retained for a client that was disconnected."""
        return self._log.timings.stream_retention

    @property
    def unwritten(self) -> bool:
        """Whether something was recorded that the log does not have."""
        return bool(self._pending.messages or self._pending.end)

    @property
    def is_congested(self) -> bool:
        """Whether a producer that can wait should wait for the log."""
        return self._pending.size > RECORDER_HIGH_WATER

    async def wait_written(self) -> None:
        """Return once the log has taken what was waiting, or after a second."""
        self.write()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=1.0)

    @property
    def must_wait_for_prefix(self) -> bool:
        """Whether the prefix of event ids is not known yet and `event_id_prefix` will wait for the log."""
        return self._prefix is None and not self._log.is_local

    async def event_id_prefix(self) -> bytes | None:
        """Return what the event ids of the stream begin with; None if it cannot be resumed.

        No id is sent before the log knows of the stream, if the log answers in time: if this worker dies, a
        client that comes back with the id learns what became of its request, and not that the id is unknown.
        """
        if self._prefix is None:
            if self._head is not None and not self._waited:
                self._waited = True  # once: a log that is out of order must not slow down what it cannot keep
                await self.wait_written()
            self._prefix = None if self._find_prefix is None else self._find_prefix()
            if self._prefix is not None:
                self._find_prefix = None  # it takes memory, and the stream may be open for days
        return self._prefix

    def record(self, message: bytes, *, droppable: bool) -> int:
        """Take a message, without waiting, and return its position."""
        self.position += 1
        if droppable and self._pending.size > RECORDER_CAPACITY:
            self._pending.dropped += 1
            message = b""
        self._pending.messages.append(message)
        self._pending.size += len(message)
        self._schedule()
        return self.position

    def record_all(self, messages: list[bytes]) -> None:
        """Take messages that were sent before the stream was recorded."""
        self._take(messages)
        self._schedule()

    def record_complete(self, messages: list[bytes]) -> None:
        """Take all messages of a stream that is complete, and write them now."""
        self._take(messages)
        self.end(CONCLUDED)

    def _take(self, messages: list[bytes]) -> None:
        self.position += len(messages)
        self._pending.messages += messages
        self._pending.size += sum(map(len, messages))

    def end(self, how: int) -> None:
        """Record that nothing follows."""
        if self._pending.end == NOT_ENDED:
            self._pending.end = how
            self.write()

    def claim_by_reader(self, worker: str, number: str, *, is_new: bool = True) -> None:
        """Let one reader have the stream from now on, and nobody else.

        Args:
            worker: the worker of the reader.
            number: what tells it from other readers there.
            is_new: whether it came just now; one that only says that it is there yields to whoever came later.
        """
        self.last_read = time.monotonic()
        if self.reader == (worker, number):
            return
        if self.reader is not None and not is_new:
            self._log.tell_reader("superseded", (worker, number))
            return
        if self.reader is not None:
            self._log.tell_reader("superseded", self.reader)
        self.reader = (worker, number)
        if self.on_claimed is not None:
            self.on_claimed()

    def write(self) -> None:
        """Start to write now, instead of gathering more."""
        self._is_gathered = False
        if self._task is not None or not self._has_work():
            return
        if not self._log.is_local or not self._write_now():
            task = asyncio.get_running_loop().create_task(self._write())
            if not task.done():  # with a task factory it may be
                self._task = task

    async def stop(self) -> None:
        """Give up whatever the log has not taken yet."""
        self._pending.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def _has_work(self) -> bool:
        return bool(self._pending.messages or self._pending.end or self._head is not None)

    def _schedule(self) -> None:
        """Write after a while, unless that is scheduled or under way already."""
        if not self._is_gathered and self._task is None:
            self._is_gathered = True
            self._log.gather(self)

    def write_gathered(self) -> None:
        """Write what was gathered, unless that was done meanwhile: the end of a stream is written once."""
        if self._is_gathered:
            self.write()

    def take_gathered(self, task: "asyncio.Task[None]") -> tuple[int, Entry] | None:
        """Return what a task is to write of the stream together with others, and where it ends.

        Returns:
            None if there is nothing, or if it has to be written by itself.
        """
        if not self._is_gathered or self._task is not None or self._head is not None or self._pending.end:
            return None
        position, entry = self._pending.next_entry(self.position, self._scopes)
        if entry is None:
            return None
        self._is_gathered, self._task = False, task
        return position, entry

    def end_gathered(self, entry: Entry, *, is_written: bool) -> None:
        """Go on after a task has tried to write what it has taken."""
        self._task = None
        if is_written:
            self._mark_written(entry)
        if self._pending.end or not is_written:
            self.write()
        elif self._pending.messages:
            self._schedule()

    async def _write(self) -> None:
        """Write what waits now; what comes meanwhile is gathered again, unless it is the end."""
        has_ended = False
        try:
            while not has_ended and self._has_work():
                has_ended = await self._write_with_retries()
                if not self._pending.end:
                    break
        finally:
            self._task = None
            if has_ended:
                self._log.forget(self)
            elif self._pending.messages:
                self._schedule()

    async def _write_with_retries(self) -> bool:
        """Write one entry, and return whether nothing follows."""
        pause, start = _BACKOFF[0], time.monotonic()
        while True:
            position, entry = self._pending.next_entry(self.position, self._scopes)
            try:
                await self._log.append(self.stream, self._head, position, entry)
                return self._mark_written(entry)
            except StoreError as error:
                if time.monotonic() - start > self._log.timings.log_retries:
                    self._give_up(error)
                    return self._pending.end != NOT_ENDED
                await asyncio.sleep(pause)
                pause = min(2 * pause, _BACKOFF[1])

    def _write_now(self) -> bool:
        """Write all that waits to a local log; False if it refuses."""
        try:
            has_ended = False
            while not has_ended and self._has_work():
                position, entry = self._pending.next_entry(self.position, self._scopes)
                self._log.append_now(self.stream, self._head, position, entry)
                has_ended = self._mark_written(entry)
        except StoreError:
            return False
        if has_ended:
            self._log.forget(self)
        return True

    def _mark_written(self, entry: Entry | None) -> bool:
        """Remove what the log has taken from what waits, and return whether it was the last."""
        self._head = None
        if entry is not None:
            self._pending.remove(entry)
        self.last_write = time.monotonic()
        if self.reader is not None:
            self._log.tell_reader("wake", self.reader)
        return entry is not None and entry.end != NOT_ENDED

    def _give_up(self, error: StoreError) -> None:
        seconds, lost = self._log.timings.log_retries, len(self._pending.messages)
        log.warning("the log took nothing for %g seconds: %s; events lost: %d", seconds, error, lost)
        self._pending.clear()
