"""The provider behind the proxy: its consent, its tokens, and who the user is there.

Easy to get wrong: who the user is. The subject must be the provider's own id of the user, which nobody can take
over: never an address of mail or a name, which change hands.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import SecretStr

from enfilade.auth.compact_token import read_token
from enfilade.auth.errors import InvalidTokenError
from enfilade.auth.oauth_providers.client import ProviderClient
from enfilade.auth.oauth_providers.provider import OAuth2
from enfilade.auth.oauth_providers.responses import ProviderError, TokenSet
from enfilade.auth.oauth_proxy.grants import Grant, Grants, UpstreamTokens
from enfilade.auth.oauth_proxy.sealed import new_id
from enfilade.primitives.values.json_encoding import is_unicode

log = logging.getLogger("enfilade.auth")

#: Members of what a provider says of a user that may be its id, in order: OpenID Connect's, then those of APIs.
_SUBJECTS: Final = ("sub", "id", "account_id", "user_id")
#: What tokens say of the user besides, by the members that may have it.
_CLAIMS: Final = {
    "name": ("name", "display_name"),
    "preferred_username": ("preferred_username", "login", "username"),
    "email": ("email",),
}
_MOST_CHARACTERS: Final = 200
#: Seconds before its end from which an access token of the provider is renewed.
_EARLY: Final = 30.0
#: Seconds for which one worker may renew the tokens of a grant.
_RENEWAL: Final = 15.0


@dataclass(frozen=True, slots=True)
class ProviderUser:
    """A user, as the provider says.

    Args:
        subject: the id of the user there.
        claims: what tokens say besides: `name`, `preferred_username`, `email`.
        info: all that the provider says.
    """

    subject: str
    claims: Mapping[str, Any]
    info: Mapping[str, Any]


class Upstream:
    """The provider.

    Args:
        provider: with the credentials of this server.
        redirect_uri: of this server there.
    """

    def __init__(self, provider: OAuth2, redirect_uri: str) -> None:
        secret = provider.client_secret
        text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        self.provider = provider
        self._client = ProviderClient(provider, str(provider.client_id), text)
        self._redirect_uri = redirect_uri
        self._scopes = ("openid",) if _is_openid(provider) else ()

    async def consent_url(self, state: str, verifier: str) -> str:
        """Return where a browser is sent to log in.

        Raises:
            ProviderError: the provider's metadata cannot be read.
        """
        return await self._client.authorization_url(
            redirect_uri=self._redirect_uri, state=state, verifier=verifier, scopes=self._scopes
        )

    async def log_in(self, code: str, verifier: str) -> tuple[TokenSet, ProviderUser]:
        """Return the tokens for a code, and whose they are.

        Raises:
            ProviderError: the provider gives none, or does not say who the user is.
        """
        tokens = await self._client.redeem(code, verifier=verifier, redirect_uri=self._redirect_uri)
        info = self._id_claims(tokens)
        try:
            user_info = await self._client.user_info(tokens.access_token)
        except ProviderError:
            if not info:  # an access token for another service may be of no use there
                raise
            user_info = {}
        if info and user_info and "sub" in user_info and user_info["sub"] != info["sub"]:
            raise ProviderError("its two answers are about different users", is_final=True)
        return tokens, _user({**info, **user_info})

    async def check_issuer(self, issuer: str | None) -> None:
        """Check `iss` of the provider's response (RFC 9207).

        Raises:
            ProviderError: it is that of another one.
        """
        await self._client.check_issuer(issuer)

    async def renewed(self, grants: Grants, grant_id: bytes, grant: Grant) -> UpstreamTokens | None:
        """Return the tokens of a grant, renewed if the access token has ended; None if there are none.

        One worker at a time renews them, since a provider may end everything if a refresh token comes twice.

        Raises:
            ProviderError: they cannot be renewed; `is_final` means that the user has to log in again.
            StoreError: the store does not answer.
        """
        tokens = grant.upstream
        if tokens is None or not _is_ending(tokens) or tokens.refresh_token is None:
            return tokens
        claim = new_id()
        if not await grants.claim("renewal", grant_id, _RENEWAL, claim):
            return await self._renewed_by_other(grants, grant_id)
        try:
            current = await grants.get(grant_id)
            if current is None or current.upstream is None or current.upstream.refresh_token is None:
                return None
            if not _is_ending(current.upstream):
                return current.upstream
            renewed = kept(await self._client.refresh(current.upstream.refresh_token))
            await grants.keep_upstream(grant_id, renewed)
            return renewed
        finally:
            await grants.release("renewal", grant_id, claim)

    async def _renewed_by_other(self, grants: Grants, grant_id: bytes) -> UpstreamTokens | None:
        for _ in range(int(_RENEWAL * 10)):
            await asyncio.sleep(0.1)
            current = await grants.get(grant_id)
            if current is None or current.upstream is None or not _is_ending(current.upstream):
                return None if current is None else current.upstream
        raise ProviderError("another worker renews the tokens, and takes long")

    async def revoke(self, tokens: UpstreamTokens | None) -> None:
        """Give tokens back to the provider, if it takes them; what it answers changes nothing."""
        if tokens is None:
            return
        await self._client.end(tokens.access_token, tokens.refresh_token)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._client.aclose()

    def _id_claims(self, tokens: TokenSet) -> dict[str, Any]:
        """Return the claims of an ID token; empty without one.

        It came from the token endpoint over TLS, so its signature need not be verified (OpenID Connect Core
        §3.1.3.7).

        Raises:
            ProviderError: it is of another issuer, or for another client, or over.
        """
        if tokens.id_token is None:
            return {}
        try:
            claims = read_token(tokens.id_token).claims
        except InvalidTokenError:
            raise ProviderError("its ID token cannot be read", is_final=True) from None
        audience, issuer, expires_at = claims.get("aud"), self.provider.issuer, claims.get("exp")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._client.client_id not in audiences or (issuer is not None and claims.get("iss") != issuer):
            raise ProviderError("its ID token is not for this server", is_final=True)
        if not isinstance(expires_at, int | float) or expires_at + 60 < time.time() or "sub" not in claims:
            raise ProviderError("its ID token is over, or has no subject", is_final=True)
        return claims


def kept(tokens: TokenSet) -> UpstreamTokens:
    """Return what a grant keeps of tokens."""
    return UpstreamTokens(tokens.access_token, tokens.refresh_token, tokens.expires_at)


def _is_openid(provider: OAuth2) -> bool:
    """Whether a provider says who a user is by OpenID Connect, for which the scope `openid` is needed."""
    has_user_info = (provider.user_info_url or "").rstrip("/").endswith("/userinfo")
    return provider.issuer is not None or "openid" in provider.scope_texts or has_user_info


def _is_ending(tokens: UpstreamTokens) -> bool:
    return tokens.expires_at is not None and tokens.expires_at - _EARLY <= time.time()


def _user(info: Mapping[str, Any]) -> ProviderUser:
    """Return the user whom a provider describes.

    Raises:
        ProviderError: it says no id.
    """
    members = info
    if not any(name in info for name in _SUBJECTS) and isinstance(info.get("data"), dict):
        members = info["data"]  # as X has it
    for name in _SUBJECTS:
        value = members.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and 0 < len(value) <= _MOST_CHARACTERS and is_unicode(value):
            return ProviderUser(value, claims_of_user(members), info)
    raise ProviderError("it does not say who the user is", is_final=True)


def claims_of_user(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tokens say of a user besides the id."""
    claims = {}
    for claim, names in _CLAIMS.items():
        values = (members.get(name) for name in names)
        text = next((value for value in values if isinstance(value, str) and value and is_unicode(value)), None)
        # An address that nobody has checked is what the user says, and code that reads it would believe it.
        if text is not None and (claim != "email" or members.get("email_verified") is True):
            claims[claim] = text[:_MOST_CHARACTERS]
    return claims
