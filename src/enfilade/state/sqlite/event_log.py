"""The event log in an SQLite file.

The easy thing to get wrong is a stream that ends and begins again under its name: entries belong to the number of
a stream, which is never given twice, so that what is left of the old one is not the new one's.
"""

import time
from collections.abc import Sequence
from typing import Final

from enfilade.state.sqlite.database import Connection
from enfilade.state.sqlite.keys import Run
from enfilade.state.store import LogLimits, StoreError, StreamSlice

#: What one read returns at most: entries, and bytes unless it is a single entry.
_PAGE: Final = 500
_PAGE_SIZE: Final = 1024 * 1024

#: By which part of its age a stream may be kept longer, so that not every append must write when it ends.
_LATER: Final = 0.02

_STATE: Final = (
    "SELECT id, ends, (SELECT ifnull(max(position), 0) FROM entries WHERE stream = streams.id) "
    "FROM streams WHERE name = ? AND ends > ?"
)


class SqliteLog:
    """`EventLog` in two tables, bounded by age and by entries of one stream.

    Args:
        limits: what is kept.
        read: for what only reads.
        write: for everything else.
    """

    private = False

    def __init__(self, limits: LogLimits, read: Run, write: Run) -> None:
        self._limits = limits
        self._slack = 1 + limits.entries // 10
        self._read = read
        self._write = write

    async def open(self, stream: str, head: bytes) -> None:
        def job(connection: Connection) -> None:
            if _number(connection, stream) is None:
                _drop(connection, stream)  # it has expired, if it was there at all
                connection.execute(
                    "INSERT INTO streams (name, head, ends) VALUES (?, ?, ?)", (stream, head, self._end())
                )

        await self._write(job)

    async def append(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        def job(connection: Connection) -> None:
            found: tuple[int, float, int] | None = connection.execute(_STATE, (stream, time.time())).fetchone()
            if found is None:
                raise StoreError("the stream has expired from the log, or was never opened in it")
            number, ends, last = found
            newest = _add(connection, number, entries, last)
            if newest // self._slack > last // self._slack:
                _trim(connection, number, self._limits.entries)
            if ends < time.time() + self._limits.age:
                connection.execute("UPDATE streams SET ends = ? WHERE id = ?", (self._end(), number))

        await self._write(job)

    async def read(self, stream: str, after: int) -> StreamSlice | None:
        return await self._read(lambda connection: _page(connection, stream, after))

    async def last(self, stream: str) -> int:
        return await self._read(lambda connection: _last(connection, stream))

    async def touch(self, stream: str) -> None:
        def job(connection: Connection) -> None:
            connection.execute(
                "UPDATE streams SET ends = ? WHERE name = ? AND ends > ?", (self._end(), stream, time.time())
            )

        await self._write(job)

    async def drop(self, stream: str) -> None:
        await self._write(lambda connection: _drop(connection, stream))

    def _end(self) -> float:
        return time.time() + self._limits.age * (1 + _LATER)


def _number(connection: Connection, stream: str) -> int | None:
    row: tuple[int] | None = connection.execute(
        "SELECT id FROM streams WHERE name = ? AND ends > ?", (stream, time.time())
    ).fetchone()
    return None if row is None else row[0]


def _add(connection: Connection, number: int, entries: Sequence[tuple[int, bytes]], last: int) -> int:
    """Add those entries that are above the last, and return the position of what is the last then."""
    for position, entry in entries:
        if position > last:
            connection.execute("INSERT INTO entries VALUES (?, ?, ?)", (number, position, entry))
            last = position
    return last


def _trim(connection: Connection, number: int, count: int) -> None:
    """Delete all but the newest entries of a stream."""
    newest = "SELECT position FROM entries WHERE stream = ? ORDER BY position DESC LIMIT 1 OFFSET ?"
    connection.execute(
        f"DELETE FROM entries WHERE stream = ? AND position <= ({newest})", (number, number, count)
    )


def _cut(connection: Connection, number: int, count: int) -> int:
    """Delete the oldest entries of a stream and return how many they were."""
    oldest = "SELECT position FROM entries WHERE stream = ? ORDER BY position LIMIT ?"
    return connection.execute(
        f"DELETE FROM entries WHERE stream = ? AND position IN ({oldest})", (number, number, count)
    ).rowcount


def _drop(connection: Connection, stream: str) -> None:
    """Take a stream its name; the sweep deletes the rest, which may be long."""
    connection.execute("UPDATE streams SET name = NULL, ends = 0 WHERE name = ?", (stream,))


def _page(connection: Connection, stream: str, after: int) -> StreamSlice | None:
    found: tuple[int, bytes] | None = connection.execute(
        "SELECT id, head FROM streams WHERE name = ? AND ends > ?", (stream, time.time())
    ).fetchone()
    if found is None:
        return None
    number, head = found
    (first,) = connection.execute("SELECT min(position) FROM entries WHERE stream = ?", (number,)).fetchone()
    entries: list[tuple[int, bytes]] = []
    size = 0
    for position, entry in connection.execute(
        "SELECT position, entry FROM entries WHERE stream = ? AND position > ? ORDER BY position LIMIT ?",
        (number, after, _PAGE),
    ):
        size += len(entry)
        if entries and size > _PAGE_SIZE:
            break
        entries.append((position, entry))
    return StreamSlice(head, entries, first)


def _last(connection: Connection, stream: str) -> int:
    (last,) = connection.execute(
        "SELECT max(position) FROM entries WHERE stream = ?", (_number(connection, stream),)
    ).fetchone()
    return last or 0


def sweep_log(connection: Connection, portion: int) -> bool:
    """Delete up to `portion` entries of streams that are over, and return whether there may be more."""
    for (number,) in connection.execute(
        "SELECT id FROM streams WHERE ends <= ? LIMIT ?", (time.time(), portion)
    ).fetchall():
        portion -= 1 + _cut(connection, number, portion)
        if portion <= 0:
            return True
        connection.execute("DELETE FROM streams WHERE id = ?", (number,))
    return False
