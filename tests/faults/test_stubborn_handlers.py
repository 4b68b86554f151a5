"""Handlers that go on although they were cancelled hold nobody up: the caller has its outcome, and only one.

Easy to get wrong: what such a handler returns in the end. It is nobody's, and no second answer goes out for it.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from enfilade import Settings
from enfilade.timings import Timings
from support.faults.servers import LOOPS
from support.harness import CLIENT_KINDS, HttpMcpClient, McpClient, Serving, Stdio, StdioMcpClient, eventually
from support.http_client.connection import BOTH, Http, request_of
from support.servers.processes import ROOT, ServerProcess, python_command
from support.servers.raising_server import raising_app

SCRIPT = str(ROOT / "tests/support/servers/raising_server.py")

UNWINDING = 0.1
"""Seconds that a handler gets here to unwind; over stdio it is what every server gives it."""

JSON, STREAM = "application/json", "text/event-stream"

GONE = {"code": -32600, "message": "Session not found: send initialize again"}


@pytest.fixture(autouse=True, params=range(LOOPS))
def round(request: pytest.FixtureRequest) -> int:
    """Run each test as often as `make faults` asks for."""
    assert isinstance(request.param, int)
    return request.param


@contextmanager
def client_of_own_server(kind: str, **limits: float) -> Iterator[McpClient]:
    """Open a client of a server of its own, since what is stubborn stays until it is let go."""
    with ExitStack() as stack:
        if kind.startswith("http"):
            app, failed = raising_app(settings=Settings(**limits)), []
            app._timings = Timings(unwinding=UNWINDING)

            async def watched(scope: Any, receive: Any, send: Any) -> None:
                try:
                    await app(scope, receive, send)
                except Exception as error:  # such as that of a second response
                    failed.append(error)
                    raise

            http = stack.enter_context(Serving(watched)).http
            yield HttpMcpClient(http, http.initialize() if kind == "http-session" else None)
            assert failed == []
        else:
            env = {f"ENFILADE_{name.upper()}": str(value) for name, value in limits.items()}
            stdio = stack.enter_context(Stdio([sys.executable, SCRIPT, "stdio"], env))
            if kind == "stdio-session":
                stdio.initialize()
            yield StdioMcpClient(stdio, stateless=kind == "stdio-stateless")


@pytest.fixture(scope="module")
def http() -> Iterator[Http]:
    app = raising_app()
    app._timings = Timings(unwinding=UNWINDING)
    with Serving(app) as serving:
        yield serving.http
        serving.http.modern_call("let_go")


def check_silent(client: McpClient) -> None:
    """Let everything stubborn end, and check that nothing comes of it any more."""
    assert client.call("let_go").text == "done"
    outcome = client.call("echo", text="here")
    assert (outcome.text, outcome.notifications) == ("here", [])
    if isinstance(client, StdioMcpClient):
        assert client.stdio.stashed == []
        client.stdio.end()
        assert client.stdio.read_to_end() == []


@pytest.mark.parametrize("kind", CLIENT_KINDS)
@pytest.mark.parametrize("tool", ["stubborn", "stubborn_reporting", "swallow"])
def test_a_deadline_answers_all_the_same(kind: str, tool: str) -> None:
    with client_of_own_server(kind, request_timeout=0.5) as client:
        error = client.call(tool).error
        assert error == {"code": -32603, "message": "The request took longer than 0.5 seconds and was stopped"}
        assert client.call("echo", text="here").text == "here"
        check_silent(client)


@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_the_time_limit_of_a_tool_answers_all_the_same(kind: str) -> None:
    with client_of_own_server(kind) as client:
        outcome = client.call("stubborn_within_a_limit")
        assert outcome.result["isError"] is True
        assert "took longer than the 0.1 seconds it may take" in outcome.text
        check_silent(client)


@pytest.mark.parametrize("kind", ["http-session", "stdio-session"])
def test_a_client_cancels_what_goes_on(kind: str) -> None:
    """R-279, R-361: its response ends without an answer, and its id is free again."""
    with client_of_own_server(kind) as client:
        cancelled = client.start("tools/call", {"name": "stubborn", "arguments": {}}, id="again")
        client.call("echo", text="it is in flight by now")
        client.notify("notifications/cancelled", {"requestId": "again", "reason": "enough"})
        if client.over_http:
            assert cancelled().response is None
        else:

            def free() -> bool:
                answer = client.call("echo", id="again", text="free").response
                return answer is not None and "result" in answer

            eventually(free, "its id was never free")
        check_silent(client)


@pytest.mark.parametrize("kind", ["http-stateless", "stdio-stateless"])
def test_the_round_of_a_handler_that_goes_on_ends_in_its_questions(kind: str) -> None:
    """R-286: whatever the handler makes of the end of its round."""
    able = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    with client_of_own_server(kind) as client:
        result = client.call("stubborn_asking", meta=able).result
        assert result["resultType"] == "input_required"
        assert [each["params"]["message"] for each in result["inputRequests"].values()] == ["Sure?"]
        check_silent(client)


def test_a_batch_waits_for_none_of_them() -> None:
    """R-340: the others have their results, and the stubborn one its deadline."""
    with client_of_own_server("http-session", request_timeout=0.5) as client:
        assert isinstance(client, HttpMcpClient)
        for accept in (JSON, STREAM, BOTH):
            session = client.http.initialize("2025-03-26")
            good = {"name": "echo", "arguments": {"text": "good"}}
            calls = [
                request_of("tools/call", good, 1, None),
                request_of("tools/call", {"name": "stubborn", "arguments": {}}, 2, None),
                request_of("tools/call", good, 3, None),
            ]
            responses = {each["id"]: each for each in session.post(calls, accept=accept).messages}
            assert [responses[id]["result"]["content"][0]["text"] for id in (1, 3)] == ["good", "good"]
            assert responses[2]["error"]["message"] == "The request took longer than 0.5 seconds and was stopped"
        check_silent(client)


class TestDelete:
    """R-316: whoever has a call in flight when its session is ended reads so, in the form the answer has."""

    @pytest.mark.parametrize("accept", [JSON, STREAM, BOTH])
    @pytest.mark.parametrize("revision", ["2025-03-26", "2025-06-18", "2025-11-25"])
    @pytest.mark.parametrize("tool", ["swallow", "stubborn", "stubborn_reporting"])
    def test_a_call(self, http: Http, revision: str, accept: str, tool: str) -> None:
        session = http.initialize(revision)
        waiting = session.start("tools/call", {"name": tool, "arguments": {}}, accept=accept)
        session.ask("ping", id=2)
        assert session.delete().status == 204
        reply = waiting.read()
        assert reply.error == GONE
        begun = tool == "stubborn_reporting" and accept != JSON
        assert reply.status == (200 if begun else 404)

    @pytest.mark.parametrize("accept", [JSON, STREAM, BOTH])
    def test_a_batch(self, http: Http, accept: str) -> None:
        session = http.initialize("2025-03-26")
        calls: list[Any] = [
            request_of("tools/call", {"name": tool, "arguments": {}}, id, None)
            for id, tool in enumerate(("swallow", "stubborn", "stubborn_reporting"), 1)
        ]
        calls.append(request_of("tools/call", {"name": "echo", "arguments": {"text": "good"}}, 4, None))
        waiting = session.http.start_post(calls, **{**session.headers, "accept": accept})
        session.ask("ping", id=9)
        assert session.delete().status == 204
        responses = {each["id"]: each for each in waiting.read().messages if "method" not in each}
        assert [responses[id]["error"] for id in (1, 2, 3)] == [GONE] * 3
        assert responses[4]["result"]["content"][0]["text"] == "good"

    def test_a_pending_question(self, http: Http) -> None:
        session = http.initialize(capabilities={"elicitation": {}})
        waiting = session.start("tools/call", {"name": "stubborn_asking", "arguments": {}})
        events = waiting.events()
        assert next(events)["method"] == "elicitation/create"
        assert session.delete().status == 204
        *_, outcome = events
        assert outcome["error"] == GONE
        waiting.close()

    def test_who_comes_back_afterwards(self, http: Http) -> None:
        """R-315: the session is gone, and so is what it had."""
        session = http.initialize()
        waiting = session.start("tools/call", {"name": "stubborn_reporting", "arguments": {}})
        last_id = next(line[4:] for line in waiting.lines() if line.startswith(b"id: ")).decode()
        waiting.cut()
        assert session.delete().status == 204
        fields: dict[str, Any] = {"mcp-session-id": session.token, "last-event-id": last_id, "accept": STREAM}
        reply = http.request("GET", b"", fields)
        assert (reply.status, reply.error) == (404, GONE)


@pytest.mark.skipif(os.name == "nt", reason="descriptors of Windows are others")
@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.parametrize("how", ["closed", "none", "descriptor", "handler"])
def test_the_log_is_gone_and_calls_have_their_outcomes(how: str, transport: str) -> None:
    """stderr closed by a tool, in any way, or a handler of the log that raises."""
    with ExitStack() as stack:
        if transport == "stdio":
            client = stack.enter_context(client_of_own_server("stdio-session"))
        else:
            server = stack.enter_context(ServerProcess(python_command(SCRIPT, "http", "{port}")))
            http = Http(server.port)
            client = HttpMcpClient(http, http.initialize())
        assert client.call("break_the_log", how=how).text == how
        for _ in range(3):
            for tool in ("at_once", "later", "plain"):
                assert client.call(tool, way="panic").result["isError"] is True
            assert client.ask("resources/read", {"uri": "odd://base"}).error["code"] == -32603
        assert client.call("echo", text="here").text == "here"
