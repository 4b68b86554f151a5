"""What is around the handler of a task: middleware, the principal, and what is sent before the call is a task."""

import json
import logging
from typing import Any

import pytest

from enfilade import Context
from enfilade.extensions import MethodHandler, Request
from enfilade.serving.principal import Principal
from enfilade.transports.asgi import PRINCIPAL_KEY
from extensions.tasks.test_session_tasks import RELATED, SessionTasks
from support.http_client.asgi_connection import AsgiConnection
from support.http_client.connection import request_of
from support.servers.task_server import StatelessTasks, TaskApp, text_of

pytestmark = pytest.mark.anyio


async def test_each_run_passes_middleware_with_the_arguments_of_the_client() -> None:
    """Middleware that changes arguments would else change them once more with each run."""

    async def add_one(request: Request, call_next: MethodHandler) -> Any:
        if request.method == "tools/call" and request.params.name == "alias":
            request.params.name = "count"
            request.params.arguments = {"number": json.loads(bytes(request.params.arguments))["number"] + 1}
            request.state["mark"] = "middleware"
        return await call_next(request)

    app, runs = TaskApp(middleware=[add_one]), []

    async def count(number: int, ctx: Context) -> str:
        """Sleep between two runs."""
        runs.append((number, ctx.request_data["mark"]))
        await ctx.sleep(1.2)
        return f"number {number}"

    app.add_tool(count, task="optional", durable=True)
    async with app.running():
        client = StatelessTasks(app)
        task = await client.until((await client.call("alias", number=1))["taskId"], "completed")
    assert text_of(task["result"]) == "number 2"
    assert runs == [(2, "middleware")] * 2


async def test_claims_that_json_cannot_hold_are_left_out_of_later_runs() -> None:
    """A host may say anything of its users; a later run has what can be kept."""
    principal = Principal("ada", claims={"team": "analytics", "session": object()})
    app, seen = TaskApp(), []

    async def claims(ctx: Context) -> str:
        """Sleep between two runs."""
        assert ctx.principal is not None
        seen.append(sorted(ctx.principal.claims))
        await ctx.sleep(1.2)
        return "done"

    async def served(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {PRINCIPAL_KEY: principal}}, receive, send)

    app.add_tool(claims, task="optional", durable=True)
    async with app.running():
        client = StatelessTasks(served)
        await client.until((await client.call("claims"))["taskId"], "completed")
    assert seen == [["session", "team"], ["team"]]


async def test_a_run_that_waits_is_not_recorded_as_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "enfilade.requests")
    app = TaskApp()

    async def naps(ctx: Context) -> str:
        """Sleep twice, so that the second run ends in a sleep."""
        await ctx.sleep(1.1)
        await ctx.sleep(1.2)
        return "rested"

    app.add_tool(naps, task="optional", durable=True)
    async with app.running():
        client = StatelessTasks(app)
        await client.until((await client.call("naps"))["taskId"], "completed")
    lines = [record.getMessage() for record in caplog.records if "tools/call naps" in record.getMessage()]
    assert len(lines) == 3
    assert not [line for line in lines if "cancelled" in line]


class TestFirstMessages:
    """A handler reports before its call has become a task: that is not lost."""

    async def early(self, ctx: Context) -> str:
        """Report at once."""
        await ctx.progress.report(1, 2, "begun")
        await ctx.log.info("logged")
        await ctx.elicit("on?", bool)
        return "done"

    async def test_as_the_status_message(self) -> None:
        """X-TASK-12."""
        app = TaskApp()
        app.add_tool(self.early, task="optional")
        async with app.running():
            client = StatelessTasks(app)
            created = await client.call("early")
            task = await client.until(created["taskId"], lambda task: "statusMessage" in task)
            assert task["statusMessage"] == "begun"

    async def test_to_the_session(self) -> None:
        """R-376, R-379."""
        app = TaskApp()
        app.add_tool(self.early, task="optional")
        async with app.running():
            client = await SessionTasks.open(app)
            stream = AsgiConnection(app, mcp_session_id=client.token, accept="text/event-stream").start("GET")
            assert await stream.wait_for_status() == 200
            params = {"name": "early", "arguments": {}, "task": {}}
            message = request_of("tools/call", params, 5, {"progressToken": "p"})
            created = (await client.client.post(message, mcp_session_id=client.token)).result["task"]
            told = [await stream.message(), await stream.message()]
            assert [each["method"] for each in told] == ["notifications/progress", "notifications/message"]
            assert all(each["params"]["_meta"][RELATED] == {"taskId": created["taskId"]} for each in told)
            stream.leave()
