"""Ends of tasks: outcomes that cannot be sent, calls that are given up, failures after the end."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from enfilade import Context
from enfilade.extensions import RpcError
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST
from extensions.tasks.test_session_tasks import SessionTasks, until_status
from support.cluster.in_process_workers import SharedMemory
from support.http_client.connection import request_of
from support.servers.task_server import TASKS, StatelessTasks, TaskApp, text_of
from support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def app() -> AsyncIterator[TaskApp]:
    app = TaskApp()
    async with app.running():
        yield app


def tasks_of(app: TaskApp) -> Any:
    assert app.extensions is not None
    return app.extensions.get(TASKS)


UNSENDABLE = {
    "data": RpcError(-32000, "bad", {"why": object()}),
    "text in data": RpcError(-32000, "bad", {"why": "\ud800"}),
}


@pytest.mark.parametrize("error", UNSENDABLE.values(), ids=UNSENDABLE)
@pytest.mark.parametrize("durable", [False, True], ids=["usual", "durable"])
async def test_an_error_that_cannot_be_sent_fails_the_task_at_once(error: RpcError, durable: bool) -> None:
    """R-586: it does not run until its lease is over, and a durable one is not run again."""
    app, runs = TaskApp(), []

    async def broken() -> str:
        """Raise it."""
        runs.append(1)
        await asyncio.sleep(0.01)
        raise error

    app.add_tool(broken, task="optional", durable=durable)
    async with app.running():
        client = StatelessTasks(app)
        task = await client.until(
            (await client.call("broken"))["taskId"], lambda task: task["status"] != "working"
        )
        assert (task["status"], task["error"]["code"]) == ("failed", INTERNAL_ERROR)
        assert task["error"]["message"].startswith("Internal error (id ")
        assert len(runs) == 1


async def test_a_long_error_is_cut_as_in_a_response(app: TaskApp) -> None:
    async def long() -> str:
        """Fail at length."""
        raise RpcError(-32000, "x" * 100_000)

    app.add_tool(long, name="long", task="optional")
    app.add_tool(long, name="plain_long")
    client = StatelessTasks(app)
    task = await client.until((await client.call("long"))["taskId"], "failed")
    reply = await client.ask("tools/call", {"name": "plain_long", "arguments": {}})
    assert task["error"] == reply.error


async def test_an_error_after_the_cancellation_is_nobody_s(app: TaskApp) -> None:
    async def stubborn() -> str:
        """Fail when it is cancelled."""
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise RpcError(-32000, "late") from None
        return ""

    app.add_tool(stubborn, task="optional")
    unseen: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    client = StatelessTasks(app)
    created = await client.call("stubborn")
    await client.cancel(created["taskId"])
    await until(lambda: not tasks_of(app).runner.running)
    await asyncio.sleep(1.2)  # until nothing refers to its request
    gc.collect()
    assert unseen == []
    assert (await client.get(created["taskId"]))["status"] == "cancelled"


@pytest.mark.parametrize("tool", ["journey", "work"])
async def test_a_call_that_is_given_up_while_its_task_is_made_leaves_none(tool: str) -> None:
    """Nobody knows its id, so a durable one would do its work once more, and for nobody."""
    app = TaskApp(store=SharedMemory(), secret="s" * 32)
    async with app.running():
        client = StatelessTasks(app)
        kept = await tasks_of(app).ledger.started()
        create, made = kept.create, asyncio.Event()

        async def slow_create(new: Any) -> Any:
            decision = await create(new)
            made.set()
            await asyncio.sleep(30)
            return decision

        kept.create = slow_create
        calling = asyncio.ensure_future(client.call(tool, name="g"))
        await made.wait()
        calling.cancel()
        await asyncio.wait([calling])
        async with asyncio.timeout(10):
            while (await tasks_of(app).ledger.opened_page(None, 10))[0]:
                await asyncio.sleep(0.02)
        await asyncio.sleep(1.3)  # longer than a lease
        assert app.runs == [f"{tool} g"]


async def test_a_time_to_live_of_any_size(app: TaskApp) -> None:
    """R-372: it is cut to what the server keeps."""
    client = await SessionTasks.open(app)
    for sent, granted in ((10**400, 604_800_000), (-(10**400), 1000), (0, 1000), (2**63, 604_800_000)):
        assert (await client.call("fail", ttl=sent))["ttl"] == granted


async def test_a_sleep_in_a_side_effect_is_in_place() -> None:
    """A run ends in no side effect, so a durable task would wait for ever."""
    app, runs = TaskApp(), []

    async def slow_effect(ctx: Context) -> int:
        """Sleep in a side effect."""
        runs.append(1)

        async def effect() -> int:
            await ctx.sleep(1.2)
            return 5

        return await ctx.once("slow", effect)

    app.add_tool(slow_effect, task="optional", durable=True)
    async with app.running():
        client = StatelessTasks(app)
        task = await client.until((await client.call("slow_effect"))["taskId"], "completed")
        assert (text_of(task["result"]), len(runs)) == ("5", 1)


async def test_a_client_of_plain_json_is_told_how_to_answer(
    app: TaskApp, caplog: pytest.LogCaptureFixture
) -> None:
    """R-374: the task waits for somebody who can be asked."""
    client = await SessionTasks.open(app)
    id = (await client.call("confirm", name="go"))["taskId"]
    await until_status(client, id, "input_required")
    message = request_of("tasks/result", {"taskId": id}, 9, None)
    reply = await client.client.post(message, mcp_session_id=client.token, accept="application/json")
    assert reply.error["code"] == INVALID_REQUEST
    assert "text/event-stream" in reply.error["message"]
    assert (await client.get(id))["status"] == "input_required"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert tasks_of(app).ledger._waiting == {}
