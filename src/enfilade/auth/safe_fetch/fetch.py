"""Fetches a small document from a URL that a stranger has named, without being led into one's own network
(R-709).

A name is resolved once, all its addresses are checked, and the connection is made to one of the checked
addresses. TLS and `Host` still have the name. So a name whose address is another one a moment later changes
nothing. Redirects are not followed, and the variables of proxies are not read: a proxy would resolve the name
again.

Easy to get wrong: what it costs. Anybody may cause a request, so few are made at the same time, threads of
their own wait for the resolver, and a response is read no further than its limit.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import httpcore

from enfilade.auth.limits.request_limit import LoopLimits
from enfilade.auth.safe_fetch.addresses import is_public
from enfilade.primitives.public_urls import fault_of, is_internal_host, split

#: Seconds for all of a request: the turn, the name, the connection and the response.
REQUEST_TIME: Final = 5.0
#: Bytes of a document.
MOST_BYTES: Final = 5 * 1024
_AT_ONCE, _MOST_WAITING = 8, 64
_RESOLVER_THREADS: Final = 16
#: Addresses of a name that are tried one after the other.
_MOST_ADDRESSES: Final = 4
_PORTS: Final = frozenset({443})

#: Returns the addresses of a host name.
Resolver = Callable[[str], Awaitable[Iterable[str]]]


class UnsafeURLError(Exception):
    """A URL leads where no stranger may send this server, or has no usable document; the text says why.

    Args:
        reason: for the log and for developers of clients. It has no part of the response and no address.
        is_final: whether asking again soon would change nothing, as it is the URL or the document that is wrong.
    """

    def __init__(self, reason: str, *, is_final: bool = True) -> None:
        super().__init__(reason)
        self.is_final = is_final


class BusyError(UnsafeURLError):
    """This server fetches too much at present, which says nothing of the URL."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a URL has.

    Args:
        body: within the limit.
        headers: of the response; names in lower case.
    """

    body: bytes
    headers: Mapping[str, str]


class SafeFetcher:
    """Fetches documents.

    Args:
        resolve: returns the addresses of a name; by default the resolver of the system.
        is_allowed: says whether an address may be connected to. Only tests replace it, to reach this machine.
        ports: that a URL may have.
        ssl_context: verifies certificates; by default against those that httpx trusts.
    """

    def __init__(
        self,
        *,
        resolve: Resolver | None = None,
        is_allowed: Callable[[str], bool] = is_public,
        ports: Collection[int] = _PORTS,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._resolve = resolve or _SystemResolver()
        self._is_allowed = is_allowed
        self._ports = ports
        self._ssl_context = ssl_context
        self._limits = LoopLimits(_AT_ONCE, _MOST_WAITING)

    def check(self, url: str) -> None:
        """Check what can be said of a URL before its name is resolved.

        Raises:
            UnsafeURLError: it is not https, has credentials, a fragment or another port, or its host is an
                address in whatever spelling, or a name that is known in one network only.
        """
        fault = fault_of(url)
        parts, host = split(url)
        if fault or parts.scheme != "https" or host is None:
            raise UnsafeURLError(f"it {fault}" if fault else "it is no https URL")
        if is_internal_host(host) or host.replace(".", "").isdigit() or ":" in host:
            raise UnsafeURLError("its host is no name of the public internet")
        if (parts.port or 443) not in self._ports:
            raise UnsafeURLError("its port is not that of https")

    async def get(self, url: str, most_bytes: int = MOST_BYTES) -> Document:
        """Return the document of a URL.

        Args:
            most_bytes: that it may have.

        Raises:
            UnsafeURLError: the URL is not allowed, or there is no response with status 200 within the limits.
        """
        self.check(url)
        limit = self._limits.current()
        try:
            async with asyncio.timeout(REQUEST_TIME):
                if not await limit.take(REQUEST_TIME):
                    raise BusyError("too many documents are being fetched at present", is_final=False)
                try:
                    return await self._fetch(url, most_bytes)
                finally:
                    limit.release()
        except TimeoutError:
            raise UnsafeURLError(f"no answer within {REQUEST_TIME:g} seconds", is_final=False) from None
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            raise UnsafeURLError(f"the request failed ({type(error).__name__})", is_final=False) from None

    async def _fetch(self, url: str, most_bytes: int) -> Document:
        context = self._ssl_context or await asyncio.to_thread(_system_context)
        backend = _CheckedBackend(self._resolve, self._is_allowed)
        headers = [("Accept", "application/json"), ("Accept-Encoding", "identity"), ("User-Agent", "enfilade")]
        async with (
            httpcore.AsyncConnectionPool(ssl_context=context, max_connections=1, network_backend=backend) as pool,
            pool.stream("GET", url, headers=headers) as response,
        ):
            return Document(await _read(response, most_bytes), _headers_of(response))


def _headers_of(response: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


async def _read(response: httpcore.Response, most_bytes: int) -> bytes:
    status = response.status
    if status != 200:
        redirect = ", a redirect, which is not followed" if 300 <= status < 400 else ""
        raise UnsafeURLError(f"status {status}{redirect}", is_final=status < 500 and status != 429)
    if _headers_of(response).get("content-encoding", "").lower() not in ("", "identity"):
        raise UnsafeURLError("the response is compressed, which was not asked for")
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > most_bytes:
            raise UnsafeURLError(f"the document has more than {most_bytes} bytes")
    return bytes(body)


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses of a name that were checked, and to nothing else."""

    def __init__(self, resolve: Resolver, is_allowed: Callable[[str], bool]) -> None:
        self._resolve, self._is_allowed = resolve, is_allowed
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = list(dict.fromkeys(await self._resolve(host)))
        # One that is not public is enough: whoever has it among others may hope for the order.
        if not addresses or not all(self._is_allowed(address) for address in addresses):
            raise UnsafeURLError("its host has no address of the public internet, or also another one")
        failure: Exception | None = None
        for address in addresses[:_MOST_ADDRESSES]:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                failure = error
        assert failure is not None
        raise failure


class _SystemResolver:
    """The resolver of the system, in threads of its own: one that does not answer keeps nobody else waiting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0

    async def __call__(self, host: str) -> list[str]:
        with self._lock:  # a thread goes on when its caller has given up
            if self._running >= _RESOLVER_THREADS:
                raise BusyError("too many names are being resolved at present", is_final=False)
            self._running += 1
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[list[str]] = loop.create_future()
        threading.Thread(target=self._look_up, args=(host, loop, outcome), daemon=True).start()
        return await outcome

    def _look_up(self, host: str, loop: asyncio.AbstractEventLoop, outcome: "asyncio.Future[list[str]]") -> None:
        addresses: list[str] = []
        try:
            entries = socket.getaddrinfo(host, None, 0, socket.SOCK_STREAM)
            addresses = [str(address[0]) for *_, address in entries]
        except (OSError, UnicodeError):
            pass  # no address is what its caller tells
        finally:
            with self._lock:
                self._running -= 1
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_settle, outcome, addresses)


def _settle(outcome: "asyncio.Future[list[str]]", addresses: list[str]) -> None:
    if not outcome.done():
        outcome.set_result(addresses)


@cache
def _system_context() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()
