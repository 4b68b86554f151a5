"""One POST, from its headers to its response.

The era is read from the body: a claim in `_meta` makes a request stateless, `initialize` or a session id makes it
one of a session, and headers are a cross-check. Both eras go the same way from there on. A request may contradict
itself, its headers and its body; `docs/rules.md` has a row for each case.
"""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw

from enfilade.serving.callers.access import Caller
from enfilade.serving.channel import Channel, Peer
from enfilade.serving.client_requests.session import SessionAsker
from enfilade.serving.cluster import WorkerChannel
from enfilade.serving.dispatcher import Dispatcher, method_not_found
from enfilade.serving.failures import masked
from enfilade.serving.request import InFlight, Request
from enfilade.state.store import StoreError
from enfilade.transports.exchange import HttpExchange
from enfilade.transports.http.batching import Batch
from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.limits import HttpOptions, RequestLimit, StreamQuota, address_of
from enfilade.transports.http.request_checks import BodyReader, HeaderVerdict, UnreadBodyError, check_version
from enfilade.transports.http.response import PostResponse, send_empty
from enfilade.transports.http.sessions import Session, Sessions
from enfilade.transports.refusal_log import log_refusal
from enfilade.transports.request_parsing import ParsedMessage, decode_call, parse_message
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import (
    INVALID_PARAMS,
    Envelope,
    RequestId,
    RpcError,
    decode,
    encode_error,
    encode_result,
    invalid_request,
)
from enfilade.wire.lifecycle import InitializeRequestParams
from enfilade.wire.notifications import DEFAULT_LOG_LEVEL, CancelledNotificationParams
from enfilade.wire.revisions import (
    ASSUMED_WITHOUT_HEADER,
    BATCHING,
    HANDSHAKE,
    STATELESS,
    negotiate,
)

if TYPE_CHECKING:
    from enfilade.serving.observation.observer import Observation

_CLOSE: Final = (b"connection", b"close")


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of one endpoint share.

    Attributes:
        asker: asks the clients of sessions.
        in_flight: the requests of sessions that wait for something, by their ids.
        event_log: where streams of sessions are recorded; None if they cannot be resumed.
        request_limit: bounds the requests in flight.
        stream_quota: bounds the open event streams.
    """

    options: HttpOptions
    dispatcher: Dispatcher
    worker_channel: WorkerChannel
    sessions: Sessions
    asker: SessionAsker
    in_flight: InFlight
    event_log: SealedEventLog | None
    bodies: BodyReader
    request_limit: RequestLimit
    stream_quota: StreamQuota

    def cancel(self, session_id: str, params: CancelledNotificationParams) -> None:
        """Do what a client's `notifications/cancelled` asks, wherever the request is served (R-363)."""
        if not self.in_flight.cancel(session_id, params) and params.request_id is not UNSET:
            self.worker_channel.send("cancel", [session_id, params.request_id, params.reason or None])


class Post(msgspec.Struct, eq=False):
    """One POST to the endpoint.

    Attributes:
        owner: the key of the principal, to whom sessions, states and quotas belong; None if that is unknown.
        id: of the JSON-RPC request, once it was read.
        stateless: whether it belongs to the stateless era.
    """

    services: Services
    exchange: HttpExchange
    fields: dict[bytes, bytes]
    verdict: HeaderVerdict
    owner: str | None = None
    id: RequestId | None = None
    stateless: bool = False
    _message: ParsedMessage | None = None

    def serve(self) -> Awaitable[None]:
        """Return what serves it.

        Raises, now or when it is awaited:
            RpcError, StoreError: it is not served; `refuse` says so to the client.
        """
        if self.verdict.media is not None:
            self.verdict.check_media()
        take, bodies = self.exchange.whole_body, self.services.bodies
        if take is None or b"content-encoding" in self.fields or (body := take(bodies.plain)) is None:
            return self._read_and_serve()
        return self._serve_body(body)

    async def _read_and_serve(self) -> None:
        await self._serve_body(await self.services.bodies.read(self.fields, self.exchange))

    def _serve_body(self, body: bytes) -> Awaitable[None]:
        call = decode_call(body)
        if call is not None:  # nearly always
            return self._serve_message(call)
        decoded = decode(body)
        if isinstance(decoded, list):
            return self._batch(decoded)
        if decoded.method is UNSET:
            return self._client_response(decoded)
        return self._serve_message(parse_message(decoded))

    def _serve_message(self, message: ParsedMessage) -> Awaitable[None]:
        """Serve a request or take a notification, in the era it belongs to (R-101).

        The metadata in its body decides (R-102), also for `initialize` (E-10); the header only without it.
        """
        self._message, self.id, method = message, message.id, message.method
        self.stateless = message.claim or (self.verdict.is_stateless and method != "initialize")
        if self.id is None:
            return self._notification(message)
        if self.stateless:
            return self._stateless(message)
        if method == "initialize":
            return self._initialize(message)
        session = self._known_session()
        if session is None:
            return self._find_session(message)
        return self._in_session(message, session.peer, session)

    async def refuse(self, error: RpcError | StoreError) -> None:
        """Answer with an error."""
        observation, message = self.services.dispatcher.observation, self._message
        if not isinstance(error, RpcError):
            failure = masked(error, "a request could not be served")
            note_refusal(observation, failure)
            await self._response().conclude(503, encode_error(self.id, failure))
            return
        if message is not None and observation is not None:
            observation.refuse(error, message.method, message.params, self._known_peer(message))
        response = self._response()
        response.headers = [*response.headers, *error.headers]
        if isinstance(error, UnreadBodyError) and self.exchange.version.startswith("1"):
            response.headers = [*response.headers, _CLOSE]
        id = self.id if error.id is UNSET else error.id
        status = response.status_of(error)
        log_refusal(self.exchange.client, error, status)
        note_refusal(observation, error)
        await response.conclude(status, encode_error(id, error))

    def _known_peer(self, message: ParsedMessage) -> Peer | None:
        """Return who sent a message that is refused, if that can be read without a look into the store."""
        if not self.stateless:
            session = self._known_session()
            return None if session is None else session.peer
        try:
            return message.stateless_peer(self.owner)
        except RpcError:
            return None

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

    def _stateless(self, message: ParsedMessage) -> Awaitable[None]:
        """Return what serves a request with metadata of its own (E-01), after checks in a fixed order (E-11).

        Session id and `Last-Event-ID` are those of other requests and are not read (E-20, E-21, R-203).
        """
        method, fields, dispatcher = message.method, self.fields, self.services.dispatcher
        message.check_claim(fields, version := self.verdict.version)
        peer = message.stateless_peer(self.owner)
        if method not in dispatcher.unconditional[version]:
            if not dispatcher.offers(method, version):
                raise method_not_found(method)
            self._check_audience(method, peer)
            if (extension := dispatcher.extension_methods[version].get(method)) is not None:
                message.read_params(extension.decode)
                if message.params is not None:
                    extension.check_name(fields, message.params)
                extension.check_declared(peer)
        if message.params is not None:
            http.check_name(fields, method, message.params)
        params = message.checked_params()
        level = message.meta.log_level
        listens = method == "subscriptions/listen"
        response = self._response(endless=listens)
        request = Request(
            self.id,
            method,
            params,
            peer,
            Channel(
                outlet=response,
                log_level=None if level is UNSET else level,
                asker=dispatcher.stateless_asker,
                param_headers=fields,
                http=self.exchange,
            ),
            message.meta,
        )
        if listens:
            return self._listen(response, request)
        return response.run(self.services.request_limit.responder, request)

    def _check_audience(self, method: str, peer: Peer) -> None:
        """Refuse a method as unknown, before its parameters are checked, if all that it is for is hidden."""
        dispatcher = self.services.dispatcher
        if method in dispatcher.audiences and dispatcher.hides(method, Caller(self.exchange.principal, peer)):
            raise method_not_found(method)

    async def _listen(self, response: PostResponse, request: Request) -> None:
        """Serve a request that lasts as long as its client: it counts as a stream and not as in flight."""
        quota, address = self.services.stream_quota, address_of(self.exchange)
        quota.take(self.owner, None, address)
        try:
            await response.run(self.services.dispatcher, request)
        finally:
            quota.give_back(self.owner, None, address)

    # -- the session era ---------------------------------------------------------------------------------------

    async def _initialize(self, message: ParsedMessage) -> None:
        """Serve the handshake; only its success makes a session (E-12, R-318, R-319).

        A session id in the headers, live or not, is that of an earlier session: clients that were told that it
        has ended keep the header at times (E-14, E-15, R-306). An unknown version header is that of a client
        which is newer than this server, and its `initialize` is how the two agree (R-360); one of a revision
        without a handshake is refused (E-09).
        """
        if self.verdict.is_stateless:
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
        channel = Channel(session=session, http=self.exchange)
        request = Request(self.id, "initialize", params, peer, channel)
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
            session, token = self.services.sessions.create(params, revision, self.owner)
            return session.peer, session, token
        info, capabilities = params.client_info, params.capabilities
        peer = Peer(revision=revision, client_info=info, capabilities=capabilities, principal=self.owner)
        return peer, None, None

    def _known_session(self) -> Session | None:
        """Return the session of the request if it is in memory, as it nearly always is."""
        if not self.verdict.is_for_session:
            return None
        return self.services.sessions.cached(self.fields.get(http.SESSION_ID), self.owner)

    async def _session_peer(self) -> tuple[Peer, Session | None]:
        """Return who sends a message without a claim: a session's client, or one that needs no session."""
        check_version(self.verdict.version)
        if self.services.options.sessions:
            session = await self.services.sessions.named_by(self.fields, self.owner)
            return session.peer, session
        revision = self.verdict.version or ASSUMED_WITHOUT_HEADER
        return Peer(revision=revision, principal=self.owner), None

    async def _find_session(self, message: ParsedMessage) -> None:
        """Serve a request whose session is not in memory, or that needs none."""
        await self._in_session(message, *await self._session_peer())

    def _in_session(self, message: ParsedMessage, peer: Peer, session: Session | None) -> Awaitable[None]:
        response = self._response(session)
        request = self._session_request(message, peer, session, response)
        return response.run(self.services.request_limit.responder, request)

    def _session_request(
        self, message: ParsedMessage, peer: Peer, session: Session | None, response: PostResponse
    ) -> Request:
        """Return a request of a session; another in flight may have the same id (R-307)."""
        method, services = message.method, self.services
        if method not in services.dispatcher.unconditional[peer.revision]:
            if not services.dispatcher.serves(method, peer.revision):
                raise method_not_found(method)
            self._check_audience(method, peer)
            if (extension := services.dispatcher.extension_methods[peer.revision].get(method)) is not None:
                message.read_params(extension.decode)
                extension.check_declared(peer)
        if session is None:
            channel = Channel(outlet=response, log_level=DEFAULT_LOG_LEVEL, http=self.exchange)
        else:
            channel = Channel(
                outlet=response,
                log_level=session.log_level or DEFAULT_LOG_LEVEL,
                session=session,
                asker=services.asker,
                http=self.exchange,
                in_flight=services.in_flight,
            )
        return Request(message.id, method, message.checked_params(), peer, channel, message.meta)

    async def _client_response(self, envelope: Envelope) -> None:
        """Take a client's response to a request of ours: 202 in a session, matched or not (E-28, E-29, R-321)."""
        if self.verdict.is_stateless:
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
        """Take a notification. The stateless era defines none over HTTP and discards it (E-30, R-212).

        Those of extensions are taken in both.
        """
        if not self.stateless:
            peer, _ = await self._session_peer()
            self._act_on_notification(message, peer)
        elif message.method in self.services.dispatcher.notifications:
            message.check_claim(self.fields, self.verdict.version)
            self._act_on_notification(message, message.stateless_peer(self.owner))
        await send_empty(self.exchange, 202, self.verdict.headers)

    def _act_on_notification(self, message: ParsedMessage, peer: Peer) -> None:
        """Act on a notification of a session: cancel what it cancels (R-361, R-363, R-364)."""
        params: Any = message.params
        if message.method == "notifications/cancelled" and params is not None and peer.session_id:
            self.services.cancel(peer.session_id, params)
        elif message.method in self.services.dispatcher.notifications:
            self.services.dispatcher.take_notification(message.method, message.raw_params, peer)

    # -- batches (2025-03-26 only) -----------------------------------------------------------------------------

    async def _batch(self, elements: list[Raw]) -> None:
        """Serve an array of messages, in 2025-03-26 only (E-25, E-26, E-27, R-207, R-340, R-344)."""
        if len(elements) > self.services.options.batch_limit:
            raise invalid_request(f"a batch has at most {self.services.options.batch_limit} messages")
        if not elements or self.verdict.is_stateless or any(map(_claims, elements)):
            raise invalid_request("a body is exactly one message")
        peer, session = await self._session_peer()
        if peer.revision != BATCHING:
            raise invalid_request(f"revision {peer.revision} has no batches; a body is exactly one message")
        response = self._response(session)
        response.start_batch(peer.session_id)
        services, responses = self.services, self.services.options.responses
        batch = Batch(services.request_limit, responses.request_timeout, responses.timings.unwinding)
        serve = self._element if services.dispatcher.observation is None else self._observed_element
        bodies = await batch.serve(
            elements, lambda raw, outcome: serve(raw, peer, session, response, batch, outcome)
        )
        response.stop_waiting()
        if batch.cancelled:
            await response.conclude_cancelled_batch(bodies)
            raise asyncio.CancelledError
        if bodies:
            await response.conclude_batch(bodies)
        else:  # there was no request in it
            await send_empty(self.exchange, 202, self.verdict.headers)

    async def _observed_element(self, raw: Raw, *others: Any) -> bytes | None:
        """Serve one message of a batch with a record of its own."""
        observation = self.services.dispatcher.observation
        assert observation is not None
        with observation.element(memoryview(raw).nbytes) as record:
            body = await self._element(raw, *others)
            record.bytes_out = 0 if body is None else len(body)
            return body

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
        message: ParsedMessage | None = None
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
            note_refusal(self.services.dispatcher.observation, error, message)
            return encode_error(id if error.id is UNSET else error.id, error)
        except Exception as failure:
            return encode_error(id, masked(failure, "a message of a batch could not be served"))


def note_refusal(
    observation: "Observation | None", error: RpcError, message: ParsedMessage | None = None
) -> None:
    """Note in the record of the current request that it is refused, if anybody observes requests."""
    if observation is not None:
        observation.refuse(error, *(() if message is None else (message.method, message.params)))


def _claims(raw: Raw) -> bool:
    """Whether an element of an array belongs to the stateless era."""
    try:
        envelope = decode(raw)
    except RpcError:
        return False
    return not isinstance(envelope, list) and envelope.method is not UNSET and parse_message(envelope).claim
