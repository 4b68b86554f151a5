"""arcade-mcp-server with one tool that asks the user: `python asking_arcade.py PORT`."""

import sys
from typing import Annotated

from arcade_mcp_server import Context, MCPApp

app = MCPApp(name="asking", version="1.0.0")
FORM = {"type": "object", "properties": {"value": {"type": "boolean"}}}


async def ask(ctx: Context) -> Annotated[str, "What the user did"]:
    """Ask the user."""
    return str((await ctx.ui.elicit("Go on?", schema=FORM)).action)


app.tool(ask)

if __name__ == "__main__":
    app.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]))
