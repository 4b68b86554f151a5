"""Conversion of messages for session loops of users: what a loop reads, and whatever it writes.

A loop reads dicts, JSON text, or the messages of the official SDK, as chosen in `connect`. What it writes is
recognised by its attributes, so the SDK is imported only for loops that read its messages. Easy to get wrong: a
message that cannot be decoded. A client may be waiting for it, so its id is extracted if at all possible.
"""

import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from enfilade.wire.jsonrpc import Envelope, RequestId, RpcError, decode, invalid_request

if TYPE_CHECKING:
    from mcp.shared.message import SessionMessage

_FIRST_ID: Final = re.compile(rb'"id"\s*:\s*(-?\d{1,18}|"(?:[^"\\]|\\.)*")')


class InboundMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message on its way to the loop.

    Attributes:
        body: its JSON text, checked to be one JSON-RPC message.
        envelope: the same, decoded; its params, result or error are raw JSON.
        scope: of the HTTP request that brought it; None for a message of the transport itself.
        can_ask: whether requests to the client can be sent on the stream of this request.
        close_stream: closes the connection of this request while its stream goes on (`EventStream.detach`), after
            which the client reconnects for the rest; None if it would not.
        close_server_stream: the same for the session's stream by GET.
        on_unanswered: to be called if this request will have no answer.
    """

    body: bytes
    envelope: Envelope
    scope: MutableMapping[str, Any] | None = None
    can_ask: bool = False
    close_stream: Callable[[], None] | None = None
    close_server_stream: Callable[[], None] | None = None
    on_unanswered: Callable[[], None] | None = None


def inbound_message(body: bytes) -> InboundMessage:
    """Return a message of the transport itself to the loop."""
    envelope = decode(body)
    assert not isinstance(envelope, list)
    return InboundMessage(body=body, envelope=envelope)


def as_text(inbound: InboundMessage) -> str:
    """Return a message as JSON text."""
    return inbound.body.decode()


def as_dict(inbound: InboundMessage) -> dict[str, Any]:
    """Return a message as Python's `json` would decode it."""
    envelope = inbound.envelope
    message: dict[str, Any] = {"jsonrpc": "2.0"}
    for name in ("id", "method", "params", "result", "error"):
        value = getattr(envelope, name)
        if value is not UNSET:
            message[name] = msgspec.json.decode(value) if isinstance(value, Raw) else value
    if envelope.error is not UNSET and envelope.id is UNSET:
        message["id"] = None
    return message


def as_session_message(inbound: InboundMessage) -> "SessionMessage":
    """Return a message as the official SDK (`mcp`, 2.3 or newer) has it.

    Raises:
        RpcError: INVALID_REQUEST for what is not a message to the SDK.
    """
    from mcp.shared.message import ServerMessageMetadata, SessionMessage
    from mcp_types import jsonrpc_message_adapter
    from pydantic import ValidationError
    from starlette.requests import Request

    try:
        message = jsonrpc_message_adapter.validate_python(as_dict(inbound), by_name=False)
    except ValidationError:
        raise invalid_request("not a message of MCP", inbound.envelope.id) from None
    metadata = ServerMessageMetadata(
        request_context=None if inbound.scope is None else Request(inbound.scope),
        close_sse_stream=_awaitable(inbound.close_stream),
        close_standalone_sse_stream=_awaitable(inbound.close_server_stream),
        on_request_unanswered=_awaitable(inbound.on_unanswered),
        can_send_request=inbound.can_ask or inbound.envelope.method is UNSET or inbound.envelope.id is UNSET,
    )
    return SessionMessage(message, metadata)


def _awaitable(callback: Callable[[], None] | None) -> Any:
    if callback is None:
        return None

    async def call() -> None:
        callback()

    return call


@dataclass(frozen=True)
class RelatedMessage:
    """A message that a loop writes for a request; it is sent on that request's stream.

    Attributes:
        message: a dict, JSON text or a pydantic model.
        related_request_id: the id that the client gave its request.
    """

    message: object
    related_request_id: RequestId


class OutboundMessage(NamedTuple):
    """A message that a loop wrote.

    Attributes:
        body: compact JSON.
        envelope: the same, decoded.
        related: the id of the request that it belongs to, or None.
    """

    body: bytes
    envelope: Envelope
    related: RequestId | None


class UnreadableError(Exception):
    """A loop wrote what is not a message.

    Args:
        reason: for the log.
        id: the id that it seems to have; None if it is unknown.
        may_be_response: whether it may have been meant as a response.
    """

    def __init__(self, reason: str, id: RequestId | None, *, may_be_response: bool) -> None:
        super().__init__(reason)
        self.id = id
        self.may_be_response = may_be_response


def decode_written(written: object) -> OutboundMessage:
    """Return what a loop wrote as a message.

    Args:
        written: a dict, JSON text or bytes, a pydantic model, or an object with one of these as its `message`
            that names its request (`RelatedMessage`, the SDK's `SessionMessage`).

    Raises:
        UnreadableError: it is none of these.
    """
    is_plain = isinstance(written, str | bytes | Mapping)
    message = written if is_plain else getattr(written, "message", written)
    related = None if is_plain else _related_request_id(written)
    try:
        body = _json(message)
    except Exception as error:  # whatever a user's own class raises
        raise UnreadableError(
            f"it cannot be written as JSON: {error!r}", _id_of(message), may_be_response=True
        ) from error
    if body is None:
        name = type(message).__name__
        raise UnreadableError(f"{name} is not a message", _id_of(message), may_be_response=False)
    try:
        if b"\n" in body or b"\r" in body:
            body = msgspec.json.format(body, indent=-1)
        envelope = decode(body)
        if isinstance(envelope, list):
            raise invalid_request("several messages at once")
    except (RpcError, msgspec.DecodeError) as error:
        raise UnreadableError(str(error), _id_in(body), may_be_response=body.lstrip()[:1] == b"{") from None
    return OutboundMessage(body, envelope, related)


def _json(message: object) -> bytes | None:
    if isinstance(message, bytes):
        return message
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, Mapping):
        return msgspec.json.encode(message)
    dump = getattr(message, "model_dump_json", None)
    if dump is None:
        return None
    text: str = dump(by_alias=True, exclude_none=True)
    return text.encode()


def _related_request_id(written: object) -> RequestId | None:
    for holder in (written, getattr(written, "metadata", None)):
        related = getattr(holder, "related_request_id", None)
        if isinstance(related, int | str) and not isinstance(related, bool):
            return related
    return None


def _id_of(message: object) -> RequestId | None:
    id = message.get("id") if isinstance(message, Mapping) else getattr(message, "id", None)
    return id if isinstance(id, int | str) and not isinstance(id, bool) else None


def _id_in(text: bytes) -> RequestId | None:
    """Return the first id in invalid JSON."""
    match = _FIRST_ID.search(text)
    if match is None:
        return None
    try:
        return msgspec.json.decode(match[1], type=int | str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
