"""Stores of every kind for the tests, and ways to wait for what happens in them.

The easy thing to get wrong: what another process or thread does takes as long as it takes, so tests wait until
it is so, and never for a time.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from enfilade.state.sqlite.store import SqliteStore
from enfilade.state.store import LogLimits, Store, StoreError, StreamSlice
from enfilade.timings import Timings

Open = Callable[..., Awaitable[Store]]
"""Opens and starts the store that a URL names; keywords are its limits."""


async def until(holds: Callable[[], Awaitable[bool]], patience: float = 30) -> None:
    """Return when something has come to pass."""
    async with asyncio.timeout(patience):
        while not await holds():
            await asyncio.sleep(0.01)


async def all_entries(store: Store, stream: str, after: int = 0) -> list[tuple[int, bytes]]:
    """Return all that a stream has after a position, page by page."""
    entries: list[tuple[int, bytes]] = []
    while (events := await store.log.read(stream, after)) is not None and events.entries:
        entries += events.entries
        after = events.entries[-1][0]
    return entries


def numbered_entries(first: int, last: int) -> list[tuple[int, bytes]]:
    """Return entries that can be told apart."""
    return [(number, b"entry %d" % number) for number in range(first, last + 1)]


class Inbox:
    """Messages that have come over a bus."""

    def __init__(self, store: Store, *topics: str) -> None:
        self.messages: list[bytes] = []
        for topic in topics:
            store.bus.subscribe(topic, self.messages.append)

    async def __call__(self, count: int) -> list[bytes]:
        async def enough() -> bool:
            return len(self.messages) >= count

        await until(enough)
        return self.messages


@contextlib.asynccontextmanager
async def started(path: Path, timings: Timings = Timings(), **limits: float) -> AsyncIterator[SqliteStore]:
    """Open the store in a file."""
    store = SqliteStore(f"sqlite:///{path}", LogLimits(**limits), timings)  # type: ignore[arg-type]
    await store.start()
    try:
        yield store
    finally:
        await store.close()


@contextlib.contextmanager
def plain_connection(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file as any other program would."""
    connection = sqlite3.connect(path, timeout=20, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def is_intact(path: Path) -> bool:
    """Whether SQLite finds nothing wrong with a file."""
    with plain_connection(path) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def works(store: SqliteStore) -> bool:
    """Whether a store takes something and hands it back, in all its parts."""
    try:
        await store.keys.put("works", b"yes", 100)
        await store.log.open("works", b"yes")
        await store.log.append("works", [(1, b"yes")])
        await store.bus.publish("works", b"yes")
        events = await store.log.read("works", 0)
        return await store.keys.get("works") == b"yes" and events == StreamSlice(b"yes", [(1, b"yes")], 1)
    except StoreError:
        return False
