"""A server whose tools act for their callers at OAuth services of the tests.

    enfilade run tests/support/authorization/desk_server.py --transport http

`PROVIDERS` has the origins of the services by id, as JSON. With `ISSUER`, callers have tokens of that issuer for
`RESOURCE`, and can log in there; without, the only user is that of this machine.

Easy to get wrong: a tool that returns its token. What it tells is who the service takes the caller for, and a
digest of the token.
"""

import asyncio
import hashlib
import json
import os
import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from enfilade import Context, MCPApp, ToolError
from enfilade.auth import AuthorizationServer, OAuth2, ResourceServer
from support.authorization.oauth_service import AUTHORIZE, REVOKE, TOKEN, USERINFO, WHOAMI

CLIENT_ID, CLIENT_SECRET = "app", "s3cret-of-app"
SCOPE = "read"

#: Made once: to read the certificates of the system takes longer than a request.
TLS = ssl.create_default_context()


def provider_at(origin: str, id: str, **options: Any) -> OAuth2:
    """Return the service at an origin as a provider."""
    values = {"user_info_url": origin + USERINFO, "issuer": origin, "title": id.title(), **options}
    return OAuth2(id, origin + AUTHORIZE, origin + TOKEN, origin + REVOKE, **values)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def asked(origin: str, token: str) -> str:
    """Return whom a service takes the bearer of a token for."""
    async with httpx.AsyncClient(timeout=30, trust_env=False, verify=TLS) as client:
        response = await client.get(origin + WHOAMI, headers={"Authorization": f"Bearer {token}"})
        response.raise_for_status()
    return str(response.json()["login"])


def make_app(origins: Mapping[str, str], issuer: str | None = None, resource: str = "", **options: Any) -> MCPApp:
    """Return the app, with a few tools for each provider.

    Args:
        origins: the services by the ids of the providers.
        issuer: the authorization server of the endpoint; None for no authorization.
        resource: the URL of the endpoint, with authorization.
        options: others of `MCPApp`.
    """
    clients = [
        provider_at(origin, id).client(id=CLIENT_ID, secret=CLIENT_SECRET) for id, origin in origins.items()
    ]
    if issuer is not None:
        server = AuthorizationServer(issuer, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
        options = {"auth": ResourceServer(resource, [server]), **options}
    app = MCPApp("Desk", tool_auth=clients, **options)
    for client in clients:
        _add_tools(app, client, origins[client.id])
    requirements = [client(scopes=[SCOPE]) for client in clients]

    @app.tool(requires_auth=requirements)
    async def everywhere(ctx: Context) -> dict[str, str]:
        """Say who the caller is at every service."""
        return {id: await asked(origins[id], ctx.auth[id].token) for id in ctx.auth}

    @app.tool
    async def nothing(ctx: Context) -> str:
        """Look for a token without having asked for one."""
        return ctx.auth.token

    @app.tool(requires_auth=requirements[0])
    async def chain(tool: str, ctx: Context) -> dict[str, Any]:
        """Call another tool, and say who is who before and after it, and what is to be seen of its token."""
        origin = origins[clients[0].id]
        before = await asked(origin, ctx.auth.token)
        try:
            inner = await ctx.tools.call(tool, {})
        except ToolError as error:
            inner = f"error: {error}"
        after = await asked(origin, ctx.auth.token)
        return {"before": before, "inner": inner, "after": after, "providers": list(ctx.auth)}

    @app.tool
    async def exchanged(audience: str, ctx: Context) -> str:
        """Say whom the issuer takes the bearer of an exchanged token for."""
        return await asked(str(issuer), await ctx.token_for(audience, scopes=[SCOPE]))

    return app


def _add_tools(app: MCPApp, provider: OAuth2, origin: str) -> None:
    id = provider.id
    needed = provider(scopes=[SCOPE])

    @app.tool(name=f"whoami_{id}", requires_auth=needed)
    async def whoami(ctx: Context, pause: float = 0.0) -> str:
        """Say whom the service takes the caller for."""
        await asyncio.sleep(pause)
        return await asked(origin, ctx.auth.token)

    @app.tool(name=f"digest_{id}", requires_auth=needed)
    async def token_digest(ctx: Context) -> str:
        """Return a digest of the token."""
        return digest(ctx.auth.token)

    @app.tool(name=f"write_{id}", requires_auth=provider(scopes=["write"]))
    async def write(ctx: Context) -> str:
        """Need another scope."""
        return " ".join(sorted(ctx.auth.scopes))

    @app.tool(name=f"reject_{id}", requires_auth=needed)
    async def reject(ctx: Context, told: bool = False) -> str:
        """Say that the token is bad, whatever it is."""
        if told:
            await ctx.log.info("something")
        raise ctx.auth.rejected()

    @app.tool(name=f"revoke_{id}", requires_auth=needed)
    async def revoke(ctx: Context) -> str:
        """Take the consent back."""
        await ctx.auth.revoke()
        return "revoked"

    @app.tool(name=f"fail_{id}", requires_auth=needed)
    async def fail(kind: str, ctx: Context) -> str:
        """Put the token where it must not come out."""
        token = ctx.auth.token
        match kind:
            case "text":
                raise RuntimeError(f"the token {token} is bad")
            case "told":
                raise ToolError(f"the token {token} is bad", meta={"token": token})
            case "log":
                await ctx.log.info(f"the token is {token}")
            case "progress":
                await ctx.progress.report(1, message=f"the token is {token}")
            case "repr":
                return f"{ctx.auth!r} {ctx.auth[id]!r} {ctx!r} {ctx.auth.rejected()!r}"
            case "group":
                raise ExceptionGroup(token, [ValueError(token)])
            case "cause":
                try:
                    raise KeyError(token)
                except KeyError as error:
                    raise ValueError("x") from error
        return "nothing"


if "PROVIDERS" in os.environ:
    app = make_app(json.loads(os.environ["PROVIDERS"]), os.environ.get("ISSUER"), os.environ.get("RESOURCE", ""))
