"""Stores of every kind for the tests, and what tests look into them with."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from enfilade.state import memory
from enfilade.state.open import open_store
from enfilade.state.sqlite.store import SqliteStore
from enfilade.state.store import LogLimits, Store, StoreError, StreamSlice
from enfilade.timings import Timings
from support.waiting import until

Open = Callable[..., Awaitable[Store]]
"""Opens and starts the store that a URL names; keywords are its limits."""


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


class MemoryClock:
    """The clock of the stores in memory, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: self.now))


class Inbox:
    """Messages that have come over a bus."""

    def __init__(self, store: Store, *topics: str) -> None:
        self.messages: list[bytes] = []
        for topic in topics:
            store.bus.subscribe(topic, self.messages.append)

    async def __call__(self, count: int) -> list[bytes]:
        await until(lambda: len(self.messages) >= count)
        return self.messages


@contextlib.asynccontextmanager
async def started(path: Path, timings: Timings = Timings(), **limits: float) -> AsyncIterator[SqliteStore]:
    """Open the store in a file."""
    store = SqliteStore(f"sqlite:///{path}", LogLimits(**limits), timings)  # type: ignore[arg-type]
    async with _running(store):
        yield store


@contextlib.asynccontextmanager
async def opened(url: str, timings: Timings = Timings()) -> AsyncIterator[Store]:
    """Open the store that a URL names."""
    store = open_store(url, timings=timings)
    async with _running(store):
        yield store


@contextlib.asynccontextmanager
async def _running(store: Store) -> AsyncIterator[None]:
    await store.start()
    try:
        yield
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
