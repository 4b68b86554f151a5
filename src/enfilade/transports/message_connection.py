"""A conversation over one pair of pipes: the messages of stdio, in-process streams and their like.

Without HTTP there are no headers, so the body alone decides the era, and the connection itself is
the session: what `initialize` negotiated holds until it closes. Every request runs in a task of its own, because
a slow one must not delay a ping or a cancellation (R-415). Stateless requests may interleave with a session on
the same pipe; they do not affect each other (R-408).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw

from enfilade import counters
from enfilade.serving.callers.access import Caller
from enfilade.serving.channel import Channel, Outcome, Outlet, Peer
from enfilade.serving.client_requests.session import SessionAsker
from enfilade.serving.dispatcher import Dispatcher, method_not_found
from enfilade.serving.execution import expire
from enfilade.serving.failures import cut_off, ends_more, masked
from enfilade.serving.request import InFlight, Request
from enfilade.serving.subscriptions import Change, Listener, Watched, hears, notification_of, unwatch, watch
from enfilade.timings import Timings
from enfilade.transports.http.limits import too_many_requests
from enfilade.transports.refusal_log import refusals
from enfilade.transports.request_parsing import (
    LARGE_MESSAGE,
    ParsedMessage,
    check_values,
    parse_message,
    unsupported,
)
from enfilade.wire.jsonrpc import (
    INVALID_PARAMS,
    Envelope,
    RequestId,
    RpcError,
    decode,
    encode_error,
    invalid_request,
)
from enfilade.wire.notifications import DEFAULT_LOG_LEVEL, LoggingLevel
from enfilade.wire.revisions import BATCHING, HANDSHAKE, LONGEST_BATCH, negotiate

if TYPE_CHECKING:
    from enfilade.serving.observation.record import RequestRecord
    from enfilade.serving.principal import Principal

log = logging.getLogger("enfilade.transports")

#: Seconds that handlers get to end once they are cancelled.
CANCELLED_LIMIT: Final = 1.0
#: The outcome of a request that is cut off because the server stops.
STOPPING: Final = cut_off()

#: Methods that a client may call before the handshake and still initialize.
_PROBES: Final = frozenset({"server/discover"})


class OutputState(Enum):
    """What becomes of the outcomes of requests.

    In OPEN each is written. In REFUSING, after `close(refuse=True)`, requests that are cut off get an error. In
    CLOSED, after `close` has waited long enough, nothing more is written: each request has its outcome.
    """

    OPEN = "open"
    REFUSING = "refusing"
    CLOSED = "closed"


class _SessionState(msgspec.Struct, eq=False):
    """What `initialize` and later requests of a session-era client have set.

    Attributes:
        peer: the client; None before `initialize`.
        log_level: lowest level of log messages that it gets.
        opened: when it came, as `time.monotonic`; 0.0 before.
    """

    peer: Peer | None = None
    log_level: LoggingLevel = DEFAULT_LOG_LEVEL
    watched: Watched = {}
    opened: float = 0.0


class Connection:
    """Serves one client over a channel that carries whole messages both ways.

    Args:
        outlet: takes notifications, which may be dropped when the reader is behind.
        write: sends a response, which may not be dropped.
        request_timeout: seconds that a request may take; 0 for no limit.
        max_requests: requests in flight at once.
        principal: who is at the other end; None if that is unknown.
        local_scopes: what a client over stdio may do, who is no principal; None for any other.
        lists_all: let lists hide nothing from this client, which the author of the server runs.
        transport: its name in records of requests.
        tool_tokens: tokens of other services by provider, in place of those that users consent to, for tests.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        outlet: Outlet,
        write: Callable[[bytes], Coroutine[Any, Any, None]],
        *,
        request_timeout: float = 0.0,
        max_requests: int = 1000,
        principal: "Principal | None" = None,
        local_scopes: frozenset[str] | None = None,
        lists_all: bool = False,
        transport: str = "stdio",
        tool_tokens: Mapping[str, str] | None = None,
        timings: Timings = Timings(),
    ) -> None:
        self._observation = dispatcher.observation
        self._transport = transport
        self._timings = timings
        self._principal = principal
        self._local_scopes = local_scopes
        self._lists_all = lists_all
        self._tool_tokens = tool_tokens
        self._owner = None if principal is None else principal.key
        self._dispatcher = dispatcher
        self._outlet = outlet
        self._write = write
        self._request_timeout = request_timeout
        self._max_requests = max_requests
        self._in_flight = InFlight()
        counters.watch("requests_in_flight", self._in_flight.__len__)
        self._listener: Listener | None = None
        self._asker = SessionAsker()
        self._tasks: set[asyncio.Task[None]] = set()
        self._session = _SessionState()
        self._served_stateless = False
        self._state = OutputState.OPEN

    async def set_log_level(self, level: LoggingLevel) -> None:
        """Remember the level for the rest of the connection (R-409)."""
        self._session.log_level = level

    async def watch(self, uri: str) -> None:
        """Tell the client when a resource is updated (R-368, R-409)."""
        watch(self._session.watched, uri)

    async def unwatch(self, uri: str) -> None:
        """Stop telling the client when a resource is updated."""
        unwatch(self._session.watched, uri)

    def _listen(self, peer: Peer) -> None:
        """Notify a session-era client of changes, once it is initialized (R-304, R-369).

        A stateless client is told on its subscriptions only (R-411).
        """

        def send_change(change: Change) -> bool:
            message = notification_of(change, peer.revision, self._session.watched)
            return not self._outlet.is_congested and self._outlet.push(message)

        caller = self._caller(peer)
        self._listener = Listener(
            lambda change: change.uri is None or change.uri in self._session.watched,
            send_change,
            may_see=partial(hears, self._dispatcher.access, caller),
            owner=self._outlet,
            timings=self._timings,
        )
        self._dispatcher.changes.attach(self._listener)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._dispatcher.changes.detach(self._listener)
            self._listener = None

    def feed(self, message: bytes) -> None:
        """Take one message; its response, if it gets one, is written later. Never raises, never waits (E-57)."""
        try:
            if len(message) > LARGE_MESSAGE:
                check_values(message)
            decoded = decode(message)
        except RpcError as error:
            self._refuse(None, error, self._open_record(len(message)))
            return
        if isinstance(decoded, list):
            self._feed_batch(decoded)
        else:
            self._feed_one(decoded, len(message))

    def refuse_long(self, limit: int) -> None:
        """Answer a message that was too long to be read."""
        error = invalid_request(f"a message has at most {limit} bytes")
        self._refuse(None, error, self._open_record(limit))

    async def quiet(self) -> None:
        """Return once all requests have ended, since the client sends nothing more."""
        self._stop_listening()
        self._dispatcher.changes.end(self._outlet)  # a listen would run for ever (R-2C7)
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self, *, refuse: bool = False) -> None:
        """Cancel all requests, and wait until they have ended, for at most `CANCELLED_LIMIT` seconds.

        Args:
            refuse: answer the requests that are cut off with an error.
        """
        self._stop_listening()
        self._count_end()
        if self._state is not OutputState.CLOSED:
            self._state = OutputState.REFUSING if refuse else OutputState.OPEN
        self._in_flight.mark_stopping()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CANCELLED_LIMIT)
        if not self._tasks:
            return
        log.warning("requests given up, since their handlers ignore their cancellation: %d", len(self._tasks))
        self._state = OutputState.CLOSED
        for request in self._in_flight:
            if refuse and (request.verdict is not None or request.cancellation is None):
                await self._write(encode_error(request.id, request.verdict or STOPPING))

    def _count_end(self) -> None:
        """Count the end of the session, once."""
        opened, self._session.opened = self._session.opened, 0.0
        if opened:
            counters.count("sessions_ended", self._transport)
            counters.time_of("session_duration", self._transport, time.monotonic() - opened)

    # -- messages ----------------------------------------------------------------------------------------------

    def _feed_batch(self, elements: list[Raw]) -> None:
        """Serve an array line: 2025-03-26 only, each response on a line of its own (E-58, R-412)."""
        if not elements or self._session.peer is None or self._session.peer.revision != BATCHING:
            self._refuse(None, invalid_request("a line is exactly one message"))
            return
        if len(elements) > LONGEST_BATCH:
            self._refuse(None, invalid_request(f"a batch has at most {LONGEST_BATCH} messages"))
            return
        for raw in elements:
            try:
                envelope = decode(raw)
                if isinstance(envelope, list):
                    raise invalid_request("a batch holds no batches")
                if envelope.method == "initialize":
                    raise invalid_request("initialize is never part of a batch", envelope.id)
            except RpcError as error:
                self._refuse(None, error, self._open_record(memoryview(raw).nbytes))
            else:
                self._feed_one(envelope, memoryview(raw).nbytes)

    def _open_record(self, size: int) -> "RequestRecord | None":
        return None if self._observation is None else self._observation.open(self._transport, size)

    def _feed_one(self, envelope: Envelope, size: int) -> None:
        if envelope.method is UNSET:  # the response to a question, as both sides may ask
            self._asker.answer(None, envelope)
            return
        message = parse_message(envelope)
        if envelope.id is UNSET:
            params: Any = message.params
            if envelope.method == "notifications/cancelled" and params is not None:
                self._in_flight.cancel(None, params)
            elif envelope.method == "notifications/initialized" and self._session.peer and self._listener is None:
                self._listen(self._session.peer)
            elif envelope.method in self._dispatcher.notifications:
                self._take_notification(message)
            return
        record = self._open_record(size)
        try:
            if len(self._in_flight) >= self._max_requests and envelope.method != "ping":
                error = too_many_requests(self._max_requests)
                refusals.warn(None, None, error.message, error.setting)
                raise error
            request = self._request(message)
            self._in_flight.enter(request)
        except RpcError as error:
            self._refuse(envelope.id, error, record, message)
            return
        request.record = record
        request.task = task = self._start(self._serve(request))
        task.add_done_callback(partial(self._ended, request))

    def _take_notification(self, message: ParsedMessage) -> None:
        """Hand a notification to the extension that takes it, unless nobody knows who sent it."""
        peer = self._session.peer
        if message.claim:
            try:
                message.check_metadata()
                message.check_version()
            except RpcError:
                return
            peer = message.stateless_peer(self._owner)
        if peer is not None:
            self._dispatcher.take_notification(message.method, message.raw_params, peer)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _refuse(
        self,
        id: RequestId | None,
        error: RpcError,
        record: "RequestRecord | None" = None,
        message: ParsedMessage | None = None,
    ) -> None:
        """Write an error without a task: there may be as many refusals as there are lines."""
        body = encode_error(id if error.id is UNSET else error.id, error)
        self._outlet.send(body)
        if record is not None:
            record.bytes_out = len(body)
            record.refuse(error, *(() if message is None else (message.method, message.params)))
            record.close()

    async def _serve(self, request: Request) -> None:
        timer = None
        if self._observation is not None:
            self._observation.enter(request)
        if self._request_timeout and request.method != "subscriptions/listen":
            later = asyncio.get_running_loop().call_later
            timer = later(self._request_timeout, expire, request, self._request_timeout)
        request.channel.external_cancellations = 0  # until `close` says otherwise
        request.channel.on_overdue = self._settle
        request.channel.unwinding = self._timings.unwinding
        try:
            body, error = await self._dispatcher.respond(request)
        except asyncio.CancelledError:
            if self._state is OutputState.REFUSING:
                await self._write(encode_error(request.id, STOPPING))
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if request.channel.is_settled:
            return
        if error is not None and request.method == "initialize":
            self._session.peer = None
            self._stop_listening()
        if body is not None and self._state is not OutputState.CLOSED:
            if request.record is not None:
                request.record.bytes_out = len(body)
            await self._write(body)

    def _ended(self, request: Request, task: "asyncio.Task[None]") -> None:
        """Send an outcome for a request whose task ended in a way that no `except` in it has seen.

        That happens if its handler waits for a task that raises `GeneratorExit`: asyncio throws it into the
        outermost coroutine, which closes all others.
        """
        request.finish()
        error = None if task.cancelled() else task.exception()
        if error is not None and not ends_more(error) and self._state is not OutputState.CLOSED:
            failure = masked(error, f"{request.method} failed", request.failure_redaction)
            self._refuse(request.id, failure)
            if request.record is not None:
                request.record.settle(failure)
        if request.record is not None:
            if task.cancelled():
                request.record.settle(None)
            request.record.close()

    def _settle(self, outcome: Outcome) -> None:
        """Send an outcome while the handler goes on."""
        if outcome[0] is not None and self._state is not OutputState.CLOSED:
            self._start(self._write(outcome[0]))

    # -- the two eras ------------------------------------------------------------------------------------------

    def _request(self, message: ParsedMessage) -> Request:
        """Return the request, in the era that its body claims, whatever came before (R-102, E-10, E-50, E-55).

        Raises:
            RpcError: it is not served, such as one before the handshake (E-56), or discovery without the metadata
                by which a client knows that it may go on statelessly (E-53).
        """
        method = message.method
        if message.claim or (self._session.peer is None and method == "server/discover"):
            return self._stateless(message, method)
        if method == "initialize":
            return self._initialize(message)
        if self._session.peer is None:
            if method != "ping":
                raise RpcError(
                    INVALID_PARAMS,
                    f"{method} came before initialize and without params._meta naming a protocol version",
                )
            return self._make(message, method, Peer(revision=HANDSHAKE[-1], principal=self._owner))
        return self._make(message, method, self._session.peer)

    def _stateless(self, message: ParsedMessage, method: str) -> Request:
        message.check_metadata()
        message.check_version()  # what is refused leaves the connection as it was (E-52)
        level = message.meta.log_level
        peer = message.stateless_peer(self._owner)
        request = self._make(message, method, peer, None if level is UNSET else level, stateless=True)
        self._served_stateless = self._served_stateless or method not in _PROBES  # a refusal serves nothing
        return request

    def _initialize(self, message: ParsedMessage) -> Request:
        """Open the session of this connection, once (E-14, E-51, E-54, E-59, R-306)."""
        if self._served_stateless:
            raise unsupported(_requested(message))
        if self._session.peer is not None:
            raise invalid_request("initialize was sent already")
        params: Any = message.checked_params()
        revision = negotiate(params.protocol_version)
        self._session.peer = Peer(
            revision=revision,
            client_info=params.client_info,
            capabilities=params.capabilities,
            principal=self._owner,
        )
        request = self._make(message, "initialize", self._session.peer)
        self._session.opened = time.monotonic()
        counters.count("sessions_opened", self._transport)
        return request

    def _caller(self, peer: Peer) -> Caller:
        return Caller(self._principal, peer, self._local_scopes, self._lists_all)

    def _make(
        self,
        message: ParsedMessage,
        method: str,
        peer: Peer,
        log_level: LoggingLevel | None = None,
        *,
        stateless: bool = False,
    ) -> Request:
        dispatcher = self._dispatcher
        if not dispatcher.serves(method, peer.revision):
            raise method_not_found(method)
        if method in dispatcher.audiences and dispatcher.hides(method, self._caller(peer)):
            raise method_not_found(method)
        if (extension := dispatcher.extension_methods[peer.revision].get(method)) is not None:
            message.read_params(extension.decode)
            extension.check_declared(peer)
        return Request(
            message.id,
            method,
            message.checked_params(),
            peer,
            Channel(
                outlet=self._outlet,
                log_level=log_level if stateless else self._session.log_level,
                session=None if stateless else self,
                asker=self._dispatcher.stateless_asker if stateless else self._asker,
                principal=self._principal,
                local_scopes=self._local_scopes,
                lists_all=self._lists_all,
                tool_tokens=self._tool_tokens,
                is_local=True,
            ),
            message.meta,
        )


def _requested(message: ParsedMessage) -> str:
    version = getattr(message.params, "protocol_version", "")
    return str(version)
