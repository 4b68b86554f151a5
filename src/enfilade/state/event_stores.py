"""Event stores that are ready to be used: one in memory, one in a file.

They are the logs of `memory://` and `sqlite://` in the guise of an `EventStore`. The easy thing to get wrong
is the position of an event, which must rise within its stream and after a restart as well: it is the time.
"""

import os
import time
from collections import OrderedDict
from pathlib import Path
from typing import Final

from enfilade.state.event_store import EventCallback, EventId, EventMessage, EventStore, StreamId
from enfilade.state.open import open_store
from enfilade.state.store import Bounds, Store

#: Streams that are remembered to have been begun; to begin one again does no harm.
_REMEMBERED: Final = 10_000


class KeptEvents(EventStore):
    """An event store that keeps its events in the log of a store.

    Args:
        store: where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._begun: OrderedDict[StreamId, None] = OrderedDict()
        self._last = 0

    async def store_event(self, stream_id: StreamId, message: str) -> EventId:
        await self._store.start()
        if stream_id not in self._begun:
            await self._store.log.open(stream_id, b"")
            self._begun[stream_id] = None
            if len(self._begun) > _REMEMBERED:
                self._begun.popitem(last=False)
        position = self._last = max(self._last + 1, time.time_ns())
        await self._store.log.append(stream_id, [(position, message.encode())])
        return f"{position}.{stream_id}"

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        await self._store.start()
        text, _, stream = last_event_id.partition(".")
        position = int(text) if text.isdecimal() else 0
        while (kept := await self._store.log.read(stream, position)) is not None:
            for position, message in kept.entries:
                await send_callback(EventMessage(message.decode(), f"{position}.{stream}"))
            if not kept.entries:
                return stream
        return None

    async def close(self) -> None:
        """Let go of the file. It is opened again when it is needed."""
        await self._store.close()


class MemoryEventStore(KeptEvents):
    """Keeps events in this process.

    Args:
        age: seconds that a stream is kept after its last event.
        size: bytes of all streams together, beyond which the oldest go.
    """

    def __init__(self, age: float = Bounds().age, size: int = Bounds().size) -> None:
        super().__init__(open_store("memory://", Bounds(age=age, size=size)))


class SqliteEventStore(KeptEvents):
    """Keeps events in a file, for all processes of one host, over restarts.

    Args:
        path: the file, made if there is none.
        age: seconds that a stream is kept after its last event.
    """

    def __init__(self, path: str | os.PathLike[str], age: float = Bounds().age) -> None:
        super().__init__(open_store(f"sqlite:///{Path(path)}", Bounds(age=age)))
