"""FastMCP with one tool that asks the user: `python asking_fastmcp.py PORT`."""

import sys

from fastmcp import Context, FastMCP

server = FastMCP("asking")


async def ask(ctx: Context) -> str:
    """Ask the user."""
    return str((await ctx.elicit("Go on?", response_type=bool)).action)


server.tool(ask)

if __name__ == "__main__":
    server.run("http", port=int(sys.argv[1]), show_banner=False)
