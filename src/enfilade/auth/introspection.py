"""Opaque tokens: the authorization server is asked who presents one (RFC 7662, X-AUTH-4).

Easy to get wrong: tokens that somebody invents. Each of them is a request of its own, so they must not take the
connections of tokens that are good. Tokens that were good within the last hour have connections of their own;
of all others the newest is asked about first, and what is too much is refused for itself alone.
"""

import asyncio
import base64
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote_plus, urlsplit

from pydantic import SecretStr

from enfilade.auth.claims import check_audience, check_kind, check_times, principal_from, text_claim
from enfilade.auth.compact_token import MOST_BYTES, check_values
from enfilade.auth.errors import InvalidTokenError, ServerUnavailableError
from enfilade.auth.http_client import (
    CONNECTIONS,
    REQUEST_TIME,
    FetchError,
    HttpClients,
    NoConnectionError,
    post_form,
)
from enfilade.auth.limits.expiring_cache import ExpiringCache
from enfilade.auth.limits.failure_circuit import PAUSE, FailureCircuit
from enfilade.auth.limits.request_limit import LoopLimits, RequestLimit
from enfilade.auth.urls import check_url, normalized, origin_of
from enfilade.serving.failures import LimitedLog
from enfilade.serving.principal import Principal

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("enfilade.auth")

#: Seconds for which an answer is used: who presents a token, and that it is not valid.
_POSITIVE_AGE, _NEGATIVE_AGE = 60.0, 5.0
_MOST_POSITIVE, _MOST_NEGATIVE = 10_000, 1_000
#: Bytes of an answer that is kept, which takes ten times as many in memory at most; others are used once.
_LARGEST_KEPT: Final = 64 * 1024
#: Requests at a time, of tokens that were good within these seconds, and as many of others; and what may wait.
_AT_ONCE: Final = CONNECTIONS // 2
_GOOD_AGE: Final = 3600.0
_MOST_WAITING = 500
#: What says that the server is away, when it is the answer for several tokens in a row: then there is a pause, so
#: that calls do not wait for it. Any other status, such as the 403 of a firewall, may be about one token.
_AWAY: Final = (None, 401, 429, 502, 503, 504)


class Introspection:
    """Asks an authorization server about each token, and uses its answer for up to a minute.

    Args:
        url: the introspection endpoint.
        client_id: this server's own client there.
        client_secret: the secret of that client.
        issuer: the issuer whose tokens these are; a token of another one is refused. Without it, an issuer that
            an answer names has to be a beginning of `url`.
        audiences: audiences that are accepted besides the resource.
        require_audience: whether an answer without `aud` is refused; RFC 7662 leaves it to the server.
        http_client: makes the HTTP client; by default one with limits of time and size.
        clock: seconds of a clock that only goes forward; tests replace it.

    Raises:
        TypeError, ValueError: the URL is not https, or the client's id or secret is missing.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: SecretStr | str,
        *,
        issuer: str | None = None,
        audiences: Sequence[str] = (),
        require_audience: bool = False,
        http_client: "Callable[[], httpx.AsyncClient] | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_url(url, "the URL of Introspection")
        if issuer is not None:
            check_url(issuer, "issuer")
        if isinstance(audiences, str):
            raise TypeError("audiences= takes a list of texts")
        secret = SecretStr(client_secret) if isinstance(client_secret, str) else client_secret
        if not client_id or not secret.get_secret_value():
            raise ValueError("Introspection needs the id and the secret of a client at the authorization server")
        self._url, self._client_id, self._secret = url, client_id, secret
        parts = urlsplit(url)
        self._default_issuer = issuer or origin_of(parts, parts.port)
        self._issuer, self._audiences = issuer, tuple(audiences)
        self._require_audience = require_audience
        self._http_client, self._clock = http_client, clock
        self._resource: str | None = None
        self._leeway = 30.0
        self._start()

    def __repr__(self) -> str:
        return f"Introspection({self._url!r}, {self._client_id!r})"

    def for_resource(self, resource: str, leeway: float = 30.0) -> Self:
        """Return the same for an endpoint: its URL is an audience, and clocks may differ by `leeway` seconds."""
        bound = type(self).__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound._resource, bound._leeway = resource, leeway
        bound._start()
        return bound

    def _start(self) -> None:
        self._clients = HttpClients(self._http_client)
        self._principals: ExpiringCache[bytes, Principal] = ExpiringCache(_MOST_POSITIVE, self._clock)
        self._refused: ExpiringCache[bytes, str] = ExpiringCache(_MOST_NEGATIVE, self._clock)
        self._good: ExpiringCache[bytes, bool] = ExpiringCache(_MOST_POSITIVE, self._clock)
        self._requests: dict[bytes, asyncio.Task[_Answer]] = {}
        self._limits = LoopLimits(_AT_ONCE, _MOST_WAITING), LoopLimits(_AT_ONCE, _MOST_POSITIVE)
        self._circuits = FailureCircuit(self._clock), FailureCircuit(self._clock)
        self._failure_log, self._excess_log, self._issuer_log = LimitedLog(log), LimitedLog(log), LimitedLog(log)

    async def verify_token(self, token: str) -> Principal | None:
        """Return who presents a token, or None if the server says that it is not active.

        Raises:
            InvalidTokenError: it is active, but not for this endpoint.
            ServerUnavailableError: the server does not answer, or does not know this server's client.
        """
        if len(token) > MOST_BYTES or not token.isascii() or not token.isprintable() or " " in token:
            return None  # no access token (RFC 6749 A.12)
        digest = hashlib.sha256(token.encode("ascii")).digest()
        principal = self._principals.get(digest)
        if principal is not None:
            return principal
        reason = self._refused.get(digest)
        answer = await self._asked(token, digest) if reason is None else reason
        if isinstance(answer, ServerUnavailableError):
            raise ServerUnavailableError(str(answer), answer.retry_after)
        if isinstance(answer, str):
            if answer:
                raise InvalidTokenError(answer)
            return None
        return answer

    async def aclose(self) -> None:
        """End what is under way in the running event loop, and close its HTTP client; it may be used again."""
        loop = asyncio.get_running_loop()
        requests = [request for request in self._requests.values() if request.get_loop() is loop]
        for request in requests:
            request.cancel()
        if requests:
            await asyncio.wait(requests)
        await self._clients.aclose()

    async def _asked(self, token: str, digest: bytes) -> "_Answer":
        """Ask the server once for all who present the same token at the same time."""
        loop = asyncio.get_running_loop()
        request = self._requests.get(digest)
        if request is None or request.get_loop() is not loop:
            if self._circuit_of(digest).is_open:
                return self._unavailable()
            request = loop.create_task(self._ask_in_turn(token, digest), context=Context())
            self._requests[digest] = request
            request.add_done_callback(lambda _: self._requests.pop(digest, None))
        try:
            # Shielded: whoever is cancelled leaves the answer to the others.
            return await asyncio.wait_for(asyncio.shield(request), 2 * REQUEST_TIME)
        except TimeoutError:
            return self._unavailable()

    def _unavailable(self) -> ServerUnavailableError:
        return ServerUnavailableError(f"the introspection at {self._url}", PAUSE)

    async def _ask_in_turn(self, token: str, digest: bytes) -> "_Answer":
        """Ask when there is a connection for it; unavailable if there is none in time."""
        limit = self._limit_of(digest)
        if not await limit.take(REQUEST_TIME):
            self._excess_log.write(
                logging.WARNING, "more tokens are presented than %s can be asked about in time", self._url
            )
            return self._unavailable()
        try:
            if self._circuit_of(digest).is_open:  # it went away meanwhile
                return self._unavailable()
            return await self._ask(token, digest)
        finally:
            limit.release()

    def _limit_of(self, digest: bytes) -> RequestLimit:
        """Return the limit for a token: tokens that were good compete with no others."""
        return self._limits[self._is_good(digest)].current()

    def _circuit_of(self, digest: bytes) -> FailureCircuit:
        """Return the circuit for a token: failures with those of strangers stop none that was good."""
        return self._circuits[self._is_good(digest)]

    def _is_good(self, digest: bytes) -> bool:
        return self._good.get(digest) is True

    async def _ask(self, token: str, digest: bytes) -> "_Answer":
        form = {"token": token, "token_type_hint": "access_token"}
        try:
            client = await self._clients.current()
            try:
                response = await post_form(client, self._url, form, self._authorization())
            except NoConnectionError:
                await self._clients.replace(client)
                raise
            if not isinstance(response.value, dict) or not isinstance(response.value.get("active"), bool):
                raise FetchError("the response has no active: true or false", 200)
        except FetchError as error:
            return self._failed(error, digest)
        except Exception as error:  # of a client that somebody brought along
            return self._failed(FetchError(f"the request failed ({type(error).__name__})"), digest)
        self._circuit_of(digest).succeeded()
        try:
            principal, age = self._principal(response.value, token)
        except InvalidTokenError as error:
            self._refused.put(digest, error.reason, _NEGATIVE_AGE)
            return error.reason
        if principal is None:
            self._refused.put(digest, "", _NEGATIVE_AGE)
            return ""
        if response.size <= _LARGEST_KEPT:
            self._principals.put(digest, principal, age, response.size + len(token))
        self._good.put(digest, True, _GOOD_AGE)
        return principal

    def _failed(self, error: FetchError, digest: bytes) -> ServerUnavailableError:
        if error.status in _AWAY and not isinstance(error, NoConnectionError):
            self._circuit_of(digest).failed(error.retry_after)
        if error.status in (401, 403):
            self._failure_log.write(
                logging.ERROR,
                "%s answers status %d: it does not accept this server's own client. Set client_id= and "
                "client_secret= of Introspection to those of a client that may introspect tokens",
                self._url,
                error.status,
            )
        else:
            self._failure_log.write(logging.WARNING, "%s cannot be asked about a token: %s", self._url, error)
        return self._unavailable()

    def _authorization(self) -> str:
        """Return the header `Authorization` of HTTP Basic; both parts are form-encoded (RFC 6749 §2.3.1)."""
        pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret.get_secret_value())}"
        return f"Basic {base64.b64encode(pair.encode('ascii')).decode('ascii')}"

    def _principal(self, claims: dict[str, Any], token: str) -> tuple[Principal | None, float]:
        """Return who presents a token, or None if it is not active, and for how many seconds that may be used."""
        if claims["active"] is not True:
            return None, 0.0
        claims = {name: value for name, value in claims.items() if value is not None}  # as some servers send them
        check_times(claims, self._leeway)
        check_kind(claims)
        try:
            check_values(claims)
        except ValueError:
            raise InvalidTokenError("what its server says of it is nested too deeply") from None
        if self._require_audience or "aud" in claims:
            check_audience(claims, self._resource, self._audiences)
        principal = principal_from(claims, self._issuer_of(claims), token)
        if principal.expires_at is None:
            return principal, _POSITIVE_AGE
        return principal, min(_POSITIVE_AGE, principal.expires_at + self._leeway - time.time())

    def speaks_for(self, issuer: str) -> bool:
        """Whether the server may name an issuer: it was said to be that one's, or is below its URL.

        The same origin is not enough: the realms of a Keycloak share one.
        """
        if self._issuer is not None:
            return issuer == self._issuer
        return f"{normalized(self._url)}/".startswith(f"{normalized(issuer)}/")

    def _issuer_of(self, claims: dict[str, Any]) -> str:
        """Return the issuer of a token; of a server that does not name it, where it is asked.

        Without one, users of two servers would be the same.
        """
        issuer = text_claim(claims, "iss")
        if issuer is not None and not self.speaks_for(issuer):
            self._issuer_log.write(
                logging.ERROR,
                "%r has named another issuer than its own: if it speaks for that one, say so by "
                "Introspection(..., issuer=...)",
                self,
            )
            raise InvalidTokenError("its issuer is another one")
        return issuer or self._default_issuer

    def mixes_up(self, other: "Introspection") -> bool:
        """Whether users of two servers are the same if answers name no issuer, and nobody says that it is one."""
        is_one = normalized(self._url) == normalized(other._url)
        return (
            not is_one and self._default_issuer == other._default_issuer and None in (self._issuer, other._issuer)
        )


#: Who it is; why not, or an empty text for a token that is not active; or that nobody knows.
_Answer = Principal | str | ServerUnavailableError
