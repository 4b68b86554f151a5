"""From an envelope to what a message says of itself: its params, its metadata, and its era.

A *claim* is the protocol version in the body's `_meta`; a request with a claim belongs to the stateless era,
whatever its method or headers say. The metadata is read even if the params are wrong elsewhere, because -32602
for the envelope outranks everything that follows.

Before anything is decoded, the arrays and objects of a large message are counted in its bytes (`check_values`).
Its length is no measure for what it costs: four megabytes of text are read in milliseconds, four megabytes of
`[],[],…` become over a million objects.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from enfilade.serving.channel import Peer
from enfilade.transports.refusal_log import RefusalError
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    Envelope,
    RequestId,
    RpcError,
    decode,
)
from enfilade.wire.lifecycle import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    LOG_LEVEL,
    PROTOCOL_VERSION,
    ClientCapabilities,
    RequestMeta,
)
from enfilade.wire.message import Message, RequestParams, decode_without_nulls
from enfilade.wire.revision_tables import PARAMS
from enfilade.wire.revisions import STATELESS, UNSUPPORTED
from enfilade.wire.tools import CallToolRequestParams

_EMPTY: Final = Raw(b"{}")
_ANY: Final = msgspec.json.Decoder(RequestParams)
_META: Final = msgspec.json.Decoder(RequestMeta)
_NO_META: Final = RequestMeta()


class _Decoders(dict[str, "msgspec.json.Decoder[Any]"]):
    """The decoder of each method's parameters, created with its first request."""

    def __missing__(self, method: str) -> "msgspec.json.Decoder[Any]":
        if method not in PARAMS:  # not cached, as clients may send any number of method names
            return _ANY
        decoder = self[method] = msgspec.json.Decoder(PARAMS[method])
        return decoder


_DECODERS: Final = _Decoders()


class _ToolCall(msgspec.Struct, gc=False):
    """An `Envelope` that calls a tool, and what is in it."""

    jsonrpc: Literal["2.0"]
    id: RequestId
    method: Literal["tools/call"]
    params: CallToolRequestParams
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


_TOOL_CALL: Final = "tools/call"
_CALL: Final = _TOOL_CALL.encode()
_CALL_WITHIN: Final = 128  # bytes at the beginning of a body in which clients name the method
_decode_call: Final = msgspec.json.Decoder(_ToolCall).decode


class ParsedMessage(msgspec.Struct):
    """A request or notification, read once by `decode_call` or `parse_message`.

    Attributes:
        id: the id of a request; None for a notification.
        meta: the protocol's members of `_meta`.
        params: the method's decoded params; None if they are invalid.
        claim: whether the body names a protocol version.
        problem: what is wrong with the params, or None.
        meta_problem: what is wrong with `_meta`, or None.
        raw_params: the params as they came, for methods of extensions.
    """

    method: str
    id: RequestId | None
    meta: RequestMeta
    params: Message | None = None
    claim: bool = False
    problem: str | None = None
    meta_problem: str | None = None
    raw_params: Raw = _EMPTY

    def read_params(self, decode: Callable[[Raw], Message]) -> None:
        """Read the params of a method of an extension; what is wrong with them, `checked_params` says."""
        self.problem = None
        try:
            self.params = decode(self.raw_params)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.params, self.problem = None, _explain(error, "params")

    def _read_meta(self, raw: Raw) -> None:
        try:
            self.meta = _META.decode(raw)
            self.claim = self.meta.protocol_version is not UNSET
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if bytes(raw).strip() == b"null":
                self._drop_meta()
                return
            try:
                self.meta = decode_without_nulls(_META, raw, error)
                self.claim = self.meta.protocol_version is not UNSET
                return
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.meta_problem = _explain(error, "params._meta")
            try:
                members = msgspec.json.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return
            self.claim = isinstance(members, dict) and PROTOCOL_VERSION in members

    def _drop_meta(self) -> None:
        if isinstance(self.params, RequestParams):
            self.params.meta = UNSET

    def _read_wrong_params(self, raw: Raw, error: Exception) -> None:
        self.problem = _explain(error, "params")
        meta = _rescue_meta(raw)
        if isinstance(meta, Raw):
            self._read_meta(meta)
        elif meta is not UNSET:
            self.meta_problem = "params._meta must be an object"

    def checked_params(self) -> Message:
        """Return the params.

        Raises:
            RpcError: INVALID_PARAMS that says what is wrong with them.
        """
        if self.meta_problem is not None or self.params is None:
            raise RpcError(INVALID_PARAMS, f"Invalid params: {self.meta_problem or self.problem}")
        return self.params

    def check_metadata(self) -> None:
        """Check what the stateless era requires of every request (R-104, E-02, E-08).

        Raises:
            RpcError: INVALID_PARAMS with HTTP status 400, naming what is missing or wrong.
        """
        if self.meta_problem is not None:
            raise RpcError(INVALID_PARAMS, f"Invalid request metadata: {self.meta_problem}", status=400)
        version, capabilities = self.meta.protocol_version, self.meta.client_capabilities
        if version is UNSET or capabilities is UNSET:
            needed = ((PROTOCOL_VERSION, version), (CLIENT_CAPABILITIES, capabilities))
            names = " and ".join(f"params._meta[{key!r}]" for key, value in needed if value is UNSET)
            raise RpcError(INVALID_PARAMS, f"Invalid request metadata: {names} missing", status=400)

    def check_version(self) -> None:
        """Check that the claimed revision is served statelessly (R-106, E-04), as no session-based one is (E-07).

        Raises:
            RpcError: UNSUPPORTED_VERSION with the lists the client needs.
        """
        if self.meta.protocol_version not in STATELESS:
            raise unsupported(str(self.meta.protocol_version))

    def check_claim(self, fields: Mapping[bytes, bytes], version: str) -> None:
        """Check what the stateless era requires of a POST, up to its method.

        The order decides which error a request with several faults gets: its metadata first, then the version
        header, which must be there and equal it (R-230, R-711, E-03, E-05, E-06), then the version itself.

        Args:
            fields: the headers, which must agree with the body.
            version: the text of `MCP-Protocol-Version` among them.

        Raises:
            RpcError: the first thing that is wrong.
        """
        self.check_metadata()
        if not version:
            raise http.mismatch("header MCP-Protocol-Version is missing")
        if version != self.meta.protocol_version:
            raise http.mismatch("header MCP-Protocol-Version does not equal the version in the body's _meta")
        self.check_version()
        http.check_method(fields, self.method)

    def stateless_peer(self, principal: str | None) -> Peer:
        """Return the peer of a request that passed `check_metadata` and `check_version`.

        All of it is from the request itself: nothing is remembered of earlier ones (R-103).
        """
        meta = self.meta
        return Peer(
            revision=str(meta.protocol_version),
            client_info=None if meta.client_info is UNSET else meta.client_info,
            capabilities=meta.client_capabilities or ClientCapabilities(),
            principal=principal,
        )


def decode_call(body: bytes) -> ParsedMessage | None:
    """Parse a plain `tools/call` with its envelope in one pass over the body.

    Returns:
        What `parse_message` returns for its envelope; None for any other body, which is to be decoded as usual.
        It may take one more level of arrays and objects within each other.
    """
    if body.find(_CALL, 0, _CALL_WITHIN) < 0:
        return None
    try:
        if not body.isascii():
            str(body, "utf-8")  # the parser does not check the UTF-8 of raw members
        call = _decode_call(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if call.result is not UNSET or call.error is not UNSET:
        return None
    params = call.params
    message = ParsedMessage(_TOOL_CALL, call.id, _NO_META, params)
    meta = params.meta
    if meta is not UNSET:
        message._read_meta(meta)
    return message


def parse_message(envelope: Envelope) -> ParsedMessage:
    """Parse a request or a notification."""
    id = envelope.id
    message = ParsedMessage(envelope.method or "", None if id is UNSET else id, _NO_META)
    raw = _EMPTY if envelope.params is UNSET else envelope.params  # lists need none in sessions
    if message.method != _TOOL_CALL:  # which no extension has
        message.raw_params = raw
    decoder = _DECODERS[message.method]
    try:
        message.params = params = decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        try:
            message.params = params = decode_without_nulls(decoder, raw, error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            message._read_wrong_params(raw, error)
            return message
    meta = getattr(params, "meta", UNSET)
    if type(meta) is Raw:
        message._read_meta(meta)
    elif meta is not UNSET:
        message.meta_problem = "params._meta must be an object"
    return message


def unsupported(requested: str) -> RpcError:
    """Return the UNSUPPORTED_VERSION error for a requested revision; it names those that are served (R-108)."""
    data: dict[str, Any] = {"supported": list(STATELESS), "requested": requested}
    return RpcError(UNSUPPORTED_VERSION, f"{UNSUPPORTED}: {requested}", data, status=400)


def _rescue_meta(raw: Raw) -> object:
    """Return `_meta` of params that are wrong elsewhere; None where it is no object."""
    try:
        return _ANY.decode(raw).meta
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNSET


def _explain(error: Exception, where: str) -> str:
    """Return in one line what was expected and what came, with a path that begins with `where`."""
    if not isinstance(error, msgspec.ValidationError):
        return f"{where} cannot be decoded"
    problem, _, path = str(error).rpartition(" - at `$")
    if not problem:
        problem, path = str(error), "`"
    for key in (PROTOCOL_VERSION, CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL):
        path = path.replace(key, f'"{key}"')
    return f"{problem.replace('`', '')} at {where}{path.rstrip('`')}"


# -- large messages --------------------------------------------------------------------------------------------

#: Size in bytes up to which the values of a message are not counted.
LARGE_MESSAGE: Final = 64 * 1024

#: Arrays and objects that any large message may hold.
_FREE: Final = 65_536
#: Brackets that are searched for one by one.
_FEW: Final = 64
#: Bytes of a message for each array or object beyond that.
_BYTES_EACH: Final = 32

#: A string, also one without an end, so that no search starts twice in the same bytes.
_STRING_PATTERN: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_STRING: Final = re.compile(_STRING_PATTERN, re.DOTALL)
#: A chunk of a message that ends where no string is open. It has so few strings that little is copied at once.
_CHUNK: Final = re.compile(rb'(?:[^"]++|' + _STRING_PATTERN + rb"){1,8192}+", re.DOTALL)


def check_values(body: bytes) -> None:
    """Check that a large message does not hold too many arrays and objects.

    Raises:
        RefusalError: INVALID_REQUEST with HTTP status 413, and with the id of the message if it has one.
        RpcError: PARSE_ERROR for what is no JSON.
    """
    if _has_few(body):
        return
    most = max(_FREE, len(body) // _BYTES_EACH)
    if _containers(body) <= most or not _holds_more(body, most):
        return
    text = f"Invalid request: a message of this size holds at most {most} arrays and objects"
    raise RefusalError("", INVALID_REQUEST, text, id=_id_of(body), status=413)


def _has_few(body: bytes) -> bool:
    """Whether a message surely has few arrays and objects; a search skips text faster than a count does."""
    for bracket in b"[{":
        position = -1
        for _ in range(_FEW):
            position = body.find(bracket, position + 1)
            if position < 0:
                break
        else:
            return False
    return True


def _holds_more(body: bytes, most: int) -> bool:
    """Whether there are more arrays and objects than that, brackets within strings not counted."""
    count = 0
    for chunk in _CHUNK.finditer(body):
        count += _containers(_STRING.sub(b"", chunk.group()))
        if count > most:
            return True
    return False


def _containers(json: bytes) -> int:
    return json.count(b"[") + json.count(b"{")


def _id_of(body: bytes) -> RequestId | UnsetType:
    """Return the id of a message, which is found without building the rest of it.

    Raises:
        RpcError: PARSE_ERROR.
    """
    try:
        envelope = decode(body)
    except RpcError as error:
        if error.code == PARSE_ERROR:
            raise
        return error.id
    return envelope.id if isinstance(envelope, Envelope) else UNSET
