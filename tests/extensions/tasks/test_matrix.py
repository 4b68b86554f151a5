"""Tasks of both dialects in each cell of the matrix: every kind of store, one worker and four that take turns.

Each request meets another worker than the one before, so a task seldom runs where it is looked at. Easy to get
wrong: a cell in which one worker serves all. `check_turns` says so.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from enfilade.wire.jsonrpc import INVALID_PARAMS
from support.http_client.connection import PendingReply
from support.http_client.resuming_client import get_stream
from support.http_client.task_client import FINAL, RELATED, SessionTaskClient, TaskClient
from support.servers.processes import ROOT
from support.stores.matrix import Cell, Cells, chosen_cells

SERVER = ROOT / "tests/support/faults/task_server.py"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cells]:
    """Serves the tools; in the end, whatever left the servers must have been legal."""
    with Cells(tmp_path_factory.mktemp("cells"), {"TASKS_USERS": "1"}) as cells:
        yield cells
    cells.validate_logs()


@pytest.fixture(scope="module", params=chosen_cells(), ids=lambda cell: cell.name)
def served(request: pytest.FixtureRequest, cells: Cells) -> Iterator[tuple[Cell, int]]:
    """The servers of a cell: what they are, and their port."""
    with cells.serve(request.param, SERVER) as url:
        yield request.param, int(urlsplit(url).port or 0)


def text_of(result: dict[str, Any]) -> str:
    text: str = result["content"][0]["text"]
    return text


def check_turns(served: tuple[Cell, int], client: TaskClient | SessionTaskClient) -> None:
    """Fail unless the workers have taken turns."""
    if served[0].workers > 1:
        assert len(set(client.served_by)) > 1


class TestStateless:
    """2026-07-28."""

    @pytest.fixture
    def client(self, served: tuple[Cell, int]) -> TaskClient:
        return TaskClient(served[1], x_user="ada")

    def test_a_task_and_its_result(self, served: tuple[Cell, int], client: TaskClient) -> None:
        """R-580, R-582, R-583: any worker knows it as soon as the client has its id."""
        created = client.call("work", name="w", pause=0.2)
        assert created["resultType"] == "task"
        assert client.get(created["taskId"])["status"] == "working"
        task = client.until(created["taskId"], FINAL)
        assert (task["status"], text_of(task["result"])) == ("completed", "w done")
        assert client.get(created["taskId"]) == task
        check_turns(served, client)

    @pytest.mark.parametrize("tool", ["confirm", "order"])
    def test_questions(self, served: tuple[Cell, int], client: TaskClient, tool: str, tmp_path: Path) -> None:
        """R-583, R-584: the answer comes to another worker than the one that asks; also to a durable task."""
        more = {"ledger": str(tmp_path / "ledger")} if tool == "order" else {}
        id = client.call(tool, name="q", **more)["taskId"]
        task = client.until(id, {"input_required"})
        assert client.answer(id, task).status == 200
        task = client.until(id, FINAL)
        assert (task["status"], text_of(task["result"])) == ("completed", "q accept")
        if more:
            assert Path(more["ledger"]).read_text("utf-8").splitlines() == ["q 0", "q 1"]
        check_turns(served, client)

    def test_a_journey(self, client: TaskClient, tmp_path: Path) -> None:
        """A durable task that sleeps goes on at any worker, and does nothing twice."""
        ledger = tmp_path / "ledger"
        id = client.call("journey", name="j", ledger=str(ledger), steps=2, pause=0.01)["taskId"]
        assert text_of(client.until(id, FINAL)["result"]) == "j done"
        assert ledger.read_text("utf-8").splitlines() == ["j 0", "j 1"]

    def test_cancelling(self, served: tuple[Cell, int], client: TaskClient) -> None:
        """X-TASK-5: wherever it runs; once more is acknowledged."""
        id = client.call("hold", name="h")["taskId"]
        for _ in range(2):
            assert client.ask("tasks/cancel", {"taskId": id}).status == 200
            assert client.get(id)["status"] == "cancelled"
        check_turns(served, client)

    def test_listening(self, client: TaskClient) -> None:
        """X-TASK-2, R-589: a worker that does not run the task tells of its changes."""
        id = client.call("confirm", name="l")["taskId"]
        with client.start("subscriptions/listen", {"notifications": {"taskIds": [id]}}) as stream:
            statuses = []
            for message in stream.events():
                if message["method"] == "notifications/tasks":
                    task = message["params"]
                    if task["status"] not in statuses:
                        statuses.append(task["status"])
                        if task["status"] == "input_required":
                            client.answer(id, task)
                    if task["status"] in FINAL:
                        break
        assert statuses[-1] == "completed"
        assert "input_required" in statuses

    def test_others_do_not_see_it(self, served: tuple[Cell, int], client: TaskClient) -> None:
        """R-58B, X-TASK-13."""
        id = client.call("hold", name="o")["taskId"]
        other = TaskClient(served[1], x_user="bob")
        assert other.ask("tasks/get", {"taskId": id}).error["code"] == INVALID_PARAMS
        assert other.ask("tasks/cancel", {"taskId": id}).error["code"] == INVALID_PARAMS
        client.ask("tasks/cancel", {"taskId": id})


class TestSession:
    """2025-11-25."""

    @pytest.fixture
    def client(self, served: tuple[Cell, int]) -> SessionTaskClient:
        return SessionTaskClient(served[1], x_user="ada")

    def test_a_task_and_its_result(self, served: tuple[Cell, int], client: SessionTaskClient) -> None:
        """R-372, R-374: another worker than the one that runs it waits for the result."""
        id = client.call("work", name="w", pause=0.2)["taskId"]
        assert client.get(id)["status"] == "working"
        result = client.ask("tasks/result", {"taskId": id}).result
        assert (text_of(result), result["_meta"][RELATED]) == ("w done", {"taskId": id})
        assert client.get(id)["status"] == "completed"
        check_turns(served, client)

    @pytest.mark.parametrize("tool", ["confirm", "order"])
    def test_questions(
        self, served: tuple[Cell, int], client: SessionTaskClient, tool: str, tmp_path: Path
    ) -> None:
        """R-374, R-376: the question comes at one worker, and its answer to another."""
        more = {"ledger": str(tmp_path / "ledger")} if tool == "order" else {}
        id = client.call(tool, name="q", **more)["taskId"]
        with client.start("tasks/result", {"taskId": id}) as stream:
            question, outcome = _answered(client, stream)
        assert question["params"]["_meta"][RELATED] == {"taskId": id}
        assert text_of(outcome["result"]) == "q accept"
        if more:
            assert Path(more["ledger"]).read_text("utf-8").splitlines() == ["q 0", "q 1"]

    def test_cancelling(self, client: SessionTaskClient) -> None:
        """R-375: once more is an error, and so is the result."""
        id = client.call("hold", name="h")["taskId"]
        assert client.ask("tasks/cancel", {"taskId": id}).result["status"] == "cancelled"
        assert client.get(id)["status"] == "cancelled"
        assert client.ask("tasks/cancel", {"taskId": id}).error["code"] == INVALID_PARAMS
        assert client.ask("tasks/result", {"taskId": id}).error["code"] == -32603

    def test_listing(self, served: tuple[Cell, int]) -> None:
        """R-378: a caller sees its own, in the order of their creation, at any worker."""
        users = [SessionTaskClient(served[1], x_user=f"lister {number}") for number in range(2)]
        ids = [[user.call("hold", name=str(number))["taskId"] for number in range(3)] for user in users]
        for user, own in zip(users, ids, strict=True):
            assert [task["taskId"] for task in user.ask("tasks/list", {}).result["tasks"]] == own
            for id in own:
                user.ask("tasks/cancel", {"taskId": id})

    def test_notifications(self, client: SessionTaskClient) -> None:
        """R-373, R-376, R-379: the session's stream, at one worker, tells of a task that runs at another."""
        with get_stream(client.session, None, x_user="ada") as stream:
            assert stream.status == 200
            id = client.call("work", name="n", pause=0.2)["taskId"]
            for message in stream.events():
                if message["method"] == "notifications/tasks/status":
                    assert message["params"]["taskId"] == id
                    if message["params"]["status"] in FINAL:
                        break
        assert message["params"]["status"] == "completed"


def _answered(client: SessionTaskClient, stream: PendingReply) -> tuple[dict[str, Any], dict[str, Any]]:
    """Answer the question on a stream; return the question, and the response at the end of the stream."""
    question: dict[str, Any] = {}
    for message in stream.events():
        if message.get("method") == "elicitation/create":
            question = message
            result = {"action": "accept", "content": {"value": True}}
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            assert client.session.post(answer, x_user="ada").status == 202
        elif "method" not in message:
            return question, message
    raise AssertionError(json.dumps(question))
