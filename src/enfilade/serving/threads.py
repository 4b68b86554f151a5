"""Threads for plain `def` handlers.

They are daemons, unlike those of the standard library's pool: a tool that blocks for ever must not keep a server
from stopping. Whoever stops the server has waited for the calls that matter already.
"""

import asyncio
import contextvars
import inspect
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

_Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class Threads(Executor):
    """Runs calls in at most `limit` threads, each started when no other is idle.

    Args:
        limit: how many calls run at once; further ones wait their turn.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` in a thread, with the caller's context variables, and return what it returns."""
        context = contextvars.copy_context()
        outcome = asyncio.get_running_loop().run_in_executor(self, context.run, function, *args)
        if outcome.done():  # possible since CPython 3.14: what the thread gave the loop goes first
            await asyncio.sleep(0)
        return await outcome

    async def result_of(self, function: Callable[..., Any], *args: Any) -> Any:
        """Do the same, and await what it returns if that can be awaited."""
        value = await self.run(function, *args)
        return await value if inspect.isawaitable(value) else value

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call (the interface asyncio asks of an executor; keywords are not used by it)."""
        if kwargs:
            raise TypeError("Threads.submit takes no keyword arguments")
        future: Future[Any] = Future()
        self._jobs.put((future, fn, args))
        if not self._idle.acquire(blocking=False) and self._started < self.limit:
            self._started += 1
            threading.Thread(target=self._work, name=f"enfilade-tool-{self._started}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let idle threads end; busy ones end after their call. Never waits, and takes no calls afterwards."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function, args = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(*args))
                except (StopIteration, GeneratorExit) as error:  # no awaited future can carry them
                    future.set_exception(_raised(error))
                except BaseException as error:  # it belongs to the caller, whatever it is
                    future.set_exception(error)
            del job, future, function, args
            self._idle.release()


def _raised(error: BaseException) -> RuntimeError:
    """Return what stands for an exception that a coroutine cannot be given.

    It would wait for ever for a future with a `StopIteration`, and take a `GeneratorExit` for its own end.
    """
    failure = RuntimeError(f"the function raised {type(error).__name__}")
    failure.__cause__ = error
    return failure
