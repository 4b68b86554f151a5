"""JSON-RPC 2.0 as MCP uses it: one-pass decoding of the envelope, error codes, and encoding.

The easy thing to get wrong is the id. It is a string or an integer, it keeps its JSON type (`1` is not `"1"`),
and `null`, `true`, `1.0` and `1.5` are invalid requests rather than notifications (R-209, E-33). `Envelope`
types it so strictly that Python's own equality (`True == 1 == 1.0`) can never confuse two of them.

`params` stays raw bytes until the method is known, so each part of a body is parsed once.
"""

import re
from functools import cache
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

RequestId = int | str

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
RESOURCE_NOT_FOUND: Final = -32002
HEADER_MISMATCH: Final = -32020
MISSING_CLIENT_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022

#: HTTP status that 2026-07-28 prescribes for an error code; any other error rides on 200 (protocol §1.8).
STATELESS_STATUS: Final = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    METHOD_NOT_FOUND: 404,
    HEADER_MISMATCH: 400,
    MISSING_CLIENT_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
}


class RpcError(Exception):
    """A JSON-RPC error that is the outcome of a request; its text is meant for the peer.

    Args:
        code: JSON-RPC error code.
        message: one sentence for the peer, without internals.
        data: optional JSON-serializable detail.
        id: the request's id where it was readable; left unset the sender fills it in.
        status: HTTP status that outranks the table of the era, for errors decided at the doorway.
    """

    def __init__(
        self,
        code: int,
        message: str,
        data: Any = UNSET,
        *,
        id: RequestId | UnsetType = UNSET,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.id = id
        self.status = status


class Envelope(msgspec.Struct, gc=False):
    """One message as it stands on the wire: a request, a notification or a response.

    `method` set with `id` is a request, without `id` a notification; `method` unset is a response.
    """

    jsonrpc: Literal["2.0"]
    id: int | str | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class _Members(msgspec.Struct, gc=False):
    """The members of an object that might be meant as a message, none of them built."""

    jsonrpc: Raw | UnsetType = UNSET
    id: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_OBJECT: Final = ord("{")
_NULL: Final = ord("n")

_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_batch = msgspec.json.Decoder(list[Raw]).decode
_decode_members = msgspec.json.Decoder(_Members).decode
_encode = msgspec.json.Encoder().encode

_READABLE: Final = 4096  # bytes at either end of a message that is too deep, in which its id is looked for

#: Characters of an error's text that are sent.
LONGEST_TEXT: Final = 2048

_LARGE: Final = 64 * 1024  # bytes of an array below which it may have any number of elements
_MOST_ELEMENTS: Final = 1024


def decode(body: bytes | Raw) -> Envelope | list[Raw]:
    """Parse one HTTP body or one stdio line.

    Returns:
        The envelope, or for a JSON array its elements still raw.

    Raises:
        RpcError: PARSE_ERROR for anything that is not UTF-8 JSON, INVALID_REQUEST for JSON that is no JSON-RPC
            2.0 message; `id` is set where it could be read. What is nested beyond the parser's limit is the
            latter where its id can be read, and the former elsewhere.
    """
    try:
        if type(body) is bytes and not body.isascii():
            str(body, "utf-8")  # raw parts are not checked by the parser: refuse bad UTF-8 wherever it is
        envelope = _decode_envelope(body)
    except msgspec.ValidationError:
        return _second_look(body)
    except RecursionError:
        raise _too_deep(body) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        if type(body) is bytes and body.startswith(_BYTE_ORDER_MARK):
            return decode(Raw(body[len(_BYTE_ORDER_MARK) :]))  # which may be ignored (RFC 8259 §8.1), once
        raise RpcError(PARSE_ERROR, "Parse error: the body is not valid UTF-8 JSON", status=400) from None
    if envelope.method is UNSET:
        if (envelope.result is UNSET) == (envelope.error is UNSET) or envelope.id is UNSET:
            raise invalid_request("neither a request, a notification nor a response", envelope.id)
    elif envelope.result is not UNSET or envelope.error is not UNSET:
        raise invalid_request("a request has no 'result' or 'error'", envelope.id)
    elif envelope.params is not UNSET:
        first = memoryview(envelope.params)[0]
        if first == _NULL:  # null params are absent params to every SDK in the field
            envelope.params = UNSET
        elif first != _OBJECT:
            raise invalid_request("'params' must be an object", envelope.id)
    return envelope


def _second_look(body: bytes | Raw) -> Envelope | list[Raw]:
    """Say what is wrong with well-formed JSON that is no envelope; only bad input pays for this second parse."""
    try:
        first = bytes(body).lstrip(b" \t\r\n")[:1]
        if first == b"[":
            return _decode_array(body)
        if first != b"{":
            msgspec.json.decode(body)
            raise invalid_request("a message is a JSON object")
        members = _decode_members(body)
        id = _scalar(members.id)
        version = _scalar(members.jsonrpc)
    except RecursionError:
        raise _too_deep(body) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RpcError(PARSE_ERROR, "Parse error: the body is not valid UTF-8 JSON", status=400) from None
    readable = id if isinstance(id, int | str) and not isinstance(id, bool) else UNSET
    if version != "2.0":
        raise invalid_request("'jsonrpc' must be \"2.0\"", readable)
    if members.method is UNSET and isinstance(members.error, Raw) and id is None:
        return Envelope(jsonrpc="2.0", error=members.error)  # a peer that could not read our id
    if members.id is not UNSET and readable is UNSET:
        raise invalid_request("'id' must be a string or an integer")
    raise invalid_request("'method' must be a string", readable)


def _too_deep(body: bytes | Raw) -> RpcError:
    """Return the error for a message that is nested beyond the parser's limit, with the id of a request.

    The caller of a tool waits for its id. It is looked for where it can be read: among the members before the
    first nested one, and after the last.
    """
    data = bytes(body)
    found = [_members_in(b"{" + each + b"}") for each in (_members_before(data), _members_after(data))]
    is_request = any(each.method is not UNSET for each in found)
    ids = [each for each in (_scalar(members.id) for members in found) if type(each) in (int, str)]
    if is_request and ids:
        return invalid_request("it is nested too deeply", ids[0])
    return RpcError(PARSE_ERROR, "Parse error: the message is nested too deeply", status=400)


def _members_before(body: bytes) -> bytes:
    """Return the members of an object before the first that is an object or array, if there are any."""
    found = _pattern(rb"\s*\{\s*(%(member)b(?:,\s*%(member)b)*),").match(body[:_READABLE])
    return found[1] if found else b""


def _members_after(body: bytes) -> bytes:
    """Return the members of an object after the last that is an object or array, if there are any."""
    found = _pattern(rb"[}\]]\s*,\s*(%(member)b(?:,\s*%(member)b)*)\}\s*\Z").search(body[-_READABLE:])
    return found[1] if found else b""


@cache
def _pattern(text: bytes) -> "re.Pattern[bytes]":
    string = rb'"(?:[^"\\]|\\.)*"'
    return re.compile(text % {b"member": rb"%b\s*:\s*(?:%b|[-+.\w]+)\s*" % (string, string)})


def _members_in(body: bytes) -> _Members:
    try:
        return _decode_members(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Members()


def _scalar(raw: Raw | UnsetType) -> Any:
    """Return a string, a number, true, false or null; None where it is absent, and an empty list for the rest."""
    if raw is UNSET:
        return None
    return [] if memoryview(raw)[0] in b"[{" else msgspec.json.decode(raw)


def _decode_array(body: bytes | Raw) -> list[Raw]:
    """Return the elements of an array, none of them built.

    Raises:
        RpcError: INVALID_REQUEST for a long array, whose elements are not all made before they are refused.
    """
    if len(body) <= _LARGE:
        return _decode_batch(body)
    elements = msgspec.structs.astuple(_first_elements().decode(body))
    if elements[-1] is not UNSET:
        raise invalid_request(f"an array has at most {_MOST_ELEMENTS} messages")
    return [each for each in elements if isinstance(each, Raw)]


@cache
def _first_elements() -> "msgspec.json.Decoder[msgspec.Struct]":
    """Return what decodes an array into its first elements: a struct passes further ones over."""
    fields = [(f"e{index}", Raw | UnsetType, UNSET) for index in range(_MOST_ELEMENTS + 1)]
    return msgspec.json.Decoder(msgspec.defstruct("_First", fields, array_like=True, gc=False))


def invalid_request(why: str, id: RequestId | UnsetType = UNSET) -> RpcError:
    """Return the INVALID_REQUEST error (HTTP 400) that says `why`."""
    return RpcError(INVALID_REQUEST, f"Invalid request: {why}", id=id, status=400)


def encode_id(id: RequestId | None) -> bytes:
    """Return the id as JSON with its own type; None stands for one that could not be read (C-18)."""
    return b"%d" % id if type(id) is int else _encode(id)


def encode_result(id: RequestId | None, result: bytes) -> bytes:
    """Wrap a result that is already JSON into a response."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (b"%d" % id if type(id) is int else _encode(id), result)


def encode_error(id: RequestId | None, error: RpcError) -> bytes:
    """Return the error response; `id` None is written as null, and a long text is cut."""
    message = error.message
    if len(message) > LONGEST_TEXT:  # it may show what the client sent
        message = message[:LONGEST_TEXT] + "…"
    body: dict[str, Any] = {"code": error.code, "message": message}
    if error.data is not UNSET:
        body["data"] = error.data
    return b'{"jsonrpc":"2.0","id":' + encode_id(id) + b',"error":' + _encode(body) + b"}"


def encode_request(id: RequestId, method: str, params: bytes) -> bytes:
    """Return a request of the server to its client; `params` is JSON already."""
    head = b'{"jsonrpc":"2.0","id":' + encode_id(id) + b',"method":' + _encode(method)
    return head + b',"params":' + params + b"}"


def encode_notification(method: str, params: bytes | None = None) -> bytes:
    """Return a notification; `params` is JSON already."""
    head = b'{"jsonrpc":"2.0","method":' + _encode(method)
    return head + b"}" if params is None else head + b',"params":' + params + b"}"
