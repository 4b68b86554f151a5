"""Tasks of the processes of one host, in two tables: each decision is in a transaction of the writer.

Values have a table of their own, since SQLite writes a row as a whole: a lease is renewed every few seconds, and
the value beside it may be large. Every statement finds its rows by an index, except for the count of all records.

Rows that are no longer kept count as absent until the sweep of the store deletes them.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from enfilade.state.sqlite.database import DatabaseConnection
from enfilade.state.sqlite.worker_thread import Run
from enfilade.state.tasks.records import (
    CLOCK_SLACK,
    LONGEST,
    MOST_TAKEN,
    Created,
    Due,
    Full,
    NewTask,
    TaskRecord,
    check_cursor,
    creation_of,
    position_of,
)

_LIVE: Final = "(ends IS NULL OR ends > :now)"

#: CROSS JOIN: the order of the tables is that of the statement, and so the rows come by the index of the first.
_RECORDS: Final = (
    "SELECT tasks.id, owner, value, version, position, due FROM tasks CROSS JOIN task_values USING (id)"
)

_VERSION: Final = f"SELECT version, is_written FROM tasks WHERE id = :id AND {_LIVE}"

_COUNT_OWN: Final = f"SELECT count(*) FROM tasks WHERE server = :server AND owner = :owner AND {_LIVE}"
_COUNT: Final = (
    "SELECT (SELECT count(*) FROM tasks WHERE server = :server) "
    "- (SELECT count(*) FROM tasks WHERE ends <= :now AND server = :server)"
)

_INSERT: Final = (
    "INSERT OR REPLACE INTO tasks (id, server, owner, position, version, is_written, since, due, ends) "
    "VALUES (:id, :server, :owner, :position, 1, 0, :now, :due, NULL)"
)
_INSERT_VALUE: Final = "INSERT OR REPLACE INTO task_values (id, value) VALUES (:id, :value)"

_WRITE: Final = (
    "UPDATE tasks SET version = version + 1, is_written = 1, since = :now, due = :due, ends = :ends "
    "WHERE id = :id"
)
_WRITE_VALUE: Final = "UPDATE task_values SET value = :value WHERE id = :id"

#: What was written at a time that is still to come: the clock was set back since.
_BEGIN_ANEW: Final = (
    "UPDATE tasks SET due = due - (since - :now), ends = ends - (since - :now), since = :now "
    "WHERE since > :latest"
)
_DUE: Final = f"{_RECORDS} WHERE server = :server AND due <= :now AND {_LIVE} ORDER BY due LIMIT :most"
_TAKE: Final = "UPDATE tasks SET version = version + 1, is_written = 0, since = :now, due = :due WHERE id = :id"
_NEXT: Final = (
    f"SELECT due FROM tasks WHERE server = :server AND due IS NOT NULL AND {_LIVE} ORDER BY due LIMIT 1"
)
_RENEW: Final = (
    "UPDATE tasks SET since = :now, due = :due "
    f"WHERE id = :id AND version = :version AND due IS NOT NULL AND {_LIVE}"
)

_PAGE: Final = (
    f"{_RECORDS} WHERE server = :server AND position > :after AND {_LIVE} ORDER BY position LIMIT :most"
)
_OWN_PAGE: Final = (
    f"{_RECORDS} WHERE server = :server AND owner = :owner AND position > :after AND {_LIVE} "
    "ORDER BY position LIMIT :most"
)

_Row = tuple[str, str, bytes, int, str, float | None]


class SqliteTasks:
    """`Tasks` in an SQLite file. Many operations share one transaction.

    Args:
        read: runs a job that only reads.
        write: runs any other job.
        clock: seconds since 1970, of a clock that all processes with this file share.
        server: whose tasks.
    """

    is_local = False

    def __init__(self, read: Run, write: Run, clock: Callable[[], float] = time.time, server: str = "") -> None:
        self._server = server
        self._read = read
        self._write = write
        self._clock = clock

    def of(self, server: str) -> "SqliteTasks":
        return SqliteTasks(self._read, self._write, self._clock, server)

    async def create(self, task: NewTask) -> Created | Full:
        return await self._write(lambda connection: _create(connection, self._server, task, self._clock()))

    async def read(self, id: str) -> TaskRecord | None:
        return await self._read(lambda connection: _read(connection, id, self._clock()))

    async def write(self, id: str, version: int, value: bytes, *, due: float | None, ttl: float | None) -> bool:
        return await self._write(
            lambda connection: _write(connection, id, version, value, due, ttl, self._clock())
        )

    async def take_due(self, lease: float, most: int) -> Due:
        return await self._write(
            lambda connection: _take_due(connection, self._server, lease, most, self._clock())
        )

    async def renew(self, versions: Mapping[str, int], lease: float) -> list[str]:
        expected = dict(versions)  # the caller may change its own meanwhile
        return await self._write(lambda connection: _renew(connection, expected, lease, self._clock()))

    async def page(self, owner: str | None, after: str | None, most: int) -> list[TaskRecord]:
        start = "" if after is None else check_cursor(after)
        return await self._read(
            lambda connection: _page(connection, self._server, owner, start, most, self._clock())
        )

    async def delete(self, id: str) -> None:
        await self._write(lambda connection: _delete(connection, id))


def _create(connection: DatabaseConnection, server: str, task: NewTask, now: float) -> Created | Full:
    row = {"id": task.id, "server": server, "owner": task.owner, "value": task.value, "now": now}
    if connection.execute(_VERSION, row).fetchone() is not None:
        return Created()
    if _count(connection, _COUNT_OWN, row) >= task.own_limit:
        return Full(is_own=True)
    if _count(connection, _COUNT, row) >= task.limit:
        return Full()
    connection.execute(_INSERT, {**row, "position": position_of(now, task.id), "due": _after(now, task.due)})
    connection.execute(_INSERT_VALUE, row)
    return Created()


def _read(connection: DatabaseConnection, id: str, now: float) -> TaskRecord | None:
    row: _Row | None = connection.execute(
        f"{_RECORDS} WHERE tasks.id = :id AND {_LIVE}", {"id": id, "now": now}
    ).fetchone()
    return None if row is None else _as_record(row, now)


def _write(
    connection: DatabaseConnection,
    id: str,
    version: int,
    value: bytes,
    due: float | None,
    ttl: float | None,
    now: float,
) -> bool:
    current: tuple[int, int] | None = connection.execute(_VERSION, {"id": id, "now": now}).fetchone()
    if current is None:
        return False
    if current[0] != version:
        return current == (version + 1, 1) and _value(connection, id) == value
    connection.execute(_WRITE, {"id": id, "now": now, "due": _after(now, due), "ends": _after(now, ttl)})
    connection.execute(_WRITE_VALUE, {"id": id, "value": value})
    return True


def _take_due(connection: DatabaseConnection, server: str, lease: float, most: int, now: float) -> Due:
    connection.execute(_BEGIN_ANEW, {"now": now, "latest": now + CLOCK_SLACK})
    due, size = _after(now, lease), 0
    tasks: list[TaskRecord] = []
    rows = connection.execute(_DUE, {"server": server, "now": now, "most": most})
    for id, owner, value, version, position, _ in rows:
        tasks.append(_as_record((id, owner, value, version + 1, position, due), now))
        size += len(value)
        if size >= MOST_TAKEN:
            break
    rows.close()
    connection.executemany(_TAKE, [{"id": task.id, "now": now, "due": due} for task in tasks])
    first: tuple[float] | None = connection.execute(_NEXT, {"server": server, "now": now}).fetchone()
    return Due(tasks, None if first is None else max(0.0, first[0] - now))


def _renew(connection: DatabaseConnection, versions: Mapping[str, int], lease: float, now: float) -> list[str]:
    due = _after(now, lease)
    return [
        id
        for id, version in versions.items()
        if not connection.execute(_RENEW, {"id": id, "version": version, "now": now, "due": due}).rowcount
    ]


def _page(
    connection: DatabaseConnection, server: str, owner: str | None, after: str, most: int, now: float
) -> list[TaskRecord]:
    statement = _PAGE if owner is None else _OWN_PAGE
    values = {"server": server, "owner": owner, "after": after, "most": most, "now": now}
    rows = connection.execute(statement, values)
    return [_as_record(row, now) for row in rows]


def _delete(connection: DatabaseConnection, id: str) -> None:
    for table in ("task_values", "tasks"):
        connection.execute(f"DELETE FROM {table} WHERE id = ?", (id,))


def _count(connection: DatabaseConnection, statement: str, row: Mapping[str, object]) -> int:
    count: int = connection.execute(statement, row).fetchone()[0]
    return count


def _value(connection: DatabaseConnection, id: str) -> bytes:
    value: bytes = connection.execute("SELECT value FROM task_values WHERE id = ?", (id,)).fetchone()[0]
    return value


def _after(now: float, seconds: float | None) -> float | None:
    """Return the time after some seconds; None for never."""
    return None if seconds is None else now + min(seconds, LONGEST)


def _as_record(row: _Row, now: float) -> TaskRecord:
    id, owner, value, version, position, due = row
    return TaskRecord(id, owner, value, version, creation_of(position), None if due is None else due - now)
