"""What the methods of both dialects have in common: which task a request means, answers to it, and its end.

A task belongs to the principal that has called; one of nobody, to whoever knows its id, which nobody can guess
(R-58B, X-TASK-13). A task of somebody else, or of the other dialect, is as one that does not exist (R-58C,
R-378).
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from enfilade.extensions.tasks.ledger import Held, TaskLedger
from enfilade.extensions.tasks.runner import TaskRunner
from enfilade.extensions.tasks.state import PendingInput, TaskState
from enfilade.primitives.errors import AnswerError
from enfilade.primitives.questions import form as _form, question as _question
from enfilade.serving.extensions.contract import invalid_params
from enfilade.serving.request import Request
from enfilade.wire.client_requests import ElicitResult
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError

#: Most characters of an id that is looked up.
_LONGEST_ID: Final = 256


class TaskAccess:
    """The tasks of one server, for requests of clients.

    Args:
        ledger: keeps tasks.
        runner: runs them.
    """

    def __init__(self, ledger: TaskLedger, runner: TaskRunner) -> None:
        self.ledger = ledger
        self.runner = runner

    async def find(self, request: Request, id: str) -> Held:
        """Return the task that a request means.

        Raises:
            RpcError: INVALID_PARAMS if there is none for its caller (R-587, R-375).
            StoreError: the store does not answer.
        """
        held = await self.known(request, id)
        if held is None:
            raise RpcError(INVALID_PARAMS, "Invalid params: there is no such task, or it has expired")
        return held

    async def known(self, request: Request, id: str) -> Held | None:
        """Return the task with an id; None if there is none for the caller of a request."""
        held = await self.ledger.read(id) if 0 < len(id) <= _LONGEST_ID else None
        if held is None or held.state.client.principal != request.peer.principal:
            return None
        return held if (held.state.client.revision == request.peer.revision) else None

    async def cancel(self, held: Held, message: str = "The client has cancelled the task") -> Held | None:
        """Cancel a task, wherever it runs; one that is final stays as it is."""

        def edit(state: TaskState) -> bool:
            if state.is_final:
                return False
            state.end("cancelled", message)
            return True

        return await self.ledger.change(held, edit)

    async def answer(self, held: Held, responses: Mapping[str, Raw]) -> None:
        """Give answers to the questions of a task; those that it does not ask are ignored (R-584).

        Raises:
            RpcError: INVALID_PARAMS for an answer that does not fit its question.
        """
        for key, response in responses.items():
            pending = held.state.inputs.get(key)
            if pending is not None:
                _check_answer(key, pending, response)

        def edit(state: TaskState) -> bool:
            accepted = [key for key in responses if key in state.inputs]
            if state.is_final or not accepted:
                return False
            for key in accepted:
                del state.inputs[key]
                state.answers[key] = bytes(responses[key])
            if not state.inputs:
                state.set_status("working")
            return True

        changed = await self.ledger.change(held, edit)
        if changed is not None and not changed.state.worker:
            self.runner.wake()

    async def fail(self, held: Held, error: RpcError) -> None:
        """Let a task fail whose client refuses to answer."""

        def edit(state: TaskState) -> bool:
            if state.is_final:
                return False
            state.end("failed", error.message)
            state.error = msgspec.json.encode({"code": error.code, "message": error.message})
            return True

        await self.ledger.change(held, edit)


def _check_answer(key: str, pending: PendingInput, answer: Raw) -> None:
    try:
        response = _question.decoded(pending.method, answer)
        if pending.form is not None and isinstance(response, ElicitResult) and response.action == "accept":
            content = {} if response.content is msgspec.UNSET else response.content
            _form.Form(msgspec.json.decode(pending.form)).read(content)
    except AnswerError as error:
        raise invalid_params(f"inputResponses[{key!r}]: {error.message}") from None
