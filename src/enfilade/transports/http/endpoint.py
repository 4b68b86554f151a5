"""The Streamable HTTP transport: both eras on one endpoint, as a bare ASGI callable.

Theory of operation. A request is judged in a fixed order, because the protocol's statuses depend on it
(protocol §1.6): Host and Origin, who is asking, the HTTP method, size and media types, JSON, JSON-RPC, and only
then the era. A POST goes on to `post.py`; this file is what surrounds it.

    doorway ─▶ Request (one Peer) ─▶ Dispatcher ─▶ PostResponse (JSON until it must stream)

The easy thing to get wrong is to commit too early: everything that has a status of its own (400, 403, 404) is
decided before the first byte of a stream.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from msgspec import UNSET

from enfilade.serving.client_requests.session import SessionAsker
from enfilade.serving.cluster import Relay
from enfilade.serving.dispatcher import Dispatcher
from enfilade.serving.failures import LimitedLog, is_shutdown, masked, stopping, stops
from enfilade.serving.peer import Peer
from enfilade.serving.reconciliation import Reconciler
from enfilade.serving.request import InFlight
from enfilade.state.store import EventLog, StoreError
from enfilade.state.tokens import Seal
from enfilade.transports.asgi_types import Headers, Receive, Scope, Send
from enfilade.transports.http.body import MEMORY, BodyMemory, BodyReader
from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.origin_checks import Guard, preflight
from enfilade.transports.http.post import Post, address_of
from enfilade.transports.http.request_checks import header_check_for
from enfilade.transports.http.request_limit import RequestLimit
from enfilade.transports.http.response import FAREWELL, ResponseOptions, send_empty, send_json, with_retry_after
from enfilade.transports.http.session_use import SessionUse
from enfilade.transports.http.sessions import Session, Sessions
from enfilade.transports.http.standalone_stream import StandaloneStreams
from enfilade.transports.http.stream_quota import StreamQuota
from enfilade.transports.refusal_log import log_refusal
from enfilade.transports.request_parsing import check_version, version_of
from enfilade.wire import headers as http
from enfilade.wire.cancellation import CancelledNotificationParams
from enfilade.wire.jsonrpc import INVALID_REQUEST, RequestId, RpcError, encode_error
from enfilade.wire.lifecycle import InitializeRequestParams
from enfilade.wire.revisions import LONGEST_BATCH, STATELESS

log = logging.getLogger("enfilade.transports")
_unready: Final = LimitedLog(log)

#: Who holds a stream: the arguments of `StreamQuota.take`.
Holder = tuple[str | None, str | None, str | None]
Principal = Callable[[Scope], str | None]

_POST_ONLY: Final[Headers] = [(b"allow", b"POST")]
_OFFERED: Final[Headers] = [(b"allow", b"GET, POST, DELETE, OPTIONS")]


def authenticated_user(scope: Scope) -> str | None:
    """Return who the host's own authentication says is asking, the way Starlette's middleware leaves it."""
    user = scope.get("user")
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    return str(getattr(user, "identity", None) or user.display_name)


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the doorway allows.

    Attributes:
        answers: how answers behave.
        body_limit: largest body in bytes.
        body_memory: bytes that unfinished bodies, and large ones of requests in flight, may take together.
        max_requests: requests in flight at once.
        max_streams: event streams that one principal, or one session, may have open.
        max_questions: unanswered questions of one principal, or one session.
        batch_limit: most messages in one 2025-03-26 batch.
        sessions: whether session-era clients get sessions; without, each of their requests stands alone.
        session_ttl: seconds without use after which a session may end.
        stream_age: seconds that a stream can be resumed after its last event.
    """

    answers: ResponseOptions = ResponseOptions()
    body_limit: int = 4 * 1024 * 1024
    body_memory: int = MEMORY
    max_requests: int = 1000
    max_streams: int = 64
    max_questions: int = 64
    batch_limit: int = LONGEST_BATCH
    sessions: bool = True
    session_ttl: float = 86_400.0
    stream_age: float = 3600.0


def not_found() -> RpcError:
    """Return the one refusal of what is no live session, also of its requests in flight (R-315, R-317)."""
    return RpcError(INVALID_REQUEST, "Session not found: send initialize again", status=404)


class Endpoint:
    """Serves one MCP endpoint.

    Args:
        dispatcher: runs the requests.
        guard: Host and Origin checks.
        relay: the store, and the workers that share it.
        seal: makes session ids and event ids.
        log: where streams are kept, so that they can be resumed; None if they cannot be.
        options: limits and behaviour.
        principal: says who is asking; sessions are bound to the answer.

    Attributes:
        draining: whether it has been told that the server stops.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        guard: Guard,
        relay: Relay,
        seal: Seal,
        log: EventLog | None,
        options: HttpOptions,
        principal: Principal = authenticated_user,
    ) -> None:
        self.dispatcher = dispatcher
        self.options = options
        self.relay = relay
        self.draining = False
        self.answers = options.answers
        self.bodies = BodyReader(options.body_limit, BodyMemory(options.body_memory))
        self.load = RequestLimit(dispatcher, options.max_requests, self.bodies.memory)
        self.stream_quota = StreamQuota(options.max_streams)
        self.in_flight = InFlight()
        self.asker = SessionAsker(relay, seal, limit=options.max_questions)
        self.event_log = None
        if log is not None and options.sessions:
            self.event_log = SealedEventLog(log, seal, relay, options.stream_age)
        self._reconciler = Reconciler(seal, relay)
        self.sessions = Sessions(seal, relay, options.session_ttl, learn=self._reconciler.learn)
        self._reconciler.restore = self.sessions.restore_ended
        self.sessions.missed = dispatcher.changes.announce_here
        self.streams = StandaloneStreams(
            dispatcher.changes, self.sessions, options.answers, relay, self.event_log, dispatcher.offers
        )
        self._use = SessionUse(options.session_ttl, self._sessions_in_use, self._ended_elsewhere)
        self._judged = header_check_for(guard)
        self._principal = principal
        self._up_in: asyncio.AbstractEventLoop | None = None
        self._starting: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        relay.on("cancel", lambda body: self._cancel(*body))
        relay.on("end", self._ended_elsewhere)

    # -- its life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Make ready in the running event loop, once however many ask.

        Raises:
            StoreError: there is no secret yet, and the store does not say.
        """
        loop = asyncio.get_running_loop()
        if self._starting is None or self._starting[0] is not loop:
            self._starting = loop, asyncio.Lock()
        async with self._starting[1]:
            if self._up_in is loop:
                return
            if self.event_log is not None:
                self.event_log.reset()
            await self.relay.store.start()
            await self._reconciler.start()
            await self.relay.start()
            await self._reconciler.join()
            self.dispatcher.changes.share(self.relay)
            if self.options.sessions:
                self._use.start()
            self.draining = False
            self._up_in = loop

    async def ready(self) -> str | None:
        """Return why no requests should be sent here at present, or None if they should."""
        if self.draining:
            return "stopping"
        try:
            await self.start()
            await self.relay.store.keys.get("ready")
        except StoreError as error:
            _unready.write(logging.WARNING, "not ready: %s", error)
            return "the store is out of reach"
        try:
            await self._reconciler.check()
        except StoreError as error:
            _unready.write(logging.WARNING, "not ready: %s", error)
            return "the store has not got the secret of this server"
        return None

    def drain(self) -> None:
        """Let clients go elsewhere: nothing that waits for changes goes on."""
        self.draining = True
        self.dispatcher.changes.end()
        if self.streams.readers is not None:
            self.streams.readers.stop()

    async def stop(self, patience: float = 2.0) -> None:
        """Bring what was said into the log, and let go of the store."""
        if self._up_in is not asyncio.get_running_loop():
            return
        self._up_in = None
        self._use.stop()
        if self.event_log is not None:
            await self.event_log.flush(patience)
        await self.relay.stop()
        await self.relay.store.close()

    # -- requests ----------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request for the endpoint, whatever its path."""
        headers: Headers = []
        try:
            if self._up_in is not asyncio.get_running_loop():
                await self.start()
            fields = http.read(scope["headers"])
            verdict = self._judged(fields)
            headers = verdict.headers
            if verdict.refusal is not None:
                verdict.check()
            principal = self._principal(scope)
            if scope["method"] == "POST":
                await Post(self, scope, fields, verdict, principal, receive, send).serve()
            else:
                stream = await self._other(scope, fields, headers, principal, receive, send)
                if stream is not None:
                    del fields, verdict  # of which it needs nothing, for however long it is open
                    scope = {"client": scope.get("client")}
                    lasting, holder = stream
                    try:
                        await lasting
                    finally:
                        self.stream_quota.give_back(*holder)
        except RpcError as error:
            log_refusal(scope.get("client"), error, error.status or 400)
            await _refuse(send, error, error.status or 400, headers)
        except BaseException as error:  # a failing store or host hook fails this request and nothing else
            if stops(error):
                if isinstance(error, asyncio.CancelledError):
                    await _say_stopping(send, error, headers)
                raise
            failure = masked(error, "an HTTP request could not be served")
            await _refuse(send, failure, failure.status or 500, headers)

    async def _other(
        self,
        scope: Scope,
        fields: dict[bytes, bytes],
        headers: Headers,
        principal: str | None,
        receive: Receive,
        send: Send,
    ) -> tuple[Awaitable[None], Holder] | None:
        """Answer what is not a POST (E-22, E-23, E-24).

        Returns:
            What serves a stream, and who holds it, if a stream is the answer.
        """
        method, version = scope["method"], version_of(fields)
        if version in STATELESS:
            error = RpcError(INVALID_REQUEST, f"{method} is not part of revision {version}")
            await send_json(send, 405, encode_error(None, error), [*headers, *_POST_ONLY])
        elif method == "OPTIONS" and b"origin" in fields:
            await send_empty(send, 204, preflight(fields[b"origin"], fields))
        elif method == "DELETE" and self.options.sessions:
            check_version(version)
            await self._end(await self.session(fields, principal))
            await send_empty(send, 204, headers)
        elif method == "GET" and self.options.sessions:
            check_version(version)
            session = await self.session(fields, principal)
            holder = principal, session.peer.session_id, address_of(scope)
            self.stream_quota.take(*holder)
            return self.streams.serve(session, fields, headers, receive, send), holder
        else:
            error = RpcError(INVALID_REQUEST, f"{method} is not offered here; messages are POSTed")
            offered = _OFFERED if self.options.sessions else _POST_ONLY
            await send_json(send, 405, encode_error(None, error), [*headers, *offered])
        return None

    async def session(self, fields: dict[bytes, bytes], principal: str | None) -> Session:
        """Return the session a request names.

        Raises:
            RpcError: HTTP 400 without an id (R-313), 404 for anything that is no live session of this principal
                (R-315, R-317).
        """
        token = fields.get(http.SESSION_ID)
        if token is None:
            raise RpcError(INVALID_REQUEST, "Missing session ID: send initialize first", status=400)
        session = await self.sessions.find(token.strip(), principal)
        if session is None:
            raise not_found()
        return session

    async def _end(self, session: Session) -> None:
        """End a session: let nobody use it again, and cancel what runs for it anywhere (R-316)."""
        await session.end()
        session_id = str(session.peer.session_id)
        self._ended_elsewhere(session_id)
        self.relay.tell("end", session_id)

    def _ended_elsewhere(self, session_id: str) -> None:
        self.sessions.note_ended(session_id)
        self.in_flight.cancel_all(session_id, "the session was ended", not_found)
        self.streams.end(session_id)

    def _sessions_in_use(self) -> set[Session]:
        """Return the sessions that have a request without an outcome here, or a stream open."""
        calling = (request.channel.session for request in self.in_flight)
        return self.streams.sessions() | {session for session in calling if isinstance(session, Session)}

    def cancel(self, session_id: str, params: CancelledNotificationParams) -> None:
        """Do what a client's `notifications/cancelled` asks, wherever the request is served (R-363)."""
        if not self.in_flight.cancel(session_id, params) and params.request_id is not UNSET:
            self.relay.tell("cancel", [session_id, params.request_id, params.reason or None])

    def _cancel(self, session_id: str, request_id: RequestId, reason: str | None) -> None:
        params = CancelledNotificationParams(request_id=request_id, reason=UNSET if reason is None else reason)
        self.in_flight.cancel(session_id, params)

    def introduce(
        self, params: InitializeRequestParams, revision: str, principal: str | None
    ) -> tuple[Peer, Session | None, str | None]:
        """Return the peer that introduces itself by `initialize`, and its session with the id for it, if any."""
        if self.options.sessions:
            session, token = self.sessions.create(params, revision, principal)
            return session.peer, session, token
        info, capabilities = params.client_info, params.capabilities
        peer = Peer(revision=revision, client_info=info, capabilities=capabilities, principal=principal)
        return peer, None, None


async def _refuse(send: Send, error: RpcError, status: int, headers: Headers) -> None:
    await send_json(send, status, encode_error(None, error), with_retry_after(status, headers))


async def _say_stopping(send: Send, cancellation: asyncio.CancelledError, headers: Headers) -> None:
    """Refuse a request that a server has cancelled at its end before there was a response."""
    if is_shutdown(cancellation):
        with contextlib.suppress(Exception):  # its response has begun
            async with asyncio.timeout(FAREWELL):
                await _refuse(send, stopping(), 503, headers)
