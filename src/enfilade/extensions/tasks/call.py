"""The call of a tool that is a task, or is about to become one: its request, and its way to the task."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Raw

from enfilade.extensions.tasks.askers import JournalAsker, TaskAsker, TaskRound, WaitingAsker
from enfilade.extensions.tasks.outlet import TaskOutlet
from enfilade.extensions.tasks.state import TaskState
from enfilade.serving.callers.tool_auth import given_tokens
from enfilade.serving.channel import Channel, Outcome
from enfilade.serving.client_requests.request_state import CallRecord, HandlerMemo, RequestStateCodec
from enfilade.serving.request import Request
from enfilade.wire.jsonrpc import RpcError
from enfilade.wire.message import Message
from enfilade.wire.tools import CallToolRequestParams

if TYPE_CHECKING:
    from enfilade.extensions.tasks.protocols import TaskInPlace
    from enfilade.serving.dispatcher import MethodHandler


class TaskCall:
    """One call of a handler.

    Args:
        state: of the task that it is, or is about to become.
        state_codec: of the server.
        unwinding: seconds that a cancelled handler has to end.
        original: the client's request, for a call that is no task yet.
        may_end_first: whether the call may have its result before it becomes a task, so that what its handler
            sends goes to its caller until then.

    Attributes:
        request: its own request.
        asks_first: whether it asks before it has become a task.
        asked_first: is set whenever that is over.
        wants_task: is set if the handler asks for something that only a task can have.
        abandoned: is done if the handler goes on although it was cancelled.
        overdue_outcome: its outcome then.
    """

    def __init__(
        self,
        state: TaskState,
        state_codec: RequestStateCodec,
        unwinding: float,
        original: Request | None = None,
        *,
        may_end_first: bool = False,
    ) -> None:
        self._state = state
        self._may_end_first = may_end_first
        self._original = original
        self._run: TaskInPlace | None = None
        self._is_task = asyncio.Event()
        self._round: TaskRound | None = None
        self.asks_first = False
        self.asked_first = asyncio.Event()
        self.wants_task = asyncio.Event()
        self.abandoned: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.overdue_outcome: Outcome = (None, None)
        self._outlet = TaskOutlet(original.channel.outlet if original and may_end_first else None, self)
        asker = JournalAsker(self) if state.durable else WaitingAsker(self)
        self.request = self._make_request(asker, unwinding)
        if isinstance(asker, JournalAsker):
            asker.round = self._round = self._make_round(state_codec)
            self.request.ask_state().round = self._round
        else:
            self.request.ask_state().memo = self._first_memo()

    def _make_request(self, asker: TaskAsker, unwinding: float) -> Request:
        state, original = self._state, self._original
        scopes = state.client.local_scopes
        request = Request(
            state.id if original is None else original.id,
            "tools/call",
            msgspec.json.decode(state.params, type=CallToolRequestParams)
            if original is None
            else msgspec.structs.replace(original.params, task=UNSET, request_state=UNSET, input_responses=UNSET),
            state.client.peer() if original is None else original.peer,
            Channel(
                outlet=self._outlet,
                log_level=None if original is None else original.channel.log_level,
                session=None if original is None else original.channel.session,
                asker=asker,
                principal=state.client.restored_principal() if original is None else original.principal,
                local_scopes=None if scopes is None else frozenset(scopes),
                is_local=state.client.local_base is not None,
                local_base=state.client.local_base or "",
                tool_tokens=None if original is None else given_tokens(original.channel),
                external_cancellations=0,
                on_overdue=self._abandon,
                unwinding=unwinding,
            ),
        )
        if original is not None:  # what middleware has left for the handler
            request.redaction, request._state = original.redaction, original._state
        if state.is_stateless and not self._may_end_first:  # no report is sent, but its text is shown
            request.parsed_meta = msgspec.structs.replace(request.meta, progress_token=state.id)
        return request

    def _make_round(self, state_codec: RequestStateCodec) -> TaskRound:
        state = self._state
        record = msgspec.msgpack.decode(state.journal, type=CallRecord) if state.journal else CallRecord()
        if self._original is not None:
            record.memos[b""] = self._first_memo()
        answers = {key: Raw(answer) for key, answer in state.answers.items()}
        return TaskRound(self.request, state_codec, record, answers, state.keys, state.inputs_made)

    def _first_memo(self) -> HandlerMemo:
        """Return what the handler remembers of the rounds of its call, before the task."""
        original = self._original
        if original is None or original.asking is None:
            return HandlerMemo()
        memo: HandlerMemo = original.channel.asker.memo_of(original)
        return memo

    def start(self, call_next: MethodHandler) -> asyncio.Task[Message]:
        """Run the handler."""

        async def call() -> Message:
            return await call_next(self.request)

        self.request.task = task = asyncio.get_running_loop().create_task(call())
        return task

    def give_up(self, handler: asyncio.Task[Message]) -> None:
        """Cancel the handler of a call that does not become a task."""

        def finish(handler: asyncio.Task[Message]) -> None:
            self.request.finish()
            if not handler.cancelled():
                handler.exception()  # nobody waits for it

        handler.add_done_callback(finish)
        self.request.cancel("the call is over")

    def become_task(self, run: TaskInPlace) -> None:
        """Note that the call is a task, which has its response."""
        self._original, self._run = None, run
        self._outlet.become_task(run.id)
        self._is_task.set()

    def _abandon(self, outcome: Outcome) -> None:
        self.overdue_outcome = outcome
        if not self.abandoned.done():
            self.abandoned.set_result(None)

    @property
    def task_id(self) -> str | None:
        """The id of the task, once the call is one."""
        return None if self._run is None else self._run.id

    # -- for its asker -----------------------------------------------------------------------------------------

    @property
    def is_stateless(self) -> bool:
        """Whether its client is one of 2026-07-28."""
        return self._state.is_stateless

    @property
    def original(self) -> Request | None:
        """The client's request, until the call has become a task."""
        return self._original

    async def wait_until_task(self) -> TaskInPlace:
        """Return the run of the task, once the call has become one."""
        self.wants_task.set()
        await self._is_task.wait()
        assert self._run is not None
        return self._run

    @property
    def input_limit(self) -> float:
        """Seconds for which a question waits at most: as long as the task is kept."""
        return max(1.0, self._state.created + self._state.ttl - time.time())

    # -- for its outlet ----------------------------------------------------------------------------------------

    def note_status(self, text: str) -> None:
        """Make the text of a report of progress the status message."""
        if self._run is not None:
            self._run.note_status(text)

    def forward(self, method: str, params: bytes) -> None:
        """Send a message of the handler to the session of the caller; 2026-07-28 forbids that (X-TASK-12)."""
        if self._run is not None and not self.is_stateless:
            self._run.forward(method, params)

    # -- for its run -------------------------------------------------------------------------------------------

    @property
    def has_parked(self) -> bool:
        """Whether the run has ended because the handler waits for answers or for a time."""
        return self._round is not None and self._round.has_ended and self.request.cancellation is None

    @property
    def is_between_effects(self) -> bool:
        """Whether no side effect of a durable task is running."""
        return self._round is None or self._round.running_effects == 0

    @property
    def divergence(self) -> RpcError | None:
        """The error of a run that certainly asks other questions than those before."""
        return None if self._round is None else self._round.divergence

    def park(self, state: TaskState) -> None:
        """Keep all that the next run needs, and give the task back."""
        current = self._round
        assert current is not None
        self.keep_journal(state)
        questions = current.questions
        state.keys, state.inputs_made, state.wakes = current.keys, current.inputs_made, current.wakes
        state.answers = {key: answer for key, answer in state.answers.items() if key in questions}
        state.inputs = {key: question for key, question in questions.items() if key not in state.answers}
        state.worker = ""
        state.ttl = max(state.ttl, current.wakes - state.created + state.retention)
        state.set_status("input_required" if state.inputs else "working")

    def keep_journal(self, state: TaskState) -> None:
        """Keep the record of a durable task, with the answers that its handler has got."""
        current = self._round
        if current is not None:
            consumed = current.consumed_keys
            state.journal, state.attempts = msgspec.msgpack.encode(current.record), 0
            state.answers = {key: answer for key, answer in state.answers.items() if key not in consumed}
