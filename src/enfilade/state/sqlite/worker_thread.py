"""A thread that has a connection to an SQLite file, and does what the event loop asks of it.

While a transaction runs, what is asked meanwhile piles up, and all of it goes into the next one: many callers
share one commit, and one wake-up of the event loop. The writer is such a thread, and so is the reader.

The easy thing to get wrong is what happens to the others when one of them cannot be served: the transaction is
undone, and each is tried again in one of its own, so that everybody hears of their own trouble only.
"""

import asyncio
import contextlib
import logging
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from enfilade.state.sqlite.availability import Reach
from enfilade.state.sqlite.database import Connection, DatabaseFile, is_about_the_file, is_busy
from enfilade.state.store import StoreError

log = logging.getLogger("enfilade.state")

T = TypeVar("T")

#: Seconds after which whoever asked is told that nobody knows.
LIMIT: Final = 5.0

#: Seconds for which a lock that another process holds is waited for, also when the thread is to end.
PATIENCE: Final = 4.0
_LAST_PATIENCE: Final = 0.5

#: Seconds between two tries to get the lock, at first and at most. SQLite's own waiting sleeps for up to 0.1 s.
_PAUSES: Final = (0.0005, 0.005)

#: Jobs in one transaction at most, so that other processes get their turn.
_MOST: Final = 1000

#: Seconds between two looks for what has expired, and between two portions of it.
_SWEEP_EVERY: Final = 10.0
_NEXT_PORTION: Final = 0.005

Job = Callable[[Connection], T]


class _Asked(msgspec.Struct, eq=False):
    job: Job[Any]
    future: asyncio.Future[Any]
    at: float


#: Whom to tell, what the job returned, and what was wrong.
_Outcome = tuple[asyncio.Future[Any], Any, StoreError | None]


class DatabaseThread:
    """Begins to run at once.

    Args:
        file: the database.
        loop: where it is asked, and answers.
        begin: the kind of its transactions, which is also its name.
        reach: is told whether the file can be used.
        sweep: deletes some of what has expired, now and then, and returns whether there is more.
    """

    def __init__(
        self,
        file: DatabaseFile,
        loop: asyncio.AbstractEventLoop,
        begin: str,
        reach: Reach,
        sweep: Job[bool] | None = None,
    ) -> None:
        self.ended = asyncio.Event()
        self._file = file
        self._loop = loop
        self._begin = begin
        self._reach = reach
        self._sweep = sweep
        self._sweep_at = time.monotonic() + _NEXT_PORTION
        self._jobs: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._stop_at: float | None = None
        self._last_batch = False
        self._connection: Connection | None = None
        self.thread = threading.Thread(target=self._work, name=f"enfilade-sqlite-{begin.lower()}", daemon=True)
        self.thread.start()

    async def run(self, job: Job[T]) -> T:
        """Call a function with the connection, within a transaction, and return what it returns.

        To be called in the event loop. A function may be called a second time if its transaction was undone. It
        must raise `StoreError` before it has written anything, or not at all.

        Raises:
            StoreError: it was not done, or nobody knows.
        """
        if self._stop_at is not None:
            raise closed(self._file)
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Asked(job, future, time.monotonic()))
        timer = self._loop.call_later(LIMIT, self._give_up, future)
        try:
            return await future
        finally:
            timer.cancel()

    def stop(self) -> None:
        """Take nothing more, and end when everything is done that was asked for; see `ended`."""
        if self._stop_at is None:
            self._stop_at = time.monotonic()
            self._jobs.put(None)

    def _give_up(self, future: asyncio.Future[Any]) -> None:
        if not future.done():
            error = StoreError(
                f"{self._file.path} did not answer within {LIMIT:g} seconds: look for a disk that is too slow"
            )
            self._reach.lost(self._begin, error)
            future.set_exception(error)

    # -- in the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._last_batch:
            asked = self._next()
            if asked is not None:
                self._tell(_deliver, self._outcomes([asked], self._gather))
            if self._sweep is not None and self._sweep_at <= time.monotonic():
                self._tidy(self._sweep)
        if self._connection is not None:
            self._connection.close()
        self._tell(self.ended.set)

    def _next(self) -> _Asked | None:
        """Wait for something to do, and return None if it is no job."""
        wait = None if self._sweep is None else max(0.0, self._sweep_at - time.monotonic())
        try:
            return self._taken(self._jobs.get(timeout=wait))
        except queue.Empty:
            return None

    def _gather(self, batch: list[_Asked]) -> None:
        """Add to a batch what has been asked for meanwhile."""
        with contextlib.suppress(queue.Empty):
            while len(batch) < _MOST and not self._last_batch:
                asked = self._taken(self._jobs.get_nowait())
                if asked is not None:
                    batch.append(asked)

    def _taken(self, asked: _Asked | None) -> _Asked | None:
        if asked is None:
            self._last_batch = True
        elif time.monotonic() - asked.at > LIMIT:
            return None  # who asked has been told that nobody knows, and may have tried again
        return asked

    def _outcomes(self, batch: list[_Asked], gather: Callable[[list[_Asked]], None]) -> list[_Outcome]:
        def do(connection: Connection) -> list[_Outcome]:
            gather(batch)
            return [_outcome(connection, asked) for asked in batch]

        try:
            outcomes = self._transact(do, batch[0].at)
        except Exception as error:  # whatever it is, the thread must go on, and those who wait must hear of it
            if _is_for_all(error):
                self._reach.lost(self._begin, self._explained(error))
            if len(batch) == 1 or _is_for_all(error):
                return [(asked.future, None, self._explained(error)) for asked in batch]
        else:
            self._reach.back(self._begin)
            return outcomes
        return [outcome for asked in batch for outcome in self._outcomes([asked], _nothing_more)]

    def _transact(self, do: Job[T], since: float) -> T:
        """Call a function within a transaction, and again for as long as a lock is in the way."""
        pause = _PAUSES[0]
        while True:
            try:
                connection = self._connected()
                connection.execute(f"BEGIN {self._begin}")
                result = do(connection)
                connection.execute("COMMIT")
            except Exception as error:
                self._undo(error)
                if not self._is_worth_waiting(error, since):
                    raise
                time.sleep(pause * random.uniform(0.5, 1))
                pause = min(2 * pause, _PAUSES[1])
            else:
                return result

    def _connected(self) -> Connection:
        if self._connection is not None and not self._file.is_there(self._connection):
            gone, self._connection = self._connection, None
            raise self._file.clear_away(gone)
        if self._connection is None:
            self._connection = self._file.connect()
        return self._connection

    def _undo(self, error: Exception) -> None:
        connection = self._connection
        if connection is None:
            return
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # it is tried by closing, then
                connection.execute("ROLLBACK")
        if connection.in_transaction or (isinstance(error, sqlite3.Error) and is_about_the_file(error)):
            self._connection = None
            connection.close()

    def _is_worth_waiting(self, error: Exception, since: float) -> bool:
        if not isinstance(error, sqlite3.Error) or not is_busy(error):
            return False
        now = time.monotonic()
        ending = self._stop_at is not None and now - self._stop_at > _LAST_PATIENCE
        return now - since < PATIENCE and not ending

    def _tidy(self, sweep: Job[bool]) -> None:
        more = False
        try:
            more = self._transact(sweep, time.monotonic() - PATIENCE)
        except Exception as error:  # it can wait, whatever it is
            log.debug("nothing is swept from the store for now: %s", self._explained(error))
        pause = _NEXT_PORTION if more else _SWEEP_EVERY * random.uniform(0.8, 1.2)
        self._sweep_at = time.monotonic() + pause

    def _explained(self, error: Exception) -> StoreError:
        """Return a new error for each who waits, since a traceback grows with every raise."""
        if isinstance(error, sqlite3.Error):
            explained = self._file.trouble(error)
        elif isinstance(error, StoreError):
            return StoreError(*error.args)
        else:
            explained = StoreError(f"{self._file.path}: {type(error).__name__}: {error}")
        explained.__cause__ = error
        return explained

    def _tell(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(function, *args)


def _outcome(connection: Connection, asked: _Asked) -> _Outcome:
    try:
        return asked.future, asked.job(connection), None
    except StoreError as error:
        return asked.future, None, error


def _is_for_all(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return is_busy(error) or is_about_the_file(error)
    return isinstance(error, StoreError)


def _nothing_more(batch: list[_Asked]) -> None:
    """Leave a batch as it is."""


def _deliver(outcomes: list[_Outcome]) -> None:
    for future, result, error in outcomes:
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


def closed(file: DatabaseFile) -> StoreError:
    """Return what to say to those who use a store before it was started, or after it was closed."""
    return StoreError(f"{file.path}: the store is closed; await start() first")
