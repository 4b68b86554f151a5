"""Tasks whose workers are killed, stopped and frozen, and whose store is away: each comes to one end.

What is checked whatever was done: a task ends, and stays as it has ended, at every worker; no side effect has
happened twice; and all have happened if the task says that it is complete. Easy to get wrong: the tasks that
nobody knows, as the worker died before its response. They must end as well, so the store is asked for all.
"""

import asyncio
import itertools
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from enfilade.state.open import open_store
from enfilade.state.tasks.records import tasks_of
from support.cluster.server_processes import ProcessCluster
from support.faults.servers import LOOPS
from support.harness import eventually
from support.http_client.resuming_client import Broken, seeded
from support.http_client.task_client import FINAL, LIMIT, TaskClient
from support.servers.processes import python_command
from support.stores.valkey_server import Valkey

SERVER = Path(__file__).parents[1] / "support/faults/task_server.py"

#: Seconds, in place of twelve.
LEASE = 1.5

#: Steps of a task, and seconds of each of its pauses.
STEPS, PAUSE = 4, 0.1

#: Seconds for which a store is away.
OUTAGE = 5.0


def task_cluster(store: str, lease: float | None = LEASE) -> ProcessCluster:
    """Return three servers to be started that share a store."""
    env = {} if lease is None else {"TASKS_LEASE": str(lease)}
    return ProcessCluster(3, python_command(SERVER, "{port}"), store, env)


@pytest.fixture(scope="module")
def _tasks_cluster(store: str) -> Iterator[ProcessCluster]:
    with task_cluster(store) as cluster:
        yield cluster


@pytest.fixture
def servers(_tasks_cluster: ProcessCluster) -> ProcessCluster:
    """Three servers, all of them there."""
    _tasks_cluster.start(*(set(range(3)) - set(_tasks_cluster.running)))
    return _tasks_cluster


class Callers:
    """Calls tools as tasks, looks at them until they end, and answers what they ask.

    Args:
        cluster: the servers.
        folder: for the file of their side effects.
    """

    def __init__(self, cluster: ProcessCluster, folder: Path) -> None:
        self._cluster = cluster
        self._ledger = folder / "ledger"
        self._client = TaskClient(cluster.port)
        self._tools: dict[str, tuple[str, int]] = {}
        self._names = itertools.count(1)
        self.ends: dict[str, dict[str, Any]] = {}

    def call(self, tool: str, **more: Any) -> None:
        """Call a tool, at any worker; a call that breaks off has a task that nobody knows."""
        name = f"{tool}-{next(self._names)}"
        arguments = {"name": name, "ledger": str(self._ledger), **more}
        with suppress(*Broken):
            reply = self._client.ask("tools/call", {"name": tool, "arguments": arguments})
            if reply.messages and "taskId" in reply.messages[-1].get("result", {}):
                self._tools[reply.result["taskId"]] = name, more.get("steps", 2)

    def call_many(self) -> None:
        """Call a tool of each kind."""
        for pause in (PAUSE, PAUSE / 2, PAUSE / 4):
            self.call("work", steps=2 * STEPS, pause=pause)
            self.call("journey", steps=STEPS, pause=pause)
            self.call("order")

    def look(self) -> bool:
        """Look at all tasks once, and answer; whether all have ended."""
        for id in [id for id in self._tools if id not in self.ends]:
            with suppress(*Broken):
                reply = self._client.ask("tasks/get", {"taskId": id})
                if not reply.messages:
                    continue  # from the proxy, as that worker is gone
                if "error" in reply.messages[-1]:
                    assert reply.error["code"] == -32603, reply.error
                    continue
                task = reply.result
                if task["status"] in FINAL:
                    self.ends[id] = task
                elif task["status"] == "input_required":
                    self._client.answer(id, task)
        return len(self.ends) == len(self._tools)

    def wait(self) -> None:
        """Wait for all ends."""
        eventually(self.look, f"some tasks do not end: {self._tools.keys() - self.ends.keys()}", LIMIT)

    def end_unknown(self, id: str) -> None:
        """Cancel a task that waits for an answer, as its client has never got its id."""
        reply = self._client.ask("tasks/get", {"taskId": id})
        if reply.result["status"] == "input_required":
            self._client.ask("tasks/cancel", {"taskId": id})

    def effects(self) -> Counter[str]:
        """Return what has happened, and how often."""
        return Counter(self._ledger.read_text("utf-8").splitlines() if self._ledger.exists() else [])

    def check(self) -> None:
        """Fail unless all is as it must be."""
        self.wait()
        effects = self.effects()
        assert {effect: times for effect, times in effects.items() if times > 1} == {}
        for id, end in self.ends.items():
            name, steps = self._tools[id]
            if has_succeeded(end):
                assert [effects[f"{name} {step}"] for step in range(steps)] == [1] * steps
            for index in self._cluster.running:
                assert self._client.get(id, x_backend=str(index)) == end

    @property
    def outcomes(self) -> Counter[str]:
        """How many tasks of each tool have ended, and how."""
        return Counter(
            f"{self._tools[id][0].split('-')[0]} {'done' if has_succeeded(end) else 'failed'}"
            for id, end in self.ends.items()
        )


def has_succeeded(end: dict[str, Any]) -> bool:
    """Whether a task has done all that it should."""
    return end["status"] == "completed" and "isError" not in end["result"]


def unfinished(store: str) -> list[str]:
    """Return the ids of all tasks that have not ended."""

    async def read() -> list[str]:
        opened = open_store(store)
        await opened.start()
        try:
            records = await tasks_of(opened, "tasks").page(None, None, 100_000)
            return [record.id for record in records if record.due is not None]
        finally:
            await opened.close()

    return asyncio.run(read())


def check_all(store: str, callers: Callers) -> None:
    """Fail unless all is as it must be, for tasks that nobody knows as well."""
    callers.check()

    def is_over() -> bool:
        left = unfinished(store)
        assert not callers.ends.keys() & set(left)
        for id in left:
            callers.end_unknown(id)
        return not left

    eventually(is_over, "tasks that nobody knows do not end", LIMIT)
    callers.check()


def at_any_moment(chance: random.Random, callers: Callers, act: Callable[[], object]) -> None:
    """Do something at any moment of what the tasks do, and look at them meanwhile."""
    acting = threading.Timer(chance.uniform(0.0, 1.5), act)
    acting.start()
    try:
        callers.call_many()
        while acting.is_alive():
            callers.look()
    finally:
        acting.join()


@pytest.mark.parametrize("round", range(LOOPS))
def test_a_worker_is_killed(servers: ProcessCluster, store: str, tmp_path: Path, round: int) -> None:
    """kill -9: durable tasks go on elsewhere, or say that an effect was cut off; all others fail."""
    chance = seeded()
    callers = Callers(servers, tmp_path)
    at_any_moment(chance, callers, lambda: servers.kill(chance.choice(servers.running)))
    check_all(store, callers)
    print(callers.outcomes)


@pytest.mark.parametrize("round", range(LOOPS))
def test_all_workers_are_killed(servers: ProcessCluster, store: str, tmp_path: Path, round: int) -> None:
    """And are started again."""
    chance = seeded()
    callers = Callers(servers, tmp_path)
    at_any_moment(chance, callers, lambda: [servers.kill(index) for index in servers.running])
    servers.start(0, 1, 2)
    check_all(store, callers)
    print(callers.outcomes)


@pytest.mark.parametrize("round", range(LOOPS))
def test_workers_are_stopped_one_after_the_other(
    servers: ProcessCluster, store: str, tmp_path: Path, round: int
) -> None:
    """As a deployment does: durable tasks go on at once, unless an effect is cut off."""
    chance = seeded()
    callers = Callers(servers, tmp_path)

    def deploy() -> None:
        for index in range(3):
            servers.restart(index)

    at_any_moment(chance, callers, deploy)
    check_all(store, callers)
    print(callers.outcomes)


@pytest.mark.parametrize("round", range(LOOPS))
def test_a_worker_is_frozen_for_longer_than_its_lease(
    servers: ProcessCluster, store: str, tmp_path: Path, round: int
) -> None:
    """Another one takes its tasks, and it learns that it has lost them when it goes on."""
    chance = seeded()
    callers = Callers(servers, tmp_path)
    frozen = chance.choice(servers.running)
    pid = servers.servers[frozen].process

    def freeze() -> None:
        pid.send_signal(signal.SIGSTOP)
        time.sleep(2 * LEASE)
        pid.send_signal(signal.SIGCONT)

    at_any_moment(chance, callers, freeze)
    check_all(store, callers)
    print(callers.outcomes)


@contextmanager
def away(store: str, valkey: Valkey | None) -> Iterator[None]:
    """Let a store do nothing; within the block that has begun, and after it it is over.

    Valkey is frozen; a file of SQLite is locked by another program.
    """
    if valkey is not None:
        valkey.pause()
        back: Callable[[], object] = valkey.resume
    else:
        connection = sqlite3.connect(store.removeprefix("sqlite:///"), isolation_level=None, timeout=20)
        connection.execute("BEGIN IMMEDIATE")
        back = connection.close
    try:
        yield
    finally:
        back()


#: Kinds of stores, and leases: as they are, and such as run out meanwhile.
OUTAGES = [("sqlite", OUTAGE - 1), ("redis", 12.0), ("sqlite", 12.0), ("redis", OUTAGE - 1)]


@pytest.mark.parametrize(("kind", "lease"), OUTAGES if LOOPS > 1 else OUTAGES[:2])
def test_the_store_is_away(kind: str, lease: float, tmp_path: Path) -> None:
    """For five seconds: no task fails. Leases may run out meanwhile, and yet no worker takes what others have."""
    chance = seeded()
    with ExitStack() as stack:
        valkey = stack.enter_context(Valkey(tmp_path, durable=True)) if kind == "redis" else None
        store = f"sqlite:///{tmp_path / 'shared.db'}" if valkey is None else valkey.url
        cluster = stack.enter_context(task_cluster(store, lease))
        for round in range(LOOPS):
            folder = tmp_path / str(round)
            folder.mkdir()
            callers = Callers(cluster, folder)
            callers.call_many()
            time.sleep(chance.uniform(0.0, 1.0))
            with away(store, valkey):
                time.sleep(OUTAGE)
            check_all(store, callers)
            print(callers.outcomes)
            assert len(callers.ends) == 9
            assert all(map(has_succeeded, callers.ends.values())), callers.ends
