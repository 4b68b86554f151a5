"""The event log in an SQLite file.

The easy thing to get wrong is a stream that is dropped and opened again under the same name: entries belong to
the row id of a stream, which is never used again, so that old entries do not become those of the new stream.
"""

import time
from collections.abc import Sequence
from typing import Final

from enfilade.state.sqlite.database import Connection
from enfilade.state.sqlite.worker_thread import Run
from enfilade.state.store import LogLimits, StoreError, StreamSlice

#: Most entries in one read, and most bytes unless it is a single entry.
_READ_LIMIT: Final = 500
_READ_SIZE: Final = 1024 * 1024

#: The part of its age by which a stream may be kept longer, so that not every append writes a new expiry.
_GRACE: Final = 0.02

_STATE: Final = (
    "SELECT id, ends, (SELECT ifnull(max(position), 0) FROM entries WHERE stream = streams.id) "
    "FROM streams WHERE name = ? AND ends > ?"
)


class SqliteLog:
    """`EventLog` in two tables, bounded by age and by entries of one stream.

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
        def job(connection: Connection) -> None:
            if _row_id(connection, stream) is None:
                _drop(connection, stream)  # it has expired, if it exists at all
                connection.execute(
                    "INSERT INTO streams (name, head, ends) VALUES (?, ?, ?)", (stream, head, self._expiry())
                )

        await self._write(job)

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        def job(connection: Connection) -> None:
            row: tuple[int, float, int] | None = connection.execute(_STATE, (stream, time.time())).fetchone()
            if row is None:
                raise StoreError("the stream has expired from the log, or was never opened in it")
            id, expiry, last = row
            newest = _add(connection, id, entries, last)
            if newest // self._slack > last // self._slack:
                _trim(connection, id, self._limits.entries)
            if expiry < time.time() + self._limits.age:
                connection.execute("UPDATE streams SET ends = ? WHERE id = ?", (self._expiry(), id))

        await self._write(job)

    async def read(self, stream: str, after: int) -> StreamSlice | None:
        return await self._read(lambda connection: _read(connection, stream, after))

    async def last(self, stream: str) -> int:
        return await self._read(lambda connection: _last(connection, stream))

    async def touch(self, stream: str) -> None:
        def job(connection: Connection) -> None:
            connection.execute(
                "UPDATE streams SET ends = ? WHERE name = ? AND ends > ?", (self._expiry(), stream, time.time())
            )

        await self._write(job)

    async def drop(self, stream: str) -> None:
        await self._write(lambda connection: _drop(connection, stream))

    def _expiry(self) -> float:
        return time.time() + self._limits.age * (1 + _GRACE)


def _row_id(connection: Connection, stream: str) -> int | None:
    row: tuple[int] | None = connection.execute(
        "SELECT id FROM streams WHERE name = ? AND ends > ?", (stream, time.time())
    ).fetchone()
    return None if row is None else row[0]


def _add(connection: Connection, id: int, entries: Sequence[tuple[int, bytes]], last: int) -> int:
    """Add the entries above the last position, and return the new last position."""
    for position, entry in entries:
        if position > last:
            connection.execute("INSERT INTO entries VALUES (?, ?, ?)", (id, position, entry))
            last = position
    return last


def _trim(connection: Connection, id: int, count: int) -> None:
    """Delete all but the newest entries of a stream."""
    newest = "SELECT position FROM entries WHERE stream = ? ORDER BY position DESC LIMIT 1 OFFSET ?"
    connection.execute(f"DELETE FROM entries WHERE stream = ? AND position <= ({newest})", (id, id, count))


def _delete_oldest(connection: Connection, id: int, count: int) -> int:
    """Delete the oldest entries of a stream and return their number."""
    oldest = "SELECT position FROM entries WHERE stream = ? ORDER BY position LIMIT ?"
    return connection.execute(
        f"DELETE FROM entries WHERE stream = ? AND position IN ({oldest})", (id, id, count)
    ).rowcount


def _drop(connection: Connection, stream: str) -> None:
    """Detach the stream's name; its entries are deleted by the sweep."""
    connection.execute("UPDATE streams SET name = NULL, ends = 0 WHERE name = ?", (stream,))


def _read(connection: Connection, stream: str, after: int) -> StreamSlice | None:
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


def _last(connection: Connection, stream: str) -> int:
    (last,) = connection.execute(
        "SELECT max(position) FROM entries WHERE stream = ?", (_row_id(connection, stream),)
    ).fetchone()
    return last or 0


def sweep_log(connection: Connection, portion: int) -> bool:
    """Delete up to `portion` entries of dropped and expired streams, and return whether there may be more."""
    for (id,) in connection.execute(
        "SELECT id FROM streams WHERE ends <= ? LIMIT ?", (time.time(), portion)
    ).fetchall():
        portion -= 1 + _delete_oldest(connection, id, portion)
        if portion <= 0:
            return True
        connection.execute("DELETE FROM streams WHERE id = ?", (id,))
    return False
