"""Tasks of one process, in a dict. No timer runs: each operation removes some of what is no longer kept.

What is due first, and what is to be removed first, is at the front of a heap, so that taking looks at no other of
ten thousand tasks that sleep. The order of creation is a sorted list of positions for all owners, and one for
each.

A process has only so much memory, so the values have a room in bytes as well. It is checked when a task is
created, and not when one is written: the result of a task that has run must not be lost. So it is exceeded by no
more than what the tasks that run come to.

Easy to get wrong: a heap cannot change an entry. One whose record has another time by now stays in it; it is
dropped when it comes to the front, or when most entries are such.
"""

import heapq
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Final

import msgspec

from enfilade.state.tasks.records import (
    LONGEST,
    Created,
    Due,
    Full,
    NewTask,
    TaskRecord,
    check_cursor,
    creation_of,
    id_at,
    position_of,
)

#: Bytes of the values of all owners, and of one.
MOST_BYTES: Final = 128 * 1024 * 1024
MOST_OWN_BYTES: Final = MOST_BYTES // 4

#: Records that an operation removes at most, so that it takes a bounded time.
_STEPS: Final = 64

#: Entries beyond twice the number of records at which a heap is made anew.
_SLACK: Final = 64


class _Record(msgspec.Struct, gc=False):
    """A record; times are those of the clock of the store. `due` and `ends` may be None: never.

    `is_written`: its version is from a write, and not from its creation or from being taken.
    """

    id: str
    owner: str
    value: bytes
    version: int
    position: str
    due: float | None
    ends: float | None = None
    is_written: bool = False


class _Owned:
    """The positions of the records of an owner, or of all, in order; and the bytes of their values."""

    __slots__ = ("positions", "size")

    def __init__(self) -> None:
        self.positions: list[str] = []
        self.size = 0

    def add(self, record: _Record) -> None:
        insort(self.positions, record.position)
        self.size += len(record.value)

    def remove(self, record: _Record) -> None:
        del self.positions[bisect_left(self.positions, record.position)]
        self.size -= len(record.value)


class _Heap:
    """Records by a time of theirs, the earliest first.

    Args:
        records: by id; one that is not in there any more is not in the heap.
        time_of: returns the time of a record; None if it has none.
    """

    def __init__(self, records: Mapping[str, _Record], time_of: Callable[[_Record], float | None]) -> None:
        self._records = records
        self._time_of = time_of
        self._entries: list[tuple[float, str]] = []

    def add(self, record: _Record) -> None:
        """Add a record that is new, or has a new time."""
        moment = self._time_of(record)
        if moment is None:
            return
        heapq.heappush(self._entries, (moment, record.id))
        if len(self._entries) > 2 * len(self._records) + _SLACK:
            times = ((self._time_of(record), record.id) for record in self._records.values())
            self._entries = [(moment, id) for moment, id in times if moment is not None]
            heapq.heapify(self._entries)

    def first(self) -> tuple[float, _Record] | None:
        """Return the earliest time and its record; None if no record has a time."""
        while self._entries:
            moment, id = self._entries[0]
            record = self._records.get(id)
            if record is not None and self._time_of(record) == moment:
                return moment, record
            heapq.heappop(self._entries)
        return None


class MemoryTasks:
    """`Tasks` in this process. Nothing is awaited, so a decision is one step.

    Args:
        clock: seconds, of a clock that is never set.
        size: bytes of all values together, above which no task is created.
        own_size: the same for one owner.
    """

    is_local = True

    def __init__(
        self, clock: Callable[[], float], size: int = MOST_BYTES, own_size: int = MOST_OWN_BYTES
    ) -> None:
        self._clock = clock
        self._size = size
        self._own_size = own_size
        self._records: dict[str, _Record] = {}
        self._all = _Owned()
        self._owned: dict[str, _Owned] = {}
        self._due = _Heap(self._records, attrgetter("due"))
        self._ends = _Heap(self._records, attrgetter("ends"))

        self._others: dict[str, MemoryTasks] = {}

    def __len__(self) -> int:
        return len(self._records)

    def of(self, server: str) -> "MemoryTasks":
        if server not in self._others:
            self._others[server] = MemoryTasks(self._clock, self._size, self._own_size)
        return self._others[server]

    async def create(self, task: NewTask) -> Created | Full:
        now = self._clock()
        self._remove_expired(now, _STEPS)
        if self._live_record(task.id, now) is not None:
            return Created()
        if self._refusal(task) is not None:
            self._remove_expired(now, len(self._records))
        refusal = self._refusal(task)
        if refusal is not None:
            return refusal
        position, due = position_of(time.time(), task.id), now + min(task.due, LONGEST)
        record = self._records[task.id] = _Record(task.id, task.owner, task.value, 1, position, due)
        self._all.add(record)
        self._owned.setdefault(task.owner, _Owned()).add(record)
        self._due.add(record)
        return Created()

    async def read(self, id: str) -> TaskRecord | None:
        now = self._clock()
        record = self._live_record(id, now)
        return None if record is None else _as_record(record, now)

    async def write(self, id: str, version: int, value: bytes, *, due: float | None, ttl: float | None) -> bool:
        now = self._clock()
        self._remove_expired(now, _STEPS)
        record = self._live_record(id, now)
        if record is None:
            return False
        if record.version != version:
            return record.version == version + 1 and record.is_written and record.value == value
        for owned in (self._all, self._owned[record.owner]):
            owned.size += len(value) - len(record.value)
        record.version, record.value, record.is_written = version + 1, value, True
        record.due, record.ends = _after(now, due), _after(now, ttl)
        self._due.add(record)
        self._ends.add(record)
        return True

    async def take_due(self, lease: float, most: int) -> Due:
        now = self._clock()
        self._remove_expired(now, _STEPS)
        taken: list[_Record] = []
        while len(taken) < most and (record := self._first_due(now)) is not None:
            record.due = None  # so that another one comes to the front
            taken.append(record)
        for record in taken:
            record.version, record.is_written = record.version + 1, False
            record.due = _after(now, lease)
            self._due.add(record)
        first = self._due.first()
        return Due(
            [_as_record(record, now) for record in taken], None if first is None else max(0.0, first[0] - now)
        )

    def _first_due(self, now: float) -> _Record | None:
        """Return the record that is due for the longest time, without those that are no longer kept."""
        while (first := self._due.first()) is not None and first[0] <= now:
            if not _is_over(first[1], now):
                return first[1]
            self._remove(first[1])
        return None

    async def renew(self, versions: Mapping[str, int], lease: float) -> list[str]:
        now = self._clock()
        self._remove_expired(now, _STEPS)
        lost = []
        for id, version in versions.items():
            record = self._live_record(id, now)
            if record is None or record.version != version or record.due is None:
                lost.append(id)
            else:
                record.due = _after(now, lease)
                self._due.add(record)
        return lost

    async def page(self, owner: str | None, after: str | None, most: int) -> list[TaskRecord]:
        now = self._clock()
        owned = self._all if owner is None else self._owned.get(owner)
        if after is not None:
            check_cursor(after)
        records: list[TaskRecord] = []
        if owned is None:
            return records
        start = 0 if after is None else bisect_right(owned.positions, after)
        for index in range(start, len(owned.positions)):
            if len(records) >= most:
                break
            record = self._records[id_at(owned.positions[index])]
            if not _is_over(record, now):
                records.append(_as_record(record, now))
        return records

    async def delete(self, id: str) -> None:
        record = self._records.get(id)
        if record is not None:
            self._remove(record)

    def _refusal(self, task: NewTask) -> Full | None:
        owned = self._owned.get(task.owner) or _Owned()
        if len(owned.positions) >= task.own_limit or not _fits(owned, task, self._own_size):
            return Full(is_own=True)
        if len(self._records) >= task.limit or not _fits(self._all, task, self._size):
            return Full()
        return None

    def _live_record(self, id: str, now: float) -> _Record | None:
        record = self._records.get(id)
        if record is None or not _is_over(record, now):
            return record
        self._remove(record)
        return None

    def _remove_expired(self, now: float, most: int) -> None:
        for _ in range(most):
            first = self._ends.first()
            if first is None or first[0] > now:
                break
            self._remove(first[1])

    def _remove(self, record: _Record) -> None:
        del self._records[record.id]
        self._all.remove(record)
        owned = self._owned[record.owner]
        owned.remove(record)
        if not owned.positions:
            del self._owned[record.owner]


def _fits(owned: _Owned, task: NewTask, size: int) -> bool:
    """Whether a value has room beside others; a single one always has."""
    return not owned.positions or owned.size + len(task.value) <= size


def _is_over(record: _Record, now: float) -> bool:
    """Whether a record is no longer kept."""
    return record.ends is not None and record.ends <= now


def _after(now: float, seconds: float | None) -> float | None:
    """Return the time after some seconds; None for never."""
    return None if seconds is None else now + min(seconds, LONGEST)


def _as_record(record: _Record, now: float) -> TaskRecord:
    due = None if record.due is None else record.due - now
    created = creation_of(record.position)
    return TaskRecord(record.id, record.owner, record.value, record.version, created, due)
