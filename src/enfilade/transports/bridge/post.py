"""One POST to a session whose loop somebody has brought along.

It is checked as any POST, read once, and handed to the loop; what the loop answers is the answer. The easy thing
to get wrong is the order: a notification is with the loop before its sender is told that it was accepted, or a
request that is sent next could overtake it (D21).
"""

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET

from enfilade.serving.channel import Channel
from enfilade.serving.peer import Peer
from enfilade.serving.request import Request
from enfilade.transports.asgi_types import Headers, Receive, Scope, Send
from enfilade.transports.bridge.messages import Arrival
from enfilade.transports.bridge.session_loop import SessionLoop
from enfilade.transports.http.request_checks import HeaderVerdict
from enfilade.transports.http.response import PostResponse, send_empty
from enfilade.transports.request_parsing import parse_message
from enfilade.wire import headers as http
from enfilade.wire.cancellation import CancelledNotificationParams
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
from enfilade.wire.revisions import HANDSHAKE, POLLING, STATELESS, UNSUPPORTED

if TYPE_CHECKING:
    from enfilade.transports.bridge.transport import HTTPStreamableTransport

_NO_PARAMS: Final = RequestParams()
_CLAIM: Final = PROTOCOL_VERSION.encode()


class _Agreement(msgspec.Struct, rename="camel"):
    protocol_version: str


class DuplexPost:
    """One POST.

    Args:
        door: the transport.
        scope: of the request.
        fields: its headers.
        headers: what every response to it carries.
    """

    def __init__(
        self,
        door: "HTTPStreamableTransport",
        scope: "Scope",
        fields: dict[bytes, bytes],
        verdict: HeaderVerdict,
        headers: Headers,
        receive: Receive,
        send: Send,
    ) -> None:
        self._door = door
        self._scope = scope
        self._fields = fields
        self._headers = headers
        self._receive = receive
        self._send = send
        self._verdict = verdict
        self._version = verdict.version

    async def serve(self) -> None:
        """Answer it.

        Raises:
            RpcError: it is refused, and no response was begun.
        """
        self._verdict.check_media()
        body = await self._door.bodies.read(self._fields, self._receive)
        envelope = decode(body)
        if isinstance(envelope, list):
            raise invalid_request("a body is exactly one message")
        try:
            if envelope.method is not UNSET and envelope.id is not UNSET:
                await self._request(body, envelope)
            else:
                await self._message(body, envelope)
        except RpcError as error:
            if error.id is UNSET and envelope.method is not UNSET:
                error.id = envelope.id
            error.status = error.status or STATELESS_STATUS.get(error.code, 400)
            raise

    # -- requests ----------------------------------------------------------------------------------------------

    async def _request(self, body: bytes, envelope: Envelope) -> None:
        opens, stateless = envelope.method == "initialize", self._is_stateless(envelope)
        if stateless:
            self._check_stateless(envelope)
        elif not opens or http.SESSION_ID in self._fields:
            self._door.sole.check(self._fields)
        response = PostResponse(
            receive=self._receive,
            write=self._send,
            accepts=self._verdict.accepts,
            stateless=stateless,
            options=self._door.response_options,
            headers=self._headers,
            endless=stateless and envelope.method == "subscriptions/listen",
            event_log=None if stateless else self._door.event_log,
        )
        peer = Peer(revision=self._version or self._door.sole.revision, session_id=self._door.sole.key)
        request = Request(
            None if envelope.id is UNSET else envelope.id,
            str(envelope.method),
            _NO_PARAMS,
            peer,
            Channel(outlet=response),
        )
        arrival = self._arrival(body, envelope, response, stateless=stateless)
        call = self._door.loop.begin(arrival, request, response, self._agree if opens else None)
        await response.run(call, request)

    def _agree(self, result: bytes) -> None:
        try:
            self._door.sole.agree(msgspec.json.decode(result, type=_Agreement).protocol_version)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # the client will see for itself that this is no answer to initialize

    def _arrival(self, body: bytes, envelope: Envelope, response: PostResponse, *, stateless: bool) -> Arrival:
        """Return a request as the loop gets it, with what it may do about its streams."""
        door = self._door
        polls = door.event_log is not None and not stateless and door.sole.revision in POLLING
        json_only = door.response_options.json_response and self._verdict.accepts[0]
        return Arrival(
            body=body,
            envelope=envelope,
            scope=self._scope,
            can_ask=self._verdict.accepts[1] and not json_only and not stateless,
            part=(lambda: _part(response)) if polls else None,
            part_own=door.own.part if polls else None,
            unanswered=lambda: _unanswered(door.loop, envelope),
        )

    # -- the stateless era -------------------------------------------------------------------------------------

    def _is_stateless(self, envelope: Envelope) -> bool:
        """Whether a message belongs to 2026-07-28; its params are read for it only if they may say so."""
        if self._version in STATELESS and envelope.method != "initialize":
            return True
        return envelope.params is not UNSET and _CLAIM in bytes(envelope.params) and parse_message(envelope).claim

    def _check_stateless(self, envelope: Envelope) -> None:
        """Check a request that carries its own metadata, as far as it does not take to know its method."""
        if self._door.mcp_session_id is not None:
            known = ", ".join(HANDSHAKE)
            text = f"{UNSUPPORTED}: this is a session; send initialize first, in one of {known}"
            raise RpcError(INVALID_REQUEST, text, status=400)
        message = parse_message(envelope)
        message.check_claim(self._fields, self._version)
        if message.params is not None:
            http.check_name(self._fields, message.method, message.params)

    # -- what has no answer ------------------------------------------------------------------------------------

    async def _message(self, body: bytes, envelope: Envelope) -> None:
        """Hand on a notification or the answer to a question, and only then say that it was accepted."""
        if self._version in STATELESS or self._is_stateless(envelope):
            if envelope.method is UNSET:
                raise invalid_request("a response cannot be POSTed in this revision")
        else:
            self._door.sole.check(self._fields)
            await self._door.loop.deliver(Arrival(body=body, envelope=envelope, scope=self._scope))
            if envelope.method == "notifications/cancelled":
                _cancel(self._door.loop, envelope)
        await send_empty(self._send, 202, self._headers)


def _part(response: PostResponse) -> None:
    response.part(None)


def _unanswered(loop: SessionLoop, envelope: Envelope) -> None:
    if envelope.id is not UNSET:
        loop.cancelled(envelope.id)


def _cancel(loop: SessionLoop, envelope: Envelope) -> None:
    """End the call that a notification is about, since no answer to it is due."""
    params = parse_message(envelope).params
    if isinstance(params, CancelledNotificationParams) and params.request_id is not UNSET:
        loop.cancelled(params.request_id)
