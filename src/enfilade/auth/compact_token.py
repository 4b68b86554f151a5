"""A JWT in its compact form (RFC 7515 §7.1): its header, claims and signature. Nothing is verified here.

Stricter than JSON and base64 libraries are: whatever two readers could read differently is refused, such as an
object that has a key twice.

Easy to get wrong: what it costs. Anybody may send a token, so it must be read in less than a millisecond: each
part once, and with little that runs in Python for each value.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from enfilade.auth.errors import InvalidTokenError

#: Bytes of a token at most. Servers send headers of 8 to 16 KiB, so that none is longer.
MOST_BYTES: Final = 16 * 1024
#: How deep arrays and objects may be nested.
MOST_LEVELS: Final = 16
#: Objects and values of a header or a payload at most, counted by braces and commas, also those in its texts.
MOST_OBJECTS: Final = 500
MOST_VALUES: Final = 2000


@dataclass(frozen=True, slots=True, repr=False)
class CompactToken:
    """The parts of a JWT.

    Args:
        header: what the header says.
        claims: what the payload says.
        signed: the bytes that are signed.
        signature: the signature.
    """

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def read_token(token: str, claims: dict[str, Any] | None = None) -> CompactToken:
    """Return the parts of a JWT.

    Args:
        claims: what `unverified_claims` has returned for this token, so that they are not read again.

    Raises:
        InvalidTokenError: it is none, it is too long, or it is ambiguous.
    """
    if len(token) > MOST_BYTES:
        raise InvalidTokenError(f"the token is longer than {MOST_BYTES} bytes")
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidTokenError("the token is no JWT: it has not three parts with dots between them")
    try:
        header, payload, signature = (_decode(part.encode("ascii")) for part in parts)
    except (UnicodeError, binascii.Error):
        raise InvalidTokenError("the token is no JWT: a part of it is no base64url") from None
    try:
        signed = f"{parts[0]}.{parts[1]}".encode("ascii")
        return CompactToken(
            _read_object(header), _read_object(payload) if claims is None else claims, signed, signature
        )
    except (ValueError, RecursionError):
        raise InvalidTokenError("the token is no JWT: its header or payload is no unambiguous JSON") from None


def unverified_claims(token: str, issuers: Iterable[str] = ()) -> dict[str, Any]:
    """Return what a JWT says, to choose by `iss` who verifies it; `iss` is a text, or there is nothing at all.

    It is read leniently: a token that is broken elsewhere goes to the verifier of its issuer all the same, and to
    no other. An opaque token with two dots in it is no JWT, nor is what names no issuer.

    Args:
        issuers: known issuers. What names one of them, but is no payload of a JWT, is for nobody else.

    Raises:
        InvalidTokenError: it is a JWT, and who has issued it cannot be read, or not without doubt.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    payload = b""
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = _read_object(payload)
        issuer = claims.get("iss")
        if issuer is None or isinstance(issuer, str):
            return {} if issuer is None else claims
    except (ValueError, RecursionError):
        pass
    if _has_algorithm(parts[0]) or any(issuer.encode() in payload for issuer in issuers):
        raise InvalidTokenError("the token is no JWT: its payload is no unambiguous JSON with an issuer")
    return {}


def _has_algorithm(part: str) -> bool:
    """Whether a part of a token looks like the header of a JWT, to a reader that is less strict."""
    try:
        text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode("utf-8", "replace")
        header, _ = json.JSONDecoder().raw_decode(text.strip())
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and "alg" in header


def _decode(part: bytes) -> bytes:
    """Return the bytes of a part in base64url.

    Raises:
        binascii.Error: it is none, or has padding, or bits beyond the last byte.
    """
    data = base64.b64decode(part + b"=" * (-len(part) % 4), b"-_", validate=True)
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part:
        raise binascii.Error
    return data


def _read_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ValueError: it is none, has a key twice, is too large or nested too deeply, or has a number that is none.
    """
    if data.count(b"{") > MOST_OBJECTS or data.count(b",") > MOST_VALUES:
        raise ValueError("too large")
    value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    if not isinstance(value, dict):
        raise ValueError("no object")
    check_values(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is there twice")
    return values


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def check_values(value: dict[str, Any]) -> None:
    """Refuse what is nested too deeply, and numbers that are too great to be one.

    Level by level, by functions that go over a list without Python.

    Raises:
        ValueError: it has one of them.
    """
    level, depth = [value.values()], 0
    while level:
        depth += 1
        if depth > MOST_LEVELS:
            raise ValueError("nested too deeply")
        items = [item for each in level for item in each]
        if math.inf in items or -math.inf in items:
            raise ValueError("a number is too great")
        level = [item.values() if type(item) is dict else item for item in items if type(item) in (dict, list)]
