"""Who opens a link: the user who has caused it, or somebody else (A9, R-545, R-718).

A visitor proves to be a principal by a login at the same issuer: an authorization code for an ID token of OpenID
Connect, whose subject is then compared. So whoever got the link from elsewhere cannot consent for others, nor can
others be led to give theirs to somebody else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from pydantic import SecretStr

from enfilade.auth.claims import check_times
from enfilade.auth.compact_token import read_token
from enfilade.auth.errors import InvalidTokenError, ServerUnavailableError
from enfilade.auth.http_client import HttpClients
from enfilade.auth.key_cache import KeyCache
from enfilade.auth.oauth_providers.client import ProviderClient
from enfilade.auth.oauth_providers.provider import OAuth2
from enfilade.auth.oauth_providers.responses import ProviderError
from enfilade.auth.servers import AuthorizationServer
from enfilade.serving.principal import Principal

#: Seconds by which clocks may differ.
_LEEWAY: Final = 60.0
#: Seconds from a login to the check of its ID token.
_LOGIN_AGE: Final = 900.0


class VisitorLogin(Protocol):
    """A login by which a visitor proves who they are."""

    @property
    def title(self) -> str:
        """Where, for people."""
        ...

    async def url(self, *, redirect_uri: str, state: str, verifier: str, nonce: str) -> str:
        """Return where the visitor logs in.

        Raises:
            ProviderError: the server for it does not answer.
        """
        ...

    async def principal_key(
        self, *, code: str, issuer: str | None, redirect_uri: str, verifier: str, nonce: str
    ) -> str:
        """Return the key of the principal that a visitor is, for the code that they have come back with.

        Args:
            issuer: `iss` of the redirect, if it had one.

        Raises:
            ProviderError: the login cannot be ended.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        ...


class IssuerLogin:
    """A login at an authorization server, by OpenID Connect.

    Args:
        server: has a `client_id` of this server there.
    """

    def __init__(self, server: AuthorizationServer) -> None:
        secret = server.client_secret
        value = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        provider = OAuth2.discover(server.issuer, id="issuer", http_client=server.http_client)
        self._server = server
        self._client_id = str(server.client_id)
        self._client = ProviderClient(provider, self._client_id, value)
        self._keys = KeyCache(
            server, HttpClients(server.http_client), stale=3600.0, pause=60.0, clock=time.monotonic
        )

    @property
    def title(self) -> str:
        """The issuer."""
        return self._server.issuer

    async def url(self, *, redirect_uri: str, state: str, verifier: str, nonce: str) -> str:
        """Return where the visitor logs in."""
        return await self._client.authorization_url(
            redirect_uri=redirect_uri, state=state, verifier=verifier, scopes=["openid"], nonce=nonce
        )

    async def principal_key(
        self, *, code: str, issuer: str | None, redirect_uri: str, verifier: str, nonce: str
    ) -> str:
        """Return the key of the principal that a visitor is."""
        await self._client.check_issuer(issuer)
        tokens = await self._client.redeem(code, verifier=verifier, redirect_uri=redirect_uri)
        if tokens.id_token is None:
            raise ProviderError("its response has no id_token", is_final=True)
        try:
            claims = await self._claims(tokens.id_token, nonce)
        except InvalidTokenError as error:
            raise ProviderError(f"its id_token is refused: {error.reason}", is_final=True) from None
        except ServerUnavailableError:
            raise ProviderError("its keys cannot be fetched") from None
        return Principal(claims["sub"], issuer=self._server.issuer).key

    async def _claims(self, id_token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token (OpenID Connect Core §3.1.3.7).

        Raises:
            InvalidTokenError: it is not for this server and this login.
            ServerUnavailableError: the keys cannot be fetched.
        """
        parts = read_token(id_token)
        claims, header = parts.claims, parts.header
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._server.algorithms or "crit" in header:
            raise InvalidTokenError("its algorithm is none of those that are accepted")
        if not isinstance(kid, str | None):
            raise InvalidTokenError("its kid is no text")
        if claims.get("iss") != self._server.issuer:
            raise InvalidTokenError("its issuer is another one")
        audience = claims.get("aud")
        if self._client_id not in ([audience] if isinstance(audience, str) else audience or []):
            raise InvalidTokenError("its audience is another client")
        if claims.get("azp", self._client_id) != self._client_id:
            raise InvalidTokenError("its azp is another client")
        if claims.get("nonce") != nonce:
            raise InvalidTokenError("its nonce is that of another login")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise InvalidTokenError("it has no sub")
        issued_at = claims.get("iat")
        if not isinstance(issued_at, int | float) or issued_at < time.time() - _LOGIN_AGE:
            raise InvalidTokenError("it is older than the login")
        if "exp" not in claims:
            raise InvalidTokenError("it has no exp")
        check_times(claims, _LEEWAY)
        candidates = await self._keys.candidates(kid, str(algorithm))
        if not any(key.verifies(str(algorithm), parts.signed, parts.signature) for key in candidates):
            raise InvalidTokenError("its signature is wrong")
        return claims

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._client.aclose()
        await self._keys.aclose()


class Logins:
    """The logins by which visitors prove who they are, by the issuer of the principal.

    Args:
        servers: the authorization servers; those without a `client_id` have no login.
        other: a login of another kind, for all principals without one of these; None if there is none.
    """

    def __init__(self, servers: Sequence[AuthorizationServer], other: VisitorLogin | None = None) -> None:
        self._by_issuer: dict[str | None, VisitorLogin] = {
            server.issuer: IssuerLogin(server) for server in servers if server.client_id
        }
        self._other = other

    @property
    def is_there(self) -> bool:
        """Whether there is any."""
        return bool(self._by_issuer) or self._other is not None

    def of(self, issuer: str | None) -> VisitorLogin | None:
        """Return the login for the users of an issuer; None if there is none."""
        return self._by_issuer.get(issuer, self._other)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        for login in (*self._by_issuer.values(), self._other):
            if login is not None:
                await login.aclose()
