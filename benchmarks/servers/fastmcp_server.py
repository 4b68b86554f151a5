"""FastMCP under load, on the web server of the limit.

    BENCH_JSON=1 python fastmcp_server.py PORT

`BENCH_JSON` lets it answer in JSON, which is its best mode; without it, it streams, which is its default. The
easy thing to get wrong is the log: at FastMCP's default level each request writes a line.
"""

import logging
import os
import sys

import uvicorn
from fastmcp import Context, FastMCP

logging.getLogger().setLevel(logging.WARNING)
server = FastMCP("bench")


async def echo(text: str) -> str:
    """Return the text."""
    return text


async def count(n: int, ctx: Context) -> int:
    """Count to n, and report each step as progress."""
    for number in range(1, n + 1):
        await ctx.report_progress(number, n)
    return n


for tool in (echo, count):
    server.tool(tool)

if __name__ == "__main__":
    uvicorn.run(
        server.http_app(json_response="BENCH_JSON" in os.environ),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
