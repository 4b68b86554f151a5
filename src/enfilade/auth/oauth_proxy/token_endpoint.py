"""The token endpoint: codes and refresh tokens become tokens of this server; and revocation (RFC 7009).

Easy to get wrong: the order of checks. Everything that may be wrong with a request is looked at before the one
step that uses up a code or a refresh token, so a request that fails costs its client nothing.
"""

import hmac
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from enfilade.auth.oauth_providers.client import challenge_of
from enfilade.auth.oauth_providers.responses import ProviderError
from enfilade.auth.oauth_proxy.clients import Client
from enfilade.auth.oauth_proxy.grants import Grant
from enfilade.auth.oauth_proxy.sealed import (
    ACCESS_PREFIX,
    CODE_PREFIX,
    REFRESH_PREFIX,
    AccessToken,
    Code,
    RefreshToken,
    is_over,
)
from enfilade.auth.oauth_proxy.services import Services
from enfilade.auth.oauth_proxy.verifier import new_access_token
from enfilade.auth.pages.requests import OAuthError, Parameters
from enfilade.serving.failures import LimitedLog

log = logging.getLogger("enfilade.auth")
_provider_log: Final = LimitedLog(log)

#: Characters of a PKCE verifier (RFC 7636 §4.1).
_VERIFIER: Final = range(43, 129)

GrantHandler = Callable[[Client, Parameters], Coroutine[Any, Any, dict[str, Any]]]


class TokenEndpoint:
    """Answers token requests of clients that have authenticated.

    Args:
        others: grant types beside codes and refresh tokens.
    """

    def __init__(self, services: Services, others: Mapping[str, GrantHandler]) -> None:
        self._services = services
        self._handlers: dict[str, GrantHandler] = {
            "authorization_code": self._redeem,
            "refresh_token": self._refresh,
            **others,
        }

    @property
    def grant_types(self) -> list[str]:
        """The grant types that there are."""
        return list(self._handlers)

    async def respond(self, client: Client, form: Parameters) -> dict[str, Any]:
        """Return the response to a request.

        Raises:
            OAuthError: it is refused.
            StoreError: the store does not answer.
        """
        handler = self._handlers.get(form.required("grant_type"))
        if handler is None:
            raise OAuthError("unsupported_grant_type", f"grant_type is one of {', '.join(self._handlers)}")
        return await handler(client, form)

    async def revoke(self, client: Client, form: Parameters) -> None:
        """Revoke the grant of a token, if it is one of this client; whatever else it is, nothing happens (§2.2).

        Raises:
            OAuthError: there is no token in the request.
            StoreError: the store does not answer.
        """
        token = form.required("token")
        grants, codec = self._services.grants, self._services.codec
        grant_id = b""
        if token.startswith(REFRESH_PREFIX):
            refresh = codec.open(token.removeprefix(REFRESH_PREFIX), RefreshToken)
            grant_id = b"" if refresh is None or refresh.client != client.digest else refresh.grant
        elif token.startswith(ACCESS_PREFIX):
            access = codec.open(token.removeprefix(ACCESS_PREFIX), AccessToken)
            grant_id = b"" if access is None or access.client_id != client.client_id else access.grant
        if grant_id:
            await self._end(grant_id, await grants.get(grant_id))

    async def _redeem(self, client: Client, form: Parameters) -> dict[str, Any]:
        """Redeem a code, once (RFC 6749 §4.1.3)."""
        services = self._services
        code = services.codec.open(form.required("code").removeprefix(CODE_PREFIX), Code)
        verifier, redirect_uri = form.required("code_verifier"), form.get("redirect_uri")
        if code is None or code.client != client.digest:
            raise _bad("the code is none of this client")
        if redirect_uri is not None and redirect_uri != code.redirect_uri:
            raise _bad("redirect_uri is another one than that of the login")
        if len(verifier) not in _VERIFIER or not _is_same(challenge_of(verifier), code.challenge):
            raise _bad("code_verifier is not that of the login")
        services.check_resource(form)
        grant = await services.grants.get(code.grant)
        _check_client(client, grant)
        if grant is not None and grant.generation:
            # It came from whoever began the login, or has stolen all that they have: nobody can tell (§4.1.2).
            await self._end(code.grant, grant)
            raise _bad("the code was used before, and what it gave has ended")
        if grant is None or is_over(code.expires_at):
            raise _bad("the code has expired")
        active = await services.grants.activate(code.grant)
        if active is None:
            raise _bad("the code was used before")
        return self._tokens(client, code.grant, active, active.scopes)

    async def _refresh(self, client: Client, form: Parameters) -> dict[str, Any]:
        """Replace a refresh token (RFC 6749 §6)."""
        services = self._services
        token = services.codec.open(form.required("refresh_token").removeprefix(REFRESH_PREFIX), RefreshToken)
        if token is None or token.client != client.digest:
            raise _bad("the refresh token is none of this client")
        services.check_resource(form)
        grant = await services.grants.get(token.grant)
        if grant is None:
            raise _bad("the login has ended")
        _check_client(client, grant)
        scopes = _narrowed(form, grant)
        if token.generation == grant.generation:
            await self._check_provider(token.grant, grant)
        rotated = await services.grants.rotate(token.grant, client.digest, token.generation)
        if rotated is None:
            await services.upstream.revoke(grant.upstream)
            raise _bad("the refresh token was used before, and the login has ended")
        return self._tokens(client, token.grant, rotated, scopes)

    async def _check_provider(self, grant_id: bytes, grant: Grant) -> None:
        """Have the provider renew its tokens when they are over: then it also says if the user is still there.

        A provider that does not answer ends no login; the next refresh asks it again.

        Raises:
            OAuthError: the provider has ended the login.
        """
        try:
            await self._services.upstream.renewed(self._services.grants, grant_id, grant)
        except ProviderError as error:
            if error.is_final and error.code == "invalid_grant":
                await self._services.grants.revoke(grant_id)
                raise _bad("the provider has ended the login") from None
            _provider_log.write(logging.WARNING, "tokens of the provider could not be renewed: %s", error)

    async def _end(self, grant_id: bytes, grant: Grant | None) -> None:
        await self._services.grants.revoke(grant_id)
        if grant is not None:
            await self._services.upstream.revoke(grant.upstream)

    def _tokens(self, client: Client, grant_id: bytes, grant: Grant, scopes: list[str]) -> dict[str, Any]:
        services = self._services
        seconds = services.proxy.access_token_time
        access = new_access_token(
            services.codec, grant.subject, client.client_id, scopes, seconds, grant_id, grant.claims
        )
        refresh = services.codec.seal(RefreshToken(grant_id, client.digest, grant.generation))
        return {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": seconds,
            "refresh_token": REFRESH_PREFIX + refresh,
            "scope": " ".join(scopes),
        }


def _check_client(client: Client, grant: Grant | None) -> None:
    """Refuse a client that has not proven who it is, although its document says that it would.

    Raises:
        OAuthError: `invalid_client`.
    """
    if grant is not None and grant.needs_assertion and not client.is_authenticated:
        raise OAuthError("invalid_client", "the client authenticates with private_key_jwt", 401)


def _narrowed(form: Parameters, grant: Grant) -> list[str]:
    """Return the scopes of a refreshed token: those of the grant, or some of them.

    Raises:
        OAuthError: `invalid_scope`, there are others among them.
    """
    asked = form.scopes()
    if not asked:
        return grant.scopes
    if not set(asked) <= {*grant.scopes, "offline_access"}:
        raise OAuthError("invalid_scope", "the user has not agreed to these scopes")
    return [scope for scope in grant.scopes if scope in asked]


def _is_same(first: str, second: str) -> bool:
    return hmac.compare_digest(first.encode(), second.encode())


def _bad(description: str) -> OAuthError:
    return OAuthError("invalid_grant", description)
