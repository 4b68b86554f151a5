"""A cache of what follows from headers, bounded in entries and in bytes.

Clients choose what is in their headers, so a bound on entries alone would let them choose what the cache takes.
It has two generations: when the younger one is full, it becomes the older one, whose entries are dropped unless
they are used again. That is nearly "least recently used", and a hit costs no more than a look into a dict.
"""

from collections.abc import Callable
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

#: Entries of each generation.
ENTRIES: Final = 512
#: Bytes of a key above which nothing is kept for it.
LONGEST: Final = 1024


class HeaderCache(dict[K, V]):
    """Returns by `cache[key]` what `make(key)` returns, and keeps it for a while.

    Args:
        make: makes a value; what it raises is raised and not kept.
        size: bytes of a key. At most 2 * `ENTRIES` keys of up to `LONGEST` bytes are kept.
    """

    def __init__(self, make: Callable[[K], V], size: Callable[[K], int]) -> None:
        super().__init__()
        self._make = make
        self._size = size
        self._old: dict[K, V] = {}

    def __missing__(self, key: K) -> V:
        if self._size(key) > LONGEST:
            return self._make(key)
        value = self._old[key] if key in self._old else self._make(key)
        if len(self) >= ENTRIES:
            self._old = dict(self)
            self.clear()
        self[key] = value
        return value
