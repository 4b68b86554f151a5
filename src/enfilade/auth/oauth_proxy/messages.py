"""Responses of the OAuth endpoints: documents that pages of any origin may read, and errors (RFC 6749)."""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from enfilade.auth.pages.requests import OAuthError
from enfilade.transports.exchange import Headers, HttpExchange
from enfilade.transports.http.response import send_empty, send_json

NO_STORE: Final[Headers] = [(b"cache-control", b"no-store"), (b"pragma", b"no-cache")]
#: Pages of any origin may be clients: they present what they have themselves, and no cookie counts (R-615).
CORS: Final[Headers] = [(b"access-control-allow-origin", b"*")]
_PREFLIGHT: Final[Headers] = [
    (b"access-control-allow-headers", b"authorization, content-type, mcp-protocol-version"),
    (b"access-control-max-age", b"86400"),
]


async def send_document(exchange: HttpExchange, status: int, value: Any, headers: Headers) -> None:
    """Answer with JSON that pages of any origin may read."""
    body = msgspec.json.encode(value)
    await send_json(exchange, status, b"" if exchange.method == "HEAD" else body, [*CORS, *headers])


async def send_error(exchange: HttpExchange, error: OAuthError) -> None:
    """Answer with an error."""
    await send_document(exchange, error.status, error.members(), [*NO_STORE, *error.headers])


async def allows_method(exchange: HttpExchange, methods: Iterable[str]) -> bool:
    """Whether a request has one of these methods; others are answered, and preflights of any page."""
    if exchange.method in methods:
        return True
    names = ", ".join((*methods, "OPTIONS")).encode()
    if exchange.method == "OPTIONS":
        methods_header = (b"access-control-allow-methods", names)
        await send_empty(exchange, 204, [*CORS, methods_header, *_PREFLIGHT])
    else:
        await send_empty(exchange, 405, [*CORS, (b"allow", names)])
    return False


def with_parameters(uri: str, parameters: dict[str, str]) -> str:
    """Return a redirect URI, which has no fragment, with more parameters."""
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode(parameters)}"
