"""The official Python SDK under load, on the web server of the limit.

    BENCH_JSON=1 python sdk_server.py PORT

`BENCH_JSON` lets it answer in JSON, which is its best mode; without it, it streams, which is its default. The
easy thing to get wrong is the log: at the SDK's default level each request writes a line.
"""

import os
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("bench", log_level="WARNING")


@server.tool()
async def echo(text: str) -> str:
    """Return the text."""
    return text


@server.tool()
def echo_sync(text: str) -> str:
    """Return the text, from a thread."""
    return text


@server.tool()
async def count(n: int, ctx: Context) -> int:
    """Count to n, and report each step as progress."""
    for number in range(1, n + 1):
        await ctx.report_progress(number, n)
    return n


if __name__ == "__main__":
    uvicorn.run(
        server.streamable_http_app(json_response="BENCH_JSON" in os.environ),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
