"""The recording app: it records everything, passes it on unchanged, and its judge finds what is wrong."""

import json
from pathlib import Path

import pytest

from support.harness import PROBE_SERVER, Http, Stdio
from support.http_client.resuming_client import ResumingClient
from support.proxy import recording_app
from support.servers.processes import ServerProcess


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def entries(log: Path) -> list[tuple[str | None, str | None]]:
    found = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    return [(entry["revision"], entry["method"] or entry["message"].get("method")) for entry in found]


def test_http(log: Path) -> None:
    with ServerProcess(recording_app.command(f"{PROBE_SERVER}:app", "http", "{port}", log)) as server:
        http = Http(server.port)
        session = http.initialize("2025-06-18")
        assert (
            session.ask(
                "tools/call", {"name": "report", "arguments": {"steps": 1}}, meta={"progressToken": 1}
            ).status
            == 200
        )
        assert http.modern("tools/list").status == 200
        assert http.post(b"{").status == 400
    assert recording_app.validate_log(log) == 6
    assert entries(log)[1:] == [
        ("2025-06-18", "notifications/progress"),
        ("2025-06-18", "notifications/message"),
        ("2025-06-18", "tools/call"),
        ("2026-07-28", "tools/list"),
        ("2025-03-26", None),
    ]


def test_stdio(log: Path) -> None:
    with Stdio(recording_app.command(PROBE_SERVER, "stdio", None, log)) as stdio:
        stdio.initialize("2025-06-18")
        assert "result" in stdio.ask("tools/list", id=7)
        assert "result" in stdio.ask("tools/list", id=8, claim="2026-07-28")
        assert stdio.end() == 0
    assert recording_app.validate_log(log) == 3
    assert entries(log) == [
        ("2025-06-18", "initialize"),
        ("2025-06-18", "tools/list"),
        ("2026-07-28", "tools/list"),
    ]


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"unreadable": "hello"}, "hello"),
        (
            {"revision": "2025-11-25", "method": None, "message": {"jsonrpc": "2.0", "method": "x"}},
            "no such method",
        ),
        (
            {
                "revision": "2025-11-25",
                "method": "ping",
                "message": {"jsonrpc": "2.0", "id": 1, "result": {"resultType": "complete"}},
            },
            "empty result",
        ),
    ],
)
def test_finds_what_is_wrong(log: Path, entry: dict[str, object], complaint: str) -> None:
    log.write_text(json.dumps(entry) + "\n", "utf-8")
    with pytest.raises(AssertionError, match=complaint):
        recording_app.validate_log(log)


def test_a_response_that_left_another_worker_finds_its_request(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.write_text('{"session": "s", "unanswered": [[1, "ping"]]}\n', "utf-8")
    answer = {"revision": "2025-11-25", "method": None, "message": {"jsonrpc": "2.0", "id": 1, "result": {}}}
    there.write_text(json.dumps({**answer, "session": "s"}) + "\n", "utf-8")
    assert recording_app.validate_log(here, there) == 1
    there.write_text(json.dumps({**answer, "session": "another"}) + "\n", "utf-8")
    with pytest.raises(AssertionError, match="nobody knows"):
        recording_app.validate_log(here, there)


def test_what_is_resumed_is_recorded_with_its_session(log: Path) -> None:
    with ServerProcess(recording_app.command(f"{PROBE_SERVER}:app", "http", "{port}", log)) as server:
        client = ResumingClient(server.port, hurry=True)
        stream = client.call("wait", name="w")
        stream.begin()
        stream.cut()
        assert "result" in client.call("release", name="w").finish()
        assert "result" in stream.finish()
    assert recording_app.validate_log(log) >= 3  # and perhaps what was still sent to the connection that was cut
