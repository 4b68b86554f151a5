"""Which proofs were used, of each key, so that none is used twice (RFC 9449 §11.1).

The memory of one key has a bound, so that a client with many proofs takes no room of others. What does not fit
is not simply forgotten: a key has a time before which its proofs are refused, whether they were used or not. A
client that makes a proof for each request notices nothing of that, as its next proof is a newer one.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

#: Proofs that are remembered in all, and of one key.
MOST_PROOFS: Final = 50_000
MOST_OF_A_KEY: Final = 5_000
#: Seconds by which two checks of one proof may find different ends for it.
_TOLERANCE: Final = 0.5


class Verdict(Enum):
    """Whether a proof is accepted."""

    NEW = auto()
    USED = auto()
    TOO_OLD = auto()


class _Key:
    """The proofs of a key: those that end first are at hand. Those that end before `floor` are refused."""

    __slots__ = ("ends", "floor", "last", "used")

    def __init__(self, floor: float) -> None:
        self.floor = self.last = floor
        self.used: set[bytes] = set()
        self.ends: list[tuple[float, bytes]] = []


class ProofMemory:
    """The proofs that were accepted and are not yet too old.

    Args:
        clock: seconds since 1970.
        capacity: proofs in all. When there are more, a key with several gives up one of its own; for a key's
            first one, the key that was not used for longest gives up all.
        share: proofs of one key.
    """

    def __init__(
        self, clock: Callable[[], float], capacity: int = MOST_PROOFS, share: int = MOST_OF_A_KEY
    ) -> None:
        self._clock, self._capacity, self._share = clock, capacity, share
        self._keys: OrderedDict[str, _Key] = OrderedDict()
        self._floor = 0.0  # of keys that were given up
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def accept(self, thumbprint: str, proof: bytes, seconds: float) -> Verdict:
        """Remember a proof, unless it is refused.

        Args:
            thumbprint: of its key.
            proof: what is unique to it.
            seconds: for which it could be used again.
        """
        now = self._clock()
        self._drop_ended(now)
        key = self._keys.get(thumbprint) or _Key(self._floor)
        end = now + seconds
        if proof in key.used:
            return Verdict.USED
        if end <= key.floor:
            return Verdict.TOO_OLD
        self._keys[thumbprint] = key
        self._keys.move_to_end(thumbprint)
        key.used.add(proof)
        key.last = max(key.last, end)
        heapq.heappush(key.ends, (end, proof))
        self._size += 1
        while key.ends[0][0] + _TOLERANCE < now:
            self._forget_first(key)
        if len(key.used) > self._share or (self._size > self._capacity and len(key.used) > 1):
            self._forget_first(key)
        elif self._size > self._capacity:
            self._give_up(next(iter(self._keys)))
        return Verdict.NEW

    def _forget_first(self, key: _Key) -> None:
        end, proof = heapq.heappop(key.ends)
        key.used.discard(proof)
        key.floor = max(key.floor, end + _TOLERANCE)
        key.last = max(key.last, key.floor)
        self._size -= 1

    def _drop_ended(self, now: float) -> None:
        """Drop keys all of whose proofs have ended, as far as they were not used for longest."""
        while self._keys:
            thumbprint, key = next(iter(self._keys.items()))
            if key.last + _TOLERANCE >= now:
                return
            del self._keys[thumbprint]
            self._size -= len(key.used)

    def _give_up(self, thumbprint: str) -> None:
        key = self._keys.pop(thumbprint)
        self._size -= len(key.used)
        self._floor = max(self._floor, key.last + _TOLERANCE)
