"""One request in flight: who asked, what for, where its messages go, and how it may end early.

A `Request` is made by a doorway and lives until its outcome is known. Everything a handler raises on the way
(progress, log messages) goes to this request's own outlet and nowhere else, so nothing of it can meet another
call. The easy thing to get wrong is the end: once `finished`, an outlet gets nothing more (R-2B0, trap 21).
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import UNSET, Raw, UnsetType

from enfilade.serving.client_requests.errors import CannotAskError
from enfilade.serving.failures import log_safely
from enfilade.serving.peer import Peer
from enfilade.wire.cancellation import CancelledNotificationParams
from enfilade.wire.jsonrpc import (
    RequestId,
    RpcError,
    encode_error,
    encode_notification,
    encode_result,
)
from enfilade.wire.lifecycle import RequestMeta
from enfilade.wire.logging import LoggingLevel
from enfilade.wire.message import Message
from enfilade.wire.projection import encode

if TYPE_CHECKING:
    from enfilade.primitives.questions.input_required import InputRequired
    from enfilade.primitives.questions.question import Question
    from enfilade.serving.client_requests.request_state import HandlerMemo
    from enfilade.serving.secrets import Redaction

log = logging.getLogger("enfilade.serving")

_NO_META = RequestMeta()

#: Seconds that a handler gets to unwind after it was cancelled; the caller has its outcome then, come what may.
UNWINDING: Final = 1.0


class Outlet(Protocol):
    """Where the messages of one exchange go, besides its result."""

    def push(self, message: bytes) -> bool:
        """Take one notification, without waiting; False if it was dropped because the reader is behind."""
        ...

    def send(self, message: bytes) -> bool:
        """Take a question, which is never dropped; False if this outlet can carry none."""
        ...

    async def drained(self) -> None:
        """Return once the reader has caught up far enough, or has been given up on."""
        ...

    def part(self, retry: float | None) -> bool:
        """Let the client go and come back for the rest after `retry` seconds; False if it could not come back."""
        ...

    @property
    def crowded(self) -> bool:
        """Whether a sender that can wait should wait."""
        ...


class Closed:
    """An outlet that leads nowhere: a JSON answer has no room for notifications (R-272)."""

    crowded = False

    def push(self, message: bytes) -> bool:
        return False

    def send(self, message: bytes) -> bool:
        return False

    async def drained(self) -> None:
        return

    def part(self, retry: float | None) -> bool:
        return False


NOWHERE = Closed()


#: A whole JSON-RPC response, and its error if it is one; (None, None) if the request gets no answer.
Outcome = tuple[bytes | None, RpcError | None]


class Session(Protocol):
    """What the client of a session may set for the requests that follow."""

    async def set_log_level(self, level: LoggingLevel) -> None:
        """Remember the lowest level of log messages this client wants."""
        ...

    async def watch(self, uri: str) -> None:
        """Tell this client when a resource is updated.

        Raises:
            RpcError: it watches too many already.
        """
        ...

    async def unwatch(self, uri: str) -> None:
        """Tell it no more."""
        ...


class Round(Protocol):
    """One round of a call whose client carries its questions."""

    #: Whether the round has ended, so that its result are the questions, whatever the handler comes to.
    has_ended: bool

    def result(self) -> Message:
        """Return what ends the round: the open questions, and the state for the client to carry.

        Raises:
            RpcError: this run of the handler is another than the one before.
            asyncio.CancelledError: the call was given up meanwhile.
        """
        ...

    def close(self) -> None:
        """Release whatever still waits for an answer."""
        ...


class Asker(Protocol):
    """How the client of a request is asked, chosen by the doorway. Its methods take any request of a call."""

    def open(self, request: "Request") -> None:
        """Read what the client brought for questions of earlier rounds, before the handler runs.

        Raises:
            RpcError: INVALID_PARAMS for a state or an answer that cannot be accepted.
        """
        ...

    async def ask(
        self, request: "Request", question: "Question[Any]", key: str | None, timeout: float | None
    ) -> Raw:
        """Return the answer to a question as JSON.

        Raises:
            CannotAskError, AskTimeoutError, ClientRefusedError: there is none.
            asyncio.CancelledError: the round ends here.
        """
        ...

    async def ask_returned(self, request: "Request", returned: "InputRequired") -> None:
        """Have the questions that a handler returned answered in its memo.

        Raises:
            CannotAskError, AskTimeoutError, ClientRefusedError, AnswerError: there are no answers.
            asyncio.CancelledError: the round ends here.
        """
        ...

    def memo_of(self, request: "Request") -> "HandlerMemo":
        """Return what the handler of a request remembers from run to run."""
        ...

    def begin_side_effect(self, request: "Request") -> None:
        """Keep the round from ending until `end_side_effect`."""
        ...

    def end_side_effect(self, request: "Request") -> None:
        """Let the round end again."""
        ...

    def is_protocol_error(self, error: BaseException) -> bool:
        """Whether an error about a question is one of the protocol, rather than a failure of the handler."""
        ...


class NoAsker:
    """The asker of a client that cannot be asked; what the others have in common."""

    def open(self, request: "Request") -> None:
        """Read nothing."""

    async def ask(
        self, request: "Request", question: "Question[Any]", key: str | None, timeout: float | None
    ) -> Raw:
        """Refuse: there is no way to the client."""
        raise CannotAskError("This client keeps no session, so it cannot be asked anything")

    async def ask_returned(self, request: "Request", returned: "InputRequired") -> None:
        """Refuse: there is no way to the client."""
        raise CannotAskError("This client keeps no session, so it cannot be asked anything")

    def memo_of(self, request: "Request") -> "HandlerMemo":
        """Return what the handler remembers for as long as its request is in flight."""
        if request.memo is None:
            from enfilade.serving.client_requests.request_state import HandlerMemo

            request.memo = HandlerMemo()
        return request.memo

    def begin_side_effect(self, request: "Request") -> None:
        """Do nothing: there are no rounds."""

    def end_side_effect(self, request: "Request") -> None:
        """Do nothing: there are no rounds."""

    def is_protocol_error(self, error: BaseException) -> bool:
        """Return False: every error is the handler's."""
        return False


NO_ASKER: Final = NoAsker()


class ProgressSink(Protocol):
    """What was reported under one progress token."""

    def take(self, progress: float, total: float | None, message: str | None) -> None:
        """Send a report, now or when its turn comes."""
        ...

    def settle(self) -> None:
        """Send what still waits, before the result."""
        ...


class Request(msgspec.Struct, eq=False):
    """One request in flight; what middleware and handlers see.

    Attributes:
        id: JSON-RPC id with its own type; None for a request that a tool made itself (chaining).
        method: protocol method, such as `tools/call`.
        params: the method's decoded params (a Struct of `enfilade.wire`).
        peer: the client behind it.
        given_meta: the members of `_meta` that the protocol defines, where they were read already.
        outlet: where its notifications go.
        log_level: lowest level of log messages the client wants for it; None for none at all.
        session: the session's own settings, or None where there is no session.
        asker: asks its client.
        round: the present round of a call whose client carries the questions; None before the first one.
        memo: what its handler remembers, where no client carries it.
        path: what tells its handler from the others of the same call, once somebody needs to know.
        locks: for side effects of its handler that are under way, by their keys.
        param_headers: HTTP headers, where the doorway has headers that must agree with tool arguments.
        parent: the request whose handler made this one, or None.
        cancelled: set when the client or a deadline has given up on it.
        verdict: the error that is its outcome although it was cancelled, by a deadline or the end of its session.
        abandoned: set when the time limit of its tool is over; its result says so.
        finished: set once its outcome is known.
        progress: what was reported under its progress token.
        redaction: takes the secrets of its tool, and of those it was called by, out of what leaves the process.
        in_flight: where it can be found by its id while it waits for anything; None if nobody will look.
        outside: how many cancellations of its task came from outside of its handler, as far as the doorway knows;
            None if it does not know, so that all of them count.
        overdue: takes the outcome if the handler goes on after it was cancelled.
        settled: set once `overdue` had it: what the handler comes to in the end is not sent.
    """

    id: RequestId | None
    method: str
    params: Any
    peer: Peer
    given_meta: RequestMeta | None = None
    outlet: Outlet = NOWHERE
    log_level: LoggingLevel | None = None
    session: Session | None = None
    asker: Asker = NO_ASKER
    param_headers: Mapping[bytes, bytes] | None = None
    parent: "Request | None" = None
    round: Round | None = None
    memo: "HandlerMemo | None" = None
    path: bytes | None = None
    locks: dict[str, asyncio.Lock] | None = None
    cancelled: bool = False
    abandoned: bool = False
    verdict: RpcError | None = None
    finished: bool = False
    progress: ProgressSink | None = None
    redaction: "Redaction | None" = None
    in_flight: "InFlight | None" = None
    outside: int | None = None
    overdue: "Callable[[Outcome], None] | None" = None
    settled: bool = False
    _task: asyncio.Task[Any] | None = None
    thread: int = msgspec.field(default_factory=threading.get_ident)
    _state: dict[str, Any] | None = None

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """The task in which it is served; known once somebody in it has asked, or it has waited for anything."""
        if self._task is None:
            self._task = asyncio.current_task()
        return self._task

    @task.setter
    def task(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def suspended(self) -> None:
        """Take in that it waits for something, so that from now on others may look for it."""
        self.task  # noqa: B018 - found out here, where it runs
        if self.in_flight is not None:
            self.in_flight.keep(self)

    @property
    def meta(self) -> RequestMeta:
        """The members of `_meta` that the protocol defines."""
        if self.given_meta is None:
            raw = getattr(self.params, "meta", UNSET)
            self.given_meta = _NO_META if raw is UNSET else msgspec.json.decode(raw, type=RequestMeta)
        return self.given_meta

    @property
    def raw_meta(self) -> dict[str, Any]:
        """The whole `_meta` of the request as the client sent it."""
        raw = getattr(self.params, "meta", UNSET)
        if not isinstance(raw, Raw):
            return {}
        meta: dict[str, Any] = msgspec.json.decode(raw)
        return meta

    @property
    def state(self) -> dict[str, Any]:
        """What middleware left on this request, for handlers and other middleware."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def root(self) -> "Request":
        """The client's own request at the head of a chain of calls."""
        request = self
        while request.parent is not None:
            request = request.parent
        return request

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for its outcome any more, or for that of a request it is part of."""
        return self.cancelled or self.abandoned or (self.parent is not None and self.parent.given_up)

    @property
    def over(self) -> bool:
        """Whether nothing more may be sent on its account: it ended, or was given up."""
        if self.finished or self.cancelled or self.abandoned:
            return True
        return self.parent is not None and self.parent.over

    def notify(self, method: str, params: Message) -> None:
        """Send a notification on this request's own stream; dropped once the request is finished.

        Callable from the thread of a plain `def` handler as well.
        """
        self.push(encode_notification(method, encode(params, self.peer.revision)))

    def push(self, message: bytes) -> None:
        """Send a notification that is written already, as `notify` does."""
        if self.parent is not None or threading.get_ident() != self.thread:
            self.in_loop(self._push, message)
        elif not (self.finished or self.cancelled or self.abandoned):  # which is to be `over` without a parent
            self.outlet.push(message)

    def _push(self, message: bytes) -> None:
        if not self.over:
            self.root.outlet.push(message)

    def in_loop(self, call: Callable[..., object], *args: object) -> None:
        """Call something in the event loop: at once if this is it, soon from any other thread."""
        if threading.get_ident() == self.thread:
            call(*args)
            return
        task = self.root.task
        if task is not None and not task.done():
            task.get_loop().call_soon_threadsafe(call, *args)

    def part(self, retry: float | None) -> bool:
        """Let the client go and come back for the rest, as `Outlet.part` does; callable from any thread."""
        outlet = self.root.outlet
        if threading.get_ident() == self.thread:
            return not self.over and outlet.part(retry)
        parted: Future[bool] = Future()
        self.in_loop(lambda: parted.set_result(not self.over and outlet.part(retry)))
        try:
            return parted.result(1.0)
        except TimeoutError:  # the request is over, and so nobody was there to do it
            return False

    def cancel(self, reason: str | None = None, *, verdict: RpcError | None = None) -> bool:
        """Give up on the request: its handler gets `asyncio.CancelledError`, nothing more is sent for it.

        Args:
            reason: for the handler.
            verdict: the outcome that the caller gets all the same; None for no answer (R-279, R-361).

        Returns:
            Whether there was anything left to cancel.
        """
        if self.finished or self.cancelled or self.task is None:
            return False
        self.cancelled = True
        self.verdict = verdict
        self.task.cancel(reason)
        self.insist(self.given_up_outcome)
        return True

    def insist(self, outcome: "Callable[[], Outcome]") -> None:
        """See to it that the caller has an outcome soon, also if the cancelled handler goes on.

        Args:
            outcome: makes it, once it is needed.
        """
        if self.overdue is not None and self.task is not None:
            self.task.get_loop().call_later(UNWINDING, self._settle, outcome)

    def _settle(self, outcome: "Callable[[], Outcome]") -> None:
        overdue = self.overdue
        if overdue is not None and not self.finished:
            self.settled = True
            text = "%s goes on %g s after it was cancelled; its caller is not waiting for it any more"
            log_safely(log, logging.WARNING, text, self.title(), UNWINDING)
            due = outcome()
            self.finish()
            overdue(due)

    def title(self) -> str:
        """Return the method, and the name of the tool or prompt that it is for, as the log shows it."""
        name = getattr(self.params, "name", None)
        return f"{self.method} {name!r}" if isinstance(name, str) else self.method

    def given_up_outcome(self) -> "Outcome":
        """Return the outcome of a request that was cancelled."""
        if self.verdict is None:
            return None, None
        return encode_error(self.id, self.verdict), self.verdict

    def result_outcome(self, result: bytes) -> "Outcome":
        """Return a result as an outcome."""
        return encode_result(self.id, result), None

    def finish(self) -> None:
        """Close the request: nothing more is sent for it, and its id is free again."""
        if self.progress is not None:
            self.progress.settle()
        self.finished = True
        self.outlet, self.progress, self.overdue = NOWHERE, None, None  # which hold on to us, as we to them
        if self.in_flight is not None:
            self.in_flight.leave(self)

    def is_stopping(self) -> bool:
        """Whether a `CancelledError` in its handler is about this request.

        It is not when the handler waited for work of its own that was cancelled, or cancelled its own task: a
        failure like any other.
        """
        root, task = self.root, asyncio.current_task()
        if root.cancelled or (root.round is not None and root.round.has_ended):
            return True
        if root.outside is not None and task is root.task:
            return root.outside > 0
        return task is not None and task.cancelling() > 0

    def adopt_cancellation(self) -> bool:
        """Say whether a `CancelledError` in the doorway was `cancel()` at work, and settle the task if so.

        A cancellation from outside (the server stopping, the host giving up) is not ours to swallow.
        """
        if not self.cancelled or self.task is None:
            return False
        left = self.task.uncancel()
        return left == 0 if self.outside is None else self.outside <= 1


class InFlight:
    """The requests that have no outcome yet, by who sent them and by their typed id.

    The scope is a session or a connection: the same id means another request in another scope (R-716). The same
    id twice within one scope is against the protocol (R-307) and sent by clients that people have, such as hosts
    that share one session among conversations and number each of these from 1. Each request has an outcome of its
    own, so all are served; a cancellation means the newest.
    """

    def __init__(self) -> None:
        self._requests: dict[tuple[str | None, RequestId | UnsetType | None], Request] = {}
        self._older: list[Request] = []  # of several with one id all but the newest, oldest first

    def __len__(self) -> int:
        return len(self._requests) + len(self._older)

    def __iter__(self) -> Iterator[Request]:
        return iter([*self._requests.values(), *self._older])

    def enter(self, request: Request) -> None:
        """Take a request in until it is finished."""
        self.keep(request)
        request.in_flight = self

    def keep(self, request: Request) -> None:
        """Take in a request; once more is once."""
        key = request.peer.session_id, request.id
        other = self._requests.get(key)
        if other is not None and other is not request:
            if request in self._older:
                return
            self._older.append(other)
        self._requests[key] = request

    def leave(self, request: Request) -> None:
        """Forget a finished request."""
        if not self._requests:
            return
        key = request.peer.session_id, request.id
        if self._requests.get(key) is request:
            del self._requests[key]
            if self._older:
                self._promote(key)
        elif request in self._older:
            self._older.remove(request)

    def _promote(self, key: tuple[str | None, RequestId | UnsetType | None]) -> None:
        """Let the newest of the older requests with an id be the newest."""
        for request in reversed(self._older):
            if (request.peer.session_id, request.id) == key:
                self._older.remove(request)
                self._requests[key] = request
                return

    def cancel(self, scope: str | None, params: CancelledNotificationParams) -> bool:
        """Do what `notifications/cancelled` asks, and say whether the request was here (R-363)."""
        request = self._requests.get((scope, params.request_id))
        if request is not None:
            request.cancel(None if params.reason is UNSET else params.reason)
        return request is not None

    def cancel_all(self, scope: str | None, reason: str, verdict: Callable[[], RpcError]) -> None:
        """Cancel every request of a scope.

        Args:
            verdict: makes the error that each caller gets.
        """
        for request in self:
            if request.peer.session_id == scope:
                request.cancel(reason, verdict=verdict())

    def stopping(self) -> None:
        """Take in that the doorway is about to cancel the tasks of all requests."""
        for request in self:
            request.outside = 1 + (request.outside or 0)
