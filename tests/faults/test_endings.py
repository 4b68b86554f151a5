"""A server over stdio ends: whatever its handlers do, whoever does not read, however much comes in.

Real processes, as a client starts them. The easy thing to get wrong is to be impatient: a machine that is busy
takes long for everything, so a process gets a minute where it should take a second.
"""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from support.faults.servers import LOOPS
from support.harness import eventually
from support.http_client.connection import Http
from support.servers.processes import ServerProcess, python_command
from support.stdio_client.slow_reader import LIMIT, SCRIPT, SlowReader

SHORT = {"ENFILADE_SHUTDOWN_TIMEOUT": "0.2", "ENFILADE_LIFESPAN_TIMEOUT": "0.3"}
LONG = {"ENFILADE_SHUTDOWN_TIMEOUT": "600", "ENFILADE_LIFESPAN_TIMEOUT": "600"}
TERM, INT = signal.SIGTERM, signal.SIGINT

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without asking them")
endings = pytest.mark.parametrize("how", ["input", TERM, INT], ids=["input", "SIGTERM", "SIGINT"])
loops = pytest.mark.parametrize("round", range(LOOPS))


READERS = (("stdout", "stderr"), ())
"""What clients read: both, or nothing."""


def at_once(end: Callable[..., int], kinds: Iterable[tuple[Any, ...]]) -> list[int]:
    """End servers of several kinds at the same time, and return their exit codes."""
    kinds = list(kinds)
    with ThreadPoolExecutor(len(kinds)) as pool:
        return [future.result() for future in [pool.submit(end, *kind) for kind in kinds]]


FORCED = {"input": 1, TERM: 128 + TERM, INT: 128 + INT}
"""Exit codes of a process that had to be ended by its watchdog."""

HANDLERS = {
    "deaf": False,
    "tidy": False,
    "sleep": True,
    "spin": True,
    "thread": False,
    "pool": True,
    "own_thread": True,
    "backtrack": True,
}
"""The handlers, and whether one of them has to be ended together with its process."""


@posix
@loops
@endings
def test_it_ends_whatever_handlers_do(how: str | signal.Signals, round: int, tmp_path: Path) -> None:
    """R-403: each handler in a process of its own, all at the same time; every other one has nobody who reads."""
    tools = [tool for tool in HANDLERS if not (tool == "backtrack" and how == "input")]

    def end(position: int, tool: str) -> int:
        with SlowReader(tmp_path, SHORT, READERS[(position + round) % 2]) as child:
            child.enter(tool)
            return child.end(how)

    for tool, code in zip(tools, at_once(end, enumerate(tools)), strict=True):
        late = 1 if tool in ("pool", "own_thread", "backtrack") else FORCED[how]
        assert code in ((late, FORCED[how]) if HANDLERS[tool] else (0,)), tool


@posix
@loops
@pytest.mark.parametrize("stubborn", ["lifespan", "exit", "startup"])
def test_it_ends_whatever_else_does_not(stubborn: str, round: int, tmp_path: Path) -> None:
    with SlowReader(tmp_path, {**SHORT, "STUBBORN": stubborn}) as child:
        child.initialize()
        if stubborn == "startup":
            eventually(child.reached.exists, timeout=LIMIT)
        else:
            child.answer("initialize")
        assert child.end(TERM) == {"lifespan": 128 + TERM, "exit": 1, "startup": 128 + TERM}[stubborn]
        if stubborn != "startup":
            assert "did not end in time" in child.log


@posix
@loops
@pytest.mark.parametrize("tool", ["deaf", "spin", "backtrack"])
@pytest.mark.parametrize(("first", "second"), [(TERM, TERM), (INT, TERM)])
def test_a_second_signal_ends_at_once(
    tool: str, first: signal.Signals, second: signal.Signals, round: int, tmp_path: Path
) -> None:
    """The time that the first one gives is not over for ten minutes; a blocked loop has no say in it."""
    with SlowReader(tmp_path, LONG, ()) as child:
        child.enter(tool)
        child.process.send_signal(first)
        while True:  # until the first one was taken, the second is the first
            child.process.send_signal(second)
            with suppress(subprocess.TimeoutExpired):
                assert child.process.wait(0.5) == -second
                break


@posix
@loops
@endings
def test_it_ends_while_it_is_flooded(how: str | signal.Signals, round: int, tmp_path: Path) -> None:
    """Requests without end, from clients that read or do not; also while the loop is blocked, which takes few."""

    def end(tool: str | None, reads: tuple[str, ...]) -> int:
        patient = {} if tool is not None else {"ENFILADE_LIFESPAN_TIMEOUT": "30"}  # thousands are still answered
        with SlowReader(tmp_path, {**SHORT, **patient}, reads) as child:
            child.initialize()
            if tool is not None:
                child.enter(tool)
            with flood(child) as poured:
                eventually(lambda: poured() > 100_000, timeout=LIMIT)
                if tool is not None:
                    time.sleep(0.5)
                    assert poured() < 3_000_000, "a blocked loop is flooded"
                if how != "input":
                    return child.end(how)
            return child.end(how)

    kinds = list(itertools.product((None, "sleep"), READERS))
    for (tool, reads), code in zip(kinds, at_once(end, kinds), strict=True):
        assert code == (0 if tool is None else FORCED[how]), (tool, reads)


@contextmanager
def flood(child: SlowReader) -> Iterator[Callable[[], int]]:
    """Send pings as fast as the server takes them; yield what tells how many bytes it has taken."""
    assert child.process.stdin is not None
    pipe = child.process.stdin.fileno()
    os.set_blocking(pipe, False)
    pings = b'{"jsonrpc":"2.0","id":7,"method":"ping"}\n' * 1000
    sent, over = 0, threading.Event()

    def pour() -> None:
        nonlocal sent
        while not over.is_set():
            try:
                sent += os.write(pipe, pings)
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:  # it has ended
                return

    pouring = threading.Thread(target=pour)
    pouring.start()
    try:
        yield lambda: sent
    finally:
        over.set()
        pouring.join()


@posix
@loops
def test_nobody_reads_the_output_any_more(round: int, tmp_path: Path) -> None:
    """Nothing can be answered, so nobody waits for calls, nor for the end of the input."""
    with SlowReader(tmp_path, {**LONG, "ENFILADE_LIFESPAN_TIMEOUT": "5"}, ("stderr",)) as child:
        child.enter("nap", seconds=3600)
        assert child.process.stdout is not None
        child.process.stdout.close()
        for id in range(10):
            child.send(id=f"ping {id}", method="ping")
        assert child.wait() == 0
        assert "printed by the lifespan, down" in child.log


class TestTheEndOfTheInput:
    """R-403: as with `printf … | enfilade run server.py | …`."""

    @loops
    def test_calls_get_to_finish(self, round: int, tmp_path: Path) -> None:
        with SlowReader(tmp_path, {"ENFILADE_SHUTDOWN_TIMEOUT": "60"}) as child:
            child.initialize()
            child.call("nap", seconds=1.5)
            assert child.end("input") == 0
            assert child.messages[1]["result"]["content"][0]["text"] == "rested"

    @loops
    def test_a_signal_shortens_the_time(self, round: int, tmp_path: Path) -> None:
        with SlowReader(tmp_path, LONG) as child:
            child.enter("nap", seconds=3600)
            child.close_input()
            time.sleep(0.1)
            assert child.end(TERM) == 0
            assert "stopping" in child.messages[1]["error"]["message"]

    @loops
    @pytest.mark.parametrize("tool", ["nap", "deaf", "tidy"])
    def test_what_is_cut_off_gets_an_error(self, tool: str, round: int, tmp_path: Path) -> None:
        """Exactly one outcome, also where the handler does not hear of it."""
        with SlowReader(tmp_path, SHORT) as child:
            child.enter(tool, **({"seconds": 3600} if tool == "nap" else {}))
            assert child.end("input") == 0
            assert "stopping" in child.messages[1]["error"]["message"]
            assert bytes(child.output["stdout"]).count(b'"id":1,') == 1


@posix
@loops
@pytest.mark.parametrize("how", [TERM, INT])
def test_it_ends_over_http(how: signal.Signals, round: int, tmp_path: Path) -> None:
    """One process: nobody else is there to kill it."""

    def end(tool: str) -> int:
        reached = tmp_path / tool
        env = {**SHORT, "ENFILADE_SHUTDOWN_TIMEOUT": "1", "ENFILADE_DRAIN_DELAY": "0", "REACHED": str(reached)}
        with ServerProcess(python_command(SCRIPT, "http", "{port}"), env=env) as server:
            Http(server.port).start_modern("tools/call", {"name": tool, "arguments": {}})
            eventually(reached.exists, timeout=LIMIT)
            server.process.send_signal(how)
            return server.process.wait(LIMIT)

    tools = ["deaf", "sleep", "spin", "pool"]
    for tool, code in zip(tools, at_once(end, ((tool,) for tool in tools)), strict=True):
        assert code in ((128 + how,) if tool in ("sleep", "spin") else (0, 1, -how, 128 + how)), tool
