"""A login in an app that a host mounts, serves at a route, or configures; and what is refused at the start."""

from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from enfilade import MCPApp
from enfilade.auth import (
    APIKeys,
    GitHub,
    OAuthProxy,
    Principal,
    ProxyClient as ConfiguredClient,
    ResourceServer,
    hash_key,
)
from enfilade.settings import SettingsError
from support.authorization.oidc_provider import OidcProvider
from support.authorization.proxy_client import ProxyClient, caller
from support.authorization.visitor import Visitor
from support.harness import Serving
from support.servers import login_server

SECRETLESS = GitHub.client("id", "secret")


@contextmanager
def hosted(provider: OidcProvider, prefix: str, routes: Any) -> Iterator[str]:
    """Serve an app in a host; yields its public URL, which ends in the prefix."""
    apps: list[Any] = []

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await apps[0](scope, receive, send)  # made when the port is known

    server = Serving(asgi)
    public_url = f"http://127.0.0.1:{server.port}{prefix}"
    app = login_server.make_app(public_url, login_server.register_at(provider, public_url).provider())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        async with app.running():
            yield

    apps.append(Starlette(routes=routes(app), lifespan=lifespan))
    with server:
        yield public_url


def log_in(public_url: str, visitor: Visitor) -> None:
    """Let a user log in, and call a tool."""
    client = ProxyClient.registered(public_url)
    tokens = client.tokens(visitor)
    assert caller(public_url, tokens["access_token"])["issuer"] == public_url


def test_a_host_mounts_the_app(oidc_provider: OidcProvider, visitor: Visitor) -> None:
    """X-AUTH-20: all endpoints are below the mount, and the metadata also at the root of the host."""
    with hosted(
        oidc_provider, "/notes", lambda app: [app.metadata_route(), app.login_route(), Mount("/notes", app)]
    ) as url:
        origin = url.removesuffix("/notes")
        refused = httpx.post(f"{url}/mcp", json={})
        assert refused.status_code == 401
        resource = httpx.get(f"{origin}/.well-known/oauth-protected-resource/notes/mcp").json()
        assert resource["authorization_servers"] == [url]
        for path in (
            f"{origin}/.well-known/oauth-authorization-server/notes",
            f"{origin}/.well-known/openid-configuration/notes",
            f"{url}/.well-known/openid-configuration",
            f"{url}/.well-known/oauth-authorization-server",
        ):
            assert httpx.get(path).json()["issuer"] == url
        log_in(url, visitor)


def test_a_host_serves_the_app_at_a_route(oidc_provider: OidcProvider, visitor: Visitor) -> None:
    """X-AUTH-20: `host_route()` needs `login_route()` beside it."""
    with hosted(
        oidc_provider,
        "",
        lambda app: [app.host_route(), app.metadata_route(), app.login_route(), Route("/", _home)],
    ) as url:
        assert httpx.get(f"{url}/.well-known/oauth-authorization-server").json()["issuer"] == url
        assert httpx.get(f"{url}/oauth/other").status_code == 404
        log_in(url, visitor)


async def _home(request: Any) -> Any:
    raise AssertionError


def test_the_resource_is_that_of_the_path() -> None:
    """X-AUTH-2, R-612: the public URL, and behind it the path of the endpoint."""
    proxy = OAuthProxy(SECRETLESS, public_url="https://mcp.example.com/")
    assert proxy.issuer == "https://mcp.example.com"
    assert proxy.placed("/mcp").resource == "https://mcp.example.com/mcp"
    assert proxy.placed("/").resource == "https://mcp.example.com"
    below = OAuthProxy(SECRETLESS, public_url="https://example.com/notes")
    assert below.placed("/mcp").resource == "https://example.com/notes/mcp"
    assert below.url("token") == "https://example.com/notes/oauth/token"
    assert "secret" not in repr(proxy).replace("SecretStr", "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"public_url": "http://mcp.example.com"}, "needs https"),
        ({"public_url": "https://mcp.example.com?a"}, "query"),
        ({"public_url": 5}, "is a URL"),
        ({"provider": "github"}, "takes a provider"),
        ({"provider": GitHub}, "has no client id"),
        ({"allow": "ada"}, "is a function"),
        ({"clients": ["a"]}, "list of ProxyClient"),
        ({"clients": [ConfiguredClient("a"), ConfiguredClient("a")]}, "twice"),
        ({"identity_providers": ["http://idp.example.com"]}, "needs https"),
        ({"access_token_time": 0}, "access_token_time"),
        ({"access_token_time": 1.5}, "whole number"),
        ({"login_time": 1}, "login_time"),
        ({"scopes": "notes:read"}, "scopes"),
    ],
)
def test_what_is_refused_at_construction(options: dict[str, Any], words: str) -> None:
    """R-617: with a text that says what to write."""
    arguments = {"provider": SECRETLESS, "public_url": "https://mcp.example.com", **options}
    with pytest.raises((TypeError, ValueError), match=words):
        OAuthProxy(arguments.pop("provider"), **arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("",), "empty"),
        (("a b",), "visible ASCII"),
        ((5,), "is a text"),
        (("a", "s", "https://a.example.com/"), "takes a list"),
        (("a", "s", ["javascript:alert(1)"]), "redirect URI"),
    ],
)
def test_clients_that_cannot_be(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        ConfiguredClient(*arguments)
    assert "hidden" not in repr(ConfiguredClient("a", "hidden"))


def test_a_client_that_is_configured(oidc_provider: OidcProvider, visitor: Visitor) -> None:
    """A23: whoever runs the server vouches for it."""
    uris = ("https://app.example.com/back",)
    clients = [ConfiguredClient("app", "s3cret", uris, "The App")]
    with login_server.serving(oidc_provider, clients=clients) as url:
        client = ProxyClient(url, "app", "s3cret", uris[0])
        page = visitor.open(client.authorization_url())
        assert "The App" in page.text
        assert "operator of this server knows this app" in page.text
        assert client.redeem(client.code(visitor)).status_code == 200
        assert client.redeem(client.code(visitor), client_secret="another").status_code == 401


def test_settings_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be another one in a deployment, and what cannot."""
    app = MCPApp("a", auth=OAuthProxy(SECRETLESS, public_url="https://mcp.example.com"))
    assert app.authenticator is not None
    assert app.authenticator.metadata.resource == "https://mcp.example.com/mcp"
    monkeypatch.setenv("ENFILADE_AUTH_SCOPES", "notes:read")
    app = MCPApp("a", auth=OAuthProxy(SECRETLESS, public_url="https://mcp.example.com"))
    assert app.authenticator is not None
    assert app.authenticator.auth.scopes == ("notes:read",)
    for name, value in (
        ("ENFILADE_AUTH_SERVERS", '["https://idp.example.com"]'),
        ("ENFILADE_AUTH_DPOP", "required"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            other = MCPApp("a", auth=OAuthProxy(SECRETLESS, public_url="https://mcp.example.com"))
            with pytest.raises(SettingsError, match="OAuthProxy"):
                _ = other.authenticator


def test_a_route_at_a_path_of_the_login() -> None:
    """The author is told at once."""
    app = MCPApp("a", auth=OAuthProxy(SECRETLESS, public_url="https://mcp.example.com"))
    with pytest.raises(ValueError, match="login of clients"):
        app.route("/oauth/token")(lambda request: None)


def test_api_keys_beside_it(oidc_provider: OidcProvider) -> None:
    """B4: programs have keys, people log in."""
    keys = APIKeys({hash_key("key-of-a-program"): Principal("program")})
    with login_server.serving(oidc_provider, verifiers=[keys], scopes=[]) as url:
        assert caller(url, "key-of-a-program")["subject"] == "program"


def test_other_servers_issue_nothing() -> None:
    """A resource server has no login of its own, and its paths are free."""
    server = ResourceServer("https://mcp.example.com/mcp", ["https://idp.example.com"])
    assert server.placed("/other") is server
    assert server.reserved_paths() == {}
    app = MCPApp("a", auth=server)
    assert app.authenticator is not None
    assert app.authenticator.own_tokens is None
