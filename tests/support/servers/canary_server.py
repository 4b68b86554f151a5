"""A protected server in which whatever can fail fails with a credential at hand, for tests that look for it.

The URL of its authorization server is in the environment variable `ISSUER`.
"""

import logging
import os
from typing import Any

from enfilade import Context, MCPApp, ToolError
from enfilade.auth import APIKeys, AuthorizationServer, Introspection, Principal, ResourceServer
from enfilade.auth.api_keys import hash_key
from enfilade.auth.errors import InvalidTokenError, ServerUnavailableError
from enfilade.serving.dispatcher import MethodHandler
from enfilade.serving.request import Request
from enfilade.wire.message import Message

RESOURCE = "https://mcp.example.com/mcp"
API_KEY = "canary-of-the-api-key-6Zr8"
CLIENT_SECRET = "canary-of-the-client-secret-4Xw2"

issuer = os.environ.get("ISSUER", "http://127.0.0.1:9")


class Failing:
    """A verifier whose every exception has the token in its text."""

    async def verify_token(self, token: str) -> Any:
        """Fail in the way that the beginning of the token names."""
        kind = token.partition("-")[0]
        if kind == "raises":
            raise ValueError(f"cannot read {token!r}") from KeyError(token)
        if kind == "group":
            raise ExceptionGroup(f"about {token}", [OSError(token)])
        if kind == "refuses":
            raise InvalidTokenError(f'not "{token}"\r\nset-cookie: a=b')
        if kind == "away":
            raise ServerUnavailableError(f"http://127.0.0.1:9/?token={token}")
        if kind == "wrong":
            return {"token": token}
        return None


app = MCPApp(
    "Canaries",
    auth=ResourceServer(
        RESOURCE,
        [AuthorizationServer(issuer)],
        verifiers=[
            APIKeys({hash_key(API_KEY): Principal("ci")}, header="X-API-Key"),
            Failing(),
            Introspection(f"{issuer}/introspect", "notes", CLIENT_SECRET),
        ],
    ),
)


@app.add_middleware
async def failing(request: Request, call_next: MethodHandler) -> Message:
    """Fail for one prompt, with the token in a variable and in the text."""
    if getattr(request.params, "name", None) == "in middleware":
        raise RuntimeError(token_of(request.principal))
    return await call_next(request)


def token_of(principal: Principal | None) -> str:
    """Return the token of whoever calls; of an API key there is none."""
    held = None if principal is None else principal.access_token
    return "" if held is None else held.get_secret_value()


@app.tool
async def fail(kind: str, ctx: Context) -> str:
    """Fail, or tell what a handler can see."""
    token, hidden = token_of(ctx.principal), ctx.principal and ctx.principal.access_token
    if kind == "locals":
        raise RuntimeError(f"{ctx.principal!r} with {hidden!r}")
    if kind == "text":
        raise RuntimeError(f"upstream said no to {token}") from KeyError(token)
    if kind == "told":
        raise ToolError(f"upstream said no to {token}")
    logging.getLogger("mine").warning("%r %s %r", ctx.principal, hidden, ctx.http)
    assert ctx.http is not None
    return f"{ctx.principal!r} {hidden} {ctx.http!r} {ctx.http.url} {dict(ctx.http.headers)} {ctx.peer!r}"


@app.tool
def fail_in_a_thread(ctx: Context) -> str:
    """Fail, in a thread."""
    raise RuntimeError(token_of(ctx.principal))


@app.prompt
def failing_prompt(ctx: Context) -> str:
    """Fail."""
    raise RuntimeError(token_of(ctx.principal))


@app.resource("canary://failing")
def failing_resource(ctx: Context) -> str:
    """Fail."""
    raise RuntimeError(token_of(ctx.principal))
