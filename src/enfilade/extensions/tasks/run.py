"""One run of a task at this worker: its handler, its questions, and what is kept of what it comes to.

| phase   | the call           | its handler asks            | its messages go to          |
| ------- | ------------------ | --------------------------- | --------------------------- |
| call    | waits              | by the rounds of the call   | the caller                  |
| task    | has its response   | with the task               | nobody, or the session      |
| settled | has its response   | no more                     | nobody                      |

A call leaves the first phase as soon as its handler waits for something, or after `task_after` seconds. A task
that another worker has left begins in the second.

Easy to get wrong: who has the task. Another worker may have taken it, or a client may have cancelled it, while
this one was busy. Each change says so (`change`), and the run is then over, whatever its handler comes to.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
from msgspec import Raw

from enfilade.extensions.tasks.call import TaskCall
from enfilade.extensions.tasks.ledger import STATUS, Announcement, Held, TaskLedger
from enfilade.extensions.tasks.state import PendingInput, TaskState, result_is_error
from enfilade.primitives.errors import AnswerError
from enfilade.serving.channel import MissingCapabilityError, Outlet, protocol_error
from enfilade.serving.failures import LimitedLog, masked, single_error
from enfilade.state.store import StoreError
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError, encode_notification, error_body
from enfilade.wire.message import Message

log = logging.getLogger("enfilade.extensions")
_lost_log: Final = LimitedLog(log)

#: Seconds between two changes of a status message.
_STATUS_INTERVAL: Final = 1.0
#: Turns of the event loop for which questions of one task are gathered into one change.
_GATHERING_TURNS: Final = 2
#: Seconds between two attempts to keep a change while the store is away, at first and at most.
_RETRY: Final = 0.1
_LONGEST_RETRY: Final = 2.0

#: Seconds between two looks at whether a durable task is in a side effect, when the server stops.
_PAUSE_CHECK: Final = 0.02

#: Changes the state of a task that this worker has.
Edit = Callable[[TaskState], None]


class Run:
    """One run of a task, from the moment at which the call is a task.

    Args:
        ledger: keeps the task.
        held: the task as it is kept.
        call: of the handler.
        handler: the task that runs its handler.
        pipe: where a caller of 2025-11-25 over a pipe hears of its tasks; None over HTTP.
        render: returns a result as JSON for a revision.
        poll_interval: seconds between two looks of a client.

    Attributes:
        held: the task as it was last known.
        settled: is done once the outcome is kept, or this worker has the task no more.
    """

    def __init__(
        self,
        ledger: TaskLedger,
        held: Held,
        call: TaskCall,
        handler: asyncio.Task[Message],
        *,
        pipe: Outlet | None,
        render: Callable[[Message, str], bytes],
        poll_interval: float,
    ) -> None:
        self._ledger = ledger
        self.held = held
        self._call = call
        self._request = call.request
        self._handler = handler
        self._pipe = pipe
        self._render = render
        self._poll_interval = poll_interval
        self._lock = asyncio.Lock()
        self._is_writing = False
        self._is_lost = False
        self._waiting: dict[str, asyncio.Future[Raw]] = {}
        self._gathered: dict[str, PendingInput] = {}
        self._inputs_made = held.state.inputs_made
        self._status: str | None = None
        self._status_timer: asyncio.TimerHandle | None = None
        self._spawned: set[asyncio.Task[object]] = set()
        call.become_task(self)
        self.settled = asyncio.get_running_loop().create_task(self._settle())

    @property
    def id(self) -> str:
        """The id of the task."""
        return self.held.state.id

    # -- changes -----------------------------------------------------------------------------------------------

    async def change(self, edit: Edit, *, is_quiet: bool = False) -> bool:
        """Change what is kept of the task; False if this worker has it no more.

        Raises:
            StoreError: the store does not answer.
        """

        def edit_own(state: TaskState) -> bool:
            if state.is_final or state.worker != self._ledger.worker:
                return False
            edit(state)
            return True

        async with self._lock:
            if self._is_lost:
                return False
            status = self.held.state.status
            self._is_writing = True
            try:
                held = await self._ledger.change(self.held, edit_own, is_quiet=is_quiet)
            finally:
                self._is_writing = False
            self._take(held)
            if self._pipe is not None and held is not None and held.state.status != status:
                self._forward(STATUS, msgspec.json.encode(held.state.outline(self._poll_interval)))
            return not self._is_lost

    async def keep(self, edit: Edit, *, is_quiet: bool = False) -> bool:
        """Change what is kept of the task; while the store is away, try again for as long as the task is ours.

        Args:
            edit: may be called again after a change that was kept although the store did not say so.

        Returns:
            False if this worker has it no more.
        """
        pause = _RETRY
        while not self._is_lost:
            try:
                return await self.change(edit, is_quiet=is_quiet)
            except StoreError as error:
                _lost_log.write(logging.WARNING, "a change of a task could not be kept yet: %s", error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_RETRY)
        return False

    def _take(self, held: Held | None) -> None:
        """Take note of the task as it is now."""
        if held is None or held.state.is_final or held.state.worker != self._ledger.worker:
            self._is_lost = True
            if held is not None:
                self.held = held
            self._request.cancel("the task is over")
            return
        self.held = held
        for key, answer in held.state.answers.items():
            waiting = self._waiting.get(key)
            if waiting is not None and not waiting.done():
                waiting.set_result(Raw(answer))

    def note_change(self) -> None:
        """Look at the task, which somebody else may have changed."""
        if not self._is_writing and not self._is_lost:
            self._spawn(self.refresh())

    async def refresh(self) -> bool:
        """Read the task; False if this worker has it no more, True also if the store does not answer."""
        async with self._lock:
            if not self._is_lost:
                try:
                    self._take(await self._ledger.read(self.id))
                except StoreError:
                    return True
        return not self._is_lost

    def _spawn(self, coroutine: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    # -- questions ---------------------------------------------------------------------------------------------

    def add_input(self, pending: PendingInput) -> tuple[str, "asyncio.Future[Raw]"]:
        """Keep a question with the task, and return its key and its answer."""
        self._inputs_made += 1
        key = f"input-{self._inputs_made}"
        self._waiting[key] = answer = asyncio.get_running_loop().create_future()
        if not self._gathered:
            self._spawn(self._keep_inputs())
        self._gathered[key] = pending
        return key, answer

    async def _keep_inputs(self) -> None:
        for _ in range(_GATHERING_TURNS):
            await asyncio.sleep(0)
        gathered, self._gathered = self._gathered, {}

        def edit(state: TaskState) -> None:
            state.inputs_made = self._inputs_made
            state.answers = {key: answer for key, answer in state.answers.items() if key in self._waiting}
            open_keys = [key for key in gathered if key in self._waiting and key not in state.answers]
            if open_keys:  # none if all were answered or withdrawn while the store was away
                state.inputs.update({key: gathered[key] for key in open_keys})
                state.set_status("input_required")

        try:
            await self.keep(edit)
        except Exception as error:  # else the handler would wait for ever
            for key in gathered:
                if (waiting := self._waiting.get(key)) is not None and not waiting.done():
                    waiting.set_exception(error)

    def drop_input(self, key: str) -> None:
        """Forget a question whose answer has come, or that nobody waits for any more."""
        if self._waiting.pop(key, None) is None or self._gathered.pop(key, None) is not None:
            return
        if key in self.held.state.inputs:
            self._spawn(self._withdraw(key))

    async def _withdraw(self, key: str) -> None:
        def edit(state: TaskState) -> None:
            state.inputs.pop(key, None)
            if not state.inputs and state.status == "input_required":
                state.set_status("working")

        await self.keep(edit)

    # -- messages of the handler -------------------------------------------------------------------------------

    def note_status(self, text: str) -> None:
        """Make a text the status message, once a second at most."""
        self._status = text
        if self._status_timer is None:
            self._status_timer = asyncio.get_running_loop().call_later(
                _STATUS_INTERVAL if self.held.state.message else 0.0, self._keep_status
            )

    def _keep_status(self) -> None:
        self._status_timer = None
        self._spawn(self._write_status())

    async def _write_status(self) -> None:
        text, self._status = self._status, None
        if text is None:
            return
        try:
            await self.change(lambda state: state.set_status(state.status, text))
        except StoreError as error:
            _lost_log.write(logging.WARNING, "the status of a task could not be kept: %s", error)

    def forward(self, method: str, params: bytes) -> None:
        """Send a notification to the session of the caller (R-376)."""
        if not self._is_lost:
            self._forward(method, params)

    def _forward(self, method: str, params: bytes) -> None:
        if self._pipe is not None:
            self._pipe.push(encode_notification(method, params))
        elif (session_id := self.held.state.client.session_id) is not None:
            self._ledger.announce(Announcement("", self._ledger.worker, session_id, (method, params)))

    # -- the end -----------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Keep what the handler comes to; try again while the store is away, for as long as the task is ours."""
        self._handler.add_done_callback(_retrieve)
        await asyncio.wait((self._handler, self._call.abandoned), return_when=asyncio.FIRST_COMPLETED)
        self._request.finish()
        if self._status_timer is not None:
            self._status_timer.cancel()
        if self._is_lost or self._request.cancellation is not None:
            return  # whoever has cancelled it decides what becomes of the task
        try:
            await self.keep(self._outcome())
        except Exception as error:  # what it came to is nothing that can be kept
            await self.keep(_failure(self._masked(error)))

    def _outcome(self) -> Edit:
        """Return what keeps the outcome of the handler; one that cannot be sent is a failure."""
        try:
            return self._own_outcome()
        except Exception as error:
            return _failure(self._masked(error))

    def _own_outcome(self) -> Edit:
        if self._call.has_parked:
            divergence = self._call.divergence
            return self._call.park if divergence is None else _failure(divergence)
        if not self._handler.done():
            return self._overdue()
        try:
            result = self._handler.result()
            rendered = self._render(result, self.held.state.client.revision)
            return _end(rendered, is_error=result_is_error(result))
        except RpcError as error:
            return _failure(error)
        except BaseException as raised:
            failure = single_error(raised)
            if isinstance(failure, MissingCapabilityError | AnswerError):
                return _failure(protocol_error(failure))
            return _failure(self._masked(raised))

    def _masked(self, error: BaseException) -> RpcError:
        return masked(error, "a task failed", self._request.failure_redaction)

    def _overdue(self) -> Edit:
        """Return what keeps the outcome of a tool that goes on after its time limit."""
        body, error = self._call.overdue_outcome
        if error is not None or body is None:
            return _failure(error or RpcError(INTERNAL_ERROR, "The task was stopped, and its tool goes on"))
        result = msgspec.json.decode(body, type=dict[str, Raw])["result"]
        return _end(bytes(result), is_error=b'"isError":true' in bytes(result))

    async def wait_for_pause(self) -> None:
        """Return once the task can be given up: it is over, or it is durable and in no side effect."""
        while not self.settled.done() and not (self.held.state.durable and self._call.is_between_effects):
            await asyncio.wait((self.settled,), timeout=_PAUSE_CHECK)

    async def stop(self, reason: str) -> None:
        """End the run because the server stops; another worker goes on with a durable task.

        Args:
            reason: why a task fails that is not durable.
        """
        self._request.cancel(reason)

        def edit(state: TaskState) -> None:
            if state.durable:
                self._call.keep_journal(state)
                state.worker = ""
            else:
                state.end("failed", reason)
                state.error = msgspec.json.encode({"code": INTERNAL_ERROR, "message": reason})

        try:
            await self.change(edit)
        except StoreError as error:
            _lost_log.write(logging.WARNING, "a task could not be given up, its lease has to run out: %s", error)

    def close(self) -> None:
        """Try nothing more: the server has stopped."""
        self._is_lost = True
        for task in (self.settled, *self._spawned):
            task.cancel()


def _retrieve(handler: asyncio.Task[Message]) -> None:
    """Look at what a handler has raised: nobody else does if the task is over already."""
    if not handler.cancelled():
        handler.exception()


def _end(rendered: bytes, *, is_error: bool) -> Edit:
    def edit(state: TaskState) -> None:
        state.end("failed" if is_error and not state.is_stateless else "completed")
        state.result, state.has_failed = rendered, is_error

    return edit


def _failure(error: RpcError) -> Edit:
    """Return what lets a task fail with an error of the protocol (R-586, X-TASK-6)."""
    encoded = error_body(error)

    def edit(state: TaskState) -> None:
        state.end("failed", error.message)
        state.error = encoded

    return edit
