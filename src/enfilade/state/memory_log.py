"""The event log and the bus of the store in this process.

Streams are kept in the order in which they were last written to, which is also the order in which they expire:
each write looks at the oldest only. In that order they go when there is no room, too, except that much larger
ones go first: a client with large results must not decide what is kept for the others. The easy thing to get
wrong is the sum of sizes, which must go down by exactly what it went up by.
"""

import asyncio
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from operator import itemgetter
from typing import Final

from enfilade.state.store import Bounds, Kept, StoreError

#: Entries that a read returns at most.
_PAGE: Final = 1000

#: Bytes that Python spends on an entry or a stream besides its content, roughly.
_OVERHEAD: Final = 150

#: Streams among which the one that goes is chosen, the oldest ones; and how many times larger one is that goes
#: before the oldest of all.
_LOOKED_AT: Final = 32
_MUCH_LARGER: Final = 4

_position = itemgetter(0)


class _Stream:
    __slots__ = ("ends", "entries", "head", "size")

    def __init__(self, head: bytes, size: int) -> None:
        self.head = head
        self.entries: list[tuple[int, bytes]] = []
        self.size = size
        self.ends = 0.0

    def add(self, entry: tuple[int, bytes]) -> int:
        """Add an entry and return by how much the stream has grown, in bytes."""
        if self.entries and self.entries[-1][0] >= entry[0]:
            return 0
        self.entries.append(entry)
        return self._grown(len(entry[1]) + _OVERHEAD)

    def cut(self, count: int) -> int:
        """Leave out the oldest entries and return by how much the stream has grown: a negative number."""
        gone = self.entries[:count]
        del self.entries[:count]
        return self._grown(-sum(len(entry) + _OVERHEAD for _, entry in gone))

    def _grown(self, by: int) -> int:
        self.size += by
        return by


class MemoryLog:
    """`EventLog` in this process, bounded by age, by entries of one stream, and by bytes of all.

    Args:
        bounds: what is kept.
    """

    private = True

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._slack = bounds.entries // 10
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._streams)

    async def open(self, stream: str, head: bytes) -> None:
        self.write(stream, head)

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        self.write(stream, None, entries)

    def write(self, stream: str, head: bytes | None, entries: Sequence[tuple[int, bytes]] = ()) -> None:
        """Do both at once, for those who know that nothing has to be waited for.

        Args:
            stream: its key.
            head: what to open it with, if it may be new; None if it was opened before.
            entries: what to add.

        Raises:
            StoreError: the stream was never opened, has expired or had to go.
        """
        found = self._live(stream)
        if found is None:
            if head is None:
                raise StoreError(
                    "the stream is no longer in the log, or never was; "
                    "if it should have been, raise the age or the size that the log may have"
                )
            found = self._opened(stream, head)
        elif head is not None and not entries:
            return  # to begin it a second time changes nothing
        for entry in entries:
            self.size += found.add(entry)
        if len(found.entries) > self._bounds.entries + self._slack:
            self.size += found.cut(len(found.entries) - self._bounds.entries)
        self._written(stream, found)

    async def read(self, stream: str, after: int) -> Kept | None:
        found = self._live(stream)
        if found is None:
            return None
        start = bisect_right(found.entries, after, key=_position)
        first = found.entries[0][0] if found.entries else None
        return Kept(found.head, found.entries[start : start + _PAGE], first)

    async def last(self, stream: str) -> int:
        found = self._live(stream)
        return found.entries[-1][0] if found is not None and found.entries else 0

    async def touch(self, stream: str) -> None:
        found = self._live(stream)
        if found is not None:
            self._written(stream, found)

    async def drop(self, stream: str) -> None:
        self._drop(stream)

    def _opened(self, stream: str, head: bytes) -> _Stream:
        self._drop(stream)  # it has expired, if it was there at all
        size = len(head) + len(stream) + _OVERHEAD
        self._streams[stream] = opened = _Stream(head, size)
        self.size += size
        return opened

    def _drop(self, stream: str) -> None:
        found = self._streams.pop(stream, None)
        if found is not None:
            self.size -= found.size

    def _live(self, stream: str) -> _Stream | None:
        found = self._streams.get(stream)
        return None if found is None or found.ends <= time.monotonic() else found

    def _written(self, stream: str, written: _Stream) -> None:
        now = time.monotonic()
        written.ends = now + self._bounds.age
        self._streams.move_to_end(stream)
        oldest = next(iter(self._streams.values()))
        while oldest is not written and oldest.ends <= now:
            self.size -= self._streams.popitem(last=False)[1].size
            oldest = next(iter(self._streams.values()))
        while self.size > self._bounds.size:
            if not self._make_room(written):
                return

    def _make_room(self, written: _Stream) -> bool:
        """Let a stream go, or half of the one that was written to; return False if there is nothing more to go.

        What was written last always stays.
        """
        oldest = [each for each in islice(self._streams.items(), _LOOKED_AT) if each[1] is not written]
        least = oldest[0][1].size if oldest else 0
        if len(written.entries) > 1 and written.size > _MUCH_LARGER * least:
            self.size += written.cut(len(written.entries) // 2)
            return True
        if not oldest:
            return False
        name, largest = max(oldest, key=lambda each: each[1].size)
        self._drop(name if largest.size > _MUCH_LARGER * least else oldest[0][0])
        return True


class MemoryBus:
    """`Bus` within this process: each message goes straight to the event loop."""

    settling = 0.0

    def __init__(self) -> None:
        self._told: dict[str, list[Callable[[bytes], None]]] = {}

    async def publish(self, topic: str, message: bytes) -> None:
        loop = asyncio.get_running_loop()
        for told in self._told.get(topic, ()):
            loop.call_soon(told, message)

    def hear(self, topic: str, told: Callable[[bytes], None]) -> None:
        self._told.setdefault(topic, []).append(told)

    def on_gap(self, told: Callable[[], None]) -> None:
        """Do nothing: within a process no message is missed."""
