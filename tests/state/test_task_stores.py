"""Records of tasks in one kind of store after the other: files, servers, clocks that are set, and memory."""

import asyncio
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enfilade.state.sqlite import database
from enfilade.state.tasks import memory_tasks, sqlite_tasks
from enfilade.state.tasks.memory_tasks import MemoryTasks
from enfilade.state.tasks.records import Created, Full, Tasks, tasks_of
from enfilade.state.tasks.sqlite_tasks import SqliteTasks
from enfilade.timings import Timings
from support.counting import instruction_tracer, no_garbage
from support.servers.processes import HOST
from support.stores.kinds import is_intact, opened as opened_store, plain_connection, started
from support.stores.task_records import LONG, new_task, take_all
from support.stores.valkey_server import LossyProxy, Valkey
from support.waiting import until

pytestmark = pytest.mark.anyio

DAY = 86_400.0

# -- one store after the other ---------------------------------------------------------------------------------


async def test_a_file_of_an_earlier_version_gets_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a process of that version uses it, which goes on."""
    path = tmp_path / "state.db"
    with monkeypatch.context() as earlier:
        earlier.setattr(database, "_ADDED_SCHEMA", [])
        earlier.setattr(database, "_has_added_tables", lambda connection: True)
        earlier.setattr("enfilade.state.sqlite.store.sweep_tasks", lambda connection, portion: False)
        async with started(path, Timings(sqlite_sweep_interval=0.02)) as before:
            await before.keys.put("a", b"there", None)
            with plain_connection(path) as connection:
                assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name LIKE 'task%'").fetchall()
            earlier.undo()
            async with started(path) as store:
                assert await store.keys.get("a") == b"there"
                assert await store.tasks.create(new_task("a", -1.0)) == Created()
                await before.keys.put("a", b"still", None)
                assert await before.keys.get("a") == await store.keys.get("a") == b"still"
    async with started(path) as store:
        assert await take_all(store.tasks, 1) == [("a", 2)]
    assert is_intact(path)


async def test_the_sweep_leaves_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with started(path, Timings(sqlite_sweep_interval=0.02)) as store:
        for number in range(50):
            await store.tasks.create(new_task(f"{number}"))
            await store.tasks.write(f"{number}", 1, b"", due=None, ttl=0.01 if number else None)

        def is_swept() -> bool:
            with plain_connection(path) as connection:
                counts = "SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM task_values)"
                return bool(connection.execute(counts).fetchone() == (1, 1))

        await until(is_swept)
        assert await store.tasks.read("0") is not None


async def test_every_statement_finds_its_rows_by_an_index(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with started(path) as store:
        await store.tasks.create(new_task("a"))
    names = dict.fromkeys(
        ("id", "owner", "value", "now", "due", "ends", "latest", "most", "version", "position", "after", "server")
    )
    with plain_connection(path) as connection:
        for name, statement in vars(sqlite_tasks).items():
            if name.isupper() and isinstance(statement, str) and statement.split()[0] in ("SELECT", "UPDATE"):
                complete = statement if "WHERE" in statement else f"{statement} WHERE tasks.id = :id"
                plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {complete}", names)]
                allowed = ("SCAN tasks USING COVERING INDEX",) if name in ("_COUNT", "_NEXT") else ()
                steps = [step for step in plan if step.startswith("SCAN") or "TEMP B-TREE" in step]
                assert [step for step in steps if not step.startswith(("SCAN CONSTANT", *allowed))] == [], (
                    name,
                    plan,
                )


async def test_each_operation_is_one_round_trip(valkey_url: str, shared_valkey: Valkey) -> None:
    """Each script is sent as a whole once, and by its digest from then on."""

    async def use(tasks: Tasks, mark: str) -> int:
        shared_valkey.ask("CONFIG", "RESETSTAT")
        assert await tasks.create(new_task(f"{mark}a", -1.0)) == Created()
        assert await tasks.create(new_task(f"{mark}b")) == Created()
        assert await tasks.read(f"{mark}a") is not None
        assert await tasks.write(f"{mark}a", 1, b"1", due=0.0, ttl=LONG)
        assert len((await tasks.take_due(LONG, 100)).tasks) == 1
        assert await tasks.renew({f"{mark}a": 3, f"{mark}b": 1}, LONG) == []
        assert len(await tasks.page("ada", None, 100)) >= 2
        await tasks.delete(f"{mark}a")
        return shared_valkey.calls("evalsha", "eval")

    async with opened_store(valkey_url) as store:
        await use(tasks_of(store), "first")
        assert await use(tasks_of(store), "second") == 8
        assert shared_valkey.calls("eval", "keys", "scan") == 0


async def test_replies_that_are_lost(shared_valkey: Valkey) -> None:
    """Each operation is sent again, and has the effect of one; also that of taking."""
    url = "redis://{}:{}/0?prefix=lost_tasks"
    async with LossyProxy(shared_valkey) as way, opened_store(url.format(HOST, way.port)) as store:
        tasks = tasks_of(store)
        for lose in (b"", b"EVALSHA"):
            await tasks.delete("a")
            way.lose = lose
            assert await tasks.create(new_task("a", -1.0)) == Created()
            way.lose = lose
            [taken] = (await tasks.take_due(LONG, 1)).tasks
            assert taken.version == 2
            way.lose = lose
            assert await tasks.write("a", 2, b"one", due=LONG, ttl=None)
            way.lose = lose
            assert await tasks.renew({"a": 3, "b": 1}, LONG) == ["b"]
            assert not way.lose
        assert [task.version for task in await tasks.page(None, None, 10)] == [3]
        way.lose = b"EVALSHA"
        await tasks.delete("a")
        assert not way.lose
        assert await tasks.read("a") is None


async def test_who_took_tasks_after_a_lost_reply_has_them_alone(valkey_url: str, shared_valkey: Valkey) -> None:
    """The lease was over before the operation came again."""
    async with opened_store(valkey_url) as store:
        tasks = tasks_of(store)
        for id in ("a", "b"):
            await tasks.create(new_task(id, -1.0))
        sent: list[tuple[bytes, ...]] = []
        connection = store._connections.commands  # type: ignore[attr-defined]
        execute = connection.execute_unchecked

        async def record(*commands: tuple[bytes, ...], **options: bool) -> Any:
            sent.extend(commands)
            return await execute(*commands, **options)

        connection.execute_unchecked = record
        assert len((await tasks.take_due(-1.0, 2)).tasks) == 2
        connection.execute_unchecked = execute
        [other] = (await tasks.take_due(LONG, 1)).tasks
        [[again, _]] = await execute(sent[-1])
        assert [bytes(task[0]).decode() for task in again] == [id for id in ("a", "b") if id != other.id]


async def test_what_the_server_has_lost_is_forgotten(valkey_url: str, shared_valkey: Valkey) -> None:
    prefix = valkey_url.partition("prefix=")[2]
    async with opened_store(valkey_url) as store:
        tasks = tasks_of(store)
        for id in ("a", "b"):
            await tasks.create(new_task(id, -1.0))
        shared_valkey.ask("DEL", f"{prefix}tasks:record:a")
        assert await take_all(tasks, 10) == [("b", 2)]
        assert [task.id for task in await tasks.page("ada", None, 10)] == ["b"]
        sets = ("due", "since", "all", "owner:ada")
        assert [shared_valkey.ask("ZCARD", f"{prefix}tasks:{name}") for name in sets] == [1] * 4
        await tasks.write("b", 2, b"", due=None, ttl=0.01)
        await asyncio.sleep(0.02)
        await tasks.delete("none")
        keys = shared_valkey.ask("KEYS", f"{prefix}tasks:*")
        assert all(b":taken:" in key for key in keys), "what is remembered for a moment only"


# -- clocks ----------------------------------------------------------------------------------------------------

_AHEAD = """
for _, id in ipairs(redis.call('ZRANGE', KEYS[1] .. 'since', '0', '-1')) do
  local record = cmsgpack.unpack(redis.call('HGET', KEYS[1] .. 'record:' .. id, 'record'))
  for index = 4, 6 do record[index] = record[index] and record[index] + ARGV[1] end
  redis.call('HSET', KEYS[1] .. 'record:' .. id, 'record', cmsgpack.pack(record))
  redis.call('ZADD', KEYS[1] .. 'since', string.format('%.0f', record[4]), id)
  if record[5] then redis.call('ZADD', KEYS[1] .. 'due', string.format('%.0f', record[5]), id) end
  if record[6] then
    local entry = cmsgpack.pack({id, record[1], record[3]})
    redis.call('ZADD', KEYS[1] .. 'ends', string.format('%.0f', record[6]), entry)
  end
end
"""


async def check_clock_set_back(tasks: Tasks, set_back: Callable[[], object]) -> None:
    """Durations begin anew, so nothing is out of reach for a day, or kept for one."""
    for id in ("due", "asleep", "done"):
        await tasks.create(new_task(id, 5.0))
    await tasks.write("due", 1, b"", due=0.3, ttl=None)
    await tasks.write("done", 1, b"", due=None, ttl=0.3)
    set_back()
    assert (await tasks.take_due(LONG, 10)).next_due != 0.0
    records = {task.id: task for task in await tasks.page(None, None, 10)}
    asleep = records["asleep"].due
    assert asleep is not None
    assert 0.0 < asleep <= 5.0

    async def is_due() -> bool:
        return [id for id, _ in await take_all(tasks, 10)] == ["due"]

    async def is_over() -> bool:
        return await tasks.read("done") is None

    await until(is_due)
    await until(is_over)


async def test_the_clock_of_a_file_is_set_back(tmp_path: Path) -> None:
    ahead = DAY
    async with started(tmp_path / "state.db") as store:

        def set_back() -> None:
            nonlocal ahead
            ahead = 0.0

        await check_clock_set_back(SqliteTasks(store._read, store._write, lambda: time.time() + ahead), set_back)


async def test_the_clock_of_a_server_is_set_back(valkey_url: str, shared_valkey: Valkey) -> None:
    """As if all had been written by a clock that was a day ahead."""
    prefix = valkey_url.partition("prefix=")[2]
    async with opened_store(valkey_url) as store:
        await check_clock_set_back(
            tasks_of(store),
            lambda: shared_valkey.ask("EVAL", _AHEAD, 1, f"{prefix}tasks:", int(DAY * 1_000_000)),
        )


async def test_a_clock_that_is_set_forwards_ends_leases(tmp_path: Path) -> None:
    """Whoever runs a task loses it to whoever takes it, who has the next version."""
    ahead = 0.0
    async with started(tmp_path / "state.db") as store:
        tasks = SqliteTasks(store._read, store._write, lambda: time.time() + ahead)
        await tasks.create(new_task("a", -1.0))
        assert await take_all(tasks, 10) == [("a", 2)]
        ahead = DAY
        assert await take_all(tasks, 10) == [("a", 3)]
        assert await tasks.renew({"a": 2}, LONG) == ["a"]


# -- memory ----------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_tasks_that_sleep_cost_the_others_nothing() -> None:
    """As many instructions with ten thousand of them as with ten."""

    async def cost(count: int) -> int:
        tasks = MemoryTasks(Clock())
        for number in range(count):
            await tasks.create(new_task(f"{number}"))
        await tasks.create(new_task("a", -1.0))
        counted: Counter[str] = Counter()
        sys.settrace(instruction_tracer(counted))
        try:
            for _ in range(3):
                await tasks.take_due(LONG, 5)
        finally:
            sys.settrace(None)
        return counted["instructions"]

    assert await cost(10_000) == await cost(10)


async def test_a_heap_has_no_more_than_twice_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    tasks = MemoryTasks(clock)
    for number in range(10):
        await tasks.create(new_task(f"{number}"))
    for _ in range(1000):
        clock.now += 1.0
        assert await tasks.renew({f"{number}": 1 for number in range(10)}, LONG) == []
    assert len(tasks._due._entries) <= 20 + memory_tasks._SLACK
    clock.now += LONG
    assert len(await take_all(tasks, 3)) == 10


async def test_values_have_a_room_in_bytes() -> None:
    """What has run is written all the same, and what is over gives its room back."""
    clock = Clock()
    tasks = MemoryTasks(clock, size=100, own_size=60)
    assert await tasks.create(new_task("a0", value=bytes(50))) == Created()
    assert await tasks.create(new_task("a1", value=bytes(50))) == Full(is_own=True)
    assert await tasks.create(new_task("b0", value=bytes(50), owner="bob")) == Created()
    assert await tasks.create(new_task("c0", value=bytes(50), owner="eve")) == Full()
    assert await tasks.write("a0", 1, bytes(1000), due=None, ttl=10.0)
    assert await tasks.create(new_task("b1", value=b"", owner="bob")) == Full()
    clock.now += 10.0
    assert await tasks.create(new_task("a1", value=bytes(50))) == Created()
    await tasks.delete("a1")
    await tasks.delete("b0")
    assert await tasks.create(new_task("a2", value=bytes(1000))) == Created(), "a single one always has room"
    assert len(tasks) == 1


async def test_tasks_that_sleep_take_little_memory() -> None:
    """In bytes, without their values and ids."""
    tasks, count = MemoryTasks(Clock()), 10_000
    created = [new_task(f"{number:032x}", LONG + number, owner=f"{number % 100}") for number in range(count)]
    with no_garbage():
        tracemalloc.start()
        try:
            for task in created:
                await tasks.create(task)
            for _ in range(3):
                await tasks.renew({task.id: 1 for task in created}, LONG)
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert size / count < 600
