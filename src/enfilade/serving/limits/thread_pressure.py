"""What happens when calls wait as all threads are busy: more threads, a line in the log, a duration for metrics.

Threads that wait for something else, such as a database, leave the processor idle, and more of them do more at
once. Threads that compute take turns at the interpreter's lock: more of them would only make the event loop wait
longer for its own turn. So beyond a few of them the pool grows only while the event loop is in time, and the
process leaves part of a processor idle.

The timer runs only while calls wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from enfilade.counters import time_of
from enfilade.serving.failures import log_safely
from enfilade.timings import Timings

log = logging.getLogger("enfilade.serving")

#: Share of one processor which this process may use while its pool grows beyond a few threads.
_IDLE_ENOUGH: Final = 0.75


class Pool(Protocol):
    """What is read and done here of a pool."""

    limit: int

    def size(self) -> int:
        """Return how many threads there are."""

    def queued(self) -> int:
        """Return how many calls wait for a thread."""

    def longest_wait(self) -> float:
        """Return for how many seconds the call at the head of the queue has waited; 0 if none waits."""

    def grow(self, by: int) -> None:
        """Start threads."""


class Delivery(Protocol):
    """An event loop that calls come from."""

    loop: asyncio.AbstractEventLoop

    def schedule(self, callback: Callable[[], None]) -> None:
        """Call a function in the event loop, unless that is closed; from any thread."""


class Pressure:
    """Watches a pool while calls wait for its threads."""

    def __init__(self, pool: Pool, timings: Timings) -> None:
        self._pool = pool
        self._timings = timings
        self._watcher: Delivery | None = None  # in whose event loop the timer runs
        self._began = self._due = self._processor_time = 0.0
        self._logged_at = float("-inf")

    def watch(self, delivery: Delivery) -> None:
        """Watch from now on, until no call waits; callable from any thread, and often."""
        if self._watcher is None or self._watcher.loop.is_closed():
            self._watcher = delivery
            delivery.schedule(lambda: self._start(delivery))

    def note_begin(self, since: float) -> None:
        """Measure how long a call has waited that begins while the pool is watched.

        Args:
            since: when it was made, by the monotonic clock.
        """
        if self._watcher is not None:
            time_of("tool_thread_wait", "", time.monotonic() - since)

    def _start(self, delivery: Delivery) -> None:
        self._began = time.monotonic()
        self._schedule(delivery, self._began)

    def _schedule(self, delivery: Delivery, now: float) -> None:
        self._processor_time = time.process_time()
        self._due = now + self._timings.thread_check
        delivery.loop.call_later(self._timings.thread_check, self._check, delivery)

    def _check(self, delivery: Delivery) -> None:
        pool = self._pool
        if not (queued := pool.queued()):
            self._watcher = None
            if pool.queued():  # since the line above
                self.watch(delivery)
            return
        now, size = time.monotonic(), pool.size()
        if size < pool.limit and self._has_time(now):
            pool.grow(min(queued, pool.limit - size, max(1, size // 2)))
        elif (
            now - self._began > self._timings.thread_wait
            and now - self._logged_at > self._timings.thread_wait_log
        ):
            self._logged_at = now
            self._log(queued, size)
        self._schedule(delivery, now)

    def _has_time(self, now: float) -> bool:
        """Whether, since the last look, the loop was in time and part of a processor was left idle."""
        late = now - self._due
        used = time.process_time() - self._processor_time
        return late < self._timings.thread_check and used < _IDLE_ENOUGH * (late + self._timings.thread_check)

    def _log(self, queued: int, size: int) -> None:
        reason = "tool_threads allows no more"
        if size < self._pool.limit:
            reason = "more would not help, as this process has no processor time left"
        text = "%d calls of plain def tools wait for a thread, the first for %.2f s: all %d are busy, and %s"
        log_safely(log, logging.WARNING, text, queued, self._pool.longest_wait(), size, reason)
