"""Requests and responses of the OAuth endpoints: parameters read strictly, errors as RFC 6749 has them."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from enfilade.transports.exchange import Headers, HttpExchange
from enfilade.transports.http.response import send_empty, send_json

#: Bytes of a query, and of the body of a request.
MOST_BYTES: Final = 32 * 1024
_MOST_PARAMETERS: Final = 64
#: Seconds for which a body is waited for.
BODY_TIME: Final = 15.0
_FORM: Final = b"application/x-www-form-urlencoded"
NO_STORE: Final[Headers] = [(b"cache-control", b"no-store"), (b"pragma", b"no-cache")]
#: Pages of any origin may be clients: they present what they have themselves, and no cookie counts (R-615).
CORS: Final[Headers] = [(b"access-control-allow-origin", b"*")]
_PREFLIGHT: Final[Headers] = [
    (b"access-control-allow-headers", b"authorization, content-type, mcp-protocol-version"),
    (b"access-control-max-age", b"86400"),
]


class OAuthError(Exception):
    """An error of an OAuth endpoint (RFC 6749 §4.1.2.1 and §5.2).

    Args:
        code: such as `invalid_grant`.
        description: one sentence of ours for the client's developer, without a text of a stranger.
        status: the HTTP status, where the error is no redirect.
        headers: more headers of such a response.
    """

    def __init__(self, code: str, description: str, status: int = 400, headers: Headers | None = None) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.status = status
        self.headers = headers or []

    def members(self) -> dict[str, str]:
        """Return what a client reads."""
        return {"error": self.code, "error_description": self.description}


class Parameters:
    """The parameters of a query or a form; one without a value counts as missing (RFC 6749 §3.1).

    Args:
        data: as it came.

    Raises:
        OAuthError: `invalid_request`, it cannot be read, or has a parameter twice; only `resource` may be
            repeated.
    """

    def __init__(self, data: bytes) -> None:
        try:
            pairs = parse_qsl(
                data.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
            )
        except (ValueError, UnicodeError):
            raise OAuthError("invalid_request", "the parameters cannot be read") from None
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if value:
                self._values.setdefault(name, []).append(value)
        if any(len(values) > 1 for name, values in self._values.items() if name != "resource"):
            raise OAuthError("invalid_request", "a parameter is there twice")

    def get(self, name: str) -> str | None:
        """Return a parameter; None if it is not there."""
        values = self._values.get(name)
        return None if values is None else values[0]

    def required(self, name: str) -> str:
        """Return a parameter.

        Args:
            name: a word of ours, for it is in the error.

        Raises:
            OAuthError: `invalid_request`, it is not there.
        """
        value = self.get(name)
        if value is None:
            raise OAuthError("invalid_request", f"{name} is missing")
        return value

    @property
    def resources(self) -> list[str]:
        """The resources that were named (RFC 8707)."""
        return self._values.get("resource", [])

    def scopes(self) -> tuple[str, ...]:
        """Return the scopes that were asked for, each once."""
        return tuple(dict.fromkeys((self.get("scope") or "").split(" "))) if self.get("scope") else ()


def header(exchange: HttpExchange, name: bytes) -> bytes | None:
    """Return a header of a request; None if it is not there, or more than once."""
    values = [value for each, value in exchange.headers if each.lower() == name]
    return values[0] if len(values) == 1 else None


def query_of(exchange: HttpExchange) -> Parameters:
    """Return the parameters in the query of a request.

    Raises:
        OAuthError: they cannot be read.
    """
    if len(exchange.query) > MOST_BYTES:
        raise OAuthError("invalid_request", "the query is too long")
    return Parameters(exchange.query)


async def read_body(exchange: HttpExchange) -> bytes:
    """Return the body of a request.

    Raises:
        OAuthError: 413, it is too long; 408, it does not come in time.
        DisconnectedError: the client has gone.
    """
    body, is_more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_TIME):
            while is_more:
                chunk, is_more = await exchange.read()
                body += chunk
                if len(body) > MOST_BYTES:
                    raise OAuthError("invalid_request", f"the body has more than {MOST_BYTES} bytes", 413)
    except TimeoutError:
        raise OAuthError("invalid_request", "the body has not come in time", 408) from None
    return bytes(body)


async def read_form(exchange: HttpExchange) -> Parameters:
    """Return the parameters in the body of a request.

    Raises:
        OAuthError: they cannot be read.
        DisconnectedError: the client has gone.
    """
    kind = (header(exchange, b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != _FORM:
        raise OAuthError("invalid_request", f"the body must be {_FORM.decode()}")
    return Parameters(await read_body(exchange))


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
