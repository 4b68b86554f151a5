"""B2, B4: tokens in the form of widespread providers, configured as docs/authorization.md says."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from enfilade.auth import AuthorizationServer, InvalidTokenError, ResourceServer
from enfilade.auth.authenticator import ResourceAuthenticator
from enfilade.auth.jwt import JwtVerifier
from enfilade.auth.metadata import Metadata
from enfilade.state.tokens import Seal
from enfilade.testing import Issuer

RESOURCE = "https://mcp.example.com/mcp"
API, TENANT = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
AUTH0, KEYCLOAK = "https://tenant.eu.auth0.com/", "https://idp.example.com/realms/staff"
ENTRA = f"https://login.microsoftonline.com/{TENANT}/v2.0"
COGNITO = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_POOL"

#: The issuer, arguments of `AuthorizationServer`, of `ResourceServer`, claims, and the header's `typ`.
PROVIDERS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], str | None]] = {
    "Auth0": (
        AUTH0,
        {},
        {"scopes": ["notes:read"]},
        {"sub": "auth0|1", "aud": [RESOURCE, f"{AUTH0}userinfo"], "azp": "app", "scope": "openid notes:read"},
        "at+jwt",
    ),
    "Entra ID": (
        ENTRA,
        {"audiences": [API]},
        {
            "scopes": [f"api://{API}/notes.read"],
            "scope_hierarchy": {"notes.read": [f"api://{API}/notes.read"]},
        },
        {"sub": "s", "oid": "o", "aud": API, "azp": "app", "scp": "notes.read", "tid": TENANT, "ver": "2.0"},
        "JWT",
    ),
    "Keycloak": (
        KEYCLOAK,
        {},
        {"scopes": ["notes:read"]},
        {"sub": "u", "aud": [RESOURCE, "account"], "azp": "app", "scope": "profile notes:read", "typ": "Bearer"},
        "JWT",
    ),
    "Cognito": (
        COGNITO,
        {"clients_without_audience": ["1example23456789"]},
        {"scopes": ["notes/read"]},
        {"sub": "u", "client_id": "1example23456789", "token_use": "access", "scope": "notes/read"},
        None,
    ),
    "Cognito with resource binding": (
        COGNITO,
        {},
        {"scopes": [f"{RESOURCE}/read"]},
        {"sub": "u", "client_id": "app", "aud": RESOURCE, "token_use": "access", "scope": f"{RESOURCE}/read"},
        None,
    ),
}


def token_of(issuer: Issuer, claims: Mapping[str, Any], kind: str | None) -> str:
    """Return a token with these claims alone, and with the algorithm that the providers use."""
    others: dict[str, Any] = {"client_id": None, "scope": None, "aud": None, "jti": None, **claims}
    return issuer.token("nobody", header={"typ": kind} if kind else {"typ": "JWT"}, **others)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_token_of_a_provider(provider: str) -> None:
    """B2, B6: it is let in, and has the scopes that the server wants of everybody."""
    url, options, server_options, claims, kind = PROVIDERS[provider]
    issuer = Issuer(url, algorithm="RS256")
    server = issuer.server(**options)
    resource = ResourceServer(RESOURCE, [server], **server_options)
    authenticator = ResourceAuthenticator(resource, Metadata(resource, "Notes", "/mcp"), Seal())

    async def verified() -> Any:
        verifier = JwtVerifier(server, RESOURCE)
        try:
            return await verifier.verify(token_of(issuer, claims, kind))
        finally:
            await verifier.aclose()

    principal = asyncio.run(verified())
    assert (principal.issuer, principal.subject) == (url, claims["sub"])
    assert authenticator.granted(principal) >= set(resource.scopes)


ID_TOKENS = {
    "B2 Entra ID of version 1": (ENTRA, {"audiences": [API]}, {"iss": f"https://sts.windows.net/{TENANT}/"}),
    "B2 Entra ID for Graph": (ENTRA, {"audiences": [API]}, {"aud": "00000003-0000-0000-c000-000000000000"}),
    "B2 Keycloak without a mapper": (KEYCLOAK, {}, {"aud": "account"}),
    "B2 Cognito, an ID token": (
        COGNITO,
        {"clients_without_audience": ["app"]},
        {"aud": "app", "token_use": "id"},
    ),
    "B2 Cognito, a client nobody named": (COGNITO, {}, {"client_id": "app", "token_use": "access"}),
    "B2 Google, an ID token": ("https://accounts.google.com", {}, {"aud": "1.apps.googleusercontent.com"}),
}


@pytest.mark.parametrize("case", ID_TOKENS)
def test_tokens_that_are_for_somebody_else(case: str) -> None:
    url, options, claims = ID_TOKENS[case]
    issuer = Issuer(url, algorithm="RS256")
    server: AuthorizationServer = issuer.server(**options)

    async def verified() -> None:
        verifier = JwtVerifier(server, RESOURCE)
        try:
            await verifier.verify(token_of(issuer, {"sub": "u", **claims}, "JWT"))
        finally:
            await verifier.aclose()

    with pytest.raises(InvalidTokenError, match=r"audience|issuer|no access token"):
        asyncio.run(verified())
