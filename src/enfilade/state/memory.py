"""Keys kept in this process: the default store, for one worker that may forget.

Expired keys are dropped when met, and by a sweep whose cost is spread over the puts, so no timer runs.
"""

import time
from typing import Final

_SWEEP_EVERY: Final = 256


class MemoryKeys:
    """`Keys` in a dict, bounded in number.

    Args:
        capacity: how many live keys are kept; beyond it the oldest go first.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._entries: dict[str, tuple[bytes, float]] = {}
        self._puts = 0

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] <= time.monotonic():
            del self._entries[key]
            return None
        return entry[0]

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        self._entries.pop(key, None)
        self._entries[key] = (value, time.monotonic() + ttl)
        self._puts += 1
        if self._puts % _SWEEP_EVERY == 0 or len(self._entries) > self._capacity:
            self._sweep()

    async def delete(self, key: str) -> None:
        self._entries.pop(key, None)

    def _sweep(self) -> None:
        now = time.monotonic()
        for key in [key for key, (_, end) in self._entries.items() if end <= now]:
            del self._entries[key]
        for key in list(self._entries)[: max(0, len(self._entries) - self._capacity)]:
            del self._entries[key]
