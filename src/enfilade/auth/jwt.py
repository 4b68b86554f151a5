"""Access tokens that are JWTs: who calls, by the signature and the claims of a token (X-AUTH-3, RFC 9068).

What needs no key is checked first, so that a token that is expired or meant for somebody else causes no request.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from enfilade.auth.claims import check_audience, check_kind, check_times, principal_from, text_claim
from enfilade.auth.compact_token import read_token
from enfilade.auth.errors import InvalidTokenError
from enfilade.auth.http_client import HttpClients
from enfilade.auth.key_cache import KeyCache
from enfilade.auth.servers import AuthorizationServer
from enfilade.serving.principal import Principal

#: Seconds of leeway at most (X-AUTH-3).
MOST_LEEWAY: Final = 60.0
#: The `typ` of an access token. Those of other tokens that a server signs with the same keys are all others:
#: proofs (`dpop+jwt`), logout tokens, grants (`oauth-id-jag+jwt`). Those with `JWT`, as ID tokens and the refresh
#: tokens of Keycloak, are told by their claims (`check_kind`), or else by another audience alone.
TYPES: Final = ("jwt", "at+jwt")
_LONGEST_KID: Final = 512


class JwtVerifier:
    """Verifies the JWTs of one authorization server.

    Args:
        server: whose tokens.
        resource: the URL of this endpoint; a token's `aud` has it, or one of the server's `audiences`.
        leeway: seconds by which the clocks of the two may differ, up to 60.
        jwks_stale: seconds for which keys are used that could not be fetched anew.
        jwks_pause: seconds after which a key that is not there is looked for again.
        clock: seconds of a clock that only goes forward; tests replace it.

    Attributes:
        is_current: says whether a verdict of a `generation` holds still. To be asked before a kept verdict is
            used: it costs no I/O, and it begins to fetch the keys anew when that is due. It is False as well when
            the keys are older than `jwks_stale`.

    Raises:
        ValueError: one of the durations is out of its bounds.
    """

    def __init__(
        self,
        server: AuthorizationServer,
        resource: str,
        *,
        leeway: float = 30.0,
        jwks_stale: float = 3600.0,
        jwks_pause: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 <= leeway <= MOST_LEEWAY:
            raise ValueError(f"leeway= is a number of seconds from 0 to {MOST_LEEWAY:g}, not {leeway!r}")
        if not (jwks_stale >= 0 and jwks_pause >= 0):
            raise ValueError("jwks_stale= and jwks_pause= are numbers of seconds, not below 0")
        self._server, self._resource, self._leeway = server, resource, leeway
        self._clients = HttpClients(server.http_client)
        self._keys = KeyCache(server, self._clients, stale=jwks_stale, pause=jwks_pause, clock=clock)
        self.is_current = self._keys.is_current  # one call less for every request

    @property
    def generation(self) -> int:
        """Grows when a key that was known is gone from the JWKS or has changed: kept verdicts are void then."""
        return self._keys.generation

    @property
    def is_without_keys(self) -> bool:
        """Whether the keys could not be fetched, and there are none to use meanwhile."""
        return self._keys.is_missing

    async def verify(self, token: str, claims: dict[str, Any] | None = None) -> Principal:
        """Return who presents a token.

        Args:
            claims: what `unverified_claims` has returned for it.

        Raises:
            InvalidTokenError: the token is not accepted (R-609).
            ServerUnavailableError: the keys cannot be fetched at present.
        """
        parts = read_token(token, claims)
        algorithm, kid = self._check_header(parts.header)
        self._check_claims(parts.claims)
        principal = principal_from(parts.claims, self._server.issuer, token)
        candidates = await self._keys.candidates(kid, algorithm)
        if not any(key.verifies(algorithm, parts.signed, parts.signature) for key in candidates):
            raise InvalidTokenError("its signature is wrong")
        check_times(parts.claims, self._leeway)  # once more: to fetch the keys may have taken seconds
        return principal

    async def aclose(self) -> None:
        """End what is under way in the running event loop, and close its HTTP client; it may be used again."""
        await self._keys.aclose()
        await self._clients.aclose()

    def _check_header(self, header: dict[str, Any]) -> tuple[str, str | None]:
        """Return the algorithm and the key's id. Keys and URLs in it (jwk, jku, x5u, x5c) are not read."""
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if algorithm not in self._server.algorithms:
            raise InvalidTokenError("its algorithm is none of those that are accepted")
        if not isinstance(kid, str | None) or ("kid" in header and not kid):
            raise InvalidTokenError("its kid is no text")
        if kid is not None and len(kid) > _LONGEST_KID:
            raise InvalidTokenError("its kid is too long")
        if "crit" in header:  # RFC 7515 §4.1.11
            raise InvalidTokenError("its header has crit, and no extension is understood here")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in TYPES:
            raise InvalidTokenError("its typ is not that of an access token")
        return str(algorithm), kid

    def _check_claims(self, claims: dict[str, Any]) -> None:
        if claims.get("iss") != self._server.issuer:
            raise InvalidTokenError("its issuer is another one")
        check_kind(claims)
        self._check_audience(claims)
        if "exp" not in claims:
            raise InvalidTokenError("it has no exp")
        check_times(claims, self._leeway)

    def _check_audience(self, claims: dict[str, Any]) -> None:
        # Without an audience nothing says whom a token is for, so it is refused (B2). Amazon Cognito makes no
        # others by default; there only the client tells what is for this server from what is not.
        if "aud" not in claims and text_claim(claims, "client_id") in self._server.clients_without_audience:
            return
        check_audience(claims, self._resource, self._server.audiences)
