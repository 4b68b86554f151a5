"""The tasks of one server in its store: made, read, changed, and announced to all workers.

A change is compare and swap: it is decided on the last known state and, if another worker was faster, decided
again on the present one. So a task has one end, whoever else acts on it at the same time.

Easy to get wrong: a message to other workers is a hint, and may be lost. Whoever waits for a change also looks
now and then.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

import msgspec

from enfilade.extensions.tasks.state import TaskState, decode_state, encode_state
from enfilade.serving.callers.state_records import StateStore
from enfilade.serving.failures import LimitedLog
from enfilade.state.store import StoreError
from enfilade.state.tasks.records import Due, Full, NewTask, TaskRecord, Tasks, cursor_of, tasks_of
from enfilade.timings import Timings

log = logging.getLogger("enfilade.extensions")

#: Tells a session of 2025-11-25 of another status.
STATUS: Final = "notifications/tasks/status"

_PURPOSE: Final = b"task "
_ATTEMPTS: Final = 50

_unsent_log: Final = LimitedLog(log)


class Held(NamedTuple):
    """A task with the version that it has in the store."""

    state: TaskState
    version: int


class Announcement(msgspec.Struct, array_like=True, frozen=True):
    """Tells other workers that a task has changed.

    Attributes:
        id: of the task.
        sender: the worker that tells it.
        session_id: of the session that has called; empty without one.
        notification: method and params as JSON for that session; empty for none.
    """

    id: str
    sender: str
    session_id: str = ""
    notification: tuple[str, bytes] = ("", b"")


class TooManyTasksError(Exception):
    """No more tasks are kept. `is_own`: of this caller."""

    def __init__(self, is_own: bool) -> None:
        super().__init__()
        self.is_own = is_own


class TaskLedger:
    """The tasks of one server.

    Args:
        server: its name; servers with one store and other names have tasks of their own.
        keeper: has the store and the keys.
        timings: of looks into the store.
        poll_interval: seconds between two looks of a client.

    Attributes:
        on_announcement: is told of changes at this worker and at others.
        worker: the name of this worker, which no other worker ever has.
    """

    def __init__(
        self, server: str, keeper: Callable[[], StateStore], timings: Timings, poll_interval: float
    ) -> None:
        self.worker: Final = secrets.token_hex(6)
        self._server = server
        self._keeper = keeper
        self._timings = timings
        self._poll_interval = poll_interval
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: Tasks | None = None
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self.on_announcement: Callable[[Announcement], None] = lambda announcement: None

    async def started(self) -> Tasks:
        """Return the tasks of the store, which is started if it was not yet.

        Raises:
            StoreError: the store does not answer, or keeps no tasks.
        """
        loop = asyncio.get_running_loop()
        if self._loop is loop and self._tasks is not None:
            return self._tasks
        keeper = self._keeper()
        await keeper.started_keys()
        tasks = tasks_of(keeper.store, self._server)
        if self._loop is not loop:
            self._loop, self._waiting = loop, {}
            if not tasks.is_local:
                keeper.store.bus.subscribe(self._topic, self._hear)
                keeper.store.bus.on_gap(self._wake_all)
        self._tasks = tasks
        return tasks

    @property
    def _topic(self) -> str:
        return f"tasks:{self._server}"

    # -- records -----------------------------------------------------------------------------------------------

    async def create(self, state: TaskState, own_limit: int, limit: int) -> Held:
        """Keep a new task, which this worker has for a lease.

        Args:
            own_limit: most tasks of this caller.
            limit: most tasks of all.

        Raises:
            TooManyTasksError: there is no room for it.
            StoreError: the store does not answer.
        """
        tasks = await self.started()
        new = NewTask(
            id=state.id,
            owner=self.owner_of(state),
            value=await self._sealed(tasks, state),
            due=self._timings.lease,
            own_limit=own_limit,
            limit=limit,
        )
        decision = await tasks.create(new)
        if isinstance(decision, Full):
            raise TooManyTasksError(decision.is_own)
        return Held(state, 1)

    def owner_of(self, state: TaskState) -> str:
        """Return whose task it is: the principal's, or that of whoever knows its id."""
        return self.owner(state.client.principal)

    def owner(self, principal: str | None) -> str:
        """Return the owner of the tasks of a principal; those of nobody have one as well."""
        return "" if principal is None else f"principal:{principal}"

    async def read(self, id: str) -> Held | None:
        """Return a task; None if there is none with this id.

        Raises:
            StoreError: the store does not answer, or the task cannot be decrypted.
        """
        tasks = await self.started()
        record = await tasks.read(id)
        return None if record is None else await self.opened(record)

    async def take_due(self, most: int) -> Due:
        """Take tasks that nobody has now, for a lease."""
        return await (await self.started()).take_due(self._timings.lease, most)

    async def renew(self, versions: Mapping[str, int]) -> list[str]:
        """Renew the leases of tasks, and return the ids of those that have another version by now."""
        return await (await self.started()).renew(versions, self._timings.lease)

    async def page(self, owner: str | None, after: str | None, most: int) -> list[TaskRecord]:
        """Return tasks of an owner, or of all, in the order in which they were made."""
        return await (await self.started()).page(owner, after, most)

    async def opened_page(self, after: str | None, most: int) -> tuple[list[Held], str | None]:
        """Return a page of the tasks of all owners, and the cursor of the next; None if there is no more."""
        records = await self.page(None, after, most)
        held = [await self.opened(record) for record in records]
        return held, cursor_of(records[-1]) if len(records) == most else None

    async def change(
        self,
        held: Held,
        edit: Callable[[TaskState], bool],
        *,
        is_quiet: bool = False,
    ) -> Held | None:
        """Change a task as one step.

        Args:
            held: as it was last known.
            edit: changes the state that it gets, a copy; False for no change. It is called again with the present
                state if another worker was faster.
            is_quiet: tell nobody.

        Returns:
            The task as it is now; None if it is gone.

        Raises:
            StoreError: the store does not answer.
        """
        tasks, current = await self.started(), held
        for attempt in range(_ATTEMPTS):
            state = decode_state(encode_state(current.state))
            if not edit(state):
                return current
            is_final, is_other_status = state.is_final, state.status != current.state.status
            is_written = await tasks.write(
                state.id,
                current.version,
                await self._sealed(tasks, state),
                due=None if is_final else state.due(self._timings.lease),
                ttl=state.kept_for if is_final else None,
            )
            if is_written:
                if not is_quiet:
                    self.announce(self._announcement(state, is_other_status=is_other_status))
                return Held(state, current.version + 1)
            if attempt:
                await asyncio.sleep(0.001 * attempt)
            present = await self.read(state.id)
            if present is None:
                return None
            current = present
        raise StoreError("a task is being changed by too many workers at once")

    async def delete(self, id: str) -> None:
        """Forget a task."""
        await (await self.started()).delete(id)

    async def _sealed(self, tasks: Tasks, state: TaskState) -> bytes:
        content = encode_state(state)
        return content if tasks.is_local else self._keeper().seal.encrypt(content, self._purpose(state.id))

    def _purpose(self, id: str) -> bytes:
        return _PURPOSE + f"{self._server}:{id}".encode("utf-8", "replace")

    async def opened(self, record: TaskRecord) -> Held:
        """Return the task in a record.

        Raises:
            StoreError: it was encrypted with a secret that is not here, or is of another version.
        """
        tasks, keeper = await self.started(), self._keeper()
        purpose = self._purpose(record.id)
        content: bytes | None = record.value
        if not tasks.is_local:
            content = keeper.seal.decrypt(record.value, purpose)
            if content is None and not keeper.seal.is_configured:  # by a worker whose secret is not here yet
                await keeper.seal.agree(keeper.store.keys)
                content = keeper.seal.decrypt(record.value, purpose)
        if content is None:
            raise StoreError("a task was encrypted with a secret that is not here")
        try:
            return Held(decode_state(content), record.version)
        except msgspec.DecodeError:
            raise StoreError("a task was written by another version of this package") from None

    # -- changes are announced ---------------------------------------------------------------------------------

    def _announcement(self, state: TaskState, *, is_other_status: bool) -> Announcement:
        """Return what says that a task has changed, with a notification for a session of 2025-11-25 (R-379)."""
        session_id = state.client.session_id
        if state.is_stateless or session_id is None or not is_other_status:
            return Announcement(state.id, self.worker)
        notification = STATUS, msgspec.json.encode(state.outline(self._poll_interval))
        return Announcement(state.id, self.worker, session_id, notification)

    def announce(self, announcement: Announcement) -> None:
        """Tell this worker at once, and the others soon."""
        self._take(announcement)
        if self._tasks is not None and not self._tasks.is_local:
            task = asyncio.get_running_loop().create_task(self._publish(announcement))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _publish(self, announcement: Announcement) -> None:
        try:
            await self._keeper().store.bus.publish(self._topic, msgspec.msgpack.encode(announcement))
        except StoreError as error:  # whoever waits looks now and then
            _unsent_log.write(logging.WARNING, "other workers could not be told of a task: %s", error)

    def _hear(self, message: bytes) -> None:
        try:
            announcement = msgspec.msgpack.decode(message, type=Announcement)
        except msgspec.DecodeError:  # from another version of this package
            return
        if announcement.sender != self.worker:
            self._take(announcement)

    def _take(self, announcement: Announcement) -> None:
        for event in self._waiting.get(announcement.id, ()):
            event.set()
        self.on_announcement(announcement)

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()

    @asynccontextmanager
    async def watching(self, id: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Hear of changes of a task for the length of a block.

        Yields:
            What waits for a change since the last wait, or for the time of a look.
        """
        event = asyncio.Event()
        self._waiting.setdefault(id, set()).add(event)

        async def wait() -> None:
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), self._timings.poll_interval)
            event.clear()

        try:
            yield wait
        finally:
            waiting = self._waiting.get(id)
            if waiting is not None:
                waiting.discard(event)
                if not waiting:
                    self._waiting.pop(id, None)

    async def close(self) -> None:
        """Wait until others are told."""
        if self._loop is asyncio.get_running_loop():
            self._loop = self._tasks = None
            if self._sending:
                await asyncio.wait(self._sending, timeout=self._timings.store_operation)
