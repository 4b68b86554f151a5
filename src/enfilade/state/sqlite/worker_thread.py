"""A thread with a connection to an SQLite file, which runs jobs for the event loop in transactions.

While a transaction runs, new jobs queue up, and all of them go into the next one: many callers share one commit
and one wake-up of the event loop. The writer and the reader are such threads.

The easy thing to get wrong is one job that fails among others: the transaction is rolled back and each job is run
again in a transaction of its own, so that every caller gets its own outcome.
"""

import asyncio
import contextlib
import logging
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import msgspec

from enfilade.state.sqlite.database import (
    DatabaseConnection,
    DatabaseFile,
    FileAvailability,
    is_about_the_file,
    is_busy,
)
from enfilade.state.store import StoreError
from enfilade.timings import Timings

log = logging.getLogger("enfilade.state")

T = TypeVar("T")

#: Seconds for which the last transaction waits for a lock when the thread is to end.
_LAST_LOCK_WAIT: Final = 0.5

#: Shortest and longest seconds between two attempts to get the lock. SQLite's own waiting sleeps for up to 0.1 s.
_PAUSES: Final = (0.0005, 0.005)

#: Most jobs in one transaction, so that other processes get their turn.
_MOST_JOBS: Final = 1000

#: Seconds between two portions of expired rows.
_NEXT_PORTION: Final = 0.005

Job = Callable[[DatabaseConnection], T]


class Run(Protocol):
    """Runs a job in the thread that has the connection."""

    def __call__(self, job: Job[T]) -> Coroutine[Any, Any, T]: ...


class _PendingJob(msgspec.Struct, eq=False):
    job: Job[Any]
    future: asyncio.Future[Any]
    queued_at: float


#: The future of a job, its result, and its error.
_Outcome = tuple[asyncio.Future[Any], Any, StoreError | None]


class DatabaseThread:
    """A thread that starts at once.

    Args:
        file: the database.
        loop: the event loop of the callers.
        mode: the kind of its transactions, `IMMEDIATE` or `DEFERRED`, which is also its name.
        availability: is told whether the file can be used.
        timings: `store_operation`, `sqlite_lock_wait` and `sqlite_sweep_interval` count.
        sweep: is called now and then to delete some of the expired rows; returns whether there are more.
    """

    def __init__(
        self,
        file: DatabaseFile,
        loop: asyncio.AbstractEventLoop,
        mode: str,
        availability: FileAvailability,
        timings: Timings,
        sweep: Job[bool] | None = None,
    ) -> None:
        self.ended = asyncio.Event()
        self._file = file
        self._loop = loop
        self._mode = mode
        self._availability = availability
        self._timings = timings
        self._sweep = sweep
        self._sweep_at = time.monotonic() + _NEXT_PORTION
        self._jobs: queue.SimpleQueue[_PendingJob | None] = queue.SimpleQueue()
        self._stopped_at: float | None = None
        self._is_last_batch = False
        self._connection: DatabaseConnection | None = None
        self.thread = threading.Thread(target=self._work, name=f"enfilade-sqlite-{mode.lower()}", daemon=True)
        self.thread.start()

    async def run(self, job: Job[T]) -> T:
        """Call a function with the connection, within a transaction, and return its result.

        To be called in the event loop. A function may be called again if its transaction was rolled back. It may
        raise `StoreError` only before it has written anything.

        Raises:
            StoreError: it was not done, or its outcome is unknown.
        """
        if self._stopped_at is not None:
            raise closed_error(self._file)
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_PendingJob(job, future, time.monotonic()))
        timer = self._loop.call_later(self._timings.store_operation, self._time_out, future)
        try:
            return await future
        finally:
            timer.cancel()

    def stop(self) -> None:
        """Accept no more jobs, and end when all accepted ones are done; see `ended`."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self._jobs.put(None)

    def _time_out(self, future: asyncio.Future[Any]) -> None:
        if not future.done():
            error = StoreError(
                f"{self._file.path} did not answer within {self._timings.store_operation:g} seconds: look for a "
                "disk that is too slow"
            )
            self._availability.report_lost(self._mode, error)
            future.set_exception(error)

    # -- in the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._is_last_batch:
            pending = self._next()
            if pending is not None:
                self._call_in_loop(_deliver, self._run_batch([pending], self._gather))
            if self._sweep is not None and self._sweep_at <= time.monotonic():
                self._run_sweep(self._sweep)
        if self._connection is not None:
            self._connection.close()
        self._call_in_loop(self.ended.set)

    def _next(self) -> _PendingJob | None:
        """Wait for a job; return None if there is something else to do."""
        wait = None if self._sweep is None else max(0.0, self._sweep_at - time.monotonic())
        try:
            return self._accept(self._jobs.get(timeout=wait))
        except queue.Empty:
            return None

    def _gather(self, batch: list[_PendingJob]) -> None:
        """Add the jobs queued meanwhile to a batch."""
        with contextlib.suppress(queue.Empty):
            while len(batch) < _MOST_JOBS and not self._is_last_batch:
                pending = self._accept(self._jobs.get_nowait())
                if pending is not None:
                    batch.append(pending)

    def _accept(self, pending: _PendingJob | None) -> _PendingJob | None:
        if pending is None:
            self._is_last_batch = True
        elif time.monotonic() - pending.queued_at > self._timings.store_operation:
            return None  # its caller has got an error, and may have tried again
        return pending

    def _run_batch(self, batch: list[_PendingJob], gather: Callable[[list[_PendingJob]], None]) -> list[_Outcome]:
        def run_all(connection: DatabaseConnection) -> list[_Outcome]:
            gather(batch)
            return [_run_job(connection, pending) for pending in batch]

        try:
            outcomes = self._transact(run_all, batch[0].queued_at)
        except Exception as error:  # the thread must go on and every caller must get an outcome, whatever it is
            if _concerns_all(error):
                self._availability.report_lost(self._mode, self._explain(error))
            if len(batch) == 1 or _concerns_all(error):
                return [(pending.future, None, self._explain(error)) for pending in batch]
        else:
            self._availability.report_back(self._mode)
            return outcomes
        return [outcome for pending in batch for outcome in self._run_batch([pending], _gather_nothing)]

    def _transact(self, function: Job[T], since: float) -> T:
        """Call a function within a transaction, and again for as long as a lock is in the way."""
        pause = _PAUSES[0]
        while True:
            try:
                connection = self._connect()
                connection.execute(f"BEGIN {self._mode}")
                result = function(connection)
                connection.execute("COMMIT")
            except Exception as error:
                self._roll_back(error)
                if not self._may_retry(error, since):
                    raise
                time.sleep(pause * random.uniform(0.5, 1))
                pause = min(2 * pause, _PAUSES[1])
            else:
                return result

    def _connect(self) -> DatabaseConnection:
        if self._connection is not None and not self._file.is_current(self._connection):
            stale, self._connection = self._connection, None
            raise self._file.discard(stale)
        if self._connection is None:
            self._connection = self._file.connect()
        return self._connection

    def _roll_back(self, error: Exception) -> None:
        connection = self._connection
        if connection is None:
            return
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # closing the connection rolls back as well
                connection.execute("ROLLBACK")
        if connection.in_transaction or (isinstance(error, sqlite3.Error) and is_about_the_file(error)):
            self._connection = None
            connection.close()

    def _may_retry(self, error: Exception, since: float) -> bool:
        if not isinstance(error, sqlite3.Error) or not is_busy(error):
            return False
        now = time.monotonic()
        is_ending = self._stopped_at is not None and now - self._stopped_at > _LAST_LOCK_WAIT
        return now - since < self._timings.sqlite_lock_wait and not is_ending

    def _run_sweep(self, sweep: Job[bool]) -> None:
        has_more = False
        try:
            has_more = self._transact(sweep, time.monotonic() - self._timings.sqlite_lock_wait)
        except Exception as error:  # a sweep can wait, whatever it is
            log.debug("nothing is swept from the store for now: %s", self._explain(error))
        interval = self._timings.sqlite_sweep_interval * random.uniform(0.8, 1.2)
        self._sweep_at = time.monotonic() + (_NEXT_PORTION if has_more else interval)

    def _explain(self, error: Exception) -> StoreError:
        """Return a new error for each caller, since a traceback grows with every raise."""
        if isinstance(error, sqlite3.Error):
            explained = self._file.explain(error)
        elif isinstance(error, StoreError):
            return StoreError(*error.args)
        else:
            explained = StoreError(f"{self._file.path}: {type(error).__name__}: {error}")
        explained.__cause__ = error
        return explained

    def _call_in_loop(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(function, *args)


def _run_job(connection: DatabaseConnection, pending: _PendingJob) -> _Outcome:
    try:
        return pending.future, pending.job(connection), None
    except StoreError as error:
        return pending.future, None, error


def _concerns_all(error: Exception) -> bool:
    """Whether an error would fail every job of a batch."""
    if isinstance(error, sqlite3.Error):
        return is_busy(error) or is_about_the_file(error)
    return isinstance(error, StoreError)


def _gather_nothing(batch: list[_PendingJob]) -> None:
    """Leave a batch as it is."""


def _deliver(outcomes: list[_Outcome]) -> None:
    for future, result, error in outcomes:
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


def closed_error(file: DatabaseFile) -> StoreError:
    """Return the error for the use of a store before `start` or after `close`."""
    return StoreError(f"{file.path}: the store is closed; await start() first")
