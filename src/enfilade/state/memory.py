"""The store in this process: the default, for one worker that may forget. Its log and bus are in `memory_log.py`.

No timer runs and nothing is locked: what has expired goes when it is met, and otherwise a little with each write.
The easy thing to get wrong is a sweep that costs as much as there are keys: somebody's request would pay for it.
"""

import time
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from math import inf
from typing import Final

from enfilade.state.memory_log import MemoryBus, MemoryLog
from enfilade.state.store import Bounds, Bus, EventLog, Keys

#: Keys that each put looks at, in turn, for having expired.
_LOOKED_AT: Final = 4


class MemoryStore:
    """The store behind `memory://`. What it holds outlasts `close`, but not the process.

    Args:
        bounds: what the log keeps.
    """

    shared = False
    away = False

    def __init__(self, bounds: Bounds) -> None:
        self.keys: Keys = MemoryKeys()
        self.log: EventLog = MemoryLog(bounds)
        self.bus: Bus = MemoryBus()

    async def start(self) -> None:
        """Do nothing: there is nothing to open."""

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


class MemoryKeys:
    """`Keys` in a dict, bounded in number.

    Args:
        capacity: how many live keys are kept; beyond it the oldest go first, except those without an end.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._lasting = 0
        self._turn: Iterator[str] = iter(())

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: str) -> bytes | None:
        return self._live(key)

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        self._put(key, value, ttl)

    async def swap(self, key: str, old: bytes | None, new: bytes | None, ttl: float | None) -> bool:
        found = self._live(key)
        if found != old:
            return found == new
        if new is None:
            self._forget(key)
        else:
            self._put(key, new, ttl)
        return True

    async def delete(self, key: str) -> None:
        self._forget(key)

    def _live(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] <= time.monotonic():
            self._forget(key)
            return None
        return entry[0]

    def _put(self, key: str, value: bytes, ttl: float | None) -> None:
        self._forget(key)
        self._entries[key] = (value, inf if ttl is None else time.monotonic() + ttl)
        self._lasting += ttl is None
        self._sweep()

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        self._lasting -= entry is not None and entry[1] == inf

    def _sweep(self) -> None:
        now = time.monotonic()
        looked = list(islice(self._turn, _LOOKED_AT))
        if not looked:
            self._turn = iter(list(self._entries))
        for key in looked:
            if key in self._entries and self._entries[key][1] <= now:
                self._forget(key)
        while len(self._entries) - self._lasting > self._capacity:
            oldest = next(iter(self._entries))
            if self._entries[oldest][1] == inf:
                self._entries.move_to_end(oldest)
            else:
                self._forget(oldest)
