"""A server whose tool acts for the user of this machine, as one of several: `python consent_server.py 8000`.

`CONSENT_PROVIDER` is the provider, and `CONSENT_PUBLIC` the URL of all processes together.
"""

import os
import sys

import httpx

from enfilade import Context, MCPApp
from enfilade.auth import OAuth2
from enfilade.timings import Timings

origin = os.environ["CONSENT_PROVIDER"]
corp = OAuth2("corp", f"{origin}/authorize", f"{origin}/token", f"{origin}/revoke", title="Corp")
app = MCPApp(
    "Files",
    tool_auth=[corp.client(id="enfilade", secret="client-secret-of-the-tests")],
    public_url=os.environ["CONSENT_PUBLIC"],
)
app._timings = Timings(code_redemption=2.0, token_refresh=2.0)


@app.tool(requires_auth=corp(scopes=["read"]))
async def whoami(ctx: Context) -> str:
    """Ask the service who its token is of."""
    async with httpx.AsyncClient() as client:
        headers = {"Authorization": f"Bearer {ctx.auth.token}"}
        response = await client.get(f"{origin}/api/whoami", headers=headers)
    response.raise_for_status()
    return str(response.json()["login"])


@app.tool(requires_auth=corp)
async def forget(ctx: Context) -> str:
    """Revoke the token."""
    await ctx.auth.revoke()
    return "forgotten"


if __name__ == "__main__":
    app.run("http", port=int(sys.argv[1]))
