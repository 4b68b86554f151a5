"""Who may give consent: the user who has caused the question, and nobody else (A9, R-545, R-718)."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from enfilade import MCPApp, SettingsError, text_of
from enfilade.auth import AuthorizationServer, Principal, ResourceServer
from enfilade.serving.callers.local import is_local_http
from enfilade.settings import Settings
from enfilade.testing import connect
from support.authorization.oauth_service import OAuthService
from support.authorization.tool_app import CLIENT, SECRET, serving_at_its_port, tool_app, visited
from support.authorization.visitor import Visitor
from support.harness import Serving

pytestmark = pytest.mark.anyio
LOGIN, LOGIN_SECRET = "enfilade-login", "login-secret-of-the-tests"


@pytest.fixture
def service() -> Iterator[OAuthService]:
    with OAuthService({CLIENT: SECRET}) as service:
        yield service


@pytest.fixture
def issuer() -> Iterator[OAuthService]:
    """The authorization server whose tokens callers have."""
    with OAuthService({LOGIN: LOGIN_SECRET}) as service:
        yield service


@pytest.fixture
def serving(service: OAuthService, issuer: OAuthService) -> Iterator[Serving]:
    with serving_at_its_port(lambda port: protected_app(service, issuer, port)) as serving:
        yield serving


def protected_app(service: OAuthService, issuer: OAuthService, port: int, **client: Any) -> MCPApp:
    credentials = client or {"client_id": LOGIN, "client_secret": LOGIN_SECRET}
    server = AuthorizationServer(issuer.origin, **credentials)
    return tool_app(service, auth=ResourceServer(f"http://127.0.0.1:{port}/mcp", [server]))


def url_of(serving: Serving) -> str:
    return f"http://127.0.0.1:{serving.port}/mcp"


def bearer(issuer: OAuthService, serving: Serving, user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {issuer.issuer.token(user, audience=url_of(serving))}"}


async def called(issuer: OAuthService, serving: Serving, user: str) -> Any:
    async with connect(url_of(serving), headers=bearer(issuer, serving, user)) as client:
        return await client.call_tool("whoami")


async def link_for(issuer: OAuthService, serving: Serving, user: str) -> str:
    result = await called(issuer, serving, user)
    assert result.is_error
    url: str = result.meta["enfilade/authorization"]["url"]
    return url


async def test_the_user_logs_in_and_consents(
    issuer: OAuthService, service: OAuthService, serving: Serving
) -> None:
    """A9, R-545, R-718."""
    url = await link_for(issuer, serving, "ada")
    issuer.user, service.user = "ada", "ada-at-corp"
    page = await asyncio.to_thread(visited, url)
    assert page.status == 200
    assert "Done" in page.text
    assert text_of(await called(issuer, serving, "ada")) == "ada-at-corp: read"
    assert (await called(issuer, serving, "bob")).is_error  # whose token it is not


async def test_somebody_else_grants_nothing(
    issuer: OAuthService, service: OAuthService, serving: Serving
) -> None:
    """403, no token for anybody, and the link is still good for the right user."""
    url = await link_for(issuer, serving, "ada")
    issuer.user = service.user = "mallory"
    page = await asyncio.to_thread(visited, url)
    assert page.status == 403
    assert "somebody else" in page.text
    assert service.visits == []
    for user in ("ada", "mallory"):
        assert (await called(issuer, serving, user)).is_error
    issuer.user = service.user = "ada"
    assert (await asyncio.to_thread(visited, url)).status == 200
    assert text_of(await called(issuer, serving, "ada")) == "ada: read"


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "of another login"},
        {"aud": "another client"},
        {"azp": "another client"},
        {"iss": "https://another.example"},
        {"exp": 1},
        {"iat": 1},
        {"sub": None},
    ],
    ids=lambda claims: next(iter(claims)),
)
async def test_an_id_token_of_something_else(
    issuer: OAuthService, service: OAuthService, serving: Serving, claims: dict[str, Any]
) -> None:
    """OpenID Connect Core §3.1.3.7."""
    url = await link_for(issuer, serving, "ada")
    right = issuer.id_token

    def forged(user: str, client_id: str, **given: Any) -> str:
        return right(user, client_id, **{**given, **claims})

    issuer.id_token = forged  # type: ignore[method-assign]
    page = await asyncio.to_thread(visited, url)
    assert page.status == 400
    assert "The login has failed" in page.text
    assert service.visits == []


async def test_a_user_without_a_login_cannot_consent(issuer: OAuthService, service: OAuthService) -> None:
    """The page says what the operator has to do."""
    with serving_at_its_port(
        lambda port: protected_app(service, issuer, port, jwks_uri=issuer.url("/jwks"))
    ) as serving:
        url = await link_for(issuer, serving, "ada")
        page = await asyncio.to_thread(visited, url)
        assert page.status == 403
        assert "client_id" in page.text


async def test_a_host_that_knows_its_visitors(service: OAuthService) -> None:
    """B12: its users need no further login."""
    app = tool_app(service)

    async def host(scope: Any, receive: Any, send: Any) -> None:
        name = dict(scope.get("headers", [])).get(b"x-user")
        if name is not None:
            scope["state"] = {**scope.get("state", {}), "enfilade.principal": Principal(name.decode())}
        await app(scope, receive, send)

    with Serving(host) as serving:
        async with connect(url_of(serving), headers={"X-User": "ada"}) as client:
            result = await client.call_tool("whoami")
            assert result.meta is not None
            url = result.meta["enfilade/authorization"]["url"]
        for user, status in (("bob", 403), ("ada", 200)):
            response = await asyncio.to_thread(httpx.get, url, headers={"X-User": user})
            assert response.status_code == status
        assert (await asyncio.to_thread(httpx.get, url)).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{"Host": "mcp.example.com"}, {"X-Forwarded-For": "192.0.2.1"}, {"Forwarded": "for=192.0.2.1"}],
    ids=str,
)
async def test_the_local_user_is_on_this_machine(service: OAuthService, headers: dict[str, str]) -> None:
    """Without `auth=` the page answers loopback only; a proxy passes on what comes from elsewhere."""
    app = tool_app(service, settings=Settings(allowed_hosts=["mcp.example.com"]))
    with Serving(app) as serving:
        async with connect(url_of(serving)) as client:
            result = await client.call_tool("whoami")
            assert result.meta is not None
            url = result.meta["enfilade/authorization"]["url"]
        response = await asyncio.to_thread(httpx.get, url, headers=headers)
        assert response.status_code == 403
        assert (await asyncio.to_thread(httpx.get, url)).status_code == 200
        async with connect(url_of(serving), headers=headers) as client:
            result = await client.call_tool("whoami")
            assert "does not know who calls" in text_of(result)


def test_the_start_is_refused_where_users_are_one(service: OAuthService) -> None:
    """A9: on an address that others reach, without `auth=`."""
    app = tool_app(service, transport="http", host="0.0.0.0")
    with pytest.raises(SettingsError, match="AuthorizationServer that has a client_id"):
        app.run()


async def test_the_link_of_another_browser(issuer: OAuthService, service: OAuthService, serving: Serving) -> None:
    """The form belongs to the browser that has the page; the callback to the one that pressed the button."""
    url = await link_for(issuer, serving, "ada")
    with Visitor() as ada, Visitor() as other:
        page = await asyncio.to_thread(ada.open, url)
        assert (await asyncio.to_thread(other.press, page)).status == 403
        redirect = await asyncio.to_thread(ada.press, page, f"http://127.0.0.1:{serving.port}/auth/callback")
        assert (await asyncio.to_thread(other.open, redirect.trail[-1])).status == 400
        # Its code was in another browser: it is worth nothing any more, and neither is the link.
        assert (await asyncio.to_thread(ada.open, redirect.trail[-1])).status == 400
        assert (await asyncio.to_thread(ada.open, url)).status == 410
    assert issuer.grants.replayed_codes == service.grants.replayed_codes == 0


async def test_the_pages_within_a_host(service: OAuthService) -> None:
    """A host that routes the endpoint routes the pages as well."""
    from starlette.applications import Starlette

    app = tool_app(service)
    with Serving(Starlette(routes=[app.host_route(), app.consent_route()])) as serving:
        async with connect(url_of(serving)) as client:
            result = await client.call_tool("whoami")
            assert result.meta is not None
            page = await asyncio.to_thread(visited, result.meta["enfilade/authorization"]["url"], "ada")
            assert page.status == 200
            assert text_of(await client.call_tool("whoami")) == "ada: read"


@pytest.mark.parametrize(
    "header", ["X-Forwarded-Proto", "CF-Connecting-IP", "X-Client-IP", "X-Envoy-External-Address"]
)
def test_headers_of_proxies(header: str) -> None:
    """A request that was passed on is not that of the user of this machine."""
    host = (b"host", b"127.0.0.1:8000")
    assert is_local_http(("127.0.0.1", 1), [host])
    assert not is_local_http(("127.0.0.1", 1), [host, (header.lower().encode(), b"x")])


def test_the_start_is_refused_with_a_public_url(service: OAuthService) -> None:
    """A9: without `auth=`, whatever it is bound to."""
    app = tool_app(service, public_url="https://mcp.example.com", transport="http")
    with pytest.raises(SettingsError, match="leave public_url out"):
        app.run()


async def test_a_public_url_without_a_login(service: OAuthService) -> None:
    """A9: a caller is not the user of its machine, if a host serves it."""
    with Serving(tool_app(service, public_url="https://mcp.example.com")) as serving:
        async with connect(url_of(serving)) as client:
            assert "does not know who calls" in text_of(await client.call_tool("whoami"))
