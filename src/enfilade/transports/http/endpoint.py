"""The Streamable HTTP transport: one endpoint for both eras, behind any implementation of `HttpExchange`.

    POST ─▶ Endpoint ─▶ Post ─▶ Request (with its Peer) ─▶ Dispatcher ─▶ PostResponse (JSON, until it must stream)
    GET  ─▶ Endpoint ─▶ GetEndpoint (`resumption.py`: `Last-Event-ID`) ─▶ StandaloneStreams

A request is checked in a fixed order, because the protocol's statuses depend on it: Host and Origin, who is
asking, the HTTP method, size and media types, JSON, JSON-RPC, and only then the era. Everything that has a status
of its own (400, 403, 404) is decided before the first byte of a stream.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import UNSET

from enfilade import counters
from enfilade.serving.callers.access import Caller, ReaderScopes
from enfilade.serving.client_requests.session import SessionAsker
from enfilade.serving.cluster import Reconciler, WorkerChannel
from enfilade.serving.dispatcher import Dispatcher
from enfilade.serving.failures import LimitedLog, is_shutdown, masked, stopping, stops
from enfilade.serving.request import InFlight
from enfilade.state.store import EventLog, StoreError
from enfilade.state.tokens import Seal
from enfilade.transports.exchange import Headers, HttpExchange, HttpResponse
from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.limits import HttpOptions, RequestLimit, StreamQuota, address_of
from enfilade.transports.http.origin_checks import HostOriginPolicy, preflight
from enfilade.transports.http.post import Post, Services, note_refusal
from enfilade.transports.http.request_checks import (
    BodyMemory,
    BodyReader,
    HeaderVerdict,
    check_version,
    header_check_for,
)
from enfilade.transports.http.response import send_empty, send_json, with_retry_after
from enfilade.transports.http.resumption import GetEndpoint
from enfilade.transports.http.sessions import Session, Sessions, session_not_found
from enfilade.transports.http.standalone_stream import MOST_RETAINED, StandaloneStreams
from enfilade.transports.refusal_log import log_refusal
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RequestId, RpcError, encode_error
from enfilade.wire.notifications import CancelledNotificationParams
from enfilade.wire.revisions import POLLING, STATELESS

if TYPE_CHECKING:
    from enfilade.serving.principal import Principal
    from enfilade.transports.http.authentication import Authenticator

T = TypeVar("T")

log = logging.getLogger("enfilade.transports")
_not_ready_log: Final = LimitedLog(log)

#: Who holds a stream: the arguments of `StreamQuota.take`.
Holder = tuple[str | None, str | None, str | None]

#: By HTTP method, what serves it.
MethodTable = Mapping[str, Callable[[], Awaitable[T]]]

_ALLOW: Final = b"GET, POST, DELETE, OPTIONS"
_POST_ONLY: Final = b"POST"

#: Looks within the idle time of a session, and the most seconds between two of them.
_LOOKS: Final = 16
_LONGEST_PAUSE: Final = 60.0


class Endpoint:
    """Serves one MCP endpoint.

    Args:
        seal: makes session ids and event ids.
        log: where streams are recorded, so that they can be resumed; None if they cannot be.
        authenticator: checks the credentials of each request; None if the host says who calls, or nobody does.

    Attributes:
        services: what its requests share.
        get_endpoint: opens and resumes streams.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        policy: HostOriginPolicy,
        worker_channel: WorkerChannel,
        seal: Seal,
        log: EventLog | None,
        options: HttpOptions,
        authenticator: "Authenticator | None" = None,
    ) -> None:
        self.options = options
        self.worker_channel = worker_channel
        self._timings = options.responses.timings
        self.draining = False
        bodies = BodyReader(options.body_limit, BodyMemory(options.body_memory))
        reconciler = Reconciler(seal, worker_channel)
        sessions = Sessions(
            seal, worker_channel, options.session_ttl, learn=reconciler.learn, timings=self._timings
        )
        dispatcher.changes.limit = options.max_total_streams + MOST_RETAINED
        sessions.on_missed_change = dispatcher.changes.announce_here
        sessions.changed_recently = dispatcher.changes.changed_recently
        reconciler.restore = sessions.restore_ended
        event_log = None
        if log is not None and options.sessions:
            event_log = SealedEventLog(log, seal, worker_channel, options.stream_age, self._timings)
        self.services = Services(
            options=options,
            dispatcher=dispatcher,
            worker_channel=worker_channel,
            sessions=sessions,
            asker=SessionAsker(worker_channel, seal, limit=options.max_questions),
            in_flight=InFlight(),
            event_log=event_log,
            bodies=bodies,
            request_limit=RequestLimit(dispatcher, options.max_requests, bodies.memory),
            stream_quota=StreamQuota(options.max_streams, options.max_total_streams),
        )
        counters.watch("open_streams", self.services.stream_quota.__len__)
        counters.watch("requests_in_flight", self._requests_in_flight)
        #: Makes the records of requests; None if nobody observes them.
        self.observation: Final = dispatcher.observation
        #: Serves one HTTP request for the endpoint, whatever its path.
        self.serve: Callable[[HttpExchange], Awaitable[None]] = self.serve_unrecorded
        if self.observation is not None:
            self.serve = self.observation.recording(self.serve_unrecorded)
        self.get_endpoint = GetEndpoint(worker_channel, event_log, options.responses)
        if dispatcher.observation is not None:
            self.get_endpoint.on_resumption = dispatcher.observation.note_resumption
        self.streams = StandaloneStreams(
            dispatcher.changes,
            sessions,
            options.responses,
            worker_channel,
            event_log,
            dispatcher.access,
            dispatcher.offers,
        )
        self._reconciler = reconciler
        self._session_use = SessionUse(options.session_ttl, self._sessions_in_use, self._on_session_end)
        self._check_headers = header_check_for(policy)
        self._authenticator = authenticator
        self._running_loop: asyncio.AbstractEventLoop | None = None
        self._start_lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        worker_channel.on("cancel", lambda body: self._cancel(*body))
        worker_channel.on("end", self._on_session_end)

    # -- start and stop ----------------------------------------------------------------------------------------

    @property
    def running_loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop in which it serves; None before and after."""
        return self._running_loop

    async def start(self) -> None:
        """Make ready in the running event loop; idempotent.

        Raises:
            StoreError: there is no secret yet, and the store does not answer.
        """
        loop = asyncio.get_running_loop()
        if self._start_lock is None or self._start_lock[0] is not loop:
            self._start_lock = loop, asyncio.Lock()
        async with self._start_lock[1]:
            if self._running_loop is loop:
                return
            if self.services.event_log is not None:
                self.services.event_log.reset()
            await self.worker_channel.store.start()
            await self._reconciler.start()
            await self.worker_channel.start()
            await self._reconciler.join()
            self.services.dispatcher.changes.share(self.worker_channel)
            if self.options.sessions:
                self._session_use.start()
            self.draining = False
            self._running_loop = loop

    async def ready(self) -> str | None:
        """Return why no requests should be sent here at present; None if they should."""
        return next((reason for reason in (await self.parts()).values() if reason is not None), None)

    async def parts(self) -> dict[str, str | None]:
        """Return why each part is not ready, None for one that is; parts behind one that is not are left out."""
        parts: dict[str, str | None] = {"server": "stopping" if self.draining else None}
        if self.draining:
            return parts
        try:
            await self.start()
            await self.worker_channel.store.keys.get("ready")
        except StoreError as error:
            _not_ready_log.write(logging.WARNING, "not ready: %s", error)
            return {**parts, "store": "the store is out of reach"}
        parts["store"] = None
        try:
            await self._reconciler.check()
        except StoreError as error:
            _not_ready_log.write(logging.WARNING, "not ready: %s", error)
            return {**parts, "secret": "the store has not got the secret of this server"}
        lost = "this worker hears nothing of the others"
        parts |= {"secret": None, "workers": None if self.worker_channel.is_connected else lost}
        observation = self.services.dispatcher.observation
        if observation is not None and observation.audit is not None:
            parts["audit"] = observation.audit.not_ready
        return parts

    def drain(self) -> None:
        """End all streams that wait for changes, so that their clients connect elsewhere."""
        self.draining = True
        self.services.dispatcher.changes.end()
        if self.get_endpoint.readers is not None:
            self.get_endpoint.readers.stop()

    async def stop(self, timeout: float = 2.0) -> None:
        """Flush the event log, and close the store."""
        if self._running_loop is not asyncio.get_running_loop():
            return
        self._running_loop = None
        self._session_use.stop()
        if self.services.event_log is not None:
            await self.services.event_log.flush(timeout)
        await self.worker_channel.stop()
        await self.worker_channel.store.close()
        if self._authenticator is not None:
            await self._authenticator.close()

    # -- requests ----------------------------------------------------------------------------------------------

    async def serve_unrecorded(self, exchange: HttpExchange) -> None:
        """Serve one HTTP request: a POST (R-201), or another method. Its record is opened by the caller."""
        headers: Headers = []
        try:
            if self._running_loop is not asyncio.get_running_loop():
                await self.start()
            if exchange.verdict is None:  # else the transport knows the head from a request before
                self._read_head(exchange)
            fields: Any = exchange.fields
            verdict: Any = exchange.verdict
            headers = verdict.headers
            principal = (
                exchange.host_principal()
                if self._authenticator is None
                else self._authenticator.known(exchange, fields)
                or await authenticated(self._authenticator, exchange, fields)
            )
            if exchange.method == "POST":
                post = Post(self.services, exchange, fields, verdict)
                if principal is not None:
                    exchange.principal, post.owner = principal, principal.key
                try:
                    await post.serve()
                except (RpcError, StoreError) as error:
                    await post.refuse(error)
            else:
                stream = await self._serve_other_method(exchange, fields, verdict, principal)
                if stream is not None:
                    del fields, verdict  # the stream does not need them, for however long it is open
                    serving, holder = stream
                    try:
                        await serving
                    finally:
                        self.services.stream_quota.give_back(*holder)
        except RpcError as error:
            note_refusal(self.services.dispatcher.observation, error)
            log_refusal(exchange.client, error, error.status or 400)
            await _refuse(exchange, error, error.status or 400, [*headers, *error.headers])
        except BaseException as error:  # a failing store or host hook fails this request and nothing else
            if stops(error):
                if isinstance(error, asyncio.CancelledError):
                    await _refuse_while_stopping(exchange, error, headers, self._timings.farewell)
                raise
            failure = masked(error, "an HTTP request could not be served")
            note_refusal(self.services.dispatcher.observation, failure)
            await _refuse(exchange, failure, failure.status or 500, headers)

    async def _serve_other_method(
        self,
        exchange: HttpExchange,
        fields: dict[bytes, bytes],
        verdict: HeaderVerdict,
        principal: "Principal | None",
    ) -> tuple[Awaitable[None], Holder] | None:
        """Serve a request that is no POST; return what serves the stream of a GET, and who holds it."""
        table: MethodTable[tuple[Awaitable[None], Holder] | None] = {}
        if self.options.sessions:  # else POST is the only method
            table = {
                "GET": partial(self._serve_stream, exchange, fields, verdict.headers, principal),
                "DELETE": partial(self._delete, exchange, fields, verdict.headers, principal),
            }
        return await serve_method(exchange, fields, verdict.version, table, verdict.headers, allow=_ALLOW)

    def _read_head(self, exchange: HttpExchange) -> None:
        """Read the headers of a request, and check where it comes from.

        Raises:
            RpcError: it is not served.
        """
        exchange.fields = fields = http.read(exchange.headers)
        verdict = self._check_headers(fields)
        if verdict.refusal is not None:
            verdict.check()
        exchange.verdict = verdict

    async def _serve_stream(
        self,
        exchange: HttpExchange,
        fields: dict[bytes, bytes],
        headers: Headers,
        principal: "Principal | None",
    ) -> tuple[Awaitable[None], Holder]:
        """Return what serves the stream of a GET, and who holds it."""
        owner = None if principal is None else principal.key
        session = await self.services.sessions.named_by(fields, owner)
        session_id, ttl = str(session.peer.session_id), session.longest_idle
        holder = owner, session_id, address_of(exchange)
        self.services.stream_quota.take(*holder)
        serving = self.get_endpoint.serve(
            session_id,
            partial(self.streams.serve, session, principal),
            fields,
            headers,
            exchange,
            ttl=ttl,
            retry=self.options.responses.retry if session.peer.revision in POLLING else None,
            may_be_forgotten=time.time() > session.opened + ttl,
            session=session,
            access=ReaderScopes(self.services.dispatcher.access, Caller(principal, session.peer), exchange),
        )
        return serving, holder

    async def _delete(
        self,
        response: HttpResponse,
        fields: dict[bytes, bytes],
        headers: Headers,
        principal: "Principal | None",
    ) -> None:
        """End a session, and cancel what runs for it at any worker (R-316)."""
        session = await self.services.sessions.named_by(fields, None if principal is None else principal.key)
        await session.end()
        counters.count("sessions_ended", "http")
        counters.time_of("session_duration", "http", max(0.0, time.time() - session.opened))
        session_id = str(session.peer.session_id)
        self._on_session_end(session_id)
        self.worker_channel.send("end", session_id)
        await send_empty(response, 204, headers)

    def _on_session_end(self, session_id: str) -> None:
        self.services.sessions.note_ended(session_id)
        self.services.in_flight.cancel_all(session_id, "the session was ended", session_not_found)
        self.streams.end(session_id)

    def _requests_in_flight(self) -> int:
        return self.services.request_limit.count

    def _sessions_in_use(self) -> set[Session]:
        """Return the sessions that have a request without an outcome here, or a stream open."""
        calling = (request.channel.session for request in self.services.in_flight)
        streaming = self.get_endpoint.open_responses.values()
        return {session for session in chain(calling, streaming) if isinstance(session, Session)}

    def _cancel(self, session_id: str, request_id: RequestId, reason: str | None) -> None:
        params = CancelledNotificationParams(request_id=request_id, reason=UNSET if reason is None else reason)
        self.services.in_flight.cancel(session_id, params)


class SessionUse:
    """Keeps sessions alive that have a long call or an open stream here, which make no requests meanwhile.

    One timer looks after all of them, so neither a call nor a stream needs a timer of its own. A session that was
    in use at the last look is kept alive once more, so its idle time begins when its use ends, or later.

    Args:
        idle_time: seconds without use after which a session may end.
        in_use: returns the sessions that are in use now.
        ended: called with the id of a session that was ended without this worker being told.
    """

    def __init__(
        self, idle_time: float, in_use: Callable[[], Iterable[Session]], ended: Callable[[str], None]
    ) -> None:
        self._pause = min(idle_time / _LOOKS, _LONGEST_PAUSE)
        self._in_use = in_use
        self._ended = ended
        self._used_before: set[Session] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the timer, in the running event loop."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._look)

    def stop(self) -> None:
        """Stop the timer."""
        self._used_before = set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._pause, self._look)
        if self._task is not None and not self._task.done():
            self._used_before.update(self._in_use())  # the store is slow; they follow at the next look
            return
        in_use = set(self._in_use())
        if sessions := in_use | self._used_before:
            self._task = loop.create_task(self._keep_alive(sessions))
        self._used_before = in_use

    async def _keep_alive(self, sessions: set[Session]) -> None:
        for session in sessions:
            with contextlib.suppress(StoreError):  # in doubt it lives
                if not await session.keep_alive():
                    self._ended(str(session.peer.session_id))


async def serve_method(
    exchange: HttpExchange,
    fields: Mapping[bytes, bytes],
    version: str,
    table: MethodTable[T],
    headers: Headers,
    *,
    allow: bytes,
) -> T | None:
    """Serve a request that is not a POST: GET, DELETE, a CORS preflight, 405 for the rest (E-22, E-23, E-24).

    `HTTPStreamableTransport` shares these decisions. Revision 2026-07-28 has POST only, so a request that names
    it gets 405 with `Allow: POST`, also for methods that the endpoint serves to others (R-202).

    Args:
        fields: headers of the request.
        version: the text of `MCP-Protocol-Version` among them.
        table: what serves each method.
        headers: of every response to this request.
        allow: value of the `Allow` header of a 405; `POST` if the table is empty.

    Returns:
        What the entry of the table returns; None if there is no entry.

    Raises:
        RpcError: the revision is unknown, or the entry raises it.
    """
    method = exchange.method
    if version in STATELESS:
        reason, allow = f"{method} is not part of revision {version}", _POST_ONLY
    elif method == "OPTIONS" and b"origin" in fields:
        await send_empty(exchange, 204, preflight(fields[b"origin"], fields))
        return None
    elif (serve := table.get(method)) is not None:
        check_version(version)
        return await serve()
    else:
        reason, allow = f"{method} is not offered here; messages are POSTed", allow if table else _POST_ONLY
    error = RpcError(INVALID_REQUEST, reason)
    await send_json(exchange, 405, encode_error(None, error), [*headers, (b"allow", allow)])
    return None


async def authenticated(
    authenticator: "Authenticator", exchange: HttpExchange, fields: Mapping[bytes, bytes]
) -> "Principal | None":
    """Return who sends a request, before its body is read and whatever its HTTP method (R-704, X-AUTH-1).

    It is None for a browser's question (OPTIONS), which has no credentials (R-720).
    Raises:
        RpcError: HTTP 401, 403 or 503.
    """
    if exchange.method == "OPTIONS":
        return None
    return await authenticator.authenticate(exchange, fields)


async def _refuse(response: HttpResponse, error: RpcError, status: int, headers: Headers) -> None:
    await send_json(response, status, encode_error(None, error), with_retry_after(status, headers))


async def _refuse_while_stopping(
    response: HttpResponse, cancellation: asyncio.CancelledError, headers: Headers, timeout: float
) -> None:
    """Refuse a request that the stopping server has cancelled before there was a response."""
    if is_shutdown(cancellation):
        with contextlib.suppress(Exception):  # its response has begun
            async with asyncio.timeout(timeout):
                await _refuse(response, stopping(), 503, headers)
