"""`ctx.token_for`: a token of another service in exchange for the caller's (A22, RFC 8693, R-610, R-707)."""

from collections.abc import Iterator
from typing import Any

import pytest

from enfilade import Context, MCPApp, text_of
from enfilade.auth import AuthorizationServer, ResourceServer
from enfilade.auth.tool_auth.exchange import on_behalf_of
from enfilade.testing import connect
from support.authorization.oauth_service import EXCHANGE, TOKEN, OAuthService
from support.authorization.tool_app import serving_at_its_port
from support.harness import Serving
from support.servers.scripted_http_server import Answer

pytestmark = pytest.mark.anyio
CLIENT, SECRET = "gateway", "gateway-secret-of-the-tests"
API = "https://api.example.com"


@pytest.fixture
def issuer() -> Iterator[OAuthService]:
    with OAuthService({CLIENT: SECRET}) as service:
        yield service


def exchanging_app(issuer: OAuthService, port: int, client_id: str | None = CLIENT) -> MCPApp:
    server = AuthorizationServer(
        issuer.origin, jwks_uri=issuer.url("/jwks"), client_id=client_id, client_secret=SECRET
    )
    app = MCPApp("Gateway", auth=ResourceServer(f"http://127.0.0.1:{port}/mcp", [server]))

    @app.tool
    async def upstream(ctx: Context, scopes: list[str], audience: str = API) -> str:
        """Say whose token it is, and what it allows."""
        token = await ctx.token_for(audience, scopes)
        grant = issuer.grants.grant_of(token)
        assert grant is not None
        return f"{grant.user}: {' '.join(grant.scopes)}"

    @app.tool
    async def fail(ctx: Context) -> str:
        """Put the token into an error."""
        raise RuntimeError(await ctx.token_for(API))

    return app


@pytest.fixture
def serving(issuer: OAuthService) -> Iterator[Serving]:
    with serving_at_its_port(lambda port: exchanging_app(issuer, port)) as serving:
        yield serving


async def called(serving: Serving, token: str, tool: str = "upstream", **arguments: Any) -> Any:
    url = f"http://127.0.0.1:{serving.port}/mcp"
    async with connect(url, headers={"Authorization": f"Bearer {token}"}) as client:
        return await client.call_tool(tool, arguments)


def token_of(issuer: OAuthService, serving: Serving, user: str, **claims: Any) -> str:
    return issuer.issuer.token(user, audience=f"http://127.0.0.1:{serving.port}/mcp", **claims)


async def test_a_token_is_exchanged_once(issuer: OAuthService, serving: Serving) -> None:
    """R-707, R-610: kept for the caller, the service and the scopes until it ends."""
    token = token_of(issuer, serving, "ada")
    for _ in range(2):
        assert text_of(await called(serving, token, scopes=["read"])) == "ada: read"
    (form,) = issuer.token_requests(EXCHANGE)
    assert form["audience"] == form["resource"] == API
    assert form["subject_token"] == token
    assert form["scope"] == "read"
    assert text_of(await called(serving, token, scopes=["write"])) == "ada: write"
    assert text_of(await called(serving, token_of(issuer, serving, "bob"), scopes=["read"])) == "bob: read"
    assert len(issuer.token_requests(EXCHANGE)) == 3
    (visit, *_) = issuer.visits_of(TOKEN)
    assert visit.headers["authorization"].startswith("Basic ")


async def test_one_that_has_ended_is_exchanged_anew(issuer: OAuthService, serving: Serving) -> None:
    issuer.expires_in = 30
    token = token_of(issuer, serving, "ada")
    for _ in range(2):
        assert text_of(await called(serving, token, scopes=["read"])) == "ada: read"
    assert len(issuer.token_requests(EXCHANGE)) == 2


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Answer({"error": "invalid_target"}, 400), "it refused with invalid_target"),
        (Answer(b"down", 503), "try again in a minute"),
        (Answer(b"<html>", 200), "the response is no JSON"),
    ],
)
async def test_errors_are_told(issuer: OAuthService, serving: Serving, fault: Answer, text: str) -> None:
    token = token_of(issuer, serving, "ada")
    issuer.faults[TOKEN] = fault
    result = await called(serving, token, scopes=["read"])
    assert result.is_error
    assert text in text_of(result)
    assert token not in text_of(result)


async def test_less_than_was_asked_for(issuer: OAuthService, serving: Serving) -> None:
    issuer.granted = ["read"]
    result = await called(serving, token_of(issuer, serving, "ada"), scopes=["read", "write"])
    assert "it has not granted write" in text_of(result)


async def test_the_token_is_in_no_error(issuer: OAuthService, serving: Serving) -> None:
    """A18."""
    result = await called(serving, token_of(issuer, serving, "ada"), "fail")
    assert result.is_error
    assert not [secret for secret in issuer.secrets if secret in text_of(result)]


async def test_a_server_without_a_client_there(issuer: OAuthService) -> None:
    with serving_at_its_port(lambda port: exchanging_app(issuer, port, None)) as serving:
        result = await called(serving, token_of(issuer, serving, "ada"), scopes=["read"])
    assert "AuthorizationServer(issuer, client_id=" in text_of(result)


async def test_a_caller_without_a_token(issuer: OAuthService) -> None:
    async with connect(exchanging_app(issuer, 8000)) as client:
        result = await client.call_tool("upstream", {"scopes": ["read"]})
        assert "no token of the caller" in text_of(result)
    async with connect(exchanging_app(issuer, 8000), auth={"https://other.example": "x"}) as client:
        result = await client.call_tool("upstream", {"scopes": ["read"]})
        assert "The test has no token for https://api.example.com" in text_of(result)


def test_the_form_of_entra() -> None:
    """On behalf of the user: scopes begin with the service, or stand for all that were consented to."""
    form = on_behalf_of("token", "api://notes", ["read", "https://graph.microsoft.com/Mail.Read"])
    assert form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": "token",
        "requested_token_use": "on_behalf_of",
        "scope": "api://notes/read https://graph.microsoft.com/Mail.Read",
    }
    assert (
        on_behalf_of("token", "https://graph.microsoft.com/", [])["scope"]
        == "https://graph.microsoft.com/.default"
    )
