"""Enterprise-managed authorization: assertions of an identity provider become access tokens (X-AUTH-41)."""

import logging
import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from enfilade.auth import ProxyClient as ConfiguredClient
from support.authorization.oidc_provider import OidcProvider
from support.authorization.proxy_client import ProxyClient, caller, register
from support.servers import login_server
from support.servers.scripted_http_server import Answer, ScriptedHttpServer
from support.signed_tokens import jwks, private_key, sign

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SECRET = "secret-of-the-company"


@pytest.fixture(scope="module")
def identity_provider() -> Iterator[ScriptedHttpServer]:
    with ScriptedHttpServer() as server:
        issuer = server.origin
        metadata = {"issuer": issuer, "jwks_uri": f"{server.origin}/jwks"}
        server.answers["/.well-known/oauth-authorization-server"] = Answer(metadata)
        server.answers["/.well-known/openid-configuration"] = Answer(metadata)
        server.answers["/jwks"] = Answer(jwks(private_key()))
        yield server


@pytest.fixture(scope="module")
def url(running_oidc_provider: OidcProvider, identity_provider: ScriptedHttpServer) -> Iterator[str]:
    clients = [ConfiguredClient("editor", SECRET), ConfiguredClient("other", SECRET), ConfiguredClient("public")]
    with login_server.serving(
        running_oidc_provider, identity_providers=[identity_provider.origin], clients=clients
    ) as url:
        yield url


@pytest.fixture
def client(url: str) -> ProxyClient:
    return ProxyClient(url, "editor", SECRET)


def claims(url: str, issuer: str, **changes: Any) -> dict[str, Any]:
    """Return the claims of a good assertion with some changes; a claim that is `...` is left out."""
    now = int(time.time())
    members = {
        "iss": issuer,
        "sub": "grace",
        "aud": url,
        "resource": f"{url}/mcp",
        "client_id": "editor",
        "jti": secrets.token_urlsafe(8),
        "iat": now,
        "exp": now + 300,
        "scope": "notes:read notes:write",
        **changes,
    }
    return {name: value for name, value in members.items() if value is not ...}


def assertion(claims: dict[str, Any], **header: Any) -> str:
    return sign(claims, private_key(), **{"typ": "oauth-id-jag+jwt", **header})


def exchange(client: ProxyClient, token: str, **form: str | None) -> httpx.Response:
    return client.token_request(grant_type=GRANT_TYPE, assertion=token, **form)


def test_an_assertion_becomes_a_token(
    url: str, client: ProxyClient, identity_provider: ScriptedHttpServer
) -> None:
    """X-AUTH-40, X-AUTH-41: for this user, this client and this resource, without a refresh token."""
    issuer = identity_provider.origin
    response = exchange(client, assertion(claims(url, issuer)), scope="notes:read")
    assert response.status_code == 200, response.text
    tokens = response.json()
    assert "refresh_token" not in tokens
    assert (tokens["scope"], tokens["token_type"]) == ("notes:read", "Bearer")
    who = caller(url, tokens["access_token"])
    assert (who["subject"], who["issuer"], who["client"]) == (f"{issuer}|grace", url, "editor")
    whole = exchange(client, assertion(claims(url, issuer))).json()
    assert whole["scope"] == "notes:read notes:write"
    narrow = exchange(client, assertion(claims(url, issuer, scope="notes:read")), scope="notes:read notes:write")
    assert narrow.json()["scope"] == "notes:read"


def test_what_the_metadata_says(url: str) -> None:
    """X-AUTH-41: clients find out that assertions are taken."""
    document = httpx.get(f"{url}/.well-known/oauth-authorization-server").json()
    assert document["authorization_grant_profiles_supported"] == ["urn:ietf:params:oauth:grant-profile:id-jag"]
    assert GRANT_TYPE in document["grant_types_supported"]


def test_a_registered_client_exchanges_as_well(url: str, identity_provider: ScriptedHttpServer) -> None:
    """X-AUTH-41: with its secret; redirect URIs are for logins alone."""
    response = register(
        url, grant_types=[GRANT_TYPE], redirect_uris=[], token_endpoint_auth_method="client_secret_post"
    )
    members = response.json()
    client = ProxyClient(url, members["client_id"], members["client_secret"])
    token = assertion(claims(url, identity_provider.origin, client_id=client.client_id))
    assert exchange(client, token).status_code == 200
    assert httpx.get(client.authorization_url()).status_code == 400


FAULTS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example.com"},
    "no issuer": {"iss": ...},
    "another audience": {"aud": "https://other.example.com"},
    "the resource as audience": {"aud": "RESOURCE"},
    "several audiences": {"aud": ["ISSUER", "https://other.example.com"]},
    "no audience": {"aud": ...},
    "another resource": {"resource": "https://other.example.com/mcp"},
    "no resource": {"resource": ...},
    "a list of resources": {"resource": ["RESOURCE"]},
    "another client": {"client_id": "other"},
    "no client": {"client_id": ...},
    "no subject": {"sub": ...},
    "a number as subject": {"sub": 5},
    "over": {"exp": 1_000_000_000},
    "no end": {"exp": ...},
    "an end that is none": {"exp": "soon"},
    "an end in years": {"exp": 4_000_000_000},
    "later": {"iat": 4_000_000_000},
    "no beginning": {"iat": ...},
    "not yet": {"nbf": 4_000_000_000},
    "no id": {"jti": ...},
    "an empty id": {"jti": ""},
    "a long id": {"jti": "j" * 600},
    "no such scope": {"scope": "admin"},
    "scopes that are none": {"scope": 5},
}


@pytest.mark.parametrize("changes", FAULTS.values(), ids=FAULTS)
def test_claims_that_are_refused(
    url: str, client: ProxyClient, identity_provider: ScriptedHttpServer, changes: dict[str, Any]
) -> None:
    """X-AUTH-41: `invalid_grant`, and nothing else."""
    names = {"ISSUER": url, "RESOURCE": f"{url}/mcp"}

    def named(value: Any) -> Any:
        return [named(each) for each in value] if isinstance(value, list) else names.get(value, value)

    changed = {name: value if value is ... else named(value) for name, value in changes.items()}
    token = assertion(claims(url, identity_provider.origin, **changed))
    response = exchange(client, token, scope="notes:read")
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"typ": ...},
        {"alg": "none"},
        {"alg": "HS256"},
        {"crit": ["exp"]},
        {"kid": "unknown"},
        {"kid": 5},
    ],
    ids=str,
)
def test_headers_that_are_refused(
    url: str, client: ProxyClient, identity_provider: ScriptedHttpServer, header: dict[str, Any]
) -> None:
    """X-AUTH-41: no other kind of token of the same keys is an assertion."""
    response = exchange(client, assertion(claims(url, identity_provider.origin), **header))
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


def test_a_signature_of_somebody_else(
    url: str, client: ProxyClient, identity_provider: ScriptedHttpServer
) -> None:
    """X-AUTH-41."""
    members = claims(url, identity_provider.origin)
    token = sign(members, private_key(number=1), typ="oauth-id-jag+jwt")
    assert exchange(client, token).json()["error"] == "invalid_grant"
    assert exchange(client, assertion(members)).status_code == 200, "nothing has used it up"


def test_an_assertion_is_used_once(url: str, client: ProxyClient, identity_provider: ScriptedHttpServer) -> None:
    """X-AUTH-41: its `jti` is remembered until it ends."""
    token = assertion(claims(url, identity_provider.origin))
    assert exchange(client, token).status_code == 200
    again = exchange(client, token)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("client_id", "secret", "status", "error"),
    [
        ("editor", None, 401, "invalid_client"),
        ("editor", "another", 401, "invalid_client"),
        ("unknown", SECRET, 401, "invalid_client"),
        ("public", None, 400, "unauthorized_client"),
    ],
)
def test_clients_authenticate(
    url: str, identity_provider: ScriptedHttpServer, client_id: str, secret: str | None, status: int, error: str
) -> None:
    """X-AUTH-41: an assertion that somebody has picked up is of no use to them."""
    token = assertion(claims(url, identity_provider.origin, client_id=client_id))
    response = exchange(ProxyClient(url, client_id, secret), token)
    assert (response.status_code, response.json()["error"]) == (status, error)


def test_an_identity_provider_that_does_not_answer(running_oidc_provider: OidcProvider) -> None:
    """X-AUTH-4, X-AUTH-41: 503, and the same assertion is good when it answers again."""
    with ScriptedHttpServer() as away:
        issuer, clients = away.origin, [ConfiguredClient("editor", SECRET)]
        with login_server.serving(running_oidc_provider, identity_providers=[issuer], clients=clients) as url:
            token = assertion(claims(url, issuer))
            response = exchange(ProxyClient(url, "editor", SECRET), token)
            assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")


def test_an_assertion_is_in_no_log(
    url: str, client: ProxyClient, identity_provider: ScriptedHttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    """X-AUTH-41, R-712: neither a good one nor a bad one, at any level."""
    good = assertion(claims(url, identity_provider.origin))
    bad = assertion(claims(url, identity_provider.origin, aud="https://other.example.com"))
    with caplog.at_level(logging.DEBUG):
        exchange(client, good)
        response = exchange(client, bad)
    for part in (good, bad, *good.split("."), *bad.split(".")[1:]):
        assert part not in caplog.text
        assert part not in response.text
