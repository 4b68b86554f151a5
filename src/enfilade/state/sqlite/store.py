"""The store behind `sqlite:///…`: a file for all processes of one host, without a server to run.

Three threads use it, each with a connection: one writes, one reads, one listens. A process that is killed loses
nothing that was acknowledged; a machine that loses power may lose the last moments, and the file stays whole.

The easy thing to get wrong is a connection that is older than its process or its event loop: nothing is opened
before `start`, and `start` in another loop opens everything anew.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from enfilade.state.sqlite.availability import Reach
from enfilade.state.sqlite.bus import Listening, SqliteBus, sweep_messages
from enfilade.state.sqlite.database import Connection, DatabaseFile
from enfilade.state.sqlite.event_log import SqliteLog, sweep_log
from enfilade.state.sqlite.keys import SqliteKeys, sweep_keys
from enfilade.state.sqlite.worker_thread import LIMIT, DatabaseThread, Job, closed
from enfilade.state.store import Bus, EventLog, Keys, LogLimits, StoreError

log = logging.getLogger("enfilade.state")

T = TypeVar("T")

#: Rows that one sweep deletes at most, and pages of the file that it gives back.
_PORTION: Final = 200
_PAGES: Final = 200

#: Free pages that are left in the file for what comes next.
_SPARE_PAGES: Final = 1000


class SqliteStore:
    """Keys, event log and bus in one file.

    Args:
        url: `sqlite:///relative.db` or `sqlite:////absolute.db`.
        limits: what the log keeps.

    Raises:
        ValueError: the URL names no file.
    """

    shared = True

    def __init__(self, url: str, limits: LogLimits) -> None:
        self._file = DatabaseFile(path_in(url))
        self._threads: _Threads | None = None
        self.keys: Keys = SqliteKeys(self._read, self._write)
        self.log: EventLog = SqliteLog(limits, self._read, self._write)
        self._bus = SqliteBus(self._write)
        self.bus: Bus = self._bus

    @property
    def unavailable(self) -> bool:
        return self._threads is not None and self._threads.reach.reported

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        if self._threads is not None and self._threads.loop is not loop:
            self._threads.stop()
            self._threads = None
        if self._threads is None:
            self._threads = _Threads(self._file, loop, self._bus)
        await self._threads.ready()

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            try:
                await threads.end()
            finally:
                threads.stop()  # also those that were not waited for

    def _read(self, job: Job[T]) -> Coroutine[Any, Any, T]:
        return self._open_threads().reader.run(job)

    def _write(self, job: Job[T]) -> Coroutine[Any, Any, T]:
        return self._open_threads().writer.run(job)

    def _open_threads(self) -> "_Threads":
        threads = self._threads
        if threads is None or threads.loop is not asyncio.get_running_loop():
            raise closed(self._file)
        return threads


class _Threads:
    """What runs between `start` and `close`."""

    def __init__(self, file: DatabaseFile, loop: asyncio.AbstractEventLoop, bus: SqliteBus) -> None:
        self.loop = loop
        self.reach = Reach(file.path)
        self.writer = DatabaseThread(file, loop, "IMMEDIATE", self.reach, sweep)
        self.reader = DatabaseThread(file, loop, "DEFERRED", self.reach)
        self._listening = Listening(file, loop, bus)
        bus.published = self._listening.look

    async def ready(self) -> None:
        """Return when the file is open, or could not be opened; whoever needs it will be told."""
        with contextlib.suppress(StoreError):  # the threads log it
            await self.writer.run(_nothing)
            await self.reader.run(_nothing)
        await self._listening.ready.wait()

    def stop(self) -> None:
        """Let all threads end, and do not wait for them."""
        for each in (self._listening, self.reader, self.writer):
            each.stop()

    async def end(self) -> None:
        """Return when all threads have ended, or will not do so soon.

        One after the other: SQLite tidies up when the last connection is closed, but not if two are at once.
        """
        for each in (self._listening, self.reader, self.writer):
            each.stop()
            if self.loop is asyncio.get_running_loop():
                try:
                    await asyncio.wait_for(each.ended.wait(), LIMIT)
                except TimeoutError:
                    log.warning("a thread of the store hangs; it ends with the process")
                else:
                    each.thread.join()  # it has nothing left to do
            else:
                each.thread.join(LIMIT)  # its own loop is over, so it cannot say that it is done


def path_in(url: str) -> str:
    """Return the absolute path that a URL names.

    Raises:
        ValueError: it names none.
    """
    path = url.removeprefix("sqlite:///")
    if path == url or not path.strip() or path == ":memory:" or "\0" in path or path.endswith(("/", os.sep)):
        raise ValueError(
            f"store={url!r} names no file; write sqlite:///relative.db or, with four slashes, sqlite:////absolute.db"
        )
    return os.path.abspath(path)


def sweep(connection: Connection) -> bool:
    """Delete some of what has expired, give back room that is not needed, and return whether there is more."""
    more = [part(connection, _PORTION) for part in (sweep_keys, sweep_log, sweep_messages)]
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if free > _SPARE_PAGES:
        for _ in range(min(_PAGES, free - _SPARE_PAGES)):
            connection.execute("PRAGMA incremental_vacuum(1)")  # of more, the standard library would free one
    return any(more) or free > _SPARE_PAGES + _PAGES


def _nothing(connection: Connection) -> None:
    """Do nothing, within a transaction."""
