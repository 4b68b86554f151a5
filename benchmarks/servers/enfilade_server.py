"""Enfilade under load: the tool that the environment names, and as many others as it asks for.

    BENCH_TOOL=echo BENCH_OTHERS=99 enfilade run enfilade_server.py --transport http

It is served as users serve it, with every default but one: no server here writes a line for each request, so its
log begins at warnings. The easy thing to get wrong is what else is registered: a
row measures one tool, so nothing else is there unless the row is about that: no other tool, and no library that
only another tool, or a server that wants tokens, needs.
"""

import os
import time
from collections.abc import Callable
from typing import Any

from enfilade import Context, MCPApp

if "BENCH_KEYS" in os.environ:
    from enfilade_authorization import resource_server  # with httpx and joserfc

    app = MCPApp(name="bench", auth=resource_server())
else:
    app = MCPApp(name="bench")


async def echo(text: str) -> str:
    """Return the text."""
    return text


def echo_sync(text: str) -> str:
    """Return the text, from a thread."""
    return text


def block(seconds: float) -> float:
    """Block a thread."""
    time.sleep(seconds)
    return seconds


async def count(n: int, ctx: Context) -> int:
    """Count to n, and report each step as progress."""
    for number in range(1, n + 1):
        await ctx.progress.report(number, total=n)
    return n


async def tell(n: int, ctx: Context) -> int:
    """Count to n, and say each number in the client's log."""
    for number in range(1, n + 1):
        await ctx.log.info(str(number))
    return n


async def change() -> str:
    """Add a tool and remove it, so that the list of tools has changed."""
    app.add_tool(echo, name="another")
    app.remove_tool("another")
    return "changed"


TOOLS: dict[str, Callable[..., Any]] = {
    tool.__name__: tool for tool in (echo, echo_sync, block, count, tell, change)
}

if (wanted := os.environ.get("BENCH_TOOL", "echo")) == "order":
    from enfilade_order import order  # with pydantic

    TOOLS["order"] = order

app.tool(TOOLS[wanted])
for number in range(int(os.environ.get("BENCH_OTHERS", "0"))):
    app.tool(name=f"echo_{number}")(echo)

if __name__ == "__main__":
    app.run("http", port=int(os.environ["BENCH_PORT"]))
