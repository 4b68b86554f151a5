"""Enterprise-managed authorization: the identity provider of a company says which client may act for a user.

A client exchanges the assertion (ID-JAG) for an access token, without a login (X-AUTH-41, RFC 7523). It must
have a secret: an assertion that somebody has picked up is of no use to anybody else. There is no refresh token,
since the identity provider is asked again each time.

Easy to get wrong: the assertion in a log. It is good for a token until it is used, so no text here has a part
of it.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from enfilade.auth.claims import check_times, is_same_url, scopes_of, seconds_claim, text_claim
from enfilade.auth.compact_token import read_token, unverified_claims
from enfilade.auth.errors import InvalidTokenError, ServerUnavailableError
from enfilade.auth.http_client import HttpClients
from enfilade.auth.key_cache import KeyCache
from enfilade.auth.oauth_proxy.clients import Client
from enfilade.auth.oauth_proxy.sealed import digest
from enfilade.auth.oauth_proxy.services import Services
from enfilade.auth.oauth_proxy.upstream import ProviderUser, claims_of_user
from enfilade.auth.oauth_proxy.verifier import new_access_token
from enfilade.auth.pages.requests import OAuthError, Parameters
from enfilade.auth.servers import AuthorizationServer
from enfilade.serving.failures import LimitedLog

_log: Final = LimitedLog(logging.getLogger("enfilade.auth"))

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
PROFILE: Final = "urn:ietf:params:oauth:grant-profile:id-jag"
_TYPE: Final = "oauth-id-jag+jwt"
#: Seconds from now until an assertion may end: for so long it is remembered that it was used.
_LONGEST_LIFE: Final = 3600.0
_LONGEST_ID: Final = 512


class Assertions:
    """Exchanges assertions.

    Args:
        services: of the proxy, which has the identity providers.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._providers = {
            server.issuer: _Provider(server, services.proxy.jwks_stale)
            for server in services.proxy.identity_providers
        }

    async def exchange(self, client: Client, form: Parameters) -> dict[str, Any]:
        """Return the response of the token endpoint to an assertion.

        Raises:
            OAuthError: the client may not exchange assertions, or this one is not accepted.
            StoreError: the store does not answer.
        """
        assertion = form.required("assertion")
        if not client.is_authenticated:
            raise OAuthError("unauthorized_client", "a client without a secret may not exchange assertions")
        self._services.check_resource(form)
        try:
            claims = await self._verified(assertion, client)
            granted = scopes_of(claims)
        except InvalidTokenError as error:
            raise _bad(f"the assertion is not accepted: {error.reason}") from None
        except ServerUnavailableError as error:
            _log.write(logging.WARNING, "an assertion could not be checked: %s", error)
            raise OAuthError(
                "temporarily_unavailable", "the keys of the identity provider cannot be fetched", 503
            ) from None
        scopes = self._scopes(form, granted)
        user = ProviderUser(self._subject(claims), claims_of_user(claims), claims)
        allowed = await self._services.allowed_scopes(user, scopes)
        await self._use(claims)
        return self._response(client, user, list(allowed))

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        for provider in self._providers.values():
            await provider.aclose()

    async def _verified(self, assertion: str, client: Client) -> dict[str, Any]:
        """Return the claims of an assertion.

        Raises:
            InvalidTokenError: it is not accepted.
            ServerUnavailableError: the keys of its issuer cannot be fetched.
        """
        claims = unverified_claims(assertion)
        provider = self._providers.get(claims.get("iss", ""))
        if provider is None:
            raise InvalidTokenError("its issuer is none that this server trusts")
        self._check_claims(claims, client)
        await provider.check_signature(assertion, claims)
        return claims

    def _check_claims(self, claims: Mapping[str, Any], client: Client) -> None:
        proxy = self._services.proxy
        audience = claims.get("aud")
        if audience not in (proxy.issuer, [proxy.issuer]):
            raise InvalidTokenError("its aud is not the issuer of this server")
        resource = text_claim(claims, "resource")
        if resource is None or not is_same_url(resource, proxy.resource):
            raise InvalidTokenError("its resource is none of this server")
        if text_claim(claims, "client_id") != client.client_id:
            raise InvalidTokenError("it is for another client")
        if text_claim(claims, "sub") is None:
            raise InvalidTokenError("it has no sub")
        identity = text_claim(claims, "jti")
        if identity is None or len(identity) > _LONGEST_ID:
            raise InvalidTokenError("it has no jti, or a long one")
        issued_at, expires_at = seconds_claim(claims, "iat"), seconds_claim(claims, "exp")
        if issued_at is None or expires_at is None:
            raise InvalidTokenError("it has no iat or no exp")
        check_times(claims, proxy.leeway)
        now = time.time()
        if issued_at - proxy.leeway > now or expires_at - now > _LONGEST_LIFE:
            raise InvalidTokenError("it begins later, or ends more than an hour from now")

    def _scopes(self, form: Parameters, granted: Iterable[str]) -> list[str]:
        """Return the scopes of a token: those that are asked for, that the assertion has, and that there are.

        Raises:
            OAuthError: there is none of those that are asked for.
        """
        asked = form.scopes()
        there = [scope for scope in self._services.scopes() if scope in granted]
        scopes = [scope for scope in there if not asked or scope in asked]
        if asked and not scopes:
            raise _bad("the assertion allows none of these scopes")
        return scopes

    def _subject(self, claims: Mapping[str, Any]) -> str:
        """Return the subject of a user, which no user of another issuer has.

        Users who log in at the provider have its subjects; an identity provider that is the same one has the
        same.
        """
        subject, issuer = str(claims["sub"]), str(claims["iss"])
        return subject if issuer == self._services.upstream.provider.issuer else f"{issuer}|{subject}"

    async def _use(self, claims: Mapping[str, Any]) -> None:
        """Use an assertion up, in all workers.

        Raises:
            OAuthError: it was used before.
            StoreError: the store does not answer.
        """
        seconds = float(claims["exp"]) - time.time() + self._services.proxy.leeway + 1
        identity = digest(f"{claims['iss']}\n{claims['jti']}")
        if not await self._services.grants.claim("assertion", identity, max(seconds, 1)):
            raise _bad("the assertion was used before")

    def _response(self, client: Client, user: ProviderUser, scopes: list[str]) -> dict[str, Any]:
        services = self._services
        seconds = services.proxy.access_token_time
        claims = dict(user.claims)
        token = new_access_token(services.codec, user.subject, client.client_id, scopes, seconds, b"", claims)
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": seconds,
            "scope": " ".join(scopes),
        }


class _Provider:
    """The keys of one identity provider."""

    def __init__(self, server: AuthorizationServer, stale: float) -> None:
        self._server = server
        self._clients = HttpClients(server.http_client)
        self._keys = KeyCache(server, self._clients, stale=stale, pause=60.0, clock=time.monotonic)

    async def check_signature(self, assertion: str, claims: dict[str, Any]) -> None:
        """Check type, algorithm and signature of an assertion.

        Raises:
            InvalidTokenError: one of them is wrong.
            ServerUnavailableError: the keys cannot be fetched.
        """
        parts = read_token(assertion, claims)
        algorithm, kid, kind = (parts.header.get(name) for name in ("alg", "kid", "typ"))
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") != _TYPE:
            raise InvalidTokenError(f"its typ is not {_TYPE}")
        if algorithm not in self._server.algorithms or "crit" in parts.header:
            raise InvalidTokenError("its algorithm is none of those that are accepted, or its header has crit")
        if not isinstance(kid, str | None) or (kid is not None and not 0 < len(kid) <= _LONGEST_ID):
            raise InvalidTokenError("its kid is no text, or a long one")
        candidates = await self._keys.candidates(kid, str(algorithm))
        if not any(key.verifies(str(algorithm), parts.signed, parts.signature) for key in candidates):
            raise InvalidTokenError("its signature is wrong")

    async def aclose(self) -> None:
        """Close what is open in the running event loop."""
        await self._keys.aclose()
        await self._clients.aclose()


def _bad(description: str) -> OAuthError:
    return OAuthError("invalid_grant", description)
