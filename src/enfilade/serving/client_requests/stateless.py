"""The asker of the stateless revision, which asks by ending the round; `rounds.py` is one round.

Easy to get wrong: the cost. Every stateless request has this asker, and few ask anything, so a round is made, and
its module loaded, with the first question.
"""

from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import UNSET, Raw

from enfilade.primitives.errors import AnswerError
from enfilade.serving.channel import NoAsker
from enfilade.serving.client_requests.errors import CannotAskError, MissingCapabilityError
from enfilade.serving.client_requests.request_state import HandlerMemo, RequestStateCodec
from enfilade.serving.request import Request
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.primitives.questions.input_required import InputRequired
    from enfilade.primitives.questions.question import Question
    from enfilade.serving.client_requests import rounds
    from enfilade.serving.client_requests.rounds import StatelessRound
else:
    rounds = LazyModule("enfilade.serving.client_requests.rounds")

#: The methods whose result may be a question (R-286, R-519).
MAY_RETURN_INPUT_REQUIRED: Final = frozenset({"tools/call", "prompts/get", "resources/read"})


class StatelessAsker(NoAsker):
    """Asks by ending the round: for clients that keep no session.

    Nothing is held here for a client that may never come back (R-292), so any worker serves the retry (R-2D1).

    Args:
        state_codec: seals the record of a call, for the client to carry.
    """

    def __init__(self, state_codec: RequestStateCodec) -> None:
        self._state_codec = state_codec

    def open(self, request: Request) -> None:
        """Read the state and the answers that the client sent, before the handler runs (R-293)."""
        if request.method in MAY_RETURN_INPUT_REQUIRED:
            params = request.params
            if params.request_state is not UNSET or params.input_responses is not UNSET:
                self._round_of(request)

    async def ask(
        self, request: Request, question: "Question[Any]", key: str | None, timeout: float | None
    ) -> Raw:
        """Return the answer of an earlier round, or end this round, without a request to the client (R-404)."""
        return await self._round_of(request.root).ask(request, question, key)

    async def ask_returned(self, request: Request, returned: "InputRequired") -> None:
        """End this round with the questions that a handler returned, unless their answers have come."""
        await self._round_of(request.root).ask_returned(request, returned)

    def memo_of(self, request: Request) -> HandlerMemo:
        """Return the memo of a handler over the rounds of its call."""
        if request.root.method in MAY_RETURN_INPUT_REQUIRED:
            return self._round_of(request.root).memo_of(request)
        return super().memo_of(request)

    def begin_side_effect(self, request: Request) -> None:
        """Keep the round from ending during a side effect that must happen only once."""
        if request.root.method in MAY_RETURN_INPUT_REQUIRED:
            self._round_of(request.root).begin_side_effect()

    def end_side_effect(self, request: Request) -> None:
        """Allow the round to end again."""
        if request.root.method in MAY_RETURN_INPUT_REQUIRED:
            self._round_of(request.root).end_side_effect()

    def is_protocol_error(self, error: BaseException) -> bool:
        """Whether the request itself carries the fault, so that the error is one of the protocol."""
        return isinstance(error, MissingCapabilityError | AnswerError)

    def _round_of(self, root: Request) -> "StatelessRound":
        """Return the round of a call, which begins with its first question.

        Raises:
            CannotAskError: its kind of call cannot ask anything.
            RpcError: INVALID_PARAMS for a state or an answer that cannot be accepted.
        """
        if root.method not in MAY_RETURN_INPUT_REQUIRED:
            raise CannotAskError(f"{root.method} cannot ask the client anything")
        asking = root.ask_state()
        if asking.round is None:
            asking.round = rounds.StatelessRound(root, self._state_codec)
        return cast("StatelessRound", asking.round)
