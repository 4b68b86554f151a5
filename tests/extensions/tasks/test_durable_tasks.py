"""Durable tasks: what they keep, what happens once, how they sleep, and who goes on when a worker dies."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from support.cluster.in_process_workers import SharedMemory
from support.servers.task_server import StatelessTasks, TaskApp, accept, text_of
from support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def app() -> AsyncIterator[TaskApp]:
    app = TaskApp()
    async with app.running():
        yield app


class TestRuns:
    async def test_it_asks_acts_once_and_sleeps(self, app: TaskApp) -> None:
        client = StatelessTasks(app)
        id = (await client.call("journey", name="j"))["taskId"]
        task = await client.until(id, "input_required")
        [key] = task["inputRequests"]
        assert id not in app.extensions.get("io.modelcontextprotocol/tasks").runner.running  # type: ignore[union-attr]
        await client.update(id, **{key: accept(value=True)})
        await until(lambda: "j second" in app.effects)
        assert (await client.get(id))["status"] == "working"
        task = await client.until(id, "completed")
        assert text_of(task["result"]) == "j True accept"
        assert app.effects == ["j first", "j second"]
        assert app.runs == ["journey j"] * 3

    async def test_partial_answers(self, app: TaskApp) -> None:
        """X-TASK-10, X-TASK-11: the question that is left keeps its key over the runs."""
        client = StatelessTasks(app)
        id = (await client.call("durable_ask"))["taskId"]
        task = await client.until(id, lambda task: len(task.get("inputRequests", ())) == 2)
        first, second = task["inputRequests"]
        await client.update(id, **{second: accept(value="two")})
        task = await client.until(id, lambda task: task["status"] == "input_required")
        assert list(task["inputRequests"]) == [first]
        await client.update(id, **{first: accept(value="one")})
        assert text_of((await client.until(id, "completed"))["result"]) == "one two"

    async def test_a_sleep_of_hours_is_a_record(self, app: TaskApp) -> None:
        client = StatelessTasks(app)
        created = await client.call("nap", seconds=7200)
        await until(lambda: not app.extensions.get("io.modelcontextprotocol/tasks").runner.running)  # type: ignore[union-attr]
        task = await client.get(created["taskId"])
        assert task["status"] == "working"
        assert task["ttlMs"] > 7_200_000
        await client.cancel(created["taskId"])
        assert (await client.get(created["taskId"]))["status"] == "cancelled"


class TestWorkers:
    async def test_another_worker_goes_on_after_a_stop(self) -> None:
        store, gates = SharedMemory(), dict[str, asyncio.Event]()
        secret = "s" * 32
        first = TaskApp(gates, store=store, secret=secret)
        second = TaskApp(gates, store=store, secret=secret)
        async with second.running():
            async with first.running():
                client = StatelessTasks(first)
                id = (await client.call("journey", name="j"))["taskId"]
                await client.until(id, "input_required")
            other = StatelessTasks(second)
            [key] = (await other.get(id))["inputRequests"]
            await other.update(id, **{key: accept(value=True)})
            task = await other.until(id, "completed")
            assert text_of(task["result"]) == "j True accept"
            assert (first.effects, second.effects) == (["j first"], ["j second"])

    async def test_one_that_is_not_durable_fails_with_the_reason(self) -> None:
        store = SharedMemory()
        secret = "s" * 32
        first, second = TaskApp(store=store, secret=secret), TaskApp(store=store, secret=secret)
        async with second.running():
            async with first.running():
                id = (await StatelessTasks(first).call("work", name="w"))["taskId"]
                assert (await StatelessTasks(second).get(id))["status"] == "working"
            task = await StatelessTasks(second).get(id)
            assert task["status"] == "failed"
            assert "stopped" in task["error"]["message"]

    async def test_any_worker_cancels(self) -> None:
        store = SharedMemory()
        secret = "s" * 32
        first, second = TaskApp(store=store, secret=secret), TaskApp(store=store, secret=secret)
        async with second.running(), first.running():
            id = (await StatelessTasks(first).call("work", name="w"))["taskId"]
            await StatelessTasks(second).cancel(id)
            await until(lambda: "w cancelled" in first.effects)
            assert (await StatelessTasks(first).get(id))["status"] == "cancelled"

    async def test_any_worker_answers(self) -> None:
        store = SharedMemory()
        secret = "s" * 32
        first, second = TaskApp(store=store, secret=secret), TaskApp(store=store, secret=secret)
        async with second.running(), first.running():
            id = (await StatelessTasks(first).call("confirm", name="c"))["taskId"]
            other = StatelessTasks(second)
            [key] = (await other.until(id, "input_required"))["inputRequests"]
            await other.update(id, **{key: accept(value=False)})
            assert text_of((await other.until(id, "completed"))["result"]) == "c accept False"
