"""Decides about claims by a table of values: what `memory://` and SQLite do, in Python.

Redis does the same by a script (`redis_limits.py`), and the same tests hold for both. Rates are kept by the
generic cell rate algorithm (ITU-T I.371): one number says when the bucket will be full again. A share may be
taken ahead of its time, which is a place in a queue that needs no list.

The queue of slots is linked: each ticket that waits has a record of its own, which names those before and after
it. So it joins and leaves in a few steps, however many others wait. Places of killed workers go when they come to
the front, which is an hour later at most, as no call waits for longer.

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
    """The tickets that hold slots, and the first and the last one that wait; empty if none does."""

    holders: list[str] = []
    first: str = ""
    last: str = ""


class _Place(msgspec.Struct, array_like=True):
    """The tickets before and after one that waits; empty where it is the first or the last one."""

    before: str = ""
    after: str = ""


_encode: Final = msgspec.msgpack.Encoder().encode
_slots_in: Final = msgspec.msgpack.Decoder(_Slots).decode
_place_in: Final = msgspec.msgpack.Decoder(_Place).decode
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
            _join(table, slots, state, claim.ticket)
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
        _leave(table, slots, state, ticket)
        while state.first and len(state.holders) < slots.limit:
            first = state.first
            _leave(table, slots, state, first)
            if _lives(table, worker_of(first), ticket):
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
    if len(state.holders) < slots.limit and not state.first:
        return True
    alive = {worker: _lives(table, worker, ticket) for worker in set(map(worker_of, state.holders))}
    state.holders = [holder for holder in state.holders if alive[worker_of(holder)]]
    free, waiting, first, last = slots.limit - len(state.holders), state.first, state.first, state.last
    while waiting and waiting != ticket:  # as many as there are free slots, and no more
        place = _place(table, slots, waiting) or _Place()
        if not _lives(table, worker_of(waiting), ticket):
            _leave(table, slots, state, waiting)
        elif free <= 1:
            free = 0
            break
        else:
            free -= 1
        waiting = place.after
    if (state.first, state.last) != (first, last):
        _put_slots(table, slots, state)
    return free > 0


def _join(table: Table, slots: Slots, state: _Slots, ticket: str) -> None:
    """Put a ticket at the end of a queue, unless it is in there."""
    if state.first and _place(table, slots, ticket) is not None:
        return
    _put_place(table, slots, ticket, _Place(before=state.last))
    before = _place(table, slots, state.last) if state.last else None
    if before is None:
        state.first = ticket
    else:
        before.after = ticket
        _put_place(table, slots, state.last, before)
    state.last = ticket


def _leave(table: Table, slots: Slots, state: _Slots, ticket: str) -> None:
    """Remove a ticket from a queue, if it is in there."""
    place = _place(table, slots, ticket)
    if place is None:
        if ticket == state.first:  # it has expired, and what came after it is unknown: those ask again
            state.first = state.last = ""
        return
    table.delete(_place_key(slots, ticket))
    if place.before and (before := _place(table, slots, place.before)) is not None:
        before.after = place.after
        _put_place(table, slots, place.before, before)
    if place.after and (after := _place(table, slots, place.after)) is not None:
        after.before = place.before
        _put_place(table, slots, place.after, after)
    if ticket == state.first:
        state.first = place.after
    if ticket == state.last:
        state.last = place.before


def _place_key(slots: Slots, ticket: str) -> str:
    return f"{slots.key}:{ticket}"


def _place(table: Table, slots: Slots, ticket: str) -> _Place | None:
    stored = table.get(_place_key(slots, ticket))
    return None if stored is None else _place_in(stored)


def _put_place(table: Table, slots: Slots, ticket: str, place: _Place) -> None:
    table.put(_place_key(slots, ticket), _encode(place), SLOTS_AGE)


def _take(table: Table, claim: Claim, kept: Sequence[_Slots]) -> None:
    for slots, state in zip(claim.slots, kept, strict=False):
        if claim.ticket not in state.holders:
            state.holders.append(claim.ticket)
            _leave(table, slots, state, claim.ticket)
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
    if state.holders or state.first:
        table.put(slots.key, _encode(state), SLOTS_AGE)
    else:
        table.delete(slots.key)


def _lives(table: Table, worker: str, asking: str) -> bool:
    """Whether a worker has a lease, or the ticket that asks is its own."""
    return worker == worker_of(asking) or table.get(lease_key(worker)) is not None
