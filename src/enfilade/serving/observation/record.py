"""The record of one request: what an observer can read of it, computed when it is read.

*What is counted.* `bytes_in` is the body of the HTTP request, or the line of a pipe. `bytes_out` is what was
written as the body of the response to it: JSON, or the events of its stream with their framing. Over a pipe it is
the response alone, since notifications share the pipe. A client that lost its stream and resumes it with a GET
reads the rest there; those bytes belong to the GET, not to the request. Within a batch each message has its own
bytes. `questions` are those that were put to the client in this request: in the stateless revision a retry is a
request of its own.

Easy to get wrong: texts of clients. Method, target, client and principal are cleaned of control characters, line
separators and whatever else is not printable, and are cut: no client can forge a line of a log or fill it.
"""

import os
import time
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import UNSET

from enfilade.serving.failures import DeadlineError
from enfilade.serving.observation.trace_context import TraceContext, parse_traceparent
from enfilade.serving.request import Request, RequestState
from enfilade.wire.jsonrpc import INVALID_REQUEST, PARSE_ERROR, RpcError

if TYPE_CHECKING:
    from enfilade.serving.channel import HttpHead, Peer

#: Characters of the texts of clients that are shown.
_LONGEST_METHOD: Final = 64
_LONGEST_TARGET: Final = 200
_LONGEST_CLIENT: Final = 100
_LONGEST_PRINCIPAL: Final = 200
_LONGEST_ID: Final = 128
_LONGEST_REASON: Final = 160

#: HTTP statuses of errors that refuse a request also after it was dispatched.
_REFUSALS: Final = frozenset({401, 403, 429})

_REQUEST_ID: Final = b"x-request-id"

_OVERDUE: Final = frozenset({RequestState.TIMED_OUT, RequestState.GIVEN_UP})

#: Member of a result's `_meta` that says why its handler did not run: `cache` or `idempotency`.
ANSWERED_FROM: Final = "enfilade/answeredFrom"

_numbers = count(1)


def _new_prefix() -> bytes:
    return os.urandom(4).hex().encode()


_prefix = _new_prefix()


def _begin_anew() -> None:
    """Take another prefix, in a forked child."""
    global _prefix  # noqa: PLW0603 - there is one for each process
    _prefix = _new_prefix()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def is_request_id(value: bytes) -> bool:
    """Whether an `X-Request-ID` can be taken over: at most 128 characters, visible ASCII."""
    if not 0 < len(value) <= _LONGEST_ID or not value.isascii():
        return False
    text = value.decode("ascii")
    return text.isprintable() and " " not in text


def clean(text: str, longest: int = 400) -> str:
    """Return a text of a client as one line without control characters, cut at `longest` characters."""
    if len(text) <= longest and text.isprintable():
        return text
    excerpt = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(c if c.isprintable() else " " if c in "\n\r\t" else "�" for c in excerpt)


@lru_cache(maxsize=1024)
def session_digest(session_id: str) -> str:
    """Return a short digest that stands for a session: the id itself lets whoever has it use the session."""
    return blake2b(session_id.encode("utf-8", "replace"), digest_size=6).hexdigest()


@lru_cache(maxsize=256)
def _client_of(name: str, version: str) -> str:
    return clean(f"{name}/{version}", _LONGEST_CLIENT)


#: Headers of a response.
Headers = list[tuple[bytes, bytes]]


class RecordedSpan(Protocol):
    """The span of a request, in a trace of this server."""

    @property
    def trace_id(self) -> str:
        """The id of its trace, 32 hexadecimal digits."""
        ...

    @property
    def traceparent(self) -> str:
        """What names it to others."""
        ...


class RequestRecord(msgspec.Struct, eq=False):
    """What is known of one request.

    Attributes:
        transport: `http`, `stdio` or `in_process`.
        started: when it arrived, as `time.perf_counter`.
        on_close: gives it to the observers.
        http: the HTTP request that brought it; None without HTTP, and once the record is closed.
        request: what was dispatched; None if it was refused before, and once the record is closed.
        is_dispatched: whether a handler was, or was about to be, called for it.
        parent: the record of the request whose handler made this one; None for a client's own request.
        path: the path of its HTTP request, if it was refused before it was read.
        params: what was read of its parameters before it was refused.
        peer: its client, if it was refused after that was known.
        result: what its handler came to; None for an error, and for a list that was ready.
        error: its outcome, if that is an error.
        is_cancelled: whether it ended without an outcome.
        status: the HTTP status of its response; 0 without one.
        ended: when its outcome was sent, as `started`; 0.0 before.
        tool_failure: why its tool failed: the word of its `EnfiladeError`, or `exception`; None if it did not.
        failure: the class of the exception that a handler, or the server, did not expect; None without one.
        span: of this request; None if nobody traces it.
        resumed: the `traceparent` of the request whose stream this GET has resumed, empty if that was not traced;
            None if it has resumed none.
        id: that of the client's `X-Request-ID`, or made here; None until somebody needs it (`find_id`).
    """

    transport: str
    started: float
    on_close: "Callable[[RequestRecord], None] | None" = None
    http: "HttpHead | None" = None
    request: Request | None = None
    is_dispatched: bool = False
    parent: "RequestRecord | None" = None
    path: str = ""
    params: Any = None
    peer: "Peer | None" = None
    result: Any = None
    error: RpcError | None = None
    is_cancelled: bool = False
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    questions: int = 0
    ended: float = 0.0
    tool_failure: str | None = None
    failure: str | None = None
    span: RecordedSpan | None = None
    resumed: str | None = None
    id: bytes | None = None
    _method: str | None = None
    _trace: TraceContext | msgspec.UnsetType | None = UNSET

    # -- what a transport says ---------------------------------------------------------------------------------

    def settle(self, error: RpcError | None) -> None:
        """Note an outcome that is no result: an error, or None for a request that gets no answer."""
        self.error = error
        self.is_cancelled = error is None

    def refuse(
        self, error: RpcError, method: str | None = None, params: Any = None, peer: "Peer | None" = None
    ) -> None:
        """Note that it is refused, and what was read of it."""
        if self.error is None:
            self.error = error
        if method:
            self._method, self.params, self.peer = method, params, peer

    def close(self) -> None:
        """Give it to the observers, unless that was done."""
        if self.on_close is not None:
            self.on_close(self)

    def share(self, other: "RequestRecord") -> None:
        """Take over what comes from the HTTP request that brought another one as well, and its id."""
        self.http, self.id = other.http, other.id or other.find_id()

    def note_response(self, status: int, size: int, headers: Headers) -> Headers:
        """Note a response, or its head; return its headers with the one that tells the client the id.

        Args:
            status: the HTTP status.
            size: bytes of the body, as far as it is there.
        """
        self.status = status
        self.bytes_out += size
        return [*headers, (_REQUEST_ID, self.id or self.find_id())]

    def find_id(self) -> bytes:
        """Return the id of its client's `X-Request-ID`, or one that is made here, and keep it."""
        http = self.http
        if http is not None and (http.fields is None or _REQUEST_ID in http.fields):
            given = self._field(_REQUEST_ID)
            if given is not None and is_request_id(given):
                self.id = given
                return given
        self.id = id = b"%b%08x" % (_prefix, next(_numbers))
        return id

    def _field(self, name: bytes) -> bytes | None:
        """Return a header of its HTTP request."""
        http = self.http
        if http is None:
            return None
        fields = http.fields
        return (dict(http.headers) if fields is None else fields).get(name)

    # -- what an observer reads --------------------------------------------------------------------------------

    @property
    def request_id(self) -> str:
        """Its id: that of the client's `X-Request-ID`, or one made here."""
        return (self.id or self.find_id()).decode()

    @property
    def http_method(self) -> str:
        """The method of its HTTP request; empty without HTTP."""
        return "" if self.http is None else self.http.method

    @property
    def method(self) -> str | None:
        """The method of the protocol; None if the request was refused before it was read."""
        if self.request is not None and self.is_dispatched:
            return self.request.method  # one that is served, so it is a method of the protocol
        method = self._method if self.request is None else self.request.method
        return None if method is None else clean(method, _LONGEST_METHOD)

    @property
    def target(self) -> str | None:
        """The name of the tool or prompt, or the URI of the resource, that it is about."""
        params = self.params if self.request is None else self.request.params
        target = getattr(params, "name", None)
        if not isinstance(target, str):
            target = getattr(params, "uri", None)
        return clean(target, _LONGEST_TARGET) if isinstance(target, str) else None

    @property
    def milliseconds(self) -> float:
        """Its duration, from its arrival until its outcome was sent."""
        return ((self.ended or time.perf_counter()) - self.started) * 1000

    @property
    def outcome(self) -> str:
        """How it ended: `ok`, `tool_error`, the code of an error, `refused`, `cancelled` or `deadline`."""
        if self.error is not None:
            return self._outcome_of(self.error)
        if self.is_cancelled:
            return "cancelled"
        request = self.request
        if request is not None and request.phase in _OVERDUE and request.cancellation is None:
            return "deadline"
        return "tool_error" if getattr(self.result, "is_error", False) is True else "ok"

    @property
    def reason(self) -> str | None:
        """Why it did not end well: the text of its error, or a word about its tool; None if it did."""
        if self.error is not None:
            return clean(self.error.message, _LONGEST_REASON)
        return self.tool_failure

    @property
    def answered_from(self) -> str | None:
        """Why its tool did not run: `cache` or `idempotency`; None if it did."""
        meta = getattr(self.result, "meta", None)
        return meta.get(ANSWERED_FROM) if isinstance(meta, dict) else None

    def _outcome_of(self, error: RpcError) -> str:
        if isinstance(error, DeadlineError):
            return "deadline"
        if self.is_refused:
            return "refused"
        is_cancelled = self.request is not None and self.request.cancellation is not None
        return "cancelled" if is_cancelled else str(error.code)

    @property
    def is_refused(self) -> bool:
        """Whether it was refused rather than served."""
        error = self.error
        if error is None:
            return False
        if error.is_refusal or error.status in _REFUSALS:
            return True
        if self.is_dispatched:
            return False
        return error.code in (PARSE_ERROR, INVALID_REQUEST) or 400 <= (error.status or 0) < 500

    @property
    def asks(self) -> bool:
        """Whether its result are questions to the client, which the client answers with a further request."""
        request = self.request
        return request is not None and request.round is not None and request.round.has_ended

    @property
    def revision(self) -> str | None:
        """The protocol revision of the client."""
        peer = self.peer if self.request is None else self.request.peer
        return None if peer is None else peer.revision

    @property
    def client(self) -> str | None:
        """The name and version of the client, as it says."""
        peer = self.peer if self.request is None else self.request.peer
        info = None if peer is None else peer.client_info
        return None if info is None else _client_of(info.name, info.version)

    @property
    def principal(self) -> str | None:
        """The key of who calls."""
        peer = self.peer if self.request is None else self.request.peer
        key = None if peer is None else peer.principal
        if key is None and self.http is not None and self.http.principal is not None:
            key = self.http.principal.key
        return None if key is None else clean(key, _LONGEST_PRINCIPAL)

    @property
    def subject(self) -> str | None:
        """The name of who calls, for people: without an issuer it may be that of several."""
        principal = self.request.principal if self.request is not None else None
        if principal is None and self.http is not None:
            principal = self.http.principal
        return self.principal if principal is None else clean(principal.subject, 40)

    @property
    def session(self) -> str | None:
        """A digest that stands for the session."""
        peer = self.peer if self.request is None else self.request.peer
        session_id = None if peer is None else peer.session_id
        return None if session_id is None else session_digest(session_id)

    @property
    def started_at(self) -> int:
        """When it arrived, in nanoseconds since the epoch."""
        return time.time_ns() - int((time.perf_counter() - self.started) * 1e9)

    @property
    def has_trace_headers(self) -> bool:
        """Whether its HTTP request says what trace it belongs to, or sends baggage."""
        http = self.http
        if http is None:
            return False
        fields = http.fields
        if fields is None:
            fields = dict(http.headers)
        return b"traceparent" in fields or b"baggage" in fields

    @property
    def baggage(self) -> str | None:
        """What its client sends along a trace in the header of HTTP; None without it."""
        baggage = self._field(b"baggage")
        return None if baggage is None else baggage.decode("latin-1")

    @property
    def trace(self) -> TraceContext | None:
        """The trace that it belongs to: as its `_meta` says, or else its headers (R-2B7)."""
        if self._trace is UNSET:
            self._trace = self._find_trace()
        return self._trace

    @property
    def _has_no_trace(self) -> bool:
        """Whether a plain look tells that its client says nothing of a trace."""
        request, http = self.request, self.http
        if request is None or http is None or http.fields is None or self.parent is not None:
            return False
        meta = request.parsed_meta
        return meta is not None and meta.traceparent is UNSET and b"traceparent" not in http.fields

    @property
    def trace_id(self) -> str | None:
        """The id of the trace that it belongs to: that of its own span, or the one that its client says."""
        if self.span is not None:
            return self.span.trace_id
        if self._trace is UNSET:
            self._trace = None if self._has_no_trace else self._find_trace()
        return None if self._trace is None else self._trace.trace_id

    @property
    def traceparent_of_span(self) -> str:
        """What names its own span to others; empty if nobody traces it."""
        return "" if self.span is None else self.span.traceparent

    def _find_trace(self) -> TraceContext | None:
        if self.parent is not None:
            return self.parent.trace
        if self.request is not None:
            meta = self.request.parsed_meta or self.request.meta
            if meta.traceparent is not UNSET:
                trace = parse_traceparent(meta.traceparent, meta.tracestate)
                if trace is not None:
                    return trace
        if (traceparent := self._field(b"traceparent")) is None:
            return None
        state = self._field(b"tracestate") or b""
        return parse_traceparent(traceparent.decode("latin-1"), state.decode("latin-1"))
