"""Clients that leave, stall, cancel or come back, and servers that are stopped in the middle.

The two eras part here: in the stateless one a disconnect is the cancellation (R-277), in the session era it is
not (R-325). A test never waits for a time to pass, only for something to have happened, which the probe server's
journal tells.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from enfilade import Settings
from support.harness import PROBE_SERVER, Http, McpClient, Serving, Stdio, StdioMcpClient, eventually
from support.http_client.connection import BOTH
from support.servers.probe_server import ProbeServer
from support.servers.processes import ServerProcess, python_command

IN_A_SESSION_OR_PIPE = ["http-session", "stdio-session", "stdio-stateless"]
SESSION_OR_STATELESS = ["http-session", "http-stateless"]

LOG_ALL = {"io.modelcontextprotocol/logLevel": "debug"}


@pytest.fixture
def name(request: pytest.FixtureRequest, client: McpClient) -> str:
    """A name for the journal that no other test uses."""
    return f"{request.node.name}-{client.revision}".replace(" ", "-")


class TestDisconnect:
    @pytest.mark.parametrize("tool", ["wait", "tell"])
    @pytest.mark.parametrize("accept", ["application/json", "text/event-stream", BOTH])
    def test_stateless_is_the_cancellation(self, http: Http, tool: str, accept: str) -> None:
        """R-277, R-278: before the first byte and on a stream, whatever form the answer would have."""
        name = f"cut-{tool}-{accept.replace(' ', '')}"
        call = {"name": tool, "arguments": {"name": name}}
        waiting = http.start_modern("tools/call", call, meta=LOG_ALL, accept=accept)
        eventually(lambda: journal(http, name) == ["entered"])
        waiting.cut()
        eventually(lambda: journal(http, name) == ["entered", "cancelled"], "the handler was not cancelled")

    @pytest.mark.parametrize("tool", ["wait", "tell"])
    def test_in_a_session_it_is_not(self, http: Http, tool: str) -> None:
        """R-325: the handler runs to its end, and the session lives on."""
        session, name = http.initialize(), f"keep-{tool}"
        waiting = session.start("tools/call", {"name": tool, "arguments": {"name": name}})
        eventually(lambda: journal(http, name) == ["entered"])
        waiting.cut()
        session.call("release", id=2, name=name)
        eventually(lambda: journal(http, name) == ["entered", "finished"], "the handler did not end")
        assert session.ask("ping").status == 200

    def test_in_the_middle_of_the_body(self, http: Http) -> None:
        with http.raw(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                      b"Content-Length: 100\r\n\r\n{"):  # fmt: skip
            pass
        assert http.modern("tools/list").status == 200


class TestStalling:
    @pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
    def test_a_body_that_never_comes_blocks_nobody(self, http: Http, chunked: bool) -> None:
        """D8b."""
        length = b"Transfer-Encoding: chunked\r\n\r\n5\r\n{" if chunked else b"Content-Length: 100\r\n\r\n{"
        head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connections = [http.raw(head + length) for _ in range(20)]
        assert http.modern("tools/list").status == 200
        assert http.initialize().ask("tools/list").status == 200
        for connection in connections:
            connection.close()

    @pytest.mark.parametrize("client", SESSION_OR_STATELESS, indirect=True)
    def test_a_reader_that_never_reads_hurts_only_itself(
        self, serving: Serving, client: McpClient, name: str
    ) -> None:
        """D6, S9: 13 MB of notifications for somebody who does not read: the tool ends, others are served."""
        meta = LOG_ALL if client.stateless else None
        waiting = client.starts("flood", name=name, messages=200, size=64 * 1024, meta=meta)
        client.until(name, "finished")
        assert client.call("echo", text="x").text == "x"
        del waiting

    @pytest.mark.parametrize("client", ["stdio-session", "stdio-stateless"], indirect=True)
    def test_a_pipe_that_is_not_read_is_not_filled_for_ever(self, client: StdioMcpClient, name: str) -> None:
        """S9: notifications that find no room are dropped, results never are."""
        meta = LOG_ALL if client.stateless else None
        assert client.call("flood", name=name, messages=200, size=64 * 1024, meta=meta).text == "flooded"
        assert client.call("echo", text="x").text == "x"

    def test_a_blocking_tool_blocks_nobody(self, client: McpClient, name: str) -> None:
        """D36, R-415: a `def` tool that blocks its thread delays neither a ping nor another call."""
        blocked = client.starts("block", name=name)
        client.until(name, "entered")
        if client.stateless:
            assert "tools" in client.ask("tools/list").result
        else:
            assert client.ask("ping").result == {}
        assert client.call("add", a=1, b=2).text == "3", "another `def` tool"
        client.call("release", name=name)
        assert blocked().text == f"{name} released"


@pytest.mark.parametrize("client", IN_A_SESSION_OR_PIPE, indirect=True)
class TestCancellation:
    """D42, R-361…R-364, R-406."""

    @pytest.mark.parametrize("tool", ["wait", "tell"])
    def test_no_response_and_the_others_go_on(self, client: McpClient, name: str, tool: str) -> None:
        """Trap 1: only the id of the same type is meant."""
        meta = LOG_ALL if client.stateless else None
        number = client.starts(tool, id=500, name=f"{name}-number", meta=meta)
        text = client.starts(tool, id="500", name=f"{name}-text", meta=meta)
        client.until(f"{name}-number", "entered")
        client.until(f"{name}-text", "entered")
        client.notify("notifications/cancelled", {"requestId": 500, "reason": "enough"})
        client.until(f"{name}-number", "cancelled")
        assert client.journal(f"{name}-text") == ["entered"]
        client.call("release", name=f"{name}-text")
        assert text().response is not None
        if client.over_http:
            assert number().response is None, "R-362: the response ends without an answer"
        else:
            assert isinstance(client, StdioMcpClient)
            client.stdio.take_notifications()
            assert client.call("echo", text="next").text == "next"
            assert client.stdio.stashed == [], "nothing came for the cancelled id"
        assert client.call("echo", id=500, text="the id is free again").text == "the id is free again"

    def test_a_plain_function(self, client: McpClient, name: str) -> None:
        """The thread cannot be stopped, but nobody is kept waiting and its result goes nowhere."""
        blocked = client.starts("block", id=600, name=name)
        client.until(name, "entered")
        client.notify("notifications/cancelled", {"requestId": 600})
        if client.over_http:
            assert blocked().response is None
        client.call("release", name=name)
        client.until(name, "finished")
        if isinstance(client, StdioMcpClient):
            assert client.stdio.stashed == []

    @pytest.mark.parametrize(
        "params",
        [None, {}, *({"requestId": id} for id in ("nobody", 5, "700", None, 1.5, []))],
        ids=str,
    )
    def test_what_cancels_nothing(self, client: McpClient, params: Any, name: str) -> None:
        """R-363: unknown and malformed ones are ignored in silence."""
        waiting = client.starts("wait", id=700, name=name)
        client.until(name, "entered")
        client.notify("notifications/cancelled", params)
        client.call("release", name=name)
        assert waiting().text == f"{name} released"


def test_another_sessions_id_cancels_nothing(http: Http) -> None:
    """R-716, R-364: ids are looked up within one session."""
    mine, other = http.initialize(), http.initialize()
    waiting = mine.start("tools/call", {"name": "wait", "arguments": {"name": "mine"}}, id=1)
    eventually(lambda: journal(http, "mine") == ["entered"])
    assert other.cancel(1).status == 202
    other.call("release", id=2, name="mine")
    assert waiting.read().result["content"][0]["text"] == "mine released"


@pytest.mark.parametrize("tool", ["wait", "tell", "block"])
def test_delete_ends_what_runs(http: Http, tool: str) -> None:
    """R-316, D10, S41: calls in flight are cancelled and their callers told why; later use is 404."""
    session, other, name = http.initialize(), http.initialize(), f"delete-{tool}"
    waiting = session.start("tools/call", {"name": tool, "arguments": {"name": name}})
    eventually(lambda: journal(http, name) == ["entered"])
    assert session.delete().status == 204
    reply = waiting.read()
    assert reply.error == {"code": -32600, "message": "Session not found: send initialize again"}
    assert reply.status == (200 if tool == "tell" else 404)
    if tool != "block":
        eventually(lambda: journal(http, name) == ["entered", "cancelled"])
    for reply in (session.ask("ping"), session.cancel(1), session.delete()):
        assert (reply.status, reply.error["code"]) == (404, -32600)
    assert other.ask("ping").status == 200
    other.call("release", name=name)


@pytest.mark.parametrize("tool", ["wait", "tell", "block"])
@pytest.mark.parametrize("client_kind", ["http-session", "http-stateless"])
def test_a_deadline_over_http(client_kind: str, tool: str) -> None:
    """A request that takes too long ends in an error, and its handler is cancelled."""
    with Serving(ProbeServer(settings=Settings(request_timeout=0.2))) as serving:
        call = {"name": tool, "arguments": {"name": "late"}}
        if client_kind == "http-stateless":
            reply = serving.http.modern("tools/call", call, meta=LOG_ALL)
        else:
            reply = serving.http.initialize().ask("tools/call", call)
        assert (reply.status, reply.error["code"]) == (200, -32603)
        assert "longer than 0.2 seconds" in reply.error["message"]
        assert journal(serving.http, "late") == (["entered"] if tool == "block" else ["entered", "cancelled"])
        serving.http.modern_call("release", name="late")


@pytest.mark.parametrize("claim", [None, "2026-07-28"], ids=["session", "stateless"])
def test_a_deadline_over_stdio(claim: str | None) -> None:
    with Stdio([sys.executable, str(PROBE_SERVER), "stdio"], {"ENFILADE_REQUEST_TIMEOUT": "0.2"}) as stdio:
        if claim is None:
            stdio.initialize()
        answer = stdio.ask("tools/call", {"name": "wait", "arguments": {"name": "late"}}, claim=claim)
        assert answer["error"]["code"] == -32603
        assert "longer than 0.2 seconds" in answer["error"]["message"]
        assert "result" in stdio.ask("tools/list", id=2, claim=claim)


@pytest.mark.parametrize("tool", ["leave", "leave_from_the_loop"])
def test_sys_exit_in_a_tool_is_one_failed_call(client: McpClient, tool: str) -> None:
    outcome = client.call(tool)
    assert outcome.result["isError"] is True
    assert client.call("echo", text="still here").text == "still here"


class TestProcesses:
    """What only a process of its own can show."""

    @pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
    @pytest.mark.parametrize("tool", ["wait", "block"])
    def test_sigterm_over_http(self, tool: str) -> None:
        """A running tool keeps the server no longer than `shutdown_timeout`, and its caller is told."""
        env = {"ENFILADE_SHUTDOWN_TIMEOUT": "1"}
        with ServerProcess(python_command(PROBE_SERVER, "http", "{port}"), env=env) as server:
            http = Http(server.port)
            waiting = http.start_modern("tools/call", {"name": tool, "arguments": {"name": "x"}})
            eventually(lambda: journal(http, "x") == ["entered"])
            server.process.send_signal(signal.SIGTERM)
            message = waiting.read().error["message"]
            assert message == "The server is stopping: the request was cut off, and part of it may have been done"
            assert server.process.wait(30) in (0, -signal.SIGTERM)

    @pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
    @pytest.mark.parametrize("tool", ["wait", "block"])
    def test_sigterm_over_stdio(self, pipe: Stdio, tool: str) -> None:
        pipe.request("tools/call", {"name": tool, "arguments": {"name": "x"}})
        assert "result" in pipe.ask("tools/list", id=2)
        pipe.process.send_signal(signal.SIGTERM)
        assert pipe.process.wait(30) == 0
        assert "Traceback" not in pipe.log

    def test_a_killed_server_comes_back_with_its_sessions(self) -> None:
        """A `kill -9` and a restart lose no session; another secret loses all of them."""
        command = python_command(PROBE_SERVER, "http", "{port}")
        env = {"ENFILADE_SECRET": "a secret that always stays the same"}
        with ServerProcess(command, env=env) as server:
            session = Http(server.port).initialize("2025-06-18")
            server.kill()
        with ServerProcess(command, env=env, port=server.port):
            assert session.call("add", a=1, b=2).result["structuredContent"] == {"result": 3}
        with ServerProcess(
            command, env={"ENFILADE_SECRET": "a secret that is quite another one"}, port=server.port
        ):
            assert session.ask("ping").status == 404

    @pytest.fixture
    def pipe(self) -> Iterator[Stdio]:
        # What does not end by itself is ended soon: the tests wait for it.
        with Stdio([sys.executable, str(PROBE_SERVER), "stdio"], {"ENFILADE_SHUTDOWN_TIMEOUT": "1"}) as stdio:
            stdio.initialize()
            yield stdio

    @pytest.mark.parametrize("tool", [None, "wait", "tell", "block"])
    def test_the_end_of_the_input_ends_the_process(self, pipe: Stdio, tool: str | None) -> None:
        """R-403: also while a tool waits, and while one blocks its thread for longer than anybody wants."""
        if tool is not None:
            pipe.request("tools/call", {"name": tool, "arguments": {"name": "x"}})
        assert "result" in pipe.ask("tools/list", id=2)
        assert pipe.end() == 0
        assert "Traceback" not in pipe.log

    def test_what_was_asked_before_the_end_is_answered(self, pipe: Stdio) -> None:
        """R-403: as with `printf … | server`."""
        for id in range(50):
            pipe.request("tools/call", {"name": "add", "arguments": {"a": id, "b": 1}}, id=id)
        assert pipe.end() == 0
        sums = {message["id"]: message["result"]["structuredContent"]["result"] for message in pipe.read_to_end()}
        assert sums == {id: id + 1 for id in range(50)}

    def test_a_last_line_without_its_end(self, pipe: Stdio) -> None:
        assert pipe.process.stdin is not None
        pipe.process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"no/such"}')
        assert pipe.end() == 0
        assert [message["id"] for message in pipe.read_to_end()] == [1]

    def test_nothing_else_gets_into_the_pipe(self, pipe: Stdio) -> None:
        """D32, R-401: print, raw writes and child processes go to stderr."""
        answer = pipe.ask("tools/call", {"name": "scribble", "arguments": {}})
        assert answer["result"]["content"][0]["text"] == "scribbled"
        assert pipe.end() == 0
        assert pipe.read_to_end() == []
        for text in ("printed", "written", "from below", "from a child"):
            assert text in pipe.log

    def test_a_client_that_is_gone(self) -> None:
        """Nobody takes the output any more, and then the input ends, too."""
        reading, writing = os.pipe()
        command = [sys.executable, str(PROBE_SERVER), "stdio"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writing, stderr=subprocess.PIPE) as process:
            os.close(writing)
            assert process.stdin is not None
            process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
            process.stdin.flush()
            assert os.read(reading, 1000) == b'{"jsonrpc":"2.0","id":1,"result":{}}\n'
            os.close(reading)
            process.stdin.write(b'{"jsonrpc":"2.0","id":2,"method":"ping"}\n' * 100)
            _, log = process.communicate(timeout=60)
        assert process.returncode == 0
        assert b"Traceback" not in log


def journal(http: Http, name: str) -> list[str]:
    """Return what became of the calls of a name."""
    found: list[str] = http.modern_call("journal", name=name).result["structuredContent"]["result"]
    return found
