"""Whatever a handler raises, whoever called has exactly one outcome, and the server lives on (D33, R-719).

A matrix of what is raised and where, over real sockets and pipes. Each outcome is masked: the id in it leads to
the log, and nothing of what was raised reaches the client.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.wire.revisions import HANDSHAKE
from support.exchanges import Message
from support.harness import CLIENT_KINDS, HttpMcpClient, McpClient, Serving, open_client
from support.http_client.connection import BOTH, Http, request_of
from support.servers.processes import ROOT
from support.servers.raising_server import DONE, RAISED, WAY, WAYS, WHERE, end, raising_app

SCRIPT = ROOT / "tests/support/servers/raising_server.py"

MASKED_RESULT = re.compile(r"Tool '\w+' failed with an internal error \(id [0-9a-f]{12}\)\.")
MASKED_ERROR = re.compile(r"Internal error \(id [0-9a-f]{12}\)")

IN_ANY_WAY = ["at_once", "later", "reporting", "depending", "once", "together"]
"""Tools that take the way as an argument."""

ROUNDABOUT = ["prompting", "reading"]
"""Tools that end in what they call; the error of that is the error of the whole."""

JSON, STREAM = "application/json", "text/event-stream"


@pytest.fixture(scope="module")
def served() -> Iterator[Serving]:
    with Serving(raising_app()) as serving:
        yield serving


@pytest.fixture(scope="module")
def http(served: Serving) -> Http:
    return served.http


@pytest.fixture(params=CLIENT_KINDS, scope="module")
def client(request: pytest.FixtureRequest, served: Serving) -> Iterator[McpClient]:
    with open_client(request.param, served.http, SCRIPT) as client:
        yield client


def check_masked(response: Message | None) -> None:
    """Check that a response is the one outcome of a failure that nobody planned."""
    assert response is not None, "no outcome"
    if "error" in response:
        assert response["error"]["code"] == -32603
        assert MASKED_ERROR.fullmatch(response["error"]["message"]), response
    else:
        assert response["result"]["isError"] is True
        (block,) = response["result"]["content"]
        assert MASKED_RESULT.fullmatch(block["text"]), response
    assert "swordfish" not in str(response)


def check_cancelled(response: Message | None) -> None:
    """Check the outcome of a request that was cancelled by nobody knows whom."""
    assert response is not None, "no outcome"
    assert re.fullmatch(
        r"The request was cancelled on the server \(id [0-9a-f]{12}\)", response["error"]["message"]
    )


def check(client: McpClient, way: str, response: Message | None) -> None:
    """Check the one outcome of a way to end."""
    if way == "cancelled-by-its-child" and client.over_http:  # whose task may be its host's to cancel
        check_cancelled(response)
    else:
        check_masked(response)


def check_alive(client: McpClient) -> None:
    assert client.call("echo", text="still here").text == "still here"


class TestEveryWay:
    @pytest.mark.parametrize("way", WAYS)
    def test_in_tools(self, client: McpClient, way: str) -> None:
        for tool in IN_ANY_WAY:
            outcome = client.call(tool, way=way)
            check(client, way, outcome.response)
            if way != "cancelled-by-its-child":
                assert "result" in (outcome.response or {}), "the model reads of it"
        check_alive(client)

    @pytest.mark.parametrize("way", RAISED)
    def test_in_threads(self, client: McpClient, way: str) -> None:
        check(client, way, client.call("plain", way=way).response)
        check_alive(client)

    @pytest.mark.parametrize("way", WAYS)
    def test_in_what_a_tool_calls(self, client: McpClient, way: str) -> None:
        for tool in ROUNDABOUT:
            check(client, way, client.call(tool, way=way).response)
        check_alive(client)

    @pytest.mark.parametrize("way", WAYS)
    def test_in_resources_prompts_and_completions(self, client: McpClient, way: str) -> None:
        prompt = {"type": "ref/prompt", "name": "ends"}
        completion = {"ref": prompt, "argument": {"name": "way", "value": way}}
        check(client, way, client.ask("resources/read", {"uri": f"odd://{way}"}).response)
        check(client, way, client.ask("prompts/get", {"name": "ends", "arguments": {"way": way}}).response)
        check(client, way, client.ask("completion/complete", completion).response)
        check_alive(client)

    @pytest.mark.parametrize("way", WAYS)
    def test_in_middleware(self, client: McpClient, way: str) -> None:
        for where in ("middleware", "middleware, on the way back"):
            for method, params in (
                ("tools/list", {}),
                ("tools/call", {"name": "echo", "arguments": {"text": "x"}}),
            ):
                check(client, way, client.ask(method, params, meta={WAY: way, WHERE: where}).response)
        check_alive(client)

    @pytest.mark.parametrize("way", WAYS)
    def test_in_dependencies(self, client: McpClient, way: str) -> None:
        plainly = ("entering_plainly", "leaving_plainly") if way in RAISED else ()
        for tool in ("entering", "leaving", *plainly):
            check(client, way, client.call(tool, meta={WAY: way}).response)
        check_alive(client)

    @pytest.mark.parametrize("way", RAISED)
    def test_in_lookups_of_secrets(self, client: McpClient, way: str) -> None:
        check(client, way, client.call(f"secret_{way.replace('-', '_')}").response)
        check_alive(client)


class TestAnswerModes:
    """Over HTTP the outcome comes in the form that the answer has taken, in every revision."""

    @pytest.mark.parametrize("way", ["base", "cancels-itself", "generator-exit", "interrupt"])
    @pytest.mark.parametrize("accept", [JSON, STREAM, BOTH])
    @pytest.mark.parametrize("revision", [each for each in HANDSHAKE if each >= "2025-03-26"])
    def test_in_a_session(self, http: Http, revision: str, accept: str, way: str) -> None:
        session = http.initialize(revision)
        for tool in ("at_once", "later", "reporting"):
            params = {"name": tool, "arguments": {"way": way}}
            reply = session.ask("tools/call", params, accept=accept)
            assert reply.status == 200
            check_masked(reply.response)
        assert session.call("echo", text="here").result["content"][0]["text"] == "here"

    @pytest.mark.parametrize("way", ["base", "cancels-itself", "generator-exit", "interrupt"])
    @pytest.mark.parametrize("accept", [JSON, STREAM, BOTH])
    def test_stateless(self, http: Http, accept: str, way: str) -> None:
        for tool in ("at_once", "later", "reporting"):
            reply = http.modern("tools/call", {"name": tool, "arguments": {"way": way}}, accept=accept)
            check_masked(reply.response)

    @pytest.mark.parametrize("way", WAYS)
    def test_a_batch_loses_no_other_result(self, http: Http, way: str) -> None:
        """R-340, S50: each request of a batch has a response of its own."""
        session = http.initialize("2025-03-26")
        good = {"name": "echo", "arguments": {"text": "good"}}
        calls = [request_of("tools/call", good, 1, None)]
        for number, tool in enumerate(("at_once", "later", "reporting"), 2):
            calls.append(request_of("tools/call", {"name": tool, "arguments": {"way": way}}, number, None))
        calls.append(request_of("tools/call", good, 5, None))
        responses = {each["id"]: each for each in session.post(calls).messages if "method" not in each}
        assert sorted(responses) == [1, 2, 3, 4, 5]
        for id in (1, 5):
            assert responses[id]["result"]["content"][0]["text"] == "good"
        for id in (2, 3, 4):
            check_masked(responses[id])

    @pytest.mark.parametrize("way", [*RAISED, *DONE])
    def test_a_stream_that_was_cut_has_its_outcome_when_it_is_resumed(self, http: Http, way: str) -> None:
        """R-351: the outcome is in the event log, whoever is there to read it."""
        session = http.initialize()
        cut = session.start("tools/call", {"name": "reporting", "arguments": {"way": way}})
        last_id = next(line[4:] for line in cut.lines() if line.startswith(b"id: ")).decode()
        cut.cut()
        fields: dict[str, Any] = {"mcp-session-id": session.token, "last-event-id": last_id, "accept": STREAM}
        resumed = http.start("GET", b"", fields)
        resumed.asked.note(request_of("tools/call", {}, 1, None))
        check(HttpMcpClient(http, session), way, resumed.read().response)


def test_the_log_has_the_whole(client: McpClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("ERROR", "enfilade"):
        text = client.call("at_once", way="panic").text
    id = re.findall(r"[0-9a-f]{12}", text)[0]
    if isinstance(client, HttpMcpClient):
        (record,) = caplog.records
        assert id in record.getMessage()
        assert record.exc_info is not None
        assert "swordfish" in str(record.exc_info[1])


@pytest.mark.parametrize(
    ("kind", "text"), [("one", "City not found: try 'Bern'"), ("two", "first\nsecond"), ("mixed", None)]
)
def test_what_tasks_side_by_side_tell_the_model(client: McpClient, kind: str, text: str | None) -> None:
    """A group of nothing but `ToolError` is their texts; one with anything else is masked."""
    outcome = client.call("groups", kind=kind)
    if text is None:
        check_masked(outcome.response)
    else:
        assert outcome.result["isError"] is True
        assert outcome.text == text


@pytest.mark.parametrize("way", [*RAISED, "cancels-itself", "waits-for-the-cancelled"])
def test_a_lifespan_that_is_started_late(way: str) -> None:
    """By the first request, where the host says nothing of it: each request is answered, none waits for ever."""
    begun = 0

    @asynccontextmanager
    async def lifespan(_: MCPApp) -> AsyncIterator[None]:
        nonlocal begun
        begun += 1
        if begun < 3:
            await end(way)
        yield

    with Serving(MCPApp("late", lifespan=lifespan), lifespan="off") as serving:
        for _ in range(2):
            reply = serving.http.modern("tools/list")
            assert (reply.status, reply.response["id"]) == (500, None)
            check_masked(reply.response)
        assert serving.http.modern("tools/list").result["tools"] == []
