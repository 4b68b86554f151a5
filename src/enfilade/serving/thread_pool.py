"""Threads for plain `def` handlers.

They are daemons, unlike those of the standard library's pool: a tool that blocks for ever must not keep a server
from stopping. The server waits for calls in progress before that.

A `Lane` is for calls with several synchronous steps: all of them run in one thread, so that objects which belong
to a thread, such as connections of `sqlite3`, can be opened, used and closed. Between the steps the thread is
free for other calls.

Easy to get wrong: the thread of a lane serves other calls only when no other thread is available, because a step
of the lane would wait for them.
"""

import asyncio
import contextvars
import inspect
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from enfilade.counters import watch


class _Awaitable(Executor):
    """An executor whose calls are awaited."""

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` in a thread, with the caller's context variables, and return what it returns."""
        return await _run(self, function, args)

    async def result_of(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` in a thread, as `run` does, and await its result if it is awaitable."""
        value = await _run(self, function, args)
        return await value if inspect.isawaitable(value) else value


class ThreadPool(_Awaitable):
    """Runs calls in at most `limit` threads, each started when no other is idle.

    Args:
        limit: how many calls run at once; further ones wait their turn.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()  # guards all attributes below
        self._idle: dict[_Worker, None] = {}  # the last used at the end
        self._idle_with_lanes: dict[_Worker, None] = {}
        self._waiting: deque[_Job] = deque()
        self._started = 0
        self._closed = False
        watch("tool_threads_busy", self.busy)
        watch("tool_calls_queued", self.queued)

    def busy(self) -> int:
        """Return how many threads run a call."""
        return max(0, self._started - len(self._idle) - len(self._idle_with_lanes))

    def queued(self) -> int:
        """Return how many calls wait for a thread."""
        return len(self._waiting)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call (the interface asyncio asks of an executor; keywords are not used by it)."""
        if kwargs:
            raise TypeError("ThreadPool.submit takes no keyword arguments")
        job = _Job(fn, args, None)
        self.add(job)
        return job.future

    def lane(self) -> "Lane":
        """Return an executor that runs all its calls in one thread; to be closed after the last."""
        return Lane(self)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let idle threads end; busy ones end after their call, those of lanes when these are closed.

        Never waits. Only open lanes that have a thread take calls afterwards.
        """
        with self._lock:
            self._closed = True
            for worker in self._idle:
                worker.inbox.put(None)
            self._idle.clear()

    def add(self, job: "_Job") -> None:
        """Give a job to the thread of its lane, or to any free thread, or queue it."""
        lane = job.lane
        with self._lock:
            worker = None if lane is None else lane.worker
            if worker is None:
                if self._closed:
                    raise RuntimeError("the threads of this server have been shut down")
                worker = self._free_worker()
                if worker is None:
                    self._waiting.append(job)
                    return
                if lane is not None:
                    lane.bind(worker)
            elif worker in self._idle_with_lanes:
                del self._idle_with_lanes[worker]
            else:
                worker.own.append(job)
                return
        worker.inbox.put(job)

    def _free_worker(self) -> "_Worker | None":
        """Return an idle thread, started now if necessary; None if all are busy. The caller holds the lock."""
        if self._idle:
            return self._idle.popitem()[0]
        if self._started < self.limit:
            worker = _Worker(self)
            thread = threading.Thread(target=worker.work, name=f"enfilade-tool-{self._started + 1}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads; use the existing ones
                if not self._started:
                    raise
            else:
                self._started += 1
                return worker
        if self._idle_with_lanes:
            worker = next(iter(self._idle_with_lanes))  # idle for longest
            del self._idle_with_lanes[worker]
            return worker
        return None

    def next_job(self, worker: "_Worker") -> "_Job | None":
        """Return the next job of a thread; None if it waits at its inbox."""
        with self._lock:
            if worker.own:
                return worker.own.popleft()
            if self._waiting:
                job = self._waiting.popleft()
                if job.lane is not None:
                    job.lane.bind(worker)
                return job
            if worker.lanes:
                self._idle_with_lanes[worker] = None
            elif self._closed:
                worker.inbox.put(None)
            else:
                self._idle[worker] = None
            return None

    def release(self, lane: "Lane") -> None:
        """Release the thread of a lane that has closed."""
        with self._lock:
            worker, lane.worker, lane.closed = lane.worker, None, True
            if worker is None:
                return
            worker.lanes -= 1
            if not worker.lanes and worker in self._idle_with_lanes:
                del self._idle_with_lanes[worker]
                if self._closed:
                    worker.inbox.put(None)
                else:
                    self._idle[worker] = None


class Lane(_Awaitable):
    """Runs calls one after the other in one thread, which is chosen at the first of them."""

    def __init__(self, threads: ThreadPool) -> None:
        self._threads = threads
        self.worker: _Worker | None = None
        self.closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queue a call, as `ThreadPool.submit` does."""
        if kwargs:
            raise TypeError("Lane.submit takes no keyword arguments")
        job = _Job(fn, args, self)
        self._threads.add(job)
        return job.future

    async def run_to_end(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a call to its end although its waiter may be cancelled: for clean-up."""
        future = self.submit(contextvars.copy_context().run, function, *args)
        return await asyncio.shield(asyncio.wrap_future(future))

    def bind(self, worker: "_Worker") -> None:
        """Use a thread from now on; for `ThreadPool`, which holds its lock."""
        if not self.closed and self.worker is None:
            self.worker = worker
            worker.lanes += 1

    def close(self) -> None:
        """Release the thread."""
        self._threads.release(self)


class _Job:
    """A call that is to run in a thread, for a lane or for none."""

    __slots__ = ("args", "function", "future", "lane")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], lane: Lane | None) -> None:
        self.future: Future[Any] = Future()
        self.function = function
        self.args = args
        self.lane = lane

    def run(self) -> None:
        """Run it, unless it was cancelled."""
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(self.function(*self.args))
            except (StopIteration, GeneratorExit) as error:  # no awaited future can carry them
                self.future.set_exception(_replacement(error))
            except BaseException as error:  # the caller gets every exception
                self.future.set_exception(error)


class _Worker:
    """One thread.

    Attributes:
        inbox: its next job, while it is idle; None ends it.
        own: queued jobs of its lanes, while it is busy.
        lanes: how many lanes use it.
    """

    __slots__ = ("_threads", "inbox", "lanes", "own")

    def __init__(self, threads: ThreadPool) -> None:
        self._threads = threads
        self.inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.own: deque[_Job] = deque()
        self.lanes = 0

    def work(self) -> None:
        """Run one job after the other until the inbox has None."""
        while (job := self.inbox.get()) is not None:
            while job is not None:
                job.run()
                job = self._threads.next_job(self)


async def _run(executor: Executor, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call a function in a thread of an executor, with the caller's context variables."""
    context = contextvars.copy_context()
    future = asyncio.get_running_loop().run_in_executor(executor, context.run, function, *args)
    if future.done():  # possible since CPython 3.14: callbacks of the thread run first
        await asyncio.sleep(0)
    return await future


def _replacement(error: BaseException) -> RuntimeError:
    """Return a replacement for an exception that cannot be raised in a coroutine.

    A future with a `StopIteration` would never be done, and a `GeneratorExit` would close the coroutine.
    """
    failure = RuntimeError(f"the function raised {type(error).__name__}")
    failure.__cause__ = error
    return failure
