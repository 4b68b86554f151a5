"""Handlers that return their questions: asked in the way of the client's era, then the handler runs again.

Stateless era: the round ends with the questions, and the retry goes on with their answers, without a replay of
what came before. A client that knows the questions may send the answers with its first request (R-297). Session
era: the client is asked while it waits.

Easy to get wrong: a tool that was called by another cannot end the round with its own result. So neither does the
one that the client called: both wait, and the round ends as with any other question.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from enfilade.primitives.questions.input_required import InputRequired, InputResponses
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.client_requests.ask import ask_live, check, is_stateless, page_of, replay_of
from enfilade.serving.client_requests.errors import CannotAskError
from enfilade.serving.client_requests.request_state import Answered
from enfilade.serving.request import Request

#: How often a handler may return questions while a session's client waits; beyond it, it does so for ever.
MAXIMUM_ROUNDS: Final = 8


async def answered(request: Request, returned: InputRequired, again: Callable[[], Awaitable[Any]]) -> Any:
    """Ask what a handler returned and run it again, until it returns something else, which is returned.

    Args:
        request: the handler's request.
        returned: what it returned.
        again: runs it once more.

    Raises:
        MissingCapabilityError: the client cannot be asked one of the questions (R-289).
        CannotAskError: it has asked too often, or the client cannot be asked.
        AskTimeoutError, ClientRefusedError, AnswerError: there is no answer.
        asyncio.CancelledError: the round ends here.
    """
    for _ in range(MAXIMUM_ROUNDS):
        for question in returned.questions.values():
            check(question.request, request.peer)
        if is_stateless(request):
            await replay_of(request.root).ask_returned(request, returned)
        else:
            await _ask_now(request, returned)
        value = await again()
        if not isinstance(value, InputRequired):
            return value
        returned = value
    raise CannotAskError(f"This asked the client {MAXIMUM_ROUNDS} times without coming to a result")


async def _ask_now(request: Request, returned: InputRequired) -> None:
    """Ask one question after the other, and note the answers for the next run."""
    page = page_of(request)
    answers: dict[str, Answered] = {}
    for key, question in returned.questions.items():
        raw = await ask_live(request, question, timeout=None)
        question.read(raw)
        answers[key] = Answered(question.method, "", bytes(raw))
    page.answers, page.state = answers, json_bytes(returned.state)


def state_of(request: Request) -> Any:
    """Return what the handler's run before left for this one."""
    return msgspec.json.decode(page_of(request).state)


def responses_of(request: Request) -> InputResponses:
    """Return the answers to the questions of the handler's run before."""
    answers = page_of(request).answers
    return InputResponses({key: (each.method, each.result) for key, each in answers.items()})
