"""The Streamable HTTP transport: one endpoint for both eras, behind any implementation of `HttpExchange`.

    POST ─▶ Endpoint ─▶ Post ─▶ Request (with its Peer) ─▶ Dispatcher ─▶ PostResponse (JSON, until it must stream)
    GET  ─▶ Endpoint ─▶ StandaloneStreams (`standalone_stream.py`: also `Last-Event-ID`)

A request is checked in a fixed order, because the protocol's statuses depend on it: Host and Origin, who is
asking, the HTTP method, size and media types, JSON, JSON-RPC, and only then the era. Everything that has a status
of its own (400, 403, 404) is decided before the first byte of a stream.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeVar

from msgspec import UNSET

from enfilade.serving.client_requests.session import SessionAsker
from enfilade.serving.cluster import Reconciler, WorkerChannel
from enfilade.serving.dispatcher import Dispatcher
from enfilade.serving.failures import LimitedLog, is_shutdown, masked, stopping, stops
from enfilade.serving.request import InFlight
from enfilade.state.store import EventLog, StoreError
from enfilade.state.tokens import Seal
from enfilade.transports.asgi import Principal, authenticated_user
from enfilade.transports.exchange import Headers, HttpExchange, HttpResponse
from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.limits import RequestLimit, StreamQuota
from enfilade.transports.http.origin_checks import Guard, preflight
from enfilade.transports.http.post import Post, address_of
from enfilade.transports.http.request_checks import BodyMemory, BodyReader, header_check_for
from enfilade.transports.http.response import send_empty, send_json, with_retry_after
from enfilade.transports.http.services import HttpOptions, Services, session_not_found
from enfilade.transports.http.session_use import SessionUse
from enfilade.transports.http.sessions import Session, Sessions
from enfilade.transports.http.standalone_stream import StandaloneStreams
from enfilade.transports.refusal_log import log_refusal
from enfilade.transports.request_parsing import check_version, version_of
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RequestId, RpcError, encode_error
from enfilade.wire.notifications import CancelledNotificationParams
from enfilade.wire.revisions import STATELESS

T = TypeVar("T")

log = logging.getLogger("enfilade.transports")
_not_ready_log: Final = LimitedLog(log)

#: Who holds a stream: the arguments of `StreamQuota.take`.
Holder = tuple[str | None, str | None, str | None]

#: By HTTP method, what serves it.
MethodTable = Mapping[str, Callable[[], Awaitable[T]]]

_ALLOW: Final = b"GET, POST, DELETE, OPTIONS"
_POST_ONLY: Final = b"POST"


class Endpoint:
    """Serves one MCP endpoint.

    Args:
        dispatcher: runs the requests.
        guard: Host and Origin checks.
        worker_channel: the store, and the workers that share it.
        seal: makes session ids and event ids.
        log: where streams are recorded, so that they can be resumed; None if they cannot be.
        options: what the endpoint allows.
        principal: returns who is asking; sessions are bound to it.

    Attributes:
        draining: whether the server is stopping.
        services: what its requests share.
        streams: the standalone streams of its sessions.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        guard: Guard,
        worker_channel: WorkerChannel,
        seal: Seal,
        log: EventLog | None,
        options: HttpOptions,
        principal: Principal = authenticated_user,
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
        sessions.on_missed_change = dispatcher.changes.announce_here
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
            stream_quota=StreamQuota(options.max_streams),
        )
        self.streams = StandaloneStreams(
            dispatcher.changes, sessions, options.responses, worker_channel, event_log, dispatcher.offers
        )
        self._reconciler = reconciler
        self._session_use = SessionUse(options.session_ttl, self._sessions_in_use, self._on_session_end)
        self._check_headers = header_check_for(guard)
        self._principal = principal
        self._running_loop: asyncio.AbstractEventLoop | None = None
        self._start_lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        worker_channel.on("cancel", lambda body: self._cancel(*body))
        worker_channel.on("end", self._on_session_end)

    # -- start and stop ----------------------------------------------------------------------------------------

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
        if self.draining:
            return "stopping"
        try:
            await self.start()
            await self.worker_channel.store.keys.get("ready")
        except StoreError as error:
            _not_ready_log.write(logging.WARNING, "not ready: %s", error)
            return "the store is out of reach"
        try:
            await self._reconciler.check()
        except StoreError as error:
            _not_ready_log.write(logging.WARNING, "not ready: %s", error)
            return "the store has not got the secret of this server"
        return None

    def drain(self) -> None:
        """End all streams that wait for changes, so that their clients connect elsewhere."""
        self.draining = True
        self.services.dispatcher.changes.end()
        if self.streams.readers is not None:
            self.streams.readers.stop()

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

    # -- requests ----------------------------------------------------------------------------------------------

    async def serve(self, exchange: HttpExchange) -> None:
        """Serve one HTTP request for the endpoint, whatever its path: a POST (R-201), or another method."""
        headers: Headers = []
        try:
            if self._running_loop is not asyncio.get_running_loop():
                await self.start()
            fields = http.read(exchange.headers)
            verdict = self._check_headers(fields)
            headers = verdict.headers
            if verdict.refusal is not None:
                verdict.check()
            principal = self._principal(exchange.scope)
            if exchange.method == "POST":
                await Post(self.services, exchange, fields, verdict, principal).serve()
            else:
                table = self._method_table(exchange, fields, headers, principal)
                stream = await serve_method(exchange, fields, table, headers, allow=_ALLOW)
                if stream is not None:
                    del fields, verdict, table  # the stream does not need them, for however long it is open
                    exchange.forget_head()
                    serving, holder = stream
                    try:
                        await serving
                    finally:
                        self.services.stream_quota.give_back(*holder)
        except RpcError as error:
            log_refusal(exchange.client, error, error.status or 400)
            await _refuse(exchange, error, error.status or 400, headers)
        except BaseException as error:  # a failing store or host hook fails this request and nothing else
            if stops(error):
                if isinstance(error, asyncio.CancelledError):
                    await _refuse_while_stopping(exchange, error, headers, self._timings.farewell)
                raise
            failure = masked(error, "an HTTP request could not be served")
            await _refuse(exchange, failure, failure.status or 500, headers)

    def _method_table(
        self,
        exchange: HttpExchange,
        fields: dict[bytes, bytes],
        headers: Headers,
        principal: str | None,
    ) -> MethodTable[tuple[Awaitable[None], Holder] | None]:
        """Return what serves each method besides POST (R-320)."""
        if not self.options.sessions:
            return {}
        return {
            "GET": partial(self._serve_stream, exchange, fields, headers, principal),
            "DELETE": partial(self._delete, exchange, fields, headers, principal),
        }

    async def _serve_stream(
        self,
        exchange: HttpExchange,
        fields: dict[bytes, bytes],
        headers: Headers,
        principal: str | None,
    ) -> tuple[Awaitable[None], Holder]:
        """Return what serves the stream of a GET, and who holds it."""
        session = await self.services.find_session(fields, principal)
        holder = principal, session.peer.session_id, address_of(exchange)
        self.services.stream_quota.take(*holder)
        return self.streams.serve(session, fields, headers, exchange), holder

    async def _delete(
        self, response: HttpResponse, fields: dict[bytes, bytes], headers: Headers, principal: str | None
    ) -> None:
        await self._end(await self.services.find_session(fields, principal))
        await send_empty(response, 204, headers)

    async def _end(self, session: Session) -> None:
        """End a session, and cancel what runs for it at any worker (R-316)."""
        await session.end()
        session_id = str(session.peer.session_id)
        self._on_session_end(session_id)
        self.worker_channel.send("end", session_id)

    def _on_session_end(self, session_id: str) -> None:
        self.services.sessions.note_ended(session_id)
        self.services.in_flight.cancel_all(session_id, "the session was ended", session_not_found)
        self.streams.end(session_id)

    def _sessions_in_use(self) -> set[Session]:
        """Return the sessions that have a request without an outcome here, or a stream open."""
        calling = (request.channel.session for request in self.services.in_flight)
        return self.streams.sessions() | {session for session in calling if isinstance(session, Session)}

    def _cancel(self, session_id: str, request_id: RequestId, reason: str | None) -> None:
        params = CancelledNotificationParams(request_id=request_id, reason=UNSET if reason is None else reason)
        self.services.in_flight.cancel(session_id, params)


async def serve_method(
    exchange: HttpExchange,
    fields: Mapping[bytes, bytes],
    table: MethodTable[T],
    headers: Headers,
    *,
    allow: bytes,
) -> T | None:
    """Serve a request that is not a POST: GET, DELETE, a CORS preflight, 405 for the rest (E-22, E-23, E-24).

    `HTTPStreamableTransport` shares these decisions. Revision 2026-07-28 has POST only, so a request that names
    it gets 405 with `Allow: POST`, also for methods that the endpoint serves to others (R-202).

    Args:
        exchange: the request with its response.
        fields: headers of the request.
        table: what serves each method.
        headers: of every response to this request.
        allow: value of the `Allow` header of a 405; `POST` if the table is empty.

    Returns:
        What the entry of the table returns; None if there is no entry.

    Raises:
        RpcError: the revision is unknown, or the entry raises it.
    """
    method, version = exchange.method, version_of(fields)
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
