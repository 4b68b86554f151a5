"""A server for bound tokens: `python bound_server.py PORT`, with `ISSUER` and `DPOP` in the environment."""

import os
import sys
from pathlib import Path
from typing import Any

from enfilade import Context, MCPApp
from enfilade.auth import ResourceServer
from enfilade.settings import Settings

FILE = Path(__file__)
RESOURCE = "https://mcp.example.com/mcp"


def make_app(servers: Any, *, settings: Settings | None = None, **options: Any) -> MCPApp:
    """Return the server."""
    auth = ResourceServer(RESOURCE, servers, scopes=["notes:read"], **options)
    app = MCPApp("Notes", auth=auth, settings=settings)

    @app.tool
    async def who(ctx: Context) -> dict[str, Any]:
        """Return who calls."""
        return {"user": ctx.user_id}

    return app


if __name__ == "__main__":
    dpop: Any = os.environ.get("DPOP", "allowed")
    make_app([os.environ["ISSUER"]], dpop=dpop, dpop_nonce=dpop == "required").run("http", port=int(sys.argv[1]))
