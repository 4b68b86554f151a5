"""Handlers that return their questions: the client is asked, then the handler runs again.

Stateless revision: the round ends with the questions, and the retry goes on with their answers, without a replay
of earlier steps. A client that knows the questions may send the answers with its first request (R-297).
Session-based revisions: the client is asked while it waits.

Easy to get wrong: a tool that was called by another cannot end the round with its own result. So the tool that
the client called does not either: both wait, and the round ends as with any other question.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from enfilade.primitives.questions.input_required import InputRequired, InputResponses
from enfilade.serving.client_requests.ask import check
from enfilade.serving.client_requests.errors import CannotAskError
from enfilade.serving.request import Request

#: How often a handler may return questions in one call; more often counts as an endless loop.
MAXIMUM_ROUNDS: Final = 8


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
