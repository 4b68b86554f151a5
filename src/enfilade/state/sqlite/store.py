"""The store behind `sqlite:///…`: a file for all processes of one host, without a server to run.

Three threads use it, each with a connection: a writer, a reader and a listener. A process that is killed loses
nothing that was acknowledged; a machine that loses power may lose the last moments, and the file stays intact.

The easy thing to get wrong is a connection that is older than its process or its event loop: nothing is opened
before `start`, and `start` in another loop opens everything again.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, TypeVar

from enfilade.state.sqlite.bus import MessageListener, SqliteBus, sweep_messages
from enfilade.state.sqlite.database import Availability, Connection, DatabaseFile
from enfilade.state.sqlite.event_log import SqliteLog, sweep_log
from enfilade.state.sqlite.worker_thread import DatabaseThread, Job, Run, closed_error
from enfilade.state.store import Bus, EventLog, Keys, LogLimits, StoreError
from enfilade.timings import Timings

log = logging.getLogger("enfilade.state")

T = TypeVar("T")

#: Most rows that one sweep deletes from a table, and most pages of the file that it frees.
_PORTION: Final = 200
_PAGES: Final = 200

#: Free pages that stay in the file for new rows.
_SPARE_PAGES: Final = 1000


class SqliteKeys:
    """`Keys` in a table. An expiry is in seconds since 1970, as processes share the file and it outlasts them.

    Args:
        read: runs a job that only reads.
        write: runs any other job.
    """

    def __init__(self, read: Run, write: Run) -> None:
        self._read = read
        self._write = write

    async def get(self, key: str) -> bytes | None:
        return await self._read(lambda connection: _value(connection, key))

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        expiry = _expiry(ttl)
        await self._write(lambda connection: _put(connection, key, value, expiry))

    async def swap(self, key: str, old: bytes | None, new: bytes | None, ttl: float | None) -> bool:
        expiry = _expiry(ttl)

        def job(connection: Connection) -> bool:
            current = _value(connection, key)
            if current != old:
                return current == new
            if new is None:
                _delete(connection, key)
            else:
                _put(connection, key, new, expiry)
            return True

        return await self._write(job)

    async def delete(self, key: str) -> None:
        await self._write(lambda connection: _delete(connection, key))


class SqliteStore:
    """Keys, event log and bus in one file.

    Args:
        url: `sqlite:///relative.db` or `sqlite:////absolute.db`.
        limits: limits of the event log.
        timings: of the threads.

    Raises:
        ValueError: the URL names no file.
    """

    shared = True

    def __init__(self, url: str, limits: LogLimits, timings: Timings = Timings()) -> None:
        self._file = DatabaseFile(sqlite_path(url))
        self._timings = timings
        self._threads: _Threads | None = None
        self.keys: Keys = SqliteKeys(self._read, self._write)
        self.log: EventLog = SqliteLog(limits, self._read, self._write)
        self._bus = SqliteBus(self._write)
        self.bus: Bus = self._bus

    @property
    def unavailable(self) -> bool:
        return self._threads is not None and self._threads.availability.is_lost

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        if self._threads is not None and self._threads.loop is not loop:
            self._threads.stop()
            self._threads = None
        if self._threads is None:
            self._threads = _Threads(self._file, loop, self._bus, self._timings)
        await self._threads.ready()

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            try:
                await threads.end()
            finally:
                threads.stop()  # also those that did not end in time

    def _read(self, job: Job[T]) -> Coroutine[Any, Any, T]:
        return self._open_threads().reader.run(job)

    def _write(self, job: Job[T]) -> Coroutine[Any, Any, T]:
        return self._open_threads().writer.run(job)

    def _open_threads(self) -> "_Threads":
        threads = self._threads
        if threads is None or threads.loop is not asyncio.get_running_loop():
            raise closed_error(self._file)
        return threads


class _Threads:
    """The threads between `start` and `close`."""

    def __init__(
        self, file: DatabaseFile, loop: asyncio.AbstractEventLoop, bus: SqliteBus, timings: Timings
    ) -> None:
        self.loop = loop
        self._timings = timings
        self.availability = Availability(file.path)
        run_sweep = partial(sweep, message_age=timings.sqlite_message_age)
        self.writer = DatabaseThread(file, loop, "IMMEDIATE", self.availability, timings, run_sweep)
        self.reader = DatabaseThread(file, loop, "DEFERRED", self.availability, timings)
        self._listener = MessageListener(file, loop, bus, timings)
        bus.on_published = self._listener.wake

    async def ready(self) -> None:
        """Return when the file is open, or could not be opened, which each operation then reports."""
        with contextlib.suppress(StoreError):  # the threads log it
            await self.writer.run(_do_nothing)
            await self.reader.run(_do_nothing)
        await self._listener.ready.wait()

    def stop(self) -> None:
        """Ask all threads to end, without waiting."""
        for thread in (self._listener, self.reader, self.writer):
            thread.stop()

    async def end(self) -> None:
        """Return when all threads have ended, or one hangs.

        One after the other: SQLite removes its files when the last connection closes, but not if two close at
        once.
        """
        limit = self._timings.store_operation
        for thread in (self._listener, self.reader, self.writer):
            thread.stop()
            if self.loop is asyncio.get_running_loop():
                try:
                    await asyncio.wait_for(thread.ended.wait(), limit)
                except TimeoutError:
                    log.warning("a thread of the store hangs; it ends with the process")
                else:
                    thread.thread.join()  # it has nothing left to do
            else:
                thread.thread.join(limit)  # its event loop is closed, so it cannot set `ended`


def sqlite_path(url: str) -> str:
    """Return the absolute path that a URL names.

    Raises:
        ValueError: it names no file.
    """
    path = url.removeprefix("sqlite:///")
    if path == url or not path.strip() or path == ":memory:" or "\0" in path or path.endswith(("/", os.sep)):
        raise ValueError(
            f"store={url!r} names no file; write sqlite:///relative.db or, with four slashes, sqlite:////absolute.db"
        )
    return os.path.abspath(path)


def _expiry(ttl: float | None) -> float | None:
    return None if ttl is None else time.time() + ttl


def _value(connection: Connection, key: str) -> bytes | None:
    row: tuple[bytes] | None = connection.execute(
        "SELECT value FROM keys WHERE key = ? AND (ends IS NULL OR ends > ?)", (key, time.time())
    ).fetchone()
    return None if row is None else row[0]


def _put(connection: Connection, key: str, value: bytes, expiry: float | None) -> None:
    connection.execute(
        "INSERT INTO keys VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET value = excluded.value, ends = excluded.ends",
        (key, value, expiry),
    )


def _delete(connection: Connection, key: str) -> None:
    connection.execute("DELETE FROM keys WHERE key = ?", (key,))


def _sweep_keys(connection: Connection, portion: int) -> bool:
    """Delete up to `portion` expired keys, and return whether there may be more."""
    expired = "SELECT key FROM keys WHERE ends <= ? LIMIT ?"
    deleted = connection.execute(f"DELETE FROM keys WHERE key IN ({expired})", (time.time(), portion)).rowcount
    return deleted == portion


def sweep(connection: Connection, message_age: float) -> bool:
    """Delete some of the expired rows, free pages that are not needed, and return whether there is more."""
    sweep_bus = partial(sweep_messages, age=message_age)
    has_more = [delete(connection, _PORTION) for delete in (_sweep_keys, sweep_log, sweep_bus)]
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if free > _SPARE_PAGES:
        for _ in range(min(_PAGES, free - _SPARE_PAGES)):
            connection.execute("PRAGMA incremental_vacuum(1)")  # (n) frees but one page with the sqlite3 module
    return any(has_more) or free > _SPARE_PAGES + _PAGES


def _do_nothing(connection: Connection) -> None:
    """Do nothing, within a transaction."""
