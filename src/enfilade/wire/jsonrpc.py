"""JSON-RPC 2.0 as MCP uses it: one-pass decoding of the envelope, error codes, and encoding.

The easy thing to get wrong is the id. It is a string or an integer, it keeps its JSON type (`1` is not `"1"`),
and `null`, `true`, `1.0` and `1.5` are invalid requests and not notifications (R-209, E-33). `Envelope` accepts
no other types, since `True == 1 == 1.0` in Python.

`params` stays raw bytes until the method is known, so a body is parsed once.
"""

import re
from collections.abc import Sequence
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

#: HTTP status that 2026-07-28 prescribes for an error code; any other error has status 200.
STATELESS_STATUS: Final = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    METHOD_NOT_FOUND: 404,
    HEADER_MISMATCH: 400,
    MISSING_CLIENT_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
}


class RpcError(Exception):
    """A JSON-RPC error that is the outcome of a request; its text is sent to the peer.

    Args:
        code: JSON-RPC error code.
        message: one sentence for the peer, without internals.
        data: optional JSON-serializable detail.
        id: the request's id where it was readable; if unset, the sender adds it.
        status: HTTP status in place of `STATELESS_STATUS`, for errors before a message is dispatched.

    Attributes:
        headers: what an HTTP response with this error carries besides.
        is_refusal: whether it refuses the request because of a limit or a setting.
    """

    headers: Sequence[tuple[bytes, bytes]] = ()
    is_refusal = False

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
    """A message on the wire: a request, a notification or a response.

    `method` set with `id` is a request, without `id` a notification; `method` unset is a response.
    """

    jsonrpc: Literal["2.0"]
    id: int | str | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class _Members(msgspec.Struct, gc=False):
    """The members of an object that may be a message, none of them decoded."""

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

_READABLE: Final = 4096  # bytes at either end of a too deeply nested message that are searched for its id

_LONG: Final = 16_384  # bytes from which on a second copy of a result shows
_BEYOND_SHORT: Final = slice(_LONG, _LONG + 1)

#: Most characters of an error's text that are sent.
LONGEST_TEXT: Final = 2048

_LARGE_BATCH: Final = 64 * 1024  # bytes of an array up to which it may have any number of elements
_MOST_ELEMENTS: Final = 1024


def decode(body: bytes | Raw) -> Envelope | list[Raw]:
    """Parse one HTTP body or one stdio line, which is JSON in UTF-8 (R-215).

    Returns:
        The envelope, or for a JSON array its elements still raw.

    Raises:
        RpcError: PARSE_ERROR for anything that is not UTF-8 JSON (E-31), INVALID_REQUEST for JSON that is no
            JSON-RPC 2.0 message (E-32); `id` is set where it could be read. A message nested beyond the parser's
            limit is an INVALID_REQUEST if its id can be read, and a PARSE_ERROR otherwise.
    """
    try:
        if type(body) is bytes and not body.isascii():
            str(body, "utf-8")  # the parser does not check the UTF-8 of raw members
        envelope = _decode_envelope(body)
    except msgspec.ValidationError:
        return _diagnose(body)
    except RecursionError:
        raise _nesting_error(body) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        if type(body) is bytes and body.startswith(_BYTE_ORDER_MARK):
            return decode(Raw(body[len(_BYTE_ORDER_MARK) :]))  # may be ignored (RFC 8259 §8.1), once
        raise RpcError(PARSE_ERROR, "Parse error: the body is not valid UTF-8 JSON", status=400) from None
    if envelope.method is UNSET:
        if (envelope.result is UNSET) == (envelope.error is UNSET) or envelope.id is UNSET:
            raise invalid_request("neither a request, a notification nor a response", envelope.id)
    elif envelope.result is not UNSET or envelope.error is not UNSET:
        raise invalid_request("a request has no 'result' or 'error'", envelope.id)
    elif envelope.params is not UNSET:
        first = memoryview(envelope.params)[0]
        if first == _NULL:  # every SDK takes null params as absent
            envelope.params = UNSET
        elif first != _OBJECT:
            raise invalid_request("'params' must be an object", envelope.id)
    return envelope


def _diagnose(body: bytes | Raw) -> Envelope | list[Raw]:
    """Explain what is wrong with JSON that is no envelope; only invalid input costs this second parse."""
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
        raise _nesting_error(body) from None
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


def _nesting_error(body: bytes | Raw) -> RpcError:
    """Return the error for a message nested beyond the parser's limit, with the id of a request.

    The caller of a tool waits for a response with its id. It can be read among the members before the first
    nested one and after the last.
    """
    data = bytes(body)
    readable = [_members_in(b"{" + text + b"}") for text in (_members_before(data), _members_after(data))]
    is_request = any(members.method is not UNSET for members in readable)
    ids = [id for id in (_scalar(members.id) for members in readable) if type(id) in (int, str)]
    if is_request and ids:
        return invalid_request("it is nested too deeply", ids[0])
    return RpcError(PARSE_ERROR, "Parse error: the message is nested too deeply", status=400)


def _members_before(body: bytes) -> bytes:
    """Return the members of an object before the first that is an object or array, if there are any."""
    match = _pattern(rb"\s*\{\s*(%(member)b(?:,\s*%(member)b)*),").match(body[:_READABLE])
    return match[1] if match else b""


def _members_after(body: bytes) -> bytes:
    """Return the members of an object after the last that is an object or array, if there are any."""
    match = _pattern(rb"[}\]]\s*,\s*(%(member)b(?:,\s*%(member)b)*)\}\s*\Z").search(body[-_READABLE:])
    return match[1] if match else b""


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
    """Return the value of a scalar; None if it is absent, an empty list for an object or array."""
    if raw is UNSET:
        return None
    return [] if memoryview(raw)[0] in b"[{" else msgspec.json.decode(raw)


def _decode_array(body: bytes | Raw) -> list[Raw]:
    """Return the elements of an array, none of them decoded.

    Raises:
        RpcError: INVALID_REQUEST for a long array, before all of its elements are created.
    """
    if len(body) <= _LARGE_BATCH:
        return _decode_batch(body)
    elements = msgspec.structs.astuple(_first_elements().decode(body))
    if elements[-1] is not UNSET:
        raise invalid_request(f"an array has at most {_MOST_ELEMENTS} messages")
    return [element for element in elements if isinstance(element, Raw)]


@cache
def _first_elements() -> "msgspec.json.Decoder[msgspec.Struct]":
    """Return the decoder of the first elements of an array: a struct ignores further ones."""
    fields = [(f"e{index}", Raw | UnsetType, UNSET) for index in range(_MOST_ELEMENTS + 1)]
    return msgspec.json.Decoder(msgspec.defstruct("_First", fields, array_like=True, gc=False))


def invalid_request(reason: str, id: RequestId | UnsetType = UNSET) -> RpcError:
    """Return the INVALID_REQUEST error (HTTP 400) with a reason."""
    return RpcError(INVALID_REQUEST, f"Invalid request: {reason}", id=id, status=400)


def encode_id(id: RequestId | None) -> bytes:
    """Return the id as JSON of its own type (R-276); None stands for an unreadable id (C-18)."""
    return b"%d" % id if type(id) is int else _encode(id)


def encode_result(id: RequestId | None, result: bytes) -> bytes:
    """Wrap a result that is already JSON into a response."""
    readable = b"%d" % id if type(id) is int else _encode(id)
    if result[_BEYOND_SHORT]:  # copied once, which `%` does several times
        return b"".join((b'{"jsonrpc":"2.0","id":', readable, b',"result":', result, b"}"))
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (readable, result)


def encode_error(id: RequestId | None, error: RpcError) -> bytes:
    """Return the error response; `id` None is written as null, and a long text is cut."""
    return b'{"jsonrpc":"2.0","id":' + encode_id(id) + b',"error":' + error_body(error) + b"}"


def error_body(error: RpcError) -> bytes:
    """Return the error object of a response.

    Raises:
        TypeError, UnicodeEncodeError: its members cannot be sent.
    """
    message = error.message
    if len(message) > LONGEST_TEXT:  # it may show what the client sent
        message = message[:LONGEST_TEXT] + "…"
    body: dict[str, Any] = {"code": error.code, "message": message}
    if error.data is not UNSET:
        body["data"] = error.data
    return _encode(body)


def encode_request(id: RequestId, method: str, params: bytes) -> bytes:
    """Return a request of the server to its client; `params` is JSON already."""
    head = b'{"jsonrpc":"2.0","id":' + encode_id(id) + b',"method":' + _encode(method)
    return head + b',"params":' + params + b"}"


def encode_notification(method: str, params: bytes | None = None) -> bytes:
    """Return a notification; `params` is JSON already."""
    head = b'{"jsonrpc":"2.0","method":' + _encode(method)
    return head + b"}" if params is None else head + b',"params":' + params + b"}"
