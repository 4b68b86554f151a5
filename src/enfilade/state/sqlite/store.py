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
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from enfilade.state.sqlite.bus import ListenerThread, SqliteBus, sweep_messages
from enfilade.state.sqlite.database import DatabaseConnection, DatabaseFile, FileAvailability
from enfilade.state.sqlite.keys import SqliteKeys, sweep_keys
from enfilade.state.sqlite.worker_thread import DatabaseThread, Job, Run, closed_error
from enfilade.state.store import Bus, EventLog, Keys, LogLimits, StoreError, StreamSlice
from enfilade.timings import Timings

if TYPE_CHECKING:
    from enfilade.state.limits.claims import Limits
    from enfilade.state.outcomes.claims import Outcomes
    from enfilade.state.outcomes.decisions import Results
    from enfilade.state.tasks.records import Tasks

log = logging.getLogger("enfilade.state")

T = TypeVar("T")

#: Most rows that one sweep deletes from a table, and most pages of the file that it frees.
_PORTION: Final = 200
_PAGES: Final = 200

#: Free pages that stay in the file for new rows.
_SPARE_PAGES: Final = 1000


#: Most entries in one read, and most bytes unless it is a single entry.
_READ_LIMIT: Final = 500
_READ_SIZE: Final = 1024 * 1024

#: The part of its age by which a stream may be kept longer, so that not every append writes a new expiry.
_GRACE: Final = 0.02

_STATE: Final = (
    "SELECT id, ends, (SELECT ifnull(max(position), 0) FROM entries WHERE stream = streams.id) "
    "FROM streams WHERE name = ? AND ends > ?"
)
_INSERT_NEW: Final = "INSERT INTO streams (name, head, ends) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_INSERT_ENTRY: Final = "INSERT INTO entries VALUES (?, ?, ?)"


class SqliteLog:
    """`EventLog` in two tables, bounded by age and by entries of one stream.

    Easy to get wrong: a stream that is dropped and opened again under the same name. Entries belong to the row id
    of a stream, which is never used again, so that old entries do not become those of the new stream.

    Args:
        limits: age and entries count.
        read: runs a job that only reads.
        write: runs any other job.
    """

    private = False

    def __init__(self, limits: LogLimits, read: Run, write: Run) -> None:
        self._limits = limits
        self._slack = 1 + limits.entries // 10
        self._read = read
        self._write = write

    async def open(self, stream: str, head: bytes) -> None:
        await self._write(lambda connection: self._open(connection, stream, head))

    async def begin(self, stream: str, head: bytes, entry: tuple[int, bytes]) -> None:
        def job(connection: DatabaseConnection) -> None:
            new = connection.execute(_INSERT_NEW, (stream, head, self._expiry()))
            if new.rowcount == 1:  # nearly always
                connection.execute(_INSERT_ENTRY, (new.lastrowid, *entry))
            else:
                self._open(connection, stream, head)
                self._append(connection, stream, (entry,))

        await self._write(job)

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        await self._write(lambda connection: self._append(connection, stream, entries))

    async def append_each(self, entries: Sequence[tuple[str, int, bytes]]) -> list[bool]:
        def append(connection: DatabaseConnection, stream: str, position: int, data: bytes) -> bool:
            try:
                self._append(connection, stream, ((position, data),))
            except StoreError:  # raised before anything is written
                return False
            return True

        return await self._write(lambda connection: [append(connection, *entry) for entry in entries])

    def _open(self, connection: DatabaseConnection, stream: str, head: bytes) -> None:
        if _row_id(connection, stream) is None:
            _drop(connection, stream)  # it has expired, if it exists at all
            connection.execute(_INSERT_NEW, (stream, head, self._expiry()))

    def _append(self, connection: DatabaseConnection, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        row: tuple[int, float, int] | None = connection.execute(_STATE, (stream, time.time())).fetchone()
        if row is None:
            raise StoreError("the stream has expired from the log, or was never opened in it")
        id, expiry, last = row
        newest = _add(connection, id, entries, last)
        if newest // self._slack > last // self._slack:
            _trim(connection, id, self._limits.entries)
        if expiry < time.time() + self._limits.age:
            connection.execute("UPDATE streams SET ends = ? WHERE id = ?", (self._expiry(), id))

    async def read(self, stream: str, after: int) -> StreamSlice | None:
        return await self._read(lambda connection: _read(connection, stream, after))

    async def last(self, stream: str) -> int:
        return await self._read(lambda connection: _last(connection, stream))

    async def touch(self, stream: str) -> None:
        def job(connection: DatabaseConnection) -> None:
            connection.execute(
                "UPDATE streams SET ends = ? WHERE name = ? AND ends > ?", (self._expiry(), stream, time.time())
            )

        await self._write(job)

    async def drop(self, stream: str) -> None:
        await self._write(lambda connection: _drop(connection, stream))

    def _expiry(self) -> float:
        return time.time() + self._limits.age * (1 + _GRACE)


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
        self._call_limits: Limits | None = None
        self._call_outcomes: Outcomes | None = None
        self._whole_results: Results | None = None
        self._durable_tasks: Tasks | None = None

    @property
    def limits(self) -> "Limits":
        """What decides about limits of calls, made when it is first used."""
        if self._call_limits is None:
            from enfilade.state.limits.sqlite_limits import SqliteLimits

            self._call_limits = SqliteLimits(self._write)
        return self._call_limits

    @property
    def outcomes(self) -> "Outcomes":
        """What decides about outcomes that calls share, made when it is first used."""
        if self._call_outcomes is None:
            from enfilade.state.limits.sqlite_limits import SqliteTable
            from enfilade.state.outcomes.decisions import TableOutcomes

            def run(job: "Callable[[SqliteTable], T]") -> Coroutine[Any, Any, T]:
                return self._write(lambda connection: job(SqliteTable(connection)))

            self._call_outcomes = TableOutcomes(run, time.time, is_local=False)
        return self._call_outcomes

    @property
    def results(self) -> "Results":
        """What keeps whole results within their room, made when it is first used."""
        if self._whole_results is None:
            from enfilade.state.limits.sqlite_limits import SqliteTable
            from enfilade.state.outcomes.decisions import TableResults

            def run(job: "Callable[[SqliteTable], T]") -> Coroutine[Any, Any, T]:
                return self._write(lambda connection: job(SqliteTable(connection)))

            self._whole_results = TableResults(run, time.time)
        return self._whole_results

    @property
    def tasks(self) -> "Tasks":
        """Records of tasks, made when they are first used."""
        if self._durable_tasks is None:
            from enfilade.state.tasks.sqlite_tasks import SqliteTasks

            self._durable_tasks = SqliteTasks(self._read, self._write)
        return self._durable_tasks

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
        self.availability = FileAvailability(file.path)
        run_sweep = partial(sweep, message_age=timings.sqlite_message_age)
        self.writer = DatabaseThread(file, loop, "IMMEDIATE", self.availability, timings, run_sweep)
        self.reader = DatabaseThread(file, loop, "DEFERRED", self.availability, timings)
        self._listener = ListenerThread(file, loop, bus, timings)
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


# -- statements of the event log ---------------------------------------------------------------------------------


def _row_id(connection: DatabaseConnection, stream: str) -> int | None:
    row: tuple[int] | None = connection.execute(
        "SELECT id FROM streams WHERE name = ? AND ends > ?", (stream, time.time())
    ).fetchone()
    return None if row is None else row[0]


def _add(connection: DatabaseConnection, id: int, entries: Sequence[tuple[int, bytes]], last: int) -> int:
    """Add the entries above the last position, and return the new last position."""
    for position, entry in entries:
        if position > last:
            connection.execute(_INSERT_ENTRY, (id, position, entry))
            last = position
    return last


def _trim(connection: DatabaseConnection, id: int, count: int) -> None:
    """Delete all but the newest entries of a stream."""
    newest = "SELECT position FROM entries WHERE stream = ? ORDER BY position DESC LIMIT 1 OFFSET ?"
    connection.execute(f"DELETE FROM entries WHERE stream = ? AND position <= ({newest})", (id, id, count))


def _delete_oldest(connection: DatabaseConnection, id: int, count: int) -> int:
    """Delete the oldest entries of a stream and return their number."""
    oldest = "SELECT position FROM entries WHERE stream = ? ORDER BY position LIMIT ?"
    return connection.execute(
        f"DELETE FROM entries WHERE stream = ? AND position IN ({oldest})", (id, id, count)
    ).rowcount


def _drop(connection: DatabaseConnection, stream: str) -> None:
    """Detach the stream's name; its entries are deleted by the sweep."""
    connection.execute("UPDATE streams SET name = NULL, ends = 0 WHERE name = ?", (stream,))


def _read(connection: DatabaseConnection, stream: str, after: int) -> StreamSlice | None:
    row: tuple[int, bytes] | None = connection.execute(
        "SELECT id, head FROM streams WHERE name = ? AND ends > ?", (stream, time.time())
    ).fetchone()
    if row is None:
        return None
    id, head = row
    (first,) = connection.execute("SELECT min(position) FROM entries WHERE stream = ?", (id,)).fetchone()
    entries: list[tuple[int, bytes]] = []
    size = 0
    for position, entry in connection.execute(
        "SELECT position, entry FROM entries WHERE stream = ? AND position > ? ORDER BY position LIMIT ?",
        (id, after, _READ_LIMIT),
    ):
        size += len(entry)
        if entries and size > _READ_SIZE:
            break
        entries.append((position, entry))
    return StreamSlice(head, entries, first)


def _last(connection: DatabaseConnection, stream: str) -> int:
    (last,) = connection.execute(
        "SELECT max(position) FROM entries WHERE stream = ?", (_row_id(connection, stream),)
    ).fetchone()
    return last or 0


def sweep_log(connection: DatabaseConnection, portion: int) -> bool:
    """Delete up to `portion` entries of dropped and expired streams, and return whether there may be more."""
    for (id,) in connection.execute(
        "SELECT id FROM streams WHERE ends <= ? LIMIT ?", (time.time(), portion)
    ).fetchall():
        portion -= 1 + _delete_oldest(connection, id, portion)
        if portion <= 0:
            return True
        connection.execute("DELETE FROM streams WHERE id = ?", (id,))
    return False


# -- the sweep ---------------------------------------------------------------------------------------------------


def sweep_tasks(connection: DatabaseConnection, portion: int) -> bool:
    """Delete tasks that are no longer kept, and return whether there may be more.

    They may be large, so that only a tenth of a portion is deleted.
    """
    ended = "SELECT id FROM tasks WHERE ends <= ? LIMIT ?"
    expired = connection.execute(ended, (time.time(), portion // 10)).fetchall()
    for table in ("task_values", "tasks"):
        connection.executemany(f"DELETE FROM {table} WHERE id = ?", expired)
    return len(expired) == portion // 10


def sweep(connection: DatabaseConnection, message_age: float) -> bool:
    """Delete some of the expired rows, free pages that are not needed, and return whether there is more."""
    sweep_bus = partial(sweep_messages, age=message_age)
    has_more = [delete(connection, _PORTION) for delete in (sweep_keys, sweep_log, sweep_tasks, sweep_bus)]
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if free > _SPARE_PAGES:
        for _ in range(min(_PAGES, free - _SPARE_PAGES)):
            connection.execute("PRAGMA incremental_vacuum(1)")  # (n) frees but one page with the sqlite3 module
    return any(has_more) or free > _SPARE_PAGES + _PAGES


def _do_nothing(connection: DatabaseConnection) -> None:
    """Do nothing, within a transaction."""
