"""Enfilade with one tool that asks the user: `python asking_enfilade.py PORT`."""

import sys

from enfilade import Context, MCPApp

app = MCPApp(name="asking")


@app.tool
async def ask(ctx: Context) -> str:
    """Ask the user."""
    return (await ctx.elicit("Go on?", bool)).action


if __name__ == "__main__":
    app.run("http", port=int(sys.argv[1]))
