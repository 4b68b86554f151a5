"""What a worker asks of a store about an outcome that calls share, and what the store says.

Whoever claims an outcome first begins, and runs. Its claim holds for a lease, which its worker renews; when the
lease is over, the next one begins. Others are told that it runs, and their workers are named in the end, so that
they can be told. What is kept is for as long as whoever ran it says.

Easy to get wrong: a result that was computed before an invalidation. An outcome has the versions that were in
effect when it began; with other versions it counts as absent, and is not kept.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from enfilade.state.store import Store, StoreError

#: Seconds for which a version is kept: longer than any result that was computed before it.
VERSION_AGE: Final = 15 * 86_400.0


class Bound(msgspec.Struct, frozen=True):
    """How many outcomes of a kind are kept.

    Attributes:
        key: of the queue of those that are kept, which no other kind has.
        count: the most.
        evicts: whether the oldest makes room for a new one; otherwise nothing new begins.
    """

    key: str
    count: int
    evicts: bool


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The claim of a call. Sent again with the same ticket, it has the same effect.

    Attributes:
        key: of the outcome.
        ticket: the call, `worker.number`.
        arguments: a digest of what must be the same for all calls with this key.
        versions: the keys of the versions that count for it.
        lease: seconds after which the next one begins, unless it is renewed.
        age: seconds for which it is known that a run has begun.
        bound: how many outcomes are kept beside it.
        own: how many of these are its caller's; None if that is not counted.
        owner: whose room it takes, where callers share what a process has; empty for nobody's.
        kept_for: seconds for which an outcome may be kept from now on; None for any time. One that would be kept
            for longer is from before the clock was set back, and counts as absent.
    """

    key: str
    ticket: str
    arguments: str
    versions: Sequence[str]
    lease: float
    age: float
    bound: Bound
    own: Bound | None = None
    owner: str = ""
    kept_for: float | None = None


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run.

    Attributes:
        key, ticket, versions, bound, own, owner: those of its claim.
        outcome: what it came to.
        ttl: seconds for which that is kept.
    """

    key: str
    ticket: str
    versions: Sequence[str]
    bound: Bound
    outcome: bytes
    ttl: float
    own: Bound | None = None
    owner: str = ""


class Begun(msgspec.Struct, frozen=True):
    """The call runs. `is_again`: an earlier run with this key was stopped in its middle, or its worker was."""

    is_again: bool = False


class Running(msgspec.Struct, frozen=True):
    """Another call runs."""


class Kept(msgspec.Struct, frozen=True):
    """There is an outcome."""

    outcome: bytes


class Differs(msgspec.Struct, frozen=True):
    """The key was used with other arguments."""


class Full(msgspec.Struct, frozen=True):
    """No more outcomes are kept. `is_own`: of this caller."""

    is_own: bool = False


Decision = Begun | Running | Kept | Differs | Full


class Finished(msgspec.Struct, frozen=True):
    """What became of an outcome.

    Attributes:
        is_kept: whether it is kept; not if the lease was over, or a version has changed.
        waiting: the workers that wait for it, which are to be told.
    """

    is_kept: bool
    waiting: list[str]


class Outcomes(Protocol):
    """Decides about outcomes, each time in one step that no other process comes between.

    Attributes:
        is_local: whether it is in this process, so that nothing has to be sealed and nobody told.
    """

    is_local: bool

    async def claim(self, claim: Claim) -> Decision:
        """Decide about a claim.

        Raises:
            StoreError: the store does not answer, or has no room.
        """
        ...

    async def finish(self, finish: Finish) -> Finished:
        """Keep an outcome.

        Raises:
            StoreError: as `claim`.
        """
        ...

    async def release(self, key: str, ticket: str) -> list[str]:
        """Give up a claim without an outcome, and return the workers that wait.

        Raises:
            StoreError: the store does not answer.
        """
        ...

    async def renew(self, tickets: Mapping[str, str], lease: float) -> None:
        """Renew claims, tickets by key, for some seconds.

        Raises:
            StoreError: the store does not answer.
        """
        ...

    async def change_version(self, key: str, version: bytes) -> None:
        """Set a version, so that all outcomes with another one count as absent.

        Raises:
            StoreError: the store does not answer.
        """
        ...


def outcomes_of(store: Store) -> Outcomes:
    """Return what decides about outcomes in a store.

    Raises:
        StoreError: it is a store of the author's, without outcomes.
    """
    outcomes: Outcomes | None = getattr(store, "outcomes", None)
    if outcomes is None:
        raise StoreError(
            f"{type(store).__name__} keeps no outcomes of calls: it lacks the attribute `outcomes` (see "
            "enfilade.state.outcomes.claims.Outcomes); use memory://, sqlite:/// or redis://"
        )
    return outcomes
