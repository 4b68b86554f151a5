"""The pool of threads.

They are daemons, unlike those of the standard library's pool: a tool that blocks for ever must not keep a server
from stopping. The server waits for calls in progress before that.

A call goes into one queue, and one thread is woken for it. A thread that takes a call wakes the next one if there
are further calls. So calls that are over at once are run by one thread, without waking others, which would cost
more than the calls; and calls that block have a thread each as soon as one after the other has been woken.

A `Lane` is for calls with several synchronous steps: all of them run in one thread, so that objects which belong
to a thread, such as connections of `sqlite3`, can be opened, used and closed. Between the steps the thread is
free for other calls.

A thread that has an outcome puts it into a queue, and wakes the event loop only if nobody has done so since the
loop last emptied that queue. So one wake-up serves all outcomes that are ready.

Easy to get wrong: the thread of a lane serves other calls only when no other thread is available, because a step
of the lane would wait for them. And the order: what a function hands to the event loop itself, such as a report
of progress, comes before its outcome (R-2B0). The loop has both in one queue of callbacks, and the future of the
call only adds to the end of it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Callable
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from enfilade.counters import watch
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade import timings as _timings
    from enfilade.serving.limits import thread_pressure as _thread_pressure
else:  # for idle threads, and for calls that wait
    _timings = LazyModule("enfilade.timings")
    _thread_pressure = LazyModule("enfilade.serving.limits.thread_pressure")

#: Threads that are started whatever the processor does; further ones, `limits/thread_pressure.py` starts.
FEW: Final = 40
#: Types of values that cannot be awaited, as nearly all results are.
_PLAIN: Final = frozenset({str, int, float, bool, dict, list, tuple, bytes, type(None)})


class _Threads:
    """Where functions are called in threads and awaited."""

    def _start(self, function: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        raise NotImplementedError

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` in a thread, with the caller's context variables, and return what it returns."""
        return await self._start(function, args)

    async def result_of(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` in a thread, as `run` does, and await its result if it is awaitable."""
        value = await self._start(function, args)
        if type(value) not in _PLAIN and inspect.isawaitable(value):
            return await value
        return value


class ThreadPool(_Threads):
    """Runs calls in at most `limit` threads, which are started when they are needed and end when they are not.

    Args:
        limit: how many calls run at once; further ones wait their turn.
        timings: `thread_idle` and those of calls that wait.
    """

    def __init__(self, limit: int, timings: _timings.Timings | None = None) -> None:
        self.limit = limit
        self._given_timings = timings
        self._pressure: _thread_pressure.Pressure | None = None  # since calls have first waited
        self._delivery: Delivery | None = None  # to the event loop that has last made a call
        self._lock = threading.Lock()  # guards all attributes below
        self._idle: dict[_Worker, None] = {}  # the last used at the end
        self._idle_with_lanes: dict[_Worker, None] = {}
        self._waiting: deque[Job] = deque()
        self._waking: _Worker | None = None  # has been woken for the queue, and not been there yet
        self._size = 0
        self._started = 0
        self._closed = False
        watch("tool_threads", self.size)
        watch("tool_threads_busy", self.busy)
        watch("tool_calls_queued", self.queued)

    @cached_property
    def timings(self) -> _timings.Timings:
        """The durations that the pool was given."""
        return self._given_timings or _timings.Timings()

    def size(self) -> int:
        """Return how many threads there are."""
        return self._size

    def busy(self) -> int:
        """Return how many threads run a call."""
        return max(0, self._size - len(self._idle) - len(self._idle_with_lanes))

    def queued(self) -> int:
        """Return how many calls wait for a thread."""
        return len(self._waiting)

    def longest_wait(self) -> float:
        """Return for how many seconds the call at the head of the queue has waited; 0 if none waits."""
        with self._lock:
            return monotonic() - self._waiting[0].since if self._waiting else 0.0

    def lane(self) -> Lane:
        """Return what runs all its calls in one thread; to be closed after the last."""
        return Lane(self)

    def shutdown(self) -> None:
        """Let idle threads end; busy ones end after their call, those of lanes when these are closed.

        Never waits. Only open lanes that have a thread take calls afterwards.
        """
        with self._lock:
            self._closed = True
            idle, self._idle = list(self._idle), {}
        for worker in idle:
            worker.wake()

    def _start(self, function: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        return self.add(function, args, None)

    def add(self, function: Callable[..., Any], args: tuple[Any, ...], lane: Lane | None) -> asyncio.Future[Any]:
        """Queue a call for the thread of its lane, or for any; return what gets its outcome.

        Raises:
            RuntimeError: the pool has been shut down.
        """
        loop = asyncio.get_running_loop()
        delivery = self._delivery
        if delivery is None or delivery.loop is not loop:
            delivery = self._delivery = Delivery(loop)
        job = Job(function, args, delivery, lane)
        with self._lock:
            if lane is not None and (own := lane.worker) is not None:
                own.jobs.append(job)
                if own not in self._idle_with_lanes:
                    return job.future
                del self._idle_with_lanes[own]
                worker: _Worker | None = own
            elif self._closed:
                raise RuntimeError("the threads of this server have been shut down")
            else:
                self._waiting.append(job)
                if self._waking is not None:  # it will see to this call as well
                    return job.future
                worker = self._waking = self._free_worker()
        if worker is None:
            self._watch(delivery)
        else:
            worker.wake()
        return job.future

    def _watch(self, delivery: Delivery) -> None:
        """Have the calls watched that wait."""
        if self._pressure is None:
            pressure = _thread_pressure.Pressure(self, self.timings)
            with self._lock:  # another thread may have made one
                if self._pressure is None:
                    self._pressure = pressure
        self._pressure.watch(delivery)

    def _free_worker(self) -> _Worker | None:
        """Return a thread that can be woken or started; None if all are busy. The caller holds the lock."""
        if self._idle:
            return self._idle.popitem()[0]
        if self._size < min(self.limit, FEW):
            return self._new_worker()
        if self._idle_with_lanes:
            worker = next(iter(self._idle_with_lanes))  # idle for longest
            del self._idle_with_lanes[worker]
            return worker
        return None

    def _new_worker(self) -> _Worker:
        self._size += 1
        self._started += 1
        return _Worker(self, f"enfilade-tool-{self._started}")

    def grow(self, by: int) -> None:
        """Start threads; they look for calls by themselves."""
        with self._lock:
            workers = [self._new_worker() for _ in range(by)]
        for worker in workers:
            worker.wake()

    # -- called by the threads ---------------------------------------------------------------------------------

    def next_job(self, worker: _Worker) -> Job | None:
        """Return the next job of a thread; None if it is idle now, or ends."""
        following: _Worker | None = None
        with self._lock:
            if self._waking is worker:
                self._waking = None
            job = self._take(worker)
            if job is None:
                self._set_idle(worker)
            if self._waiting and self._waking is None:
                following = self._waking = self._free_worker()
            is_crowded = bool(self._waiting) and self._waking is None
        if following is not None:
            following.wake()
        if job is not None:
            if is_crowded:
                self._watch(job.delivery)
            if self._pressure is not None:
                self._pressure.note_begin(job.since)
        return job

    def _take(self, worker: _Worker) -> Job | None:
        """Return a job for a thread. That of a lane takes none for which another one has been woken."""
        if worker.jobs:
            return worker.jobs.popleft()
        if not self._waiting or (worker.lanes and self._waking is not None):
            return None
        job = self._waiting.popleft()
        if job.lane is not None:
            job.lane.bind(worker)
        return job

    def _set_idle(self, worker: _Worker) -> None:
        if worker.lanes:
            self._idle_with_lanes[worker] = None
        elif self._closed:
            worker.has_ended = True
            self._size -= 1
        else:
            self._idle[worker] = None

    def retire(self, worker: _Worker) -> bool:
        """Let a thread end that has been idle for long; False if it has just been woken, or has lanes."""
        with self._lock:
            if worker not in self._idle:
                return False
            del self._idle[worker]
            self._size -= 1
            return True

    def do_without(self, worker: _Worker, error: RuntimeError) -> None:
        """Go on without a thread that the system does not start; without any, calls get the error."""
        failed: list[Job] = []
        following: _Worker | None = None
        with self._lock:
            self._size -= 1
            if self._waking is worker:
                self._waking = None
                following = self._waking = next(iter(self._idle_with_lanes), None)
                if following is not None:
                    del self._idle_with_lanes[following]
            if not self._size:
                failed, self._waiting = list(self._waiting), deque()
        if following is not None:
            following.wake()
        for job in failed:
            job.fail(error)

    def release(self, lane: Lane) -> None:
        """Release the thread of a lane that has closed."""
        with self._lock:
            worker, lane.worker, lane.closed = lane.worker, None, True
            if worker is None:
                return
            worker.lanes -= 1
            if worker.lanes or worker not in self._idle_with_lanes:
                return
            del self._idle_with_lanes[worker]
            if not self._closed:
                self._idle[worker] = None
                return
        worker.wake()


class Lane(_Threads):
    """Runs calls one after the other in one thread, which is chosen at the first of them."""

    def __init__(self, threads: ThreadPool) -> None:
        self._threads = threads
        self.worker: _Worker | None = None
        self.closed = False

    def _start(self, function: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        return self._threads.add(function, args, self)

    async def run_to_end(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a call to its end although its waiter may be cancelled: for clean-up."""
        return await asyncio.shield(self._start(function, args))

    def bind(self, worker: _Worker) -> None:
        """Use a thread from now on; for `ThreadPool`, which holds its lock."""
        if not self.closed and self.worker is None:
            self.worker = worker
            worker.lanes += 1

    def close(self) -> None:
        """Release the thread."""
        self._threads.release(self)


class _Worker:
    """One thread.

    Attributes:
        jobs: queued jobs of its lanes.
        lanes: how many lanes use it.
        has_ended: it is to run nothing more.
    """

    __slots__ = ("_is_started", "_name", "_threads", "_wake_up", "has_ended", "jobs", "lanes")

    def __init__(self, threads: ThreadPool, name: str) -> None:
        self._threads = threads
        self._name = name
        self._wake_up = threading.Lock()  # released to wake it
        self._wake_up.acquire()
        self._is_started = False
        self.jobs: deque[Job] = deque()
        self.lanes = 0
        self.has_ended = False

    def wake(self) -> None:
        """Wake it, or start it; once each time that it has been taken from the idle ones."""
        if self._is_started:
            self._wake_up.release()
            return
        self._is_started = True
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError as error:  # the system has no more threads
            self._threads.do_without(self, error)

    def _work(self) -> None:
        """Run one job after the other until there are none for long, or the pool is shut down."""
        threads = self._threads
        while True:
            job = threads.next_job(self)
            if job is not None:
                job.run()
                del job
            elif self.has_ended or not self._wait(threads):
                return

    def _wait(self, threads: ThreadPool) -> bool:
        """Wait until it is woken; False if it has ended instead."""
        while not self._wake_up.acquire(timeout=threads.timings.thread_idle):
            if threads.retire(self):
                return False
        return True


# -- calls and their outcomes -----------------------------------------------------------------------------------


class Delivery:
    """Brings the outcomes of calls to one event loop."""

    __slots__ = ("_is_due", "_outcomes", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._outcomes: deque[Job] = deque()
        self._is_due = False

    def add(self, job: Job) -> None:
        """Take a call that has an outcome; from any thread."""
        self._outcomes.append(job)
        if not self._is_due:
            self._is_due = True
            self.schedule(self._deliver)

    def schedule(self, callback: Callable[[], None]) -> None:
        """Call a function in the event loop, unless that is closed; from any thread."""
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:  # it is closed, and nobody waits any more
            if not self.loop.is_closed():
                raise

    def _deliver(self) -> None:
        self._is_due = False  # before the queue is emptied: what comes later needs another wake-up
        while True:
            try:
                job = self._outcomes.popleft()
            except IndexError:
                return
            job.settle()


class Job:
    """A call that is to run in a thread, for a lane or for none.

    Attributes:
        future: gets the outcome; belongs to the event loop of `delivery`.
        since: when it was made, by the monotonic clock.
    """

    __slots__ = ("_args", "_context", "_error", "_function", "_value", "delivery", "future", "lane", "since")

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], delivery: Delivery, lane: Lane | None
    ) -> None:
        self.future: asyncio.Future[Any] = delivery.loop.create_future()
        self.delivery = delivery
        self.lane = lane
        self.since = monotonic()
        self._function = function
        self._args = args
        self._context = contextvars.copy_context()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run it with the context variables of its caller, unless it was cancelled; in its thread."""
        if self.future.cancelled():
            return
        try:
            self._value = self._context.run(self._function, *self._args)
        except (StopIteration, GeneratorExit) as error:  # no awaited future can carry them
            self._error = _replacement(error)
        except BaseException as error:  # the caller gets every exception
            self._error = error
        self.delivery.add(self)

    def fail(self, error: BaseException) -> None:
        """Let it have an error for its outcome, without having run; from any thread."""
        self._error = error
        self.delivery.add(self)

    def settle(self) -> None:
        """Give the outcome to whoever waits; in the event loop."""
        error, self._error = self._error, None  # whose traceback refers to this object
        if self.future.done():  # its caller was cancelled
            return
        if error is None:
            self.future.set_result(self._value)
        else:
            self.future.set_exception(error)
            del self.future  # which has the error now


def _replacement(error: BaseException) -> RuntimeError:
    """Return a replacement for an exception that cannot be raised in a coroutine.

    A future with a `StopIteration` would never be done, and a `GeneratorExit` would close the coroutine.
    """
    failure = RuntimeError(f"the function raised {type(error).__name__}")
    failure.__cause__ = error
    return failure
