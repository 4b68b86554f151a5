"""Tasks of 2025-11-25, where they are experimental (R-370 to R-379), over HTTP, in the process of the test."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from enfilade import connect
from enfilade.extensions.tasks import TasksExtension
from enfilade.wire.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND
from support.http_client.asgi_calls import AsgiClient
from support.http_client.asgi_connection import AsgiConnection
from support.http_client.connection import request_of
from support.servers.task_server import TaskApp, text_of
from support.waiting import until

pytestmark = pytest.mark.anyio

RELATED = "io.modelcontextprotocol/related-task"


class SessionTasks:
    """A client of a session that has tasks."""

    def __init__(self, app: Any, token: str) -> None:
        self.client = AsgiClient(app)
        self.token = token
        self.client.sessions[token] = "2025-11-25"

    @classmethod
    async def open(cls, app: Any, revision: str = "2025-11-25") -> "SessionTasks":
        opened = await AsgiClient(app).initialize(revision, {"elicitation": {}})
        return cls(app, str(opened.header("mcp-session-id")))

    async def ask(self, method: str, params: dict[str, Any]) -> Any:
        return await self.client.ask(self.token, method, params)

    async def call(self, tool: str, /, *, ttl: int | None = 60_000, **arguments: Any) -> Any:
        task = {} if ttl is None else {"ttl": ttl}
        return (await self.ask("tools/call", {"name": tool, "arguments": arguments, "task": task})).result["task"]

    async def get(self, id: str) -> Any:
        return (await self.ask("tasks/get", {"taskId": id})).result


@pytest.fixture
async def app() -> AsyncIterator[TaskApp]:
    app = TaskApp()
    async with app.running():
        yield app


@pytest.fixture
async def client(app: TaskApp) -> SessionTasks:
    return await SessionTasks.open(app)


async def test_a_task_and_its_result(app: TaskApp, client: SessionTasks) -> None:
    """R-372, R-374, R-376: a wrapped task; the result is the tool's own, and names the task."""
    task = await client.call("work", name="a", ttl=90_000)
    assert (task["status"], task["ttl"], task["pollInterval"]) == ("working", 90_000, 100)
    waiting = asyncio.ensure_future(client.ask("tasks/result", {"taskId": task["taskId"]}))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert (await client.get(task["taskId"])) == task
    app.gate("a").set()
    result = (await waiting).result
    assert text_of(result) == "a done"
    assert result["_meta"][RELATED] == {"taskId": task["taskId"]}
    assert (await client.get(task["taskId"]))["status"] == "completed"


async def test_a_failing_tool_fails(client: SessionTasks) -> None:
    """R-377: unlike in 2026-07-28."""
    task = await client.call("fail")
    result = (await client.ask("tasks/result", {"taskId": task["taskId"]})).result
    assert result["isError"] is True
    assert (await client.get(task["taskId"]))["status"] == "failed"


async def test_an_error_of_the_protocol_is_that_of_the_result(client: SessionTasks) -> None:
    """R-374."""
    task = await client.call("break_protocol")
    error = (await client.ask("tasks/result", {"taskId": task["taskId"]})).error
    assert (error["code"], error["message"], error["data"]) == (-32000, "no luck", {"why": "unknown"})
    assert (await client.get(task["taskId"]))["status"] == "failed"


async def test_cancelling(app: TaskApp, client: SessionTasks) -> None:
    """R-375: cancelled before the response; once more is an error."""
    task = await client.call("work", name="b")
    cancelled = (await client.ask("tasks/cancel", {"taskId": task["taskId"]})).result
    assert (cancelled["taskId"], cancelled["status"]) == (task["taskId"], "cancelled")
    await until(lambda: "b cancelled" in app.effects)
    assert (await client.ask("tasks/cancel", {"taskId": task["taskId"]})).error["code"] == INVALID_PARAMS
    assert (await client.ask("tasks/result", {"taskId": task["taskId"]})).error["code"] == -32603
    for method in ("tasks/get", "tasks/cancel", "tasks/result"):
        assert (await client.ask(method, {"taskId": "unknown"})).error["code"] == INVALID_PARAMS


async def test_tools_say_whether_they_run_as_tasks(client: SessionTasks) -> None:
    """R-371."""
    listed = (await client.ask("tools/list", {})).result["tools"]
    support = {tool["name"]: tool.get("execution", {}).get("taskSupport") for tool in listed}
    assert (support["plain"], support["work"], support["first_ask"]) == (None, "optional", "required")
    reply = await client.ask("tools/call", {"name": "plain", "arguments": {}, "task": {}})
    assert reply.error["code"] == METHOD_NOT_FOUND
    reply = await client.ask("tools/call", {"name": "first_ask", "arguments": {}})
    assert reply.error["code"] == METHOD_NOT_FOUND


async def test_older_revisions_know_nothing_of_it(app: TaskApp) -> None:
    client = await SessionTasks.open(app, "2025-06-18")
    client.client.sessions[client.token] = "2025-06-18"
    app.gate("a").set()
    reply = await client.ask("tools/call", {"name": "work", "arguments": {"name": "a"}, "task": {}})
    assert text_of(reply.result) == "a done"
    assert (await client.ask("tasks/get", {"taskId": "x"})).error["code"] == METHOD_NOT_FOUND


async def test_the_dialects_do_not_mix(app: TaskApp, client: SessionTasks) -> None:
    """R-58C."""
    from support.servers.task_server import StatelessTasks

    stateless = StatelessTasks(app)
    id = (await stateless.call("work", name="z"))["taskId"]
    assert (await client.ask("tasks/get", {"taskId": id})).error["code"] == INVALID_PARAMS
    task = await client.call("work", name="z")
    assert (await stateless.ask("tasks/get", {"taskId": task["taskId"]})).error["code"] == INVALID_PARAMS
    reply = await client.ask("tasks/update", {"taskId": id, "inputResponses": {}})
    assert reply.error["code"] == METHOD_NOT_FOUND


async def test_over_http_nobody_lists_tasks_of_everybody(client: SessionTasks) -> None:
    """R-378."""
    assert (await client.ask("tasks/list", {})).error["code"] == METHOD_NOT_FOUND


async def test_the_question_comes_on_the_stream_of_the_result(app: TaskApp, client: SessionTasks) -> None:
    """R-374, R-376: a request that names the task; its answer lets the handler go on."""
    task = await client.call("confirm", name="go")
    await until_status(client, task["taskId"], "input_required")
    message = request_of("tasks/result", {"taskId": task["taskId"]}, 9, None)
    connection = AsgiConnection(app, mcp_session_id=client.token)
    stream = connection.post(message)
    question = await stream.message()
    assert question["method"] == "elicitation/create"
    assert question["params"]["_meta"][RELATED] == {"taskId": task["taskId"]}
    answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"value": True}}}
    await connection.post(answer).wait_for_end()
    result = (await stream.message())["result"]
    assert text_of(result) == "go accept True"
    assert result["_meta"][RELATED] == {"taskId": task["taskId"]}


async def test_a_client_that_refuses_to_answer(app: TaskApp, client: SessionTasks) -> None:
    task = await client.call("confirm", name="go")
    message = request_of("tasks/result", {"taskId": task["taskId"]}, 9, None)
    connection = AsgiConnection(app, mcp_session_id=client.token)
    stream = connection.post(message)
    question = await stream.message()
    refusal = {"jsonrpc": "2.0", "id": question["id"], "error": {"code": -1, "message": "no"}}
    await connection.post(refusal).wait_for_end()
    assert text_of((await stream.message())["result"]) == "go cancel"


async def test_the_session_hears_of_its_tasks(app: TaskApp, client: SessionTasks) -> None:
    """R-373, R-376, R-379: status, progress and log messages, on the stream of the session."""
    stream = AsgiConnection(app, mcp_session_id=client.token, accept="text/event-stream").start("GET")
    assert await stream.wait_for_status() == 200
    params = {"name": "report", "arguments": {"name": "r"}, "task": {}}
    message = request_of("tools/call", params, 5, {"progressToken": "p"})
    created = (await client.client.post(message, mcp_session_id=client.token)).result["task"]
    told = [await stream.message(), await stream.message()]
    assert {each["method"] for each in told} == {"notifications/progress", "notifications/message"}
    assert all(each["params"]["_meta"][RELATED] == {"taskId": created["taskId"]} for each in told)
    app.gate("r").set()
    while (last := await stream.message())["method"] != "notifications/tasks/status":
        pass
    if last["params"]["status"] == "working":
        last = await stream.message()
    assert (last["params"]["taskId"], last["params"]["status"]) == (created["taskId"], "completed")
    stream.leave()


async def until_status(client: SessionTasks, id: str, status: str) -> None:
    """Look until a task has a status."""
    async with asyncio.timeout(10):
        while (await client.get(id))["status"] != status:
            await asyncio.sleep(0.02)


async def test_the_official_client_lists_its_tasks_over_a_pipe() -> None:
    """R-370, R-378: over a pipe the caller can be told from others."""
    app = TaskApp()
    async with connect(app, era="session") as client:
        declared = client.server_capabilities.tasks
        assert declared is not None
        assert declared.model_dump(exclude_none=True) == {
            "list": {},
            "cancel": {},
            "requests": {"tools": {"call": {}}},
        }


async def test_who_asks_for_a_task_gets_one_at_once(client: SessionTasks) -> None:
    """R-372: also of a tool whose calls become tasks after a while."""
    task = await client.call("quick_or_slow", name="")
    assert text_of((await client.ask("tasks/result", {"taskId": task["taskId"]})).result) == "quick done"


def test_numbers_are_above_zero() -> None:
    for options in ({"ttl": 0}, {"poll_interval": -1}, {"max_running": True}, {"limit": float("inf")}):
        with pytest.raises(ValueError, match="above 0"):
            TasksExtension(**options)
