"""What a scrape says of the inside of a server: threads, limits, sessions, streams, questions, store, lag."""

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enfilade import StoreError, counters
from enfilade.state.measured import measured
from enfilade.state.open import open_store
from enfilade.transports.processes.line_writer import LineWriter
from support.harness import Stdio
from support.http_client.connection import Http, PendingReply
from support.servers.processes import free_port, python_command
from support.telemetry.measured_server import SCRIPT, MeasuredServer
from support.telemetry.scrape import Scrape
from support.waiting import eventually

Look = Callable[..., float]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasuredServer]:
    store = tmp_path_factory.mktemp("store") / "state.db"
    with MeasuredServer(ENFILADE_TOOL_THREADS="1", ENFILADE_STORE=f"sqlite:///{store}") as server:
        yield server


@pytest.fixture
def http(server: MeasuredServer) -> Http:
    return Http(server.port)


@pytest.fixture
def total(server: MeasuredServer) -> Look:
    """Return the total of a series now."""
    return lambda name, **labels: Scrape.of(server.metrics_url).total(name, **labels)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that tools wait for."""
    gate = tmp_path / "gate"
    yield gate
    gate.touch()


def test_threads_and_requests_in_flight(http: Http, total: Look, gate: Path) -> None:
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(http.modern_call, "hold", gate=str(gate)) for _ in range(3)]
        eventually(lambda: total("enfilade_tool_calls_queued") == 2)
        assert total("enfilade_tool_threads_busy") == 1
        assert total("mcp_server_requests_in_flight") == 3
        gate.touch()
        assert [call.result().status for call in calls] == [200, 200, 200]
    eventually(lambda: total("enfilade_tool_threads_busy") == 0)
    assert total("enfilade_tool_calls_queued") == total("mcp_server_requests_in_flight") == 0


def test_limits_that_refuse_and_that_let_wait(http: Http, total: Look, gate: Path) -> None:
    with ThreadPoolExecutor() as threads:
        alone = threads.submit(http.modern_call, "alone", gate=str(gate))
        eventually(lambda: total("mcp_server_requests_in_flight") == 1)
        for _ in range(4):
            assert http.modern_call("alone", gate=str(gate)).result["isError"]
        turns = [threads.submit(http.modern_call, "in_turn", gate=str(gate)) for _ in range(3)]
        eventually(lambda: total("enfilade_limit_waiting_calls") == 2)
        gate.touch()
        for call in [alone, *turns]:
            assert call.result().result.get("isError") is not True
    assert total("enfilade_limit_refusals_total", limit="tool_concurrency") == 4
    assert total("enfilade_limit_waits_total") == 2
    assert total("enfilade_limit_waiting_calls") == 0


def test_sessions_and_streams(http: Http, total: Look) -> None:
    before = total("mcp_server_sessions_opened_total", transport="http")
    sessions = [http.initialize() for _ in range(3)]
    for session in sessions[1:]:
        session.delete()
    assert total("mcp_server_sessions_opened_total", transport="http") == before + 3
    assert total("mcp_server_sessions_ended_total", transport="http") == 2
    assert total("mcp_server_session_duration_seconds_count", transport="http") == 2

    fields = {name.replace("_", "-"): value for name, value in sessions[0].headers.items()}

    def stream(**more: str) -> PendingReply:
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return http.start("GET", b"", {**fields, "accept": "text/event-stream", **named})

    with stream() as opened:
        event_id = next(line for line in opened.lines() if line.startswith(b"id: "))[4:].decode()
        assert total("mcp_server_open_streams") == 1
        opened.cut()
    eventually(lambda: total("mcp_server_open_streams") == 0)
    with stream(last_event_id=event_id) as resumed:
        assert resumed.status == 200
        assert total("mcp_server_open_streams") == 1
        resumed.cut()
    assert total("mcp_server_streams_resumed_total") == 1
    sessions[0].delete()


def test_questions(http: Http, total: Look) -> None:
    session = http.initialize(capabilities={"elicitation": {}})
    with session.start("tools/call", {"name": "ask", "arguments": {}}) as call:
        question = next(message for message in call.events() if message.get("method") == "elicitation/create")
        assert total("mcp_server_pending_questions") == 1
        session.post({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}})
        call.read()
    assert total("mcp_server_pending_questions") == 0


def test_calls_that_the_cache_answers(http: Http, total: Look) -> None:
    for _ in range(5):
        http.modern_call("kept", text="tea")
    assert total("enfilade_calls_answered_total", source="cache") == 4
    assert total("mcp_server_operation_duration_seconds_count", target="kept", outcome="ok") == 5


def test_the_store_and_the_event_loop(http: Http, total: Look) -> None:
    http.initialize().delete()  # which changes the record of the session
    assert total("enfilade_store_operation_duration_seconds_count", operation="keys.swap") > 0
    lag = "enfilade_event_loop_lag_seconds"

    def late() -> float:
        return total(f"{lag}_count") - total(f"{lag}_bucket", le="0.02")

    before = late()
    http.modern_call("block", seconds=0.4)  # longer than a timer waits
    eventually(lambda: late() > before)


def test_a_store_that_fails_is_counted() -> None:
    before = counters.counts().get(("store_errors", "keys.get"), 0)
    store = measured(open_store("redis://127.0.0.1:1"))
    with pytest.raises(StoreError):
        asyncio.run(store.keys.get("a"))
    assert counters.counts()["store_errors", "keys.get"] == before + 1


def test_lines_that_stderr_does_not_take_are_counted() -> None:
    before = counters.counts().get(("log_lines_dropped", "stderr"), 0)
    reading, writing = os.pipe()
    writer = LineWriter(writing, capacity=100_000)
    for _ in range(300):
        writer.put(b"x" * 999 + b"\n")
    dropped = counters.counts()["log_lines_dropped", "stderr"] - before
    assert 100 < dropped < 250  # a pipe and the buffer have room for the others
    os.close(reading)


def test_stdio_with_a_port_of_its_own() -> None:
    port = free_port()
    env = {**os.environ, "ENFILADE_METRICS_PORT": str(port), "PYTHONPATH": "tests"}
    with Stdio(python_command(SCRIPT, "stdio"), env=env) as client:
        client.initialize()
        for number in range(2, 12):
            client.request("tools/call", {"name": "add", "arguments": {"a": number, "b": 1}}, id=number)
            client.answer(number)
        scrape = Scrape.of(f"http://127.0.0.1:{port}/metrics")
        operations = "mcp_server_operation_duration_seconds_count"
        assert scrape.total(operations, transport="stdio", method="tools/call", target="add", outcome="ok") == 10
        assert scrape.total("mcp_server_sessions_opened_total", transport="stdio") == 1
