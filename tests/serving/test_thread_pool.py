"""Threads for plain functions: at most so many, started when needed, and never in the way of the end."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from enfilade.serving.thread_pool import ThreadPool
from support.waiting import until

pytestmark = pytest.mark.anyio


async def test_a_value_and_a_failure_come_back() -> None:
    threads = ThreadPool(2)
    assert await threads.run(lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 / 0)
    threads.shutdown()


@pytest.mark.parametrize("failure", [StopIteration("dry"), SystemExit(3)], ids=repr)
async def test_a_failure_that_is_hard_to_carry(failure: BaseException) -> None:
    """Never leave a caller waiting: a future refuses to carry `StopIteration`."""

    def fail() -> None:
        raise failure

    with pytest.raises((RuntimeError, SystemExit)):
        await ThreadPool(1).run(fail)


async def test_no_more_than_allowed_and_all_of_them_in_the_end() -> None:
    threads, lock = ThreadPool(3), threading.Lock()
    running, most = 0, 0
    meeting = threading.Barrier(3)

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        meeting.wait(30)  # passes only when three run at once
        with lock:
            running -= 1
        return number

    assert await asyncio.gather(*(threads.run(work, number) for number in range(12))) == list(range(12))
    assert most == 3
    threads.shutdown()


async def test_an_idle_thread_is_used_again() -> None:
    threads = ThreadPool(10)
    used = set()
    for _ in range(20):
        used.add(await threads.run(threading.get_ident))
        await until(lambda: threads._idle)  # a call's outcome is there before its thread is idle again
    assert len(used) == 1
    threads.shutdown()


async def test_context_variables_go_along() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("here")
    assert await ThreadPool(1).run(variable.get) == "here"


async def test_they_keep_nobody_from_stopping() -> None:
    """D36, R-403: daemons, unlike those of the standard library's pool."""
    assert await ThreadPool(1).run(lambda: threading.current_thread().daemon)


async def test_what_was_cancelled_while_it_waited_is_not_called() -> None:
    threads, door = ThreadPool(1), threading.Event()
    called: list[str] = []
    first = asyncio.ensure_future(threads.run(door.wait, 30))
    second = asyncio.ensure_future(threads.run(called.append, "second"))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    door.set()
    assert await first is True
    assert await threads.run(lambda: "third") == "third"
    assert called == []
    threads.shutdown()


async def test_shutdown_waits_for_nobody() -> None:
    threads, door = ThreadPool(1), threading.Event()
    running: Any = asyncio.ensure_future(threads.run(door.wait, 30))
    await asyncio.sleep(0)
    threads.shutdown()
    assert not running.done()
    door.set()
    assert await running is True


class TestLanes:
    async def test_all_calls_run_in_one_thread(self) -> None:
        threads = ThreadPool(8)
        lane = threads.lane()
        first = await lane.run(threading.get_ident)
        await asyncio.gather(*(threads.run(threading.get_ident) for _ in range(20)))
        assert {await lane.run(threading.get_ident) for _ in range(10)} == {first}
        lane.close()
        threads.shutdown()

    async def test_its_thread_is_free_between_the_calls(self) -> None:
        """As many open lanes as there are threads, and more, keep nobody else waiting."""
        threads = ThreadPool(2)
        lanes = [threads.lane() for _ in range(5)]
        own = [await lane.run(threading.get_ident) for lane in lanes]
        assert len(set(own)) == 2
        assert await asyncio.gather(*(threads.run(lambda: "done") for _ in range(10))) == ["done"] * 10
        assert [await lane.run(threading.get_ident) for lane in lanes] == own
        for lane in lanes:
            lane.close()
        threads.shutdown()

    async def test_other_work_takes_another_thread_while_there_is_one(self) -> None:
        """So that a call waits for none of the others."""
        threads, door = ThreadPool(2), threading.Event()
        lane = threads.lane()
        own = await lane.run(threading.get_ident)
        other = asyncio.ensure_future(threads.run(lambda: door.wait(30) and threading.get_ident()))
        assert await lane.run(threading.get_ident) == own
        door.set()
        assert await other != own
        lane.close()
        threads.shutdown()

    async def test_its_calls_come_one_after_the_other(self) -> None:
        threads, door = ThreadPool(4), threading.Event()
        lane, done = threads.lane(), []
        first = asyncio.ensure_future(lane.run(lambda: door.wait(30) and done.append("first")))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(lane.run(done.append, "second"))
        await asyncio.sleep(0.01)
        assert done == []
        door.set()
        await asyncio.gather(first, second)
        assert done == ["first", "second"]
        lane.close()
        threads.shutdown()

    async def test_a_cancelled_wait_for_a_thread_leaves_nothing(self) -> None:
        threads, door = ThreadPool(1), threading.Event()
        busy = asyncio.ensure_future(threads.run(door.wait, 30))
        await asyncio.sleep(0)
        lane = threads.lane()
        waiting = asyncio.ensure_future(lane.run(pytest.fail))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        lane.close()
        door.set()
        await busy
        assert await threads.run(lambda: "next") == "next"
        threads.shutdown()

    async def test_open_ones_are_served_after_the_shutdown_and_then_their_thread_ends(self) -> None:
        """What a call has opened in its thread can still be closed there."""
        threads = ThreadPool(1)
        lane = threads.lane()
        thread = await lane.run(threading.current_thread)
        threads.shutdown()
        assert await lane.run(threading.current_thread) is thread
        lane.close()
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()
        with pytest.raises(RuntimeError, match="shut down"):
            await threads.run(lambda: None)


async def test_threads_that_the_system_refuses_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = ThreadPool(8)
    assert await threads.run(lambda: "one") == "one"
    door = threading.Event()
    busy = asyncio.ensure_future(threads.run(door.wait, 30))
    await asyncio.sleep(0)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        waiting = asyncio.ensure_future(threads.run(lambda: "two"))
        await asyncio.sleep(0)
    door.set()
    assert await waiting == "two"
    await busy
    threads.shutdown()


class Fast(ThreadPool):
    """Threads whose calls have ended before the event loop gets to wait for them."""

    def _start(self, function: Callable[..., Any], args: tuple[Any, ...]) -> "asyncio.Future[Any]":
        has_ended = threading.Event()

        def call() -> Any:
            try:
                return function(*args)
            finally:
                has_ended.set()

        future = super()._start(call, ())
        assert has_ended.wait(30)
        return future


async def test_what_a_fast_thread_hands_to_the_loop_comes_before_its_outcome() -> None:
    """R-2B0: a tool's last report of progress is not lost, however soon the tool returns."""
    order: list[str] = []
    await Fast(1).run(asyncio.get_running_loop().call_soon_threadsafe, order.append, "what was handed over")
    order.append("the outcome")
    assert order == ["what was handed over", "the outcome"]
