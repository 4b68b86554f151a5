"""Keys in a table of an SQLite file, and the statements for it, which limits of calls use as well."""

import time

from enfilade.state.sqlite.database import DatabaseConnection
from enfilade.state.sqlite.worker_thread import Run


class SqliteKeys:
    """`Keys` in a table. An expiry is in seconds since 1970, as processes share the file and it outlasts them."""

    def __init__(self, read: Run, write: Run) -> None:
        self._read = read
        self._write = write

    async def get(self, key: str) -> bytes | None:
        return await self._read(lambda connection: value_of(connection, key))

    async def put(self, key: str, value: bytes, ttl: float | None) -> None:
        expiry = _expiry(ttl)
        await self._write(lambda connection: put_value(connection, key, value, expiry))

    async def swap(self, key: str, old: bytes | None, new: bytes | None, ttl: float | None) -> bool:
        expiry = _expiry(ttl)

        def job(connection: DatabaseConnection) -> bool:
            current = value_of(connection, key)
            if current != old:
                return current == new
            if new is None:
                delete_key(connection, key)
            else:
                put_value(connection, key, new, expiry)
            return True

        return await self._write(job)

    async def delete(self, key: str) -> None:
        await self._write(lambda connection: delete_key(connection, key))


def _expiry(ttl: float | None) -> float | None:
    return None if ttl is None else time.time() + ttl


def value_of(connection: DatabaseConnection, key: str) -> bytes | None:
    """Return the value of a key; None if there is none, or it has expired."""
    row: tuple[bytes] | None = connection.execute(
        "SELECT value FROM keys WHERE key = ? AND (ends IS NULL OR ends > ?)", (key, time.time())
    ).fetchone()
    return None if row is None else row[0]


def put_value(connection: DatabaseConnection, key: str, value: bytes, expiry: float | None) -> None:
    """Store a value until a time in seconds since 1970; None for no end."""
    connection.execute(
        "INSERT INTO keys VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET value = excluded.value, ends = excluded.ends",
        (key, value, expiry),
    )


def delete_key(connection: DatabaseConnection, key: str) -> None:
    """Delete a key, if there is one."""
    connection.execute("DELETE FROM keys WHERE key = ?", (key,))


def sweep_keys(connection: DatabaseConnection, portion: int) -> bool:
    """Delete up to `portion` expired keys, and return whether there may be more."""
    expired = "SELECT key FROM keys WHERE ends <= ? LIMIT ?"
    deleted = connection.execute(f"DELETE FROM keys WHERE key IN ({expired})", (time.time(), portion)).rowcount
    return deleted == portion
