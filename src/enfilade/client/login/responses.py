"""Responses of authorization servers, within limits, and errors about them, as texts without tokens and secrets.

Easy to get wrong: sizes. Who answers is not known before the login, so nothing is read without a limit, and
nothing that is compressed: a few bytes could become gigabytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import httpx2
from mcp.client.auth.utils import extract_field_from_www_auth

from enfilade.client.login.options import LoginError

#: Largest response of a login, in bytes.
MOST_BYTES: Final = 1024 * 1024
_LONGEST: Final = 300


class _LimitedBody(httpx2.AsyncByteStream):
    """The body of a response, up to a limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, limit: int) -> None:
        self._stream, self._remaining = stream, limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._remaining -= len(chunk)
            if self._remaining < 0:
                raise LoginError(f"a response of the login is larger than {MOST_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _NoBody(_LimitedBody):
    """The body of a response that nobody reads."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in tuple[bytes, ...]():
            yield chunk


async def read_limited(response: httpx2.Response, timeout: float) -> None:
    """Read the body of a response to a request that had `Accept-Encoding: identity`.

    Raises:
        LoginError: it is too large, compressed, or does not end in time (in seconds).
    """
    host = response.request.url.host
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise LoginError(f"{host} sends a compressed response, which was not asked for")
    if not response.is_stream_consumed:
        assert isinstance(response.stream, httpx2.AsyncByteStream), "clients of a login are asynchronous"
        response.stream = _LimitedBody(response.stream, MOST_BYTES)
    try:
        async with asyncio.timeout(timeout):
            await response.aread()
    except TimeoutError:
        raise LoginError(f"the login failed: {host} has not answered in time") from None


def leave_body(response: httpx2.Response) -> None:
    """Leave the body of a response, which is read after this, on the network; its connection is closed then."""
    if not response.is_stream_consumed and isinstance(response.stream, httpx2.AsyncByteStream):
        response.headers.pop("content-encoding", None)
        response.stream = _NoBody(response.stream, 0)


def json_object(response: httpx2.Response) -> dict[str, Any]:
    """Return the JSON object of a response that was read; an empty one if it has none."""
    try:
        value = response.json()
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def error_of(response: httpx2.Response) -> str:
    """Return the error of a response (RFC 6749 §5.2), or its status."""
    return _error(json_object(response)) or f"HTTP {response.status_code}"


def refusal_of(response: httpx2.Response) -> str:
    """Return why a response refuses what was sent with the request: the `error_description` of its challenge,
    or its `error`; empty if it has neither (RFC 6750 §3).
    """
    description = extract_field_from_www_auth(response, "error_description")
    return one_line(description or extract_field_from_www_auth(response, "error") or "")


def lacks_scopes(response: httpx2.Response) -> bool:
    """Whether the challenge of a response says that the token lacks scopes (RFC 6750 §3.1)."""
    return extract_field_from_www_auth(response, "error") == "insufficient_scope"


def needed_scopes(response: httpx2.Response) -> tuple[str, ...]:
    """Return the scopes that the challenge of a response names."""
    return tuple(one_line(extract_field_from_www_auth(response, "scope") or "").split())


def add_scopes(response: httpx2.Response, scopes: Sequence[str]) -> None:
    """Add scopes to the challenge of a response, by which the official client asks for scopes."""
    challenge = response.headers.get("WWW-Authenticate", "Bearer")
    needed = extract_field_from_www_auth(response, "scope") or ""
    both = " ".join(dict.fromkeys((*needed.split(), *scopes)))
    # The official client reads the first member of a name.
    scheme, _, parameters = challenge.partition(" ")
    response.headers["WWW-Authenticate"] = f'{scheme} scope="{both}", {parameters}'.rstrip(", ")


def names_metadata(response: httpx2.Response) -> bool:
    """Whether the challenge of a response says where the metadata of the server is (RFC 9728 §5.1)."""
    return extract_field_from_www_auth(response, "resource_metadata") is not None


def reason_of(error: Exception) -> str:
    """Return the reason of a failed login. Errors of the official client may quote a whole response."""
    if isinstance(error.__cause__ or error.__context__, ValueError):  # of pydantic, which quotes what it reads
        return "a response of the authorization server cannot be read"
    text = one_line(str(error))
    before, brace, body = text.partition("{")
    if not brace:
        return text
    try:
        reason = _error(json.loads(brace + body))
    except (ValueError, RecursionError):
        reason = ""
    return before.rstrip(" :") + (f": {reason}" if reason else "")


def one_line(text: str) -> str:
    """Return a text on one line that is not too long, without what controls a terminal."""
    line = " ".join(text.split())[:_LONGEST]
    return "".join(character for character in line if character.isprintable())


def is_header_value(token: str) -> bool:
    """Whether a header can carry a token: visible ASCII, one character at least (RFC 6749 §A.12)."""
    return token.isascii() and token.isprintable() and token != "" and " " not in token


def _error(body: object) -> str:
    if not isinstance(body, dict):
        return ""
    reason = body.get("error_description") or body.get("error")
    return one_line(reason) if isinstance(reason, str) else ""
