"""Decides about outcomes by a table of values: what `memory://` and SQLite do, in Python.

Redis does the same by scripts (`redis_outcomes.py`), and the same tests hold for both. What is kept stands in a
queue besides, in the order in which it came, so that the oldest can be found: places by number, and the numbers
of the first place and the one behind the last.

Easy to get wrong: a place of an outcome that was replaced. The outcome at its key is another's then, as its
ticket says, and stays.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeVar

import msgspec

from enfilade.state.limits.claims import worker_of
from enfilade.state.limits.decisions import Table
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

T = TypeVar("T")

#: Places that one step looks at, so that it takes a bounded time.
STEPS: Final = 32

#: Seconds for which a queue is kept after the end of what is in it.
QUEUE_GRACE: Final = 1.0


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

    def __call__(self, job: Callable[[Table], T], /) -> Awaitable[T]:
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


def decide(table: Table, claim: Claim, now: float) -> Decision:
    """Decide about a claim.

    Args:
        table: where outcomes are.
        claim: of a call.
        now: seconds of a clock that all processes with this table share.
    """
    versions = [table.get(key) or b"" for key in claim.versions]
    entry = _entry(table, claim.key)
    is_again = False
    if entry is not None and entry.versions == versions:
        if entry.arguments != claim.arguments:
            return Differs()
        if entry.outcome is not None:
            return Kept(entry.outcome)
        if entry.ticket != claim.ticket:
            if entry.alive_until > now:
                worker = worker_of(claim.ticket)
                if worker not in entry.waiting:
                    entry.waiting.append(worker)
                    table.put(claim.key, _encode(entry), max(0.0, entry.ends - now))
                return Running()
            is_again = True
        else:  # sent again
            is_again = entry.is_again
    if not claim.bound.evicts and _count(table, claim.bound, now) >= claim.bound.count:
        return Full()
    waiting = [] if entry is None or entry.outcome is not None else entry.waiting
    age = max(claim.age, claim.lease)
    begun = _Entry(claim.ticket, claim.arguments, versions, now + claim.lease, now + age, None, waiting, is_again)
    table.put(claim.key, _encode(begun), age)
    return Begun(is_again)


def keep(table: Table, finish: Finish, now: float) -> Finished:
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
    table.put(finish.key, _encode(entry), finish.ttl)
    _append(table, finish, now)
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


def _append(table: Table, finish: Finish, now: float) -> None:
    bound = finish.bound
    first, last = _ends(table, bound)
    place = _Place(finish.key, finish.ticket, now + finish.ttl)
    table.put(_place_key(bound, last), _encode(place), finish.ttl + QUEUE_GRACE)
    last += 1
    surplus = last - first - bound.count if bound.evicts else 0
    first = _without_oldest(table, bound, first, last, now, surplus)
    table.put(bound.key, _encode((first, last)), finish.ttl + QUEUE_GRACE)


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
