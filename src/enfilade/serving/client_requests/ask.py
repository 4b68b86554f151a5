"""Asking the client in the middle of a handler, in both eras; the only room that must know which era it is.

Session era: a real request on the stream of the call that caused it, answered by a later message (`session.py`).
Stateless era: the call ends with its questions, and on the retry the handler runs again from the top while the
journal answers what it already asked (`stateless.py`).

The easy thing to get wrong is to ask a client that cannot answer: each kind of question needs a capability that
the client declared, and a revision that has words for it (`check`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import UNSET, Raw

from enfilade.primitives.errors import AnswerError
from enfilade.serving.client_requests.errors import CannotAskError, MissingCapabilityError
from enfilade.serving.client_requests.request_state import Page
from enfilade.serving.peer import Peer
from enfilade.serving.request import Request
from enfilade.startup.lazy import LazyModule
from enfilade.wire.elicitation import ElicitRequest
from enfilade.wire.input_required import InputRequest
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.lifecycle import ClientCapabilities
from enfilade.wire.message import NotificationParams
from enfilade.wire.requests import SERVER_METHODS
from enfilade.wire.revisions import STATELESS
from enfilade.wire.sampling import CreateMessageRequest

if TYPE_CHECKING:
    from enfilade.primitives.questions.question import Question
    from enfilade.serving.client_requests import once as side_effects, stateless as _replay
    from enfilade.serving.client_requests.stateless import Replay
else:  # every server that serves loads this file, and few of them ask
    side_effects = LazyModule("enfilade.serving.client_requests.once")
    _replay = LazyModule("enfilade.serving.client_requests.stateless")

A = TypeVar("A")

#: The requests whose answer may be a question in the stateless era (R-286).
ASKING: Final = frozenset({"tools/call", "prompts/get", "resources/read"})

#: Seconds that a user gets to answer, and a model or the client itself.
TIMEOUTS: Final = {"elicitation/create": 300.0, "sampling/createMessage": 120.0, "roots/list": 120.0}


async def ask(request: Request, question: Question[A], *, key: str | None, timeout: float | None) -> A:
    """Ask the client on behalf of a request, in the way of its era, and return the answer.

    Args:
        request: the handler's request.
        key: the question's name on the wire, in the stateless era.
        timeout: seconds to wait, in the session era.

    Raises:
        MissingCapabilityError: the client did not declare that it can be asked this.
        CannotAskError, AskTimeoutError, ClientRefusedError: there is no answer.
        AnswerError: the answer does not fit the question.
        asyncio.CancelledError: the round ends here; the retry goes on from the answer.
        RuntimeError: asked in the middle of a side effect that must happen only once.
    """
    check(question.request, request.peer)
    if effects := side_effects.within.get():
        raise RuntimeError(
            f"the side effect {effects[-1]!r} asks the client, so it may have to run again: "
            "ask before ctx.once and not in it"
        )
    if is_stateless(request):
        return question.read(await replay_of(request.root).ask(request, question, key))
    return question.read(await ask_live(request, question, timeout=timeout))


async def ask_live(request: Request, question: Question[Any], *, timeout: float | None) -> Raw:
    """Ask a client of the session era, and return its answer as JSON.

    Raises:
        CannotAskError, AskTimeoutError, ClientRefusedError: there is none.
    """
    root = request.root
    if root.questions is None:
        raise CannotAskError("This client keeps no session, so it cannot be asked anything")
    params = question.request.params
    seconds = TIMEOUTS[question.method] if timeout is None else timeout
    return await root.questions.ask(
        root, question.method, NotificationParams() if params is UNSET else params, seconds
    )


async def once(request: Request, key: str, fn: Callable[[], Any]) -> Any:
    """Run a side effect once per call; see `Context.once`."""
    replay = replay_of(request.root) if _has_rounds(request) else None
    return await side_effects.once(request, page_of(request), replay, key, fn)


# -- who can be asked ------------------------------------------------------------------------------------------


def check(question: InputRequest, peer: Peer) -> None:
    """Make sure that a client declared what a question needs, and that its revision knows such questions.

    Raises:
        MissingCapabilityError: it did not, or does not (R-289, R-303, R-540, R-550).
    """
    method = str(question.__struct_config__.tag)
    known = is_stateless_revision(peer.revision) or peer.revision in SERVER_METHODS[method]
    lacking = _lacking(question, peer.capabilities if known else ClientCapabilities())
    if lacking is not None:
        raise MissingCapabilityError(lacking)


def _lacking(question: InputRequest, declared: ClientCapabilities) -> dict[str, Any] | None:
    """Return the capability that is not declared, in the shape in which a client would declare it."""
    if isinstance(question, ElicitRequest):
        mode = "url" if question.params.mode == "url" else "form"
        modes = declared.elicitation
        if modes is UNSET:
            return {"elicitation": {"url": {}} if mode == "url" else {}}
        offered = {
            "form": modes.form is not UNSET or modes.url is UNSET,  # an empty object means forms
            "url": modes.url is not UNSET,
        }
        return None if offered[mode] else {"elicitation": {mode: {}}}
    if isinstance(question, CreateMessageRequest):
        parts = declared.sampling
        if parts is UNSET:
            return {"sampling": {}}
        asked = question.params
        needs = {
            "tools": asked.tools is not UNSET or asked.tool_choice is not UNSET,
            "context": asked.include_context in ("thisServer", "allServers"),
        }
        lacking = [part for part, needed in needs.items() if needed and getattr(parts, part) is UNSET]
        return {"sampling": {part: {} for part in lacking}} if lacking else None
    return {"roots": {}} if declared.roots is UNSET else None


# -- the memory of a call --------------------------------------------------------------------------------------


def page_of(request: Request) -> Page:
    """Return what a handler remembers: over the rounds of its call, or in a session for as long as it runs."""
    if _has_rounds(request):
        return replay_of(request.root).page_of(request)
    if request.page is None:
        request.page = Page()
    return request.page


def replay_of(root: Request) -> Replay:
    """Return the questions of a stateless call, from its first question on.

    Raises:
        CannotAskError: its kind of call cannot ask anything.
    """
    if root.replay is None:
        if root.journals is None or root.method not in ASKING:
            raise CannotAskError(f"{root.method} cannot ask the client anything")
        root.replay = _replay.Replay(root, root.journals)
    return root.replay


def resume(request: Request) -> None:
    """Open what a stateless client carried from an earlier round of an `ASKING` method, before the handler runs
    (R-293).

    Raises:
        RpcError: INVALID_PARAMS for a state or an answer that cannot be accepted.
    """
    if is_stateless(request):
        params = request.params
        if params.request_state is not UNSET or params.input_responses is not UNSET:
            replay_of(request)


def as_rpc(error: MissingCapabilityError | AnswerError) -> RpcError:
    """Return the error of the stateless era, where the request itself brings what is at fault (R-290, R-298)."""
    if isinstance(error, MissingCapabilityError):
        return error.as_rpc()
    return RpcError(INVALID_PARAMS, f"Invalid params: {error.message}", status=400)


def is_stateless(request: Request) -> bool:
    """Whether the client of a request can only be asked by ending the round."""
    return is_stateless_revision(request.peer.revision)


def is_stateless_revision(revision: str) -> bool:
    """Whether a revision has no requests from the server."""
    return revision in STATELESS


def _has_rounds(request: Request) -> bool:
    return is_stateless(request) and request.root.method in ASKING
