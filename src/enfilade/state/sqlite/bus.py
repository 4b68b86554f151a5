"""Messages between processes that share an SQLite file: a table, and a thread in each process that reads it.

The event loop watches the file and wakes the thread when it may have been written to. The thread asks for `PRAGMA
data_version`, which reads nothing but a number in shared memory, and reads messages only if another connection
has written. Message ids rise without holes.

The easy thing to get wrong is to miss a message without noticing: a hole in the ids is a gap, and so is every new
connection.
"""

import asyncio
import contextlib
import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from itertools import takewhile
from typing import Final

from enfilade.state.sqlite.database import DatabaseConnection, DatabaseFile, is_busy
from enfilade.state.sqlite.worker_thread import Run
from enfilade.state.store import StoreError
from enfilade.timings import Timings

log = logging.getLogger("enfilade.state")

#: Seconds between two looks at the file, and between two attempts while a lock is in the way.
_POLL: Final = 0.02

#: Seconds between two attempts to open a file that cannot be opened.
_RETRY: Final = 0.25

#: Seconds for which one change of a file may hide another; the clocks of some file systems tick only so often.
_TICK: Final = 0.05

#: Whether the times of an open file are reliable.
_RELIABLE: Final = sys.platform != "win32"

#: Most messages in one read.
_READ_LIMIT: Final = 500

# One statement and not two, since a thread must wait for its turn after each while the event loop is busy.
_NEXT: Final = (
    "SELECT seq, id, topic, message FROM sqlite_sequence LEFT JOIN messages ON id > ? WHERE name = 'messages' "
    "ORDER BY id LIMIT ?"
)

_Messages = list[tuple[int, str, bytes]]


class SqliteBus:
    """`Bus` in a table. Subscriptions outlast `close` and a new `start` of the store."""

    propagation_delay = 2.5 * _POLL

    def __init__(self, write: Run) -> None:
        self._write = write
        self._callbacks: dict[str, list[Callable[[bytes], None]]] = {}
        self._gap_callbacks: list[Callable[[], None]] = []
        self.on_published: Callable[[], None] | None = None

    async def publish(self, topic: str, message: bytes) -> None:
        def job(connection: DatabaseConnection) -> None:
            connection.execute(
                "INSERT INTO messages (topic, message, sent) VALUES (?, ?, ?)", (topic, message, time.time())
            )

        await self._write(job)
        if self.on_published is not None:
            self.on_published()

    def subscribe(self, topic: str, callback: Callable[[bytes], None]) -> None:
        self._callbacks.setdefault(topic, []).append(callback)

    def on_gap(self, callback: Callable[[], None]) -> None:
        self._gap_callbacks.append(callback)

    def deliver(self, messages: _Messages) -> None:
        """Call the subscribers of each message; called in the event loop."""
        loop = asyncio.get_running_loop()
        for _, topic, message in messages:
            for callback in self._callbacks.get(topic, ()):
                loop.call_soon(callback, message)

    def report_gap(self) -> None:
        """Report that messages may have been missed; called in the event loop."""
        loop = asyncio.get_running_loop()
        for callback in self._gap_callbacks:
            loop.call_soon(callback)


class ListenerThread:
    """The thread that reads messages. It starts at once, with the messages that are sent from now on.

    Args:
        file: the database.
        loop: where messages are delivered.
        bus: delivers them.
        timings: `sqlite_bus_interval` and `sqlite_lock_wait` count.
    """

    def __init__(
        self, file: DatabaseFile, loop: asyncio.AbstractEventLoop, bus: SqliteBus, timings: Timings
    ) -> None:
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self._file = file
        self._loop = loop
        self._bus = bus
        self._timings = timings
        self._connection: DatabaseConnection | None = None
        self._version: int | None = None
        self._last_id = 0
        self._is_failing = False
        self._is_stopping = False
        self._wake_up = threading.Event()
        self._watch = FileWatch(f"{file.path}-wal", _POLL, self._wake_up.set)
        self.thread = threading.Thread(target=self._work, name="enfilade-sqlite-bus", daemon=True)
        self.thread.start()

    def wake(self) -> None:
        """Make the thread look for messages now."""
        self._wake_up.set()

    def stop(self) -> None:
        """End soon; see `ended`."""
        self._watch.stop()
        self._is_stopping = True
        self._wake_up.set()

    # -- in the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        started_at = time.monotonic()
        while not self._try_poll() and time.monotonic() - started_at < self._timings.sqlite_lock_wait:
            self._wake_up.wait(_POLL)  # another process is creating the same file
        self._call_in_loop(self.ready.set)
        interval = self._timings.sqlite_bus_interval if _RELIABLE else _POLL
        is_decided = True
        while not self._is_stopping:
            self._wake_up.wait(_RETRY if self._is_failing else interval if is_decided else _POLL)
            self._wake_up.clear()
            is_decided = self._try_poll()
        self._close()
        self._call_in_loop(self.ended.set)

    def _try_poll(self) -> bool:
        """Look for messages; return False if a lock was in the way, True after success and after a failure."""
        try:
            self._poll()
            self._is_failing = False
        except sqlite3.Error as error:
            self._version = None
            if is_busy(error):
                return False
            self._fail(self._file.explain(error))
        except StoreError as error:
            self._fail(error)
        return True

    def _fail(self, error: StoreError) -> None:
        if not self._is_failing:
            log.warning("messages from other workers are not received for now: %s", error)
        self._is_failing = True
        self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _poll(self) -> None:
        if self._connection is None:
            self._connection = self._file.connect()
            self._version, self._last_id = None, _newest_id(self._connection)
            if self._is_failing:
                self._call_in_loop(self._bus.report_gap)
        elif not self._file.is_current(self._connection):
            stale, self._connection = self._connection, None
            raise self._file.discard(stale)
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            while self._read(self._connection):
                pass
            self._version = version

    def _read(self, connection: DatabaseConnection) -> bool:
        """Deliver a page of messages, and return whether there may be more."""
        rows = connection.execute(_NEXT, (self._last_id, _READ_LIMIT)).fetchall()
        newest_id: int = rows[0][0] if rows else 0
        if newest_id == self._last_id:
            return False
        messages: _Messages = [(id, topic, message) for _, id, topic, message in rows if id is not None]
        if not messages or messages[0][0] != self._last_id + 1:
            self._call_in_loop(self._bus.report_gap)
        if messages:
            self._call_in_loop(self._bus.deliver, messages)
        self._last_id = messages[-1][0] if messages else newest_id
        return self._last_id < newest_id

    def _call_in_loop(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(function, *args)


class FileWatch:
    """Detects writes to a database in the event loop, without a thread and without SQLite, until it is stopped.

    Every write goes into the file that ends in `-wal` and changes its size or its time. Fifty `stat` calls a
    second cost the event loop next to nothing, while a thread that woke as often would cost a busy worker several
    percent of its calls, because it takes the interpreter away.

    Two writes within one tick of the file system's clock look like one if the file did not grow. So a file that
    was changed just now counts as changed at the next look as well.

    Args:
        path: the file; it need not exist.
        pause: seconds between two looks.
        on_change: called when the file may have been written to.
    """

    def __init__(self, path: str, pause: float, on_change: Callable[[], object]) -> None:
        self._path = path
        self._pause = pause
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._last_state: tuple[int, ...] = ()
        self._timer = self._loop.call_later(pause, self._look)

    def stop(self) -> None:
        """Stop looking."""
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._pause, self._look)
        try:
            status = os.stat(self._path)
        except OSError:  # it does not exist yet, or no longer
            state: tuple[int, ...] = ()
        else:
            state = (status.st_ino, status.st_size, status.st_mtime_ns)
            if abs(time.time() - status.st_mtime) < _TICK:
                self._on_change()
        if state != self._last_state:
            self._last_state = state
            self._on_change()


def _newest_id(connection: DatabaseConnection) -> int:
    """Return the highest id of a message so far."""
    row: tuple[int] | None = connection.execute(
        "SELECT seq FROM sqlite_sequence WHERE name = 'messages'"
    ).fetchone()
    return 0 if row is None else row[0]


def sweep_messages(connection: DatabaseConnection, portion: int, age: float) -> bool:
    """Delete up to `portion` messages older than `age` seconds, and return whether there may be more."""
    oldest = connection.execute("SELECT id, sent FROM messages ORDER BY id LIMIT ?", (portion,)).fetchall()
    now = time.time()
    expired = list(takewhile(lambda row: abs(now - row[1]) > age, oldest))  # the clock may have been set back
    if expired:
        connection.execute("DELETE FROM messages WHERE id <= ?", (expired[-1][0],))
    return len(expired) == portion
