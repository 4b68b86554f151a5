"""Keys in an SQLite file.

Processes share the file and it outlasts them, so expiries are in seconds since 1970, by the clock of the machine.
"""

import time

from enfilade.state.sqlite.database import Connection
from enfilade.state.sqlite.worker_thread import Run


class SqliteKeys:
    """`Keys` in a table.

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


def sweep_keys(connection: Connection, portion: int) -> bool:
    """Delete up to `portion` expired keys, and return whether there may be more."""
    expired = "SELECT key FROM keys WHERE ends <= ? LIMIT ?"
    deleted = connection.execute(f"DELETE FROM keys WHERE key IN ({expired})", (time.time(), portion)).rowcount
    return deleted == portion
