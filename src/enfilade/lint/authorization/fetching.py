"""HTTP requests of a check, each with limits of time and size. No redirect is followed.

Easy to get wrong: compression, by which a few bytes become gigabytes before they are counted; bodies are taken as
they are sent. And URLs that come from a server. Only http and https are fetched, and never with a token; the
token of a user goes to the URL that they have typed and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import httpx
import msgspec

from enfilade import __version__

#: Most bytes of a body that are read.
_MOST_BYTES: Final = 512 * 1024
#: An origin that is not the server's, as a browser client has. Its name is for who reads it in the server's log.
ORIGIN: Final = "https://enfilade-auth-check.invalid"


@dataclass
class Response:
    """The response to a request, or why there is none.

    Attributes:
        url: what was asked for.
        status: its status; 0 if there is none.
        headers: its headers.
        body: its body, at most 512 KiB.
        failure: why there is no response, or none that can be read; empty if there is one.
    """

    url: str
    status: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: bytes = b""
    failure: str = ""

    def describe(self) -> str:
        """Return the status in words, or the failure."""
        if self.failure:
            return self.failure
        phrase = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else ""
        location = (
            f" to {self.headers['location']}" if 300 <= self.status < 400 and "location" in self.headers else ""
        )
        return f"{self.status} {phrase}".rstrip() + location

    def json_object(self) -> dict[str, Any] | None:
        """Return the body as a JSON object; None if it is none."""
        try:
            value = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def challenges(self) -> list[str]:
        """Return the lines of `WWW-Authenticate`."""
        return self.headers.get_list("www-authenticate")


class Fetcher:
    """Sends requests.

    Args:
        client: the HTTP client, which follows no redirects.
        timeout: limit in seconds for each request, from its beginning to the end of its response.
    """

    def __init__(self, client: httpx.AsyncClient, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    async def fetch(
        self,
        url: str,
        method: str = "GET",
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> Response:
        """Send a request, and return its response or why there is none.

        The body of an event stream is not read, as it may have no end.
        """
        if not url.lower().startswith(("http://", "https://")):
            return Response(url, failure="is no URL of http or https")
        try:
            async with asyncio.timeout(self._timeout):
                return await self._send(url, method, headers or {}, json)
        except TimeoutError:
            return Response(url, failure=f"has not answered within {self._timeout:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return Response(url, failure=f"cannot be reached: {str(error) or type(error).__name__}")

    async def _send(self, url: str, method: str, headers: Mapping[str, str], json: Any) -> Response:
        async with self._client.stream(method, url, headers=dict(headers), json=json) as response:
            result = Response(url, response.status_code, response.headers)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                return result
            encoding = response.headers.get("content-encoding", "").strip().lower()
            if encoding not in ("", "identity"):
                result.failure = "sends a compressed response, which was not asked for"
                return result
            async for chunk in response.aiter_raw():
                result.body += chunk
                if len(result.body) > _MOST_BYTES:
                    result.failure = f"sends more than {_MOST_BYTES // 1024} KiB"
                    return result
            return result


def http_client(timeout: float) -> httpx.AsyncClient:
    """Return the HTTP client of a check: without redirects, and with the proxies of the environment."""
    return httpx.AsyncClient(
        timeout=timeout,
        follow_redirects=False,
        headers={"User-Agent": f"enfilade/{__version__} (auth check)", "Accept-Encoding": "identity"},
    )
