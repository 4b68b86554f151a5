"""Durable tasks: what they keep, what happens once, how they sleep, and who goes on when a worker dies."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from enfilade import Context
from support.cluster.in_process_workers import SharedMemory
from support.servers.task_server import StatelessTasks, TaskApp, accept, text_of
from support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def app() -> AsyncIterator[TaskApp]:
    app = TaskApp()
    async with app.running():
        yield app


def runner_of(app: TaskApp) -> Any:
    """Return what runs the tasks of an app."""
    extension: Any = app.extensions.get("io.modelcontextprotocol/tasks")
    return extension.runner


class TestRuns:
    async def test_it_asks_acts_once_and_sleeps(self, app: TaskApp) -> None:
        client = StatelessTasks(app)
        id = (await client.call("journey", name="j"))["taskId"]
        task = await client.until(id, "input_required")
        [key] = task["inputRequests"]
        assert id not in runner_of(app).running
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
        await until(lambda: not runner_of(app).running)
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

    async def test_a_stop_in_the_middle_of_an_effect(self) -> None:
        """Nobody knows how much of it was done, so it does not happen again, whatever else the worker did."""
        store, effects, secret = SharedMemory(), list[str](), "s" * 32

        async def act() -> int:
            effects.append("begun")
            await asyncio.sleep(10)
            return 1

        async def cut(ctx: Context) -> int:
            return await ctx.once("act", act)

        first, second = TaskApp(store=store, secret=secret), TaskApp(store=store, secret=secret)
        for app in (first, second):
            app.add_tool(cut, task="required", durable=True)
        async with second.running():
            async with first.running():
                id = (await StatelessTasks(first).call("cut"))["taskId"]
                await until(lambda: effects)
                tasks = runner_of(first)
                read = tasks._ledger._tasks.read

                async def read_slowly(id: str) -> Any:
                    await asyncio.sleep(0.1)
                    return await read(id)

                tasks._ledger._tasks.read = read_slowly
                tasks.running[id].note_change()  # so that the stop waits for a look
                await asyncio.sleep(0)
            task = await StatelessTasks(second).until(id, "completed")
            assert task["result"]["isError"]
            assert "nobody knows how much" in text_of(task["result"])
            assert effects == ["begun"]

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


class TestStops:
    async def test_what_is_nearly_done_comes_to_its_end(self) -> None:
        """A server that stops waits for side effects of durable tasks, and for tasks that end soon."""
        store, effects = SharedMemory(), list[str]()
        apps = [TaskApp(store=store, secret="s" * 32) for _ in range(2)]

        async def slow() -> str:
            effects.append("begun")
            await asyncio.sleep(0.1)
            effects.append("done")
            return "slow"

        async def act(ctx: Context) -> str:
            """Act once, and sleep."""
            await ctx.once("slow", slow)
            await ctx.sleep(1.1)
            return "acted"

        async def soon() -> str:
            """End soon."""
            await asyncio.sleep(0.1)
            return "ended"

        for app in apps:
            app.add_tool(act, task="optional", durable=True)
            app.add_tool(soon, task="optional")
        first, second = apps
        async with second.running():
            async with first.running():
                client = StatelessTasks(first)
                acting, ending = (await client.call("act"))["taskId"], (await client.call("soon"))["taskId"]
                await until(lambda: effects == ["begun"])
            other = StatelessTasks(second)
            assert text_of((await other.get(ending))["result"]) == "ended"
            assert text_of((await other.until(acting, "completed"))["result"]) == "acted"
        assert effects == ["begun", "done"]


def test_a_store_in_memory_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    from enfilade.assembly import warn_of_short_memory

    app = TaskApp()
    warn_of_short_memory(app, app.settings, None)
    assert "journey, nap, durable_ask: durable, but the store memory:// ends with this process" in caplog.text
    caplog.clear()
    warn_of_short_memory(app, app.settings, SharedMemory())
    assert not caplog.text
