"""The record of each request, as the log of a server has it: one line, its keys, and every way to end."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.harness import Stdio, eventually
from support.http_client.connection import Http
from support.servers.processes import python_command
from support.servers.recorded_server import ENV, KEYS, SCRIPT, RecordedServer

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
ASKABLE = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}


@pytest.fixture(scope="module")
def server() -> Iterator[RecordedServer]:
    with RecordedServer() as server:
        yield server


@pytest.fixture
def http(server: RecordedServer) -> Http:
    return Http(server.port)


def test_a_call_of_a_session(server: RecordedServer, http: Http) -> None:
    with server.recording(2) as lines:
        session = http.initialize()
        reply = session.ask("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}, traceparent=TRACEPARENT)
    opened, called = lines
    assert list(called) == KEYS
    assert called | {"time": "", "ms": 0.0} == {
        **dict.fromkeys(("principal",), None),
        "time": "",
        "level": "info",
        "logger": "enfilade.requests",
        "worker": server.pid,
        "ms": 0.0,
        "method": "tools/call",
        "target": "add",
        "outcome": "ok",
        "revision": "2025-11-25",
        "transport": "http",
        "client": "harness/1",
        "session": opened["session"],
        "trace_id": TRACE,
        "request_id": reply.header("x-request-id"),
        "questions": 0,
        "bytes_out": len(reply.body),
        "bytes_in": len('{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ')
        + len('{"name": "add", "arguments": {"a": 1, "b": 2}}}'),
    }
    assert called["time"].endswith("Z")
    assert called["ms"] > 0
    assert opened["method"] == "initialize"
    assert len(opened["session"]) == 12
    assert session.token[:12] not in server.output


def test_who_is_refused_without_a_session_is_named(server: RecordedServer, http: Http) -> None:
    with server.recording(1) as lines:
        http.modern("prompts/print", {})
    line = lines[0]
    assert (line["method"], line["outcome"], line["revision"]) == ("prompts/print", "-32601", "2026-07-28")


@pytest.mark.parametrize(
    ("tool", "arguments", "outcome", "reason"),
    [
        ("fail", {}, "tool_error", "tool"),
        ("crash", {"text": "x"}, "tool_error", "exception"),
        ("none", {}, "-32602", "Unknown tool: none"),
        ("add", {"a": "x"}, "tool_error", "arguments"),
        ("chain", {}, "ok", None),
        ("slow", {}, "deadline", None),
    ],
)
@pytest.mark.parametrize("era", ["session", "stateless"])
def test_how_calls_end(
    server: RecordedServer,
    http: Http,
    era: str,
    tool: str,
    arguments: dict[str, Any],
    outcome: str,
    reason: str | None,
) -> None:
    caller = http.initialize() if era == "session" else None
    with server.recording(1 if caller is None else 2) as lines:
        if caller is None:
            http.modern_call(tool, **arguments)
        else:
            caller.call(tool, **arguments)
            caller.ask("ping")
    line = next(line for line in lines if line["method"] == "tools/call")
    assert (line["target"], line["outcome"], line["revision"] == "2026-07-28") == (tool, outcome, caller is None)
    assert outcome == "deadline" or line.get("reason") == reason


def test_other_methods_have_lines_and_notifications_have_none(server: RecordedServer, http: Http) -> None:
    session = http.initialize()
    with server.recording(4) as lines:
        session.ask("tools/list")
        session.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        session.ask("resources/read", {"uri": "notes://all"})
        session.ask("prompts/print")
        session.ask("ping")
    assert [(line["method"], line["target"], line["outcome"]) for line in lines] == [
        ("tools/list", None, "ok"),
        ("resources/read", "notes://all", "ok"),
        ("prompts/print", None, "-32601"),
        ("ping", None, "ok"),
    ]
    who = [(line["revision"], line["client"], line["session"]) for line in lines]
    assert who[0][:2] == ("2025-11-25", "harness/1")
    assert who.count(who[0]) == 4


def test_questions_are_counted(server: RecordedServer, http: Http) -> None:
    with server.recording(1) as lines:
        http.modern("tools/call", {"name": "ask", "arguments": {}}, meta=ASKABLE)
    assert (lines[0]["outcome"], lines[0]["questions"]) == ("ok", 1)
    session = http.initialize(capabilities={"elicitation": {}})
    with server.recording(1) as lines, session.start("tools/call", {"name": "ask", "arguments": {}}) as pending:
        question = next(message for message in pending.events() if message.get("method") == "elicitation/create")
        answer = {"action": "accept", "content": {"value": True}}
        session.post({"jsonrpc": "2.0", "id": question["id"], "result": answer})
        list(pending.events())
    assert (lines[0]["outcome"], lines[0]["questions"]) == ("ok", 1)
    assert lines[0]["bytes_out"] > 300  # the stream: the question and the result


def test_who_gives_up_is_cancelled(server: RecordedServer, http: Http) -> None:
    session = http.initialize()
    meta = {"progressToken": 1}
    with server.recording(1) as lines:
        with session.start("tools/call", {"name": "wait", "arguments": {}}, id=7, meta=meta) as pending:
            next(pending.events())
            session.cancel(7)
        eventually(lambda: server.requests[-1]["target"] == "wait")
    assert (lines[0]["target"], lines[0]["outcome"]) == ("wait", "cancelled")
    with server.recording(1) as lines:
        with http.start_modern("tools/call", {"name": "wait", "arguments": {}}, meta=meta) as pending:
            next(pending.events())
            pending.cut()
    assert (lines[0]["target"], lines[0]["outcome"]) == ("wait", "cancelled")


CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "arguments": {}}}


@pytest.mark.parametrize(
    ("body", "headers", "method", "target"),
    [
        (CALL, {}, "tools/call", "add"),
        (CALL, {"mcp_session_id": "lost"}, "tools/call", "add"),
        (CALL, {"accept": "text/html"}, "POST", "/mcp"),
        (CALL, {"origin": "https://evil.example"}, "POST", "/mcp"),
        (b"{not json", {}, "POST", "/mcp"),
    ],
)
def test_refusals(
    server: RecordedServer, http: Http, body: Any, headers: dict[str, Any], method: str, target: str
) -> None:
    with server.recording(1) as lines:
        reply = http.post(body, **headers)
    assert reply.status >= 400
    assert (lines[0]["method"], lines[0]["target"], lines[0]["outcome"]) == (method, target, "refused")
    assert lines[0]["request_id"] == reply.header("x-request-id")


def test_each_message_of_a_batch_has_a_line(server: RecordedServer, http: Http) -> None:
    session = http.initialize("2025-03-26")
    messages = [{**CALL, "id": 1}, {**CALL, "id": 2, "params": {"name": "fail", "arguments": {}}}]
    with server.recording(2) as lines:
        reply = session.post([*messages, {"jsonrpc": "2.0", "method": "notifications/initialized"}])
    assert sorted((line["target"], line["outcome"]) for line in lines) == [
        ("add", "tool_error"),
        ("fail", "tool_error"),
    ]
    assert {line["request_id"] for line in lines} == {reply.header("x-request-id")}
    assert all(0 < line["bytes_in"] < 200 and line["bytes_out"] > 0 for line in lines)


def test_stdio() -> None:
    with Stdio(python_command(SCRIPT, "stdio"), ENV) as stdio:
        stdio.initialize()
        stdio.send(b"{not json")
        stdio.request(
            "tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}, id=2, meta={"traceparent": TRACEPARENT}
        )
        stdio.answer(2)
        eventually(lambda: stdio.log.count("enfilade.requests") == 3, stdio.log)
        lines = [json.loads(line) for line in stdio.log.splitlines() if "enfilade.requests" in line]
    refused, opened, called = sorted(
        lines, key=lambda line: (line["outcome"] == "ok", line["method"] != "initialize")
    )
    assert (refused["method"], refused["outcome"]) == (None, "refused")
    assert opened["method"] == "initialize"
    assert list(called) == KEYS
    assert (called["transport"], called["outcome"], called["client"]) == ("stdio", "ok", "harness/1")
    assert called["trace_id"] == TRACE
    assert called["bytes_in"] > called["bytes_out"] > 50
