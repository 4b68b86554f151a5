"""Asking the client in the middle of a handler, in both eras; the only room that must know which era it is.

Session era: a real request on the stream of the call that caused it, answered by a later message (SEP-2260).
Stateless era: the call ends with its questions, and on the retry the handler runs again from the top while the
journal answers what it already asked.

Questions are counted in the order in which they are asked, also those asked side by side (`asyncio.gather`): the
call ends only when the handler has nothing left to do but wait for answers. The easy thing to get wrong is a
handler that asks differently the second time: its answers would go to the wrong questions, so it is refused.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from enfilade.primitives.errors import ToolError
from enfilade.primitives.jsonable import json_bytes
from enfilade.serving.exchange import Outlet, Request
from enfilade.serving.journal import Answered, Journal, Journals, Pending
from enfilade.wire.cancellation import CancelledNotificationParams
from enfilade.wire.elicitation import ElicitResult
from enfilade.wire.input_required import InputRequest, InputRequiredResult
from enfilade.wire.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    MISSING_CLIENT_CAPABILITY,
    Envelope,
    RpcError,
    encode_notification,
    encode_request,
)
from enfilade.wire.message import Message, NotificationParams
from enfilade.wire.revisions import STATELESS
from enfilade.wire.roots import ListRootsResult
from enfilade.wire.sampling import CreateMessageResult
from enfilade.wire.visible import encode

#: What the answer to each kind of question is decoded to.
ANSWERS: Final[dict[str, type[Message]]] = {
    "elicitation/create": ElicitResult,
    "sampling/createMessage": CreateMessageResult,
    "roots/list": ListRootsResult,
}

#: The requests whose answer may be a question in the stateless era (R-286).
ASKING: Final = frozenset({"tools/call", "prompts/get", "resources/read"})

#: Turns of the event loop without a new question after which a handler is taken to be waiting.
_QUIET_TURNS: Final = 3


class MissingCapabilityError(ToolError):
    """The client did not declare that it can do what the handler needs, so it is not asked (R-289, R-303).

    Args:
        required: what is missing, in the shape of client capabilities, such as `{"elicitation": {"url": {}}}`.
    """

    def __init__(self, required: dict[str, Any]) -> None:
        self.required = required
        super().__init__(f"This needs a client with the capability {', '.join(_flat(required))}")

    def as_rpc(self) -> RpcError:
        """Return the error of the stateless era (R-290)."""
        return RpcError(MISSING_CLIENT_CAPABILITY, self.message, {"requiredCapabilities": self.required})


def _flat(required: dict[str, Any]) -> list[str]:
    return [f"{name}.{part}" if part else name for name, parts in required.items() for part in (parts or [""])]


class ClientRefusedError(ToolError):
    """The client answered a question with an error, such as a user's refusal to sample."""


class AskTimeoutError(ToolError):
    """The client did not answer in time."""


class CannotAskError(ToolError):
    """There is no way to ask this client: it keeps no session, or wants plain JSON answers."""


class Questions:
    """Live questions of one doorway, waiting for their answers (session era)."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str | None, str | int], asyncio.Future[Envelope]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def answer(self, scope: str | None, envelope: Envelope) -> None:
        """Hand a client's response to whoever asked; late and unknown ones are ignored (R-334)."""
        if envelope.id is not UNSET:
            waiting = self._waiting.get((scope, envelope.id))
            if waiting is not None and not waiting.done():
                waiting.set_result(envelope)

    async def ask(self, request: Request, method: str, params: Message, timeout: float) -> Raw:
        """Send a question on the request's own stream and wait for its answer.

        Args:
            timeout: seconds to wait; the client is told when they are over (R-36A).

        Raises:
            CannotAskError: the call's answer cannot carry a question.
            AskTimeoutError: no answer came.
            ClientRefusedError: the answer is an error.
        """
        id = f"ask-{secrets.token_hex(8)}"
        outlet = request.root.outlet
        key = (request.peer.session_id, id)
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            if not outlet.send(encode_request(id, method, encode(params, request.peer.revision))):
                raise CannotAskError("This client takes plain JSON answers, so it cannot be asked anything")
            done, _ = await asyncio.wait((waiting,), timeout=timeout)
            if not done:
                raise AskTimeoutError(f"The client did not answer within {timeout:g} seconds")
        except (asyncio.CancelledError, AskTimeoutError):
            _withdraw(outlet, id, request)
            raise
        finally:
            del self._waiting[key]
        envelope = waiting.result()
        if isinstance(envelope.result, Raw):
            return envelope.result
        raise ClientRefusedError(_reason(envelope.error))


def _withdraw(outlet: Outlet, id: str, request: Request) -> None:
    """Tell the client that a question needs no answer any more."""
    params = CancelledNotificationParams(request_id=id, reason="no longer needed")
    outlet.send(encode_notification("notifications/cancelled", encode(params, request.peer.revision)))


def _reason(error: Any) -> str:
    try:
        message = msgspec.json.decode(error)["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        message = ""
    return f"The client refused: {message}" if isinstance(message, str) and message else "The client refused"


class Replay:
    """The questions of one stateless call, over its rounds.

    Args:
        request: the client's own request.
        journals: opens what the client carried.

    Raises:
        RpcError: INVALID_PARAMS for a state or an answer that cannot be accepted.
    """

    def __init__(self, request: Request, journals: Journals) -> None:
        self._request = request
        self._journals = journals
        self._asked = 0
        self._quiet = 0
        self._questions: dict[str, InputRequest] = {}
        self._timer: asyncio.Handle | None = None
        self.suspended = False
        self.responses: dict[str, Raw] = {}
        params = request.params
        state = params.request_state
        self.journal = (
            Journal() if state is UNSET else journals.open(state, request.method, params, request.peer.principal)
        )
        if params.input_responses is not UNSET:
            self._take(params.input_responses)

    def _take(self, responses: dict[str, Raw]) -> None:
        """Enter the answers of this round; unknown keys are ignored, malformed answers refused (R-297)."""
        for key, pending in self.journal.pending.items():
            if key in responses:
                try:
                    msgspec.json.decode(responses[key], type=ANSWERS[pending.method])
                except msgspec.DecodeError as error:
                    raise RpcError(
                        INVALID_PARAMS, f"Invalid params: inputResponses[{key!r}]: {error}", status=400
                    ) from None
                result = bytes(responses[key])
                self.responses[key] = Raw(result)
                if pending.index >= 0:
                    self.journal.answers[pending.index] = Answered(pending.digest, pending.method, result)
        self.journal.pending = {}

    async def ask(self, method: str, question: InputRequest, key: str | None) -> Raw:
        """Return the answer of an earlier round, or end this round with the question.

        Raises:
            RpcError: this run asks something else than the run before it.
            asyncio.CancelledError: the round ends here.
        """
        index, self._asked = self._asked, self._asked + 1
        digest = hashlib.sha256(msgspec.json.encode(question, order="deterministic")).digest()[:16]
        known = self.journal.answers.get(index)
        if known is not None:
            if known.digest != digest:
                raise RpcError(
                    INTERNAL_ERROR,
                    f"This call asked something else when it ran before: its question {index + 1} was a "
                    f"{known.method} and is now a {method} or asks in other words. Questions must come in "
                    "the same order and words each time; put what may differ into `await ctx.once(...)`.",
                )
            return Raw(known.result)
        name = key or f"question-{index + 1}"
        while name in self._questions:
            name += "'"
        self._questions[name] = question
        self.journal.pending[name] = Pending(index, digest, method)
        self._wait_for_quiet()
        await asyncio.get_running_loop().create_future()  # never comes: the round ends by cancellation
        raise AssertionError("a question of the stateless era was answered within its round")

    def _wait_for_quiet(self) -> None:
        """Plan the end of the round for when no further question has come up for some turns of the loop."""
        self._quiet = 0
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._quiet += 1
        request = self._request
        if request.finished or request.cancelled:
            return
        if self._quiet <= _QUIET_TURNS:
            self._timer = asyncio.get_running_loop().call_soon(self._turn)
            return
        self.suspended = True
        if request.task is not None:
            request.task.cancel("waiting for the client's answers")

    def interim(self) -> InputRequiredResult:
        """Return what ends this round: the open questions and the sealed journal."""
        request = self._request
        state = self._journals.close(self.journal, request.method, request.params, request.peer.principal)
        return InputRequiredResult(input_requests=dict(self._questions), request_state=state)


async def ask(request: Request, question: InputRequest, *, key: str | None, timeout: float) -> Raw:
    """Ask the client on behalf of a request, in the way of its era, and return the answer's JSON.

    Raises:
        CannotAskError, AskTimeoutError, ClientRefusedError: there is no answer.
        asyncio.CancelledError: the round ends here; the retry goes on from the answer.
    """
    root = request.root
    method = question.__struct_config__.tag
    if is_stateless(root):
        return await replay_of(root).ask(str(method), question, key)
    if root.questions is None:
        raise CannotAskError("This client keeps no session, so it cannot be asked anything")
    params = NotificationParams() if question.params is UNSET else question.params
    return await root.questions.ask(root, str(method), params, timeout)


def replay_of(root: Request) -> Replay:
    """Return the questions of a stateless call, from its first question on."""
    if root.replay is None:
        if root.journals is None or root.method not in ASKING:
            raise CannotAskError(f"{root.method} cannot ask the client anything")
        root.replay = Replay(root, root.journals)
    return root.replay


def journal_of(root: Request) -> Journal:
    """Return what a call remembers: over its rounds, or in a session for as long as it runs."""
    if is_stateless(root) and root.method in ASKING:
        return replay_of(root).journal
    journal: Journal = root.state.setdefault("enfilade.journal", Journal())
    return journal


async def once(request: Request, key: str, fn: Callable[[], Any]) -> Any:
    """Run a side effect once per call, however many rounds the call has; return its result, as JSON has it.

    Args:
        key: names the side effect within the call.
        fn: sync or async, without arguments; its result must be something JSON can carry.
    """
    journal = journal_of(request.root)
    if key not in journal.once:
        value = fn()
        if isinstance(value, Awaitable):
            value = await value
        journal.once[key] = json_bytes(value)
    return msgspec.json.decode(journal.once[key])


def is_stateless(request: Request) -> bool:
    """Whether the client of a request can only be asked by ending the round."""
    return request.peer.revision in STATELESS
