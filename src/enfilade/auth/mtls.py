"""Tokens bound to a certificate (RFC 8705 §3): which certificate the client of a request has.

A server behind a proxy has no TLS connection with the client, so that the proxy says it in a header. The server
hands the header on for requests of trusted proxies alone (`transports/http11/client_certificate.py`); one that a
client has sent around the proxy is never read here.
"""

import hashlib
import re
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from enfilade.transports.asgi import CERTIFICATE_KEY

_LONGEST_CERTIFICATE: Final = 16 * 1024
_PEM: Final = re.compile(
    rb"\s*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*", re.ASCII
)
_FIELD: Final = re.compile(rb"\s*:([A-Za-z0-9+/]+={0,2}):\s*")


def certificate_thumbprint(scope: Mapping[str, Any]) -> str | None:
    """Return the thumbprint of the client's certificate as tokens have it in `cnf["x5t#S256"]`.

    Args:
        scope: of the request, with the header of a trusted proxy, or with the TLS extension of ASGI by a server
            that speaks TLS itself.

    Returns:
        None if there is no certificate, or none that can be read.
    """
    value = scope.get(CERTIFICATE_KEY)
    if value is not None:
        return _thumbprint(value)
    extension = (scope.get("extensions") or {}).get("tls") or {}
    chain = list(extension.get("client_cert_chain") or ())
    return _thumbprint(str(chain[0]).encode("ascii", "replace")) if chain else None


@lru_cache(256)
def _thumbprint(value: bytes) -> str | None:
    """Return the thumbprint of a certificate: PEM, URL-encoded or not, or a byte sequence of RFC 9440."""
    if not 0 < len(value) <= _LONGEST_CERTIFICATE:
        return None
    # What the bytes are does not matter: the digest of anything else is no token's.
    match = _FIELD.fullmatch(value) or _PEM.fullmatch(unquote_to_bytes(value))
    if match is None:
        return None
    try:
        der = b64decode(b"".join(match[1].split()), validate=True)
    except Base64Error:
        return None
    return urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode("ascii")
