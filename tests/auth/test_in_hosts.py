"""B5, B12: a resource server inside of FastAPI and Starlette, and hosts that say themselves who calls."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.routing import Mount

from enfilade import Context, MCPApp
from enfilade.auth import Principal, ResourceServer
from enfilade.testing import Issuer
from enfilade.transports.asgi import authenticated_user
from support.harness import Serving
from support.hosts import HOST_NAMES, HOSTS, MakeHost
from support.http_client.connection import Http
from support.http_client.plain_http import fetch

issuer = Issuer()


def make(resource: str, *, auth: bool = True, **options: Any) -> MCPApp:
    app = MCPApp("Notes", auth=ResourceServer(resource, [issuer.server()]) if auth else None, **options)

    @app.tool
    async def who(ctx: Context) -> dict[str, Any]:
        """Return who calls."""
        if ctx.principal is None:
            return {"user": None}
        return {"user": ctx.user_id, "scopes": sorted(ctx.principal.scopes)}

    return app


@pytest.mark.parametrize(("host", "path", "stripped"), HOSTS, ids=HOST_NAMES)
def test_the_url_of_the_challenge_leads_to_the_document(host: MakeHost, path: str, stripped: str) -> None:
    """B5, R-602, X-AUTH-2: with the configured resource, and through a proxy that strips a prefix."""
    resource = f"https://mcp.example.com{path}"
    with Serving(host(lambda endpoint: make(resource, path=endpoint), "metadata_route")) as server:
        endpoint = Http(server.port, path.removeprefix(stripped))
        reply = endpoint.modern("tools/list")
        assert reply.status == 401
        challenge = reply.header("www-authenticate") or ""
        url = urlsplit(challenge.removeprefix('Bearer resource_metadata="').removesuffix('"'))
        assert url.netloc == "mcp.example.com"
        assert url.path.startswith(stripped)
        found = fetch(server.port, "GET", url.path.removeprefix(stripped))
        assert (found.status, json.loads(found.body)["resource"]) == (200, resource.rstrip("/"))
        token = issuer.token("ada", audience=resource)
        assert endpoint.modern("tools/list", authorization=f"Bearer {token}").status == 200


def test_the_root_of_a_mount_is_no_other_endpoint() -> None:
    """R-602: a client that calls it is sent to the one document."""
    host = FastAPI()
    host.mount("/tools", make("https://mcp.example.com/tools/mcp"))
    with Serving(host) as server:
        challenge = Http(server.port, "/tools/").modern("tools/list").header("www-authenticate") or ""
        assert 'resource_metadata="https://mcp.example.com/tools/.well-known/' in challenge
        path = urlsplit(challenge.partition('"')[2].partition('"')[0]).path
        assert fetch(server.port, "GET", path).status == 200


def test_at_the_root_of_a_host_with_a_mount() -> None:
    """R-602: for clients that look there and do not read the challenge."""
    app, host = make("https://mcp.example.com/tools/mcp"), FastAPI()
    host.mount("/tools", app)
    host.router.routes.append(app.metadata_route())
    with Serving(host) as server:
        assert fetch(server.port, "GET", "/.well-known/oauth-protected-resource/tools/mcp").status == 200
        assert fetch(server.port, "GET", "/.well-known/oauth-protected-resource/other").status == 404


class Backend(AuthenticationBackend):
    """The login of a host: it believes a header."""

    async def authenticate(self, conn: Any) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-user")
        return None if name is None else (AuthCredentials(["notes:read"]), SimpleUser(name))


def test_the_user_of_a_host_is_the_principal() -> None:
    """B12: with the scopes that the host gives."""
    app = make("https://mcp.example.com/mcp", auth=False)
    login = Middleware(AuthenticationMiddleware, backend=Backend())
    with Serving(Starlette(routes=[Mount("/", app=app)], middleware=[login])) as server:
        reply = server.http.modern("tools/call", {"name": "who"}, x_user="ada")
        assert reply.result["structuredContent"] == {"user": "ada", "scopes": ["notes:read"]}
        assert server.http.modern_call("who").result["structuredContent"] == {"user": None}


class NameAlone(SimpleUser):
    """A user without an identity, as Starlette's own was up to 0.41."""

    @property
    def identity(self) -> str:
        raise NotImplementedError


def test_a_user_with_a_name_alone() -> None:
    """B12."""
    assert authenticated_user({"type": "http", "user": NameAlone("ada")}) == "ada"


def stating(app: Any, principal: Any) -> Any:
    """Return an app within an ASGI middleware that says who calls."""

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {"enfilade.principal": principal}}, receive, send)

    return middleware


@pytest.mark.parametrize("auth", [True, False])
def test_a_principal_of_a_middleware(auth: bool) -> None:
    """B12: it is a part of this process, and is believed, so that no token is asked for."""
    app = stating(make("https://mcp.example.com/mcp", auth=auth), Principal("eve", scopes=["a", "b"]))
    with Serving(app) as server:
        content = server.http.modern_call("who").result["structuredContent"]
        assert content == {"user": "eve", "scopes": ["a", "b"]}


def test_something_else_than_a_principal_is_a_failure_of_the_host() -> None:
    """B12: and it lets nobody in."""
    with Serving(stating(make("https://mcp.example.com/mcp"), "eve")) as server:
        assert server.http.modern_call("who").status == 500
