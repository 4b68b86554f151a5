"""Messages between processes that share an SQLite file: a table, and a thread in each process that looks into it.

The thread is woken when the file may have been written to. It asks for `PRAGMA data_version`, which reads nothing
but a number in shared memory, and looks further only if somebody else has written. Messages have rising numbers
without holes.

The easy thing to get wrong is to miss one without noticing: a hole in the numbers is a gap, and so is every new
connection.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from itertools import takewhile
from typing import Final

from enfilade.state.sqlite.database import Connection, DatabaseFile, is_busy
from enfilade.state.sqlite.file_watch import RELIABLE, FileWatch
from enfilade.state.sqlite.keys import Run
from enfilade.state.sqlite.worker_thread import PATIENCE
from enfilade.state.store import StoreError

log = logging.getLogger("enfilade.state")

#: Seconds after which a message is noticed at the latest, and between two tries while the file is being made.
_POLL: Final = 0.02

#: Seconds between two looks of the thread, whatever has been noticed, and when the file cannot be opened.
_UNASKED: Final = 0.5 if RELIABLE else _POLL
_RETRY: Final = 0.25

#: Seconds for which a message is kept.
AGE: Final = 60.0

#: Messages that are read at once.
_PAGE: Final = 500

# One statement and not two, since a thread must wait for its turn after each while the event loop is busy.
_NEXT: Final = (
    "SELECT seq, id, topic, message FROM sqlite_sequence LEFT JOIN messages ON id > ? WHERE name = 'messages' "
    "ORDER BY id LIMIT ?"
)

_Messages = list[tuple[int, str, bytes]]


class SqliteBus:
    """`Bus` in a table. Who hears goes on hearing when the store is closed and started again.

    Args:
        write: runs what writes.
    """

    propagation_delay = 2.5 * _POLL

    def __init__(self, write: Run) -> None:
        self._write = write
        self._told: dict[str, list[Callable[[bytes], None]]] = {}
        self._gaps: list[Callable[[], None]] = []
        self.published: Callable[[], None] | None = None

    async def publish(self, topic: str, message: bytes) -> None:
        def job(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO messages (topic, message, sent) VALUES (?, ?, ?)", (topic, message, time.time())
            )

        await self._write(job)
        if self.published is not None:
            self.published()

    def subscribe(self, topic: str, told: Callable[[bytes], None]) -> None:
        self._told.setdefault(topic, []).append(told)

    def on_gap(self, told: Callable[[], None]) -> None:
        self._gaps.append(told)

    def hand_on(self, messages: _Messages) -> None:
        """Give messages to those who hear their topics; to be called in the event loop."""
        loop = asyncio.get_running_loop()
        for _, topic, message in messages:
            for told in self._told.get(topic, ()):
                loop.call_soon(told, message)

    def tell_gap(self) -> None:
        """Say that messages may have been missed; to be called in the event loop."""
        loop = asyncio.get_running_loop()
        for told in self._gaps:
            loop.call_soon(told)


class Listening:
    """The thread that reads messages; it begins at once, and with those that are sent from now on.

    Args:
        file: the database.
        loop: where messages are handed on.
        bus: to whom.
    """

    def __init__(self, file: DatabaseFile, loop: asyncio.AbstractEventLoop, bus: SqliteBus) -> None:
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self._file = file
        self._loop = loop
        self._bus = bus
        self._connection: Connection | None = None
        self._version: int | None = None
        self._last = 0
        self._gap = False
        self._failing = False
        self._stopping = False
        self._look = threading.Event()
        self._watch = FileWatch(f"{file.path}-wal", _POLL, self._look.set)
        self.thread = threading.Thread(target=self._work, name="enfilade-sqlite-bus", daemon=True)
        self.thread.start()

    def look(self) -> None:
        """Look now, for there is something."""
        self._look.set()

    def stop(self) -> None:
        """End soon; see `ended`."""
        self._watch.stop()
        self._stopping = True
        self._look.set()

    # -- in the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        since = time.monotonic()
        while not self._tried() and time.monotonic() - since < PATIENCE:
            self._look.wait(_POLL)  # others make the same file at this moment
        self._tell(self.ready.set)
        known = True
        while not self._stopping:
            self._look.wait(_RETRY if self._failing else _UNASKED if known else _POLL)
            self._look.clear()
            known = self._tried()
        self._close()
        self._tell(self.ended.set)

    def _tried(self) -> bool:
        """Look for messages, and return whether it is known how that went; False if a lock was in the way."""
        try:
            self._poll()
            self._failing = False
        except sqlite3.Error as error:
            self._version = None
            if is_busy(error):
                return False
            self._lost(self._file.trouble(error))
        except StoreError as error:
            self._lost(error)
        return True

    def _lost(self, error: StoreError) -> None:
        if not self._failing:
            log.warning("messages from other workers are not heard for now: %s", error)
        self._failing = self._gap = True
        self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _poll(self) -> None:
        if self._connection is None:
            self._connection = self._file.connect()
            self._version, self._last = None, _newest(self._connection)
            if self._gap:
                self._gap = False
                self._tell(self._bus.tell_gap)
        elif not self._file.is_there(self._connection):
            gone, self._connection = self._connection, None
            raise self._file.clear_away(gone)
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            while self._read(self._connection):
                pass
            self._version = version

    def _read(self, connection: Connection) -> bool:
        """Hand on a page of messages, and return whether there may be more."""
        rows = connection.execute(_NEXT, (self._last, _PAGE)).fetchall()
        newest: int = rows[0][0] if rows else 0
        if newest == self._last:
            return False
        messages: _Messages = [(id, topic, message) for _, id, topic, message in rows if id is not None]
        if not messages or messages[0][0] != self._last + 1:
            self._tell(self._bus.tell_gap)
        if messages:
            self._tell(self._bus.hand_on, messages)
        self._last = messages[-1][0] if messages else newest
        return self._last < newest

    def _tell(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(function, *args)


def _newest(connection: Connection) -> int:
    """Return the number of the newest message there ever was."""
    row: tuple[int] | None = connection.execute(
        "SELECT seq FROM sqlite_sequence WHERE name = 'messages'"
    ).fetchone()
    return 0 if row is None else row[0]


def sweep_messages(connection: Connection, portion: int) -> bool:
    """Delete up to `portion` messages that everybody has read, and return whether there may be more."""
    oldest = connection.execute("SELECT id, sent FROM messages ORDER BY id LIMIT ?", (portion,)).fetchall()
    now = time.time()
    old = list(takewhile(lambda row: abs(now - row[1]) > AGE, oldest))  # a clock may also have been put back
    if old:
        connection.execute("DELETE FROM messages WHERE id <= ?", (old[-1][0],))
    return len(old) == portion
