"""A server with a login of its own, in front of a provider: its tools say who calls.

    with ServerProcess(COMMAND, port=port, env=env(public_url, upstream)) as server:

Easy to get wrong: the callback. A provider sends browsers only to URLs that were registered, so a client of it is
registered for each public URL.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from enfilade import Context, MCPApp
from enfilade.auth import OAuth2, OAuthProxy
from support.authorization.document_server import DocumentServer, fetcher
from support.authorization.oidc_provider import OidcProvider
from support.servers.processes import enfilade_command, environment

COMMAND = enfilade_command("run", __file__, "--transport", "http", "--port", "{port}", "--log-level", "debug")
CLAIMS = "name", "preferred_username", "email"
SCOPE, MORE = "notes:read", "notes:write"
"""What every call needs, and what `write` needs besides."""


@dataclass(frozen=True)
class UpstreamClient:
    """The credentials of a server at a provider."""

    issuer: str
    client_id: str
    client_secret: str

    def provider(self) -> OAuth2:
        """Return the provider with these credentials."""
        return OAuth2.discover(self.issuer, id="upstream", title="Upstream").client(
            self.client_id, self.client_secret
        )


def register_at(provider: OidcProvider, public_url: str) -> UpstreamClient:
    """Register a server at a provider."""
    metadata = {
        "client_name": "the server",
        "redirect_uris": [f"{public_url}/oauth/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "application_type": "native",
        "token_endpoint_auth_method": "client_secret_basic",
    }
    answer = httpx.post(f"{provider.issuer}/reg", json=metadata).raise_for_status().json()
    return UpstreamClient(provider.issuer, answer["client_id"], answer["client_secret"])


def env(public_url: str, upstream: UpstreamClient, **options: Any) -> dict[str, str]:
    """Return the variables of a server.

    Args:
        options: of `OAuthProxy`, as far as JSON has them.
    """
    return environment(
        PUBLIC_URL=public_url, UPSTREAM=json.dumps(vars(upstream)), PROXY_OPTIONS=json.dumps(options)
    )


def with_documents(host: DocumentServer) -> dict[str, str]:
    """Return more variables, for a server that fetches documents from a host of the tests."""
    return {"DOCUMENTS": json.dumps({"port": host.port, "certificate": str(host.certificate)})}


def make_app(public_url: str, provider: OAuth2, store: Any = None, **options: Any) -> MCPApp:
    """Return the app.

    Args:
        provider: with the credentials of the server there.
        store: what keeps grants.
        options: of `OAuthProxy`.
    """
    auth = OAuthProxy(provider, public_url=public_url, **{"scopes": [SCOPE], "leeway": 0, **options})
    app = MCPApp("notes", title="Notes of Ada", auth=auth, **({} if store is None else {"store": store}))

    @app.tool
    def whoami(ctx: Context) -> dict[str, Any]:
        """Say who calls, and by which revision."""
        return caller(ctx)

    @app.tool(requires_scopes=[MORE])
    def write(ctx: Context) -> dict[str, Any]:
        """Say who may call this."""
        return caller(ctx)

    def caller(ctx: Context) -> dict[str, Any]:
        principal = ctx.principal
        assert principal is not None
        return {
            "user": ctx.user_id,
            "subject": principal.subject,
            "issuer": principal.issuer,
            "client": principal.client_id,
            "scopes": sorted(principal.scopes),
            "claims": {name: principal.claims[name] for name in CLAIMS if name in principal.claims},
            "revision": ctx.peer.revision,
        }

    return app


@contextmanager
def serving(provider: OidcProvider | OAuth2, **options: Any) -> Iterator[str]:
    """Serve the app in this process; yields its public URL.

    Args:
        provider: at which the server is registered, or else with its credentials.
        options: of `make_app`.
    """
    from support.harness import Serving  # which the server in a process of its own does without

    apps: list[Any] = []

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await apps[0](scope, receive, send)  # made when the port is known

    server = Serving(asgi)
    public_url = f"http://127.0.0.1:{server.port}"
    upstream = provider if isinstance(provider, OAuth2) else register_at(provider, public_url).provider()
    apps.append(make_app(public_url, upstream, **options))
    with server:
        yield public_url


if "PUBLIC_URL" in os.environ and "UPSTREAM" in os.environ:
    upstream = UpstreamClient(**json.loads(os.environ["UPSTREAM"]))
    options = json.loads(os.environ["PROXY_OPTIONS"])
    if "DOCUMENTS" in os.environ:
        options["_fetcher"] = fetcher(**json.loads(os.environ["DOCUMENTS"]))
    app = make_app(os.environ["PUBLIC_URL"], upstream.provider(), **options)
