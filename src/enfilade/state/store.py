"""What lives behind a `store=` URL, as protocols that each kind of store fulfils: keys, an event log and a bus.

A store that cannot do what it is asked raises `StoreError`; whoever asked decides what that costs (one request,
never the server). Nothing here waits for ever: every operation ends within the store's own time limit.

The easy thing to get wrong is a write whose outcome is unknown, because the answer was lost. It will be tried
again, so every write here may be done twice and has the effect of one.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

#: Seconds that the events of a stream are kept after the last of them.
STREAM_AGE: Final = 3600.0

#: Value of the key of a session that was ended; a store in memory keeps many of these in little room.
ENDED: Final = b'{"ended":true}'


class StoreError(Exception):
    """The store did not do what it was asked, or nobody knows whether it did; the text is for the log."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What an event log keeps at most.

    Attributes:
        age: seconds that a stream is kept after it was last written to or touched.
        entries: entries of one stream; beyond it the oldest go first, approximately.
        size: bytes of all streams together, where the log lives in a process's own memory; the streams that were
            written to least recently go first.
    """

    age: float = STREAM_AGE
    entries: int = 10_000
    size: int = 64 * 1024 * 1024


class Keys(Protocol):
    """Small values by key, each with an end of life."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None if it was never put, was deleted or has expired."""
        ...

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        """Keep `value` for `ttl` seconds (None: for ever), in place of an earlier one.

        Raises:
            StoreError: also if there is no room. No store forgets one key to make room for another.
        """
        ...

    async def swap(self, key: str, old: bytes | None, new: bytes | None, ttl: float | None) -> bool:
        """Put `new` in place of `old`, in one step, if `old` is what is there; None stands for no value.

        Returns:
            Whether it was done, or had been done before (`new` is what is there already).
        """
        ...

    async def delete(self, key: str) -> None:
        """Forget the key; unknown keys are fine."""
        ...


class Kept(msgspec.Struct, frozen=True):
    """What a log has of a stream.

    Attributes:
        head: what the stream was opened with.
        entries: its entries in order, each with its position.
        first: the lowest position that is still kept, or None if there is no entry at all.
    """

    head: bytes
    entries: list[tuple[int, bytes]]
    first: int | None


class EventLog(Protocol):
    """Streams of entries, each stream written by one worker and read by any.

    A position is a positive integer and rises within a stream, not always by one. The log knows nothing of what
    an entry holds.

    Attributes:
        private: whether what is written never leaves this process's own memory.
    """

    private: bool

    async def open(self, stream: str, head: bytes) -> None:
        """Begin a stream. To begin it a second time changes nothing."""
        ...

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        """Add entries at the end of a stream. One whose position is not above the last is left out, silently.

        Raises:
            StoreError: also if the stream was never opened or has expired, where the store notices.
        """
        ...

    async def read(self, stream: str, after: int) -> Kept | None:
        """Return what follows a position: the next entries, at least one if there is any, not always all.

        Returns:
            None for a stream that was never opened, was dropped or has expired.
        """
        ...

    async def last(self, stream: str) -> int:
        """Return the highest position of a stream; 0 if it has no entry, or is not there."""
        ...

    async def touch(self, stream: str) -> None:
        """Keep a stream for its whole age from now on, although nothing is written to it."""
        ...

    async def drop(self, stream: str) -> None:
        """Forget a stream; unknown streams are fine."""
        ...


class Bus(Protocol):
    """Short messages between processes that share a store: quick, in order from each sender, and at most once.

    A message may be lost while the store is out of reach, so nothing may depend on it alone.

    Attributes:
        settling: seconds within which a message, once published, has been handed on in every process that is
            well.
    """

    settling: float

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message to every process that hears the topic, this one included."""
        ...

    def hear(self, topic: str, told: Callable[[bytes], None]) -> None:
        """Hand on what comes from now on, in the event loop that `Store.start` ran in."""
        ...

    def on_gap(self, told: Callable[[], None]) -> None:
        """Call back, in the event loop, whenever messages may have been missed."""
        ...


class Store(Protocol):
    """One place for what clients cannot carry.

    Attributes:
        keys: small values.
        log: events of streams.
        bus: messages between processes.
        shared: whether other processes can see it.
    """

    keys: Keys
    log: EventLog
    bus: Bus
    shared: bool

    @property
    def away(self) -> bool:
        """Whether it is out of reach, and the log says so already."""
        ...

    async def start(self) -> None:
        """Make ready, in the event loop that will use it.

        A store that is out of reach is no error here: the operations say so. To start what was started in this
        loop changes nothing; in another loop it starts anew.
        """
        ...

    async def close(self) -> None:
        """Let go of files, connections, threads and tasks. It may be started again."""
        ...
