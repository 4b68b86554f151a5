"""Requests of browsers and OAuth clients: parameters read strictly, cookies, and bodies with limits.

A parameter that is there twice is an error and no choice (RFC 6749 §3.1).
"""

import asyncio
from typing import Final
from urllib.parse import parse_qsl

from enfilade.transports.exchange import Headers, HttpExchange

#: Bytes of a query, and of the body of a request.
MOST_BYTES: Final = 32 * 1024
_MOST_PARAMETERS: Final = 64
#: Seconds for which a body is waited for.
BODY_TIME: Final = 15.0
_FORM: Final = b"application/x-www-form-urlencoded"
_LONGEST_COOKIES: Final = 16 * 1024


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
        self._names = {name for name, _ in pairs}
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

    def given(self, name: str) -> str | None:
        """Return a parameter as it came, which may be empty; None if it is not there."""
        return self.get(name) or ("" if name in self._names else None)

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


def cookie_name(name: str, *, is_secure: bool) -> str:
    """Return the name of a cookie; over https no other host can set one of this name."""
    return f"__Host-{name}" if is_secure else name


def set_cookie(name: str, value: str, seconds: int, *, is_secure: bool) -> tuple[bytes, bytes]:
    """Return the header that sets a cookie.

    It is `Lax`, since the way back from a provider is a navigation from elsewhere.

    Args:
        name: as `cookie_name` returns it.
        seconds: for which it is kept.
    """
    flags = "; Secure" if is_secure else ""
    return b"set-cookie", f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{flags}".encode()


def cookies_of(exchange: HttpExchange) -> dict[str, str]:
    """Return the cookies of a request; of several with one name, the first, which is of the nearest path."""
    sent = header(exchange, b"cookie") or b"; ".join(v for n, v in exchange.headers if n.lower() == b"cookie")
    cookies: dict[str, str] = {}
    for pair in sent[:_LONGEST_COOKIES].decode("latin-1").split(";"):
        name, _, value = pair.strip().partition("=")
        cookies.setdefault(name, value)
    return cookies
