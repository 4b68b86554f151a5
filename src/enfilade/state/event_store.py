"""The public face of the event log: what somebody implements who keeps events in a store of their own.

Two methods are all that is asked. The easy thing to get wrong is to mix up streams: a store is handed messages of
many sessions. It cannot do harm, though: a message is sealed for its stream before it gets here, and what comes
back is used only if it was written for the stream that was asked for.
"""

import base64
import binascii
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from enfilade.state.store import Kept, StoreError

StreamId: TypeAlias = str
EventId: TypeAlias = str

#: Streams whose first event this process remembers; those that are resumed bring it along.
_REMEMBERED: Final = 10_000


@dataclass
class EventMessage:
    """A message that a store hands back.

    Attributes:
        message: the text that `store_event` was given.
        event_id: what `store_event` returned for it.
    """

    message: str
    event_id: EventId | None = None


EventCallback: TypeAlias = Callable[[EventMessage], Awaitable[None]]


class EventStore:
    """Keeps the events of streams, so that a client that was cut off can have what it missed.

    Whether and for how long events are kept is the store's own affair; an hour is usual. Whatever a method raises
    is logged, and costs nobody more than the events it was about.
    """

    async def store_event(self, stream_id: StreamId, message: str) -> EventId:
        """Keep a message at the end of a stream.

        Args:
            stream_id: the stream, unlike any other of any session; printable ASCII of about 60 characters.
            message: printable ASCII without line breaks, sealed: it says nothing to anybody but the server.

        Returns:
            An id of at most 200 characters, unlike any other that the store has returned.
        """
        raise NotImplementedError

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        """Hand back what was kept after an event, on its own stream, in the order in which it was kept.

        Args:
            last_event_id: an id that `store_event` returned.
            send_callback: to be awaited with each message.

        Returns:
            The stream of that event, or None if the event is unknown or was dropped.
        """
        raise NotImplementedError


class _Slip(msgspec.Struct, array_like=True):
    position: int
    data: bytes


class EventStoreLog:
    """An `EventStore` as the event log of the server.

    Every stream begins with an event that holds its head; the id of that event, its *anchor*, is the way back to
    the stream, so clients carry it in the ids that they are given.

    Args:
        store: where events are kept.
    """

    private = False

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._anchors: OrderedDict[str, EventId] = OrderedDict()

    def anchor(self, stream: str) -> EventId | None:
        """Return the id of a stream's first event, or None if it has none."""
        return self._anchors.get(stream)

    def know(self, stream: str, anchor: EventId) -> None:
        """Take in the anchor of a stream that was begun elsewhere."""
        self._anchors[stream] = anchor
        self._anchors.move_to_end(stream)
        if len(self._anchors) > _REMEMBERED:
            self._anchors.popitem(last=False)

    async def open(self, stream: str, head: bytes) -> None:
        """Keep an event for everything else to come after, and then the head."""
        if stream not in self._anchors:
            anchor = await self._keep(stream, 0, b"")
            await self._keep(stream, 0, head)
            self.know(stream, anchor)

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        """Keep entries."""
        for position, data in entries:
            await self._keep(stream, position, data)

    async def _keep(self, stream: str, position: int, data: bytes) -> EventId:
        packed = base64.b64encode(msgspec.msgpack.encode(_Slip(position, data))).decode()
        try:
            id = await self._store.store_event(stream, packed)
        except Exception as error:  # it is not ours, so anything may come
            raise StoreError(f"the event store did not keep an event: {error!r}") from error
        if not isinstance(id, str):
            raise StoreError(f"store_event must return an id as text, not {type(id).__name__}")
        return id

    async def read(self, stream: str, after: int) -> Kept | None:
        """Return what follows a position, in as much as the store has it."""
        slips = await self._slips(stream)
        head = None if slips is None else slips.pop(0, None)
        if slips is None or head is None:
            return None  # its beginning was dropped
        entries = sorted(slips.items())
        first = entries[0][0] if entries else None
        return Kept(head, [entry for entry in entries if entry[0] > after], first)

    async def last(self, stream: str) -> int:
        """Return the highest position that the store has."""
        return max(await self._slips(stream) or {}, default=0)

    async def _slips(self, stream: str) -> dict[int, bytes] | None:
        """Return all that the store has of a stream, by position; the head has position 0."""
        anchor = self._anchors.get(stream)
        if anchor is None:
            return None
        slips: dict[int, bytes] = {}

        async def take(event: EventMessage) -> None:
            try:
                slip = msgspec.msgpack.decode(base64.b64decode(event.message, validate=True), type=_Slip)
            except (msgspec.DecodeError, binascii.Error, TypeError, ValueError):
                raise StoreError("the event store handed back what it was never given") from None
            slips.setdefault(slip.position, slip.data)  # what was kept twice counts once

        try:
            found = await self._store.replay_events_after(anchor, take)
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(f"the event store did not replay: {error!r}") from error
        if found is None:
            return None
        if found != stream:
            raise StoreError("the event store took one stream for another")
        return slips

    async def touch(self, stream: str) -> None:
        """Do nothing: how long events are kept is the store's own affair."""

    async def drop(self, stream: str) -> None:
        """Forget the way to a stream; its events are the store's own affair."""
        self._anchors.pop(stream, None)
