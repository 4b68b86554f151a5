"""Which sessions were ended, for the store in this process: many in little memory, and none forgotten early.

An id that is known to have ended takes about 80 bytes here, a fifth of what a key of its own takes: it is a
number in one of a few sets, and each set goes as a whole once all that is in it has expired. The easy thing to
get wrong is to make room by forgetting: the session would live again. Without room, no more are taken.
"""

import math
import re
import time
from typing import Final

#: Ids that are remembered at most; about 41 MB.
MOST_ENDED: Final = 500_000

#: Sets for each time to live, as a power of two: an id may be remembered by an eighth of it longer.
_SETS: Final = 3
_SESSION_ID: Final = re.compile(r"[0-9a-f]{32}")


class EndedIds:
    """Ids, each until its end and not much longer, bounded in number.

    Args:
        capacity: how many are kept; beyond it no others are taken.
    """

    def __init__(self, capacity: int = MOST_ENDED) -> None:
        self._capacity = capacity
        self._until: dict[float, set[int | str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._until.values()))

    def __contains__(self, id: str) -> bool:
        number, now = _number(id), time.monotonic()
        return any(number in ids for ends, ids in self._until.items() if ends > now)

    def add(self, id: str, ttl: float) -> bool:
        """Remember an id for at least `ttl` seconds, and return whether there was room for it."""
        now = time.monotonic()
        for ends in [ends for ends in self._until if ends <= now]:
            del self._until[ends]
        self.discard(id)
        if len(self) >= self._capacity:
            return False
        step = 2.0 ** (math.floor(math.log2(max(ttl, 1.0))) - _SETS)
        ends = math.ceil((now + ttl) / step) * step
        self._until.setdefault(ends, set()).add(_number(id))
        return True

    def discard(self, id: str) -> None:
        """Forget an id; unknown ones are fine."""
        number = _number(id)
        for ids in self._until.values():
            ids.discard(number)

    def clear(self) -> None:
        """Forget all ids."""
        self._until.clear()


def _number(id: str) -> int | str:
    """Return the id of a session as a number, which takes half the memory, and any other id as it is."""
    return int(id, 16) if _SESSION_ID.fullmatch(id) else id
