"""What tasks cost: operations of the store from start to end, and the memory of tasks that sleep.

Easy to get wrong: what every worker does now and then, whatever tasks there are. It looks for tasks that are due,
which is not counted.
"""

import asyncio
import gc
import os
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from enfilade.state.open import open_store
from enfilade.timings import Timings
from support.servers.task_server import TASKS, StatelessTasks, TaskApp
from support.stores.valkey_server import Valkey
from support.waiting import until

pytestmark = pytest.mark.anyio

SECRET = "a secret of the tests that is long enough"

SLEEPERS = int(os.environ.get("ENFILADE_SLEEPING_TASKS", "300"))
"""How many tasks sleep; 10,000 take some minutes."""

#: Seconds that a cancelled handler has to end.
UNWINDING = 0.3

#: Most bytes of a task that sleeps, in a worker.
MOST_BYTES = 200


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store."""
    with ExitStack() as stack:
        if request.param == "redis":
            yield stack.enter_context(Valkey(tmp_path)).url
        else:
            yield f"sqlite:///{tmp_path / 'tasks.db'}"


class CountedPart:
    """A part of a store whose calls are counted under its name."""

    def __init__(self, name: str, part: Any, counts: Counter[str]) -> None:
        self._name, self._part, self._counts = name, part, counts

    def of(self, server: str) -> "CountedPart":
        return CountedPart(self._name, self._part.of(server), self._counts)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if not asyncio.iscoroutinefunction(value):
            return value

        async def counted(*args: Any, **options: Any) -> Any:
            self._counts[f"{self._name}.{name}"] += 1
            return await value(*args, **options)

        return counted


class CountedStore:
    """A store whose calls are counted."""

    def __init__(self, url: str) -> None:
        self._store = open_store(url)
        self.counts: Counter[str] = Counter()
        for name in ("keys", "log", "bus", "tasks"):
            setattr(self, name, CountedPart(name, getattr(self._store, name), self.counts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize("tool", ["work", "confirm", "nap"])
async def test_a_task_begins_and_ends_with_three_writes(url: str, tool: str) -> None:
    """One for its record, one for its end, and one that tells other workers of it.

    A durable one costs no more as long as it neither asks, nor sleeps, nor does anything once. Each question adds
    four: it is asked, answered, and both are told; that it is withdrawn needs no write of its own.
    """
    store = CountedStore(url)
    app = TaskApp(store=store, secret=SECRET, limits={"timings": Timings()})
    async with app.running():
        client = StatelessTasks(app)
        app.gate("a").set()
        first = await client.call("work", name="a")
        await client.until(first["taskId"], "completed")
        await all_are_told(app)
        store.counts.clear()
        id = (await client.call(tool, **({"seconds": 0.05} if tool == "nap" else {"name": "a"})))["taskId"]
        questions = 0
        if tool == "confirm":
            [key] = (await client.until(id, "input_required"))["inputRequests"]
            await client.update(id, **{key: {"action": "accept", "content": {"value": True}}})
            questions = 1
        await client.until(id, "completed")
        await all_are_told(app)
        reads = {"tasks.read", "tasks.take_due", "tasks.renew", "keys.get", "log.read"}
        writes = {name: times for name, times in store.counts.items() if name not in reads}
        assert sum(writes.values()) <= 3 + 4 * questions, writes


async def test_tasks_that_sleep_cost_records(url: str) -> None:
    """No asyncio task, no thread, 200 bytes at most; and they wake after a restart."""
    timings = Timings(lease_renewal=0.5, poll_interval=0.1, unwinding=UNWINDING)
    app = TaskApp(store=url, secret=SECRET, limits={"timings": timings, "own_limit": 20_000})
    async with app.running():
        await park(app, 50, time.time() + 3600)
        tasks, threads = len(asyncio.all_tasks()), threading.active_count()
        tracemalloc.start()
        try:
            await park(app, 200, time.time() + 3600)
            before = tracemalloc.get_traced_memory()[0]
            wakes = time.time() + 2 + SLEEPERS / 100
            ids = await park(app, SLEEPERS, wakes)
            most = before + MOST_BYTES * SLEEPERS + sys.getsizeof(ids) + sum(map(sys.getsizeof, ids))
            await until(lambda: gc.collect() >= 0 and tracemalloc.get_traced_memory()[0] <= most, 10.0)
            used = tracemalloc.get_traced_memory()[0] - most + MOST_BYTES * SLEEPERS
        finally:
            tracemalloc.stop()
        print(f"{used / SLEEPERS:.0f} bytes for each of {SLEEPERS}, {wakes - time.time():.1f} s are left")
        assert len(asyncio.all_tasks()) <= tasks + 3  # of the server's own, which come and go
        assert threading.active_count() <= threads
    del app
    app = TaskApp(store=url, secret=SECRET)
    async with app.running():
        client = StatelessTasks(app)
        for id in ids:
            await client.until(id, "completed", limit=60 + SLEEPERS / 50)
        print(f"all were over {time.time() - wakes:.1f} s after they were due")


async def all_are_told(app: TaskApp) -> None:
    """Wait until other workers were told of all changes."""
    extension: Any = app.extensions.get(TASKS)
    await until(lambda: not extension.runner.running and not extension.ledger._sending)


async def park(app: TaskApp, count: int, wakes: float) -> list[str]:
    """Call a tool that sleeps until a time; return the ids of its tasks, once none runs and all is tidied up."""
    client, ids = StatelessTasks(app), []
    for _ in range(count):
        ids.append((await client.call("nap", seconds=wakes - time.time()))["taskId"])
    extension: Any = app.extensions.get(TASKS)
    await until(lambda: not extension.runner.running)
    await asyncio.sleep(2 * UNWINDING)  # for as long as that a run is known that was ended
    gc.collect()
    return ids
