"""Messages as the session loops of others have them: what they read, and whatever they write.

A loop reads dicts, JSON text, or the messages of the official SDK, as its host says once. What it writes is known
by its looks, so nothing of the SDK is imported unless its messages are wanted. The easy thing to get wrong is a
message that cannot be read: somebody may be waiting for it, so as much as can be is found out about whom.
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

_SAID_ID: Final = re.compile(rb'"id"\s*:\s*(-?\d{1,18}|"(?:[^"\\]|\\.)*")')


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A message on its way to the loop.

    Attributes:
        body: its text, checked to be one JSON-RPC message.
        envelope: the same, read; its params, result or error are raw JSON.
        scope: of the HTTP request that brought it; None for what the transport says itself.
        can_ask: whether questions can be sent on the stream of this request.
        part: ends the connection of this request while its stream goes on (`EventStream.part`), after which the
            client comes back for the rest; None if it would not.
        part_own: the same for the session's own stream.
        unanswered: to be called if this request will have no answer.
    """

    body: bytes
    envelope: Envelope
    scope: MutableMapping[str, Any] | None = None
    can_ask: bool = False
    part: Callable[[], None] | None = None
    part_own: Callable[[], None] | None = None
    unanswered: Callable[[], None] | None = None


def arrival_of(body: bytes) -> Arrival:
    """Return a message that the transport itself says to the loop."""
    envelope = decode(body)
    assert not isinstance(envelope, list)
    return Arrival(body=body, envelope=envelope)


def as_text(arrival: Arrival) -> str:
    """Return a message as JSON text."""
    return arrival.body.decode()


def as_dict(arrival: Arrival) -> dict[str, Any]:
    """Return a message as Python's `json` would read it."""
    envelope = arrival.envelope
    message: dict[str, Any] = {"jsonrpc": "2.0"}
    for name in ("id", "method", "params", "result", "error"):
        value = getattr(envelope, name)
        if value is not UNSET:
            message[name] = msgspec.json.decode(value) if isinstance(value, Raw) else value
    if envelope.error is not UNSET and envelope.id is UNSET:
        message["id"] = None
    return message


def as_session_message(arrival: Arrival) -> "SessionMessage":
    """Return a message as the official SDK (`mcp`, 2.3 or newer) has it.

    Raises:
        RpcError: INVALID_REQUEST for what the SDK takes for no message.
    """
    from mcp.shared.message import ServerMessageMetadata, SessionMessage
    from mcp_types import jsonrpc_message_adapter
    from pydantic import ValidationError
    from starlette.requests import Request

    try:
        message = jsonrpc_message_adapter.validate_python(as_dict(arrival), by_name=False)
    except ValidationError:
        raise invalid_request("not a message of MCP", arrival.envelope.id) from None
    metadata = ServerMessageMetadata(
        request_context=None if arrival.scope is None else Request(arrival.scope),
        close_sse_stream=_awaitable(arrival.part),
        close_standalone_sse_stream=_awaitable(arrival.part_own),
        on_request_unanswered=_awaitable(arrival.unanswered),
        can_send_request=arrival.can_ask or arrival.envelope.method is UNSET or arrival.envelope.id is UNSET,
    )
    return SessionMessage(message, metadata)


def _awaitable(call: Callable[[], None] | None) -> Any:
    if call is None:
        return None

    async def called() -> None:
        call()

    return called


@dataclass(frozen=True)
class RelatedMessage:
    """A message that a loop writes because of a request, and so belongs on that request's stream.

    Attributes:
        message: a dict, JSON text or a pydantic model.
        related_request_id: the id that the client gave its request.
    """

    message: object
    related_request_id: RequestId


class Said(NamedTuple):
    """What a loop wrote.

    Attributes:
        body: compact JSON.
        envelope: the same, read.
        related: the request that it belongs to, or None.
    """

    body: bytes
    envelope: Envelope
    related: RequestId | None


class UnreadableError(Exception):
    """A loop wrote what is no message.

    Args:
        why: for the log.
        id: the id that it seems to have; None if there is no telling.
        answers: whether it may have been meant as an answer.
    """

    def __init__(self, why: str, id: RequestId | None, *, answers: bool) -> None:
        super().__init__(why)
        self.id = id
        self.answers = answers


def read(written: object) -> Said:
    """Return what a loop wrote: a dict, JSON text or bytes, a pydantic model, or one of these as the `message` of
    something that names its request (`RelatedMessage`, the SDK's `SessionMessage`).

    Raises:
        UnreadableError: it is none of these.
    """
    plain = isinstance(written, str | bytes | Mapping)
    message = written if plain else getattr(written, "message", written)
    related = None if plain else _related(written)
    try:
        body = _json(message)
    except Exception as error:  # whatever an author's own class raises
        raise UnreadableError(
            f"it cannot be written as JSON: {error!r}", _id_of(message), answers=True
        ) from error
    if body is None:
        raise UnreadableError(f"{type(message).__name__} is no message", _id_of(message), answers=False)
    try:
        if b"\n" in body or b"\r" in body:
            body = msgspec.json.format(body, indent=-1)
        envelope = decode(body)
        if isinstance(envelope, list):
            raise invalid_request("several messages at once")
    except (RpcError, msgspec.DecodeError) as error:
        raise UnreadableError(str(error), _id_in(body), answers=body.lstrip()[:1] == b"{") from None
    return Said(body, envelope, related)


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


def _related(written: object) -> RequestId | None:
    for holder in (written, getattr(written, "metadata", None)):
        related = getattr(holder, "related_request_id", None)
        if isinstance(related, int | str) and not isinstance(related, bool):
            return related
    return None


def _id_of(message: object) -> RequestId | None:
    id = message.get("id") if isinstance(message, Mapping) else getattr(message, "id", None)
    return id if isinstance(id, int | str) and not isinstance(id, bool) else None


def _id_in(text: bytes) -> RequestId | None:
    """Return the first id in something that is nearly JSON."""
    found = _SAID_ID.search(text)
    if found is None:
        return None
    try:
        return msgspec.json.decode(found[1], type=int | str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
