"""Workers that share the records of tasks: who takes what, restarts, and all of it against a model."""

import asyncio
import itertools
import multiprocessing
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from enfilade.state.open import open_store
from enfilade.state.store import Store
from enfilade.state.tasks.records import TaskRecord, Tasks, cursor_of, tasks_of
from support.stores.kinds import Open, opened as opened_store
from support.stores.task_records import LONG, new_task, take_all, take_from

pytestmark = pytest.mark.anyio

PROCESSES = 3

_numbers = itertools.count(1)


# -- workers that take the same tasks --------------------------------------------------------------------------


async def test_no_two_workers_take_one(store_url: str, store: Store, opened: Open) -> None:
    stores = [store, *([await opened(store_url) for _ in range(3)] if store.shared else [])]
    for number in range(200):
        await tasks_of(store).create(new_task(f"{number}", -1.0))
    taken = await asyncio.gather(*(take_all(tasks_of(store), most) for store in stores for most in (1, 3, 7)))
    counts = Counter(task for worker in taken for task in worker)
    assert counts == {(f"{number}", 2): 1 for number in range(200)}


async def test_who_lost_a_task_writes_nothing(store_url: str, store: Store, opened: Open) -> None:
    """Workers take, renew and write for leases that are over at once, so that each is too slow now and then.

    Each write adds one to the value, so in the end the value says how many writes there were.
    """
    stores = [store, *([await opened(store_url) for _ in range(2)] if store.shared else [])]
    for number in range(5):
        await tasks_of(store).create(new_task(f"{number}", -1.0, value=b"0"))
    written: Counter[str] = Counter()
    chance = random.Random(3)

    async def work(tasks: Tasks) -> None:
        for _ in range(40):
            for task in (await tasks.take_due(-1.0, 2)).tasks:
                if chance.random() < 0.5:
                    await asyncio.sleep(0)
                version = task.version
                if chance.random() < 0.5 and await tasks.renew({task.id: version}, -1.0):
                    continue
                value = b"%d" % (int(task.value) + 1)
                if await tasks.write(task.id, version, value, due=-1.0, ttl=None):
                    written[task.id] += 1
                    await tasks.write(
                        task.id, version, value, due=-1.0, ttl=None
                    )  # as if its reply had been lost

    await asyncio.gather(*(work(tasks_of(store)) for store in stores for _ in range(3)))
    values = {task.id: int(task.value) for task in await tasks_of(store).page(None, None, 10)}
    assert sum(written.values()) > 20
    assert values == written


async def test_no_two_processes_take_one(shared_url: str, opened: Open) -> None:
    store = await opened(shared_url)
    for number in range(60):
        await tasks_of(store).create(new_task(f"{number}", -1.0))
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool:
        barrier = manager.Barrier(PROCESSES)
        futures = [pool.submit(take_from, shared_url, barrier) for _ in range(PROCESSES)]
        taken = [await asyncio.wrap_future(future) for future in futures]
    assert Counter(task for worker in taken for task in worker) == {(f"{number}", 2): 1 for number in range(60)}


async def test_tasks_outlast_those_who_work(shared_url: str) -> None:
    """They are due as before, to whoever comes; a finished one has what is left of its time."""
    async with opened_store(shared_url) as store:
        for id in ("due", "asleep", "held", "done", "over"):
            await tasks_of(store).create(new_task(id, LONG if id == "asleep" else -1.0))
        held = {task.id: task.version for task in (await tasks_of(store).take_due(LONG, 10)).tasks}
        assert await tasks_of(store).write("due", held["due"], b"", due=0.0, ttl=None)
        assert await tasks_of(store).write("done", held["done"], b"done", due=None, ttl=LONG)
        assert await tasks_of(store).write("over", held["over"], b"over", due=None, ttl=0.01)
    await asyncio.sleep(0.02)
    async with opened_store(shared_url) as store:
        tasks = tasks_of(store)
        assert sorted(task.id for task in await tasks.page("ada", None, 10)) == ["asleep", "done", "due", "held"]
        assert await take_all(tasks, 10) == [("due", held["due"] + 2)]
        assert await tasks.renew(held, LONG) == ["due", "done", "over"]
        done = await tasks.read("done")
        assert done is not None
        assert (done.value, done.due) == (b"done", None)


# -- against a model -------------------------------------------------------------------------------------------

_ids = st.sampled_from("abc")
_versions = st.integers(1, 4)
_dues = st.sampled_from([-1.0, LONG, None])
_values = st.sampled_from([b"", b"1"])

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), _ids, st.sampled_from([-1.0, LONG])),
        st.tuples(st.just("write"), _ids, _versions, _values, _dues),
        st.tuples(st.just("take_due"), st.sampled_from([-1.0, LONG])),
        st.tuples(st.just("renew"), _ids, _versions),
        st.tuples(st.just("delete"), _ids),
        st.tuples(st.just("page"), st.integers(1, 3)),
    ),
    max_size=30,
)


class Model:
    """Records of tasks in the simplest words: value, version, due, and whether the version is from a write."""

    def __init__(self) -> None:
        self.records: dict[str, tuple[bytes, int, float | None, bool]] = {}

    def create(self, id: str, due: float) -> None:
        self.records.setdefault(id, (b"new", 1, due, False))

    def write(self, id: str, version: int, value: bytes, due: float | None) -> bool:
        current = self.records.get(id)
        if current is not None and current[1] == version:
            self.records[id] = (value, version + 1, due, True)
            return True
        return current is not None and (current[0], current[1], current[3]) == (value, version + 1, True)

    def take_due(self, lease: float) -> set[tuple[str, int]]:
        due = [id for id, record in self.records.items() if record[2] == -1.0]
        for id in due:
            value, version, _, _ = self.records[id]
            self.records[id] = (value, version + 1, lease, False)
        return {(id, self.records[id][1]) for id in due}

    def renew(self, id: str, version: int) -> list[str]:
        current = self.records.get(id)
        if current is None or current[1] != version or current[2] is None:
            return [id]
        self.records[id] = (current[0], version, LONG, current[3])
        return []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_tasks_do_what_their_model_does(store_url: str, steps: list[tuple[Any, ...]]) -> None:
    """Owners and ids differ from example to example, since all of them share a file or a server."""
    mark = f"{next(_numbers)} "

    async def walk() -> None:
        store, model = open_store(store_url), Model()
        await store.start()
        tasks = tasks_of(store)
        for name, *rest in steps:
            match name:
                case "create":
                    await tasks.create(new_task(mark + rest[0], rest[1], owner=mark))
                    model.create(*rest)
                case "write":
                    id, version, value, due = rest
                    written = await tasks.write(mark + id, version, value, due=due, ttl=None)
                    assert written == model.write(*rest), rest
                case "take_due":
                    taken = (await tasks.take_due(rest[0], 10)).tasks
                    assert {(task.id.removeprefix(mark), task.version) for task in taken} == model.take_due(*rest)
                case "renew":
                    lost = await tasks.renew({mark + rest[0]: rest[1]}, LONG)
                    assert [id.removeprefix(mark) for id in lost] == model.renew(*rest)
                case "delete":
                    await tasks.delete(mark + rest[0])
                    model.records.pop(rest[0], None)
                case "page":
                    records = await all_pages(tasks, mark, rest[0])
                    assert [(task.id.removeprefix(mark), task.value, task.version) for task in records] == [
                        (id, value, version) for id, (value, version, _, _) in model.records.items()
                    ]
        for id in "abc":
            await tasks.delete(mark + id)
        await store.close()

    asyncio.run(walk())


async def all_pages(tasks: Tasks, owner: str, most: int) -> list[TaskRecord]:
    records: list[TaskRecord] = []
    while page := await tasks.page(owner, cursor_of(records[-1]) if records else None, most):
        records += page
    return records
