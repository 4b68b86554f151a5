"""Decides about claims by a table of values: what `memory://` and SQLite do, in Python.

Redis does the same by a script (`redis_limits.py`), and the same tests hold for both. Rates are kept by the
generic cell rate algorithm (ITU-T I.371): one number says when the bucket will be full again. A share may be
taken ahead of its time, which is a place in a queue that needs no list.

Easy to get wrong: a clock that was set. Set back, it leaves a time that is further ahead than calls can wait, and
that would refuse all of them until then, as a refusal changes nothing. So the bucket counts as one that has a
single token, and calls go on at the pace of the rate. Set forwards, it ends leases; so a worker that claims or
releases counts as alive.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from enfilade.state.limits.claims import (
    SLOTS_AGE,
    Claim,
    Decision,
    Granted,
    Queued,
    Refused,
    SharedRate,
    Slots,
    lease_key,
    worker_of,
)

#: Seconds that no clock tells apart: sums of times are no more exact than this.
CLOCK_TICK: Final = 1e-5


class Table(Protocol):
    """Values by key, for the length of one decision."""

    def get(self, key: str) -> bytes | None:
        """Return the value; None if there is none, or it has expired."""
        ...

    def put(self, key: str, value: bytes, ttl: float) -> None:
        """Store a value for some seconds."""
        ...

    def delete(self, key: str) -> None:
        """Delete a value, if there is one."""
        ...


class _Slots(msgspec.Struct, array_like=True):
    """Who holds slots, and who waits for them in order: tickets."""

    holders: list[str] = []
    queue: list[str] = []


_encode: Final = msgspec.msgpack.Encoder().encode
_slots_in: Final = msgspec.msgpack.Decoder(_Slots).decode
_time_in: Final = msgspec.msgpack.Decoder(float).decode


def decide(table: Table, claim: Claim, now: float) -> Decision:
    """Decide about a claim.

    Args:
        table: where limits are kept.
        claim: what a call needs.
        now: seconds of a clock that all processes with this table share.
    """
    if claim.lease:
        renew(table, claim.worker, claim.lease)
    kept = [_slots(table, slots) for slots in claim.slots]
    for index, (slots, state) in enumerate(zip(claim.slots, kept, strict=True)):
        if not _has_room(table, slots, state, claim.ticket):
            if not (claim.may_queue and slots.waits):
                return Refused(index)
            if claim.ticket not in state.queue:
                state.queue.append(claim.ticket)
            _put_slots(table, slots, state)
            _take(table, claim, kept[:index])
            return Queued(index)
    full_at = [_full_at(table, rate, now) for rate in claim.rates]
    waits = [time - now - rate.period for time, rate in zip(full_at, claim.rates, strict=True)]
    delays = [wait if wait > CLOCK_TICK else 0.0 for wait in waits]
    for index in sorted(range(len(delays)), key=delays.__getitem__, reverse=True):
        if delays[index] > (claim.longest_delay if claim.rates[index].waits else 0.0):
            return Refused(len(kept) + index, delays[index])
    for rate, time in zip(claim.rates, full_at, strict=True):
        table.put(rate.key, _encode(time), time - now + 1.0)
    _take(table, claim, kept)
    return Granted(max(delays, default=0.0))


def release(table: Table, ticket: str, claimed: Sequence[Slots]) -> list[str]:
    """Give back the slots of a ticket and its places in queues, and return the tickets that have them now."""
    granted: list[str] = []
    for slots in claimed:
        state = _slots(table, slots)
        state.holders = [holder for holder in state.holders if holder != ticket]
        state.queue = [waiting for waiting in state.queue if waiting != ticket]
        while state.queue and len(state.holders) < slots.limit:
            first = state.queue.pop(0)
            if worker_of(first) == worker_of(ticket) or _is_alive(table, first):
                state.holders.append(first)
                granted.append(first)
        _put_slots(table, slots, state)
    return granted


def renew(table: Table, worker: str, lease: float) -> None:
    """Renew the lease of a worker for some seconds; with 0 seconds it is over."""
    if lease > 0:
        table.put(lease_key(worker), b"", lease)
    else:
        table.delete(lease_key(worker))


def _has_room(table: Table, slots: Slots, state: _Slots, ticket: str) -> bool:
    """Whether a ticket holds one of the slots, or may take one: it is free, and nobody else waits for it."""
    if ticket in state.holders:
        return True
    if len(state.holders) + _place(state, ticket) >= slots.limit:
        workers = set(map(worker_of, state.holders + state.queue))
        alive = {worker: worker == worker_of(ticket) or _is_alive(table, worker) for worker in workers}
        if not all(alive.values()):
            state.holders = [holder for holder in state.holders if alive[worker_of(holder)]]
            state.queue = [waiting for waiting in state.queue if alive[worker_of(waiting)]]
    return len(state.holders) + _place(state, ticket) < slots.limit


def _place(state: _Slots, ticket: str) -> int:
    return state.queue.index(ticket) if ticket in state.queue else len(state.queue)


def _take(table: Table, claim: Claim, kept: Sequence[_Slots]) -> None:
    for slots, state in zip(claim.slots, kept, strict=False):
        if claim.ticket not in state.holders:
            state.holders.append(claim.ticket)
            state.queue = [waiting for waiting in state.queue if waiting != claim.ticket]
            _put_slots(table, slots, state)


def _full_at(table: Table, rate: SharedRate, now: float) -> float:
    """Return when the bucket of a rate is full again, once a token more is taken."""
    stored = table.get(rate.key)
    full_at = now if stored is None else max(now, _time_in(stored))
    if full_at > now + rate.period + rate.longest_wait + CLOCK_TICK:
        return now + rate.period
    return full_at + rate.interval


def _slots(table: Table, slots: Slots) -> _Slots:
    stored = table.get(slots.key)
    return _Slots() if stored is None else _slots_in(stored)


def _put_slots(table: Table, slots: Slots, state: _Slots) -> None:
    if state.holders or state.queue:
        table.put(slots.key, _encode(state), SLOTS_AGE)
    else:
        table.delete(slots.key)


def _is_alive(table: Table, ticket: str) -> bool:
    return table.get(lease_key(worker_of(ticket))) is not None
