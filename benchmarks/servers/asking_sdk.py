"""The official SDK with one tool that asks the user: `python asking_sdk.py PORT`."""

import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from pydantic import BaseModel

server = MCPServer("asking")


class Answer(BaseModel):
    """The form."""

    value: bool


@server.tool()
async def ask(ctx: Context) -> str:
    """Ask the user."""
    return (await ctx.elicit("Go on?", Answer)).action


if __name__ == "__main__":
    server.run("streamable-http", port=int(sys.argv[1]))
