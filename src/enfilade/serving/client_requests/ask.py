"""Asking the client in the middle of a handler, by the asker that the transport chose for its request.

In session-based revisions a question is a real request on the stream of the call that caused it, answered by a
later message (`session.py`). In the stateless revision the call ends with its questions, and on the retry the
handler runs again from the top while a record answers the earlier questions (`stateless.py`).

Easy to get wrong: asking a client that cannot answer. Each kind of question needs a capability that the client
declared, and a revision that has such questions (`check`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar, Unpack, overload

import msgspec
from msgspec import UNSET

from enfilade.primitives.questions.input_required import InputRequired, InputResponses
from enfilade.primitives.questions.question import (
    Elicited,
    Messages,
    elicitation,
    roots as roots_question,
    sampling,
    text_of,
    url_elicitation,
)
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.awaitables import to_await
from enfilade.serving.channel import CannotAskError, MissingCapabilityError, Peer
from enfilade.serving.request import Request
from enfilade.wire.client_requests import (
    CreateMessageRequest,
    CreateMessageResult,
    ElicitRequest,
    InputRequest,
    Root,
)
from enfilade.wire.lifecycle import ClientCapabilities
from enfilade.wire.revision_tables import CLIENT_REQUESTS

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from enfilade.primitives.options import OnInterrupted
    from enfilade.primitives.questions import Choices
    from enfilade.primitives.questions.question import Question, SpecialForm

A = TypeVar("A")
T = TypeVar("T")

#: How often a handler may return questions in one call; more often counts as an endless loop.
MAXIMUM_ROUNDS: Final = 8

#: The keys of the side effects that the present code is part of.
_running_side_effects: ContextVar[tuple[str, ...]] = ContextVar("enfilade_running_side_effects", default=())

__all__ = ["Elicited", "Messages", "ask", "elicit", "elicit_url", "once", "roots", "sample", "text_of"]


async def ask(request: Request, question: Question[A], *, key: str | None, timeout: float | None) -> A:
    """Ask the client on behalf of a request, in whichever way its revision has, and return the answer (R-29C).

    Args:
        request: the handler's request.
        key: the question's name on the wire, in the stateless revision.
        timeout: seconds to wait, in session-based revisions.

    Raises:
        MissingCapabilityError: the client did not declare that it can be asked this.
        CannotAskError, AskTimeoutError, ClientRefusedError: there is no answer.
        AnswerError: the answer does not fit the question.
        asyncio.CancelledError: the round ends here; the retry goes on from the answer.
        RuntimeError: asked in the middle of a side effect that must happen only once.
    """
    check(question.request, request.peer)
    if keys := _running_side_effects.get():
        raise RuntimeError(
            f"the side effect {keys[-1]!r} asks the client, so it may have to run again: "
            "ask before ctx.once and not in it"
        )
    _note_question(request)
    return question.read(await request.channel.asker.ask(request, question, key, timeout))


def _note_question(request: Request) -> None:
    """Note that a handler asks its client, and so do those that called it."""
    asking: Request | None = request
    while asking is not None:
        state = asking.ask_state()
        state.has_asked = True
        state.questions += 1
        asking = asking.parent


def check(question: InputRequest, peer: Peer) -> None:
    """Check that a client declared the capability for a question, and that its revision has such questions.

    Raises:
        MissingCapabilityError: it did not, or does not (R-289, R-303, R-540, R-550).
    """
    is_known = peer.revision in CLIENT_REQUESTS[str(question.__struct_config__.tag)]
    lacking = _lacking(question, peer.capabilities if is_known else ClientCapabilities())
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
        features = declared.sampling
        if features is UNSET:
            return {"sampling": {}}
        params = question.params
        needs = {
            "tools": params.tools is not UNSET or params.tool_choice is not UNSET,
            "context": params.include_context in ("thisServer", "allServers"),
        }
        lacking = [name for name, needed in needs.items() if needed and getattr(features, name) is UNSET]
        return {"sampling": {name: {} for name in lacking}} if lacking else None
    return {"roots": {}} if declared.roots is UNSET else None


# -- side effects ----------------------------------------------------------------------------------------------


async def once(
    request: Request, key: str, fn: Callable[[], Any], on_interrupted: OnInterrupted = "refuse"
) -> Any:
    """Run a side effect once per call, however many rounds of questions the call has; see `Context.once`.

    If two branches of a handler reach it at the same time, the second waits for the first, and runs it only if
    the first has failed.

    Args:
        request: the handler's request.
        key: names the side effect within the handler.
        fn: sync or async, without arguments.
        on_interrupted: what a durable task does whose worker died in the middle of it.

    Returns:
        The result as JSON has it, also at its first run.

    Raises:
        RuntimeError: the side effect runs itself.
        InterruptedTaskError: an earlier run was cut off in it.
    """
    memo = request.channel.asker.memo_of(request)
    if key not in memo.once:
        if key in _running_side_effects.get():
            raise RuntimeError(f"the side effect {key!r} runs itself: ctx.once was called with its own key in it")
        async with request.ask_state().locks.setdefault(key, asyncio.Lock()):
            if key not in memo.once:
                asker = request.channel.asker
                await asker.begin_once(request, key, may_repeat=on_interrupted == "run")
                try:
                    memo.once[key] = await _run_side_effect(request, key, fn)
                finally:
                    await asker.end_once(request, key)
    return msgspec.json.decode(memo.once[key])


async def sleep(request: Request, seconds: float) -> None:
    """Wait for some time; see `Context.sleep`.

    In the middle of a side effect that is in place, also in a durable task: its run ends in no side effect.
    """
    if _running_side_effects.get():
        await asyncio.sleep(seconds)
    else:
        await request.channel.asker.sleep(request, seconds)


async def _run_side_effect(request: Request, key: str, fn: Callable[[], Any]) -> bytes:
    """Run a side effect, and keep the round from ending meanwhile."""
    token = _running_side_effects.set((*_running_side_effects.get(), key))
    try:
        with request.channel.asker.side_effect(request):
            value = fn()
            if isinstance(value, Awaitable):
                value = await value
            return json_bytes(value, f'What ctx.once got for "{key}"')
    finally:
        _running_side_effects.reset(token)


# -- the kinds of questions ------------------------------------------------------------------------------------
#
# For `Context` and for middleware. Middleware also sees the calls that tools make, and would ask once for each of
# them; those have a `request.parent`.


class _Options(TypedDict, total=False):
    """The options of all questions."""

    key: str | None
    timeout: float | None


@overload
async def elicit(
    request: Request, message: str, response_type: None = None, **options: Unpack[_Options]
) -> Elicited[None]: ...
@overload
async def elicit(
    request: Request, message: str, response_type: Choices, **options: Unpack[_Options]
) -> Elicited[str]: ...
@overload
async def elicit(
    request: Request, message: str, response_type: Mapping[str, Any], **options: Unpack[_Options]
) -> Elicited[dict[str, Any]]: ...
@overload
async def elicit(
    request: Request, message: str, response_type: type[T], **options: Unpack[_Options]
) -> Elicited[T]: ...
@overload
async def elicit(
    request: Request, message: str, response_type: TypeForm[T], **options: Unpack[_Options]
) -> Elicited[T]: ...
@overload
async def elicit(
    request: Request, message: str, response_type: SpecialForm, **options: Unpack[_Options]
) -> Elicited[Any]: ...
@to_await("elicit")
async def elicit(
    request: Request,
    message: str,
    response_type: Any = None,
    *,
    key: str | None = None,
    timeout: float | None = None,
) -> Elicited[Any]:
    """Ask the user by a form; see `Context.elicit`."""
    return await ask(request, elicitation(message, response_type), key=key, timeout=timeout)


@to_await("elicit_url")
async def elicit_url(
    request: Request, message: str, url: str, *, key: str | None = None, timeout: float | None = None
) -> Elicited[None]:
    """Ask the user to visit a page; see `Context.elicit_url`."""
    return await ask(request, url_elicitation(message, url), key=key, timeout=timeout)


@to_await("sample")
async def sample(
    request: Request, messages: Messages, *, key: str | None = None, timeout: float | None = None, **options: Any
) -> CreateMessageResult:
    """Ask the client's model; `options` are the arguments of `Context.sample`."""
    return await ask(request, sampling(messages, **options), key=key, timeout=timeout)


@to_await("roots")
async def roots(request: Request, *, key: str | None = None, timeout: float | None = None) -> list[Root]:
    """Ask for the client's roots; see `Context.roots`."""
    return await ask(request, roots_question(), key=key, timeout=timeout)


# -- handlers that return their questions ----------------------------------------------------------------------
#
# Stateless revision: the round ends with the questions, and the retry goes on with their answers, without a
# replay of earlier steps. A client that knows the questions may send the answers with its first request.
# Session-based revisions: the client is asked while it waits.
#
# A tool that was called by another cannot end the round with its own result. So the tool that the client called
# does not either: both wait, and the round ends as with any other question.


async def run_until_result(
    request: Request, returned: InputRequired, run_again: Callable[[], Awaitable[Any]]
) -> Any:
    """Ask the questions that a handler returned and run it again, until it returns a result.

    Args:
        request: the handler's request.
        returned: its questions.
        run_again: runs it once more.

    Raises:
        MissingCapabilityError: the client cannot be asked one of the questions (R-289).
        CannotAskError: it has asked too often, or the client cannot be asked.
        AskTimeoutError, ClientRefusedError, AnswerError: there is no answer.
        asyncio.CancelledError: the round ends here.
    """
    for _ in range(MAXIMUM_ROUNDS):
        for question in returned.questions.values():
            check(question.request, request.peer)
        _note_question(request)
        await request.channel.asker.ask_returned(request, returned)
        value = await run_again()
        if not isinstance(value, InputRequired):
            return value
        returned = value
    raise CannotAskError(f"This asked the client {MAXIMUM_ROUNDS} times without coming to a result")


def state_of(request: Request) -> Any:
    """Return the state that the handler returned in its run before."""
    return msgspec.json.decode(request.channel.asker.memo_of(request).state)


def responses_of(request: Request) -> InputResponses:
    """Return the answers to the questions of the handler's run before."""
    answers = request.channel.asker.memo_of(request).answers
    return InputResponses({key: (answer.method, answer.result) for key, answer in answers.items()})
