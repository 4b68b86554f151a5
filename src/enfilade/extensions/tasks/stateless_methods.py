"""The methods of tasks in 2026-07-28 (SEP-2663): `tasks/get`, `tasks/update`, `tasks/cancel`, and listening.

All need a client that has declared the extension with the request (R-587). The contract of extensions checks that
before the params, and after the headers (X-TASK-3). Results are `complete`, as all others (X-TASK-15).
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from enfilade.extensions.tasks.methods import TaskAccess
from enfilade.extensions.tasks.runner import task_topic
from enfilade.extensions.tasks.state import TASKS
from enfilade.serving.channel import MissingCapabilityError
from enfilade.serving.extensions.contract import Extension
from enfilade.serving.extensions.method import declared_by
from enfilade.serving.request import Request
from enfilade.wire.message import RequestParams
from enfilade.wire.revisions import STATELESS

#: Most tasks that one listen may name.
MOST_LISTENED: Final = 1000

_CHANGED: Final = "notifications/tasks"


class TaskParams(RequestParams, kw_only=True):
    """Which task."""

    task_id: str


class UpdateTaskParams(TaskParams, kw_only=True):
    """Answers to questions of a task, by their keys."""

    input_responses: dict[str, Raw]


class StatelessMethods:
    """The methods of 2026-07-28.

    Args:
        access: finds tasks.
        poll_interval: seconds between two looks of a client.
    """

    def __init__(self, access: TaskAccess, poll_interval: float) -> None:
        self._access = access
        self._poll_interval = poll_interval

    def add_to(self, extension: Extension) -> None:
        """Add the methods to an extension."""
        for name, handler, params in (
            ("tasks/get", self.get, TaskParams),
            ("tasks/update", self.update, UpdateTaskParams),
            ("tasks/cancel", self.cancel, TaskParams),
        ):
            extension.add_method(
                name,
                handler,
                params=params,
                name_header="taskId",
                requires_declaration=True,
                revisions=STATELESS,
            )
        extension.add_topics("task_ids", self.open_topics)

    async def get(self, request: Request) -> dict[str, Any]:
        """Handle `tasks/get` (R-583)."""
        held = await self._access.find(request, request.params.task_id)
        return held.state.details(self._poll_interval)

    async def update(self, request: Request) -> dict[str, Any]:
        """Handle `tasks/update` (R-584)."""
        held = await self._access.find(request, request.params.task_id)
        await self._access.answer(held, request.params.input_responses)
        return {}

    async def cancel(self, request: Request) -> dict[str, Any]:
        """Handle `tasks/cancel`; a task that has ended stays as it is (X-TASK-5)."""
        await self._access.cancel(await self._access.find(request, request.params.task_id))
        return {}

    async def open_topics(self, request: Request, ids: list[str]) -> "TaskTopics":
        """Read which tasks a client listens to (X-TASK-2).

        Raises:
            RpcError: MISSING_CLIENT_CAPABILITY if it has not declared the extension.
        """
        if declared_by(request.peer, TASKS) is None:
            raise MissingCapabilityError({"extensions": {TASKS: {}}}).as_rpc()
        own = [
            id for id in dict.fromkeys(ids[:MOST_LISTENED]) if await self._access.known(request, id) is not None
        ]
        return TaskTopics(self._access, own, self._poll_interval)


class TaskTopics:
    """The tasks that one client listens to.

    Attributes:
        honoured: their ids.
        names: their topics.
    """

    def __init__(self, access: TaskAccess, ids: list[str], poll_interval: float) -> None:
        self._access = access
        self._poll_interval = poll_interval
        self._ids = frozenset(ids)
        self.honoured = ids
        self.names = frozenset(map(task_topic, ids))
        access.runner.listen(self._ids)

    async def begin(self, send: Callable[[str, bytes], object]) -> None:
        """Send each task as it is: it may have changed since the client has seen it last."""
        for id in self.honoured:
            held = await self._access.ledger.read(id)
            if held is not None:
                send(_CHANGED, msgspec.json.encode(held.state.details(self._poll_interval)))

    def close(self) -> None:
        """Hear of them no more."""
        self._access.runner.unlisten(self._ids)
