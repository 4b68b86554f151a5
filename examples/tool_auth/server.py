"""Notes that each user keeps at another service, Notebox: the tools act there for the user who calls them."""

import os
from typing import Any
from urllib.parse import quote

import httpx

from enfilade import Context, MCPApp
from enfilade.auth import OAuth2

#: Where Notebox is: by default that of provider.py.
NOTEBOX = os.environ.get("NOTEBOX", "http://127.0.0.1:9000")

notebox = OAuth2(
    "notebox",
    f"{NOTEBOX}/authorize",
    f"{NOTEBOX}/token",
    f"{NOTEBOX}/revoke",
    title="Notebox",
    issuer=NOTEBOX,
    user_info_url=f"{NOTEBOX}/me",
    scope_texts={"notes:read": "read your notes", "notes:write": "write and replace notes"},
)

app = MCPApp(
    name="tool_auth",
    version="1.0.0",
    title="Notes",
    # The client that provider.py knows. Write notebox.client() for a real one, whose id and secret are in
    # ENFILADE_AUTH_NOTEBOX_CLIENT_ID and ENFILADE_AUTH_NOTEBOX_CLIENT_SECRET.
    tool_auth=[notebox.client(id="notes-server", secret="for-this-machine-alone")],
    # Consent outlives the process. ENFILADE_STORE can name another store, such as redis://localhost:6379/0.
    store="sqlite:///state.db",
)


async def ask_notebox(ctx: Context, method: str, path: str, text: str | None = None) -> Any:
    """Make a request to Notebox with the token of the user.

    Raises:
        httpx.HTTPStatusError: it is refused; nothing has to catch it, since the server explains it to the model.
    """
    async with httpx.AsyncClient(base_url=NOTEBOX, timeout=10) as client:
        headers = {"Authorization": f"Bearer {ctx.auth.token}"}
        response = await client.request(method, path, content=text, headers=headers)
        return response.raise_for_status().json()


@app.tool(requires_auth=notebox)
def whoami(ctx: Context) -> str:
    """Say who the user is at Notebox, and what they have granted."""
    return f"{ctx.auth.user_info['name']}: {' '.join(ctx.auth.scopes) or 'nothing more'}"


@app.tool(requires_auth=notebox(scopes=["notes:read"]))
async def list_notes(ctx: Context) -> str:
    """List the titles of the user's notes."""
    return ", ".join(await ask_notebox(ctx, "GET", "/notes"))


@app.tool(requires_auth=notebox(scopes=["notes:read", "notes:write"]))
async def write_note(title: str, text: str, ctx: Context) -> str:
    """Write a note. A user who has granted less is asked for the rest."""
    written = await ask_notebox(ctx, "PUT", f"/notes/{quote(title, safe='')}", text)
    return f"{written['title']} was written."


@app.tool(requires_auth=notebox)
async def disconnect(ctx: Context) -> str:
    """Give the user's consent back: the tokens are revoked at Notebox, and forgotten here."""
    await ctx.auth.revoke()
    return "There is no access to Notebox any more."


if __name__ == "__main__":
    app.run()
