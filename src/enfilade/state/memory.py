"""The store in this process: the default for one worker whose state may be lost with it.

No timer runs and nothing is locked. Expired keys are deleted when they are met, and a few with each write. A full
store refuses new keys and deletes nothing that has not expired: otherwise a client that opens and ends sessions
in a loop would decide what is known of the others. A sweep must not cost as much as there are keys, because
somebody's request pays for it.

Streams are held in the order of their last write, which is also the order in which they expire, so each write
checks the oldest only. Streams are evicted in that order when there is no room, except that much larger ones go
first: a client with large results must not decide what is kept for the others. The easy thing to get wrong is the
sum of sizes, which must fall by exactly what it rose by.
"""

import asyncio
import math
import re
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeVar

from enfilade.state.store import ENDED, Bus, EventLog, Keys, LogLimits, StoreError, StreamSlice

if TYPE_CHECKING:
    from enfilade.state.limits.claims import Limits
    from enfilade.state.outcomes.claims import Outcomes
    from enfilade.state.outcomes.decisions import Results
    from enfilade.state.tasks.records import Tasks

#: Keys of one kind that are kept at once, and bytes of their values. The kind is the part before the colon.
MOST_KEYS: Final = 100_000
MOST_BYTES: Final = 64 * 1024 * 1024

#: The part of the keys and bytes of one kind that one owner may have, where values have owners.
OWNERS: Final = 8

#: Ids of ended sessions that are remembered at most; about 41 MB.
MOST_ENDED: Final = 500_000

#: Keys that each put checks, in turn, for having expired.
_CHECKED_PER_PUT: Final = 4

#: Seconds between two checks of all keys while there is no room.
_FULL_SWEEP_INTERVAL: Final = 1.0

_SESSION: Final = "session"
_SESSION_ID: Final = re.compile(r"[0-9a-f]{32}")

#: Sets of ended ids for each time to live, as a power of two: an id may be remembered by an eighth of it longer.
_SETS: Final = 3

#: Entries that a read returns at most.
_READ_LIMIT: Final = 1000

#: Bytes that Python spends on an entry or a stream besides its content, roughly.
_OVERHEAD: Final = 150

#: The oldest streams, among which the evicted one is chosen; and how many times larger than the oldest a stream
#: must be to go before it.
_EVICTION_CANDIDATES: Final = 32
_MUCH_LARGER: Final = 4

T = TypeVar("T")

_position = itemgetter(0)


class MemoryStore:
    """The store behind `memory://`. Its content outlasts `close`, but not the process."""

    shared = False
    unavailable = False

    def __init__(self, limits: LogLimits) -> None:
        self.keys: Keys = MemoryKeys()
        self.log: EventLog = MemoryLog(limits)
        self.bus: Bus = MemoryBus()
        self._call_limits: Limits | None = None
        self._call_outcomes: Outcomes | None = None
        self._whole_results: Results | None = None
        self._durable_tasks: Tasks | None = None

    @property
    def limits(self) -> "Limits":
        """What decides about limits of calls, made when it is first used."""
        if self._call_limits is None:
            from enfilade.state.limits.memory_limits import MemoryLimits

            self._call_limits = MemoryLimits(MemoryKeys())
        return self._call_limits

    @property
    def outcomes(self) -> "Outcomes":
        """What decides about outcomes that calls share, made when it is first used."""
        if self._call_outcomes is None:
            from enfilade.state.limits.memory_limits import MemoryTable
            from enfilade.state.outcomes.decisions import TableOutcomes

            table = MemoryTable(MemoryKeys())

            async def run(job: "Callable[[MemoryTable], T]") -> T:
                return job(table)

            self._call_outcomes = TableOutcomes(run, time.monotonic, is_local=True)
        return self._call_outcomes

    @property
    def results(self) -> "Results":
        """What keeps whole results within their room, made when it is first used."""
        if self._whole_results is None:
            from enfilade.state.limits.memory_limits import MemoryTable
            from enfilade.state.outcomes.decisions import TableResults

            assert isinstance(self.keys, MemoryKeys)
            table = MemoryTable(self.keys)

            async def run(job: "Callable[[MemoryTable], T]") -> T:
                return job(table)

            self._whole_results = TableResults(run, time.monotonic, MOST_BYTES)
        return self._whole_results

    @property
    def tasks(self) -> "Tasks":
        """Records of tasks, made when they are first used."""
        if self._durable_tasks is None:
            from enfilade.state.tasks.memory_tasks import MemoryTasks

            self._durable_tasks = MemoryTasks(time.monotonic)
        return self._durable_tasks

    async def start(self) -> None:
        """Do nothing, as there is nothing to open."""

    async def close(self) -> None:
        """Do nothing, as there is nothing to close."""


class _Share:
    """The count and size of the keys of one kind, except those without an expiry, which only the server puts."""

    __slots__ = ("count", "size", "swept_at")

    def __init__(self) -> None:
        self.count = self.size = 0
        self.swept_at = -math.inf


class _Owned:
    """The keys of one kind that one owner has, oldest first, with their sizes."""

    __slots__ = ("size", "sizes")

    def __init__(self) -> None:
        self.size = 0
        self.sizes: OrderedDict[str, int] = OrderedDict()


class MemoryKeys:
    """`Keys` in a dict. A put without room raises `StoreError` and changes nothing.

    Args:
        capacity: most keys of one kind, not counting those without an expiry and ended sessions.
        size: most bytes of their values together.
        most_ended: most ended sessions.
    """

    def __init__(self, capacity: int = MOST_KEYS, size: int = MOST_BYTES, most_ended: int = MOST_ENDED) -> None:
        self._capacity = capacity
        self._size = size
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._shares: dict[str, _Share] = {}
        self._owned: dict[tuple[str, str], _Owned] = {}
        self._owners: dict[str, tuple[str, str]] = {}
        self._ended = EndedIds(most_ended)
        self._sweep_iterator: Iterator[str] = iter(())

    def __len__(self) -> int:
        return len(self._entries) + len(self._ended)

    async def get(self, key: str) -> bytes | None:
        return self.value_of(key)

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        self.put_now(key, value, ttl)

    async def swap(self, key: str, old: bytes | None, new: bytes | None, ttl: float | None) -> bool:
        current = self.value_of(key)
        if current != old:
            return current == new
        if new is None:
            self.delete_now(key)
        else:
            self.put_now(key, new, ttl)
        return True

    async def delete(self, key: str) -> None:
        self.delete_now(key)

    def clear(self) -> None:
        """Delete all keys."""
        for key in list(self._entries):
            self.delete_now(key)
        self._ended.clear()

    def value_of(self, key: str) -> bytes | None:
        """Return a value, as `get` does, without awaiting."""
        entry = self._entries.get(key)
        if entry is None:
            kind, id = _split_key(key)
            return ENDED if kind == _SESSION and id in self._ended else None
        if entry[1] <= time.monotonic():
            self.delete_now(key)
            return None
        return entry[0]

    def put_now(self, key: str, value: bytes, ttl: float | None) -> None:
        """Store a value, as `put` does, without awaiting."""
        kind, id = _split_key(key)
        if kind == _SESSION and value == ENDED and ttl is not None and self._ended.add(id, ttl):
            self._delete_entry(key)
            return
        self._sweep()
        if ttl is not None:
            self._check_room(key, kind, value)
        share_of_owner = self._owners.get(key)
        self.delete_now(key)
        self._entries[key] = (value, math.inf if ttl is None else time.monotonic() + ttl)
        if ttl is not None:
            share = self._shares.setdefault(kind, _Share())
            share.count += 1
            share.size += _size(value)
        if share_of_owner is not None:  # it stays whose it was
            self._own(key, share_of_owner, _size(value))

    def _own(self, key: str, share: tuple[str, str], size: int) -> None:
        owned = self._owned.setdefault(share, _Owned())
        owned.size += size - owned.sizes.pop(key, 0)
        owned.sizes[key] = size
        self._owners[key] = share

    def put_owned(self, key: str, value: bytes, ttl: float, owner: str, evicts: bool) -> None:
        """Store a value of an owner, who has a part of the room for its kind.

        So one owner leaves room to the others, whatever it puts.

        Args:
            key, value, ttl: as for `put`.
            owner: whose it is; empty for nobody's.
            evicts: whether the oldest of the same owner makes room; otherwise it is refused.

        Raises:
            StoreError: there is no room.
        """
        if not owner:
            self.put_now(key, value, ttl)
            return
        share = (_split_key(key)[0], owner)
        while not self._fits_owner(share, key, value):
            if not (evicts and self._evict_of(share, key)):
                raise StoreError(
                    "the store in this process has no more room for this caller, who has as many keys, or bytes "
                    "of their values, as one caller may have"
                )
        while True:
            try:
                self.put_now(key, value, ttl)
            except StoreError:
                if not (evicts and self._evict_of(share, key)):
                    raise
            else:
                break
        self._own(key, share, _size(value))

    def _fits_owner(self, share: tuple[str, str], key: str, value: bytes) -> bool:
        owned = self._owned.get(share)
        count, size = (0, 0) if owned is None else (len(owned.sizes), owned.size)
        current = 0 if owned is None else owned.sizes.get(key, 0)
        if current >= _size(value):
            return True
        fits = count + (not current) <= self._capacity // OWNERS
        if fits and size - current + _size(value) <= self._size // OWNERS:
            return True
        return owned is not None and self._drop_expired(owned) and self._fits_owner(share, key, value)

    def _drop_expired(self, owned: _Owned) -> bool:
        """Delete the oldest keys of an owner that have expired; return whether there were any."""
        now, before = time.monotonic(), len(owned.sizes)
        while owned.sizes and self._entries[key := next(iter(owned.sizes))][1] <= now:
            self._delete_entry(key)
        return len(owned.sizes) < before

    def _evict_of(self, share: tuple[str, str], but: str) -> bool:
        """Delete the oldest key of an owner except one; return False if there is none."""
        owned = self._owned.get(share)
        oldest = None if owned is None else next((key for key in owned.sizes if key != but), None)
        return oldest is not None and self._delete_entry(oldest)

    def _check_room(self, key: str, kind: str, value: bytes) -> None:
        """Check that a key can be put without deleting another.

        Raises:
            StoreError: there is no room.
        """
        share = self._shares.get(kind)
        if share is None or self._fits(share, key, value):
            return
        now = time.monotonic()
        if now - share.swept_at >= _FULL_SWEEP_INTERVAL:
            share.swept_at = now
            for expired in [name for name, (_, expiry) in self._entries.items() if expiry <= now]:
                self._delete_entry(expired)
            if self._fits(share, key, value):
                return
        raise StoreError(
            f"the store in this process is full: it keeps {self._capacity} keys of a kind, and {self._size} "
            "bytes of their values; use a store with more room, or a shorter session_ttl"
        )

    def _fits(self, share: _Share, key: str, value: bytes) -> bool:
        current = self._entries.get(key)
        if current is None or current[1] == math.inf:
            return share.count < self._capacity and share.size + _size(value) <= self._size
        growth = _size(value) - _size(current[0])
        return growth <= 0 or share.size + growth <= self._size

    def delete_now(self, key: str) -> None:
        """Delete a key, as `delete` does, without awaiting."""
        if not self._delete_entry(key):
            kind, id = _split_key(key)
            if kind == _SESSION:
                self._ended.discard(id)

    def _delete_entry(self, key: str) -> bool:
        entry = self._entries.pop(key, None)
        share_of_owner = self._owners.pop(key, None)
        if share_of_owner is not None:
            owned = self._owned[share_of_owner]
            owned.size -= owned.sizes.pop(key)
            if not owned.sizes:
                del self._owned[share_of_owner]
        if entry is not None and entry[1] != math.inf:
            share = self._shares[_split_key(key)[0]]
            share.count -= 1
            share.size -= _size(entry[0])
        return entry is not None

    def _sweep(self) -> None:
        now = time.monotonic()
        batch = list(islice(self._sweep_iterator, _CHECKED_PER_PUT))
        if not batch:
            self._sweep_iterator = iter(list(self._entries))
        for key in batch:
            if key in self._entries and self._entries[key][1] <= now:
                self._delete_entry(key)


class EndedIds:
    """Ids of ended sessions, each until its expiry and not much longer, bounded in number.

    An id takes about 80 bytes, a fifth of a key of its own: it is a number in one of a few sets, and each set is
    dropped once all of it has expired. No id is dropped to make room, since the session would live again; without
    room, no more are added.

    Args:
        capacity: most ids; beyond it no others are added.
    """

    def __init__(self, capacity: int = MOST_ENDED) -> None:
        self._capacity = capacity
        self._ids_by_expiry: dict[float, set[int | str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._ids_by_expiry.values()))

    def __contains__(self, id: str) -> bool:
        number, now = _number(id), time.monotonic()
        return any(number in ids for expiry, ids in self._ids_by_expiry.items() if expiry > now)

    def add(self, id: str, ttl: float) -> bool:
        """Add an id for at least `ttl` seconds, and return whether there was room for it."""
        now = time.monotonic()
        for expiry in [expiry for expiry in self._ids_by_expiry if expiry <= now]:
            del self._ids_by_expiry[expiry]
        self.discard(id)
        if len(self) >= self._capacity:
            return False
        step = 2.0 ** (math.floor(math.log2(max(ttl, 1.0))) - _SETS)
        expiry = math.ceil((now + ttl) / step) * step
        self._ids_by_expiry.setdefault(expiry, set()).add(_number(id))
        return True

    def discard(self, id: str) -> None:
        """Remove an id, if it is there."""
        number = _number(id)
        for ids in self._ids_by_expiry.values():
            ids.discard(number)

    def clear(self) -> None:
        """Remove all ids."""
        self._ids_by_expiry.clear()


class _Stream:
    __slots__ = ("entries", "expiry", "head", "size")

    def __init__(self, head: bytes, size: int) -> None:
        self.head = head
        self.entries: list[tuple[int, bytes]] = []
        self.size = size
        self.expiry = 0.0

    def add(self, entry: tuple[int, bytes]) -> int:
        """Add an entry and return by how much the stream has grown, in bytes."""
        if self.entries and self.entries[-1][0] >= entry[0]:
            return 0
        self.entries.append(entry)
        return self._grow(len(entry[1]) + _OVERHEAD)

    def trim(self, count: int) -> int:
        """Remove the oldest entries and return by how much the stream has grown: a negative number."""
        removed = self.entries[:count]
        del self.entries[:count]
        return self._grow(-sum(len(entry) + _OVERHEAD for _, entry in removed))

    def _grow(self, by: int) -> int:
        self.size += by
        return by


class MemoryLog:
    """`EventLog` in this process, bounded by age, by entries of one stream, and by bytes of all streams."""

    private = True

    def __init__(self, limits: LogLimits) -> None:
        self._limits = limits
        self._slack = limits.entries // 10
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._streams)

    async def open(self, stream: str, head: bytes) -> None:
        self.write(stream, head)

    async def begin(self, stream: str, head: bytes, entry: tuple[int, bytes]) -> None:
        await self.open(stream, head)
        await self.append(stream, (entry,))

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        self.write(stream, None, entries)

    async def append_each(self, entries: Sequence[tuple[str, int, bytes]]) -> list[bool]:
        results = []
        for stream, position, data in entries:
            try:
                await self.append(stream, ((position, data),))
            except StoreError:
                results.append(False)
            else:
                results.append(True)
        return results

    def write(self, stream: str, head: bytes | None, entries: Sequence[tuple[int, bytes]] = ()) -> None:
        """Open a stream and append to it in one call, without awaiting.

        Args:
            stream: its key.
            head: opens the stream if it is new; None if it was opened before.
            entries: entries to add.

        Raises:
            StoreError: the stream was never opened, has expired or was evicted.
        """
        record = self._live_stream(stream)
        if record is None:
            if head is None:
                raise StoreError(
                    "the stream is no longer in the log, or never was; "
                    "if it should have been, raise the age or the size that the log may have"
                )
            record = self._create(stream, head)
        elif head is not None and not entries:
            return  # opening a stream a second time changes nothing
        for entry in entries:
            self.size += record.add(entry)
        if len(record.entries) > self._limits.entries + self._slack:
            self.size += record.trim(len(record.entries) - self._limits.entries)
        self._renew(stream, record)

    async def read(self, stream: str, after: int) -> StreamSlice | None:
        record = self._live_stream(stream)
        if record is None:
            return None
        start = bisect_right(record.entries, after, key=_position)
        first = record.entries[0][0] if record.entries else None
        return StreamSlice(record.head, record.entries[start : start + _READ_LIMIT], first)

    async def last(self, stream: str) -> int:
        record = self._live_stream(stream)
        return record.entries[-1][0] if record is not None and record.entries else 0

    async def touch(self, stream: str) -> None:
        record = self._live_stream(stream)
        if record is not None:
            self._renew(stream, record)

    async def drop(self, stream: str) -> None:
        self._drop(stream)

    def _create(self, stream: str, head: bytes) -> _Stream:
        self._drop(stream)  # it has expired, if it exists at all
        size = len(head) + len(stream) + _OVERHEAD
        self._streams[stream] = record = _Stream(head, size)
        self.size += size
        return record

    def _drop(self, stream: str) -> None:
        record = self._streams.pop(stream, None)
        if record is not None:
            self.size -= record.size

    def _live_stream(self, stream: str) -> _Stream | None:
        record = self._streams.get(stream)
        return None if record is None or record.expiry <= time.monotonic() else record

    def _renew(self, stream: str, record: _Stream) -> None:
        now = time.monotonic()
        record.expiry = now + self._limits.age
        self._streams.move_to_end(stream)
        oldest = next(iter(self._streams.values()))
        while oldest is not record and oldest.expiry <= now:
            self.size -= self._streams.popitem(last=False)[1].size
            oldest = next(iter(self._streams.values()))
        while self.size > self._limits.size:
            if not self._make_room(record):
                return

    def _make_room(self, record: _Stream) -> bool:
        """Evict a stream, or half of the one just written; return False if nothing more can be evicted.

        The last entry written always stays.
        """
        oldest = [pair for pair in islice(self._streams.items(), _EVICTION_CANDIDATES) if pair[1] is not record]
        size_of_oldest = oldest[0][1].size if oldest else 0
        if len(record.entries) > 1 and record.size > _MUCH_LARGER * size_of_oldest:
            self.size += record.trim(len(record.entries) // 2)
            return True
        if not oldest:
            return False
        name, largest = max(oldest, key=lambda pair: pair[1].size)
        self._drop(name if largest.size > _MUCH_LARGER * size_of_oldest else oldest[0][0])
        return True


class MemoryBus:
    """`Bus` within this process: each message is scheduled in the event loop."""

    propagation_delay = 0.0

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callable[[bytes], None]]] = {}

    async def publish(self, topic: str, message: bytes) -> None:
        loop = asyncio.get_running_loop()
        for callback in self._callbacks.get(topic, ()):
            loop.call_soon(callback, message)

    def subscribe(self, topic: str, callback: Callable[[bytes], None]) -> None:
        self._callbacks.setdefault(topic, []).append(callback)

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Do nothing, as no message is missed within a process."""


def _split_key(key: str) -> tuple[str, str]:
    """Split a key into its kind and its id."""
    kind, colon, id = key.partition(":")
    return (kind, id) if colon else ("", key)


def _size(value: bytes) -> int:
    """Return the counted size of a value, rounded up so that recording another use does not change it."""
    return (len(value) // 256 + 1) * 256


def _number(id: str) -> int | str:
    """Return the id of a session as a number, which takes half the memory; any other id unchanged."""
    return int(id, 16) if _SESSION_ID.fullmatch(id) else id
