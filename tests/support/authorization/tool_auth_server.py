"""A server over stdio whose tool acts for the user of this machine: `python tool_auth_server.py PROVIDER`."""

import sys

import httpx

from enfilade import Context, MCPApp
from enfilade.auth import OAuth2

origin = sys.argv[1]
corp = OAuth2("corp", f"{origin}/authorize", f"{origin}/token", title="Corp")
app = MCPApp("Files", tool_auth=[corp.client(id="enfilade", secret="client-secret-of-the-tests")])


@app.tool(requires_auth=corp(scopes=["read"]))
async def whoami(ctx: Context) -> str:
    """Ask the service who its token is of."""
    async with httpx.AsyncClient() as client:
        headers = {"Authorization": f"Bearer {ctx.auth.token}"}
        response = await client.get(f"{origin}/api/whoami", headers=headers)
    response.raise_for_status()
    return str(response.json()["login"])


if __name__ == "__main__":
    app.run()
