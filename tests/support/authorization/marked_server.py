"""A protected server whose every answer says for whom it was made, and principals that are easily mixed up.

Each principal has a number. What a client sends carries `mark-N-…` with the number of its principal, and what the
server says carries `holder-N-` with the number of the principal that the handler sees. So a mix-up is a number in
the wrong place.

Easy to get wrong: who the principals are is written down here, and a handler tells them apart by what their
tokens say, not by the server's own keys. So a server that takes two of them for one is found out.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from enfilade import Context, MCPApp
from enfilade.auth import APIKeys, Principal, ResourceServer
from enfilade.auth.api_keys import hash_key
from enfilade.serving.subscriptions import updated
from enfilade.testing.issuer import Issuer

RESOURCE = "https://mcp.example.com/mcp"
#: Seconds: tokens are made before the first test of a run, which may take more than an hour.
DAY = 86_400
NUMBERS = re.compile(r"(?:mark|holder)-(\d+)-")


@dataclass
class Note:
    """What is asked for."""

    note: str


@dataclass
class OpaqueToken:
    """What a verifier of a user returns: an access token as FastMCP has it."""

    token: str
    client_id: str
    scopes: list[str]
    claims: dict[str, Any]


class OpaqueTokens:
    """A verifier of tokens that are no JSON Web Tokens."""

    async def verify_token(self, token: str) -> OpaqueToken | None:
        """Return the client of a token `opaque-CLIENT`, which acts for itself at an issuer of its own."""
        kind, _, client = token.partition("-")
        return OpaqueToken(token, client, [], {"iss": "https://opaque.test"}) if kind == "opaque" else None


one = Issuer("https://one.test", audience=RESOURCE)
other = Issuer("https://other.test", audience=RESOURCE)

#: Who calls: the key that it must have, and the headers that say so.
WHO: list[tuple[str, dict[str, str]]] = [
    ('["https://one.test","ada"]', {"authorization": f"Bearer {one.token('ada', expires_in=DAY)}"}),
    ('["https://one.test","bob"]', {"authorization": f"Bearer {one.token('bob', expires_in=DAY)}"}),
    ('["https://other.test","ada"]', {"authorization": f"Bearer {other.token('ada', expires_in=DAY)}"}),
    (
        '["https://one.test","ada","client"]',
        # With the `sub` of the first one, as client credentials have it (RFC 9068 §2.2).
        {"authorization": f"Bearer {one.token(None, client_id='ada', expires_in=DAY)}"},
    ),
    ('[null,"ada","APIKeys"]', {"authorization": "Bearer key-of-ada"}),
    ('[null,"bob","APIKeys"]', {"x-api-key": "key-of-bob"}),
    ('["https://opaque.test","ada","client"]', {"authorization": "Bearer opaque-ada"}),
    # The first one again, with another client and token: the sessions of a user are one user's.
    (
        '["https://one.test","ada"]',
        {"authorization": f"Bearer {one.token('ada', client_id='another', expires_in=DAY)}"},
    ),
]
KEYS = list(dict.fromkeys(key for key, _ in WHO))
#: The place in `KEYS` of each principal, by its issuer, its subject and whether that is a user of the issuer.
NUMBERED: dict[tuple[str | None, str, bool], int] = {
    ("https://one.test", "ada", True): 0,
    ("https://one.test", "bob", True): 1,
    ("https://other.test", "ada", True): 2,
    ("https://one.test", "ada", False): 3,
    (None, "ada", False): 4,
    (None, "bob", False): 5,
    ("https://opaque.test", "ada", False): 6,
}


def auth() -> ResourceServer:
    """Return who is let in."""
    keys = {hash_key(f"key-of-{name}"): Principal(name) for name in ("ada", "bob")}
    return ResourceServer(
        RESOURCE, [one.server(), other.server()], verifiers=[APIKeys(keys, header="X-API-Key"), OpaqueTokens()]
    )


def holder(ctx: Context) -> str:
    """Return the mark of who calls, as the handler sees it."""
    assert ctx.principal is not None
    claims = ctx.principal.claims
    is_user = "sub" in claims and claims.get("client_id") != claims["sub"]
    return f"holder-{NUMBERED[ctx.principal.issuer, ctx.principal.subject, is_user]}-"


def add_tools(app: MCPApp, gate: Callable[[str], asyncio.Event]) -> None:
    """Give an app the tools whose answers are marked; `gate` returns what a call of `tell` waits for."""

    @app.tool
    async def tell(mark: str, ctx: Context, hold: bool = False) -> str:
        """Say something before and after a gate."""
        await ctx.log.info(f"{mark}first {holder(ctx)}")
        if hold:
            await gate(mark).wait()
        await ctx.log.info(f"{mark}second {holder(ctx)}")
        return f"{mark}done {holder(ctx)}"

    @app.tool
    async def inquire(mark: str, ctx: Context) -> str:
        """Ask for a note, after something that happens once."""
        before = await ctx.once("before", lambda: f"{mark}once {holder(ctx)}")
        answer = await ctx.elicit(f"{mark}? {holder(ctx)}", Note)
        return f"{before} {answer.data.note} {holder(ctx)}"

    @app.tool
    async def remember(mark: str, ctx: Context) -> str:
        """Say what was remembered, and remember something else."""
        before = await ctx.state.get("last", "")
        await ctx.state.set("last", mark)
        every = await ctx.state.update("every", lambda known: [*known, mark], default=[])
        return f"{before} {' '.join(every)} {holder(ctx)}"

    @app.tool
    def touch(uri: str) -> str:
        """Announce that a resource has changed."""
        app.changes.announce(updated(uri))
        return uri

    @app.resource("note://{mark}")
    def note(mark: str, ctx: Context) -> str:
        """Return a note."""
        return f"{mark} {holder(ctx)}"
