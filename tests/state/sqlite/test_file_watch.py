"""Noticing writes by looking at the file: none is missed, and a quiet file calls nobody."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from enfilade.state.sqlite.bus import FileWatch
from enfilade.state.sqlite.store import SqliteStore
from enfilade.timings import Timings
from support.stores.kinds import started
from support.waiting import until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="an open file's times cannot be relied on there"),
]

PAUSE = 0.002


class Watching:
    """A watch that counts what it notices."""

    def __init__(self, path: Path) -> None:
        self.noticed = 0
        self.watch = FileWatch(str(path), PAUSE, self._count)

    def _count(self) -> None:
        self.noticed += 1

    async def notices(self) -> None:
        """Wait until something is noticed that was not before."""
        before = self.noticed
        async with asyncio.timeout(10):
            while self.noticed == before:
                await asyncio.sleep(PAUSE)

    async def rests(self) -> None:
        """Wait until nothing is noticed any more."""
        async with asyncio.timeout(10):
            while True:
                before = self.noticed
                await asyncio.sleep(20 * PAUSE)
                if self.noticed == before:
                    return


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"same")


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(0, path.stat().st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [grown, overwritten, replaced, Path.unlink])
async def test_a_change_is_noticed(tmp_path: Path, change: Callable[[Path], object]) -> None:
    path = tmp_path / "state.db-wal"
    path.write_bytes(b"some")
    watching = Watching(path)
    await watching.notices()
    await watching.rests()
    noticed = watching.noticed
    change(path)
    await watching.notices()
    assert watching.noticed > noticed
    watching.watch.stop()


async def test_a_file_that_comes_to_be_is_noticed(tmp_path: Path) -> None:
    watching = Watching(tmp_path / "state.db-wal")
    await watching.rests()
    assert watching.noticed == 0
    (tmp_path / "state.db-wal").touch()
    await watching.notices()
    watching.watch.stop()


async def test_a_change_that_another_hides_is_noticed(tmp_path: Path) -> None:
    """Two writes of one size within a tick of the clock: the second shows in nothing."""
    path = tmp_path / "state.db-wal"
    path.write_bytes(b"some")
    now = time.time()
    os.utime(path, (now, now))
    watching = Watching(path)
    await watching.notices()
    overwritten(path)
    os.utime(path, (now, now))
    await watching.notices()
    watching.watch.stop()


async def test_a_watch_that_was_stopped_looks_no_more(tmp_path: Path) -> None:
    watching = Watching(tmp_path / "state.db-wal")
    watching.watch.stop()
    (tmp_path / "state.db-wal").touch()
    await asyncio.sleep(10 * PAUSE)
    assert watching.noticed == 0


@contextlib.asynccontextmanager
async def two(folder: Path, timings: Timings = Timings()) -> AsyncIterator[tuple[SqliteStore, list[bytes]]]:
    """Have two stores on one file: yield the first, and what the second hears of topic x."""
    async with started(folder / "state.db") as one, started(folder / "state.db", timings) as other:
        heard: list[bytes] = []
        other.bus.subscribe("x", heard.append)
        yield one, heard


async def test_messages_come_without_the_thread_looking_by_itself(tmp_path: Path) -> None:
    """It is the watch that wakes it."""
    async with two(tmp_path, Timings(sqlite_bus_interval=3600)) as (one, heard):
        for number in range(20):
            await one.bus.publish("x", b"%d" % number)
            await until(lambda: len(heard) == number + 1)
        assert heard == [b"%d" % number for number in range(20)]


async def test_messages_come_even_if_nothing_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system whose times say nothing."""
    monkeypatch.setattr(FileWatch, "_look", lambda self: None)
    async with two(tmp_path) as (one, heard):
        await one.bus.publish("x", b"late")
        await until(lambda: heard == [b"late"])
