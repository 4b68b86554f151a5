"""Tools that act for users who have logged in at the server itself, by `OAuthProxy` (A9, A23)."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from enfilade import text_of
from enfilade.auth import OAuth2, OAuthProxy
from enfilade.testing import connect
from support.authorization.oauth_service import OAuthService
from support.authorization.proxy_client import ProxyClient
from support.authorization.tool_app import CLIENT, SECRET, serving_at_its_port, tool_app, visited
from support.authorization.visitor import Visitor
from support.harness import Serving

pytestmark = pytest.mark.anyio


@pytest.fixture
def service() -> Iterator[OAuthService]:
    with OAuthService({CLIENT: SECRET}) as service:
        yield service


@pytest.fixture
def upstream() -> Iterator[OAuthService]:
    """Where users log in."""
    with OAuthService({"login": "login-secret-of-the-tests"}) as service:
        yield service


@pytest.fixture
def serving(service: OAuthService, upstream: OAuthService) -> Iterator[Serving]:
    def make(port: int) -> Any:
        provider = OAuth2.discover(upstream.origin, id="upstream", title="Upstream")
        client = provider.client("login", "login-secret-of-the-tests")
        proxy = OAuthProxy(client, public_url=f"http://127.0.0.1:{port}", scopes=["notes:read"])
        return tool_app(service, auth=proxy)

    with serving_at_its_port(make) as serving:
        yield serving


def logged_in(serving: Serving, login: str) -> str:
    """Return the access token of a user of a client that has registered."""
    with Visitor(login) as visitor:
        client = ProxyClient.registered(f"http://127.0.0.1:{serving.port}")
        token: str = client.tokens(visitor)["access_token"]
    return token


async def called(serving: Serving, token: str) -> Any:
    url = f"http://127.0.0.1:{serving.port}/mcp"
    async with connect(url, headers={"Authorization": f"Bearer {token}"}) as client:
        return await client.call_tool("whoami")


async def test_the_user_consents_and_nobody_else(
    service: OAuthService, upstream: OAuthService, serving: Serving
) -> None:
    ada, mallory = [await asyncio.to_thread(logged_in, serving, login) for login in ("ada", "mallory")]
    result = await called(serving, ada)
    assert result.is_error
    url = result.meta["enfilade/authorization"]["url"]
    assert (await asyncio.to_thread(visited, url, "mallory")).status == 403
    assert (await asyncio.to_thread(visited, url, "ada")).status == 200
    assert text_of(await called(serving, ada)) == "ada: read"
    assert (await called(serving, mallory)).is_error
