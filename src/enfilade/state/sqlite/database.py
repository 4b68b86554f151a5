"""The file behind `sqlite:///…`: creating and opening it, detecting that it is gone, explaining its errors.

Every thread of every process has a connection of its own. The easy thing to get wrong is a file that was deleted
or replaced under an open connection: SQLite would go on writing into the old file, which is lost, or read one
file with the index of the other. So every use of a connection starts with `DatabaseFile.is_current`.
"""

import contextlib
import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

from enfilade.state.store import StoreError

log = logging.getLogger("enfilade.state")

_APPLICATION: Final = 0x456E6669  # "Enfi", in the header of the file
_VERSION: Final = 1

#: Set on every connection; and before that on the first one only, as it writes.
PRAGMAS: Final = [
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "wal_autocheckpoint=4000",  # pages; a page shared by many streams is then written back less often
    f"journal_size_limit={64 * 1024 * 1024}",
    "temp_store=MEMORY",
]

_FIRST_PRAGMA: Final = "auto_vacuum=INCREMENTAL"

_SCHEMA: Final = [
    "CREATE TABLE keys (key TEXT PRIMARY KEY, value BLOB NOT NULL, ends REAL) WITHOUT ROWID",
    "CREATE INDEX keys_by_end ON keys (ends) WHERE ends IS NOT NULL",
    # A stream without a name was dropped or has expired; the sweep deletes its entries in portions, then its row.
    "CREATE TABLE streams (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, head BLOB NOT NULL, "
    "ends REAL NOT NULL)",
    "CREATE INDEX streams_by_end ON streams (ends)",
    "CREATE TABLE entries (stream INTEGER NOT NULL, position INTEGER NOT NULL, entry BLOB NOT NULL, "
    "PRIMARY KEY (stream, position)) WITHOUT ROWID",
    # AUTOINCREMENT: an id is never used again, as listeners remember the last one they have read.
    "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, message BLOB NOT NULL, "
    "sent REAL NOT NULL)",
]

#: Tables that files of earlier versions lack. They are added when a file is opened; those versions leave them
#: alone.
_ADDED_SCHEMA: Final = [
    "CREATE TABLE IF NOT EXISTS tasks (id TEXT PRIMARY KEY, server TEXT NOT NULL, owner TEXT NOT NULL, "
    "position TEXT NOT NULL, version INTEGER NOT NULL, is_written INTEGER NOT NULL, since REAL NOT NULL, "
    "due REAL, ends REAL) "
    "WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS tasks_by_position ON tasks (server, position)",
    "CREATE INDEX IF NOT EXISTS tasks_by_owner ON tasks (server, owner, position, ends)",
    "CREATE INDEX IF NOT EXISTS tasks_by_due ON tasks (server, due) WHERE due IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS tasks_by_end ON tasks (ends) WHERE ends IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS tasks_by_since ON tasks (since)",
    "CREATE TABLE IF NOT EXISTS task_values (id TEXT PRIMARY KEY, value BLOB NOT NULL)",
]

#: Endings of the file and of those that SQLite keeps beside it.
_ENDINGS: Final = ("", "-wal", "-shm")

#: Seconds between two checks of the files beside it; the file itself is checked with each transaction.
_SIDE_FILES_INTERVAL: Final = 0.1

#: Errors that end when another process releases its lock.
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}

#: Errors of the file and not of a statement, which a new connection may not have.
_FILE_ERRORS: Final = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
}

_ADVICE: Final = {
    sqlite3.SQLITE_FULL: "its disk is full: make room there",
    sqlite3.SQLITE_IOERR: "its disk does not read or write: look for one that is full or failing, or a limit "
    "on the size of files",
    sqlite3.SQLITE_READONLY: "it cannot be written to: give the server's user permission to write the file, the "
    "files beside it that end in -wal and -shm, and the directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: give the server's user permission to read and write the file "
    "and its directory",
    sqlite3.SQLITE_CORRUPT: "it is damaged: stop the servers that use it, move it and the files beside it that "
    "end in -wal and -shm away, and start them again",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database, or is damaged: name another file in store=, or move it "
    "away",
    sqlite3.SQLITE_BUSY: "another program has kept it locked for too long: look for a backup, a shell or a "
    "stopped process that has it open",
}

# Closing a file that SQLite has open anywhere in this process would release its locks, so a file is created only
# while no thread opens it.
_opening = threading.Lock()


class DatabaseFile:
    """A file that may not exist yet.

    Args:
        path: absolute.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def connect(self) -> "DatabaseConnection":
        """Open the file, creating it if it does not exist. The connection belongs to the calling thread.

        Raises:
            StoreError: it is the file of another program, or of another version of this package.
            sqlite3.Error: see `explain`.
        """
        directory = os.path.dirname(self.path)
        if not os.path.isdir(directory):
            raise StoreError(
                f"{self.path}: there is no directory {directory}; make it, or name another file in store="
            )
        with _opening:
            with contextlib.suppress(OSError):  # it exists, or SQLite raises the same error
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, factory=DatabaseConnection)
        try:
            first_pragmas = [] if self._has_our_tables(connection) else [_FIRST_PRAGMA]
            for pragma in [*first_pragmas, *PRAGMAS]:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            self._create_tables(connection)
            connection.inodes = self._inodes()
        except BaseException:
            connection.close()
            raise
        return connection

    def is_current(self, connection: "DatabaseConnection") -> bool:
        """Whether the path still leads to the files that the connection has opened."""
        if _inode(self.path) != connection.inodes[0] or self._is_truncated():
            return False
        now = time.monotonic()
        if now - connection.checked_at < _SIDE_FILES_INTERVAL:
            return True
        connection.checked_at = now
        return self._inodes() == connection.inodes

    def discard(self, connection: "DatabaseConnection") -> StoreError:
        """Close a connection whose file was replaced or deleted, and return the error to raise.

        Also deletes the files beside the old file, which would damage a new one.
        """
        is_truncated = self._is_truncated()
        if not is_truncated:
            connection.close()
        with contextlib.suppress(OSError), _locked(os.path.dirname(self.path)):
            for ending, inode in zip(_ENDINGS, connection.inodes, strict=True):
                if (ending or is_truncated) and inode and inode == _inode(self.path + ending):
                    os.unlink(self.path + ending)
        connection.close()  # if truncated, only now: what SQLite still writes goes into a deleted file
        return StoreError(
            f"{self.path} was emptied, deleted or replaced while in use, and what only it held is lost. "
            "Keep it where nothing cleans up"
        )

    def _is_truncated(self) -> bool:
        """Whether the file was truncated to nothing; an opened file has at least its header."""
        try:
            return os.stat(self.path).st_size == 0
        except OSError:
            return False

    def explain(self, error: sqlite3.Error) -> StoreError:
        """Return the error of the store for an error of SQLite, with advice."""
        code = _primary_code(error)
        advice = _ADVICE.get(sqlite3.SQLITE_BUSY if code in _BUSY else code)
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        return StoreError(f"{self.path}: {advice or error} ({name})")

    def _has_our_tables(self, connection: sqlite3.Connection) -> bool:
        """Whether it has our tables; False if it is empty."""
        with _consistent_read(connection):  # another process may be creating the tables
            application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
            is_empty = connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None
        if application == version == 0 and is_empty:
            return False
        if application != _APPLICATION:
            raise StoreError(f"{self.path} is the database of another program; name another file in store=")
        if version != _VERSION:
            raise StoreError(
                f"{self.path} has layout {version}, and this version of enfilade has layout {_VERSION}: "
                "run the same version everywhere, or name another file in store="
            )
        return True

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        if self._has_our_tables(connection) and _has_added_tables(connection):
            return
        connection.execute("BEGIN IMMEDIATE")
        if not self._has_our_tables(connection):  # no other process was faster
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={_APPLICATION}")
            connection.execute(f"PRAGMA user_version={_VERSION}")
        for statement in _ADDED_SCHEMA:
            connection.execute(statement)
        connection.execute("COMMIT")

    def _inodes(self) -> tuple[int, ...]:
        return tuple(_inode(self.path + ending) for ending in _ENDINGS)


class FileAvailability:
    """Whether the file can be used, for the log, from any thread: a warning when it is lost and when it is back.

    Several threads use the file: the first one that fails logs it, and the last one that works again.

    Args:
        path: the file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._failing: set[str] = set()
        self._lock = threading.Lock()

    @property
    def is_lost(self) -> bool:
        """Whether it has been logged that the file cannot be used."""
        return bool(self._failing)

    def report_lost(self, thread: str, error: Exception) -> None:
        """Report that a thread cannot use it.

        Args:
            thread: its name.
            error: its text is logged.
        """
        with self._lock:
            is_first = not self._failing
            self._failing.add(thread)
        if is_first:
            log.warning("the store is out of reach: %s", error)

    def report_back(self, thread: str) -> None:
        """Report that a thread can use it."""
        if thread not in self._failing:
            return
        with self._lock:
            self._failing.discard(thread)
            is_last = not self._failing
        if is_last:
            log.warning("the store is back: %s", self._path)


class DatabaseConnection(sqlite3.Connection):
    """A connection that knows the inodes of the files it has opened."""

    inodes: tuple[int, ...] = (0, 0, 0)
    checked_at = 0.0


def _primary_code(error: sqlite3.Error) -> int:
    """Return the primary result code of an error."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection holds a lock."""
    return _primary_code(error) in _BUSY


def is_about_the_file(error: sqlite3.Error) -> bool:
    """Whether any statement would have failed with the error."""
    return _primary_code(error) in _FILE_ERRORS


@contextlib.contextmanager
def _consistent_read(connection: sqlite3.Connection) -> Iterator[None]:
    """Read a consistent state, within the current transaction or a new one."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:  # some errors end it
            connection.execute("ROLLBACK")


def _has_added_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'task_values'").fetchone() is not None


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    number = connection.execute(f"PRAGMA {name}").fetchone()[0]
    assert isinstance(number, int)
    return number


def _inode(path: str) -> int:
    """Return the inode of a file, or 0 if it does not exist."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Lock a directory against other processes in `discard`, where open files can be deleted."""
    if sys.platform == "win32":
        yield  # an open file cannot be deleted there
        return
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
