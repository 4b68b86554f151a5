"""Tasks of 2026-07-28 (SEP-2663), over HTTP, in the process of the test."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from enfilade.wire.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CLIENT_CAPABILITY
from support.servers.task_server import (
    ABLE,
    TASKS,
    StatelessTasks,
    TaskApp,
    accept,
    as_user,
    listen,
    text_of,
)
from support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def app() -> AsyncIterator[TaskApp]:
    app = TaskApp()
    async with app.running():
        yield app


@pytest.fixture
def client(app: TaskApp) -> StatelessTasks:
    return StatelessTasks(app)


class TestCreation:
    async def test_a_call_becomes_a_task_and_comes_to_its_result(
        self, app: TaskApp, client: StatelessTasks
    ) -> None:
        """R-580, R-582, R-583, X-TASK-6, X-TASK-7, X-TASK-8, X-TASK-13."""
        created = await client.call("work", name="a")
        assert created["resultType"] == "task"
        assert created["status"] == "working"
        assert re.fullmatch("[0-9a-f]{32}", created["taskId"])
        assert isinstance(created["ttlMs"], int)
        assert created["ttlMs"] > 0
        assert created["pollIntervalMs"] == 100
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created["createdAt"])
        foreign = {"task", "ttl", "pollInterval", "requestState", "result", "error", "inputRequests"}
        assert not foreign & created.keys()
        task = await client.get(created["taskId"])
        assert (task["resultType"], task["status"], task["createdAt"]) == (
            "complete",
            "working",
            created["createdAt"],
        )
        app.gate("a").set()
        task = await client.until(created["taskId"], "completed")
        assert text_of(task["result"]) == "a done"
        assert "io.modelcontextprotocol/related-task" not in task["result"].get("_meta", {})
        assert "error" not in task
        assert task["lastUpdatedAt"] >= task["createdAt"]

    async def test_without_the_declaration_it_runs_as_usual(self, app: TaskApp, client: StatelessTasks) -> None:
        """R-581, X-TASK-4: the declaration counts for one request."""
        app.gate("a").set()
        assert (await client.call("work", name="a"))["resultType"] == "task"
        reply = await client.ask("tools/call", {"name": "work", "arguments": {"name": "a"}}, {})
        assert text_of(reply.result) == "a done"

    async def test_a_tool_that_requires_tasks(self, client: StatelessTasks) -> None:
        """X-TASK-4: -32021 names the extension."""
        reply = await client.ask("tools/call", {"name": "first_ask", "arguments": {}}, {"elicitation": {}})
        assert (reply.status, reply.error["code"]) == (400, MISSING_CLIENT_CAPABILITY)
        assert reply.error["data"]["requiredCapabilities"] == {"extensions": {TASKS: {}}}

    async def test_a_tool_that_is_none_ignores_both_dialects(self, client: StatelessTasks) -> None:
        """X-TASK-14, X-TASK-15, R-588."""
        reply = await client.ask("tools/call", {"name": "plain", "arguments": {}, "task": {"ttl": 1000}})
        assert (reply.result["resultType"], text_of(reply.result)) == ("complete", "plain")
        created = (await client.ask("tools/call", {"name": "fail", "arguments": {}, "task": {"ttl": 1}})).result
        assert (created["resultType"], created["ttlMs"]) == ("task", 3_600_000)

    async def test_questions_that_are_returned_come_before_the_task(self, client: StatelessTasks) -> None:
        """X-TASK-10, R-58A."""
        params: dict[str, Any] = {"name": "first_ask", "arguments": {}}
        first = (await client.ask("tools/call", params)).result
        assert first["resultType"] == "input_required"
        assert "taskId" not in first
        assert list(first["inputRequests"]) == ["user_name"]
        params |= {"requestState": first["requestState"], "inputResponses": {"user_name": accept(name="Ada")}}
        created = (await client.ask("tools/call", params)).result
        assert created["resultType"] == "task"
        task = await client.until(created["taskId"], "completed")
        assert text_of(task["result"]) == "Hello, Ada"

    async def test_a_call_becomes_a_task_after_a_while(self, app: TaskApp, client: StatelessTasks) -> None:
        assert text_of(await client.call("quick_or_slow", name="")) == "quick done"
        created = await client.call("quick_or_slow", name="slow")
        assert created["resultType"] == "task"
        app.gate("slow").set()
        assert text_of((await client.until(created["taskId"], "completed"))["result"]) == "slow done"

    async def test_a_plain_function_runs_as_a_task(self) -> None:
        other = TaskApp()

        def slow() -> str:
            """Run in a thread."""
            return "from a thread"

        other.add_tool(slow, task="optional")
        async with other.running():
            client = StatelessTasks(other)
            created = await client.call("slow")
            assert text_of((await client.until(created["taskId"], "completed"))["result"]) == "from a thread"


class TestEnds:
    async def test_a_failing_tool_completes(self, client: StatelessTasks) -> None:
        """R-586."""
        created = await client.call("fail")
        task = await client.until(created["taskId"], "completed")
        assert task["result"]["isError"] is True
        assert text_of(task["result"]) == "it failed"

    async def test_an_error_of_the_protocol_fails(self, client: StatelessTasks) -> None:
        """R-586, X-TASK-6: the error object, a status message, no result."""
        created = await client.call("break_protocol")
        task = await client.until(created["taskId"], "failed")
        assert task["error"] == {"code": -32000, "message": "no luck", "data": {"why": "unknown"}}
        assert task["statusMessage"] == "no luck"
        assert "result" not in task

    async def test_cancelling(self, app: TaskApp, client: StatelessTasks) -> None:
        """R-584, X-TASK-5: the handler is stopped; again it is acknowledged, and stays."""
        created = await client.call("work", name="b")
        acknowledged = await client.cancel(created["taskId"])
        assert acknowledged == {"resultType": "complete", "_meta": acknowledged["_meta"]}
        task = await client.get(created["taskId"])
        assert task["status"] == "cancelled"
        await until(lambda: "b cancelled" in app.effects)
        app.gate("b").set()
        assert (await client.cancel(created["taskId"]))["resultType"] == "complete"
        assert (await client.get(created["taskId"]))["status"] == "cancelled"
        done = await client.call("fail")
        await client.until(done["taskId"], "completed")
        await client.cancel(done["taskId"])
        assert (await client.get(done["taskId"]))["status"] == "completed"

    async def test_the_notification_of_cancelled_requests_cancels_no_task(
        self, app: TaskApp, client: StatelessTasks
    ) -> None:
        """R-588."""
        created = await client.call("work", name="c")
        message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        await client.client.post(message, mcp_protocol_version="2026-07-28", mcp_method="notifications/cancelled")
        assert (await client.get(created["taskId"]))["status"] == "working"
        app.gate("c").set()
        await client.until(created["taskId"], "completed")


class TestQuestions:
    async def test_a_question_waits_with_the_task(self, client: StatelessTasks) -> None:
        """X-TASK-10, R-583, R-584."""
        created = await client.call("confirm", name="go")
        task = await client.until(created["taskId"], "input_required")
        [(key, request)] = task["inputRequests"].items()
        assert (request["method"], request["params"]["message"]) == ("elicitation/create", "go?")
        assert await client.update(created["taskId"], other=accept(value=True)) is not None
        assert (await client.get(created["taskId"]))["status"] == "input_required"
        await client.update(created["taskId"], **{key: accept(value=True)})
        task = await client.until(created["taskId"], "completed")
        assert text_of(task["result"]) == "go accept True"
        assert (await client.update(created["taskId"], **{key: accept(value=False)}))["resultType"] == "complete"
        assert text_of((await client.get(created["taskId"]))["result"]) == "go accept True"

    async def test_partial_answers_leave_the_rest(self, client: StatelessTasks) -> None:
        """X-TASK-10, X-TASK-11, R-585: no key is used twice."""
        created = await client.call("two_questions")
        id = created["taskId"]
        task = await client.until(id, "input_required")
        keys = list(task["inputRequests"])
        assert len(keys) == 2
        await client.update(id, **{keys[0]: accept(value="one")})
        task = await client.get(id)
        assert (task["status"], list(task["inputRequests"])) == ("input_required", [keys[1]])
        await client.update(id, **{keys[1]: accept(value="two")})
        task = await client.until(id, lambda task: keys[1] not in task.get("inputRequests", {"": 1, keys[1]: 1}))
        [third] = task["inputRequests"]
        assert third not in keys
        await client.update(id, **{third: accept(value="three"), keys[0]: accept(value="again")})
        assert text_of((await client.until(id, "completed"))["result"]) == "one two three"

    async def test_an_answer_of_the_wrong_form_is_refused(self, client: StatelessTasks) -> None:
        created = await client.call("confirm", name="go")
        task = await client.until(created["taskId"], "input_required")
        [key] = task["inputRequests"]
        params = {"taskId": created["taskId"], "inputResponses": {key: {"action": "maybe"}}}
        reply = await client.ask("tasks/update", params)
        assert reply.error["code"] == INVALID_PARAMS
        assert key in reply.error["message"]
        assert (await client.get(created["taskId"]))["status"] == "input_required"

    async def test_a_client_that_cannot_be_asked(self, client: StatelessTasks) -> None:
        client.capabilities = {"extensions": {TASKS: {}}}
        created = await client.call("confirm", name="go")
        task = await client.until(created["taskId"], "failed")
        assert task["error"]["code"] == MISSING_CLIENT_CAPABILITY


class TestRefusals:
    async def test_methods_need_the_declaration(self, client: StatelessTasks) -> None:
        """R-587, X-TASK-3: headers come first, then the declaration, then params, then the task."""
        for method, more in (("tasks/get", {}), ("tasks/cancel", {}), ("tasks/update", {"inputResponses": {}})):
            params = {"taskId": "unknown", **more}
            reply = await client.ask(method, params, {}, mcp_name="other")
            assert (reply.status, reply.error["code"]) == (400, -32020)
            reply = await client.ask(method, params, {})
            assert (reply.status, reply.error["code"]) == (400, MISSING_CLIENT_CAPABILITY)
            assert (await client.ask(method, {}, {})).error["code"] == MISSING_CLIENT_CAPABILITY
            assert (await client.ask(method, {**more})).error["code"] == INVALID_PARAMS
            reply = await client.ask(method, params)
            assert (reply.status, reply.error["code"]) == (200, INVALID_PARAMS)
        assert (await client.ask("tasks/update", {"taskId": "unknown"})).error["code"] == INVALID_PARAMS

    async def test_methods_of_the_other_dialect_do_not_exist(self, client: StatelessTasks) -> None:
        """X-TASK-15, R-588."""
        for method in ("tasks/list", "tasks/result"):
            reply = await client.ask(method, {"taskId": "unknown"})
            assert (reply.status, reply.error["code"]) == (404, METHOD_NOT_FOUND)

    async def test_it_is_declared_for_2026_alone(self, app: TaskApp, client: StatelessTasks) -> None:
        """X-TASK-1, R-58C, R-370."""
        discovered = (await client.ask("server/discover", {})).result["capabilities"]
        assert discovered["extensions"] == {TASKS: {}}
        assert "tasks" not in discovered
        opened = (await client.client.initialize("2025-11-25")).result["capabilities"]
        assert "extensions" not in opened
        assert opened["tasks"] == {"cancel": {}, "requests": {"tools": {"call": {}}}}
        assert "tasks" not in (await client.client.initialize("2025-06-18")).result["capabilities"]

    async def test_as_many_as_may_be(self) -> None:
        app = TaskApp(limits={"own_limit": 2, "max_running": 3})
        async with app.running():
            client = StatelessTasks(app)
            for name in ("a", "b"):
                await client.call("work", name=name)
            error = (await client.ask("tools/call", {"name": "work", "arguments": {"name": "c"}})).error
            assert "2 tasks of one caller are kept" in error["message"]
            await until(lambda: "c cancelled" in app.effects)


class TestMessages:
    async def test_progress_becomes_the_status_message(self, app: TaskApp, client: StatelessTasks) -> None:
        """X-TASK-12: nothing is sent, and the text is kept."""
        reply = await client.ask("tools/call", {"name": "report", "arguments": {"name": "r"}})
        created = reply.result
        assert [message for message in reply.messages if "method" in message] == []
        await client.until(created["taskId"], lambda task: task.get("statusMessage") == "r half")
        app.gate("r").set()
        await client.until(created["taskId"], "completed")


class TestListening:
    async def test_changes_are_told(self, app: TaskApp) -> None:
        """X-TASK-2, X-TASK-12, R-589: the whole task, with the id of the listen."""
        client = StatelessTasks(app)
        id = (await client.call("confirm", name="go"))["taskId"]
        stream = listen(app, [id, "unknown"], ABLE)
        acknowledged = await stream.message()
        assert acknowledged["params"]["notifications"] == {"taskIds": [id]}
        seen = [(await stream.message())["params"]]
        while seen[-1]["status"] != "input_required":
            seen.append((await stream.message())["params"])
        [key] = seen[-1]["inputRequests"]
        await client.update(id, **{key: accept(value=True)})
        while seen[-1]["status"] != "completed":
            seen.append((await stream.message())["params"])
        assert text_of(seen[-1]["result"]) == "go accept True"
        assert {task["_meta"]["io.modelcontextprotocol/subscriptionId"] for task in seen} == {"listen"}
        stream.leave()

    async def test_without_the_declaration_it_is_refused(self, client: StatelessTasks) -> None:
        """X-TASK-2."""
        reply = await client.ask("subscriptions/listen", {"notifications": {"taskIds": ["a"]}}, {})
        assert (reply.status, reply.error["code"]) == (400, MISSING_CLIENT_CAPABILITY)
        assert reply.error["data"]["requiredCapabilities"] == {"extensions": {TASKS: {}}}


class TestOwners:
    async def test_a_task_of_somebody_else_does_not_exist(self) -> None:
        """R-58B, X-TASK-13."""
        app = TaskApp()
        async with app.running():
            ada = StatelessTasks(as_user(app, "ada"))
            bob = StatelessTasks(as_user(app, "bob"))
            id = (await ada.call("work", name="a"))["taskId"]
            assert (await ada.get(id))["status"] == "working"
            for method, more in (
                ("tasks/get", {}),
                ("tasks/cancel", {}),
                ("tasks/update", {"inputResponses": {}}),
            ):
                foreign = (await bob.ask(method, {"taskId": id, **more})).error
                unknown = (await bob.ask(method, {"taskId": "0" * 32, **more})).error
                assert foreign == unknown
            assert (await ada.get(id))["status"] == "working"
