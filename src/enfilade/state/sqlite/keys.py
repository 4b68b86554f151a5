"""Keys in an SQLite file.

The easy thing to get wrong is time: processes share the file, and it outlasts them, so ends are in seconds since
1970, by the clock of the machine.
"""

import time
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from enfilade.state.sqlite.database import Connection
from enfilade.state.sqlite.worker_thread import Job

T = TypeVar("T")


class Run(Protocol):
    """Runs a function with a connection, in the thread that has it."""

    def __call__(self, job: Job[T]) -> Coroutine[Any, Any, T]: ...


class SqliteKeys:
    """`Keys` in a table.

    Args:
        read: for what only reads.
        write: for everything else.
    """

    def __init__(self, read: Run, write: Run) -> None:
        self._read = read
        self._write = write

    async def get(self, key: str) -> bytes | None:
        return await self._read(lambda connection: _value(connection, key))

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        ends = _end(ttl)
        await self._write(lambda connection: _put(connection, key, value, ends))

    async def swap(self, key: str, old: bytes | None, new: bytes | None, ttl: float | None) -> bool:
        ends = _end(ttl)

        def job(connection: Connection) -> bool:
            found = _value(connection, key)
            if found != old:
                return found == new
            if new is None:
                _delete(connection, key)
            else:
                _put(connection, key, new, ends)
            return True

        return await self._write(job)

    async def delete(self, key: str) -> None:
        await self._write(lambda connection: _delete(connection, key))


def _end(ttl: float | None) -> float | None:
    return None if ttl is None else time.time() + ttl


def _value(connection: Connection, key: str) -> bytes | None:
    row: tuple[bytes] | None = connection.execute(
        "SELECT value FROM keys WHERE key = ? AND (ends IS NULL OR ends > ?)", (key, time.time())
    ).fetchone()
    return None if row is None else row[0]


def _put(connection: Connection, key: str, value: bytes, ends: float | None) -> None:
    connection.execute(
        "INSERT INTO keys VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET value = excluded.value, ends = excluded.ends",
        (key, value, ends),
    )


def _delete(connection: Connection, key: str) -> None:
    connection.execute("DELETE FROM keys WHERE key = ?", (key,))


def sweep_keys(connection: Connection, portion: int) -> bool:
    """Delete up to `portion` keys that have expired, and return whether there may be more."""
    some = "SELECT key FROM keys WHERE ends <= ? LIMIT ?"
    gone = connection.execute(f"DELETE FROM keys WHERE key IN ({some})", (time.time(), portion)).rowcount
    return gone == portion
