"""The methods of tasks in 2025-11-25, where they are experimental: `tasks/get`, `result`, `list`, `cancel`.

`tasks/result` is answered when the task has ended. Until then its stream carries the questions of the task, as
requests that name it (R-374, R-376).
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from enfilade.extensions.tasks.ledger import Held
from enfilade.extensions.tasks.methods import TaskAccess
from enfilade.extensions.tasks.state import PendingInput
from enfilade.serving.channel import AskTimeoutError, CannotAskError, ClientRefusedError
from enfilade.serving.extensions.contract import Extension, invalid_params
from enfilade.serving.request import Request
from enfilade.state.tasks.records import cursor_of
from enfilade.state.tokens import Seal
from enfilade.wire.client_requests import InputRequest
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, RpcError
from enfilade.wire.lifecycle import RELATED_TASK
from enfilade.wire.message import PaginatedRequestParams
from enfilade.wire.tasks import GetTaskRequestParams

#: The revision of this dialect.
REVISION: Final = "2025-11-25"

_PURPOSE: Final = b"cursor of tasks"
#: The answer of a user who refuses a form.
_REFUSED: Final = msgspec.Raw(b'{"action":"cancel"}')


class SessionMethods:
    """The methods of 2025-11-25.

    Args:
        access: finds tasks.
        poll_interval: seconds between two looks of a client.
        page_size: most tasks of a page.
        seal: makes cursors.
    """

    def __init__(
        self, access: TaskAccess, poll_interval: float, page_size: Callable[[], int], seal: Callable[[], Seal]
    ) -> None:
        self._access = access
        self._poll_interval = poll_interval
        self._page_size = page_size
        self._seal = seal

    def add_to(self, extension: Extension) -> None:
        """Add the methods to an extension."""
        for name, handler, params in (
            ("tasks/get", self.get, GetTaskRequestParams),
            ("tasks/result", self.result, GetTaskRequestParams),
            ("tasks/list", self.list, PaginatedRequestParams),
            ("tasks/cancel", self.cancel, GetTaskRequestParams),
        ):
            extension.add_method(name, handler, params=params, revisions=[REVISION])

    async def get(self, request: Request) -> dict[str, Any]:
        """Handle `tasks/get`."""
        held = await self._access.find(request, request.params.task_id)
        return held.state.outline(self._poll_interval)

    async def cancel(self, request: Request) -> dict[str, Any]:
        """Handle `tasks/cancel`: the task is cancelled before the response (R-375)."""
        held: Held | None = await self._access.find(request, request.params.task_id)
        assert held is not None
        was_final = held.state.is_final
        held = held if was_final else await self._access.cancel(held)
        if was_final or held is None or held.state.status != "cancelled":
            raise invalid_params("the task has ended, so it cannot be cancelled")
        return held.state.outline(self._poll_interval)

    async def list(self, request: Request) -> dict[str, Any]:
        """Handle `tasks/list`: the tasks of the caller, who is known (R-378)."""
        if not may_list(request):
            raise RpcError(METHOD_NOT_FOUND, "Method not found: tasks/list")
        after = self._opened(request.params.cursor)
        size, ledger = self._page_size(), self._access.ledger
        records = await ledger.page(ledger.owner(request.peer.principal), after, size + 1)
        states = [(await ledger.opened(record)).state for record in records[:size]]
        members: dict[str, Any] = {
            "tasks": [state.outline(self._poll_interval) for state in states if state.client.revision == REVISION]
        }
        if len(records) > size:
            cursor = cursor_of(records[size - 1]).encode()
            members["nextCursor"] = self._seal().seal(cursor, _PURPOSE)
        return members

    def _opened(self, cursor: Any) -> str | None:
        if cursor is msgspec.UNSET:
            return None
        opened = self._seal().open(cursor, _PURPOSE)
        if opened is None:
            raise invalid_params("this cursor is not one of this server")
        return opened.decode()

    async def result(self, request: Request) -> dict[str, Any]:
        """Handle `tasks/result`: exactly what the call would have come to (R-374).

        Raises:
            RpcError: the task has come to an error, or was cancelled.
        """
        id = request.params.task_id
        held = await self._access.find(request, id)
        async with self._access.ledger.watching(id) as changed:
            while not held.state.is_final:
                if held.state.inputs:
                    await self._ask(request, held, changed)
                else:
                    await changed()
                held = await self._access.find(request, id)
        state = held.state
        if state.result:
            members: dict[str, Any] = msgspec.json.decode(state.result)
            members["_meta"] = {**members.get("_meta", {}), RELATED_TASK: {"taskId": id}}
            return members
        error: dict[str, Any] = msgspec.json.decode(state.error) if state.error else {}
        code, message = (
            error.get("code", INTERNAL_ERROR),
            error.get("message", state.message or "It was cancelled"),
        )
        raise RpcError(code, message, error.get("data", msgspec.UNSET))

    async def _ask(self, request: Request, held: Held, changed: Callable[[], Any]) -> None:
        """Ask the first question of a task, unless somebody else answers it meanwhile."""
        key, pending = next(iter(held.state.inputs.items()))
        asking = asyncio.ensure_future(self._answer_of(request, held, pending))
        asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())  # it may not be needed
        try:
            while not asking.done():
                waiting = asyncio.ensure_future(changed())
                try:
                    await asyncio.wait((asking, waiting), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiting.cancel()
                if not asking.done():
                    held = await self._access.find(request, held.state.id)
                    if key not in held.state.inputs:
                        return
            await self._access.answer(held, {key: asking.result()})
        except AskTimeoutError:
            return
        except CannotAskError:  # it is not failed: a request with a stream may answer
            raise RpcError(
                INVALID_REQUEST,
                "This task asks the client: send tasks/result in a session, and accept text/event-stream",
            ) from None
        except ClientRefusedError as error:
            if pending.method == "elicitation/create":
                await self._access.answer(held, {key: _REFUSED})
            else:
                await self._access.fail(held, RpcError(INTERNAL_ERROR, error.message))
        finally:
            asking.cancel()

    async def _answer_of(self, request: Request, held: Held, pending: PendingInput) -> msgspec.Raw:
        state = held.state
        question = msgspec.json.decode(pending.request, type=InputRequest)
        if question.params is not msgspec.UNSET:
            question.params.meta = {RELATED_TASK: {"taskId": state.id}}
        asked: Any = _Asked(pending.method, question)
        limit = max(1.0, state.created + state.ttl - time.time())
        return await request.channel.asker.ask(request, asked, None, limit)


class _Asked(msgspec.Struct, frozen=True):
    """A question that was kept."""

    method: str
    request: InputRequest


def may_list(request: Request) -> bool:
    """Whether the caller of a request can be told from others, so that it may list its tasks (R-378)."""
    return request.principal is not None or request.channel.http is None
