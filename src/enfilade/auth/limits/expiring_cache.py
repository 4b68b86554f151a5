"""A cache with a bound, whose entries are used for a limited time."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ExpiringCache(Generic[K, V]):
    """Values for a limited time; the oldest goes when there is no room.

    Args:
        capacity: entries at most.
        clock: seconds of a clock that only goes forward.
        most_bytes: of all values, as far as their sizes are given.
    """

    def __init__(self, capacity: int, clock: Callable[[], float], most_bytes: int = 8 * 1024 * 1024) -> None:
        self._capacity, self._clock, self._most_bytes = capacity, clock, most_bytes
        self._entries: OrderedDict[K, tuple[float, V, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return a value, or None if there is none or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        ends_at, value, _ = entry
        if self._clock() >= ends_at:
            self._forget(key)
            return None
        return value

    def put(self, key: K, value: V, seconds: float, size: int = 0) -> None:
        """Keep a value for some seconds; not at all if they are none.

        Args:
            size: bytes of the value.
        """
        self._forget(key)
        if seconds > 0:
            self._entries[key] = (self._clock() + seconds, value, size)
            self._bytes += size
            while len(self._entries) > self._capacity or self._bytes > self._most_bytes:
                self._forget(next(iter(self._entries)))

    def _forget(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[2]
