"""Begins tasks, goes on with those that other workers have left, and renews what this worker has.

Each worker looks into the store when the next task is due, and every few seconds in any case: that finds tasks
that wake, and tasks whose worker has died. One of those is run again from its journal if it is durable, and fails
otherwise. Which worker takes a task, the store decides.

Easy to get wrong: a store that was away for longer than a lease. All leases are over when it is back, and yet all
workers live. So a worker takes nothing from then on, for as long as it takes the others to renew theirs.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
from msgspec import UNSET

from enfilade.extensions.tasks.call import TaskCall
from enfilade.extensions.tasks.ledger import Announcement, Held, TaskLedger, TooManyTasksError
from enfilade.extensions.tasks.run import Run
from enfilade.extensions.tasks.state import Client, TaskState
from enfilade.primitives.limits.task_policy import TaskPolicy
from enfilade.serving.dispatcher import Dispatcher, MethodHandler
from enfilade.serving.failures import LimitedLog, log_safely
from enfilade.serving.request import Request
from enfilade.serving.subscriptions import Changes, session_topic
from enfilade.state.store import StoreError
from enfilade.state.tasks.records import TaskRecord
from enfilade.timings import Timings
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError
from enfilade.wire.message import Message

log = logging.getLogger("enfilade.extensions")
_away_log: Final = LimitedLog(log)

#: Runs of a durable task, each of which its worker did not survive, after which it fails.
MOST_ATTEMPTS: Final = 5
#: Tasks that a worker takes at once.
_BATCH: Final = 64
#: Turns of the event loop after which a handler that has not ended waits for something.
_FIRST_TURNS: Final = 2

#: The notification of 2026-07-28 for those who listen to a task.
_TASKS: Final = "notifications/tasks"

_STOPPED: Final = "The server was stopped while this task ran; nobody knows how much of it was done"
_DIED: Final = "The worker that ran this task stopped; nobody knows how much of it was done"
_UNANSWERED: Final = "Nobody has answered the questions of this task in time"
_FATAL: Final = f"The workers that ran this task stopped {MOST_ATTEMPTS} times, so it is not tried again"


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of tasks.

    Attributes:
        ttl: seconds for which a task is kept after its end, unless its client says otherwise.
        longest_ttl: most seconds that a client may say.
        poll_interval: seconds between two looks of a client.
        own_limit: most tasks of one caller that are kept.
        limit: most tasks of all callers.
        max_running: most tasks that run at one worker.
    """

    ttl: float = 3600.0
    longest_ttl: float = 7 * 86_400.0
    poll_interval: float = 1.0
    own_limit: int = 10_000
    limit: int = 100_000
    max_running: int = 1_000


class TaskRunner:
    """The tasks that run at this worker.

    Args:
        ledger: keeps tasks.
        dispatcher: calls tools.
        changes: sends notifications to sessions, and to those who listen.
        options: limits.
        timings: of leases.

    Attributes:
        options: the same.
        running: the runs, by the ids of their tasks.
    """

    def __init__(
        self,
        ledger: TaskLedger,
        dispatcher: Callable[[], Dispatcher],
        changes: Changes,
        options: TaskOptions,
        timings: Timings,
    ) -> None:
        self.options = options
        self.running: dict[str, Run] = {}
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._changes = changes
        self._timings = timings
        self._listened: Counter[str] = Counter()
        self._taking = 0
        self._is_full = False
        self._woken = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._spawned: set[asyncio.Task[None]] = set()
        ledger.on_announcement = self._on_announcement

    # -- a call becomes a task ---------------------------------------------------------------------------------

    async def begin(
        self, request: Request, policy: TaskPolicy, ttl: float | None, call_next: MethodHandler
    ) -> TaskState | Message:
        """Run a call, and return its task; or its result, if it has ended before it became a task.

        The task is in the store before this returns (R-582).

        Args:
            request: the call.
            policy: of its tool.
            ttl: seconds for which the client wants its task to be kept; None if it does not say.
            call_next: calls the tool.

        Raises:
            RpcError: there is no room for another task, or the call has failed before it became one.
            asyncio.CancelledError: the round of the call ends in questions, or its client waits no more.
        """
        if len(self.running) >= self.options.max_running:
            raise RpcError(
                INTERNAL_ERROR,
                f"{self.options.max_running} tasks run at this worker, which is the most; try again",
            )
        state = self._new_state(request, policy, ttl)
        codec = self._dispatcher().stateless_asker.state_codec
        call = TaskCall(state, codec, self._timings.unwinding, request, may_end_first=policy.after > 0)
        handler, is_being_made = call.start(call_next), False
        try:
            await _until_task(call, handler, policy.after)
            if policy.after and handler.done():
                return handler.result()
            is_being_made = True
            held = await self._ledger.create(state, self.options.own_limit, self.options.limit)
        except TooManyTasksError as error:
            call.give_up(handler)
            most, whom = (
                (self.options.own_limit, "one caller") if error.is_own else (self.options.limit, "all callers")
            )
            raise RpcError(
                INTERNAL_ERROR, f"{most} tasks of {whom} are kept, which is the most; try again later"
            ) from None
        except BaseException as error:
            call.give_up(handler)
            if is_being_made and not isinstance(error, RpcError):  # it may be kept, and nobody knows its id
                self._spawn(self._forget(state.id))
            raise
        pipe = None
        if request.channel.http is None and not state.is_stateless:
            pipe = request.channel.outlet
        self._add(held, call, handler, pipe)
        return held.state

    async def _forget(self, id: str) -> None:
        with contextlib.suppress(StoreError):
            await self._ledger.delete(id)

    def _new_state(self, request: Request, policy: TaskPolicy, ttl: float | None) -> TaskState:
        now = time.time()
        kept = self.options.ttl if ttl is None else min(max(ttl, 1.0), self.options.longest_ttl)
        kept_params = None if request.asking is None else request.asking.params  # each run passes middleware
        params = msgspec.structs.replace(
            kept_params or request.params, task=UNSET, request_state=UNSET, input_responses=UNSET
        )
        return TaskState(
            id=secrets.token_hex(16),
            tool=request.params.name,
            params=msgspec.json.encode(params),
            client=Client.of(request),
            created=now,
            updated=now,
            ttl=kept,
            retention=kept,
            durable=policy.durable,
            worker=self._ledger.worker,
        )

    def _add(self, held: Held, call: TaskCall, handler: "asyncio.Task[Message]", pipe: Any = None) -> None:
        run = Run(
            self._ledger,
            held,
            call,
            handler,
            pipe=pipe,
            render=self._dispatcher().render,
            poll_interval=self.options.poll_interval,
        )
        self.running[run.id] = run
        run.settled.add_done_callback(lambda _: self._remove(run))

    def _remove(self, run: Run) -> None:
        if self.running.get(run.id) is run:
            del self.running[run.id]
        # One that was given back may be due.
        if not run.held.state.is_final or self._has_room_again():
            self.wake()

    def _has_room_again(self) -> bool:
        return self._is_full and self._room() >= min(_BATCH, self.options.max_running) // 2

    # -- tasks that others have left ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to look for tasks that are due."""
        self._woken = asyncio.Event()
        self._looking = asyncio.get_running_loop().create_task(self._look_repeatedly())

    def wake(self) -> None:
        """Look for tasks that are due now."""
        self._woken.set()

    async def _look_repeatedly(self) -> None:
        renewal, others_have_renewed = time.monotonic() + self._timings.lease_renewal, 0.0
        was_away = False
        while True:
            self._woken.clear()
            try:
                if was_away or time.monotonic() >= renewal:
                    renewal = time.monotonic() + self._timings.lease_renewal
                    await self._renew(is_probe=was_away)
                    if was_away:
                        was_away, others_have_renewed = False, renewal
                pause = others_have_renewed - time.monotonic()
                if pause <= 0:
                    pause = await self._take_due()
            except StoreError as error:
                _away_log.write(logging.WARNING, "tasks that are due cannot be looked up: %s", error)
                was_away, pause = True, self._timings.poll_interval
            except Exception as error:
                log_safely(log, logging.ERROR, "a look for due tasks failed", exc_info=error)
                pause = self._timings.poll_interval
            pause = min(pause, max(0.0, renewal - time.monotonic()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), pause)

    async def _take_due(self) -> float:
        """Take tasks that are due, and return the seconds until the next look."""
        room = min(_BATCH, self._room())
        self._is_full = room <= 0
        if self._is_full:
            return self._timings.lease_renewal
        due = await self._ledger.take_due(room)
        self._taking += len(due.tasks)
        for record in due.tasks:
            self._spawn(self._take_over(record))
        if len(due.tasks) == room:
            return 0.0
        return self._timings.lease_renewal if due.next_due is None else max(0.0, due.next_due)

    def _room(self) -> int:
        """How many more tasks may run here."""
        return self.options.max_running - len(self.running) - self._taking

    async def _take_over(self, record: TaskRecord) -> None:
        """Go on with a task that is due, or let it fail."""
        try:
            held: Held | None = await self._ledger.opened(record)
            assert held is not None
            if (reason := _hopeless(held.state)) is not None:
                await self._fail(held, reason)
                return
            held = await self._ledger.change(held, self._resumed, is_quiet=True)
        except StoreError as error:  # it is due again once its lease is over
            _away_log.write(logging.WARNING, "a task could not be taken over: %s", error)
            return
        finally:
            self._taking -= 1
        if held is None or held.state.is_final or held.state.worker != self._ledger.worker:
            return
        dispatcher = self._dispatcher()
        call = TaskCall(held.state, dispatcher.stateless_asker.state_codec, self._timings.unwinding)
        self._add(held, call, call.start(dispatcher.call))

    def _resumed(self, state: TaskState) -> bool:
        if state.is_final:
            return False
        state.attempts += 1 if state.worker else 0
        state.worker, state.wakes = self._ledger.worker, 0.0
        return True

    async def _fail(self, held: Held, reason: str) -> None:
        def edit(state: TaskState) -> bool:
            if state.is_final:
                return False
            state.end("failed", reason)
            state.error = msgspec.json.encode({"code": INTERNAL_ERROR, "message": reason})
            return True

        log_safely(log, logging.WARNING, "task %s of tool %r: %s", held.state.id, held.state.tool, reason)
        await self._ledger.change(held, edit)

    async def _renew(self, *, is_probe: bool) -> None:
        """Renew the leases of what runs here, and look at what others have changed.

        Args:
            is_probe: ask the store also if nothing runs here.
        """
        versions = {run.id: run.held.version for run in self.running.values()}
        if not versions and not is_probe:
            return
        for id in await self._ledger.renew(versions):
            if (run := self.running.get(id)) is not None and run.held.version == versions[id]:
                await run.refresh()

    # -- who hears of changes ----------------------------------------------------------------------------------

    def _on_announcement(self, announcement: Announcement) -> None:
        method, params = announcement.notification
        if method and self._changes.has_listeners():
            self._changes.announce_topic(method, session_topic(announcement.session_id), params)
        if not announcement.id:
            return
        if (run := self.running.get(announcement.id)) is not None:
            run.note_change()
        if announcement.id in self._listened:
            self._spawn(self._tell(announcement.id))

    async def _tell(self, id: str) -> None:
        """Send a task as it is to those who listen to it here (R-589)."""
        with contextlib.suppress(StoreError):  # they look as well
            held = await self._ledger.read(id)
            if held is not None:
                details = msgspec.json.encode(held.state.details(self.options.poll_interval))
                self._changes.announce_topic(_TASKS, task_topic(id), details)

    def listen(self, ids: frozenset[str]) -> None:
        """Hear of tasks, for those who listen here."""
        self._listened.update(ids)

    def unlisten(self, ids: frozenset[str]) -> None:
        """Hear of tasks no more."""
        for id in ids:
            self._listened[id] -= 1
            if self._listened[id] <= 0:
                del self._listened[id]

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._spawned.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._spawned.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log_safely(log, logging.ERROR, "work on a task failed", exc_info=error)

    # -- the end -----------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Give up what runs here: durable tasks to other workers, all others fail."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        taking = [task for task in self._spawned if task.get_loop() is asyncio.get_running_loop()]
        if taking:  # what a store takes now is run here, and has to be given up as well
            await asyncio.wait(taking, timeout=self._timings.store_operation)
        runs = list(self.running.values())
        if runs:
            # A task that is nearly done comes to its end, and a side effect is not cut off.
            waiting = [asyncio.ensure_future(run.wait_for_pause()) for run in runs]
            _, late = await asyncio.wait(waiting, timeout=self._timings.task_farewell)
            for task in late:
                task.cancel()
            stopping = [asyncio.ensure_future(run.stop(_STOPPED)) for run in runs]
            await asyncio.wait(stopping, timeout=self._timings.store_operation)
            await asyncio.wait([run.settled for run in runs], timeout=self._timings.unwinding)
        for run in runs:
            run.close()
        self.running.clear()
        await self._ledger.close()


async def _until_task(call: TaskCall, handler: "asyncio.Task[Message]", after: float) -> None:
    """Wait until a call is to become a task, or has ended."""
    if after:
        wanted = asyncio.ensure_future(call.wants_task.wait())
        try:
            await asyncio.wait((handler, wanted), timeout=after, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wanted.cancel()
    else:
        for _ in range(_FIRST_TURNS):
            await asyncio.sleep(0)
    while call.asks_first and not handler.done():  # the round of the call ends, which cancels this
        call.asked_first.clear()
        asked = asyncio.ensure_future(call.asked_first.wait())
        try:
            await asyncio.wait((handler, asked), return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()


def _hopeless(state: TaskState) -> str | None:
    """Return why a task that is due fails; None for one that goes on."""
    if state.worker and not state.durable:
        return _DIED
    if state.worker and state.attempts + 1 >= MOST_ATTEMPTS:
        return _FATAL
    if not state.worker and state.inputs and not state.answers and not 0.0 < state.wakes <= time.time() + 1.0:
        return _UNANSWERED
    return None


def task_topic(id: str) -> str:
    """Return the topic of those who listen to a task."""
    return f"task:{id}"
