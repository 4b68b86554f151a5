"""Questions to a client that carries them from round to round: the stateless revision.

A round ends with the questions that the handler is waiting for. The client retries with the answers, the handler
runs again from the top, and what it asked before is answered from the record at once. A question is known by its
words (and by which handler asks, and for the how-many-eth time), not by its place, so that questions asked side
by side may come in any order.

The easy thing to get wrong is when a round may end. It does when no further question has come up for a few turns
of the event loop. What else the handler was doing is cancelled and done again, so a side effect under `once` is
waited for.

Then some answers of earlier rounds may not have been asked for. A branch that is slower in this round than it was
in an earlier one comes to its question in a later round; the answer stays in the record. No clock decides about
that. A call is refused only if it is certain that this run is another than those before:

- The handler waits in its own task for a new question, and has not come to one that it asked there before. One
  task asks one question after the other, so it would have come to that one first.
- Answers came in `STALLED_ROUNDS` rounds in a row, and none of these rounds came to an answer that no run had
  come to before. Each branch of a handler that asks the same each time has at most one such answer, so rounds of
  that kind are fewer than its branches.
"""

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw

from enfilade.primitives.errors import AnswerError
from enfilade.primitives.questions.input_required import InputRequired
from enfilade.primitives.questions.question import Question, decoded
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.channel import Outcome
from enfilade.serving.client_requests.errors import CannotAskError
from enfilade.serving.client_requests.request_state import (
    Answered,
    CallRecord,
    HandlerMemo,
    Pending,
    RequestStateCodec,
    digest_of,
    target_of,
)
from enfilade.serving.failures import log_safely
from enfilade.serving.request import Request, RequestState
from enfilade.startup.lazy import LazyModule
from enfilade.wire.elicitation import ElicitResult
from enfilade.wire.input_required import InputRequest, InputRequiredResult
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, RpcError, encode_error

if TYPE_CHECKING:
    from enfilade.primitives.questions import form as _form
else:  # with pydantic, which takes long to load
    _form = LazyModule("enfilade.primitives.questions.form")

log = logging.getLogger("enfilade.serving")

#: Turns of the event loop without a new question after which a round ends.
_QUIET_TURNS: Final = 3
#: Rounds in a row without progress after which a call asks other questions each time.
STALLED_ROUNDS: Final = 8


class StatelessRound:
    """One round of a stateless call, with the record of those before it.

    Args:
        request: the client's own request.
        state_codec: opens what the client carried.

    Raises:
        RpcError: INVALID_PARAMS for a state or an answer that cannot be accepted.
    """

    def __init__(self, request: Request, state_codec: RequestStateCodec) -> None:
        self._request = request
        self._state_codec = state_codec
        self._times: Counter[bytes] = Counter()
        self._asked = 0
        self._open: dict[str, InputRequest] = {}
        self._returned = False
        self._busy = 0
        self._quiet = 0
        self._answers_came = False
        self._progress = False
        self._timer: asyncio.Handle | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self.has_ended = False
        self._cancellations = 0
        self._divergence: RpcError | None = None
        params = request.params
        self.record = (
            CallRecord()
            if params.request_state is UNSET
            else state_codec.open(params.request_state, request.method, params, request.peer.principal)
        )
        responses = {} if params.input_responses is UNSET else params.input_responses
        self._early = dict(responses) if params.request_state is UNSET else {}
        self._take(responses)
        self._unasked = set(self.record.answers)

    # -- what the client brought -------------------------------------------------------------------------------

    def _take(self, responses: dict[str, Raw]) -> None:
        """Enter the answers of this round; unknown keys are ignored, malformed answers refused (R-297, R-298)."""
        for key, response in responses.items():
            pending = self.record.pending.get(key)
            if pending is not None:
                self._enter(key, pending, bytes(response))
        self.record.pending = {}
        for memo in self.record.memos.values():
            memo.turn()

    def _enter(self, key: str, pending: Pending, result: bytes) -> None:
        answered = Answered(pending.method, pending.words, result, pending.in_handler)
        try:
            answer = decoded(pending.method, result)
            if pending.form is not None and isinstance(answer, ElicitResult) and answer.action == "accept":
                form = _form.Form(msgspec.json.decode(pending.form))
                form.read({} if answer.content is UNSET else answer.content)
        except AnswerError as error:
            raise _malformed(key, error.message) from None
        if pending.key is None:
            self._answers_came = True
            self.record.answers[pending.identity] = answered
        else:
            self.record.memos[pending.identity].given[pending.key] = answered

    # -- what the handler does ---------------------------------------------------------------------------------

    def path_of(self, request: Request) -> bytes:
        """Return what tells a handler of this call from the others: empty for the one that the client called."""
        if request.parent is None:
            return b""
        asking = request.ask_state()
        if asking.path is None:
            path = digest_of(
                [self.path_of(request.parent).hex(), request.method, target_of(request.params).hex()]
            )
            self._times[path] += 1
            asking.path = path + self._times[path].to_bytes(4)
        return asking.path

    def memo_of(self, request: Request) -> HandlerMemo:
        """Return the memo of a handler of this call."""
        return self.record.memos.setdefault(self.path_of(request), HandlerMemo())

    async def ask(self, request: Request, question: Question[Any], key: str | None) -> Raw:
        """Return the answer of an earlier round, or end this round with the question.

        Raises:
            CannotAskError: the call is over.
            asyncio.CancelledError: the round ends here.
        """
        self._asked += 1
        wording = digest_of([self.path_of(request).hex(), key, question.request])
        self._times[wording] += 1
        identity = wording + self._times[wording].to_bytes(4)
        known = self.record.answers.get(identity)
        if known is not None:
            self._unasked.discard(identity)
            self._progress = self._progress or not known.asked
            known.asked = True
            return Raw(known.result)
        name = self._put(
            key or f"question-{self._asked}",
            question.request,
            Pending(
                identity,
                question.method,
                question.excerpt,
                in_handler=asyncio.current_task() is self._request.task,
            ),
        )
        try:
            await self._wait()
        except asyncio.CancelledError:
            if not self.has_ended:  # the handler has given up on this question alone
                del self._open[name], self.record.pending[name]
            raise
        raise AssertionError("a question of the stateless revision was answered within its round")

    async def ask_returned(self, request: Request, returned: InputRequired) -> None:
        """End this round with the questions that a handler returned.

        Returns only if the client knew them beforehand and sent all answers with its first request.

        Raises:
            RpcError: one of those is malformed.
            CannotAskError, asyncio.CancelledError: as for `ask`.
        """
        memo, path = self.memo_of(request), self.path_of(request)
        wanted = {key: digest_of(question.request) for key, question in returned.questions.items()}
        earlier = memo.wanted or {}
        memo.given = {key: each for key, each in memo.given.items() if earlier.get(key) == wanted.get(key)}
        memo.wanted, memo.next_state = wanted, json_bytes(returned.state)
        asked = dict(self._open)
        for key, question in returned.questions.items():
            pending = Pending(path, question.method, question.excerpt, key, question.form)
            if key in self._early:
                self._enter(key, pending, bytes(self._early.pop(key)))
            elif key not in memo.given:
                self._put(key, question.request, pending)
        if wanted and asked == self._open:
            memo.turn()
            return
        self._returned = True
        await self._wait()

    def _put(self, name: str, question: InputRequest, pending: Pending) -> str:
        while name in self._open:
            name += "'"
        self._open[name] = question
        self.record.pending[name] = pending
        return name

    async def _wait(self) -> None:
        """Wait for the end of the round, which comes as a cancellation."""
        if self._request.phase is not RequestState.ACTIVE:
            raise CannotAskError("This call is over, so its client cannot be asked anything more")
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        self._stir()
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def begin_side_effect(self) -> None:
        """Keep the round from ending in the middle of what must happen only once."""
        self._busy += 1

    def end_side_effect(self) -> None:
        """Let the round end again."""
        self._busy -= 1
        if self._waiting:
            self._stir()

    # -- the end of the round ----------------------------------------------------------------------------------

    def _stir(self) -> None:
        """Begin to wait for quiet, anew."""
        if self._timer is not None:
            self._timer.cancel()
        self._quiet = 0
        self._timer = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._timer = None
        request = self._request
        if request.phase is not RequestState.ACTIVE or self._busy or not (self._open or self._returned):
            return
        loop = asyncio.get_running_loop()
        self._quiet += 1
        if self._quiet <= _QUIET_TURNS:
            self._timer = loop.call_soon(self._turn)
        else:
            self._suspend()

    def _is_another(self) -> bool:
        """Whether it is certain that this run asks other questions than those before it."""
        record = self.record
        stalled = self._answers_came and not self._progress
        record.stalled = record.stalled + 1 if stalled else 0
        if not self._unasked or any(memo.answers or memo.state != b"null" for memo in record.memos.values()):
            return False  # a handler that returns its questions need not ask again
        passed_over = any(record.answers[each].in_handler for each in self._unasked)
        waits = any(each.in_handler for each in record.pending.values())
        return (passed_over and waits) or record.stalled >= STALLED_ROUNDS

    def _suspend(self) -> None:
        self.has_ended = True
        if self._is_another():
            self._divergence = self._explain()
        if self._request.task is not None:
            self._cancellations += 1
            self._request.task.cancel("waiting for the client's answers")
            self._request.ensure_outcome(self._overdue)

    def _overdue(self) -> Outcome:
        """Return what ends this round if the handler goes on although it was cancelled."""
        request = self._request
        if request.cancellation is not None:
            return request.given_up_outcome()
        try:
            return request.result_outcome(self._state_codec.render(self.result(), request.peer.revision))
        except RpcError as error:
            return encode_error(request.id, error), error

    def _explain(self) -> RpcError:
        earlier = ", ".join(self.record.answers[each].words for each in self._unasked)
        now = ", ".join(each.words for each in self.record.pending.values())
        text = (
            f"This call asks something else than when it ran before. Then it asked: {earlier}. "
            f"Now it asks: {now}. A handler must ask the same, in the same words, each time it runs; "
            "what may differ from run to run belongs into `await ctx.once(...)`."
        )
        log_safely(log, logging.ERROR, "%s", text)
        return RpcError(INTERNAL_ERROR, text)

    def result(self) -> InputRequiredResult:
        """Return what ends this round: the open questions and the sealed record.

        Raises:
            RpcError: this run is another than the one before.
            asyncio.CancelledError: the call was given up meanwhile.
        """
        request, task = self._request, self._request.task
        if task is not None:
            for _ in range(self._cancellations):  # ours, more than one if the handler swallowed the first
                task.uncancel()
        if request.cancellation is not None or (task is not None and task.cancelling()):
            raise asyncio.CancelledError
        if self._divergence is not None:
            raise self._divergence
        state = self._state_codec.close(self.record, request.method, request.params, request.peer.principal)
        return InputRequiredResult(input_requests=dict(self._open) or UNSET, request_state=state)

    def close(self) -> None:
        """Let go of whatever still waits, in tasks that the handler left behind."""
        if self._timer is not None:
            self._timer.cancel()
        for waiting in self._waiting:
            waiting.cancel()


def _malformed(key: str, why: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"Invalid params: inputResponses[{key!r}]: {why}", status=400)
