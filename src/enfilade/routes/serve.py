"""Answering a request for a plain route or a mounted application.

In this order: Host and Origin, as at the endpoint; the preflight of a page of an allowed origin; the method; who
calls, if the route is not public; the handler. Nothing of an error but its correlation id leaves the server.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Final, Protocol

from enfilade.routes.exchange import RouteExchange
from enfilade.routes.request import HttpError, RouteRequest
from enfilade.routes.response import Response, send_value
from enfilade.routes.table import Match, Mount, Route
from enfilade.serving.failures import log_safely, masked, stops
from enfilade.serving.principal import Principal
from enfilade.serving.thread_pool import ThreadPool
from enfilade.transports.asgi import PRINCIPAL_KEY, AsgiExchange, host_principal
from enfilade.transports.exchange import DisconnectedError, Headers
from enfilade.transports.http.authentication import Authenticator
from enfilade.transports.http.origin_checks import HostOriginPolicy, cors
from enfilade.transports.http.other_paths import serve_preflight
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import RpcError

log = logging.getLogger("enfilade.routes")
_FOREIGN: Final = ("starlette.", "fastapi.")


class Granting(Authenticator, Protocol):
    """An authenticator that knows which scopes a principal has, with those that they include."""

    def granted(self, principal: Principal) -> frozenset[str]:
        """Return the scopes."""
        ...


class RouteOptions(Protocol):
    """The settings that hold for routes."""

    @property
    def body_limit(self) -> int:
        """Most bytes of a body."""
        ...

    @property
    def request_timeout(self) -> float:
        """Seconds that a handler may take; 0 for any."""
        ...


class RouteServer:
    """Answers requests for the routes of one app.

    Args:
        policy: which Host and Origin are served.
        authenticator: who calls; None where nobody or a host says so.
        threads: returns the threads for `def` handlers.
        lifespan: returns what the lifespan yielded.
    """

    def __init__(
        self,
        policy: HostOriginPolicy,
        authenticator: Granting | None,
        threads: Callable[[], ThreadPool],
        lifespan: Callable[[], Any],
        options: RouteOptions,
    ) -> None:
        self._policy = policy
        self._authenticator = authenticator
        self._threads = threads
        self._lifespan = lifespan
        self._options = options

    async def serve(self, exchange: RouteExchange, match: Match, path: str) -> None:
        """Answer a request.

        Args:
            match: what its path leads to.
            path: the path without the prefix of a mount.
        """
        headers: Headers = []
        try:
            fields = http.read(exchange.headers)
            refusal = self._policy.verdict(fields.get(b"host"), fields.get(b"origin"))
            if refusal is not None:
                raise HttpError(*refusal)
            origin = fields.get(b"origin")
            headers = [] if origin is None else cors(origin)
            target = match.target
            answers_options = isinstance(target, Mount) or "OPTIONS" in match.methods
            if not answers_options and await serve_preflight(exchange, self._policy, match.methods):
                return
            if target is None:
                raise HttpError(405, "the path has other methods", {"allow": ", ".join(match.methods)})
            if target.scopes is not None:
                exchange.principal = await self._caller(exchange, fields, target.scopes)
            if isinstance(target, Mount):
                await pass_on(target, exchange, path)
                return
            value = await self._call(target, exchange, match.parameters, path)
            await send_value(exchange, value, headers)
        except DisconnectedError:
            return
        except RpcError as error:
            await self._refuse(exchange, error, headers)
        except Exception as error:
            if stops(error):
                raise
            await self._fail(exchange, match, error, headers)

    async def _caller(
        self, exchange: RouteExchange, fields: Mapping[bytes, bytes], scopes: tuple[str, ...]
    ) -> Principal:
        """Return who calls a route that is not public.

        Raises:
            RpcError: HTTP 401, 403 or 503, of the authenticator.
            HttpError: the same where a host says who calls.
        """
        if self._authenticator is not None:
            principal = self._authenticator.known(exchange, fields)
            principal = principal or await self._authenticator.authenticate(exchange, fields)
            if not self._authenticator.granted(principal).issuperset(scopes):
                raise self._authenticator.lacks_scopes(exchange, scopes)
            return principal
        stated = host_principal(exchange.scope)
        if stated is None:
            raise HttpError(401, "this needs a caller who is known")
        if not stated.scopes.issuperset(scopes):
            raise HttpError(403, f"this needs the scopes {' '.join(scopes)}")
        return stated

    async def _call(self, route: Route, exchange: RouteExchange, parameters: Mapping[str, str], path: str) -> Any:
        """Return what the handler of a route returns, in the time that it may take."""
        arguments: tuple[Any, ...] = ()
        if route.request_type is not None:
            exchange.scope["path_params"] = dict(parameters)
            arguments = (route.request_type(exchange.scope, exchange.receive),)
        elif route.takes_request:
            limit = self._options.body_limit
            arguments = (RouteRequest(exchange, path, parameters, body_limit=limit, lifespan=self._lifespan()),)
        async with asyncio.timeout(self._options.request_timeout or None) as timeout:
            try:
                if iscoroutinefunction(route.handler):
                    return await route.handler(*arguments)
                value = await self._threads().result_of(route.handler, *arguments)
                return await value if isawaitable(value) else value
            except TimeoutError:
                if not timeout.expired():
                    raise
        raise AssertionError("a timeout that has expired raises")

    async def _refuse(self, exchange: RouteExchange, error: RpcError, headers: Headers) -> None:
        response = Response({"error": error.message}, error.status or 400)
        await send_value(exchange, response, [*headers, *error.headers])

    async def _fail(self, exchange: RouteExchange, match: Match, error: Exception, headers: Headers) -> None:
        """Answer with an error, unless the response has begun: then the server breaks it off."""
        response = _known_error(error)
        if response is None:
            place = "a route" if match.target is None else f"{exchange.method} {match.target.path or '/'}"
            failure = masked(error, f"{place} failed")
            response = Response({"error": failure.message}, failure.status or 500)
        if exchange.has_started:
            raise error
        await send_value(exchange, response, headers)


def _known_error(error: Exception) -> Response | None:
    """Return the response of an error that a handler meant, ours or Starlette's; None for any other."""
    if isinstance(error, HttpError):
        return Response({"error": error.text} if error.text else None, error.status, error.headers)
    if isinstance(error, TimeoutError):
        log_safely(log, logging.WARNING, "a route took longer than request_timeout and was cancelled")
        return Response({"error": "this took too long"}, 504)
    status, detail = getattr(error, "status_code", None), getattr(error, "detail", None)
    if isinstance(status, int) and type(error).__module__.startswith(_FOREIGN):
        headers: Mapping[str, str] = getattr(error, "headers", None) or {}
        return Response({"detail": detail}, status, headers)
    return None


def exchange_of(exchange: AsgiExchange) -> RouteExchange:
    """Return an exchange as routes need it."""
    return RouteExchange.of(exchange)


def pass_on(mount: Mount, exchange: RouteExchange, path: str) -> Awaitable[None]:
    """Call a mounted application: its paths begin behind `root_path`, as ASGI has it."""
    scope = exchange.scope
    root = scope.get("root_path", "").rstrip("/")
    inner = {**scope, "path": root + path, "root_path": root + mount.path, "app_root_path": root}
    if exchange.principal is not None:
        inner["state"] = {**(scope.get("state") or {}), PRINCIPAL_KEY: exchange.principal}
    serving: Awaitable[None] = mount.app(inner, exchange.receive, exchange.send_message)
    return serving
