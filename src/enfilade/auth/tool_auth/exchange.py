"""`ctx.token_for`: the token of a caller is exchanged for one of another service (A22, RFC 8693).

The caller's own token goes to the authorization server that has issued it, with the credentials of this server
there, and nowhere else (R-610, R-707). Microsoft Entra has the same by another grant, on behalf of the user.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
from pydantic import SecretStr

from enfilade.auth.oauth_providers.client import ProviderClient
from enfilade.auth.oauth_providers.provider import OAuth2
from enfilade.auth.oauth_providers.responses import ProviderError, TokenSet
from enfilade.auth.servers import AuthorizationServer
from enfilade.auth.tool_auth.sealed_rows import SealedRows
from enfilade.primitives.access import check_scopes
from enfilade.serving.callers.state_records import StateStore
from enfilade.serving.callers.tool_auth import AuthError
from enfilade.serving.failures import log_safely
from enfilade.serving.request import Request
from enfilade.serving.secrets import Redaction, token_values
from enfilade.state.store import StoreError

log = logging.getLogger("enfilade.auth")

_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
_ON_BEHALF_OF: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ENTRA: Final = ("login.microsoftonline.com", "sts.windows.net", "login.microsoftonline.us")
#: Seconds before its end from which a token is not handed out any more, and for which one without an end is kept.
_MARGIN: Final = 60.0
_WITHOUT_END: Final = 300.0
_LONGEST: Final = 86_400.0


class Exchanged(msgspec.Struct, array_like=True):
    """A token that was got for a caller."""

    token: str
    expires_at: float


class TokenExchange:
    """Exchanges tokens of callers.

    Args:
        server: the name of the server.
        state: has the store and the keys of the server.
        issuers: the authorization servers; those with a `client_id` can be asked.
    """

    def __init__(self, server: str, state: StateStore, issuers: Sequence[AuthorizationServer]) -> None:
        self._server = server
        self._rows = SealedRows(state, "exchanged_token", Exchanged)
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._clients: dict[str, ProviderClient] = {}

    async def token(self, request: Request, audience: str, scopes: Sequence[str]) -> str:
        """Return a token of the caller for another service.

        Args:
            audience: the service, as the authorization server knows it.
            scopes: what it must allow.

        Raises:
            AuthError: there is none; the text says why.
            TypeError, ValueError: these are no scopes, or the audience is no text.
        """
        wanted = check_scopes(scopes, "scopes of ctx.token_for", of_others=True)
        if not audience or not audience.isprintable():
            raise ValueError(f"the audience of ctx.token_for is a text such as a URL, not {audience!r}")
        principal = request.principal
        if principal is None or principal.access_token is None or principal.issuer is None:
            raise AuthError("There is no token of the caller that could be exchanged: the server needs auth=")
        client = self._client(principal.issuer)
        subject = principal.access_token.get_secret_value()
        # Bound to the caller's token as well: what it does not allow, none that it is exchanged for does.
        digest = hashlib.sha256(subject.encode()).hexdigest()
        name = self._rows.name_of(self._server, principal.key, digest, audience, " ".join(sorted(wanted)))
        try:
            row = await self._rows.read(name)
            if row is not None and row.value.expires_at > time.time() + _MARGIN:
                return _hidden(request, row.value.token)
            tokens = await self._exchanged(client, subject, audience, wanted)
            _check_scopes(tokens, wanted)
            expires_at = min(tokens.expires_at or time.time() + _WITHOUT_END, time.time() + _LONGEST)
            ttl = max(expires_at - time.time(), 1.0)
            await self._rows.write(name, Exchanged(tokens.access_token, expires_at), ttl)
        except StoreError:
            raise AuthError("The server cannot reach its store at present; try again in a moment") from None
        except ProviderError as error:
            log_safely(log, logging.WARNING, "a token for %s was not given: %s", audience, error)
            again = "" if error.is_final else "; try again in a minute"
            raise AuthError(f"The authorization server gives no token for {audience}: {error}{again}") from None
        return _hidden(request, tokens.access_token)

    def _client(self, issuer: str) -> ProviderClient:
        client = self._clients.get(issuer)
        if client is None:
            server = self._issuers.get(issuer)
            if server is None or not server.client_id:
                raise AuthError(
                    "The server has no client at the authorization server of the caller: its operator has to "
                    "give AuthorizationServer(issuer, client_id=..., client_secret=...)"
                )
            secret = server.client_secret
            value = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
            provider = OAuth2.discover(server.issuer, id="issuer", http_client=server.http_client)
            client = self._clients[issuer] = ProviderClient(provider, server.client_id, value)
        return client

    async def _exchanged(
        self, client: ProviderClient, subject: str, audience: str, scopes: Sequence[str]
    ) -> TokenSet:
        if (urlsplit(str(client.provider.issuer)).hostname or "") in _ENTRA:
            return await client.grant(on_behalf_of(subject, audience, scopes))
        form = {
            "grant_type": _EXCHANGE,
            "subject_token": subject,
            "subject_token_type": _ACCESS_TOKEN,
            "requested_token_type": _ACCESS_TOKEN,
            "audience": audience,
        }
        if audience.startswith(("https://", "http://")):
            form["resource"] = audience
        if scopes:
            form["scope"] = " ".join(scopes)
        return await client.grant(form)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        for client in self._clients.values():
            await client.aclose()


def on_behalf_of(subject: str, audience: str, scopes: Sequence[str]) -> dict[str, str]:
    """Return the parameters of Entra's grant, whose scopes begin with the service that they are of."""
    service = audience.rstrip("/")
    named = [scope if "/" in scope else f"{service}/{scope}" for scope in scopes] or [f"{service}/.default"]
    return {
        "grant_type": _ON_BEHALF_OF,
        "assertion": subject,
        "requested_token_use": "on_behalf_of",
        "scope": " ".join(named),
    }


def _check_scopes(tokens: TokenSet, wanted: Sequence[str]) -> None:
    if tokens.scopes is not None:
        granted = {scope.rpartition("/")[2] for scope in tokens.scopes} | set(tokens.scopes)
        if missing := [scope for scope in wanted if scope not in granted]:
            raise ProviderError(f"it has not granted {', '.join(missing)}", is_final=True)


def _hidden(request: Request, token: str) -> str:
    """Return a token, which no error, log message or report of the call will have."""
    request.redaction = (request.redaction or Redaction(())).with_values(token_values(token))
    return token
