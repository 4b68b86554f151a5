"""The file behind `sqlite:///…`: making it, opening it, noticing that it is gone, saying what is wrong with it.

Every thread has a connection of its own, and so does every process. The easy thing to get wrong is a file that
was deleted or replaced under an open connection: SQLite would go on writing into the old one, which nobody sees,
or read one file by the index of the other. So whoever uses a connection asks first whether it `is_there` still.
"""

import contextlib
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

from enfilade.state.store import StoreError

_APPLICATION: Final = 0x456E6669  # "Enfi", in the header of the file
_VERSION: Final = 1

#: What every connection is told when it is opened, and what the first is told before, to others being a write.
PRAGMAS: Final = [
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "wal_autocheckpoint=4000",  # pages; those that many streams share are then written back less often
    f"journal_size_limit={64 * 1024 * 1024}",
    "temp_store=MEMORY",
]

_FIRST_PRAGMA: Final = "auto_vacuum=INCREMENTAL"

_SCHEMA: Final = [
    "CREATE TABLE keys (key TEXT PRIMARY KEY, value BLOB NOT NULL, ends REAL) WITHOUT ROWID",
    "CREATE INDEX keys_by_end ON keys (ends) WHERE ends IS NOT NULL",
    # A stream without a name was dropped or has expired; its entries go little by little, and then itself.
    "CREATE TABLE streams (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, head BLOB NOT NULL, "
    "ends REAL NOT NULL)",
    "CREATE INDEX streams_by_end ON streams (ends)",
    "CREATE TABLE entries (stream INTEGER NOT NULL, position INTEGER NOT NULL, entry BLOB NOT NULL, "
    "PRIMARY KEY (stream, position)) WITHOUT ROWID",
    # AUTOINCREMENT: a listener that has read to some id must never see that id on another message.
    "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, message BLOB NOT NULL, "
    "sent REAL NOT NULL)",
]

#: The file, and what SQLite keeps beside it.
_ENDINGS: Final = ("", "-wal", "-shm")

#: Seconds between two looks at what is beside the file; at the file itself it is with each transaction.
_LOOK_BESIDE: Final = 0.1

#: Errors after which another try may go well, if whoever holds the lock lets go of it.
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}

#: Errors that are not about what was asked but about the file, and that a new connection may not have.
_FILE: Final = {
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

# To close a file that SQLite has open, anywhere in this process, would cost it its locks; so a file is made only
# while nobody here opens it.
_opening = threading.Lock()


class DatabaseFile:
    """A file that may not exist yet.

    Args:
        path: where it is or will be.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def connect(self) -> "Connection":
        """Open it, and make it first if it does not exist. The connection belongs to the calling thread.

        Raises:
            StoreError: it is not a file of ours, or of another version of this package.
            sqlite3.Error: see `trouble`.
        """
        directory = os.path.dirname(self.path)
        if not os.path.isdir(directory):
            raise StoreError(
                f"{self.path}: there is no directory {directory}; make it, or name another file in store="
            )
        with _opening:
            with contextlib.suppress(OSError):  # it exists, or SQLite will say what is wrong
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, factory=Connection)
        try:
            first = [] if self._is_ours(connection) else [_FIRST_PRAGMA]
            for pragma in [*first, *PRAGMAS]:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            self._lay_out(connection)
            connection.inodes = self._inodes()
        except BaseException:
            connection.close()
            raise
        return connection

    def is_there(self, connection: "Connection") -> bool:
        """Whether the path still leads to what the connection has opened."""
        if _inode(self.path) != connection.inodes[0] or self._is_cut_off():
            return False
        now = time.monotonic()
        if now - connection.looked_at < _LOOK_BESIDE:
            return True
        connection.looked_at = now
        return self._inodes() == connection.inodes

    def clear_away(self, connection: "Connection") -> StoreError:
        """Close a connection whose file is not there any more, and return what to say about it.

        What SQLite kept beside the old file would damage a new one.
        """
        cut_off = self._is_cut_off()
        if not cut_off:
            connection.close()
        with contextlib.suppress(OSError), _locked(os.path.dirname(self.path)):
            for ending, inode in zip(_ENDINGS, connection.inodes, strict=True):
                if (ending or cut_off) and inode and inode == _inode(self.path + ending):
                    os.unlink(self.path + ending)
        connection.close()  # of a file that was cut off only now: what SQLite still writes then goes nowhere
        return StoreError(
            f"{self.path} was emptied, deleted or replaced while in use, and what only it held is lost. "
            "Keep it where nothing cleans up"
        )

    def _is_cut_off(self) -> bool:
        """Whether the file has been cut to nothing; one that was opened has its header at least."""
        try:
            return os.stat(self.path).st_size == 0
        except OSError:
            return False

    def trouble(self, error: sqlite3.Error) -> StoreError:
        """Return an error of SQLite in words that say what to do."""
        code = primary(error)
        advice = _ADVICE.get(sqlite3.SQLITE_BUSY if code in _BUSY else code)
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        return StoreError(f"{self.path}: {advice or error} ({name})")

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Whether it has our tables; False if it has none at all."""
        with _one_view(connection):  # somebody else may lay it out at this moment
            application, version = _number(connection, "application_id"), _number(connection, "user_version")
            empty = connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None
        if application == version == 0 and empty:
            return False
        if application != _APPLICATION:
            raise StoreError(f"{self.path} is the database of another program; name another file in store=")
        if version != _VERSION:
            raise StoreError(
                f"{self.path} has layout {version}, and this version of enfilade has layout {_VERSION}: "
                "run the same version everywhere, or name another file in store="
            )
        return True

    def _lay_out(self, connection: sqlite3.Connection) -> None:
        if self._is_ours(connection):
            return
        connection.execute("BEGIN IMMEDIATE")
        if not self._is_ours(connection):  # nobody was quicker
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={_APPLICATION}")
            connection.execute(f"PRAGMA user_version={_VERSION}")
        connection.execute("COMMIT")

    def _inodes(self) -> tuple[int, ...]:
        return tuple(_inode(self.path + ending) for ending in _ENDINGS)


class Connection(sqlite3.Connection):
    """A connection that remembers which files it has opened."""

    inodes: tuple[int, ...] = (0, 0, 0)
    looked_at = 0.0


def primary(error: sqlite3.Error) -> int:
    """Return the kind of an error, without its details."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else holds a lock."""
    return primary(error) in _BUSY


def is_about_the_file(error: sqlite3.Error) -> bool:
    """Whether the error would have come whatever was asked."""
    return primary(error) in _FILE


@contextlib.contextmanager
def _one_view(connection: sqlite3.Connection) -> Iterator[None]:
    """Let all that is read be of one moment, within a transaction that has begun or one of its own."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:  # some errors end it
            connection.execute("ROLLBACK")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    number = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    assert isinstance(number, int)
    return number


def _inode(path: str) -> int:
    """Return the number of a file, or 0 if there is none."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Keep other processes that clear away in this directory waiting, where a file can vanish at all."""
    if sys.platform == "win32":
        yield  # no file vanishes there while it is open
        return
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
