"""Questions in the stateless revision: a call asks by ending its round, and its client carries the questions.

A round ends with the questions that the handler is waiting for. The client retries with the answers, the handler
runs again from the top, and the record answers at once what was asked before (R-29A). A question is identified by
its text, the asking handler and a repeat counter, not by its position, so questions that are asked side by side
may come in any order.

When a round ends: a question is open (or the handler has returned its questions), no further question has come up
for `_QUIET_TURNS` turns of the event loop, and no side effect of `once` is running. Then the task is cancelled,
and the dispatcher takes `result` in place of what the handler comes to. Whatever else the handler was doing is
done again in the next round.

A run may leave answers of earlier rounds unreached. A branch that is slower in this round than it was in an
earlier one comes to its question in a later round; the answer stays in the record. No clock decides about that. A
call is refused only if it is certain that this run asks other questions than those before (`_Comparison`):

- The handler waits in its own task for a new question, and has not reached one that it asked there before. One
  task asks one question after the other, so it would have reached that one first.
- Answers came in `STALLED_ROUNDS` rounds in a row, and none of these rounds reached an answer that no run had
  reached before. Each branch of a handler that asks the same each time has at most one such answer, so rounds of
  that kind are fewer than its branches.

Easy to get wrong: the cost. Every stateless request has the same `StatelessAsker`, and few ask anything, so a
`StatelessRound` is made, and the module of questions loaded, with the first question.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from msgspec import UNSET, Raw

from enfilade.primitives.errors import AnswerError
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.channel import CannotAskError, MissingCapabilityError, NoAsker, Outcome
from enfilade.serving.client_requests.request_state import (
    AnsweredQuestion,
    CallRecord,
    HandlerMemo,
    PendingQuestion,
    RequestStateCodec,
    digest_of,
    target_of,
)
from enfilade.serving.failures import log_safely
from enfilade.serving.request import Request
from enfilade.startup.lazy import LazyModule
from enfilade.wire.client_requests import ElicitResult, InputRequest, InputRequiredResult
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, RpcError, encode_error

if TYPE_CHECKING:
    from enfilade.primitives.questions import form as _form, question as _question
    from enfilade.primitives.questions.input_required import InputRequired
    from enfilade.primitives.questions.question import Question
else:  # loaded with the first question; pydantic with the first form
    _form = LazyModule("enfilade.primitives.questions.form")
    _question = LazyModule("enfilade.primitives.questions.question")

log = logging.getLogger("enfilade.serving")

#: Turns of the event loop without a new question after which a round ends.
_QUIET_TURNS: Final = 3
#: Rounds in a row without progress after which a call is refused, as it asks other questions each time.
STALLED_ROUNDS: Final = 8
#: The methods whose result may be a question (R-286, R-519).
MAY_RETURN_INPUT_REQUIRED: Final = frozenset({"tools/call", "prompts/get", "resources/read"})


class StatelessAsker(NoAsker):
    """Asks by ending the round: for clients that keep no session.

    Nothing is held here for a client that may never come back (R-292), so any worker serves the retry (R-2D1).

    Attributes:
        state_codec: seals the record of a call, and opens it.
    """

    ends_runs = True

    def __init__(self, state_codec: RequestStateCodec) -> None:
        self.state_codec = state_codec

    def take_answer(self, request: Request, question: "Question[Any]", key: str | None) -> Raw | None:
        """Return the answer of an earlier round, and forget it."""
        return self._round_of(request.root).take_answer(request, question, key)

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

    def side_effect(self, request: Request) -> AbstractContextManager[None]:
        """Keep the round from ending during a side effect that must happen only once."""
        if request.root.method in MAY_RETURN_INPUT_REQUIRED:
            return self._round_of(request.root).side_effect()
        return super().side_effect(request)

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
            asking.round = StatelessRound(root, self.state_codec)
        return cast("StatelessRound", asking.round)


class StatelessRound:
    """One round of a stateless call, with the record of those before it.

    Args:
        request: the client's own request.
        state_codec: opens the state that the client carried.
        earlier: the record and the answers, for a call whose client does not carry them.

    Attributes:
        record: the questions and answers of the call, for the client to carry.
        has_ended: whether the result of the call are its questions.
        traceparent: names the span of the round before.

    Raises:
        RpcError: INVALID_PARAMS for a state or an answer that cannot be accepted.
    """

    def __init__(
        self,
        request: Request,
        state_codec: RequestStateCodec,
        earlier: tuple[CallRecord, dict[str, Raw]] | None = None,
    ) -> None:
        self._request = request
        self._state_codec = state_codec
        self._occurrences: Counter[bytes] = Counter()  # of the same question, or the same nested call
        self._question_count = 0
        self._open: dict[str, InputRequest] = {}
        self._has_returned = False
        self._quiet_timer = _QuietTimer(self._can_end, self._end)
        self._waiters: set[asyncio.Future[None]] = set()
        self.has_ended = False
        self._cancellations = 0
        self._divergence: RpcError | None = None
        self.record, responses, is_first = self._read_params() if earlier is None else (*earlier, False)
        self.traceparent = self.record.traceparent
        self._early_responses = dict(responses) if is_first else {}
        has_answers = self._read_responses(responses)
        self._comparison = _Comparison(self.record, has_answers)

    # -- what the client sent ----------------------------------------------------------------------------------

    def _read_params(self) -> tuple[CallRecord, dict[str, Raw], bool]:
        """Return the record that the client carried, its answers, and whether this is the first round."""
        request, params = self._request, self._request.params
        responses = {} if params.input_responses is UNSET else params.input_responses
        if params.request_state is UNSET:
            return CallRecord(), responses, True
        record = self._state_codec.open(params.request_state, request.method, params, request.peer.principal)
        return record, responses, False

    def _read_responses(self, responses: dict[str, Raw]) -> bool:
        """Record the answers of this round; unknown keys are ignored, malformed answers refused (R-297, R-298).

        Returns:
            Whether any of them answers a question that a handler asked in its middle.
        """
        has_answers = False
        for key, response in responses.items():
            pending = self.record.pending.get(key)
            if pending is not None:
                self._record_answer(key, pending, bytes(response))
                has_answers = has_answers or pending.key is None
        self.record.pending = {}
        for memo in self.record.memos.values():
            memo.advance()
        return has_answers

    def _record_answer(self, key: str, pending: PendingQuestion, result: bytes) -> None:
        answer = AnsweredQuestion(pending.method, pending.excerpt, result, pending.in_handler)
        try:  # only results come back: a client that refuses does not
            response = _question.decoded(pending.method, result)
            if pending.form is not None and isinstance(response, ElicitResult) and response.action == "accept":
                form = _form.Form(msgspec.json.decode(pending.form))
                form.read({} if response.content is UNSET else response.content)
        except AnswerError as error:
            raise _malformed(key, error.message) from None
        if pending.key is None:
            self.record.answers[pending.identity] = answer
        else:
            self.record.memos[pending.identity].new_answers[pending.key] = answer

    # -- what the handler does ---------------------------------------------------------------------------------

    def path_of(self, request: Request) -> bytes:
        """Return the identity of a handler within this call: empty for the one that the client called."""
        if request.parent is None:
            return b""
        asking = request.ask_state()
        if asking.path is None:
            path = digest_of(
                [self.path_of(request.parent).hex(), request.method, target_of(request.params).hex()]
            )
            self._occurrences[path] += 1
            asking.path = path + self._occurrences[path].to_bytes(4)
        return asking.path

    def memo_of(self, request: Request) -> HandlerMemo:
        """Return the memo of a handler of this call."""
        return self.record.memos.setdefault(self.path_of(request), HandlerMemo())

    async def ask(self, request: Request, question: "Question[Any]", key: str | None) -> Raw:
        """Return the answer of an earlier round, or end this round with the question.

        Raises:
            CannotAskError: the call is over.
            asyncio.CancelledError: the round ends here.
        """
        self._question_count += 1
        wording = digest_of([self.path_of(request).hex(), key, question.request])
        self._occurrences[wording] += 1
        identity = wording + self._occurrences[wording].to_bytes(4)
        result = self._comparison.reach(identity)
        if result is not None:
            return Raw(result)
        name = self._add_question(
            key or f"question-{self._question_count}",
            question.request,
            PendingQuestion(
                identity,
                question.method,
                question.excerpt,
                in_handler=asyncio.current_task() is self._request.task,
            ),
        )
        try:
            await self._wait_for_end()
        except asyncio.CancelledError:
            if not self.has_ended:  # the handler has given up on this question alone
                del self._open[name], self.record.pending[name]
            raise
        raise AssertionError("a question of the stateless revision was answered within its round")

    def take_answer(self, request: Request, question: "Question[Any]", key: str | None) -> Raw | None:
        """Return the first answer to a question, and forget it, so that it may be asked again, or not at all."""
        wording = digest_of([self.path_of(request).hex(), key, question.request])
        result = self._comparison.take(wording + (1).to_bytes(4))
        return None if result is None else Raw(result)

    async def ask_returned(self, request: Request, returned: "InputRequired") -> None:
        """End this round with the questions that a handler returned.

        Returns only if the client knew them beforehand and sent all answers with its first request.

        Raises:
            RpcError: one of those is malformed.
            CannotAskError, asyncio.CancelledError: as for `ask`.
        """
        memo, path = self.memo_of(request), self.path_of(request)
        digests = {key: digest_of(question.request) for key, question in returned.questions.items()}
        earlier = memo.question_digests or {}
        memo.new_answers = {
            key: answer for key, answer in memo.new_answers.items() if earlier.get(key) == digests.get(key)
        }
        memo.question_digests, memo.next_state = digests, json_bytes(returned.state, "The state of InputRequired")
        open_before = dict(self._open)
        for key, question in returned.questions.items():
            pending = PendingQuestion(path, question.method, question.excerpt, key, question.form)
            if key in self._early_responses:
                self._record_answer(key, pending, bytes(self._early_responses.pop(key)))
            elif key not in memo.new_answers:
                self._add_question(key, question.request, pending)
        if digests and open_before == self._open:
            memo.advance()
            return
        self._has_returned = True
        await self._wait_for_end()

    def _add_question(self, name: str, question: InputRequest, pending: PendingQuestion) -> str:
        name = self._name_of(name, pending)
        self._open[name] = question
        self.record.pending[name] = pending
        return name

    def _name_of(self, name: str, pending: PendingQuestion) -> str:
        """Return the name of a question for its client."""
        while name in self._open:
            name += "'"
        return name

    async def _wait_for_end(self) -> None:
        """Wait for the end of the round, which comes as a cancellation."""
        if not self._request.can_ask:
            raise CannotAskError("This call is over, so its client cannot be asked anything more")
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        self._quiet_timer.restart()
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    @property
    def running_effects(self) -> int:
        """How many side effects are running that must happen only once."""
        return self._quiet_timer.blockers

    @contextmanager
    def side_effect(self) -> Iterator[None]:
        """Keep the round from ending during a side effect that must happen only once."""
        self._quiet_timer.blockers += 1
        try:
            yield
        finally:
            self._quiet_timer.blockers -= 1
            if self._waiters:
                self._quiet_timer.restart()

    # -- the end of the round ----------------------------------------------------------------------------------

    def _can_end(self) -> bool:
        return self._request.can_ask and (bool(self._open) or self._has_returned)

    def _end(self) -> None:
        self.has_ended = True
        self._divergence = self._comparison.divergence()
        if self._request.task is not None:
            self._cancellations += 1
            self._request.task.cancel("waiting for the client's answers")
            self._request.ensure_outcome(self._overdue_outcome)

    def _overdue_outcome(self) -> Outcome:
        """Return the outcome of this round if the handler goes on although it was cancelled."""
        request = self._request
        if request.cancellation is not None:
            return request.given_up_outcome()
        try:
            return request.result_outcome(self._state_codec.render(self.result(), request.peer.revision))
        except RpcError as error:
            return encode_error(request.id, error), error

    def result(self) -> InputRequiredResult:
        """Return the result that ends this round: the open questions and the sealed record.

        Raises:
            RpcError: this run asks other questions than the one before.
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
        self.record.traceparent = "" if request.record is None else request.record.traceparent_of_span
        state = self._state_codec.close(self.record, request.method, request.params, request.peer.principal)
        return InputRequiredResult(input_requests=dict(self._open) or UNSET, request_state=state)

    def close(self) -> None:
        """Cancel whatever still waits, in tasks that the handler left behind."""
        self._quiet_timer.cancel()
        for waiter in self._waiters:
            waiter.cancel()


class _QuietTimer:
    """Calls back after some turns of the event loop without a restart.

    Args:
        is_due: checked in each turn; the timer stops if it returns False.
        callback: ends the round.

    Attributes:
        blockers: how many side effects are running; the timer stops while there are any.
    """

    __slots__ = ("_callback", "_handle", "_is_due", "_turns", "blockers")

    def __init__(self, is_due: Callable[[], bool], callback: Callable[[], None]) -> None:
        self._is_due = is_due
        self._callback = callback
        self._handle: asyncio.Handle | None = None
        self._turns = 0
        self.blockers = 0

    def restart(self) -> None:
        """Count the turns from now on."""
        self.cancel()
        self._turns = 0
        self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def cancel(self) -> None:
        """Stop, without a call."""
        if self._handle is not None:
            self._handle.cancel()

    def _turn(self) -> None:
        self._handle = None
        if self.blockers or not self._is_due():
            return
        self._turns += 1
        if self._turns <= _QUIET_TURNS:
            self._handle = asyncio.get_running_loop().call_soon(self._turn)
        else:
            self._callback()


class _Comparison:
    """Whether this run of the handler asks the same questions as the runs before it.

    Args:
        record: of the call.
        has_answers: whether the client sent answers with this round.
    """

    __slots__ = ("_has_answers", "_has_progress", "_record", "_unreached")

    def __init__(self, record: CallRecord, has_answers: bool) -> None:
        self._record = record
        self._has_answers = has_answers
        self._has_progress = False  # an answer was reached that no run had reached before
        self._unreached = set(record.answers)

    def reach(self, identity: bytes) -> bytes | None:
        """Return the answer to a question that this run has come to; None if it has none yet."""
        answer = self._record.answers.get(identity)
        if answer is None:
            return None
        self._unreached.discard(identity)
        self._has_progress = self._has_progress or not answer.is_reached
        answer.is_reached = True
        return answer.result

    def take(self, identity: bytes) -> bytes | None:
        """Return the answer to a question, which counts as reached, and forget it."""
        result = self.reach(identity)
        if result is not None:
            del self._record.answers[identity]
        return result

    def divergence(self) -> RpcError | None:
        """Return the error of a run that certainly asks other questions, and log it; None for any other run."""
        record = self._record
        record.stalled = record.stalled + 1 if self._has_answers and not self._has_progress else 0
        if not self._unreached or any(memo.answers or memo.state != b"null" for memo in record.memos.values()):
            return None  # a handler that returns its questions need not ask again
        is_passed_over = any(record.answers[identity].in_handler for identity in self._unreached)
        is_waiting = any(pending.in_handler for pending in record.pending.values())
        if not (is_passed_over and is_waiting) and record.stalled < STALLED_ROUNDS:
            return None
        earlier = ", ".join(record.answers[identity].excerpt for identity in self._unreached)
        now = ", ".join(pending.excerpt for pending in record.pending.values())
        text = (
            f"This call asks something else than when it ran before. Then it asked: {earlier}. "
            f"Now it asks: {now}. A handler must ask the same, in the same words, each time it runs; "
            "what may differ from run to run belongs into `await ctx.once(...)`."
        )
        log_safely(log, logging.ERROR, "%s", text)
        return RpcError(INTERNAL_ERROR, text)


def _malformed(key: str, reason: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"Invalid params: inputResponses[{key!r}]: {reason}", status=400)
