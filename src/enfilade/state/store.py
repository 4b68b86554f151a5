"""The protocols of a store: keys, an event log and a bus.

A store that cannot carry out an operation raises `StoreError`; the caller decides what that costs (one request,
never the server). Every operation ends within the store's own time limit.

The easy thing to get wrong is a write whose outcome is unknown, because its reply was lost. It is sent again, so
every write here is idempotent.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

#: Seconds that the events of a stream are kept after the last one.
STREAM_AGE: Final = 3600.0

#: Value of the key of an ended session; the store in memory holds many of these in little space.
ENDED: Final = b'{"ended":true}'


class StoreError(Exception):
    """An operation of the store failed, or its outcome is unknown; the text is for the log."""


class LogLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of an event log.

    Attributes:
        age: seconds that a stream is kept after its last write or touch.
        entries: most entries of one stream, approximately; the oldest are deleted first.
        size: most bytes of all streams together, where the log is in a process's own memory; the streams with the
            oldest last write are evicted first.
    """

    age: float = STREAM_AGE
    entries: int = 10_000
    size: int = 64 * 1024 * 1024


class Keys(Protocol):
    """Small values by key, each with an expiry."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None if it was never put, was deleted or has expired."""
        ...

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        """Store `value` for `ttl` seconds (None: without expiry), replacing an earlier one.

        Raises:
            StoreError: also if there is no room. No store deletes one key to make room for another.
        """
        ...

    async def swap(self, key: str, old: bytes | None, new: bytes | None, ttl: float | None) -> bool:
        """Replace `old` by `new`, atomically, if the current value is `old`; None stands for no value.

        Returns:
            Whether it was replaced now or earlier (the current value is `new`).
        """
        ...

    async def delete(self, key: str) -> None:
        """Delete the key, if it exists."""
        ...


class StreamSlice(msgspec.Struct, frozen=True):
    """A part of a stream, as a log returns it.

    Attributes:
        head: the bytes with which the stream was opened.
        entries: its entries in order, each with its position.
        first: the lowest position in the log, or None if it has no entry of the stream.
    """

    head: bytes
    entries: list[tuple[int, bytes]]
    first: int | None


class EventLog(Protocol):
    """Streams of entries, each stream written by one worker and read by any.

    A position is a positive integer and rises within a stream, not always by one. The log does not interpret
    entries.

    Attributes:
        private: whether entries never leave this process's own memory.
    """

    private: bool

    async def open(self, stream: str, head: bytes) -> None:
        """Open a stream. Opening it a second time changes nothing."""
        ...

    async def begin(self, stream: str, head: bytes, entry: tuple[int, bytes]) -> None:
        """Open a stream and append its first entry, in one step; the same as `open` and `append`."""
        ...

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        """Append entries to a stream. An entry whose position is not above the last one is ignored.

        Raises:
            StoreError: also if the stream was never opened or has expired, where the store can tell.
        """
        ...

    async def append_each(self, entries: Sequence[tuple[str, int, bytes]]) -> list[bool]:
        """Append an entry to each of many open streams, in one step.

        Args:
            entries: the stream, the position and the data of each.

        Returns:
            Whether each was appended; why one was not, `append` says.

        Raises:
            StoreError: none was, as far as is known.
        """
        ...

    async def read(self, stream: str, after: int) -> StreamSlice | None:
        """Return the entries after a position: at least one if there is any, not always all.

        Returns:
            None for a stream that was never opened, was dropped or has expired.
        """
        ...

    async def last(self, stream: str) -> int:
        """Return the highest position of a stream; 0 if it has no entry or does not exist."""
        ...

    async def touch(self, stream: str) -> None:
        """Restart the age of a stream without a write."""
        ...

    async def drop(self, stream: str) -> None:
        """Delete a stream, if it exists."""
        ...


class Bus(Protocol):
    """Short messages between processes that share a store: fast, ordered per sender, at most once.

    A message may be lost while the store is unavailable, so nothing may depend on it alone.

    Attributes:
        propagation_delay: seconds within which a published message has been delivered in every healthy process.
    """

    propagation_delay: float

    async def publish(self, topic: str, message: bytes) -> None:
        """Send a message to every process that subscribes to the topic, including this one."""
        ...

    def subscribe(self, topic: str, callback: Callable[[bytes], None]) -> None:
        """Deliver messages from now on, in the event loop in which `Store.start` ran."""
        ...

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call back, in the event loop, whenever messages may have been missed."""
        ...


class Store(Protocol):
    """The state that clients cannot carry.

    Attributes:
        keys: small values by key.
        log: events of streams.
        bus: messages between processes.
        shared: whether other processes can use it.
    """

    keys: Keys
    log: EventLog
    bus: Bus
    shared: bool

    @property
    def unavailable(self) -> bool:
        """Whether it is unavailable and that has been logged."""
        ...

    async def start(self) -> None:
        """Prepare for use in the running event loop.

        An unavailable store is no error here, but in each operation. Starting again in the same loop changes
        nothing; in another loop the store starts anew.
        """
        ...

    async def close(self) -> None:
        """Close files, connections, threads and tasks. It may be started again."""
        ...
