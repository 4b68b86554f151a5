"""The request that the handler of a plain route gets.

Its members have the names of Starlette's where they mean the same. Easy to get wrong: unlike `ctx.http` of a
tool, it has every header, credentials too: a route checks signatures of webhooks and cookies of its own.
"""

import json
from collections.abc import Mapping, MutableMapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from enfilade.serving.callers.http_request import HttpHeaders
from enfilade.serving.principal import Principal
from enfilade.transports.exchange import HttpExchange


class HttpError(Exception):
    """The response of a route is an error.

    Args:
        status: the HTTP status, 400 to 599.
        text: one sentence for the client, without internals.
        headers: further headers of the response.
    """

    def __init__(self, status: int, text: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


class AllHeaders(HttpHeaders):
    """The headers of a request by their names in any case, with those that hold credentials."""

    __slots__ = ()

    def __init__(self, headers: Any) -> None:
        self._values = {}
        for name, value in headers:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))


class RouteRequest:
    """One HTTP request for a plain route.

    Attributes:
        method: the HTTP method, in upper case.
        path: the path without the prefix under which a host has mounted the app.
        path_params: what stands at `{name}` in the path of the route, decoded.
        principal: who calls; None for a route that is public.
        lifespan: what the lifespan of the app yielded.
        scope: the ASGI scope.
    """

    def __init__(
        self, exchange: HttpExchange, path: str, path_params: Mapping[str, str], *, body_limit: int, lifespan: Any
    ) -> None:
        self.method = exchange.method
        self.path = path
        self.path_params = path_params
        self.principal: Principal | None = exchange.principal
        self.lifespan = lifespan
        self.scope: MutableMapping[str, Any] = exchange.scope
        self._exchange = exchange
        self._body_limit = body_limit
        self._body: bytes | None = None

    @cached_property
    def headers(self) -> AllHeaders:
        """All headers by their names in any case; `getlist(name)` has each value of one."""
        return AllHeaders(self._exchange.headers)

    @cached_property
    def query_params(self) -> dict[str, str]:
        """The parameters of the query, decoded; of one that came several times, the last value."""
        query = bytes(self.scope.get("query_string", b"")).decode("latin-1")
        return dict(parse_qsl(query, keep_blank_values=True))

    @property
    def client(self) -> str | None:
        """The address of the client, behind proxies that are trusted; None if it is not known."""
        address = self._exchange.client
        return address[0] if address else None

    async def body(self) -> bytes:
        """Return the whole body; it is read once.

        Raises:
            HttpError: 413, it is larger than `body_limit`.
        """
        if self._body is None:
            chunks, size, is_more = list[bytes](), 0, True
            while is_more:
                chunk, is_more = await self._exchange.read()
                size += len(chunk)
                if size > self._body_limit:
                    raise HttpError(413, f"the body is larger than {self._body_limit} bytes")
                chunks.append(chunk)
            self._body = b"".join(chunks)
        return self._body

    async def text(self) -> str:
        """Return the body as text.

        Raises:
            HttpError: 400, it is no UTF-8; or 413.
        """
        try:
            return (await self.body()).decode()
        except UnicodeDecodeError:
            raise HttpError(400, "the body is no UTF-8") from None

    async def json(self) -> Any:
        """Return the body, read as JSON.

        Raises:
            HttpError: 400, it is no JSON; or 413.
        """
        try:
            return json.loads(await self.body())
        except (ValueError, RecursionError):
            raise HttpError(400, "the body is no JSON") from None

    def __repr__(self) -> str:
        return f"<RouteRequest {self.method} {self.path}>"
