"""`EventStore`, the public interface of an event log: its use by the server, and two implementations.

A user implements two methods. The easy thing to get wrong is to mix up streams, as a store receives messages of
many sessions. It does no harm, though: a message is encrypted for its stream before it gets here, and one that is
returned is used only if it was written for the requested stream.
"""

import base64
import binascii
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from enfilade.state.open import open_store
from enfilade.state.store import LogLimits, Store, StoreError, StreamSlice

StreamId: TypeAlias = str
EventId: TypeAlias = str

#: Streams whose first event this process remembers; the event ids of resumed streams contain it.
_REMEMBERED: Final = 10_000


@dataclass
class EventMessage:
    """A message that a store replays.

    Attributes:
        message: the text that was passed to `store_event`.
        event_id: what `store_event` returned for it.
    """

    message: str
    event_id: EventId | None = None


EventCallback: TypeAlias = Callable[[EventMessage], Awaitable[None]]


class EventStore:
    """Keeps the events of streams, so that a disconnected client can resume.

    The store decides for how long it keeps events; an hour is usual. An exception from a method is logged and
    costs no more than the events concerned.
    """

    async def store_event(self, stream_id: StreamId, message: str) -> EventId:
        """Append a message to a stream.

        Args:
            stream_id: unique across all sessions; printable ASCII of about 60 characters.
            message: encrypted for the server; printable ASCII without line breaks.

        Returns:
            An id of at most 200 characters, unique in the store.
        """
        raise NotImplementedError

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        """Replay the messages after an event, of the same stream, in the order in which they were stored.

        Args:
            last_event_id: an id that `store_event` returned.
            send_callback: is awaited with each message.

        Returns:
            The stream of the event, or None if the event is unknown or was deleted.
        """
        raise NotImplementedError


class _StoredEntry(msgspec.Struct, array_like=True):
    position: int
    data: bytes


class EventStoreLog:
    """An `EventStore` as the event log of the server.

    Every stream begins with an event that holds its head. The id of that event, its *anchor*, is needed to replay
    the stream, so the event ids that clients get contain it.
    """

    private = False

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._anchors: OrderedDict[str, EventId] = OrderedDict()

    def anchor(self, stream: str) -> EventId | None:
        """Return the id of a stream's first event, or None if it is unknown."""
        return self._anchors.get(stream)

    def remember_anchor(self, stream: str, anchor: EventId) -> None:
        """Remember the anchor of a stream that another process opened."""
        self._anchors[stream] = anchor
        self._anchors.move_to_end(stream)
        if len(self._anchors) > _REMEMBERED:
            self._anchors.popitem(last=False)

    async def open(self, stream: str, head: bytes) -> None:
        """Store an empty event, which all others follow, and then the head."""
        if stream not in self._anchors:
            anchor = await self._store_entry(stream, 0, b"")
            await self._store_entry(stream, 0, head)
            self.remember_anchor(stream, anchor)

    async def begin(self, stream: str, head: bytes, entry: tuple[int, bytes]) -> None:
        """Store what opens the stream, and an entry."""
        await self.open(stream, head)
        await self.append(stream, [entry])

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        """Store entries."""
        for position, data in entries:
            await self._store_entry(stream, position, data)

    async def append_each(self, entries: Sequence[tuple[str, int, bytes]]) -> list[bool]:
        """Store an entry of each of many streams, one after the other."""
        results = []
        for stream, position, data in entries:
            try:
                await self._store_entry(stream, position, data)
            except StoreError:
                results.append(False)
            else:
                results.append(True)
        return results

    async def _store_entry(self, stream: str, position: int, data: bytes) -> EventId:
        packed = base64.b64encode(msgspec.msgpack.encode(_StoredEntry(position, data))).decode()
        try:
            id = await self._store.store_event(stream, packed)
        except Exception as error:  # user code may raise anything
            raise StoreError(f"the event store did not keep an event: {error!r}") from error
        if not isinstance(id, str):
            raise StoreError(f"store_event must return an id as text, not {type(id).__name__}")
        return id

    async def read(self, stream: str, after: int) -> StreamSlice | None:
        """Return the entries after a position that the store has."""
        entries = await self._all_entries(stream)
        head = None if entries is None else entries.pop(0, None)
        if entries is None or head is None:
            return None  # its first events were deleted
        ordered = sorted(entries.items())
        first = ordered[0][0] if ordered else None
        return StreamSlice(head, [entry for entry in ordered if entry[0] > after], first)

    async def last(self, stream: str) -> int:
        """Return the highest position in the store."""
        return max(await self._all_entries(stream) or {}, default=0)

    async def _all_entries(self, stream: str) -> dict[int, bytes] | None:
        """Return all entries of a stream by position; the head has position 0."""
        anchor = self._anchors.get(stream)
        if anchor is None:
            return None
        entries: dict[int, bytes] = {}

        async def take(event: EventMessage) -> None:
            try:
                entry = msgspec.msgpack.decode(base64.b64decode(event.message, validate=True), type=_StoredEntry)
            except (msgspec.DecodeError, binascii.Error, TypeError, ValueError):
                raise StoreError("the event store replayed a message that was never stored in it") from None
            entries.setdefault(entry.position, entry.data)  # an entry that was stored twice counts once

        try:
            stream_id = await self._store.replay_events_after(anchor, take)
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(f"the event store did not replay: {error!r}") from error
        if stream_id is None:
            return None
        if stream_id != stream:
            raise StoreError("the event store replayed another stream")
        return entries

    async def touch(self, stream: str) -> None:
        """Do nothing: the store decides for how long it keeps events."""

    async def drop(self, stream: str) -> None:
        """Forget the anchor of a stream; the store decides when to delete its events."""
        self._anchors.pop(stream, None)


class LogBackedEventStore(EventStore):
    """An event store on the event log of a store.

    A position must rise within its stream, also after a restart, so it is the time.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._opened: OrderedDict[StreamId, None] = OrderedDict()
        self._last = 0

    async def store_event(self, stream_id: StreamId, message: str) -> EventId:
        await self._store.start()
        if stream_id not in self._opened:
            await self._store.log.open(stream_id, b"")
            self._opened[stream_id] = None
            if len(self._opened) > _REMEMBERED:
                self._opened.popitem(last=False)
        position = self._last = max(self._last + 1, time.time_ns())
        await self._store.log.append(stream_id, [(position, message.encode())])
        return f"{position}.{stream_id}"

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        await self._store.start()
        text, _, stream = last_event_id.partition(".")
        position = int(text) if text.isdecimal() else 0
        while (events := await self._store.log.read(stream, position)) is not None:
            for position, message in events.entries:
                await send_callback(EventMessage(message.decode(), f"{position}.{stream}"))
            if not events.entries:
                return stream
        return None

    async def close(self) -> None:
        """Close the file. It is opened again when it is needed."""
        await self._store.close()


class MemoryEventStore(LogBackedEventStore):
    """Keeps events in this process.

    Args:
        age: seconds that a stream is kept after its last event.
        size: most bytes of all streams together; the oldest are evicted first.
    """

    def __init__(self, age: float = LogLimits().age, size: int = LogLimits().size) -> None:
        super().__init__(open_store("memory://", LogLimits(age=age, size=size)))


class SqliteEventStore(LogBackedEventStore):
    """Keeps events in a file, for all processes of one host, over restarts.

    Args:
        path: the file, created if it does not exist.
        age: seconds that a stream is kept after its last event.
    """

    def __init__(self, path: str | os.PathLike[str], age: float = LogLimits().age) -> None:
        super().__init__(open_store(f"sqlite:///{Path(path)}", LogLimits(age=age)))
