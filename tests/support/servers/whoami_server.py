"""A server that clients log in to: its tools say who calls, and one of them needs a scope of its own.

    with ServerProcess(COMMAND, port=port, env=env(resource, issuer)) as server:

Easy to get wrong: there is no leeway. Tokens of tests live for seconds, and one that has expired is refused.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from enfilade import Context, MCPApp
from enfilade.auth import AuthorizationServer, ResourceServer
from support.servers.processes import enfilade_command, environment

COMMAND = enfilade_command("run", __file__, "--transport", "http", "--port", "{port}", "--log-level", "debug")
SCOPE, MORE = "notes:read", "notes:write"
"""What every call needs, and what `write` needs besides."""


def env(resource: str, issuer: str) -> dict[str, str]:
    """Return the variables of a server.

    Args:
        resource: the URL of the endpoint, which tokens are for.
        issuer: whose tokens are accepted.
    """
    return environment(RESOURCE=resource, ISSUER=issuer)


def make_app(resource: str, issuer: str | AuthorizationServer) -> MCPApp:
    app = MCPApp("protected", auth=ResourceServer(resource, [issuer], scopes=[SCOPE], leeway=0))

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
            "client": principal.client_id,
            "scopes": sorted(principal.scopes),
            "revision": ctx.peer.revision,
        }

    return app


@contextmanager
def serving(issuer: str | AuthorizationServer, wrap: Callable[[Any], Any] = lambda app: app) -> Iterator[str]:
    """Serve the app in this process; yields its URL, which is the resource.

    Args:
        issuer: whose tokens are accepted.
        wrap: puts something around the app.
    """
    from support.harness import Serving  # which the server in a process of its own does without

    apps: list[Any] = []

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await apps[0](scope, receive, send)  # made when the port is known

    server = Serving(asgi)
    url = f"http://127.0.0.1:{server.port}/mcp"
    apps.append(wrap(make_app(url, issuer)))
    with server:
        yield url


if "RESOURCE" in os.environ:
    app = make_app(os.environ["RESOURCE"], os.environ["ISSUER"])
