"""Decides about outcomes by a table of values: what `memory://` and SQLite do, in Python.

Redis does the same by scripts (`redis_outcomes.py`), and the same tests hold for both. What is kept stands in a
queue besides, in the order in which it came, so that the oldest can be found: places by number, and the numbers
of the first place and the one behind the last.

Whole results that links lead to have their room here as well. A caller's record has its results, oldest first; a
record of all has the bytes that were put in each minute, so nothing has to be counted when a result expires. A
result that finds no room takes that of the oldest of the same caller; another caller's results stay. The bytes of
a minute count until its last result has expired.

Easy to get wrong: a place of an outcome that was replaced. The outcome at its key is another's then, as its
ticket says, and stays.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeVar

import msgspec

from enfilade.state.limits.claims import worker_of
from enfilade.state.limits.decisions import CLOCK_TICK, Table
from enfilade.state.outcomes.claims import (
    VERSION_AGE,
    Begun,
    Bound,
    Claim,
    Decision,
    Differs,
    Finish,
    Finished,
    Full,
    Kept,
    Running,
)
from enfilade.state.store import Store

T = TypeVar("T")

#: Places that one step looks at, so that it takes a bounded time.
STEPS: Final = 32

#: Seconds for which a queue is kept after the end of what is in it.
QUEUE_GRACE: Final = 1.0


class OwnedTable(Table, Protocol):
    """A table in which callers may have a share."""

    def put_owned(self, key: str, value: bytes, ttl: float, owner: str, evicts: bool) -> None:
        """Store a value for some seconds; in a table whose room is shared, in that of its owner.

        Args:
            key, value, ttl: as for `put`.
            owner: whose it is; empty for nobody's.
            evicts: whether the oldest of the same owner makes room.

        Raises:
            StoreError: there is no room.
        """
        ...


class TableOutcomes:
    """`Outcomes` in a table.

    Args:
        run: runs a job with the table, in one step that no other comes between.
        clock: seconds, of a clock that all processes with this table share.
        is_local: whether the table is in this process.
    """

    def __init__(self, run: "Run", clock: Callable[[], float], *, is_local: bool) -> None:
        self._run = run
        self._clock = clock
        self.is_local = is_local

    async def claim(self, claim: Claim) -> Decision:
        return await self._run(lambda table: decide(table, claim, self._clock()))

    async def finish(self, finish: Finish) -> Finished:
        return await self._run(lambda table: keep(table, finish, self._clock()))

    async def release(self, key: str, ticket: str) -> list[str]:
        return await self._run(lambda table: release(table, key, ticket))

    async def renew(self, tickets: Mapping[str, str], lease: float) -> None:
        await self._run(lambda table: renew(table, tickets, lease, self._clock()))

    async def change_version(self, key: str, version: bytes) -> None:
        await self._run(lambda table: table.put(key, version, VERSION_AGE))


class Run(Protocol):
    """Runs a job with a table."""

    def __call__(self, job: Callable[[OwnedTable], T], /) -> Awaitable[T]:
        """Return what the job returns."""
        ...


class _Entry(msgspec.Struct, array_like=True):
    """What is at a key: a run, or what it came to."""

    ticket: str
    arguments: str
    versions: list[bytes]
    alive_until: float
    ends: float
    outcome: bytes | None
    waiting: list[str]
    is_again: bool = False


class _Place(msgspec.Struct, array_like=True):
    """A place in a queue."""

    key: str
    ticket: str
    ends: float


_encode: Final = msgspec.msgpack.Encoder().encode
_entry_in: Final = msgspec.msgpack.Decoder(_Entry).decode
_place_in: Final = msgspec.msgpack.Decoder(_Place).decode
_ends_in: Final = msgspec.msgpack.Decoder(tuple[int, int]).decode


def decide(table: OwnedTable, claim: Claim, now: float) -> Decision:
    """Decide about a claim.

    Args:
        table: where outcomes are.
        claim: of a call.
        now: seconds of a clock that all processes with this table share.
    """
    versions = [table.get(key) or b"" for key in claim.versions]
    entry = _entry(table, claim.key)
    is_again = False
    if entry is not None and entry.versions == versions and not _is_too_late(entry, claim, now):
        if entry.arguments != claim.arguments:
            return Differs()
        if entry.outcome is not None:
            return Kept(entry.outcome)
        if entry.ticket != claim.ticket:
            if entry.alive_until > now:
                worker, latest = worker_of(claim.ticket), now + claim.lease
                if worker not in entry.waiting or entry.alive_until > latest + CLOCK_TICK:
                    entry.waiting = [*(each for each in entry.waiting if each != worker), worker]
                    entry.alive_until = min(entry.alive_until, latest)  # a clock that was set back
                    table.put(claim.key, _encode(entry), max(0.0, entry.ends - now))
                return Running()
            is_again = True
        else:  # sent again
            is_again = entry.is_again
    for bound in _bounds(claim):
        if not bound.evicts and _count(table, bound, now) >= bound.count:
            return Full(bound is claim.own)
    waiting = [] if entry is None or entry.outcome is not None else entry.waiting
    age = max(claim.age, claim.lease)
    begun = _Entry(claim.ticket, claim.arguments, versions, now + claim.lease, now + age, None, waiting, is_again)
    table.put_owned(claim.key, _encode(begun), age, claim.owner, claim.bound.evicts)
    return Begun(is_again)


def keep(table: OwnedTable, finish: Finish, now: float) -> Finished:
    """Keep an outcome."""
    entry = _entry(table, finish.key)
    if entry is None or entry.ticket != finish.ticket:
        return Finished(False, [])
    if entry.outcome is not None:  # sent again
        return Finished(True, [])
    if entry.versions != [table.get(key) or b"" for key in finish.versions]:
        table.delete(finish.key)
        return Finished(False, entry.waiting)
    waiting, entry.waiting = entry.waiting, []
    entry.outcome, entry.ends = finish.outcome, now + finish.ttl
    table.put_owned(finish.key, _encode(entry), finish.ttl, finish.owner, finish.bound.evicts)
    for bound in _bounds(finish):
        _append(table, bound, finish, now)
    return Finished(True, waiting)


def release(table: Table, key: str, ticket: str) -> list[str]:
    """Give up a claim, and return the workers that wait."""
    entry = _entry(table, key)
    if entry is None or entry.ticket != ticket or entry.outcome is not None:
        return []
    table.delete(key)
    return entry.waiting


def renew(table: Table, tickets: Mapping[str, str], lease: float, now: float) -> None:
    """Renew claims for some seconds."""
    for key, ticket in tickets.items():
        entry = _entry(table, key)
        if entry is not None and entry.ticket == ticket and entry.outcome is None:
            entry.alive_until = now + lease
            entry.ends = max(entry.ends, entry.alive_until)
            table.put(key, _encode(entry), entry.ends - now)


def _is_too_late(entry: _Entry, claim: Claim, now: float) -> bool:
    """Whether an outcome would be kept for longer than it may be, as the clock was set back."""
    if entry.outcome is None or claim.kept_for is None:
        return False
    return entry.ends > now + claim.kept_for + CLOCK_TICK


def _entry(table: Table, key: str) -> _Entry | None:
    stored = table.get(key)
    return None if stored is None else _entry_in(stored)


# -- the queue -------------------------------------------------------------------------------------------------


def _ends(table: Table, bound: Bound) -> tuple[int, int]:
    stored = table.get(bound.key)
    return (0, 0) if stored is None else _ends_in(stored)


def _place_key(bound: Bound, number: int) -> str:
    return f"{bound.key}:{number}"


def _count(table: Table, bound: Bound, now: float) -> int:
    """Return how many places there are, without expired ones at the beginning."""
    first, last = _ends(table, bound)
    if last - first < bound.count:
        return last - first
    kept = _without_oldest(table, bound, first, last, now, 0)
    if kept != first:
        table.put(bound.key, _encode((kept, last)), _age_of(table, bound, last, now))
    return last - kept


def _bounds(of: Claim | Finish) -> tuple[Bound, ...]:
    return (of.bound,) if of.own is None else (of.bound, of.own)


def _append(table: OwnedTable, bound: Bound, finish: Finish, now: float) -> None:
    first, last = _ends(table, bound)
    place = _Place(finish.key, finish.ticket, now + finish.ttl)
    age = finish.ttl + QUEUE_GRACE
    table.put_owned(_place_key(bound, last), _encode(place), age, finish.owner, bound.evicts)
    last += 1
    surplus = last - first - bound.count if bound.evicts else 0
    first = _without_oldest(table, bound, first, last, now, surplus)
    table.put(bound.key, _encode((first, last)), age)


def _without_oldest(table: Table, bound: Bound, first: int, last: int, now: float, surplus: int) -> int:
    """Delete expired places from the beginning, and a surplus with its outcomes; return the new first one."""
    for _ in range(STEPS):
        stored = table.get(_place_key(bound, first)) if first < last else b""
        if stored == b"":
            break
        if stored is not None:
            place = _place_in(stored)
            if place.ends > now:
                if surplus <= 0:
                    break
                _evict(table, place)
            table.delete(_place_key(bound, first))
        first, surplus = first + 1, surplus - 1
    return first


def _evict(table: Table, place: _Place) -> None:
    entry = _entry(table, place.key)
    if entry is not None and entry.ticket == place.ticket:
        table.delete(place.key)


def _age_of(table: Table, bound: Bound, last: int, now: float) -> float:
    stored = table.get(_place_key(bound, last - 1))
    return QUEUE_GRACE if stored is None else max(0.0, _place_in(stored).ends - now) + QUEUE_GRACE


# -- whole results ---------------------------------------------------------------------------------------------

#: Results of a caller at most, whatever their size, so that its record stays small.
MOST_RESULTS: Final = 256

#: Bytes that a result counts for besides its own.
OVERHEAD: Final = 256

_MINUTE: Final = 60.0


class StoredResult(msgspec.Struct, frozen=True, kw_only=True):
    """A result to be kept. Sent again, it has the same effect.

    Attributes:
        key: under which `Keys.get` finds it.
        value: what is kept.
        ttl: seconds for which it is kept; the same for all results of a store.
        owner: the key of its caller's record.
        room: the key of the record of all.
        own_size: bytes that one caller may have.
        size: bytes that all may have.
    """

    key: str
    value: bytes
    ttl: float
    owner: str
    room: str
    own_size: int
    size: int

    @property
    def counted(self) -> int:
        """The bytes that it counts for."""
        return len(self.value) + OVERHEAD


class Results(Protocol):
    """Keeps results within their room."""

    async def put(self, result: StoredResult) -> bool:
        """Keep a result, and return whether there is room for it.

        Raises:
            StoreError: the store does not answer, or this process has no room.
        """
        ...


def results_of(store: Store) -> Results | None:
    """Return what keeps results within their room; None for a store of the author's that has no such thing."""
    results: Results | None = getattr(store, "results", None)
    return results


class _Item(msgspec.Struct, array_like=True):
    """A result of a caller."""

    key: str
    size: int
    ends: float
    minute: int


_items_in: Final = msgspec.msgpack.Decoder(list[_Item]).decode
_minutes_in: Final = msgspec.msgpack.Decoder(dict[int, int]).decode


class TableResults:
    """`Results` in a table.

    Args:
        run: runs a job with the table, in one step that no other comes between.
        clock: seconds, of a clock that all processes with this table share.
        most: bytes that the table has room for; None if there is no such limit.
    """

    def __init__(self, run: Run, clock: Callable[[], float], most: int | None = None) -> None:
        self._run = run
        self._clock = clock
        self._most = most

    async def put(self, result: StoredResult) -> bool:
        if self._most is not None and self._most < result.size:
            result = msgspec.structs.replace(result, size=self._most)
        return await self._run(lambda table: put_within(table, result, self._clock()))


def put_within(table: Table, result: StoredResult, now: float) -> bool:
    """Keep a result if there is room, or its caller has older ones that make some."""
    stored = table.get(result.owner)
    # A clock that was set back must not keep what no longer is there.
    latest = now + result.ttl
    items = [item for item in ([] if stored is None else _items_in(stored)) if now < item.ends <= latest]
    if any(item.key == result.key for item in items):
        return True
    minute, age = int(now // _MINUTE), result.ttl + _MINUTE
    stored = table.get(result.room)
    minutes = {} if stored is None else _minutes_in(stored)
    minutes = {of: size for of, size in minutes.items() if now - age < of * _MINUTE <= now}
    own, every = sum(item.size for item in items), sum(minutes.values())
    if result.counted > result.own_size or every - own + result.counted > result.size:
        return False  # whatever is evicted
    while items and (
        own + result.counted > result.own_size
        or every + result.counted > result.size
        or len(items) >= MOST_RESULTS
    ):
        oldest = items.pop(0)
        table.delete(oldest.key)
        own -= oldest.size
        if oldest.minute in minutes:
            minutes[oldest.minute] -= oldest.size
            every -= oldest.size
    table.put(result.key, result.value, result.ttl)
    items.append(_Item(result.key, result.counted, now + result.ttl, minute))
    minutes[minute] = minutes.get(minute, 0) + result.counted
    table.put(result.owner, _encode(items), result.ttl)
    table.put(result.room, _encode(minutes), age)
    return True
