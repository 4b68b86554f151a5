"""`TasksExtension`: calls of tools that go on after their response.

An app gets it with its first tool that has `task=`. It speaks both dialects and never mixes them (R-58C): the
extension of 2026-07-28 to clients that declare it with a request, the experimental feature of 2025-11-25 to
sessions that send `params.task`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET
from msgspec.structs import replace

from enfilade.extensions.tasks.askers import TaskAsker
from enfilade.extensions.tasks.ledger import TaskLedger
from enfilade.extensions.tasks.methods import TaskAccess
from enfilade.extensions.tasks.runner import TaskOptions, TaskRunner
from enfilade.extensions.tasks.session_methods import REVISION, SessionMethods, may_list
from enfilade.extensions.tasks.state import TASKS, TaskState
from enfilade.extensions.tasks.stateless_methods import StatelessMethods
from enfilade.serving.channel import MissingCapabilityError
from enfilade.serving.extensions.contract import Extension
from enfilade.serving.extensions.method import declared_by
from enfilade.timings import Timings
from enfilade.wire.jsonrpc import METHOD_NOT_FOUND, RpcError
from enfilade.wire.message import JsonResult, Message
from enfilade.wire.revisions import STATELESS

if TYPE_CHECKING:
    from enfilade.primitives.limits.task_policy import TaskPolicy
    from enfilade.serving.dispatcher import MethodHandler
    from enfilade.serving.request import Request
    from enfilade.wire.lifecycle import ServerCapabilities

#: Most milliseconds that are read: a client may send an integer of any size.
_MOST_MILLISECONDS: Final = 10**15


class TasksExtension(Extension):
    """Tasks, for `app.add_extension`; apps with a tool that has `task=` have it already.

    Args:
        ttl: seconds for which a task is kept after its end, unless its client says otherwise.
        longest_ttl: most seconds that a client may say.
        poll_interval: seconds after which clients look again.
        own_limit: most tasks of one caller that are kept; callers who are not authenticated count as one.
        limit: most tasks of all callers.
        max_running: most tasks that run at one worker.
        timings: of leases; for tests.

    Raises:
        ValueError: one of the numbers is not above 0.
    """

    def __init__(
        self,
        *,
        ttl: float = 3600.0,
        longest_ttl: float = 7 * 86_400.0,
        poll_interval: float = 1.0,
        own_limit: int = 10_000,
        limit: int = 100_000,
        max_running: int = 1_000,
        timings: Timings | None = None,
    ) -> None:
        numbers: dict[str, Any] = {"ttl": ttl, "longest_ttl": longest_ttl, "poll_interval": poll_interval}
        numbers |= {"own_limit": own_limit, "limit": limit, "max_running": max_running}
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"TasksExtension: {name} is a number above 0, not {value!r}")
        super().__init__(TASKS, revisions=STATELESS)
        self._options = TaskOptions(
            ttl=ttl,
            longest_ttl=longest_ttl,
            poll_interval=poll_interval,
            own_limit=own_limit,
            limit=limit,
            max_running=max_running,
        )
        self._timings = timings
        self._app: Any = None
        self.around_tool_calls(self._around)

    def attach(self, app: Any) -> None:
        """Serve the tasks of an app."""
        self._app = app
        timings = self._timings or app.timings
        poll_interval = self._options.poll_interval
        self.ledger = TaskLedger(app.name, lambda: app.caller_state, timings, poll_interval)
        self.runner = TaskRunner(self.ledger, lambda: app.dispatcher, app.changes, self._options, timings)
        access = TaskAccess(self.ledger, self.runner)
        StatelessMethods(access, poll_interval).add_to(self)
        SessionMethods(
            access, poll_interval, lambda: app.settings.page_size or 100, lambda: app.caller_state.seal
        ).add_to(self)

    def declare(self, request: Request, capabilities: ServerCapabilities) -> None:
        """Declare the dialect of the client's revision (X-TASK-1, R-370)."""
        super().declare(request, capabilities)
        if request.peer.revision == REVISION:
            listed: dict[str, Any] = {"list": {}} if may_list(request) else {}
            capabilities.tasks = {**listed, "cancel": {}, "requests": {"tools": {"call": {}}}}

    async def start(self) -> None:
        """Begin to look for tasks that are due."""
        self._app.dispatcher.keeps_params = True
        await self.runner.start()

    async def stop(self) -> None:
        """Give up the tasks that run here."""
        await self.runner.stop()

    async def _around(self, request: Request, call_next: MethodHandler) -> Message:
        """Run a call of a tool, as a task where it is to be one."""
        if request.parent is not None or isinstance(request.channel.asker, TaskAsker):
            return await call_next(request)
        tool = self._app.tools.get(request.params.name)
        if tool is None or (
            tool.access is not None and not self._app.dispatcher.access.admits(request, tool.access)
        ):
            return await call_next(request)  # which says that it is unknown
        revision = request.peer.revision
        if not _becomes_task(request, tool.name, tool.task):
            return await call_next(request)
        ttl = None
        if revision == REVISION and request.params.task.ttl is not UNSET:
            ttl = min(max(request.params.task.ttl, 0), _MOST_MILLISECONDS) / 1000
        policy = tool.task
        if revision == REVISION and policy.after:  # a client that asks for a task gets one
            policy = replace(policy, after=0.0)
        outcome = await self.runner.begin(request, policy, ttl, call_next)
        return self._created(outcome) if isinstance(outcome, TaskState) else outcome

    def _created(self, state: TaskState) -> JsonResult:
        """Return the result of a call that has become a task (R-580, R-372)."""
        outline = state.outline(self._options.poll_interval)
        return JsonResult.of({"resultType": "task", **outline} if state.is_stateless else {"task": outline})


def _becomes_task(request: Request, tool: str, policy: TaskPolicy | None) -> bool:
    """Whether a call becomes a task.

    Raises:
        RpcError: METHOD_NOT_FOUND or MISSING_CLIENT_CAPABILITY if tool and client do not fit (R-371, R-581,
            X-TASK-4).
    """
    revision = request.peer.revision
    if revision in STATELESS:  # `params.task` is of the other dialect, and ignored (R-588, X-TASK-14)
        if policy is None:
            return False
        if declared_by(request.peer, TASKS) is not None:
            return True
        if policy.support == "required":
            raise MissingCapabilityError({"extensions": {TASKS: {}}}).as_rpc()
        return False
    wants_task = revision == REVISION and request.params.task is not UNSET
    if policy is None:
        if wants_task:
            raise RpcError(METHOD_NOT_FOUND, f"Tool {tool!r} does not run as a task: call it without params.task")
        return False
    if policy.support == "required" and not wants_task:
        raise RpcError(
            METHOD_NOT_FOUND, f"Tool {tool!r} runs as a task only: call it with params.task, in {REVISION}"
        )
    return wants_task
