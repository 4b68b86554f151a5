"""Notes of users who log in at a provider that registers no clients: the server is the authorization server."""

import os
from collections import defaultdict

from enfilade import Context, MCPApp, ToolError
from enfilade.auth import OAuth2, OAuthProxy, ProviderUser

#: Under which clients reach the server. The callback at the provider is below it: /oauth/callback.
PUBLIC_URL = os.environ.get("PUBLIC_URL", "http://127.0.0.1:8000")
#: The provider: by default that of issuer.py. A real one is a preset, as GitHub.client(id="…", secret="…").
ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:9000")

provider = OAuth2(
    "example", f"{ISSUER}/authorize", f"{ISSUER}/token", title="Example Accounts", user_info_url=f"{ISSUER}/user"
)


def is_member(user: ProviderUser) -> bool:
    """Say who may log in. Without this everybody may who has an account at the provider."""
    return user.info.get("team") == "notes"


app = MCPApp(
    name="oauth_proxy",
    version="1.0.0",
    title="Notes",
    auth=OAuthProxy(
        provider.client("notes", "the-secret-of-notes"),
        public_url=PUBLIC_URL,
        scopes=["notes:read"],
        scope_texts={"notes:read": "read your notes", "notes:write": "write notes in your name"},
        allow=is_member,
    ),
)

NOTES: dict[str, dict[str, str]] = defaultdict(dict)
"""The notes by principal, and by title."""


def notes_of(ctx: Context) -> dict[str, str]:
    """Return the notes of who calls."""
    return NOTES[ctx.principal.key if ctx.principal else "local user"]


@app.tool
def whoami(ctx: Context) -> str:
    """Say who calls, as the provider says."""
    if ctx.principal is None:
        return "the local user"
    return f"{ctx.principal.claims['name']} ({ctx.principal.subject})"


@app.tool
def read_note(title: str, ctx: Context) -> str:
    """Read a note."""
    notes = notes_of(ctx)
    if title not in notes:
        raise ToolError(f"You have no note {title!r}, but {len(notes)} others.")
    return notes[title]


@app.tool(requires_scopes=["notes:write"])
def write_note(title: str, text: str, ctx: Context) -> str:
    """Write a note. That needs a scope more than the server demands of everybody."""
    notes_of(ctx)[title] = text
    return f"{title} was written."


if __name__ == "__main__":
    app.run()
