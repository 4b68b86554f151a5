"""One POST, from its headers to its response.

The era is read from the body: a claim in `_meta` makes a request stateless, `initialize` or a session id makes it
one of a session, and headers are a cross-check. Both eras go the same way from there on. A request may contradict
itself, its headers and its body; `docs/rules.md` has a row for each case.
"""

import asyncio
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from enfilade.serving.channel import NO_ASKER, Channel, Peer
from enfilade.serving.failures import masked
from enfilade.serving.request import Request
from enfilade.state.store import StoreError
from enfilade.transports.exchange import HttpExchange, HttpRequest
from enfilade.transports.http.batching import Batch
from enfilade.transports.http.request_checks import HeaderVerdict, UnreadBodyError
from enfilade.transports.http.response import PostResponse, send_empty
from enfilade.transports.http.services import Services
from enfilade.transports.http.sessions import Session
from enfilade.transports.refusal_log import log_refusal
from enfilade.transports.request_parsing import ParsedMessage, check_version, parse_message
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    Envelope,
    RequestId,
    RpcError,
    decode,
    encode_error,
    encode_result,
    invalid_request,
)
from enfilade.wire.lifecycle import InitializeRequestParams
from enfilade.wire.notifications import DEFAULT_LOG_LEVEL
from enfilade.wire.revisions import (
    ASSUMED_WITHOUT_HEADER,
    BATCHING,
    HANDSHAKE,
    STATELESS,
    negotiate,
)

_CLOSE: Final = (b"connection", b"close")


class Post(msgspec.Struct, eq=False):
    """One POST to the endpoint.

    Attributes:
        services: what the requests of the endpoint share.
        exchange: the request with its response.
        fields: its headers.
        verdict: what they mean.
        principal: who is asking.
        id: of the JSON-RPC request, once it was read.
        stateless: whether it belongs to the stateless era.
    """

    services: Services
    exchange: HttpExchange
    fields: dict[bytes, bytes]
    verdict: HeaderVerdict
    principal: str | None
    id: RequestId | None = None
    stateless: bool = False

    async def serve(self) -> None:
        """Serve it."""
        try:
            if self.verdict.media is not None:
                self.verdict.check_media()
            decoded = decode(await self.services.bodies.read(self.fields, self.exchange))
            if isinstance(decoded, list):
                await self._batch(decoded)
            elif decoded.method is UNSET:
                await self._client_response(decoded)
            else:
                await self._message(decoded)
        except StoreError as failure:
            error = masked(failure, "a request could not be served")
            await self._response().conclude(503, encode_error(self.id, error))
        except RpcError as error:
            response = self._response()
            if isinstance(error, UnreadBodyError) and self.exchange.version.startswith("1"):
                response.headers = [*response.headers, _CLOSE]
            id = self.id if error.id is UNSET else error.id
            status = response.status_of(error)
            log_refusal(self.exchange.client, error, status)
            await response.conclude(status, encode_error(id, error))

    async def _message(self, envelope: Envelope) -> None:
        """Serve a request or take a notification, in the era it belongs to (R-101).

        The metadata in its body decides (R-102), also for `initialize` (E-10); the header only without it.
        """
        message = parse_message(envelope)
        is_initialize = envelope.method == "initialize"
        self.stateless = message.claim or (self.verdict.version in STATELESS and not is_initialize)
        if envelope.id is UNSET:
            await self._notification(message)
            return
        self.id = envelope.id
        if self.stateless:
            await self._stateless(message)
        elif is_initialize:
            await self._initialize(message)
        else:
            session = self._known_session()
            if session is not None:
                peer = session.peer
            else:
                peer, session = await self._session_peer()
            response = self._response(session)
            request = self._session_request(message, peer, session, response)
            await response.run(self.services.request_limit.responder, request)

    def _response(self, session: Session | None = None, *, endless: bool = False) -> PostResponse:
        verdict, services = self.verdict, self.services
        return PostResponse(
            exchange=self.exchange,
            accepts=verdict.accepts,
            options=services.options.responses,
            headers=verdict.headers,
            stateless=self.stateless,
            endless=endless,
            event_log=None if session is None else services.event_log,
            in_flight=services.request_limit,
        )

    # -- the stateless era -------------------------------------------------------------------------------------

    async def _stateless(self, message: ParsedMessage) -> None:
        """Serve a request that carries its own metadata (E-01), after checks in a fixed order (E-11).

        Session id and `Last-Event-ID` are those of other requests and are not read (E-20, E-21, R-203).
        """
        method = message.method
        message.check_claim(self.fields, self.verdict.version)
        if not self.services.dispatcher.offers(method, self.verdict.version):
            raise RpcError(METHOD_NOT_FOUND, f"Method not found: {method}")
        if message.params is not None:
            http.check_name(self.fields, method, message.params)
        params = message.checked_params()
        level = message.meta.log_level
        listens = method == "subscriptions/listen"
        response = self._response(endless=listens)
        request = Request(
            self.id,
            method,
            params,
            message.stateless_peer(self.principal),
            Channel(
                outlet=response,
                log_level=None if level is UNSET else level,
                asker=self.services.dispatcher.stateless_asker,
                param_headers=self.fields,
            ),
            message.meta,
        )
        if listens:
            await self._listen(response, request)
        else:
            await response.run(self.services.request_limit.responder, request)

    async def _listen(self, response: PostResponse, request: Request) -> None:
        """Serve a request that lasts as long as its client: it counts as a stream and not as in flight."""
        quota, address = self.services.stream_quota, address_of(self.exchange)
        quota.take(self.principal, None, address)
        try:
            await response.run(self.services.dispatcher, request)
        finally:
            quota.give_back(self.principal, None, address)

    # -- the session era ---------------------------------------------------------------------------------------

    async def _initialize(self, message: ParsedMessage) -> None:
        """Serve the handshake; only its success makes a session (E-12, R-318, R-319).

        A session id in the headers, live or not, is that of an earlier session: clients that were told that it
        has ended keep the header at times (E-14, E-15, R-306). An unknown version header is that of a client
        which is newer than this server, and its `initialize` is how the two agree (R-360); one of a revision
        without a handshake is refused (E-09).
        """
        if self.verdict.version in STATELESS:
            raise RpcError(
                INVALID_PARAMS,
                f"initialize is not part of revision {self.verdict.version}. Either send requests with _meta, in "
                f"{', '.join(STATELESS)}, or initialize without that header, in {', '.join(HANDSHAKE)}",
                status=400,
            )
        self.services.request_limit.check()
        params: Any = message.checked_params()
        revision = negotiate(params.protocol_version)
        peer, session, token = self._open_session(params, revision)
        request = Request(self.id, "initialize", params, peer, Channel(session=session))
        result = await self.services.dispatcher.dispatch(request)
        response = self._response()
        if token is not None:
            response.headers = [*self.verdict.headers, (http.SESSION_ID, token.encode())]
        await response.conclude(200, encode_result(request.id, result))

    def _open_session(
        self, params: InitializeRequestParams, revision: str
    ) -> tuple[Peer, Session | None, str | None]:
        """Return the peer that sends `initialize`, and its session with the id of that, if there are sessions."""
        if self.services.options.sessions:
            session, token = self.services.sessions.create(params, revision, self.principal)
            return session.peer, session, token
        info, capabilities = params.client_info, params.capabilities
        peer = Peer(revision=revision, client_info=info, capabilities=capabilities, principal=self.principal)
        return peer, None, None

    def _known_session(self) -> Session | None:
        """Return the session of the request if it is in memory, as it nearly always is."""
        session = self.services.sessions.cached(self.fields.get(http.SESSION_ID), self.principal)
        version = self.verdict.version
        return session if session is not None and (not version or version in HANDSHAKE) else None

    async def _session_peer(self) -> tuple[Peer, Session | None]:
        """Return who sends a message without a claim: a session's client, or one that needs no session."""
        check_version(self.verdict.version)
        if self.services.options.sessions:
            session = await self.services.find_session(self.fields, self.principal)
            return session.peer, session
        revision = self.verdict.version or ASSUMED_WITHOUT_HEADER
        return Peer(revision=revision, principal=self.principal), None

    def _session_request(
        self, message: ParsedMessage, peer: Peer, session: Session | None, response: PostResponse
    ) -> Request:
        """Return a request of a session; another in flight may have the same id (R-307)."""
        method = message.method
        if not self.services.dispatcher.serves(method, peer.revision):
            raise RpcError(METHOD_NOT_FOUND, f"Method not found: {method}")
        level = DEFAULT_LOG_LEVEL if session is None else session.log_level or DEFAULT_LOG_LEVEL
        request = Request(
            message.id,
            method,
            message.checked_params(),
            peer,
            Channel(
                outlet=response,
                log_level=level,
                session=session,
                asker=NO_ASKER if session is None else self.services.asker,
            ),
            message.meta,
        )
        if peer.session_id is not None:
            request.channel.in_flight = self.services.in_flight
        return request

    async def _client_response(self, envelope: Envelope) -> None:
        """Take a client's response to a request of ours: 202 in a session, matched or not (E-28, E-29, R-321)."""
        if self.verdict.version in STATELESS:
            raise invalid_request("a response cannot be POSTed in this revision")
        peer, _ = await self._session_peer()
        await self._take_client_response(envelope, peer)
        await send_empty(self.exchange, 202, self.verdict.headers)

    async def _take_client_response(self, envelope: Envelope, peer: Peer) -> None:
        """Pass a client's response to the handler that asked, here or at another worker (R-334)."""
        asker = self.services.asker
        if not asker.answer(peer.session_id, envelope) and peer.session_id is not None:
            await asker.forward(peer.session_id, envelope)

    async def _notification(self, message: ParsedMessage) -> None:
        """Take a notification. The stateless era defines none over HTTP and discards it (E-30, R-212)."""
        if not self.stateless:
            peer, _ = await self._session_peer()
            self._act_on_notification(message, peer)
        await send_empty(self.exchange, 202, self.verdict.headers)

    def _act_on_notification(self, message: ParsedMessage, peer: Peer) -> None:
        """Act on a notification of a session: cancel what it cancels (R-361, R-363, R-364)."""
        params: Any = message.params
        if message.method == "notifications/cancelled" and params is not None and peer.session_id:
            self.services.cancel(peer.session_id, params)

    # -- batches (2025-03-26 only) -----------------------------------------------------------------------------

    async def _batch(self, elements: list[Raw]) -> None:
        """Serve an array of messages, in 2025-03-26 only (E-25, E-26, E-27, R-207, R-340, R-344)."""
        if len(elements) > self.services.options.batch_limit:
            raise invalid_request(f"a batch has at most {self.services.options.batch_limit} messages")
        if not elements or self.verdict.version in STATELESS or any(map(_claims, elements)):
            raise invalid_request("a body is exactly one message")
        peer, session = await self._session_peer()
        if peer.revision != BATCHING:
            raise invalid_request(f"revision {peer.revision} has no batches; a body is exactly one message")
        response = self._response(session)
        response.start_batch(peer.session_id)
        responses = self.services.options.responses
        batch = Batch(self.services.request_limit, responses.request_timeout, responses.timings.unwinding)
        bodies = await batch.serve(
            elements, lambda raw, outcome: self._element(raw, peer, session, response, batch, outcome)
        )
        response.stop_waiting()
        if batch.cancelled:
            await response.conclude_cancelled_batch(bodies)
            raise asyncio.CancelledError
        if bodies:
            await response.conclude_batch(bodies)
        else:  # there was no request in it
            await send_empty(self.exchange, 202, self.verdict.headers)

    async def _element(
        self,
        raw: Raw,
        peer: Peer,
        session: Session | None,
        response: PostResponse,
        batch: Batch,
        outcome: "asyncio.Future[bytes | None]",
    ) -> bytes | None:
        """Serve one message of a batch and return its response, if one is due."""
        id: RequestId | None = None
        try:
            envelope = decode(raw)
            if isinstance(envelope, list):
                raise invalid_request("a batch holds no batches")
            if envelope.method is UNSET:
                await self._take_client_response(envelope, peer)
                return None
            message = parse_message(envelope)
            if envelope.id is UNSET:
                self._act_on_notification(message, peer)
                return None
            id = envelope.id
            if envelope.method == "initialize":
                raise invalid_request("initialize is never part of a batch")
            return await batch.respond(self._session_request(message, peer, session, response), outcome)
        except RpcError as error:
            return encode_error(id if error.id is UNSET else error.id, error)
        except Exception as failure:
            return encode_error(id, masked(failure, "a message of a batch could not be served"))


def address_of(request: HttpRequest) -> str | None:
    """Return the IP address that a request comes from, as the server knows it; None if it does not."""
    client = request.client
    return client[0] if client else None


def _claims(raw: Raw) -> bool:
    """Whether an element of an array belongs to the stateless era."""
    try:
        envelope = decode(raw)
    except RpcError:
        return False
    return not isinstance(envelope, list) and envelope.method is not UNSET and parse_message(envelope).claim
