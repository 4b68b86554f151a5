"""How the handler of a task asks: its questions are kept with the task, and answered by other requests.

A task that is not durable waits for its answers where it runs. A durable one ends its run, as a stateless call
ends its round, and runs again from the top once there is an answer, or once it has slept long enough.

Questions that a handler *returns* before its call has become a task end the round of the call, and the task
begins after their answers (R-58A, X-TASK-10). All others are asked within the task.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from enfilade.extensions.tasks.state import PendingInput
from enfilade.primitives.errors import AnswerError
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.serving.channel import AskTimeoutError, InterruptedTaskError, MissingCapabilityError, NoAsker
from enfilade.serving.client_requests.request_state import (
    AnsweredQuestion,
    CallRecord,
    HandlerMemo,
    PendingQuestion,
    RequestStateCodec,
    digest_of,
)
from enfilade.serving.client_requests.stateless import StatelessRound
from enfilade.serving.request import Request
from enfilade.wire.jsonrpc import RpcError

if TYPE_CHECKING:
    from enfilade.extensions.tasks.protocols import AskingCall
    from enfilade.primitives.questions.input_required import InputRequired
    from enfilade.primitives.questions.question import Question

#: Seconds up to which a durable task sleeps in place: to end its run and begin another would cost more.
SHORT_SLEEP: Final = 1.0


class TaskAsker(NoAsker):
    """Asks for a task, or for a call that is about to become one."""

    def __init__(self, call: AskingCall) -> None:
        self._call = call

    @property
    def task_id(self) -> str | None:  # type: ignore[override]
        """The id of the task, once the call is one."""
        return self._call.task_id

    def is_protocol_error(self, error: BaseException) -> bool:
        """Whether the task fails with an error of the protocol, as in the stateless revision."""
        return self._call.is_stateless and isinstance(error, MissingCapabilityError | AnswerError)

    async def _ask_first(self, request: Request, returned: InputRequired) -> HandlerMemo | None:
        """Ask by the round of the call, if it is no task yet; None if it is one.

        Returns:
            What the handler remembers now, if the client has sent all answers with its first request.

        Raises:
            asyncio.CancelledError: the round of the call ends here.
        """
        call, original = self._call, self._call.original
        if original is None or request.parent is not None or not call.is_stateless:
            return None
        call.asks_first = True
        try:
            await original.channel.asker.ask_returned(original, returned)
        finally:
            call.asks_first = False
            call.asked_first.set()
        memo: HandlerMemo = original.channel.asker.memo_of(original)
        return memo


class WaitingAsker(TaskAsker):
    """Asks for a task that waits for its answers where it runs."""

    async def ask(self, request: Request, question: Question[Any], key: str | None, timeout: float | None) -> Raw:
        """Keep the question with the task, and wait for the answer."""
        return await self._answer(question, timeout)

    async def ask_returned(self, request: Request, returned: InputRequired) -> None:
        """Keep questions that a handler returned with the task, and wait for all answers."""
        if (memo := await self._ask_first(request, returned)) is not None:
            request.ask_state().memo = memo
            return
        questions = returned.questions
        answers = await asyncio.gather(*(self._answer(question, None) for question in questions.values()))
        for question, answer in zip(questions.values(), answers, strict=True):
            question.read(answer)
        memo = self.memo_of(request)
        memo.answers = {
            key: AnsweredQuestion(question.method, "", bytes(answer))
            for (key, question), answer in zip(questions.items(), answers, strict=True)
        }
        memo.state = json_bytes(returned.state, "The state of InputRequired")

    async def _answer(self, question: Question[Any], timeout: float | None) -> Raw:
        run = await self._call.wait_until_task()
        key, answer = run.add_input(pending_input(question))
        limit = self._call.input_limit if timeout is None else timeout
        try:
            return await asyncio.wait_for(answer, limit)
        except TimeoutError:
            raise AskTimeoutError(f"The client did not answer within {limit:g} seconds") from None
        finally:
            run.drop_input(key)


def pending_input(question: Question[Any]) -> PendingInput:
    """Return a question as it is kept with a task."""
    return PendingInput(question.method, msgspec.json.encode(question.request), question.form)


class TaskRound(StatelessRound):
    """One run of a durable task, whose record is kept with the task.

    Args:
        request: the run's own request.
        state_codec: of the server; not used, as no client carries the record.
        record: of the runs before.
        answers: to its questions, by their keys.
        keys: those of questions that have no answer yet, by identity.
        inputs_made: how many keys were made.

    Attributes:
        keys: likewise, for the next run.
        inputs_made: likewise.
        wakes: when the task sleeps until, in seconds since the epoch; 0.0 if it does not sleep.
        consumed_keys: of the answers that are in the record.
    """

    def __init__(
        self,
        request: Request,
        state_codec: RequestStateCodec,
        record: CallRecord,
        answers: dict[str, Raw],
        keys: dict[bytes, str],
        inputs_made: int,
    ) -> None:
        super().__init__(request, state_codec, (record, answers))
        self._earlier_keys = keys
        self.keys: dict[bytes, str] = {}
        self.inputs_made = inputs_made
        self.wakes = 0.0
        self.consumed_keys: Final = frozenset(answers)

    def _name_of(self, name: str, pending: PendingQuestion) -> str:
        """Return the key of a question: the same in each run, and never used for another (X-TASK-11)."""
        identity = pending.identity + (pending.key or "").encode()
        key = self._earlier_keys.get(identity)
        if key is None or key in self.consumed_keys:
            self.inputs_made += 1
            key = f"input-{self.inputs_made}"
        self.keys[identity] = key
        return key

    async def sleep(self, request: Request, seconds: float) -> None:
        """Return if the time has come, or end this run until then.

        Raises:
            asyncio.CancelledError: the run ends here.
        """
        wording = digest_of([self.path_of(request).hex(), "sleep"])
        self._occurrences[wording] += 1
        identity = wording + self._occurrences[wording].to_bytes(4)
        until = self.record.sleeps.setdefault(identity, time.time() + seconds)
        remaining = until - time.time()
        if remaining <= SHORT_SLEEP:
            await asyncio.sleep(max(0.0, remaining))
            return
        self.wakes = min(self.wakes or until, until)
        await self._wait_for_end()

    def _can_end(self) -> bool:
        return self._request.can_ask and (bool(self._open) or self._has_returned or bool(self.wakes))

    @property
    def questions(self) -> dict[str, PendingInput]:
        """The questions without an answer, by their keys."""
        questions = {}
        for key, question in self._open.items():
            pending = self.record.pending[key]
            questions[key] = PendingInput(pending.method, msgspec.json.encode(question), pending.form)
        return questions

    @property
    def is_cut_off(self) -> bool:
        """Whether the run was cancelled: this worker stops, or has the task no more."""
        return self._request.cancellation is not None

    @property
    def divergence(self) -> RpcError | None:
        """The error of a run that certainly asks other questions than those before; None for any other run."""
        return self._divergence


class JournalAsker(TaskAsker):
    """Asks for a durable task: by ending its run."""

    ends_runs = True
    #: Has the record; set once the request of the call is made.
    round: TaskRound

    def take_answer(self, request: Request, question: Question[Any], key: str | None) -> Raw | None:
        """Return the answer of an earlier run, and forget it."""
        return self.round.take_answer(request, question, key)

    async def ask(self, request: Request, question: Question[Any], key: str | None, timeout: float | None) -> Raw:
        """Return the answer of an earlier run, or end this one."""
        return await self.round.ask(request, question, key)

    async def ask_returned(self, request: Request, returned: InputRequired) -> None:
        """End this run with the questions that a handler returned, unless their answers have come."""
        if (memo := await self._ask_first(request, returned)) is not None:
            self.round.record.memos[b""] = memo
            return
        await self.round.ask_returned(request, returned)

    def memo_of(self, request: Request) -> HandlerMemo:
        """Return the memo of a handler over the runs of its task."""
        return self.round.memo_of(request)

    def side_effect(self, request: Request) -> AbstractContextManager[None]:
        """Keep the run from ending during a side effect that must happen only once."""
        return self.round.side_effect()

    async def begin_once(self, request: Request, key: str, *, may_repeat: bool) -> None:
        """Keep the note that a side effect begins; refuse one that has begun in a run that was cut off."""
        memo = self.memo_of(request)
        if key in memo.begun and not may_repeat:
            raise InterruptedTaskError(
                f'The worker of this task stopped in the middle of "{key}", and nobody knows how much of it was '
                "done. Find out before you call again"
            )
        if key not in memo.begun and not may_repeat:
            memo.begun.append(key)
            await self._save()

    async def end_once(self, request: Request, key: str) -> None:
        """Keep what a side effect came to; one that was cut off has begun and not ended, for the next run."""
        memo = self.memo_of(request)
        if self.round.is_cut_off and key not in memo.once:
            return
        if key in memo.begun:
            memo.begun.remove(key)
        await self._save()

    async def _save(self) -> None:
        """Keep the record with the task; while the store is away, try again.

        Raises:
            asyncio.CancelledError: this worker has the task no more.
        """
        with self.round.side_effect():
            run = await self._call.wait_until_task()
            if not await run.keep(self._call.keep_journal, is_quiet=True):
                raise asyncio.CancelledError

    async def sleep(self, request: Request, seconds: float) -> None:
        """Return if the time has come, or end this run until then."""
        await self.round.sleep(request, seconds)
