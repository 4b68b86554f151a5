"""The log: one format for all loggers, ids of requests, floods, forged lines, and readers that stall."""

import asyncio
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from enfilade import MCPApp, connect
from enfilade.serving.observation.record import clean, is_request_id
from enfilade.serving.observation.request_line import RequestLine
from enfilade.serving.observation.trace_context import parse_traceparent
from enfilade.transports.processes.line_writer import LineWriter
from support.harness import Stdio, eventually
from support.http_client.connection import Http
from support.servers.processes import ServerProcess, python_command
from support.servers.recorded_server import ENV, SCRIPT, RecordedServer

NEEDLE = "x\n2026-11-29 00:00:00,000 INFO enfilade: forged \x1b[31m\u2028\x85"


def test_records_of_all_loggers_carry_the_ids_of_their_request() -> None:
    with RecordedServer(ENFILADE_WORKERS="4") as server:
        eventually(lambda: sum(line.get("message") == "serving" for line in server.lines) == 4, server.output)
        http = Http(server.port)
        traceparent = f"00-{'ab' * 16}-{'cd' * 8}-01"
        reply = http.modern(
            "tools/call",
            {"name": "say", "arguments": {"text": NEEDLE}},
            x_request_id="from-the-proxy",
            traceparent=traceparent,
        )
        assert reply.header("x-request-id") == "from-the-proxy"
        server.request("from-the-proxy")
        said = next(line for line in server.lines if line["logger"] == "shop.orders")
        assert (said["request_id"], said["trace_id"], said["method"]) == (
            "from-the-proxy",
            "ab" * 16,
            "tools/call",
        )
        failed = http.modern_call("crash", text=NEEDLE)
        id = failed.header("x-request-id")
        assert id is not None
        server.request(id)
        (failure,) = [line for line in server.lines if "exception" in line]
        assert failure["request_id"] == id
        assert failure["message"].split("(id ")[1][:12] in str(failed.result)
        assert len({line["worker"] for line in server.lines}) >= 5


@pytest.mark.parametrize("value", ["a" * 129, "two words", "ünsafe", ""])
def test_other_request_ids_are_replaced(value: str) -> None:
    assert not is_request_id(value.encode("latin-1"))
    assert is_request_id(b"req-1:2/3")


def test_no_client_can_forge_a_line_of_text() -> None:
    with ServerProcess(python_command(SCRIPT, "http", "{port}"), env={"PYTHONPATH": ENV["PYTHONPATH"]}) as server:
        http = Http(server.port)
        http.modern_call("say", text=NEEDLE)
        http.modern_call("crash", text=NEEDLE)
        http.modern("tools/call", {"name": NEEDLE, "arguments": {}}, mcp_name="=?base64?eA==?=")
        http.initialize().call(NEEDLE)
        eventually(lambda: server.output.count("enfilade.requests") >= 5, server.output)
    assert [line for line in server.output.split("\n") if line.startswith("2026-11-29 00:00:00")] == []
    assert not set("\x1b\u2028\x85") & set(server.output)
    assert clean(NEEDLE).isprintable()


@pytest.mark.parametrize(
    ("value", "trace_id"),
    [
        (f"00-{'a' * 32}-{'b' * 16}-01", "a" * 32),
        (f"01-{'a' * 32}-{'b' * 16}-01-more", "a" * 32),
        (f"00-{'a' * 32}-{'b' * 16}-01-more", None),
        (f"00-{'0' * 32}-{'b' * 16}-01", None),
        (f"ff-{'a' * 32}-{'b' * 16}-01", None),
        ("nonsense", None),
        (7, None),
    ],
)
def test_traceparent(value: object, trace_id: str | None) -> None:
    trace = parse_traceparent(value)
    assert (None if trace is None else trace.trace_id) == trace_id


def test_a_flood_is_summed_up_and_distinct_failures_are_shown() -> None:
    with RecordedServer(ENFILADE_LOG_LIMIT="5") as server:
        session = Http(server.port).initialize()
        batch = [{"jsonrpc": "2.0", "id": number, "method": "ping"} for number in range(50)]
        bad = [
            {"jsonrpc": "2.0", "id": 100 + n, "method": "tools/call", "params": {"name": f"none{n % 2}"}}
            for n in range(20)
        ]
        old = Http(server.port).initialize("2025-03-26")
        old.post([*batch, *bad])
        session.ask("ping")
        summary = eventually(
            lambda: next((line for line in server.lines if "left out" in line.get("message", "")), None),
            server.output,
        )
        assert summary is not None
        shown = [line for line in server.requests if line["outcome"] == "-32602"]
        assert {line["target"] for line in shown} == {"none0", "none1"}
        assert len(server.requests) < 40
        left_out = int(summary["message"].split()[0])
        assert left_out + len(server.requests) == 73
        parts = summary["left_out"]
        assert sum(parts["outcomes"].values()) == sum(parts["callers"].values()) == left_out
        (caller,) = parts["callers"]
        assert f"most by {caller} ({left_out})" in summary["message"]


def test_a_stalled_reader_of_stderr_delays_nothing() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(writing, capacity=200_000)
    line = b"x" * 999 + b"\n"
    for _ in range(400):
        writer.put(line, urgent=False)
    assert not writer.flush(0.05)
    received: list[bytes] = []

    def read() -> None:
        while chunk := os.read(reading, 65536):
            received.append(chunk)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    eventually(lambda: writer.flush(1))
    eventually(lambda: b"lines were dropped" in b"".join(received))
    kept = b"".join(received).count(line)
    assert 150 < kept < 400
    assert b"%d lines were dropped" % (400 - kept) in b"".join(received)


def test_a_gathered_line_is_written_by_itself() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(writing)
    writer.put(b"one\n", urgent=False)
    assert os.read(reading, 100) == b"one\n"


def test_a_configuration_of_ones_own(tmp_path: Path) -> None:
    formatter = "enfilade.transports.processes.log_formats.JsonFormatter"
    config: dict[str, Any] = {
        "version": 1,
        "formatters": {"json": {"()": formatter}},
        "handlers": {
            "file": {"class": "logging.FileHandler", "filename": str(tmp_path / "log"), "formatter": "json"}
        },
        "root": {"level": "INFO", "handlers": ["file"]},
    }
    file = tmp_path / "logging.json"
    file.write_text(json.dumps(config))
    with Stdio(python_command(SCRIPT, "stdio"), {**ENV, "ENFILADE_LOG_CONFIG": str(file)}) as stdio:
        stdio.initialize()
        log = tmp_path / "log"
        eventually(lambda: log.exists() and "enfilade.requests" in log.read_text())
    line = json.loads(log.read_text().splitlines()[-1])
    assert (tuple(line), line["method"]) == (RequestLine.__struct_fields__, "initialize")
    with Stdio(python_command(SCRIPT, "stdio"), {**ENV, "ENFILADE_LOG_CONFIG": "missing.json"}) as stdio:
        stdio.process.wait(30)
        eventually(lambda: "log_config='missing.json' cannot be used" in stdio.log, stdio.log)


def test_without_a_log_of_requests_there_is_no_record() -> None:
    app = MCPApp("quiet")
    app.add_tool(lambda: 1, name="one", description="One.")

    async def call() -> None:
        async with connect(app) as client:
            await client.call_tool("one", {})

    asyncio.run(call())
    assert app.dispatcher.observation is None


def test_an_observer_that_fails_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def begin(self, record: object) -> None:
            raise ValueError("needle")

        end = begin

    app = MCPApp("observed")
    app.add_tool(lambda: "one", name="one", description="One.")
    app.add_observer(Failing())

    async def call() -> Any:
        async with connect(app) as client:
            return await client.call_tool("one", {})

    assert asyncio.run(call()).content[0].text == "one"
    assert "an observer of requests failed" in caplog.text
    with pytest.raises(RuntimeError, match="before the server is first used"):
        app.add_observer(Failing())


def test_another_handler_gets_records(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "enfilade.requests")
    app = MCPApp("handled")
    app.add_tool(lambda: "one", name="one", description="One.")

    async def call() -> None:
        async with connect(app) as client:
            await client.call_tool("one", {})

    asyncio.run(call())
    record: Any = next(record for record in caplog.records if "tools/call one" in record.getMessage())
    assert record.request["transport"] == "in_process"
    assert record.request["outcome"] == "ok"
