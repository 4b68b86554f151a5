"""One request in flight: its client, its method, its channel, and how it may end early.

A transport makes a `Request`, which lives until its outcome is known. Everything that its handler sends meanwhile
(progress, log messages) goes to the outlet of this request and to no other. Easy to get wrong: the end. A
finished request sends nothing more (R-2B0).
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from enfilade.serving.channel import NOWHERE, Channel, OpenRecord, Outcome, Peer, ProgressSink, Round
from enfilade.serving.failures import log_safely
from enfilade.wire.jsonrpc import (
    RequestId,
    RpcError,
    encode_error,
    encode_notification,
    encode_result,
)
from enfilade.wire.lifecycle import RequestMeta
from enfilade.wire.message import Message
from enfilade.wire.notifications import CancelledNotificationParams
from enfilade.wire.projection import encode

if TYPE_CHECKING:
    from enfilade.serving.callers.http_request import HttpRequest
    from enfilade.serving.client_requests.request_state import HandlerMemo
    from enfilade.serving.principal import Principal
    from enfilade.serving.secrets import Redaction

log = logging.getLogger("enfilade.serving")

_NO_META = RequestMeta()


class RequestState(Enum):
    """How far a request has come.

    | state     | entered by                    | its handler        | messages    | its caller               |
    | --------- | ----------------------------- | ------------------ | ----------- | ------------------------ |
    | ACTIVE    | the transport                 | runs               | are sent    | waits                    |
    | CANCELLED | `cancel`                      | is being cancelled | are dropped | gets the verdict, if any |
    | TIMED_OUT | the time limit of its tool    | is being cancelled | are dropped | waits for the failure    |
    | FINISHED  | `finish`, from ACTIVE         | is done            | are dropped | has its outcome          |
    | GIVEN_UP  | `finish`, from the two others | may still run      | are dropped | has its outcome          |
    """

    ACTIVE = auto()
    CANCELLED = auto()
    TIMED_OUT = auto()
    FINISHED = auto()
    GIVEN_UP = auto()


_ACTIVE: Final = RequestState.ACTIVE
_ENDED: Final = RequestState.FINISHED
_FINISHED: Final = frozenset({RequestState.FINISHED, RequestState.GIVEN_UP})
_GIVEN_UP: Final = frozenset({RequestState.CANCELLED, RequestState.TIMED_OUT, RequestState.GIVEN_UP})


class Cancellation(msgspec.Struct, frozen=True):
    """A client or a deadline has given up on a request.

    Attributes:
        verdict: the error that is the outcome all the same, as at a deadline; None for no answer.
    """

    verdict: RpcError | None


class Admission(msgspec.Struct, frozen=True):
    """What a call was admitted with.

    Attributes:
        subject: the limits that it counts for: a tool's by its name.
        has_slots: whether it holds slots of a tool.
    """

    subject: str | None
    has_slots: bool


class AskState(msgspec.Struct, eq=False, kw_only=True):
    """The state of a request whose handler asks its client, or runs a side effect once.

    Attributes:
        round: of a client's own request: the present round, where the client carries the questions.
        memo: of its handler, where no client carries it.
        path: the identity of its handler among those of the same call; None until it is needed.
        locks: for side effects of its handler that are under way, by their keys.
        questions: how many questions its handler, or one that it called, has asked.
        has_asked: whether its handler, or one that it called, has asked the client something.
        params: those of a call before middleware has seen them, if they are kept (`Dispatcher.keeps_params`).
    """

    round: Round | None = None
    memo: "HandlerMemo | None" = None
    path: bytes | None = None
    locks: dict[str, asyncio.Lock] = {}
    has_asked: bool = False
    questions: int = 0
    params: Any = None


class Request(msgspec.Struct, eq=False):
    """One request in flight; what middleware and handlers see.

    Attributes:
        id: JSON-RPC id with its own type; None for a request that a tool made itself (chaining).
        method: protocol method, such as `tools/call`.
        params: the method's decoded params (a Struct of `enfilade.wire`).
        peer: the client behind it.
        channel: its connection with the client.
        parsed_meta: the members of `_meta` that the protocol defines, if they were read already.
        parent: the request whose handler made this one, or None.
        asking: the state of its questions and side effects, once there are any.
        progress: the reports under its progress token.
        redaction: removes the secrets of its tool, and of the tools that called it, from what leaves the process.
        phase: how far it has come.
        cancellation: set when the client or a deadline has given up on it.
        record: what is recorded of it; None if nobody observes requests.
        admission: the limits of its tool that it counts for.
        auth: the tokens of other services that its tool has, a `CallAuth`; None without any.
        calls: how many requests its handler has made to its own server.
    """

    id: RequestId | None
    method: str
    params: Any
    peer: Peer
    channel: Channel = msgspec.field(default_factory=Channel)
    parsed_meta: RequestMeta | None = None
    parent: "Request | None" = None
    asking: AskState | None = None
    progress: ProgressSink | None = None
    redaction: "Redaction | None" = None
    phase: RequestState = _ACTIVE
    cancellation: Cancellation | None = None
    record: OpenRecord | None = None
    admission: Admission | None = None
    auth: Any = None
    calls: int = 0
    _task: asyncio.Task[Any] | None = None
    _state: dict[str, Any] | None = None
    _http: "HttpRequest | None" = None

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """The task that serves it; known once code in it has read this, or once the request has suspended."""
        if self._task is None:
            self._task = asyncio.current_task()
        return self._task

    @task.setter
    def task(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def register_in_flight(self) -> None:
        """Register the request as in flight, because it has suspended."""
        self.task  # noqa: B018 - reads the current task
        if self.channel.in_flight is not None:
            self.channel.in_flight.add(self)

    @property
    def meta(self) -> RequestMeta:
        """The members of `_meta` that the protocol defines."""
        if self.parsed_meta is None:
            raw = getattr(self.params, "meta", UNSET)
            self.parsed_meta = _NO_META if raw is UNSET else msgspec.json.decode(raw, type=RequestMeta)
        return self.parsed_meta

    @property
    def raw_meta(self) -> dict[str, Any]:
        """The whole `_meta` of the request as the client sent it, with keys that nobody here knows (R-505)."""
        raw = getattr(self.params, "meta", UNSET)
        if not isinstance(raw, Raw):
            return {}
        meta: dict[str, Any] = msgspec.json.decode(raw)
        return meta

    @property
    def principal(self) -> "Principal | None":
        """Who calls: by a token, an API key, or as the host says; None if that is unknown."""
        channel = self.root.channel
        return channel.principal if channel.http is None else channel.http.principal

    @property
    def failure_redaction(self) -> "Redaction | None":
        """What removes secrets from a failure: those of its tool, and the token of its caller (R-712)."""
        token = None if self.principal is None else self.principal.access_token
        if token is None:
            return self.redaction
        from enfilade.serving.secrets import Redaction, token_values

        return (self.redaction or Redaction(())).with_values(token_values(token.get_secret_value()))

    @property
    def state(self) -> dict[str, Any]:
        """Data of middleware on this request, for handlers and other middleware."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def http(self) -> "HttpRequest | None":
        """The HTTP request of the client's own request; None without HTTP."""
        root = self.root
        if root._http is None and root.channel.http is not None:
            from enfilade.serving.callers.http_request import HttpRequest

            root._http = HttpRequest(root.channel.http)
        return root._http

    @property
    def root(self) -> "Request":
        """The client's own request at the head of a chain of calls."""
        request = self
        while request.parent is not None:
            request = request.parent
        return request

    def ask_state(self) -> AskState:
        """Return the state of its questions and side effects, created with the first of them."""
        if self.asking is None:
            self.asking = AskState()
        return self.asking

    @property
    def round(self) -> Round | None:
        """The present round of a client's own request that has asked something."""
        return None if self.asking is None else self.asking.round

    @property
    def verdict(self) -> RpcError | None:
        """The error that is its outcome although it was cancelled."""
        return None if self.cancellation is None else self.cancellation.verdict

    @property
    def is_given_up(self) -> bool:
        """Whether its caller, or the caller of a request that made it, waits for an outcome no longer."""
        return self.phase in _GIVEN_UP or (self.parent is not None and self.parent.is_given_up)

    @property
    def is_finished(self) -> bool:
        """Whether its outcome is known."""
        return self.phase in _FINISHED

    @property
    def can_ask(self) -> bool:
        """Whether its client can be asked something: it waits for the outcome, also past the limit of a tool."""
        return self.cancellation is None and self.phase not in _FINISHED

    @property
    def is_done(self) -> bool:
        """Whether nothing more may be sent for it: it has ended, or was given up."""
        return self.phase is not _ACTIVE or (self.parent is not None and self.parent.is_done)

    def notify(self, method: str, params: Message) -> None:
        """Send a notification on this request's own stream (R-266, R-324); dropped once it is finished.

        Callable from the thread of a plain `def` handler as well.
        """
        self.push(encode_notification(method, encode(params, self.peer.revision)))

    def push(self, message: bytes) -> None:
        """Send an encoded notification, as `notify` does."""
        if self.parent is not None or threading.get_ident() != self.channel.thread:
            self.call_in_loop(self._push, message)
        elif self.phase is _ACTIVE:  # enough for a request without a parent
            self.channel.outlet.push(message)

    def _push(self, message: bytes) -> None:
        if not self.is_done:
            self.root.channel.outlet.push(message)

    def call_in_loop(self, call: Callable[..., object], *args: object) -> None:
        """Call something in the event loop: at once in its thread, soon from any other thread."""
        if threading.get_ident() == self.channel.thread:
            call(*args)
            return
        task = self.root.task
        if task is not None and not task.done():
            task.get_loop().call_soon_threadsafe(call, *args)

    def close_connection(self, retry: float | None) -> bool:
        """Close the connection and keep the stream, as `Outlet.close_connection`; callable from any thread."""
        outlet = self.root.channel.outlet
        if threading.get_ident() == self.channel.thread:
            return not self.is_done and outlet.close_connection(retry)
        outcome: Future[bool] = Future()
        self.call_in_loop(lambda: outcome.set_result(not self.is_done and outlet.close_connection(retry)))
        try:
            return outcome.result(1.0)
        except TimeoutError:  # the request has ended, so the event loop did not do it
            return False

    def cancel(self, reason: str | None = None, *, verdict: RpcError | None = None) -> bool:
        """Cancel the request: its handler gets `asyncio.CancelledError` (R-278), and nothing more is sent for it.

        Args:
            reason: for the handler.
            verdict: the error that the caller gets; None for no answer (R-279, R-361, R-406).

        Returns:
            Whether the request was active.
        """
        if self.phase in _FINISHED or self.cancellation is not None or self.task is None:
            return False
        self.phase = RequestState.CANCELLED
        self.cancellation = Cancellation(verdict)
        self.task.cancel(reason)
        self.ensure_outcome(self.given_up_outcome)
        return True

    def ensure_outcome(
        self, outcome: "Callable[[], Outcome]", is_due: "Callable[[], bool] | None" = None
    ) -> None:
        """Give the caller an outcome after `Channel.unwinding`, also if the cancelled handler goes on.

        Args:
            outcome: makes it, if it is needed.
            is_due: whether the handler is still cancelled then; None for in any case.
        """
        if self.channel.on_overdue is not None and self.task is not None:
            self.task.get_loop().call_later(self.channel.unwinding, self._settle, outcome, is_due)

    def _settle(self, outcome: "Callable[[], Outcome]", is_due: "Callable[[], bool] | None") -> None:
        overdue = self.channel.on_overdue
        if overdue is not None and self.phase not in _FINISHED and (is_due is None or is_due()):
            self.channel.is_settled = True
            text = "%s goes on %g s after it was cancelled; its caller is not waiting for it any more"
            log_safely(log, logging.WARNING, text, self.title(), self.channel.unwinding)
            due = outcome()
            self.finish()
            overdue(due)
            if self.record is not None:
                self._close_record(self.record, due)

    def _close_record(self, record: OpenRecord, outcome: "Outcome") -> None:
        """Close its record with an outcome that the handler does not wait for."""
        body, error = outcome
        if body is None or error is not None:
            record.settle(error)
        record.bytes_out += 0 if body is None else len(body)
        record.close()

    def title(self) -> str:
        """Return the method, and the name of the tool or prompt, for the log."""
        name = getattr(self.params, "name", None)
        return f"{self.method} {name!r}" if isinstance(name, str) else self.method

    def given_up_outcome(self) -> "Outcome":
        """Return the outcome of a request that was cancelled."""
        verdict = self.verdict
        return (None, None) if verdict is None else (encode_error(self.id, verdict), verdict)

    def result_outcome(self, result: bytes) -> "Outcome":
        """Return a result as an outcome."""
        return encode_result(self.id, result), None

    def finish(self) -> None:
        """Close the request: nothing more is sent for it, and its id is free again."""
        if self.progress is not None:
            self.progress.settle()
            self.progress = None  # it refers to this request, as do the next two
        channel = self.channel
        channel.outlet = NOWHERE
        channel.on_overdue = None
        if self.phase is _ACTIVE:
            self.phase = _ENDED
        elif self.phase is not _ENDED:  # a transport may finish it once more
            self.phase = RequestState.GIVEN_UP
        if channel.in_flight is not None:
            channel.in_flight.remove(self)

    def is_stopping(self) -> bool:
        """Whether a `CancelledError` in its handler is about this request.

        It is not if the handler waited for work of its own that was cancelled, or cancelled its own task: that is
        a failure like any other.
        """
        root, task = self.root, asyncio.current_task()
        if root.cancellation is not None or (root.round is not None and root.round.has_ended):
            return True
        outside = root.channel.external_cancellations
        if outside is not None and task is root.task:
            return outside > 0
        return task is not None and task.cancelling() > 0

    def adopt_cancellation(self) -> bool:
        """Whether a `CancelledError` in the transport came from `cancel()`; if so, uncancel the task.

        A cancellation from outside (the server stopping, the host giving up) is not ours to swallow.
        """
        if self.cancellation is None or self.task is None:
            return False
        remaining, outside = self.task.uncancel(), self.channel.external_cancellations
        return remaining == 0 if outside is None else outside <= 1


class InFlight:
    """The requests that have no outcome yet, by scope and typed id.

    The scope is a session or a connection: the same id means another request in another scope (R-210, R-716). The
    same id twice within one scope is against the protocol (R-307, R-413), but real clients do it, such as hosts
    that share one session among conversations and number each of these from 1. Each request has an outcome of its
    own, so all are served; a cancellation means the newest.
    """

    def __init__(self) -> None:
        self._requests: dict[tuple[str | None, RequestId | UnsetType | None], Request] = {}
        self._older: list[Request] = []  # all but the newest of those with one id, oldest first

    def __len__(self) -> int:
        return len(self._requests) + len(self._older)

    def __iter__(self) -> Iterator[Request]:
        return iter([*self._requests.values(), *self._older])

    def enter(self, request: Request) -> None:
        """Add a request until it is finished."""
        self.add(request)
        request.channel.in_flight = self

    def add(self, request: Request) -> None:
        """Add a request; idempotent."""
        key = request.peer.session_id, request.id
        present = self._requests.get(key)
        if present is not None and present is not request:
            if request in self._older:
                return
            self._older.append(present)
        self._requests[key] = request

    def remove(self, request: Request) -> None:
        """Remove a finished request."""
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
        """Make the newest of the older requests with an id the one that is found by it."""
        for request in reversed(self._older):
            if (request.peer.session_id, request.id) == key:
                self._older.remove(request)
                self._requests[key] = request
                return

    def cancel(self, scope: str | None, params: CancelledNotificationParams) -> bool:
        """Handle `notifications/cancelled`; return whether the request was here (R-363)."""
        request = self._requests.get((scope, params.request_id))
        if request is not None and request.method != "initialize":  # which is never cancelled
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

    def mark_stopping(self) -> None:
        """Note that the transport is about to cancel the tasks of all requests."""
        for request in self:
            request.channel.external_cancellations = 1 + (request.channel.external_cancellations or 0)
