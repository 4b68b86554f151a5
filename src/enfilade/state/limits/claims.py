"""What a worker asks of a store before a call that has limits, and what the store decides.

A ticket stands for one call; its name begins with that of its worker. It takes slots, which it holds until they
are released, and shares of rates, which are gone once taken. A worker has a lease, which it renews while it has
tickets: the slots of a worker without a lease are free again.

Easy to get wrong: order. Slots are taken one after the other, so every worker must name them in the same order;
otherwise two tickets could wait for each other. And rates come last, when all slots are held, so that shares are
taken when the call may begin.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from enfilade.state.store import Store, StoreError

#: Seconds for which slots are kept that nobody has touched. A call that takes longer than this is not counted.
SLOTS_AGE: Final = 86_400.0

#: Longest that a share of a rate can be ahead of its time, in seconds: the longest wait that an author can allow.
LONGEST_WAIT: Final = 3600.0


class Slots(msgspec.Struct, frozen=True, array_like=True):
    """Slots of concurrent calls.

    Attributes:
        key: what no other limit has.
        limit: how many there are.
        waits: whether a call may wait for one; else it is refused.
    """

    key: str
    limit: int
    waits: bool = True


class SharedRate(msgspec.Struct, frozen=True, array_like=True):
    """A rate, as a bucket of tokens that is full at first.

    Attributes:
        key: what no other limit has.
        interval: seconds in which one token comes back.
        period: seconds in which the whole bucket comes back.
        waits: whether a call may wait for its share; else it is refused.
        longest_wait: seconds that a call of this limit waits at most. A share that is further ahead than that was
            taken before the clock was set back.
    """

    key: str
    interval: float
    period: float
    waits: bool = True
    longest_wait: float = LONGEST_WAIT


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a call needs. A claim that is sent again with the same ticket gets its slots once.

    Attributes:
        ticket: the call, `worker.number`.
        slots: which it needs, in the order in which all workers take them.
        rates: of which it needs a share.
        may_queue: whether it may wait for slots, where those say so.
        longest_delay: seconds that it may wait for its shares of rates, where those say so.
        lease: seconds for which its worker's lease is renewed; 0 to leave the lease as it is.
    """

    ticket: str
    slots: Sequence[Slots] = ()
    rates: Sequence[SharedRate] = ()
    may_queue: bool = False
    longest_delay: float = 0.0
    lease: float = 0.0

    @property
    def worker(self) -> str:
        """The worker of the call."""
        return worker_of(self.ticket)


class Granted(msgspec.Struct, frozen=True):
    """The call has its slots, and begins after `delay` seconds."""

    delay: float = 0.0


class Queued(msgspec.Struct, frozen=True):
    """The call holds the slots before `index`, and waits for those."""

    index: int


class Refused(msgspec.Struct, frozen=True):
    """The call has nothing.

    Attributes:
        index: which limit has no room, of the slots and then the rates.
        retry_after: seconds after which it has; 0 if that is not known.
    """

    index: int
    retry_after: float = 0.0


Decision = Granted | Queued | Refused


class Limits(Protocol):
    """Decides about claims, each in one step that no other process comes between.

    Attributes:
        is_local: whether the decisions are made in this process, without waiting.
    """

    is_local: bool

    async def admit(self, claim: Claim) -> Decision:
        """Decide about a claim.

        Raises:
            StoreError: the store does not answer.
        """
        ...

    async def release(self, ticket: str, slots: Sequence[Slots]) -> list[str]:
        """Give back the slots of a ticket, and its places in their queues.

        Returns:
            The tickets that have them now; their workers are to be told.

        Raises:
            StoreError: the store does not answer.
        """
        ...

    async def renew(self, worker: str, lease: float) -> None:
        """Renew the lease of a worker for some seconds; with 0 seconds it is over, and all its slots are free.

        Raises:
            StoreError: the store does not answer.
        """
        ...


def limits_of(store: Store) -> Limits:
    """Return what decides about claims in a store.

    Raises:
        StoreError: it is a store of the author's, without limits.
    """
    limits: Limits | None = getattr(store, "limits", None)
    if limits is None:
        raise StoreError(
            f"{type(store).__name__} keeps no limits of calls: it lacks the attribute `limits` (see "
            "enfilade.state.limits.claims.Limits); use memory://, sqlite:/// or redis://"
        )
    return limits


def worker_of(ticket: str) -> str:
    """Return the worker that a ticket belongs to."""
    return ticket.partition(".")[0]


def lease_key(worker: str) -> str:
    """Return the key of a worker's lease."""
    return f"limiter:{worker}"
