"""Notes of several users: who calls must have a token of the authorization server, and sees only their own."""

import os
from collections import defaultdict

from enfilade import Context, MCPApp, ToolError
from enfilade.auth import ResourceServer

#: The public URL of the endpoint. Tokens must be made for it.
RESOURCE = os.environ.get("RESOURCE", "http://127.0.0.1:8000/mcp")
#: The authorization server: by default that of issuer.py.
ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:9000")

app = MCPApp(
    name="resource_server",
    version="1.0.0",
    auth=ResourceServer(
        RESOURCE, [ISSUER], scopes=["notes:read"], scope_hierarchy={"notes:write": ["notes:read"]}
    ),
)

NOTES: dict[str, dict[str, str]] = defaultdict(dict)
"""The notes by principal, and by title."""


def notes_of(ctx: Context) -> dict[str, str]:
    """Return the notes of who calls. Over stdio nobody is asked for a token: they are those of the local user."""
    return NOTES[ctx.principal.key if ctx.principal else "local user"]


@app.tool
def whoami(ctx: Context) -> str:
    """Say who calls, as the token says."""
    return ctx.principal.subject if ctx.principal else "the local user"


@app.tool
def read_note(title: str, ctx: Context) -> str:
    """Read a note. Every caller has the scope for it, since the server itself demands it."""
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
