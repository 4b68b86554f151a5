"""A user logs in at a server that is its own authorization server, in front of a real provider (A23)."""

import asyncio

import httpx
import pytest

from enfilade.auth.servers import ALGORITHMS
from enfilade.client.connect import connect
from enfilade.client.login.options import LoginOptions
from enfilade.client.login.run import logged_in
from support.authorization.oidc_provider import OidcProvider
from support.authorization.proxy_client import ProxyClient, call, caller
from support.authorization.visitor import Visitor

METHODS = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]


def test_a_user_logs_in(public_url: str, client: ProxyClient, visitor: Visitor) -> None:
    """A23, X-AUTH-22, X-AUTH-23: registration, consent, the provider, a code, tokens, a call."""
    tokens = client.tokens(visitor)
    assert tokens["token_type"] == "Bearer"
    assert tokens["scope"] == "notes:read"
    who = caller(public_url, tokens["access_token"])
    assert (who["subject"], who["issuer"], who["client"]) == ("ada", public_url, client.client_id)
    assert who["scopes"] == ["notes:read"]
    assert call(public_url, tokens["access_token"], "write").status_code == 403
    renewed = client.refresh(tokens["refresh_token"]).json()
    assert caller(public_url, renewed["access_token"])["subject"] == "ada"


def test_what_clients_find_before_they_log_in(public_url: str) -> None:
    """X-AUTH-2, X-AUTH-20: from the challenge to the endpoints."""
    refused = httpx.post(f"{public_url}/mcp", json={})
    assert refused.status_code == 401
    resource = f"{public_url}/.well-known/oauth-protected-resource/mcp"
    assert f'resource_metadata="{resource}"' in refused.headers["www-authenticate"]
    document = httpx.get(resource).json()
    assert document["resource"] == f"{public_url}/mcp"
    assert document["authorization_servers"] == [public_url]
    assert document["scopes_supported"] == ["notes:read", "notes:write"]


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/mcp",
        "/mcp/.well-known/openid-configuration",
    ],
)
def test_the_metadata_of_the_authorization_server(public_url: str, path: str) -> None:
    """X-AUTH-20: at each path where clients look, for pages of any origin."""
    response = httpx.get(public_url + path)
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.json() == {
        "issuer": public_url,
        "authorization_endpoint": f"{public_url}/oauth/authorize",
        "token_endpoint": f"{public_url}/oauth/token",
        "registration_endpoint": f"{public_url}/oauth/register",
        "revocation_endpoint": f"{public_url}/oauth/revoke",
        "scopes_supported": ["notes:read", "notes:write", "offline_access"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": METHODS,
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "revocation_endpoint_auth_methods_supported": METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "client_id_metadata_document_supported": True,
        "authorization_response_iss_parameter_supported": True,
    }


@pytest.mark.parametrize("name", ["token", "register", "revoke"])
def test_pages_of_any_origin_may_be_clients(public_url: str, name: str) -> None:
    """R-615: preflights, and answers that a page may read."""
    headers = {"Origin": "https://page.example.com", "Access-Control-Request-Method": "POST"}
    preflight = httpx.options(f"{public_url}/oauth/{name}", headers=headers)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    refused = httpx.post(f"{public_url}/oauth/{name}", headers={"Origin": "https://page.example.com"})
    assert refused.status_code == 400
    assert refused.headers["access-control-allow-origin"] == "*"
    assert refused.headers["cache-control"] == "no-store"
    assert httpx.get(f"{public_url}/oauth/{name}").status_code == 405


def test_what_the_user_is_asked(public_url: str, client: ProxyClient, visitor: Visitor) -> None:
    """R-616, R-708: client, destination, server, provider and scopes, in a page that no other page can frame."""
    page = visitor.open(client.authorization_url(scope="notes:read notes:write"))
    assert page.status == 200
    for text in (
        "the client",
        "a program on this computer",
        "Notes of Ada",
        "Upstream",
        "notes:read",
        "notes:write",
    ):
        assert text in page.text
    headers = page.response.headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "form-action" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-opener-policy"] == "unsafe-none", "the opener of a popup is told of the end"
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_a_user_does_not_agree(client: ProxyClient, visitor: Visitor, public_url: str) -> None:
    """R-616: the client is told, with `iss` (RFC 9207)."""
    page = visitor.open(client.authorization_url())
    answer = client.returned(visitor.press(page, client.redirect_uri, decision="deny"))
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", client.state, public_url)


def test_the_provider_does_not_let_a_user_in(
    client: ProxyClient, visitor: Visitor, oidc_provider: OidcProvider
) -> None:
    """X-AUTH-23: the client is told that, and nothing else of the provider."""
    oidc_provider.configure(deny=True)
    answer = client.log_in(visitor)
    assert (answer["error"], answer["state"]) == ("access_denied", client.state)
    assert "refused" not in answer["error_description"]


def test_a_consent_for_a_program_is_not_remembered(client: ProxyClient, visitor: Visitor) -> None:
    """R-616: any program of the machine could pass for the one that the user has agreed to."""
    client.code(visitor)
    assert visitor.open(client.authorization_url()).forms


def test_a_consent_for_a_web_client_is_remembered(public_url: str, visitor: Visitor) -> None:
    """R-708: for this client, this redirect URI and these scopes, in this browser."""
    uris = ["https://client.example.com/back", "https://client.example.com/other"]
    client = ProxyClient.registered(public_url, redirect_uris=uris)
    assert client.log_in(visitor)["code"]
    assert not visitor.open(client.authorization_url(), client.redirect_uri).forms
    assert visitor.open(client.authorization_url(prompt="consent"), client.redirect_uri).forms
    assert visitor.open(client.authorization_url(scope="notes:write"), client.redirect_uri).forms
    assert visitor.open(client.authorization_url(redirect_uri=uris[1]), client.redirect_uri).forms
    same_name = ProxyClient.registered(public_url, redirect_uris=uris)
    assert visitor.open(same_name.authorization_url(), client.redirect_uri).forms
    with Visitor() as other:
        assert other.open(client.authorization_url(), client.redirect_uri).forms


def test_a_client_asks_without_the_user(client: ProxyClient, visitor: Visitor) -> None:
    answer = client.returned(visitor.open(client.authorization_url(prompt="none"), client.redirect_uri))
    assert answer["error"] == "interaction_required"


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
def test_a_confidential_client(public_url: str, visitor: Visitor, method: str) -> None:
    """X-AUTH-22, X-AUTH-24: its secret is kept nowhere, and is needed."""
    client = ProxyClient.registered(public_url, token_endpoint_auth_method=method)
    assert client.secret
    code = client.code(visitor)
    for secret in (
        None,
        "",
        "another",
        ProxyClient.registered(public_url, token_endpoint_auth_method=method).secret,
    ):
        refused = client.redeem(code, client_secret=secret)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert client.redeem(code).status_code == 200
    form = {"grant_type": "refresh_token", "refresh_token": "none"}
    both = httpx.post(f"{public_url}/oauth/token", data=form, auth=(client.client_id, client.secret))
    assert (both.status_code, both.json()["error"]) == (400, "invalid_grant")
    wrong = httpx.post(f"{public_url}/oauth/token", data=form, auth=(client.client_id, "another"))
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    assert wrong.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize("client_id", ["unknown", "enf_client_unknown", None])
def test_an_unknown_client(public_url: str, client_id: str | None) -> None:
    """X-AUTH-24: 401, after which hosts register anew."""
    form = {"grant_type": "authorization_code", "code": "c", "code_verifier": "v" * 43}
    named = {} if client_id is None else {"client_id": client_id}
    response = httpx.post(f"{public_url}/oauth/token", data={**form, **named})
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_the_command_line_logs_in(public_url: str, oidc_provider: OidcProvider) -> None:
    """A23: `enfilade call` at a terminal, whose user has a browser."""
    opened: list[str] = []

    def agree(url: str) -> bool:
        opened.append(url)
        with Visitor() as visitor:
            visitor.press(visitor.open(url), decision="allow")
        return True

    async def run() -> str:
        options = LoginOptions(interactive=True, show=lambda text: None, open_browser=agree, timeout=20.0)
        url = f"{public_url}/mcp"
        async with logged_in(url, options) as auth, connect(url, http_auth=auth, timeout=20) as client:
            result = await client.call_tool("whoami", {})
            return str(result.structured_content["subject"])  # type: ignore[index]

    assert asyncio.run(run()) == "ada"
    assert len(opened) == 1
