"""Threads for plain functions: at most so many, started when needed, and never in the way of the end."""

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from enfilade.serving.threads import Threads

pytestmark = pytest.mark.anyio


async def test_a_value_and_a_failure_come_back() -> None:
    threads = Threads(2)
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
        await Threads(1).run(fail)


async def test_no_more_than_allowed_and_all_of_them_in_the_end() -> None:
    threads, lock = Threads(3), threading.Lock()
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
    threads = Threads(10)
    names = {await threads.run(lambda: threading.current_thread().name) for _ in range(20)}
    assert len(names) <= 5, "one, and now and then another while the first is not idle yet"
    threads.shutdown()


async def test_context_variables_go_along() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("here")
    assert await Threads(1).run(variable.get) == "here"


async def test_they_keep_nobody_from_stopping() -> None:
    """D36, R-403: daemons, unlike those of the standard library's pool."""
    assert await Threads(1).run(lambda: threading.current_thread().daemon)


async def test_what_was_cancelled_while_it_waited_is_not_called() -> None:
    threads, door = Threads(1), threading.Event()
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
    threads, door = Threads(1), threading.Event()
    running: Any = asyncio.ensure_future(threads.run(door.wait, 30))
    await asyncio.sleep(0)
    threads.shutdown()
    assert not running.done()
    door.set()
    assert await running is True


class Fast(Threads):
    """Threads whose calls have ended before the event loop gets to wait for them."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        assert concurrent.futures.wait((future,), 30).done
        return future


async def test_what_a_fast_thread_hands_to_the_loop_comes_before_its_outcome() -> None:
    """R-2B0: a tool's last report of progress is not lost, however soon the tool returns."""
    order: list[str] = []
    await Fast(1).run(asyncio.get_running_loop().call_soon_threadsafe, order.append, "what was handed over")
    order.append("the outcome")
    assert order == ["what was handed over", "the outcome"]
