"""The store in a file: files that are not what they were, and disks that are full."""

import asyncio
import contextlib
import os
import random
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

from enfilade.state.open import open_store
from enfilade.state.sqlite import database
from enfilade.state.sqlite.store import SqliteStore
from enfilade.state.store import LogLimits, StoreError, StreamSlice
from enfilade.timings import Timings
from support.stores.kinds import is_intact, plain_connection, started, works
from support.waiting import until

pytestmark = pytest.mark.anyio

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such thing")

# -- the file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:////",
        "sqlite:///:memory:",
        "sqlite://state.db",
        "sqlite:///a/",
    ],
)
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite:///relative\.db.*sqlite:////absolute\.db"):
        open_store(url)


async def test_a_relative_path_is_where_the_server_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///state.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await store.start()
    await store.close()
    assert (tmp_path / "state.db").exists()


def test_nothing_is_opened_before_the_start(path: Path) -> None:
    """A process may fork after it has made its server."""
    threads = threading.active_count()
    open_store(f"sqlite:///{path}")
    assert not path.exists()
    assert threading.active_count() == threads


async def test_nothing_is_left_open_after_the_end(path: Path) -> None:
    others = set(threading.enumerate())  # a store of another test may end late
    for _ in range(2):
        async with started(path) as store:
            assert await works(store)
            own = [thread for thread in threading.enumerate() if "sqlite" in thread.name and thread not in others]
            assert own
        assert not [thread for thread in own if thread.is_alive()]
        assert not [file for file in psutil.Process().open_files() if str(path) in file.path]
    assert sorted(file.name for file in path.parent.iterdir()) == ["state.db"]


@needs_posix
async def test_only_its_owner_may_read_it(store: SqliteStore, path: Path) -> None:
    assert await works(store)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}


@needs_posix
async def test_the_mode_of_a_file_that_is_there_is_its_owners_affair(path: Path) -> None:
    path.touch(0o640)
    path.chmod(0o640)
    async with started(path) as store:
        assert await works(store)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def test_a_missing_directory_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And that it is gone, and back, is logged once each, however much is asked meanwhile."""
    directory = tmp_path / "missing"
    async with started(directory / "state.db") as store:
        assert store.unavailable
        for _ in range(3):
            with pytest.raises(StoreError, match=r"there is no directory .*missing; make it"):
                await store.keys.get("a")
            with pytest.raises(StoreError, match="there is no directory"):
                await store.keys.put("a", b"", None)
            await store.start()
        directory.mkdir()
        await until(lambda: works(store))
        assert not store.unavailable
    log_lines = [line for line in caplog.messages if not line.startswith("messages from other workers")]
    assert log_lines == [
        f"the store is out of reach: {directory / 'state.db'}: there is no directory {directory}; make it, "
        "or name another file in store=",
        f"the store is back: {directory / 'state.db'}",
    ]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("CREATE TABLE recipes (name TEXT)", "database of another program"),
        ("PRAGMA user_version = 1", "database of another program"),
    ],
)
async def test_the_database_of_another_program_is_left_alone(path: Path, statement: str, says: str) -> None:
    with plain_connection(path) as connection:
        connection.execute(statement)
    before = path.read_bytes()
    async with started(path) as store:
        for doing in (store.keys.put("a", b"", 1), store.keys.get("a")):
            with pytest.raises(StoreError, match=says):
                await doing
    assert path.read_bytes() == before


def test_a_file_that_is_laid_out_meanwhile_is_no_other_programs(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a server's threads and workers make the same file at the same moment."""
    file, read = database.DatabaseFile(str(path)), database._pragma

    def slowly(connection: sqlite3.Connection, pragma: str) -> int:
        number = read(connection, pragma)
        monkeypatch.setattr(database, "_pragma", read)
        with contextlib.suppress(sqlite3.OperationalError):  # "database is locked": it would try again
            file.connect().close()
        return number

    monkeypatch.setattr(database, "_pragma", slowly)
    file.connect().close()
    with plain_connection(path) as connection:
        assert {"keys", "messages"} < {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


async def test_another_layout_is_refused(path: Path) -> None:
    async with started(path) as store:
        assert await works(store)
    with plain_connection(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    async with started(path) as store:
        with pytest.raises(StoreError, match=r"has layout 2.*layout 1: run the same version everywhere"):
            await store.keys.get("a")
        with plain_connection(path) as connection:
            connection.execute("PRAGMA user_version = 1")
        await until(lambda: works(store))


async def test_what_is_no_database_is_left_alone(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 1000)
    async with started(path) as store:
        with pytest.raises(StoreError, match=r"no SQLite database.*SQLITE_NOTADB"):
            await store.keys.put("a", b"", 1)
        assert path.read_bytes() == b"Dear diary, " * 1000
        path.unlink()
        await until(lambda: works(store))


async def test_a_damaged_file_is_reported_and_a_new_one_taken(path: Path) -> None:
    async with started(path) as store:
        await store.log.open("s", b"")
        await store.log.append("s", [(number, random.randbytes(900)) for number in range(1, 500)])
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    async with started(path) as store:
        for doing in (store.log.read("s", 0), store.log.append("s", [(500, b"")]), store.keys.put("a", b"", 1)):
            with pytest.raises(StoreError, match="damaged: stop the servers"):
                await doing
    path.unlink()
    async with started(path) as store:
        assert await works(store)


@needs_posix
@pytest.mark.parametrize("what", ["the file", "all files", "the directory", "what is in it"])
async def test_a_file_that_vanishes_is_made_anew_for_everybody(tmp_path: Path, what: str) -> None:
    path = tmp_path / "inner" / "state.db"
    path.parent.mkdir()
    gaps: list[str] = []
    async with started(path) as one, started(path) as other:
        one.bus.on_gap(lambda: gaps.append("one"))
        other.bus.on_gap(lambda: gaps.append("other"))
        assert await works(one)
        await one.keys.put("lost", b"", None)
        files = [path] if what == "the file" else list(path.parent.iterdir())
        if what == "what is in it":
            await asyncio.to_thread(_empty, path)
            files = []
        for file in files:
            file.unlink(missing_ok=True)  # the store may have been quicker
        if what == "the directory":
            path.parent.rmdir()
        with pytest.raises(StoreError, match="deleted or replaced while in use"):
            await one.keys.put("a", b"1", None)
        path.parent.mkdir(exist_ok=True)
        await until(lambda: works(one))
        await until(lambda: works(other))
        await one.keys.put("a", b"2", None)
        assert await other.keys.get("a") == b"2", "both have the same one"
        assert await other.keys.get("lost") is None

        async def all_know() -> bool:
            return set(gaps) == {"one", "other"}

        await until(all_know)
        messages: list[bytes] = []
        other.bus.subscribe("topic", messages.append)
        await one.bus.publish("topic", b"heard")

        async def is_heard() -> bool:
            return messages == [b"heard"]

        await until(is_heard)
    assert is_intact(path)


def _empty(path: Path) -> None:
    """Cut a file to nothing, after all that was beside it has been written into it."""
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    os.truncate(path, 0)


@needs_posix
def test_what_lay_beside_a_vanished_file_goes_with_it_and_nothing_newer(path: Path) -> None:
    """By the index of the old file, SQLite would read the new one wrongly."""
    beside = [path.with_name(path.name + ending) for ending in ("-wal", "-shm")]
    file = database.DatabaseFile(str(path))
    first, second = file.connect(), file.connect()
    assert all(each.exists() for each in beside)
    path.unlink()
    assert not file.is_current(first)
    file.discard(first)
    assert not any(each.exists() for each in beside)
    third = file.connect()
    assert all(each.exists() for each in beside)
    assert not file.is_current(second)
    file.discard(second)
    assert all(each.exists() for each in beside)
    assert file.is_current(third)
    third.close()
    assert is_intact(path)


@needs_posix
async def test_a_file_that_may_not_be_written_is_reported_until_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is allowed to root, so the test is somebody else for as long as it lasts."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "state.db")
        async with started(path) as store:
            await store.keys.put("a", b"there", None)
        path.chmod(0o444)
        path.parent.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            store = SqliteStore(f"sqlite:///{path}", LogLimits())
            await store.start()
            for doing in (store.keys.put("a", b"", 1), store.keys.delete("a"), store.log.open("s", b"")):
                with pytest.raises(StoreError, match="permission to"):
                    await doing
        finally:
            os.seteuid(user)
        path.parent.chmod(0o755)
        path.chmod(0o644)
        await until(lambda: works(store))
        assert await store.keys.get("a") == b"there"
        await store.close()


# -- full disks ------------------------------------------------------------------------------------------------


async def test_a_full_disk_is_reported_until_there_is_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PRAGMAS", [*database.PRAGMAS, "max_page_count=100"])
    async with started(path, Timings(sqlite_sweep_interval=0.05)) as store:
        await store.keys.put("small", b"there", None)
        await store.log.open("s", b"head")
        position = 0
        with pytest.raises(StoreError, match=r"disk is full: make room.*SQLITE_FULL"):
            while True:
                await store.log.append("s", [(position + 1, bytes(10_000))])
                position += 1
        assert position > 10
        outcomes = await asyncio.gather(
            *(store.log.append("s", [(position + 1, bytes(10_000))]) for _ in range(20)),
            store.keys.put("small", b"still there", None),
            return_exceptions=True,
        )
        assert all(isinstance(outcome, StoreError) for outcome in outcomes[:20])
        assert outcomes[20] is None, "who needs no room is not refused with the others"
        events = await store.log.read("s", position - 1)
        assert events == StreamSlice(b"head", [(position, bytes(10_000))], 1)
        assert await store.keys.get("small") == b"still there"
        await store.log.drop("s")
        await store.log.open("t", b"head")

        async def has_room() -> bool:
            with contextlib.suppress(StoreError):
                await store.log.append("t", [(1, bytes(100_000))])
                return True
            return False

        await until(has_room)
    assert is_intact(path)


UNDER_A_LIMIT = """
import asyncio, resource, sys
from enfilade.state.open import open_store
from enfilade.state.store import StoreError

async def main():
    store = open_store(sys.argv[1])
    await store.start()
    await store.log.open("s", b"head")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    position, errors = 0, []
    while len(errors) < 5:
        try:
            await store.log.append("s", [(position + 1, bytes(10_000))])
            position += 1
        except StoreError as error:
            errors.append(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for _ in range(100):
        await store.log.append("s", [(position + 1, bytes(10_000))])
        position += 1
    await store.close()
    print(position)
    print(*errors, sep="\\n")

asyncio.run(main())
"""


@needs_posix
async def test_a_disk_that_does_not_write_is_reported_until_it_does(path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, f"sqlite:///{path}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    position, *errors = ran.stdout.splitlines()
    assert len(errors) == 5
    assert all("disk does not read or write" in error or "disk is full" in error for error in errors)
    assert is_intact(path)
    async with started(path) as store:
        events = await store.log.read("s", int(position) - 1)
        assert events == StreamSlice(b"head", [(int(position), bytes(10_000))], 1)
    with plain_connection(path) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (int(position),)
