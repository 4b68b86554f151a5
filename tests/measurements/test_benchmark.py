"""The benchmark's own parts: its options, what `--beside` asks for, and that the limit answers rightly."""

import http.client
import json
import re
import socket
import subprocess
import sys
from typing import Any

import pytest

from support.docs.pages import ROOT, table
from support.servers.processes import HOST, ServerProcess, python_command

RUN = ROOT / "benchmarks" / "run.py"
PAGE = ROOT / "docs" / "performance.md"
LIMIT = ROOT / "benchmarks" / "servers" / "limit_protocol.py"


def _bench(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(RUN), *options], capture_output=True, text=True, timeout=60, check=False
    )


def _rows_beside(*values: str) -> list[dict[str, Any]]:
    """Return what these values of `--beside` ask for, in a process that has the modules of the benchmark."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from beside import all_rows, rows_beside; "
        "rows = rows_beside(sys.argv[2:]); names = [row.name for row in all_rows(rows)]; "
        "print(json.dumps([{'name': row.name, 'command': row.command, 'era': row.work.era, "
        "'folder': str(row.folder), 'before': names[names.index(row.name) - 1]} for row in rows]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(RUN.parent), *values],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_the_page_has_all_options() -> None:
    options = set(re.findall(r"^  (--[a-z]+(?:-[a-z]+)*)", _bench("--help").stdout, re.MULTILINE))
    documented = {row[0].strip("`").split()[0] for row in table(PAGE, "option")}
    assert documented == options


def test_a_server_beside_the_others_is_a_row_of_a_group() -> None:
    in_session, stateless = _rows_beside("mine=cat '{port} a'", "mine@stateless=cat --port={port} b=c")
    assert in_session["name"] == "calls/mine"
    assert in_session["command"] == ["cat", "{port} a"]
    assert in_session["era"] == "session"
    assert in_session["folder"] == str(ROOT)
    assert in_session["before"].startswith("calls/")
    assert stateless["name"] == "stateless/mine"
    assert stateless["command"] == ["cat", "--port={port}", "b=c"]
    assert stateless["era"] == "2026-07-28"
    assert stateless["before"].startswith("stateless/")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("mine", "it must be NAME=COMMAND or NAME@stateless=COMMAND"),
        ("=cat {port}", "it must be NAME=COMMAND or NAME@stateless=COMMAND"),
        ("a/b=cat {port}", "it must be NAME=COMMAND or NAME@stateless=COMMAND"),
        ("mine@mib=cat {port}", "mib behind the @; it must be calls or stateless"),
        ("mine@=cat {port}", "nothing behind the @; it must be calls or stateless"),
        ("mine=", "there is no command"),
        ("mine=cat", "the command has no {port}"),
        ("mine=cat '{port}", "No closing quotation"),
        ("mine=no-such-program {port}", "there is no program no-such-program"),
        ("enfilade=cat {port}", "there is a row calls/enfilade already"),
    ],
)
def test_a_wrong_server_beside_the_others_is_explained(value: str, problem: str) -> None:
    done = _bench("--beside", value)
    assert done.returncode == 2
    assert done.stderr.startswith(f"bench: --beside {value}: ")
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_two_servers_of_one_name_are_refused() -> None:
    done = _bench("--beside", "mine=cat {port}", "--beside", "mine=cat -u {port}")
    assert done.returncode == 2
    assert "there is a row calls/mine already" in done.stderr


class Caller:
    """One connection to the limit.

    Args:
        port: where it listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.create_connection((HOST, port), 30.0)

    def close(self) -> None:
        self._socket.close()

    def head(self, size: int, session: str | None = None, *, is_last: bool = False) -> bytes:
        """Return the head of a POST whose body has this many bytes."""
        more = f"Mcp-Session-Id: {session}\r\n" if session else ""
        more += "Connection: close\r\n" if is_last else ""
        return (
            f"POST /mcp HTTP/1.1\r\nHost: {HOST}:{self._port}\r\nContent-Length: {size}\r\n{more}"
            "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\r\n"
        ).encode()

    def send(self, *parts: bytes) -> None:
        """Send bytes, one part after the other."""
        for part in parts:
            self._socket.sendall(part)

    def answer(self) -> tuple[http.client.HTTPResponse, bytes]:
        """Return the next response and its body."""
        response = http.client.HTTPResponse(self._socket)
        response.begin()
        return response, response.read()

    def all_answers(self) -> list[bytes]:
        """Return the bodies of all responses until the connection is closed; each has a known length."""
        data = b"".join(iter(lambda: self._socket.recv(65536), b""))
        bodies = []
        while data:
            head, _, data = data.partition(b"\r\n\r\n")
            length = int(re.findall(rb"content-length: (\d+)", head)[0])
            bodies.append(data[:length])
            data = data[length:]
        return bodies

    def open_session(self) -> str:
        """Return the id of a new session."""
        body = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}'
        self.send(self.head(len(body)) + body)
        session = self.answer()[0].headers["mcp-session-id"]
        assert session
        return session


def _call(tool: str, arguments: dict[str, Any], **params: Any) -> bytes:
    called = {"name": tool, "arguments": arguments, **params}
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": called}).encode()


def _result(text: str) -> dict[str, Any]:
    result = {"content": [{"type": "text", "text": text}], "structuredContent": {"result": text}}
    return {"jsonrpc": "2.0", "id": 7, "result": result}


def test_the_limit_takes_a_large_body_and_what_follows_it() -> None:
    text = 'a "text" of some size\n' * 20_000
    body = _call("echo", {"text": text})
    next_body = _call("echo", {"text": "next"})
    with ServerProcess(python_command(LIMIT, "{port}")) as server:
        caller = Caller(server.port)
        session = caller.open_session()
        head, next_head = caller.head(len(body), session), caller.head(len(next_body), session, is_last=True)
        caller.send(head + body[:1000], body[1000:100_000], body[100_000:] + next_head + next_body)
        large, small = caller.all_answers()
        caller.close()
        assert json.loads(large) == _result(text)
        assert json.loads(small) == _result("next")


def test_the_limit_sends_all_that_is_ready_and_loses_nothing() -> None:
    body = _call("count", {"n": 2000}, _meta={"progressToken": 5})
    with ServerProcess(python_command(LIMIT, "{port}")) as server:
        caller = Caller(server.port)
        session = caller.open_session()
        caller.send(caller.head(len(body), session) + body)
        response, stream = caller.answer()
        caller.close()
        assert response.headers["content-type"] == "text/event-stream"
        messages = [json.loads(line[5:]) for line in stream.splitlines() if line.startswith(b"data:")]
        assert [each["params"]["progress"] for each in messages[:-1]] == list(range(1, 2001))
        assert messages[-1]["result"]["structuredContent"] == {"result": 2000}


@pytest.mark.parametrize(
    "body",
    [_call("nothing", {}), _call("echo", {"text": 1}), _call("echo", {})],
    ids=["another tool", "a wrong argument", "no argument"],
)
def test_the_limit_refuses_a_call_that_is_none_of_its_tools(body: bytes) -> None:
    with ServerProcess(python_command(LIMIT, "{port}")) as server:
        caller = Caller(server.port)
        caller.send(caller.head(len(body), caller.open_session()) + body)
        response, answer = caller.answer()
        caller.close()
        assert response.status == 400
        assert json.loads(answer)["error"]["code"] == -32602
