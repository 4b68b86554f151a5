"""A provider with the credentials of this server there, and the requests to it.

Easy to get wrong: what is tried again. A code, and a refresh token that rotates, is good for one request. So no
request is repeated here; whoever calls decides what becomes of one whose response was lost.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit, urlunsplit

from enfilade.auth.discovery import find_metadata
from enfilade.auth.http_client import FetchError, HttpClients, JsonResponse, get_json, request_json
from enfilade.auth.oauth_providers.provider import OAuth2
from enfilade.auth.oauth_providers.responses import ProviderError, TokenSet, check_error, read_tokens
from enfilade.auth.urls import check_url
from enfilade.serving.failures import log_safely

log = logging.getLogger("enfilade.auth")

#: Statuses of responses that are read: tokens, and errors as RFC 6749 §5.2 has them.
_STATUSES: Final = (200, 201, 400, 401, 403, 404, 422, 429)
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider is.

    Attributes:
        sends_issuer: whether its metadata promises `iss` in every response (RFC 9207).
    """

    authorize_url: str
    token_url: str
    revoke_url: str | None
    user_info_url: str | None
    sends_issuer: bool = False


class ProviderClient:
    """Makes the requests to one provider, with the credentials of this server.

    Args:
        provider: has no credentials of its own, or the same.
        client_id: the id of this server there.
        client_secret: its secret; None for a public client.
    """

    def __init__(self, provider: OAuth2, client_id: str, client_secret: str | None) -> None:
        self.provider = provider
        self.client_id = client_id
        self._secret = client_secret
        self._clients = HttpClients(provider.http_client)
        self._endpoints: Endpoints | None = None
        if provider.discovered_from is None:
            self._endpoints = Endpoints(
                provider.authorize_url, provider.token_url, provider.revoke_url, provider.user_info_url
            )

    def __repr__(self) -> str:
        return f"<ProviderClient {self.client_id} at {self.provider.id}>"

    async def endpoints(self) -> Endpoints:
        """Return where the provider is; its metadata is read at the first use.

        Raises:
            ProviderError: the metadata cannot be read, or has no such URLs.
        """
        if self._endpoints is None:
            issuer = self.provider.discovered_from
            assert issuer is not None
            try:
                client = await self._clients.current()
                metadata = await find_metadata(client, issuer, needed="token_endpoint")
            except FetchError as error:
                raise ProviderError(f"its metadata cannot be read: {error}") from None
            self._endpoints = _endpoints_in(metadata, self.provider)
        return self._endpoints

    async def authorization_url(
        self,
        *,
        redirect_uri: str,
        state: str,
        verifier: str,
        scopes: Sequence[str],
        **parameters: str,
    ) -> str:
        """Return the URL at which a user consents (A3).

        Args:
            redirect_uri: where the browser comes back to.
            state: comes back with it, unguessable.
            verifier: of PKCE; its challenge is sent.
            scopes: what is asked for, besides those of the provider.
            parameters: more, such as `nonce`.

        Raises:
            ProviderError: the provider's metadata cannot be read.
        """
        provider = self.provider
        asked = dict.fromkeys((*provider.scopes, *scopes))
        query = {
            **provider.authorize_parameters,
            **parameters,
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        if asked:
            query[provider.scope_parameter] = provider.scope_separator.join(asked)
        if provider.resource is not None:
            query["resource"] = provider.resource
        return with_query((await self.endpoints()).authorize_url, query)

    async def check_issuer(self, issuer: str | None) -> None:
        """Check `iss` of an authorization response (RFC 9207), so that providers cannot be mixed up.

        Raises:
            ProviderError: it is that of another provider, or missing where it was promised.
        """
        expected = self.provider.issuer
        if issuer is None:
            if (await self.endpoints()).sends_issuer:
                raise ProviderError("its response has no iss, which its metadata promises", is_final=True)
        elif expected is not None and issuer != expected:
            raise ProviderError("its response has the iss of another issuer", is_final=True)

    async def redeem(self, code: str, *, verifier: str, redirect_uri: str) -> TokenSet:
        """Return the tokens for an authorization code; it is sent once.

        Raises:
            ProviderError: there are none.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        return await self._tokens(form)

    async def refresh(self, refresh_token: str) -> TokenSet:
        """Return new tokens for a refresh token; the old one is kept if the response has no other.

        Raises:
            ProviderError: there are none; `invalid_grant` means that the refresh token is good for nothing more.
        """
        tokens = await self._tokens({"grant_type": "refresh_token", "refresh_token": refresh_token})
        if tokens.refresh_token is not None:
            return tokens
        return TokenSet(
            access_token=tokens.access_token,
            refresh_token=refresh_token,
            expires_at=tokens.expires_at,
            scopes=tokens.scopes,
            id_token=tokens.id_token,
        )

    async def grant(self, form: Mapping[str, str]) -> TokenSet:
        """Return the tokens for a grant of another type, such as token exchange (RFC 8693).

        Args:
            form: its parameters, with `grant_type`.

        Raises:
            ProviderError: there are none.
        """
        return await self._tokens(form)

    async def revoke(self, token: str, hint: str) -> bool:
        """Revoke a token (RFC 7009); return False if the provider has no place for that.

        Args:
            hint: `access_token` or `refresh_token`.

        Raises:
            ProviderError: it was not revoked, as far as is known.
        """
        url = (await self.endpoints()).revoke_url
        if url is None:
            return False
        try:
            client = await self._clients.current()
            request = self._request(client, url, {"token": token, "token_type_hint": hint})
            response = await request_json(client, request, _STATUSES)
        except FetchError as error:
            if error.status == 200:  # RFC 7009 §2.2: the body says nothing
                return True
            raise ProviderError(str(error)) from None
        check_error(response)
        return True

    async def end(self, access_token: str, refresh_token: str | None) -> str | None:
        """Revoke tokens that nobody needs any more; the refresh token ends the access token with it.

        Returns:
            Why they may still be good, for people; None if they are revoked. Nothing else depends on it.
        """
        hint = "access_token" if refresh_token is None else "refresh_token"
        try:
            if not await self.revoke(refresh_token or access_token, hint):
                return f"{self.provider.title} has no place to revoke tokens; do it in its settings"
        except ProviderError as error:
            log_safely(
                log, logging.WARNING, "tokens of %s could not be revoked there: %s", self.provider.id, error
            )
            return f"{self.provider.title} has not confirmed it; check in its settings"
        return None

    async def user_info(self, access_token: str) -> dict[str, Any]:
        """Return what the provider says of the user; empty if it has no place for that.

        Raises:
            ProviderError: it does not answer, or with something else.
        """
        url = (await self.endpoints()).user_info_url
        if url is None:
            return {}
        try:
            client = await self._clients.current()
            headers = {**_HEADERS, "Authorization": f"Bearer {access_token}"}
            response = await request_json(client, client.build_request("GET", url, headers=headers))
        except FetchError as error:
            raise ProviderError(str(error)) from None
        if not isinstance(response.value, dict):
            raise ProviderError("what it says of the user is no JSON object")
        return response.value

    async def get_json(self, url: str) -> JsonResponse:
        """Return what a URL of the provider has, such as its keys.

        Raises:
            FetchError: there is no JSON within the limits.
        """
        return await get_json(await self._clients.current(), url)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._clients.aclose()

    async def _tokens(self, form: Mapping[str, str]) -> TokenSet:
        url = (await self.endpoints()).token_url
        try:
            client = await self._clients.current()
            response = await request_json(client, self._request(client, url, form), _STATUSES)
        except FetchError as error:
            is_final = error.status is not None and 300 <= error.status < 500 and error.status != 429
            raise ProviderError(str(error), is_final=is_final) from None
        return read_tokens(response, self.provider)

    def _request(self, client: Any, url: str, form: Mapping[str, str]) -> Any:
        """Return a request with the credentials of this server (RFC 6749 §2.3.1)."""
        headers, fields = dict(_HEADERS), dict(form)
        method = self.provider.token_auth if self._secret is not None else "none"
        if method == "basic":
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self._secret or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            fields["client_id"] = self.client_id
            if method == "post":
                fields["client_secret"] = self._secret or ""
        if self.provider.token_body == "json":
            return client.build_request("POST", url, json=fields, headers=headers)
        return client.build_request("POST", url, data=fields, headers=headers)


def challenge_of(verifier: str) -> str:
    """Return the challenge of a PKCE verifier, S256 (RFC 7636 §4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def new_verifier() -> str:
    """Return a PKCE verifier of 256 bits."""
    return secrets.token_urlsafe(32)


def with_query(url: str, parameters: Mapping[str, str]) -> str:
    """Return a URL with parameters behind those that it has."""
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(parameters))))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def _endpoints_in(metadata: Mapping[str, Any], provider: OAuth2) -> Endpoints:
    """Return the URLs that metadata has.

    Raises:
        ProviderError: one of them is no https URL, or the authorization endpoint is missing.
    """
    urls = {}
    for name in ("authorization_endpoint", "token_endpoint", "revocation_endpoint", "userinfo_endpoint"):
        url = metadata.get(name)
        try:
            urls[name] = None if url is None else check_url(url, name)
        except (TypeError, ValueError):
            raise ProviderError(f"its metadata has a {name} that is no https URL", is_final=True) from None
    authorize, token = urls["authorization_endpoint"], urls["token_endpoint"]
    if authorize is None or token is None:
        raise ProviderError("its metadata has no authorization_endpoint", is_final=True)
    return Endpoints(
        authorize,
        token,
        provider.revoke_url or urls["revocation_endpoint"],
        provider.user_info_url or urls["userinfo_endpoint"],
        metadata.get("authorization_response_iss_parameter_supported") is True,
    )
