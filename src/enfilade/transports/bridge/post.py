"""One POST to a session whose loop the user has brought.

It is checked as any POST, read, and delivered to the loop; what the loop writes for it is the response. Easy to
get wrong: the order. A notification is delivered before its sender gets 202, or a request that is sent next
could overtake it (D21).
"""

from typing import Final

import msgspec
from msgspec import UNSET

from enfilade.serving.channel import Channel, Peer
from enfilade.serving.request import Request
from enfilade.transports.bridge.messages import InboundMessage
from enfilade.transports.bridge.session import ServerStream, SingleSession
from enfilade.transports.bridge.session_loop import SessionLoop
from enfilade.transports.exchange import Headers, HttpExchange
from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.request_checks import BodyReader, HeaderVerdict
from enfilade.transports.http.response import PostResponse, ResponseOptions, send_empty
from enfilade.transports.request_parsing import parse_message
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import (
    INVALID_REQUEST,
    STATELESS_STATUS,
    Envelope,
    RpcError,
    decode,
    invalid_request,
)
from enfilade.wire.lifecycle import PROTOCOL_VERSION
from enfilade.wire.message import RequestParams
from enfilade.wire.notifications import CancelledNotificationParams
from enfilade.wire.revisions import HANDSHAKE, POLLING, STATELESS, UNSUPPORTED

_NO_PARAMS: Final = RequestParams()
_CLAIM: Final = PROTOCOL_VERSION.encode()


class BridgeServices(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of one transport share.

    Attributes:
        event_log: where streams are recorded; None if they cannot be resumed.
    """

    session: SingleSession
    server_stream: ServerStream
    bodies: BodyReader
    response_options: ResponseOptions
    event_log: SealedEventLog | None


class _InitializeResult(msgspec.Struct, rename="camel"):
    protocol_version: str


class BridgePost:
    """One POST.

    Args:
        headers: of every response to it.
    """

    def __init__(
        self,
        services: BridgeServices,
        loop: SessionLoop,
        exchange: HttpExchange,
        fields: dict[bytes, bytes],
        verdict: HeaderVerdict,
        headers: Headers,
    ) -> None:
        self._services = services
        self._loop = loop
        self._exchange = exchange
        self._fields = fields
        self._headers = headers
        self._verdict = verdict
        self._version = verdict.version

    async def serve(self) -> None:
        """Answer it.

        Raises:
            RpcError: it is refused, and no response was begun.
        """
        self._verdict.check_media()
        body = await self._services.bodies.read(self._fields, self._exchange)
        envelope = decode(body)
        if isinstance(envelope, list):
            raise invalid_request("a body is exactly one message")
        try:
            if envelope.method is not UNSET and envelope.id is not UNSET:
                await self._serve_request(body, envelope)
            else:
                await self._accept(body, envelope)
        except RpcError as error:
            if error.id is UNSET and envelope.method is not UNSET:
                error.id = envelope.id
            error.status = error.status or STATELESS_STATUS.get(error.code, 400)
            raise

    # -- requests ----------------------------------------------------------------------------------------------

    async def _serve_request(self, body: bytes, envelope: Envelope) -> None:
        services, session = self._services, self._services.session
        initializes, stateless = envelope.method == "initialize", self._is_stateless(envelope)
        if stateless:
            self._check_stateless(envelope)
        elif not initializes or http.SESSION_ID in self._fields:
            session.check(self._fields, self._version)
        response = PostResponse(
            exchange=self._exchange,
            accepts=self._verdict.accepts,
            stateless=stateless,
            options=services.response_options,
            headers=self._headers,
            endless=stateless and envelope.method == "subscriptions/listen",
            event_log=None if stateless else services.event_log,
        )
        peer = Peer(revision=self._version or session.revision, session_id=session.key)
        request = Request(
            None if envelope.id is UNSET else envelope.id,
            str(envelope.method),
            _NO_PARAMS,
            peer,
            Channel(outlet=response),
        )
        message = self._inbound_message(body, envelope, response, stateless=stateless)
        call = self._loop.begin(message, request, response, self._read_revision if initializes else None)
        await response.run(call, request)

    def _read_revision(self, result: bytes) -> None:
        try:
            revision = msgspec.json.decode(result, type=_InitializeResult).protocol_version
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # the client will notice that this is no answer to initialize
        self._services.session.set_revision(revision)

    def _inbound_message(
        self, body: bytes, envelope: Envelope, response: PostResponse, *, stateless: bool
    ) -> InboundMessage:
        """Return a request for the loop, with what the loop can do with its streams."""
        services = self._services
        is_polling = services.event_log is not None and not stateless and services.session.revision in POLLING
        is_json_only = services.response_options.json_response and self._verdict.accepts[0]
        return InboundMessage(
            body=body,
            envelope=envelope,
            scope=self._exchange.scope,
            can_ask=self._verdict.accepts[1] and not is_json_only and not stateless,
            close_stream=(lambda: _close_connection(response)) if is_polling else None,
            close_server_stream=services.server_stream.detach if is_polling else None,
            on_unanswered=lambda: _end_call(self._loop, envelope),
        )

    # -- revision 2026-07-28 -----------------------------------------------------------------------------------

    def _is_stateless(self, envelope: Envelope) -> bool:
        """Whether a message belongs to 2026-07-28; its params are decoded only if they may say so."""
        if self._version in STATELESS and envelope.method != "initialize":
            return True
        return envelope.params is not UNSET and _CLAIM in bytes(envelope.params) and parse_message(envelope).claim

    def _check_stateless(self, envelope: Envelope) -> None:
        """Check a request that has its metadata in its params, independently of its method."""
        if self._services.session.id is not None:
            revisions = ", ".join(HANDSHAKE)
            text = f"{UNSUPPORTED}: this is a session; send initialize first, in one of {revisions}"
            raise RpcError(INVALID_REQUEST, text, status=400)
        message = parse_message(envelope)
        message.check_claim(self._fields, self._version)
        if message.params is not None:
            http.check_name(self._fields, message.method, message.params)

    # -- notifications and responses ---------------------------------------------------------------------------

    async def _accept(self, body: bytes, envelope: Envelope) -> None:
        """Deliver a notification, or a response to a request of the loop, and then send 202."""
        if self._version in STATELESS or self._is_stateless(envelope):
            if envelope.method is UNSET:
                raise invalid_request("a response cannot be POSTed in this revision")
        else:
            self._services.session.check(self._fields, self._version)
            await self._loop.deliver(InboundMessage(body=body, envelope=envelope, scope=self._exchange.scope))
            if envelope.method == "notifications/cancelled":
                _cancel(self._loop, envelope)
        await send_empty(self._exchange, 202, self._headers)


def _close_connection(response: PostResponse) -> None:
    response.close_connection(None)


def _end_call(loop: SessionLoop, envelope: Envelope) -> None:
    if envelope.id is not UNSET:
        loop.end_call(envelope.id)


def _cancel(loop: SessionLoop, envelope: Envelope) -> None:
    """End the call that a notification cancels: no answer to it is due."""
    params = parse_message(envelope).params
    if isinstance(params, CancelledNotificationParams) and params.request_id is not UNSET:
        loop.end_call(params.request_id)
