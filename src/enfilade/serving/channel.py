"""A request's client: who it is, where its messages go, its session, how it is asked, and the errors of asking.

A `Peer` is shared by the requests of a session and never changes. The transport makes a `Channel` for each
request; its members are protocols, because `serving/` knows no transport. Easy to get wrong: a transport that
sets no asker. `NO_ASKER` is the default, and refuses every question.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import Raw

from enfilade.primitives.errors import AnswerError, ToolError
from enfilade.wire.jsonrpc import INVALID_PARAMS, MISSING_CLIENT_CAPABILITY, RpcError
from enfilade.wire.lifecycle import ClientCapabilities, Implementation
from enfilade.wire.message import Message
from enfilade.wire.notifications import LoggingLevel

if TYPE_CHECKING:
    from enfilade.primitives.questions.input_required import InputRequired
    from enfilade.primitives.questions.question import Question
    from enfilade.serving.client_requests.request_state import HandlerMemo
    from enfilade.serving.principal import Principal


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """The client behind a request.

    Attributes:
        revision: protocol revision its messages follow, a date string.
        client_info: what the client says it is; None if it does not say. Never base security on it.
        capabilities: what the client declared it can do.
        principal: the key of who calls (`Principal.key`), to which the session is bound; None if that is unknown.
        session_id: the session's own id (not the token that carries it); None without a session.
    """

    revision: str
    client_info: Implementation | None = None
    capabilities: ClientCapabilities = msgspec.field(default_factory=ClientCapabilities)
    principal: str | None = None
    session_id: str | None = None


class Outlet(Protocol):
    """Where the notifications and questions of one request go."""

    def push(self, message: bytes) -> bool:
        """Send a notification, without waiting; False if it was dropped because the reader is behind."""
        ...

    def send(self, message: bytes) -> bool:
        """Send a question, which is never dropped; False if this outlet can carry none."""
        ...

    async def wait_for_room(self) -> None:
        """Return once the reader has caught up far enough, or counts as gone."""
        ...

    def close_connection(self, retry: float | None) -> bool:
        """Close the connection and keep the stream for a client that resumes it; False if it could not.

        Args:
            retry: seconds after which the client should come back; None for the usual.
        """
        ...

    def note_scopes(self, scopes: Iterable[str]) -> None:
        """Remember that what is sent from now on was made for a caller with these scopes."""
        ...

    @property
    def is_congested(self) -> bool:
        """Whether a sender that can wait should wait."""
        ...


class NullOutlet:
    """An outlet that drops everything: a JSON response has no room for notifications (R-272)."""

    is_congested = False

    def push(self, message: bytes) -> bool:
        return False

    def send(self, message: bytes) -> bool:
        return False

    async def wait_for_room(self) -> None:
        return

    def close_connection(self, retry: float | None) -> bool:
        return False

    def note_scopes(self, scopes: Iterable[str]) -> None:
        return


NOWHERE = NullOutlet()


#: A JSON-RPC response, and its error if it is one; (None, None) if the request gets no response.
Outcome = tuple[bytes | None, RpcError | None]


class SessionSettings(Protocol):
    """The settings that the client of a session makes for later requests."""

    async def set_log_level(self, level: LoggingLevel) -> None:
        """Set the lowest level of log messages that the client gets."""
        ...

    async def watch(self, uri: str) -> None:
        """Notify the client of updates of a resource.

        Raises:
            RpcError: it watches too many already.
        """
        ...

    async def unwatch(self, uri: str) -> None:
        """Stop notifying the client of a resource."""
        ...


# -- questions to the client -----------------------------------------------------------------------------------
#
# The errors are `ToolError`s: a handler may catch them, and the client reads the message of one that it does not.


class MissingCapabilityError(ToolError):
    """The client did not declare a capability that the handler needs, so it is not asked (R-289, R-303).

    Args:
        required: the missing capability, in the shape of client capabilities: `{"elicitation": {"url": {}}}`.
    """

    _kind = "client"

    def __init__(self, required: dict[str, Any]) -> None:
        self.required = required
        super().__init__(f"This needs a client with the capability {', '.join(_flat(required))}")

    def as_rpc(self) -> RpcError:
        """Return the error of the protocol (R-290)."""
        return RpcError(MISSING_CLIENT_CAPABILITY, self.message, {"requiredCapabilities": self.required})


def _flat(required: dict[str, Any]) -> list[str]:
    return [
        f"{name}.{feature}" if feature else name
        for name, features in required.items()
        for feature in (features or [""])
    ]


def protocol_error(error: MissingCapabilityError | AnswerError) -> RpcError:
    """Return the error of a request that itself carries the fault (R-290, R-298)."""
    if isinstance(error, MissingCapabilityError):
        return error.as_rpc()
    return RpcError(INVALID_PARAMS, f"Invalid params: {error.message}", status=400)


class ClientRefusedError(ToolError):
    """The client answered a question with an error, such as a user's refusal to sample (R-553)."""

    _kind = "client"


class AskTimeoutError(ToolError):
    """The client did not answer in time."""

    _kind = "client"


class CannotAskError(ToolError):
    """There is no way to ask this client: no session, plain JSON, or a revision without such questions."""

    _kind = "client"


class InterruptedTaskError(ToolError):
    """A side effect of a durable task was cut off in its middle, and nobody knows how much of it was done."""

    _kind = "interrupted"


class Round(Protocol):
    """One round of a stateless call, which ends in a result or in questions."""

    #: Whether the round has ended, so that its result are the questions, whatever the handler returns.
    has_ended: bool

    #: Names the span of the round before it; empty if there was none, or nobody traced it.
    traceparent: str

    def result(self) -> Message:
        """Return the result that ends the round: the open questions, and the state for the client to carry.

        Raises:
            RpcError: this run of the handler asks other questions than the one before.
            asyncio.CancelledError: the call was given up meanwhile.
        """
        ...

    def close(self) -> None:
        """Cancel whatever still waits for an answer."""
        ...


class Asker(Protocol):
    """Asks the client of a request; chosen by the transport. Its methods take any `Request` of a call."""

    @property
    def task_id(self) -> str | None:
        """The id of the task that asks; None for a call that is none."""
        ...

    @property
    def ends_runs(self) -> bool:
        """Whether a question ends the run of the handler, which begins again from the top with the answer."""
        ...

    def take_answer(self, request: Any, question: "Question[Any]", key: str | None) -> Raw | None:
        """Return the answer of an earlier run, and forget it, so that the question may be asked once more."""
        ...

    def open(self, request: Any) -> None:
        """Read the answers that the client sent for questions of earlier rounds, before the handler runs.

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
        """Put the answers to the questions that a handler returned into its memo.

        Raises:
            CannotAskError, AskTimeoutError, ClientRefusedError, AnswerError: there are no answers.
            asyncio.CancelledError: the round ends here.
        """
        ...

    def memo_of(self, request: Any) -> "HandlerMemo":
        """Return what the handler of a request remembers between its runs."""
        ...

    def side_effect(self, request: Any) -> AbstractContextManager[None]:
        """Keep the round from ending during a side effect that must happen only once."""
        ...

    def is_protocol_error(self, error: BaseException) -> bool:
        """Whether an error about a question is one of the protocol, rather than a failure of the handler."""
        ...

    async def begin_once(self, request: Any, key: str, *, may_repeat: bool) -> None:
        """Note that a side effect begins, before it does.

        Raises:
            InterruptedTaskError: it has begun in an earlier run, which did not come to its end.
        """
        ...

    async def end_once(self, request: Any, key: str) -> None:
        """Note that a side effect has ended, and what it came to; or that it has failed."""
        ...

    async def sleep(self, request: Any, seconds: float) -> None:
        """Return after some seconds, in this run of the handler or in another.

        Raises:
            asyncio.CancelledError: the run ends here.
        """
        ...


class NoAsker:
    """The asker of a client that cannot be asked; the base class of the others.

    Attributes:
        task_id: the task that asks; None for a call that is none.
        ends_runs: whether a question ends the run of the handler.
    """

    task_id: str | None = None
    ends_runs: bool = False

    def take_answer(self, request: Any, question: "Question[Any]", key: str | None) -> Raw | None:
        """Return None: answers are not remembered."""
        return None

    def open(self, request: Any) -> None:
        """Read nothing."""

    async def ask(self, request: Any, question: "Question[Any]", key: str | None, timeout: float | None) -> Raw:
        """Refuse: the client cannot be asked."""
        raise CannotAskError("This client keeps no session, so it cannot be asked anything")

    async def ask_returned(self, request: Any, returned: "InputRequired") -> None:
        """Refuse: the client cannot be asked."""
        raise CannotAskError("This client keeps no session, so it cannot be asked anything")

    def memo_of(self, request: Any) -> "HandlerMemo":
        """Return what the handler remembers for as long as its request is in flight."""
        asking = request.ask_state()
        if asking.memo is None:
            from enfilade.serving.client_requests.request_state import HandlerMemo

            asking.memo = HandlerMemo()
        memo: HandlerMemo = asking.memo
        return memo

    def side_effect(self, request: Any) -> AbstractContextManager[None]:
        """Do nothing: there are no rounds."""
        return nullcontext()

    def is_protocol_error(self, error: BaseException) -> bool:
        """Return False: every error is the handler's."""
        return False

    async def begin_once(self, request: Any, key: str, *, may_repeat: bool) -> None:
        """Note nothing: the call is over if its worker dies."""

    async def end_once(self, request: Any, key: str) -> None:
        """Note nothing."""

    async def sleep(self, request: Any, seconds: float) -> None:
        """Wait in place."""
        await asyncio.sleep(seconds)


NO_ASKER: Final = NoAsker()


class ProgressSink(Protocol):
    """The reports under one progress token."""

    def take(self, progress: float, total: float | None, message: str | None) -> None:
        """Send a report, now or when its turn comes."""
        ...

    def settle(self) -> None:
        """Send the pending report, before the result."""
        ...


class InFlightTable(Protocol):
    """Finds suspended requests by their ids."""

    def add(self, request: Any) -> None:
        """Add a request; idempotent."""
        ...

    def remove(self, request: Any) -> None:
        """Remove a finished request."""
        ...


class HttpHead(Protocol):
    """What a handler can see of the HTTP request that brought a message."""

    @property
    def method(self) -> str:
        """The HTTP method, in upper case."""
        ...

    @property
    def path(self) -> str:
        """The path, decoded."""
        ...

    @property
    def version(self) -> str:
        """The version of HTTP: `1.1`."""
        ...

    @property
    def fields(self) -> Mapping[bytes, bytes] | None:
        """The headers by their names, once they were read; None before."""
        ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers as they came, names in lower case."""
        ...

    @property
    def client(self) -> tuple[str, int | None] | None:
        """Address and port of the client, behind trusted proxies; None if they are not known."""
        ...

    @property
    def scope(self) -> MutableMapping[str, Any]:
        """What the host knows of the request, such as its URL."""
        ...

    @property
    def principal(self) -> "Principal | None":
        """Who sends it; None if that is unknown."""
        ...


class OpenRecord(Protocol):
    """The record of a request in progress; `observation/record.py` has it."""

    questions: int
    bytes_out: int
    tool_failure: str | None

    @property
    def traceparent_of_span(self) -> str:
        """What names the span of the request to others; empty if nobody traces it."""
        ...

    def settle(self, error: RpcError | None) -> None:
        """Note an outcome that is no result: an error, or None for a request that gets no answer."""
        ...

    def close(self) -> None:
        """Give it to its observers, unless that was done."""
        ...


class Channel(msgspec.Struct, eq=False, kw_only=True):
    """The connection of a request with its client; made by the transport.

    Attributes:
        outlet: where its notifications go.
        log_level: lowest level of log messages that the client gets for it; None for none at all.
        session: the settings of its session; None without a session.
        asker: asks its client.
        param_headers: HTTP headers, which must agree with the arguments of some tools; None without HTTP.
        http: the HTTP request that brought it; None over stdio.
        principal: who calls, where no HTTP request says so; None if that is unknown.
        local_scopes: what the client of a pipe may do, who is no principal; None for any other.
        tool_tokens: tokens of other services by provider, in place of those that users consent to, for tests.
        is_local: whether the client is on this machine, where no HTTP request says it.
        local_base: by which URL a local client has reached the server, if its HTTP request is over.
        lists_all: whether lists hide nothing from it, as for an author who checks the whole server.
        in_flight: where it is found by its id once it has suspended; None if it need not be found.
        external_cancellations: how many cancellations of its task came from outside of its handler; None if the
            transport does not know, so that all of them count.
        on_overdue: takes the outcome if the handler goes on after it was cancelled.
        is_settled: whether `on_overdue` was called: the outcome of the handler is not sent any more.
        unwinding: seconds from the cancellation of its handler to `on_overdue`.
        thread: the thread of the event loop.
    """

    outlet: Outlet = NOWHERE
    log_level: LoggingLevel | None = None
    session: SessionSettings | None = None
    asker: Asker = NO_ASKER
    param_headers: Mapping[bytes, bytes] | None = None
    http: HttpHead | None = None
    principal: "Principal | None" = None
    local_scopes: frozenset[str] | None = None
    lists_all: bool = False
    tool_tokens: Mapping[str, str] | None = None
    is_local: bool = False
    local_base: str = ""
    in_flight: InFlightTable | None = None
    external_cancellations: int | None = None
    on_overdue: "Callable[[Outcome], None] | None" = None
    is_settled: bool = False
    unwinding: float = 1.0
    thread: int = msgspec.field(default_factory=threading.get_ident)
