"""What a worker asks of a store about durable tasks, and what the store says.

A task is a record: bytes that the store does not interpret, and a version, which rises with each change of them.
A record has a time at which it is due. While a worker runs a task, that time is the end of its lease, which it
renews; if it no longer does, the task is due, and any worker takes it. Taking raises the version, so the worker
that had the task before changes nothing any more. A record that is never due again is kept for as long as the
worker said that finished it.

Durations are handed over and not times, since the clocks of hosts differ. `memory://` measures them with a clock
that nobody sets, SQLite with the clock of its host, and Redis with that of the server.

Easy to get wrong: a clock that was set. Set forwards, it ends leases, and what is kept, before their time: tasks
that run are taken by others, and whoever had them learns that it has lost them. Set back, it leaves records with
times far ahead. So each record has the time at which its times were set; one that lies ahead shows that the clock
was set back, and the next worker that takes tasks lets those durations begin anew. A task is then late by what it
had waited before, and not by as much as the clock was set.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from enfilade.state.store import Store, StoreError

#: Seconds by which a clock may be behind the time of a record without having been set back.
CLOCK_SLACK: Final = 1.0

#: Bytes of values after which taking ends, so that one step takes a bounded time.
MOST_TAKEN: Final = 1024 * 1024

#: Longest duration in seconds; a longer one counts as this.
LONGEST: Final = 10.0**9

#: Digits in front of the id in a cursor: microseconds since 1970, until the year 2286.
_DIGITS: Final = 16


class TaskRecord(msgspec.Struct, frozen=True):
    """A record as it is now.

    Attributes:
        id: of the task.
        owner: whose it is.
        value: what was written last.
        version: 1 at first, higher by one after each write and each time that it was taken.
        created: when, in seconds since 1970, by the clock of the store.
        due: seconds from now at which it is due, negative if it is already; None if it never is.
    """

    id: str
    owner: str
    value: bytes
    version: int
    created: float
    due: float | None


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """A record to create. Sent again with the same id, it has the same effect.

    Attributes:
        id: which no other task has, or had.
        owner: whose it is.
        value: as for `TaskRecord`.
        due: seconds from now, after which any worker may take it.
        own_limit: most records of this owner, those that are kept included.
        limit: most records of all owners.
    """

    id: str
    owner: str
    value: bytes
    due: float
    own_limit: int
    limit: int


class Created(msgspec.Struct, frozen=True):
    """There is the record, now or since an earlier attempt."""


class Full(msgspec.Struct, frozen=True):
    """There is no room. `is_own`: its owner has as many records as one owner may have, or as many bytes."""

    is_own: bool = False


class Due(msgspec.Struct, frozen=True):
    """Tasks that were taken.

    Attributes:
        tasks: their records, with the new versions; those that were due first come first.
        next_due: seconds until another task is due; 0 if one is already, None if none will be.
    """

    tasks: list[TaskRecord]
    next_due: float | None


class Tasks(Protocol):
    """Records of tasks. Each decision is one step that no other process comes between.

    Every operation raises `StoreError` if the store does not answer, or refuses. Whether it was done is unknown
    then, so it may be repeated: all are idempotent, but for `take_due`. Tasks that were taken by an operation
    whose outcome nobody got are due again when the lease is over.

    Attributes:
        is_local: whether values never leave this process, so that they need not be sealed.
    """

    is_local: bool

    def of(self, server: str) -> "Tasks":
        """Return the tasks of another server that uses the same store; those of each are apart."""
        ...

    async def create(self, task: NewTask) -> Created | Full:
        """Create a record, with version 1, unless one with this id is there.

        Raises:
            StoreError: the store does not answer, or refuses.
        """
        ...

    async def read(self, id: str) -> TaskRecord | None:
        """Return a record; None if it was never created, was deleted, or is no longer kept.

        Raises:
            StoreError: as `create`.
        """
        ...

    async def write(self, id: str, version: int, value: bytes, *, due: float | None, ttl: float | None) -> bool:
        """Replace the value of a record if it has a version, which rises by one.

        A value that is larger than the one before is never refused for want of room in `memory://`.

        Args:
            id: of the task.
            version: which the record must have.
            value: the new one.
            due: seconds from now at which it is due; None for never.
            ttl: seconds for which the record is kept from now on; None until it is deleted.

        Returns:
            Whether it was replaced, now or by the same operation before: the next version came from a
            write, with this value.

        Raises:
            StoreError: as `create`.
        """
        ...

    async def take_due(self, lease: float, most: int) -> Due:
        """Take tasks that are due: each gets a lease, and the next version, so that no other worker takes it.

        There may be fewer than `most` although more are due, if their values are large; `next_due` is 0 then.

        Args:
            lease: seconds from now after which they are due again.
            most: number of tasks.

        Raises:
            StoreError: as `create`. Tasks may have been taken; they are due again when their lease is over.
        """
        ...

    async def renew(self, versions: Mapping[str, int], lease: float) -> list[str]:
        """Let tasks be due after another lease. Versions and values stay.

        Args:
            versions: that the records must have, by id.
            lease: seconds from now.

        Returns:
            The ids of the others, which this worker has lost: gone, with another version, or never due again.

        Raises:
            StoreError: as `create`.
        """
        ...

    async def page(self, owner: str | None, after: str | None, most: int) -> list[TaskRecord]:
        """Return records in the order of their creation, by `created` and then by id.

        Args:
            owner: whose; None for those of all.
            after: cursor of a record that may be gone (`cursor_of`), behind which the page begins; None for the
                first page.
            most: number of records; fewer are returned only if there are no more.

        Raises:
            ValueError: that is no cursor.
            StoreError: as `create`.
        """
        ...

    async def delete(self, id: str) -> None:
        """Delete a record, if there is one.

        Raises:
            StoreError: as `create`.
        """
        ...


def tasks_of(store: Store, server: str = "") -> Tasks:
    """Return the records of tasks in a store.

    Args:
        server: whose tasks: servers with one store and other names neither see nor take each other's.

    Raises:
        StoreError: it is a store of the author's, without tasks.
    """
    tasks: Tasks | None = getattr(store, "tasks", None)
    if tasks is None:
        raise StoreError(
            f"{type(store).__name__} keeps no tasks: it lacks the attribute `tasks` (see "
            "enfilade.state.tasks.records.Tasks); use memory://, sqlite:/// or redis://"
        )
    return tasks.of(server) if server else tasks


# -- positions in the order of creation ------------------------------------------------------------------------
#
# A position is the time of creation in microseconds, with leading zeros, and the id: texts that sort alike in
# Python, SQLite and Redis. It is the cursor as well, so a cursor means the same whether its record is there or
# not.


def cursor_of(record: TaskRecord) -> str:
    """Return the cursor of a record: an opaque text, the same in every process."""
    return f"{record.created:017.6f}".replace(".", "") + record.id


def check_cursor(cursor: str) -> str:
    """Return a cursor as it is.

    Raises:
        ValueError: `cursor_of` never returns such a text.
    """
    digits = cursor[:_DIGITS]
    if len(digits) < _DIGITS or not (digits.isascii() and digits.isdigit()):
        raise ValueError("a cursor of tasks is what `cursor_of` returns")
    cursor.encode()  # lone surrogates are a ValueError as well
    return cursor


def position_of(created: float, id: str) -> str:
    """Return the position of a new record.

    Args:
        created: seconds since 1970.
        id: of the task.
    """
    return f"{int(created * 1_000_000):0{_DIGITS}d}{id}"


def creation_of(position: str) -> float:
    """Return the time of creation of the record at a position, in seconds since 1970."""
    return int(position[:_DIGITS]) / 1_000_000


def id_at(position: str) -> str:
    """Return the id of the task at a position."""
    return position[_DIGITS:]
