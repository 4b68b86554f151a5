"""The store in this process: the default, for one worker that may forget. Its log and bus are in `memory_log.py`.

No timer runs and nothing is locked: what has expired goes when it is met, and otherwise a little with each write.
What is full takes nothing new, and says so; it forgets nothing that has not expired. A client that opens and ends
sessions as fast as it can would otherwise decide what is known of the others.

The easy thing to get wrong is a sweep that costs as much as there are keys: somebody's request would pay for it.
"""

import time
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from math import inf
from typing import Final

from enfilade.state.ended_sessions import MOST_ENDED, EndedIds
from enfilade.state.memory_log import MemoryBus, MemoryLog
from enfilade.state.store import ENDED, Bounds, Bus, EventLog, Keys, StoreError

#: Keys of one kind that are kept at once, and bytes of their values. The kind is what comes before a colon.
MOST_KEYS: Final = 100_000
MOST_BYTES: Final = 64 * 1024 * 1024

#: Keys that each put looks at, in turn, for having expired.
_LOOKED_AT: Final = 4

#: Seconds between two looks at all keys while there is no room.
_ALL_LOOKED_AT: Final = 1.0

_SESSION: Final = "session"


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


class _Share:
    """What the keys of one kind take, except those without an end, which only the server itself puts."""

    __slots__ = ("count", "looked", "size")

    def __init__(self) -> None:
        self.count = self.size = 0
        self.looked = -inf


class MemoryKeys:
    """`Keys` in a dict. A put for which there is no room raises `StoreError`, and changes nothing.

    Args:
        capacity: how many keys of one kind are kept, besides those without an end and ended sessions.
        size: how many bytes their values may have together.
        most_ended: how many ended sessions are kept.
    """

    def __init__(self, capacity: int = MOST_KEYS, size: int = MOST_BYTES, most_ended: int = MOST_ENDED) -> None:
        self._capacity = capacity
        self._size = size
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._shares: dict[str, _Share] = {}
        self._ended = EndedIds(most_ended)
        self._turn: Iterator[str] = iter(())

    def __len__(self) -> int:
        return len(self._entries) + len(self._ended)

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

    def clear(self) -> None:
        """Forget everything."""
        for key in list(self._entries):
            self._forget(key)
        self._ended.clear()

    def _live(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            kind, id = _parts(key)
            return ENDED if kind == _SESSION and id in self._ended else None
        if entry[1] <= time.monotonic():
            self._forget(key)
            return None
        return entry[0]

    def _put(self, key: str, value: bytes, ttl: float | None) -> None:
        kind, id = _parts(key)
        if kind == _SESSION and value == ENDED and ttl is not None and self._ended.add(id, ttl):
            self._forget_entry(key)
            return
        self._sweep()
        if ttl is not None:
            self._check_room(key, kind, value)
        self._forget(key)
        self._entries[key] = (value, inf if ttl is None else time.monotonic() + ttl)
        if ttl is not None:
            share = self._shares.setdefault(kind, _Share())
            share.count += 1
            share.size += _size(value)

    def _check_room(self, key: str, kind: str, value: bytes) -> None:
        """See to it that a key can be put without forgetting another.

        Raises:
            StoreError: it cannot.
        """
        share = self._shares.get(kind)
        if share is None or self._fits(share, key, value):
            return
        now = time.monotonic()
        if now - share.looked >= _ALL_LOOKED_AT:
            share.looked = now
            for each in [each for each, (_, ends) in self._entries.items() if ends <= now]:
                self._forget_entry(each)
            if self._fits(share, key, value):
                return
        raise StoreError(
            f"the store in this process is full: it keeps {self._capacity} keys of a kind, and {self._size} "
            "bytes of their values; use a store with more room, or a shorter session_ttl"
        )

    def _fits(self, share: _Share, key: str, value: bytes) -> bool:
        before = self._entries.get(key)
        if before is None or before[1] == inf:
            return share.count < self._capacity and share.size + _size(value) <= self._size
        grown = _size(value) - _size(before[0])
        return grown <= 0 or share.size + grown <= self._size

    def _forget(self, key: str) -> None:
        if not self._forget_entry(key):
            kind, id = _parts(key)
            if kind == _SESSION:
                self._ended.discard(id)

    def _forget_entry(self, key: str) -> bool:
        entry = self._entries.pop(key, None)
        if entry is not None and entry[1] != inf:
            share = self._shares[_parts(key)[0]]
            share.count -= 1
            share.size -= _size(entry[0])
        return entry is not None

    def _sweep(self) -> None:
        now = time.monotonic()
        looked = list(islice(self._turn, _LOOKED_AT))
        if not looked:
            self._turn = iter(list(self._entries))
        for key in looked:
            if key in self._entries and self._entries[key][1] <= now:
                self._forget_entry(key)


def _parts(key: str) -> tuple[str, str]:
    """Return the kind of a key, and what tells it from others of that kind."""
    kind, colon, id = key.partition(":")
    return (kind, id) if colon else ("", key)


def _size(value: bytes) -> int:
    """Return what a value counts; that a use was written down again does not make it larger."""
    return (len(value) // 256 + 1) * 256
