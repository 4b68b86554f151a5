"""Nobody reads stderr, or somebody closes it: calls go on, and what was not written is counted.

A client may ignore the stderr of a server (2025-11-25 basic/transports, stdio). Its pipe is full after 64 KiB,
and whoever writes to it then waits. The easy thing to get wrong is to test less than that.
"""

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from support.faults.servers import LOOPS
from support.harness import eventually
from support.http_client.connection import Http
from support.servers.processes import environment, free_port, python_command
from support.stdio_client.slow_reader import LIMIT, SCRIPT, SlowReader

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes of another kind")

loops = pytest.mark.parametrize("round", range(LOOPS))

SHORT = {"ENFILADE_SHUTDOWN_TIMEOUT": "0.2", "ENFILADE_LIFESPAN_TIMEOUT": "0.3"}
PRINTED = 3
"""Lines that the server prints besides: when it is imported, and at both ends of its lifespan."""

DROPPED = re.compile(r" WARNING enfilade: (\d+) lines were dropped, because stderr was not read\n")


def read_all(child: SlowReader) -> str:
    """Read what waits on stderr until the server has ended."""
    assert child.process.stderr is not None
    reader = threading.Thread(target=child._read, args=("stderr",), daemon=True)
    reader.start()
    assert child.end("input") == 0
    reader.join(LIMIT)
    return child.log


@loops
def test_calls_that_fail_go_on_for_ever(round: int, tmp_path: Path) -> None:
    """Each is logged with a traceback of a kilobyte; after 64 of them the pipe is full."""
    with SlowReader(tmp_path, SHORT, ("stdout",)) as child:
        child.initialize()
        for calls in (range(250), range(250, 500)):
            for id in calls:
                child.call("boom", id=id)
            for id in calls:
                assert child.answer(id)["result"]["isError"] is True
        child.send(id="ping", method="ping")
        assert child.answer("ping")["result"] == {}
        assert child.end("input") == 0


@loops
def test_what_is_dropped_is_counted(round: int, tmp_path: Path) -> None:
    """Every line of the log arrives or is counted, in the format of the log."""
    quiet = {**SHORT, "ENFILADE_LOG_LEVEL": "warning"}  # without the lines of requests, which have a limit
    with SlowReader(tmp_path, quiet, ("stdout",)) as child:
        child.initialize()
        calls = 8000
        for start in range(0, calls, 500):  # fewer at once than may be in flight
            some = range(start, start + 500)
            for id in some:
                child.call("boom", id=id)
            for id in some:
                assert "result" in child.answer(id)
        log = read_all(child)
        (dropped,) = [int(count) for count in DROPPED.findall(log)]
        whole = len(re.findall(r"ERROR enfilade.serving: tool 'boom' failed", log))
        assert 0 < whole < calls
        lines = log.count("\n") - 1  # without the notice
        a_call = log.split("ERROR enfilade.serving")[1].count("\n")
        assert lines + dropped == calls * a_call + PRINTED, (lines, dropped, a_call)


@loops
@pytest.mark.parametrize("by", ["print", "stderr", "native", "child"])
@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_a_tool_that_writes_holds_nobody_up(by: str, size: int, round: int, tmp_path: Path) -> None:
    """`print` and other writers in an `async def` tool, which runs in the event loop."""
    with SlowReader(tmp_path, SHORT, ("stdout",)) as child:
        child.initialize()
        child.call("chatter", size=size, by=by)
        child.send(id="ping", method="ping")
        assert child.answer("ping")["result"] == {}
        assert child.answer(1)["result"]["content"][0]["text"] == "said"
        assert child.end("input") == 0


@loops
def test_all_arrives_where_somebody_reads(round: int, tmp_path: Path) -> None:
    """No line is lost at the end, nor cut; lines of requests would come in between."""
    with SlowReader(tmp_path, {**SHORT, "ENFILADE_LOG_LEVEL": "warning"}) as child:
        child.initialize()
        for id in range(20):
            child.call("chatter", id=id, size=79 * 500, by=("print", "stderr", "native")[id % 3])
            child.answer(id)
        assert child.end("input") == 0
        assert "dropped" not in child.log
        assert child.log.count("x" * 79 + "\n") == 20 * (79 * 500 // 80 + 1)
        assert child.log.endswith("printed by the lifespan, down\n")


@loops
@pytest.mark.parametrize("command", ["run", "script"])
def test_stdout_is_the_protocol_s(command: str, round: int, tmp_path: Path) -> None:
    """R-401: from before the app is imported, by `enfilade run`, until after the lifespan and exit handlers."""
    more = {} if command == "run" else {"command": [sys.executable, str(SCRIPT)]}
    with SlowReader(tmp_path, {**SHORT, "STUBBORN": "talk"}, **more) as child:
        child.initialize()
        child.call("chatter", size=100, by="print")
        assert child.end("input") == 0
        said = bytes(child.output["stdout"])
        if command == "script":  # run() cannot know what came before it, or comes after it
            assert said.startswith(b"printed while it is imported\n")
            said = said.removeprefix(b"printed while it is imported\n").removesuffix(b"printed at the exit\n")
        assert [line[:1] for line in said.split(b"\n")] == [b"{", b"{", b""]
        for text in ("printed by the lifespan, up", "printed by the lifespan, down"):
            assert text in child.log
        for text in ("printed while it is imported", "printed at the exit", "logged to stdout"):
            assert (text in child.log) == (command == "run" or text == "logged to stdout")


@loops
@pytest.mark.parametrize("faulthandler", ["0", "1"])
def test_a_crash_is_told(faulthandler: str, round: int, tmp_path: Path) -> None:
    """A fault in native code: the frames that led there are on the real stderr."""
    with SlowReader(tmp_path, {"STUBBORN_FAULTHANDLER": faulthandler}) as child:
        child.initialize()
        child.call("crash")
        assert child.wait() == -signal.SIGSEGV
        assert "Segmentation fault" in child.log
        assert "in crash" in child.log


@loops
def test_a_tool_that_closes_stderr(round: int, tmp_path: Path) -> None:
    """A failing call still has its outcome, and the log its line."""
    with SlowReader(tmp_path, SHORT) as child:
        child.initialize()
        child.call("close_stderr", id=1)
        assert "result" in child.answer(1)
        child.call("boom", id=2)
        assert child.answer(2)["result"]["isError"] is True
        assert child.end("input") == 0
        assert "tool 'boom' failed" in child.log


@loops
@pytest.mark.parametrize("workers", ["1", "2"])
def test_nobody_reads_the_log_over_http(workers: str, round: int, tmp_path: Path) -> None:
    port = free_port()
    env = environment(ENFILADE_WORKERS=workers, ENFILADE_SHUTDOWN_TIMEOUT="1", REACHED=str(tmp_path / "reached"))
    command = python_command(SCRIPT, "http", str(port))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env) as process:
        try:
            http = Http(port)
            eventually(lambda: answers(http), timeout=LIMIT)
            for _ in range(300):
                reply = http.modern("tools/call", {"name": "boom", "arguments": {}})
                assert reply.result["isError"] is True
            assert http.modern("tools/list").status == 200
            process.terminate()
            assert process.wait(LIMIT) in (0, -signal.SIGTERM)
        finally:
            process.kill()


def answers(http: Http) -> bool:
    """Whether a server listens."""
    try:
        return http.modern("tools/list").status == 200
    except OSError:
        return False


@loops
def test_one_format(round: int, tmp_path: Path) -> None:
    """Lines of ours, of uvicorn's and of its access log look the same, also those of workers."""
    port = free_port()
    for workers in ("1", "2"):
        env = environment(
            ENFILADE_WORKERS=workers,
            ENFILADE_LOG_LEVEL="debug",
            ENFILADE_SHUTDOWN_TIMEOUT="1",
            REACHED=str(tmp_path / "reached"),
        )
        command = python_command(SCRIPT, "http", str(port))
        log = tmp_path / "log"
        with log.open("wb") as file:
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file, env=env) as process:
                try:
                    http = Http(port)
                    eventually(lambda: answers(http), timeout=LIMIT)
                    process.terminate()
                    process.wait(LIMIT)
                finally:
                    process.kill()
        lines = log.read_text("utf-8").splitlines()
        stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+"
        form = re.compile(stamp + r" (enfilade|uvicorn|asyncio)[\w.]*(\[\d+\])?: ")
        assert [line for line in lines if not form.match(line)] == []
        assert any('"POST /mcp HTTP/1.1" 200' in line for line in lines)
        assert any(line.endswith(": stopped") for line in lines)
        assert len(lines) == len({*lines}), "a line was written twice"


@loops
def test_a_store_that_is_away_is_told_once(round: int, tmp_path: Path) -> None:
    """By the store itself; what uses it does not say so again."""
    port, nobody = free_port(), free_port()
    env = environment(
        ENFILADE_STORE=f"redis://127.0.0.1:{nobody}/0",
        ENFILADE_SHUTDOWN_TIMEOUT="1",
        REACHED=str(tmp_path / "reached"),
    )
    log = tmp_path / "log"
    with log.open("wb") as file:
        command = python_command(SCRIPT, "http", str(port))
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file, env=env) as process:
            try:
                eventually(lambda: ": serving" in log.read_text("utf-8"), timeout=LIMIT)
                process.terminate()
                process.wait(LIMIT)
            finally:
                process.kill()
    warnings = [line for line in log.read_text("utf-8").splitlines() if " WARNING " in line]
    assert [line for line in warnings if "out of reach" in line] == warnings
    assert len(warnings) == 1, warnings
