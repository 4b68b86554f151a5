"""A server for slow clients: its tools answer at once, one of them with more than any socket takes unread."""

import sys

from enfilade import MCPApp

LARGE = 8 * 1024 * 1024

app = MCPApp("slow")


@app.tool
async def echo(text: str) -> str:
    """Return the text."""
    return text


@app.tool
async def large() -> str:
    """Return a lot of text."""
    return "x" * LARGE


if __name__ == "__main__":
    app.run(transport="http", port=int(sys.argv[1]))
