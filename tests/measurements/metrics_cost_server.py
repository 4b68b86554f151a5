"""A server with one plain tool, for `metrics_cost.py`."""

import sys

from enfilade import MCPApp

app = MCPApp("cost")


@app.tool
async def echo(text: str) -> str:
    """Return the text."""
    return text


if __name__ == "__main__":
    app.run("http", port=int(sys.argv[1]))
