"""The store in a file: processes that are killed or in each other's way, and one writer for all."""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from enfilade.state.sqlite.database import DatabaseConnection
from enfilade.state.sqlite.store import SqliteStore
from enfilade.state.store import StoreError
from enfilade.timings import Timings
from support.stores.kinds import is_intact, plain_connection, started, works
from support.waiting import until

pytestmark = pytest.mark.anyio

WRITER = Path(__file__).parents[2] / "support/stores/sqlite_writer.py"


# -- several processes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(2))
async def test_nothing_acknowledged_is_lost_when_writers_are_killed(path: Path, turn: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    acknowledged: dict[str, int] = {}
    for generation in range(3):
        writers = [
            subprocess.Popen(
                [sys.executable, str(WRITER), f"sqlite:///{path}", f"{generation}.{number}"],
                stdout=subprocess.PIPE,
            )
            for number in range(3)
        ]
        lines = [0] * len(writers)
        for number, writer in enumerate(writers):
            assert writer.stdout is not None
            for _ in range(dice.randrange(1, 400)):
                note(acknowledged, writer.stdout.readline())
                lines[number] += 1
            writer.kill()
        for writer in writers:
            assert writer.stdout is not None
            for line in writer.stdout:
                note(acknowledged, line)
            writer.wait()
            writer.stdout.close()
        assert is_intact(path)
    assert len(acknowledged) >= 9
    async with started(path) as store:
        for stream, last in acknowledged.items():
            positions: list[int] = []
            while (events := await store.log.read(stream, positions[-1] if positions else 0)) and events.entries:
                assert all(entry == b"%d " % position * 50 for position, entry in events.entries)
                positions += [position for position, _ in events.entries]
            assert positions == list(range(1, len(positions) + 1)), "no holes"
            assert len(positions) in (last, last + 1)
            assert await store.keys.get(stream) in (b"%d" % last, b"%d" % (last + 1))


def note(acknowledged: dict[str, int], line: bytes) -> None:
    if line.endswith(b"\n"):  # the last may be half a line
        stream, position = line.split()
        acknowledged[stream.decode()] = int(position)


class Holding:
    """Another process that holds the lock for writing."""

    PROGRAM = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20); "
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
    )

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"held" + os.linesep.encode()

    def let_go(self) -> None:
        self._process.communicate()


async def test_a_lock_is_waited_for(store: SqliteStore, path: Path) -> None:
    holding = Holding(path)
    writes = [asyncio.ensure_future(store.keys.put(f"key {number}", b"", None)) for number in range(50)]
    assert await store.keys.get("reading goes on") is None
    done, _ = await asyncio.wait(writes, timeout=0.3)
    assert not done
    holding.let_go()
    await asyncio.gather(*writes)


async def test_a_lock_that_is_held_for_too_long_is_reported_to_everybody(path: Path) -> None:
    async with started(path, Timings(sqlite_lock_wait=0.3)) as store:
        await store.keys.put("a", b"there", None)
        holding = Holding(path)
        outcomes = await asyncio.gather(
            *(store.keys.put(f"key {number}", b"", None) for number in range(50)), return_exceptions=True
        )
        for outcome in outcomes:
            assert isinstance(outcome, StoreError)
            assert "kept it locked for too long" in str(outcome)
        assert await store.keys.get("a") == b"there"
        holding.let_go()
        assert await works(store)


async def test_the_end_does_not_wait_for_a_lock_for_long(path: Path) -> None:
    async with started(path, Timings(sqlite_lock_wait=1000, store_operation=1000)) as store:
        holding = Holding(path)
        write = asyncio.ensure_future(store.keys.put("a", b"", None))
        await asyncio.sleep(0)
    with pytest.raises(StoreError):
        await write
    holding.let_go()


# -- one writer for all ----------------------------------------------------------------------------------------


async def test_many_writes_share_a_commit(store: SqliteStore) -> None:
    statements: list[str] = []

    def trace(connection: DatabaseConnection) -> None:
        connection.set_trace_callback(statements.append)

    await store._write(trace)
    await store.log.open("s", b"head")
    statements.clear()
    await asyncio.gather(*(store.log.append("s", [(number, b"")]) for number in range(1, 1001)))
    await store._write(lambda connection: connection.set_trace_callback(None))
    assert sum(statement.startswith("INSERT INTO entries") for statement in statements) == 1000
    assert statements.count("COMMIT") < 100


async def test_everybody_hears_of_their_own_trouble_only(store: SqliteStore) -> None:
    def fail(connection: DatabaseConnection) -> None:
        connection.execute("INSERT INTO keys VALUES ('undone', x'', NULL)")
        raise ZeroDivisionError("in the middle")

    outcomes = await asyncio.gather(
        *(store.keys.put(f"before {number}", b"", None) for number in range(20)),
        store.keys.put("no text \ud800", b"", None),
        store._write(fail),
        store.log.append("unknown", [(1, b"")]),
        store.keys.put("too late \udfff", b"", None),
        *(store.keys.put(f"after {number}", b"", None) for number in range(20)),
        return_exceptions=True,
    )
    assert outcomes[:20] == outcomes[24:] == [None] * 20
    assert [type(outcome) for outcome in outcomes[20:24]] == [StoreError] * 4
    assert "in the middle" in str(outcomes[21])
    assert await store.keys.get("undone") is None
    assert await store.keys.get("after 19") == b""


async def test_who_waits_for_too_long_is_told_and_the_next_are_served(path: Path) -> None:
    hanging = threading.Event()

    def hang(connection: DatabaseConnection) -> None:
        hanging.wait(30)

    async def is_served() -> bool:
        with contextlib.suppress(StoreError):
            return await works(store)
        return False

    async with started(path, Timings(store_operation=0.2)) as store:
        hung = asyncio.ensure_future(store._write(hang))
        with pytest.raises(StoreError, match="did not answer within"):
            await hung
        with pytest.raises(StoreError, match="did not answer within"):
            await store.keys.put("late", b"", None)
        hanging.set()
        await until(is_served)


async def test_who_does_not_wait_any_more_is_in_nobodys_way(store: SqliteStore) -> None:
    writes = [asyncio.ensure_future(store.keys.put(f"key {number}", b"", None)) for number in range(100)]
    await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert outcomes[1::2] == [None] * 50
    assert await works(store)


# -- the bus ---------------------------------------------------------------------------------------------------


async def test_a_hole_in_the_messages_is_a_gap(store: SqliteStore, path: Path) -> None:
    """As it is seen by a process that was stopped for longer than messages are kept."""
    gaps: list[None] = []
    messages: list[bytes] = []
    store.bus.on_gap(lambda: gaps.append(None))
    store.bus.subscribe("topic", messages.append)
    add = "INSERT INTO messages (topic, message, sent) VALUES ('topic', ?, ?)"
    with plain_connection(path) as connection:
        for expected, number in enumerate((3, 7), 1):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(add, [(b"%d" % n, time.time()) for n in range(number)])
            connection.execute("DELETE FROM messages WHERE id < (SELECT max(id) FROM messages)")
            connection.execute("COMMIT")

            async def is_heard(expected: int = expected) -> bool:
                return len(messages) == expected

            await until(is_heard)
            assert len(gaps) == expected
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(add, (b"", time.time()))
        connection.execute("DELETE FROM messages")
        connection.execute("COMMIT")

        async def is_noticed() -> bool:
            return len(gaps) == 3

        await until(is_noticed)
    assert messages == [b"2", b"6"]


# -- the sweep -------------------------------------------------------------------------------------------------

TABLES = ("keys", "streams", "entries", "messages")
ROWS = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)


async def test_what_is_over_leaves_no_rows(path: Path) -> None:
    async with started(path, Timings(sqlite_sweep_interval=0.05, sqlite_message_age=0.05), age=0.2) as store:
        await store.keys.put("for ever", b"", None)
        await store.keys.put("for long", b"", 1000)
        for number in range(700):
            await store.keys.put(f"key {number}", b"", 0.05)
            await store.bus.publish("topic", b"")
        for number in range(5):
            await store.log.open(f"s {number}", b"head")
            await store.log.append(f"s {number}", [(position, b"") for position in range(1, 600)])
        await store.log.drop("s 0")

        async def is_swept() -> bool:
            with plain_connection(path) as connection:
                return connection.execute(ROWS).fetchone() == (2, 0, 0, 0)

        await until(is_swept)
        assert await store.keys.get("for ever") == b""


async def test_room_that_is_not_needed_is_given_back(path: Path) -> None:
    async with started(path, Timings(sqlite_sweep_interval=0.05)) as store:
        for number in range(40):
            await store.log.open(f"s {number}", b"head")
            await store.log.append(f"s {number}", [(position, bytes(10_000)) for position in range(1, 60)])

        def pages() -> int:
            with plain_connection(path) as connection:
                return int(connection.execute("PRAGMA page_count").fetchone()[0])

        assert pages() > 5000
        for number in range(40):
            await store.log.drop(f"s {number}")

        async def is_small() -> bool:
            return pages() < 1300

        await until(is_small)
    assert is_intact(path)
