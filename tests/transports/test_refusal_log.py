"""What the log says of refused requests: who, which status, why, and which setting; and no flood of lines."""

import asyncio
import logging
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from enfilade import MCPApp, Settings
from enfilade.serving import failures
from enfilade.transports import refusal_log
from enfilade.transports.http11.server import http_protocol
from enfilade.transports.refusal_log import RefusalLog
from support.harness import Serving, Stdio, eventually
from support.http_client.connection import CLIENT, HttpSession, PendingReply, request_of

Lines = Callable[[], list[str]]

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}

BUSY = "The server is busy: 1 request is in flight; send this one again later (max_requests)"


class Held:
    """A server whose tool `hold` waits until it is let go."""

    def __init__(self, **settings: Any) -> None:
        app = MCPApp("held", settings=Settings(**settings))
        app.tool(self.hold)
        app.tool(self.length)
        self.serving = Serving(app, http=http_protocol())
        self.is_let_go = self.is_running = False

    async def hold(self) -> str:
        """Wait."""
        self.is_running = True
        while not self.is_let_go:
            await asyncio.sleep(0.005)
        return "held"

    def length(self, text: str) -> int:
        """Return the length of a text."""
        return len(text)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Return what was logged since the last look, with one line for each kind in all."""
    monkeypatch.setattr(refusal_log.refusals, "_interval", 3600)
    monkeypatch.setattr(refusal_log.refusals, "_limits", {})

    def look() -> list[str]:
        found = [each.getMessage() for each in caplog.records if each.name == "enfilade.transports"]
        caplog.clear()
        return [re.sub(r"^127\.0\.0\.1:\d+ - ", "", line) for line in found]

    with caplog.at_level(logging.WARNING, logger="enfilade.transports"):
        yield look


def listen(session: HttpSession) -> PendingReply:
    fields = {name.replace("_", "-"): value for name, value in session.headers.items()}
    return session.http.start("GET", b"", {**fields, "accept": "text/event-stream"})


class TestEachRefusal:
    """One line, with what the client reads and the setting that is the reason."""

    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    @pytest.mark.parametrize(
        ("field", "status", "setting"), [("Host", 421, "allowed_hosts"), ("Origin", 403, "allowed_origins")]
    )
    def test_of_a_name(self, lines: Lines, method: str, field: str, status: int, setting: str) -> None:
        value = "evil.example" if field == "Host" else "https://evil.example"
        with Held().serving as server:
            assert server.http.request(method, b"", {field.lower(): value}).status == status
        (line,) = lines()
        assert line.startswith(f"HTTP {status}: {field} '{value}' is not allowed.")
        assert line.endswith(f" ({setting})")

    def test_of_a_body(self, lines: Lines) -> None:
        with Held(body_limit=1024).serving as server:
            assert server.http.initialize().call("length", text="x" * 2000).status == 413
        assert lines() == ["HTTP 413: the body is larger than 1024 bytes (body_limit)"]

    def test_of_values(self, lines: Lines) -> None:
        """A limit that is fixed, so there is no setting to name."""
        with Held().serving as server:
            assert server.http.initialize().call("length", text=[[]] * 100_000).status == 413
        (line,) = lines()
        assert re.fullmatch(r"HTTP 413: .* holds at most \d+ arrays and objects", line)

    def test_of_a_stream(self, lines: Lines) -> None:
        with Held(max_streams=1).serving as server, ExitStack() as streams:
            session = server.http.initialize()
            first = streams.enter_context(listen(session))
            assert first.status == 200
            meta = {"notifications": {"toolsListChanged": True}}
            session_free = streams.enter_context(server.http.start_modern("subscriptions/listen", meta))
            assert session_free.status == 200
            assert lines() == []
            second = streams.enter_context(listen(session))
            assert second.status == 429
        (line,) = lines()
        assert re.fullmatch(r"HTTP 429: This session has 1 event stream open.* \(max_streams\)", line)

    @pytest.mark.parametrize("kind", ["request", "stateless", "initialize", "batch"])
    def test_of_one_more_request(self, lines: Lines, kind: str) -> None:
        held = Held(max_requests=1)
        with held.serving as server:
            session = server.http.initialize("2025-03-26")
            waiting = session.start("tools/call", {"name": "hold", "arguments": {}})
            eventually(lambda: held.is_running)
            one_more = {
                "request": lambda: session.ask("tools/list").error,
                "stateless": lambda: server.http.modern("tools/list").error,
                "initialize": lambda: server.http.post(request_of("initialize", INITIALIZE, 1, None)).error,
                "batch": lambda: session.post([request_of("tools/list", None, 1, None)]).messages[0]["error"],
            }[kind]
            assert "1 request is in flight" in one_more()["message"]
            sender = "" if kind == "initialize" else "a client - "
            assert lines() == [f"{sender}HTTP 503: {BUSY}"]
            assert session.ask("ping").status == 200
            held.is_let_go = True
            assert waiting.read().status == 200
        assert lines() == []

    def test_over_stdio(self) -> None:
        script = "from enfilade import MCPApp\nimport asyncio\napp = MCPApp('held')\n"
        script += "@app.tool\nasync def hold() -> None:\n    await asyncio.sleep(60)\napp.run()"
        with Stdio([sys.executable, "-c", script], {"ENFILADE_MAX_REQUESTS": "1"}) as stdio:
            stdio.initialize()
            for id in (1, 2, 3):
                stdio.request("tools/call", {"name": "hold", "arguments": {}}, id=id)
            assert "1 request is in flight" in stdio.answer(3)["error"]["message"]
            line = f"WARNING enfilade.transports: a client - {BUSY}\n"
            eventually(lambda: stdio.log.count(line) == 1)

    def test_of_bad_http(self, lines: Lines) -> None:
        with Held().serving as server, server.http.raw(b"nothing\r\n\r\n") as client:
            assert client.recv(100).startswith(b"HTTP/1.1 400")
        assert lines() == ["HTTP 400: Invalid HTTP request received."]


def test_what_clients_get_wrong_in_other_ways_is_not_logged(lines: Lines) -> None:
    """Neither limit nor setting is the reason: there is nothing to do for whoever runs the server."""
    with Held().serving as server:
        session = server.http.initialize()
        assert session.ask("no/such").error["code"] == -32601
        assert session.post(b"{").status == 400
        assert server.http.request("PUT").status == 405
        assert listen(HttpSession(server.http, "made-up", "2025-11-25")).status == 404
    assert lines() == []


def test_a_flood_has_one_line_and_hides_no_other_kind(lines: Lines) -> None:
    with Held().serving as server:
        for _ in range(30):
            assert server.http.request("GET", b"", {"host": "evil.example"}).status == 421
        assert server.http.request("GET", b"", {"origin": "https://evil.example"}).status == 403
    first, second = lines()
    assert (first[:9], second[:9]) == ("HTTP 421:", "HTTP 403:")


def test_what_is_left_out_is_counted(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr(failures.time, "monotonic", lambda: now)
    refused = RefusalLog(interval=1)
    with caplog.at_level(logging.WARNING, logger="enfilade.transports"):
        for _ in range(5):
            refused.warn(("10.0.0.1", 5), 400, "bad")
        refused.warn(("10.0.0.1", 5), 413, "large", "body_limit")
        now = 51.0
        refused.warn(None, 400, "worse")
        refused.warn(None, None, "busy", "max_requests")
    assert [record.getMessage() for record in caplog.records] == [
        "10.0.0.1:5 - HTTP 400: bad",
        "10.0.0.1:5 - HTTP 413: large (body_limit)",
        "a client - HTTP 400: worse (4 more since the last such line)",
        "a client - busy (max_requests)",
    ]


def test_a_handler_that_raises_keeps_nobody_from_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome of a request never depends on its log line."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("no space left")

    monkeypatch.setattr(refusal_log.refusals, "_interval", 0)
    broken = Broken()
    refusal_log.log.addHandler(broken)
    try:
        with Held().serving as server:
            assert server.http.request("GET", b"", {"host": "evil.example"}).status == 421
            with socket.create_connection(("127.0.0.1", server.port), 10) as client:
                client.sendall(b"nothing\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 400")
    finally:
        refusal_log.log.removeHandler(broken)
