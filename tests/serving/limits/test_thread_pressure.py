"""Calls that wait for threads: the pool grows and shrinks, and what still waits is logged and measured."""

import asyncio
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from enfilade import counters
from enfilade.serving.thread_pool import FEW, ThreadPool
from enfilade.timings import Timings
from support.http_client.connection import Http
from support.servers.processes import ServerProcess, enfilade_command, environment, free_port
from support.telemetry.scrape import Scrape
from support.waiting import eventually, until

pytestmark = pytest.mark.anyio

AT_ONCE = Timings(thread_check=0.001, thread_wait=0.0)


async def test_it_grows_beyond_the_few_for_calls_that_block() -> None:
    """A barrier lets calls pass only when so many of them run at once."""
    limit = 2 * FEW
    threads, meeting = ThreadPool(limit), threading.Barrier(limit)
    places = await asyncio.gather(*(threads.run(meeting.wait, 30) for _ in range(2 * limit)))
    assert sorted(places) == sorted([*range(limit)] * 2)
    assert threads.size() == limit
    threads.shutdown()


async def test_it_starts_only_as_many_as_are_needed() -> None:
    threads, meeting = ThreadPool(200), threading.Barrier(5)
    await asyncio.gather(*(threads.run(meeting.wait, 30) for _ in range(5)))
    assert threads.size() == 5
    threads.shutdown()


async def test_it_does_not_grow_beyond_the_few_while_the_processor_has_no_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Threads that compute would only make the event loop wait longer for its turn.

    While one of them has the interpreter, the loop waits at least for the switch interval.
    """
    timings = Timings(thread_check=sys.getswitchinterval() / 2, thread_wait=0.0)
    threads, door, is_over = ThreadPool(2 * FEW, timings), threading.Event(), threading.Event()

    def compute() -> bool:
        while not is_over.is_set():
            pass
        return True

    calls = [asyncio.ensure_future(threads.run(compute)) for _ in range(4)]
    await until(lambda: threads.busy() == 4)
    calls += [asyncio.ensure_future(threads.run(door.wait, 60)) for _ in range(FEW)]
    await until(lambda: caplog.records)
    assert "more would not help, as this process has no processor time left" in caplog.text
    assert threads.size() == FEW
    is_over.set()
    await until(lambda: threads.queued() == 0)
    door.set()
    assert await asyncio.gather(*calls) == [True] * (FEW + 4)
    threads.shutdown()


async def test_idle_threads_end_and_new_ones_take_their_place() -> None:
    threads, meeting = ThreadPool(8, Timings(thread_idle=0.01)), threading.Barrier(8)
    names = threading.enumerate()
    for _ in range(3):
        await asyncio.gather(*(threads.run(meeting.wait, 30) for _ in range(8)))
        await until(lambda: threads.size() == 0)
    assert threads.busy() == threads.queued() == 0
    await until(lambda: set(threading.enumerate()) <= set(names))
    threads.shutdown()


async def test_calls_come_through_while_threads_end() -> None:
    """A thread that is woken at the moment at which it would end takes the call, or another one does."""
    threads = ThreadPool(4, Timings(thread_idle=0.0005))
    for number in range(500):
        assert await threads.run(lambda value: value, number) == number
        if number % 3 == 0:
            await asyncio.sleep(0.0005)
    threads.shutdown()


async def test_a_thread_with_an_open_lane_stays() -> None:
    threads = ThreadPool(4, Timings(thread_idle=0.001))
    lane = threads.lane()
    thread = await lane.run(threading.current_thread)
    await threads.run(int)
    await until(lambda: threads.size() == 1)
    assert await lane.run(threading.current_thread) is thread
    lane.close()
    await until(lambda: threads.size() == 0)


async def test_what_waits_is_logged_once_in_a_while_and_measured(caplog: pytest.LogCaptureFixture) -> None:
    waits: list[float] = []
    counters.listen(lambda name, label, seconds: waits.append(seconds) if name == "tool_thread_wait" else None)
    threads, door = ThreadPool(2, AT_ONCE), threading.Event()
    calls = [asyncio.ensure_future(threads.run(door.wait, 30)) for _ in range(5)]
    await until(lambda: caplog.records)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("3 calls of plain def tools wait for a thread, the first for ")
    assert record.getMessage().endswith("all 2 are busy, and tool_threads allows no more")
    assert threads.queued() == 3
    door.set()
    await asyncio.gather(*calls)
    assert len(waits) == 3
    assert min(waits) > 0
    await asyncio.sleep(0.01)
    assert len(caplog.records) == 1
    threads.shutdown()


async def test_calls_that_find_a_thread_are_no_waits(caplog: pytest.LogCaptureFixture) -> None:
    waits: list[str] = []
    counters.listen(lambda name, label, seconds: waits.append(name) if name == "tool_thread_wait" else None)
    threads = ThreadPool(4, AT_ONCE)
    for _ in range(50):
        await threads.run(int)
    assert (waits, caplog.records) == ([], [])
    threads.shutdown()


async def test_many_short_calls_wake_the_event_loop_less_often_than_there_are_calls() -> None:
    """One wake-up serves all outcomes that are ready; counted, as the times depend on the machine."""
    loop = asyncio.get_running_loop()
    wake_ups = 0
    schedule = loop.call_soon_threadsafe

    def counted(*args: Any, **kwargs: Any) -> asyncio.Handle:
        nonlocal wake_ups
        wake_ups += 1
        return schedule(*args, **kwargs)

    threads = ThreadPool(4)
    loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
    try:
        assert await asyncio.gather(*(threads.run(int, n) for n in range(2000))) == list(range(2000))
    finally:
        del loop.call_soon_threadsafe  # type: ignore[method-assign]
    assert wake_ups < 1000
    threads.shutdown()


# -- over sockets ----------------------------------------------------------------------------------------------

SERVER = """
import threading
import time
from pathlib import Path
from enfilade import MCPApp

app = MCPApp("blocking", metrics=True)
doors = {}


@app.tool
def meet(name: str, count: int) -> int:
    door = doors.setdefault(name, threading.Barrier(count))
    return door.wait(60)


@app.tool
def hold(gate: str) -> str:
    while not Path(gate).exists():
        time.sleep(0.01)
    return "done"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def meet(http: Http, name: str, callers: int, count: int) -> list[int]:
    with ThreadPoolExecutor(callers) as threads:
        replies = threads.map(lambda _: http.modern_call("meet", name=name, count=count), range(callers))
        return sorted(reply.result["structuredContent"]["result"] for reply in replies)


def test_as_many_callers_as_the_default_allows_run_at_once(folder: Path) -> None:
    """Each call waits for the others in its thread, so all of them end only if all run at once."""
    command = enfilade_command("run", "server.py", "-t", "http", "-p", "{port}")
    with ServerProcess(command, port=free_port(), cwd=folder, env=environment()) as server:
        http = Http(server.port)
        assert meet(http, "all", 200, 200) == list(range(200))
        scrape = Scrape.of(f"http://127.0.0.1:{server.port}/metrics")
        assert scrape.total("enfilade_tool_threads") == 200
        assert scrape.total("enfilade_tool_thread_wait_seconds_count") > 0
        assert "wait for a thread" not in server.output


@pytest.mark.parametrize("verb", [("run", "-t", "http"), ("dev",)], ids=["run", "dev"])
def test_the_log_and_the_screen_of_dev_say_that_calls_wait(folder: Path, verb: tuple[str, ...]) -> None:
    command = enfilade_command(verb[0], "server.py", *verb[1:], "-p", "{port}")
    env = environment(ENFILADE_TOOL_THREADS="2")
    with ServerProcess(command, port=free_port(), cwd=folder, env=env, start_timeout=90) as server:
        http = Http(server.port)
        with ThreadPoolExecutor(4) as threads:
            calls = [threads.submit(http.modern_call, "hold", gate=str(folder / "gate")) for _ in range(3)]
            try:
                eventually(lambda: "1 calls of plain def tools wait for a thread" in server.output)
                assert "tool_threads allows no more" in server.output
            finally:
                (folder / "gate").touch()
            assert [call.result().status for call in calls] == [200] * 3
