"""A request's client: who it is, where its messages go, its session, and how it is asked.

A `Peer` is shared by the requests of a session and never changes. The transport makes a `Channel` for each
request; its members are protocols, because `serving/` knows no transport. Easy to get wrong: a transport that
sets no asker. `NO_ASKER` is the default, and refuses every question.
"""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import Raw

from enfilade.serving.client_requests.errors import CannotAskError
from enfilade.wire.jsonrpc import RpcError
from enfilade.wire.lifecycle import ClientCapabilities, Implementation
from enfilade.wire.message import Message
from enfilade.wire.notifications import LoggingLevel

if TYPE_CHECKING:
    from enfilade.primitives.questions.input_required import InputRequired
    from enfilade.primitives.questions.question import Question
    from enfilade.serving.client_requests.request_state import HandlerMemo


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """The client behind a request.

    Attributes:
        revision: protocol revision its messages follow, a date string.
        client_info: what the client says it is; None if it does not say. Never base security on it.
        capabilities: what the client declared it can do.
        principal: who the host authenticated, or None.
        session_id: the session's own id (not the token that carries it); None without a session.
    """

    revision: str
    client_info: Implementation | None = None
    capabilities: ClientCapabilities = msgspec.field(default_factory=ClientCapabilities)
    principal: str | None = None
    session_id: str | None = None


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

    def close_connection(self, retry: float | None) -> bool:
        """Let the client go and come back for the rest after `retry` seconds; False if it could not come back."""
        ...

    @property
    def crowded(self) -> bool:
        """Whether a sender that can wait should wait."""
        ...


class NullOutlet:
    """An outlet that leads nowhere: a JSON answer has no room for notifications (R-272)."""

    crowded = False

    def push(self, message: bytes) -> bool:
        return False

    def send(self, message: bytes) -> bool:
        return False

    async def drained(self) -> None:
        return

    def close_connection(self, retry: float | None) -> bool:
        return False


NOWHERE = NullOutlet()


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
    """How the client of a request is asked, chosen by the doorway. Its methods take any `Request` of a call."""

    def open(self, request: Any) -> None:
        """Read what the client brought for questions of earlier rounds, before the handler runs.

        Raises:
            RpcError: INVALID_PARAMS for a state or an answer that cannot be accepted.
        """
        ...

    async def ask(self, request: Any, question: "Question[Any]", key: str | None, timeout: float | None) -> Raw:
        """Return the answer to a question as JSON.

        Raises:
            CannotAskError, AskTimeoutError, ClientRefusedError: there is none.
            asyncio.CancelledError: the round ends here.
        """
        ...

    async def ask_returned(self, request: Any, returned: "InputRequired") -> None:
        """Have the questions that a handler returned answered in its memo.

        Raises:
            CannotAskError, AskTimeoutError, ClientRefusedError, AnswerError: there are no answers.
            asyncio.CancelledError: the round ends here.
        """
        ...

    def memo_of(self, request: Any) -> "HandlerMemo":
        """Return what the handler of a request remembers from run to run."""
        ...

    def begin_side_effect(self, request: Any) -> None:
        """Keep the round from ending until `end_side_effect`."""
        ...

    def end_side_effect(self, request: Any) -> None:
        """Let the round end again."""
        ...

    def is_protocol_error(self, error: BaseException) -> bool:
        """Whether an error about a question is one of the protocol, rather than a failure of the handler."""
        ...


class NoAsker:
    """The asker of a client that cannot be asked; what the others have in common."""

    def open(self, request: Any) -> None:
        """Read nothing."""

    async def ask(self, request: Any, question: "Question[Any]", key: str | None, timeout: float | None) -> Raw:
        """Refuse: there is no way to the client."""
        raise CannotAskError("This client keeps no session, so it cannot be asked anything")

    async def ask_returned(self, request: Any, returned: "InputRequired") -> None:
        """Refuse: there is no way to the client."""
        raise CannotAskError("This client keeps no session, so it cannot be asked anything")

    def memo_of(self, request: Any) -> "HandlerMemo":
        """Return what the handler remembers for as long as its request is in flight."""
        asking = request.ask_state()
        if asking.memo is None:
            from enfilade.serving.client_requests.request_state import HandlerMemo

            asking.memo = HandlerMemo()
        memo: HandlerMemo = asking.memo
        return memo

    def begin_side_effect(self, request: Any) -> None:
        """Do nothing: there are no rounds."""

    def end_side_effect(self, request: Any) -> None:
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


class InFlightTable(Protocol):
    """Where requests are found by their ids while they wait for anything."""

    def add(self, request: Any) -> None:
        """Add a request; idempotent."""
        ...

    def remove(self, request: Any) -> None:
        """Remove a finished request."""
        ...


class Channel(msgspec.Struct, eq=False, kw_only=True):
    """What connects a request with its client; made by the doorway.

    Attributes:
        outlet: where its notifications go. log_level: lowest level of log messages the client wants for it; None
        for none at all. session: the session's own settings, or None where there is no session. asker: asks its
        client. param_headers: HTTP headers, where the doorway has headers that must agree with tool arguments.
        in_flight: where it can be found by its id while it waits for anything; None if nobody will look.
        external_cancellations: how many cancellations of its task came from outside of its handler, as far as the
        doorway knows;
            None if it does not know, so that all of them count.
        on_overdue: takes the outcome if the handler goes on after it was cancelled.
        is_settled: set once `on_overdue` had it: what the handler comes to in the end is not sent.
        unwinding: seconds from the cancellation of its handler to `on_overdue`.
        thread: the thread of the event loop.
    """

    outlet: Outlet = NOWHERE
    log_level: LoggingLevel | None = None
    session: Session | None = None
    asker: Asker = NO_ASKER
    param_headers: Mapping[bytes, bytes] | None = None
    in_flight: InFlightTable | None = None
    external_cancellations: int | None = None
    on_overdue: "Callable[[Outcome], None] | None" = None
    is_settled: bool = False
    unwinding: float = 1.0
    thread: int = msgspec.field(default_factory=threading.get_ident)
