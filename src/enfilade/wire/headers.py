"""HTTP headers as MCP defines them: names, media types, the Base64 sentinel, and equality with the body.

The body decides; headers must equal it (R-261). The easy thing to get wrong is a header sent twice: joining or
dropping duplicates before this module hides an attack, so `read` takes the raw list of ASGI and refuses
duplicates of the headers used for routing (R-238).
"""

import binascii
import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from enfilade.wire.jsonrpc import HEADER_MISMATCH, RpcError

K = TypeVar("K")
V = TypeVar("V")

SESSION_ID: Final = b"mcp-session-id"
PROTOCOL_VERSION: Final = b"mcp-protocol-version"
METHOD: Final = b"mcp-method"
NAME: Final = b"mcp-name"
PARAM_PREFIX: Final = b"mcp-param-"
LAST_EVENT_ID: Final = b"last-event-id"

#: Methods whose `Mcp-Name` header is required, and the member of `params` it must equal (R-233).
NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

#: Python's decoders let some wrong padding pass, even when told to be strict. Unused bits of the last character
#: may be set: such base64 is not canonical, but has one meaning (R-245).
_BASE64: Final = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_DECIMAL: Final = re.compile(r"-?\d{1,32}(\.\d{1,32})?", re.ASCII)

_MOST_RANGES: Final = 64  # of an Accept header; browsers send up to ten

#: Headers of which equal copies count as one, as no intermediary reads them differently.
_SINGLE: Final = frozenset({PROTOCOL_VERSION, SESSION_ID, b"content-type"})

_ROUTING: Final = frozenset({PROTOCOL_VERSION, METHOD, NAME, SESSION_ID, b"host", b"origin", b"content-type"})

#: Entries of each generation of a `HeaderCache`.
CACHED_HEADERS: Final = 512
#: Bytes of a key above which no value is cached.
LONGEST_CACHED: Final = 1024


class HeaderCache(dict[K, V]):
    """A cache of values made from headers, bounded in entries and in bytes: `cache[key]` is `make(key)`.

    Clients choose what is in their headers, so a bound on entries alone would let them choose the cache's size.
    It has two generations: when the younger is full it becomes the older, whose unused entries are dropped. That
    is nearly "least recently used", and a hit costs no more than a lookup in a dict.

    Args:
        make: makes a value; its exceptions pass through and are not cached.
        size: returns the bytes of a key. The cache holds at most 2 * `CACHED_HEADERS` keys of up to
            `LONGEST_CACHED` bytes.
    """

    def __init__(self, make: Callable[[K], V], size: Callable[[K], int]) -> None:
        super().__init__()
        self._make = make
        self._size = size
        self._old: dict[K, V] = {}

    def __missing__(self, key: K) -> V:
        if self._size(key) > LONGEST_CACHED:
            return self._make(key)
        value = self._old[key] if key in self._old else self._make(key)
        if len(self) >= CACHED_HEADERS:
            self._old = dict(self)
            self.clear()
        self[key] = value
        return value


def read(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by lower-case name, as names have no case (R-236).

    Repeated list headers (such as Accept) are joined by a comma as RFC 9110 allows.

    Raises:
        RpcError: HEADER_MISMATCH for a second copy of a header that routes or guards (R-238), unless it says the
            same content type, revision or session, as with clients of which two layers add the header.
    """
    pairs = raw if type(raw) is list else list(raw)  # of ASGI any iterable, and nearly always a list
    fields = dict(pairs)
    if len(fields) != len(pairs):
        fields = {}
        for name, value in pairs:
            if name not in fields:
                fields[name] = value
            elif name in _SINGLE and _is_the_same(name, fields[name], value):
                continue
            elif name in _ROUTING or name.startswith(PARAM_PREFIX):
                raise mismatch(f"header {name.decode('latin-1')} was sent twice")
            else:
                fields[name] += b", " + value
    return fields


def _is_the_same(name: bytes, first: bytes, second: bytes) -> bool:
    """Whether two values of a header are equivalent."""
    return first.strip() == second.strip() or (name == b"content-type" and is_json(first) and is_json(second))


def single(value: bytes) -> bytes:
    """Return a single value for copies that a proxy has joined: `a` for `a, a`."""
    first, *copies = (item.strip() for item in value.split(b","))
    return first if copies and all(copy == first for copy in copies) else value.strip()


def mismatch(reason: str) -> RpcError:
    """Return the HEADER_MISMATCH error (HTTP 400) with a reason (R-237)."""
    return RpcError(HEADER_MISMATCH, f"Header mismatch: {reason}", status=400)


def acceptable(accept: bytes) -> tuple[bool, bool]:
    """Return whether a client accepts (JSON, an event stream), by its Accept header (RFC 9110 §12.5.1, R-208).

    The most specific range that matches a type decides; `q=0` refuses it. Of a long list only the first
    `_MOST_RANGES` are read.
    """
    best: list[tuple[int, float]] = [(-1, 0.0), (-1, 0.0)]
    for item in accept.lower().split(b",", _MOST_RANGES)[:_MOST_RANGES]:
        media, *parameters = (text.strip() for text in item.split(b";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        for index, offered in enumerate((b"application/json", b"text/event-stream")):
            specificity = _specificity(media, offered)
            if specificity > best[index][0]:
                best[index] = (specificity, quality)
    return best[0][1] > 0, best[1][1] > 0


def _specificity(media_range: bytes, media: bytes) -> int:
    if media_range == media:
        return 2
    if media_range == media.partition(b"/")[0] + b"/*":
        return 1
    return 0 if media_range == b"*/*" else -1


def is_json(content_type: bytes) -> bool:
    """Return whether a Content-Type is `application/json`, in any case, with no charset but UTF-8."""
    media, *parameters = (text.strip() for text in single(content_type.lower()).split(b";"))
    charsets = [p.partition(b"=")[2].strip(b'" ') for p in parameters if p.startswith(b"charset")]
    return media == b"application/json" and all(c in (b"utf-8", b"utf8", b"us-ascii") for c in charsets)


def decode_sentinel(value: bytes) -> str:
    """Return the text of an `Mcp-Name` or `Mcp-Param-*` value, decoding `=?base64?…?=` where it is one.

    It carries what ASCII cannot (R-240). A value without the exact prefix and suffix is literal (R-244), so a
    client must encode a value that looks encoded (R-242).

    Raises:
        RpcError: HEADER_MISMATCH for invalid base64 or UTF-8 in a sentinel (R-243), or for characters that a
            literal value may not contain (R-258).
    """
    value = value.strip(b" \t")
    if value.startswith(b"=?base64?") and value.endswith(b"?=") and len(value) >= 11:
        with contextlib.suppress(UnicodeDecodeError):
            if _BASE64.fullmatch(value, 9, len(value) - 2):
                return binascii.a2b_base64(value[9:-2]).decode("utf-8")
        raise mismatch("a =?base64?…?= header value does not hold valid base64 of UTF-8 text")
    if not all(0x20 <= byte <= 0x7E or byte == 0x09 for byte in value):
        raise mismatch("a header value holds characters that must be sent as =?base64?…?=")
    return value.decode("ascii")


_DECODED: Final = HeaderCache(decode_sentinel, len)


def check_method(fields: Mapping[bytes, bytes], method: str) -> None:
    """Check `Mcp-Method` against the body, with its case and without the space around it (R-231, R-232, R-236).

    Raises:
        RpcError: HEADER_MISMATCH.
    """
    value = fields.get(METHOD)
    if value is None:
        raise mismatch("header Mcp-Method is missing")
    if value != method.encode() and value.strip(b" \t") != method.encode():
        raise mismatch(f"header Mcp-Method does not equal the body's method {method!r}")


def check_name(fields: Mapping[bytes, bytes], method: str, params: Any) -> None:
    """Check `Mcp-Name` against the body where the method defines it, else ignore it (R-231, R-233, R-235, R-241).

    Args:
        params: the method's decoded params.

    Raises:
        RpcError: HEADER_MISMATCH.
    """
    member = NAMED_BY.get(method)
    if member is None:
        return
    value = fields.get(NAME)
    if value is None or _DECODED[value] != getattr(params, member, None):
        check_named(fields, member, getattr(params, member, None))  # which says what is wrong


def check_named(fields: Mapping[bytes, bytes], member: str, expected: object) -> None:
    """Check that `Mcp-Name` is there and equals a member of the params.

    Args:
        member: its name, for the error.
        expected: its value.

    Raises:
        RpcError: HEADER_MISMATCH.
    """
    value = fields.get(NAME)
    if value is None:
        raise mismatch("header Mcp-Name is missing")
    if _DECODED[value] != expected:
        raise mismatch(f"header Mcp-Name does not equal the body's params.{member}")


class MirroredParameter(msgspec.Struct, frozen=True):
    """An argument that clients mirror into a header, as its schema has `x-mcp-header` (R-250)."""

    header: str
    path: tuple[str, ...]
    type: str


def mirrored_parameters(input_schema: Mapping[str, Any]) -> tuple[MirroredParameter, ...]:
    """Return the arguments of a schema with `x-mcp-header`, searching `properties` only (R-253)."""
    mirrored: list[MirroredParameter] = []

    def walk(schema: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for name, field in (schema.get("properties") or {}).items():
            if isinstance(field, Mapping):
                header = field.get("x-mcp-header")
                if isinstance(header, str):
                    mirrored.append(MirroredParameter(header, (*path, name), str(field.get("type", "string"))))
                walk(field, (*path, name))

    walk(input_schema, ())
    return tuple(mirrored)


def check_mirrored(
    fields: Mapping[bytes, bytes], parameters: Iterable[MirroredParameter], arguments: Mapping[str, Any]
) -> None:
    """Check every `Mcp-Param-*` header of a tool's schema against the arguments (R-255, R-257, R-258, R-259).

    Raises:
        RpcError: HEADER_MISMATCH, without the values, since headers are logged (R-254).
    """
    for parameter in parameters:
        name = f"Mcp-Param-{parameter.header}"
        header_value = fields.get(name.lower().encode())
        value: Any = arguments
        for key in parameter.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:  # null or absent: nothing to mirror
            if header_value is not None:
                raise mismatch(f"header {name} was sent, but the argument is absent")
            continue
        if header_value is None:
            raise mismatch(f"header {name} is missing, but the argument is present")
        if not _equals(_DECODED[header_value], value):
            raise mismatch(f"header {name} does not equal the argument {'.'.join(parameter.path)!r}")


def _equals(text: str, value: Any) -> bool:
    """Compare a decoded header with the body's value: numbers by value, the rest as text (R-257)."""
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    if isinstance(value, int):
        return bool(_DECIMAL.fullmatch(text)) and Decimal(text) == value
    return bool(text == value)
