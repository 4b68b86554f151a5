"""Limits of the processes of one host, in the table of keys: each decision is in a transaction of the writer."""

import time
from collections.abc import Sequence

from enfilade.state.limits.claims import Claim, Decision, Slots
from enfilade.state.limits.decisions import decide, release, renew
from enfilade.state.sqlite.database import DatabaseConnection
from enfilade.state.sqlite.keys import delete_key, put_value, value_of
from enfilade.state.sqlite.worker_thread import Run


class SqliteLimits:
    """`Limits` in an SQLite file. Many claims share one transaction."""

    is_local = False

    def __init__(self, write: Run) -> None:
        self._write = write

    async def admit(self, claim: Claim) -> Decision:
        return await self._write(lambda connection: decide(SqliteTable(connection), claim, time.time()))

    async def release(self, ticket: str, slots: Sequence[Slots]) -> list[str]:
        return await self._write(lambda connection: release(SqliteTable(connection), ticket, slots))

    async def renew(self, worker: str, lease: float) -> None:
        await self._write(lambda connection: renew(SqliteTable(connection), worker, lease))


class SqliteTable:
    """`Table` within a transaction."""

    def __init__(self, connection: DatabaseConnection) -> None:
        self._connection = connection

    def get(self, key: str) -> bytes | None:
        return value_of(self._connection, key)

    def put(self, key: str, value: bytes, ttl: float) -> None:
        put_value(self._connection, key, value, time.time() + ttl)

    def put_owned(self, key: str, value: bytes, ttl: float, _owner: str, _evicts: bool) -> None:
        """Store a value: the room of a file is nobody's."""
        self.put(key, value, ttl)

    def delete(self, key: str) -> None:
        delete_key(self._connection, key)
