"""Requests to authorization servers: one HTTP client for each event loop, and limits for every response.

Easy to get wrong: a response comes from another machine. Redirects are not followed, because they would lead to
a URL that nobody configured; cookies are not kept; and a body is read no further than its limit.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from weakref import WeakKeyDictionary

import httpx
import msgspec

#: Seconds for one request and its response in all.
REQUEST_TIME: Final = 5.0
#: Bytes of a response at most. A JWKS of 100 keys of RSA 4096 has 80 KB.
MOST_BYTES: Final = 512 * 1024
#: Connections of a client to all servers.
CONNECTIONS: Final = 20
#: Seconds of `REQUEST_TIME` that may pass until a connection is free.
_CONNECTION_WAIT: Final = 2.0
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_NO_COMPRESSION: Final = ("", "identity")


class FetchError(Exception):
    """A server gave no usable response; the text says why, for the log.

    Args:
        reason: what went wrong, without any text of the response.
        status: the status of the response, or None if there was none.
        retry_after: seconds after which the server wants to be asked again, if it says a number of them.
    """

    def __init__(self, reason: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after


class NoConnectionError(FetchError):
    """All connections of this process to the server are in use, which says nothing of the server."""


@dataclass(frozen=True, slots=True)
class JsonResponse:
    """A response with JSON.

    Args:
        value: what its JSON says.
        headers: its headers; names in any case.
        size: bytes of its body.
        status: 200, or another one that was asked for.
    """

    value: Any
    headers: Mapping[str, str]
    size: int
    status: int = 200


class HttpClients:
    """The HTTP client of each event loop, made when it is first needed.

    Args:
        make: makes a client; by default one with the limits of this module.
    """

    def __init__(self, make: Callable[[], httpx.AsyncClient] | None = None) -> None:
        self._make = make
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()
        self._replaced: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[float, httpx.AsyncClient]]
        self._replaced = WeakKeyDictionary()

    async def current(self) -> httpx.AsyncClient:
        """Return the client of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients and self._make is None:
            await asyncio.to_thread(_ssl_context)  # reads 200 KB of certificates
        client = self._clients.get(loop)
        if client is None or client.is_closed:
            client = self._clients[loop] = self._make() if self._make else _default_client()
        return client

    async def replace(self, client: httpx.AsyncClient) -> None:
        """Have the next request make another client, since this one had no connection free; once in a while.

        A request that is cancelled at the moment when it gets a connection leaves it in use for good (httpcore
        1.0), so that a client may run out of them. Requests that are under way end in their own client.
        """
        loop = asyncio.get_running_loop()
        ends_at, earlier = self._replaced.get(loop, (0.0, None))
        if self._clients.get(loop) is not client or loop.time() < ends_at:
            return
        del self._clients[loop]
        self._replaced[loop] = (loop.time() + 2 * REQUEST_TIME, client)
        if earlier is not None and earlier is not client:
            await earlier.aclose()

    async def aclose(self) -> None:
        """Close the clients of the running event loop; the next request makes another one."""
        loop = asyncio.get_running_loop()
        client, (_, earlier) = self._clients.pop(loop, None), self._replaced.pop(loop, (0.0, None))
        for made in (client, earlier):
            if made is not None:
                await made.aclose()


@cache
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _default_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=_ssl_context(),
        timeout=REQUEST_TIME,
        limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=5),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"User-Agent": "enfilade"},
    )


async def get_json(client: httpx.AsyncClient, url: str) -> JsonResponse:
    """Return what a URL has.

    Raises:
        FetchError: there is no response with status 200 and JSON within the limits.
    """
    return await request_json(client, client.build_request("GET", url, headers=_HEADERS))


async def post_form(
    client: httpx.AsyncClient, url: str, form: Mapping[str, str], authorization: str
) -> JsonResponse:
    """Send a form with the header `Authorization` and return what is answered.

    Raises:
        FetchError: there is no response with status 200 and JSON within the limits.
    """
    headers = {**_HEADERS, "Authorization": authorization}
    return await request_json(client, client.build_request("POST", url, data=dict(form), headers=headers))


#: Without compression: what a small body unpacks to has no limit that could be checked beforehand.
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


async def request_json(
    client: httpx.AsyncClient, request: httpx.Request, statuses: Collection[int] = (200,)
) -> JsonResponse:
    """Send a request and return the JSON of its response.

    Args:
        statuses: of the responses that are read.

    Raises:
        FetchError: there is no response with one of these statuses and JSON within the limits.
        NoConnectionError: it was not sent, because no connection was free.
    """
    timeouts = dict(request.extensions.get("timeout") or {})
    wait = timeouts.get("pool")
    timeouts["pool"] = _CONNECTION_WAIT if wait is None else min(wait, _CONNECTION_WAIT)
    request.extensions = {**request.extensions, "timeout": timeouts}
    try:
        async with asyncio.timeout(REQUEST_TIME):
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                body = await _read(response, statuses)
            finally:
                await response.aclose()
    except TimeoutError:
        raise FetchError(f"no answer within {REQUEST_TIME:g} seconds") from None
    except httpx.PoolTimeout:
        raise NoConnectionError("all connections of this server to it are in use") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
        raise FetchError(f"the request failed ({type(error).__name__})") from None
    try:
        return JsonResponse(msgspec.json.decode(body), response.headers, len(body), response.status_code)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise FetchError("the response is no JSON", response.status_code) from None


async def _read(response: httpx.Response, statuses: Collection[int]) -> bytes:
    status = response.status_code
    if status not in statuses:
        redirect = ", a redirect, which is not followed" if response.is_redirect else ""
        seconds = response.headers.get("Retry-After", "")
        retry_after = float(seconds) if _SECONDS.fullmatch(seconds) else None
        raise FetchError(f"status {status}{redirect}", status, retry_after)
    if response.headers.get("Content-Encoding", "").lower() not in _NO_COMPRESSION:
        raise FetchError("the response is compressed, which was not asked for", status)
    if response.is_stream_consumed:  # of a transport in memory, such as that of a user's tests
        return response.content
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MOST_BYTES:
            raise FetchError(f"the response has more than {MOST_BYTES} bytes", status)
    return bytes(body)
