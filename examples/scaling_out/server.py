"""A server of which any number may run: what one of them begins, any other can go on with."""

import asyncio
import os
import socket

from enfilade import Context, MCPApp

app = MCPApp(name="scaling_out", version="1.0.0")


@app.tool
def served_by() -> str:
    """Say which process of which machine served this call."""
    return f"{socket.gethostname()}/{os.getpid()}"


@app.tool
async def brew(cups: int, ctx: Context) -> str:
    """Ask how the tea should be, and brew it. The answer may arrive at another server than the one that asked."""
    answer = await ctx.elicit(f"Milk in {cups} cups?", bool)
    milk = bool(answer.accepted and answer.data)
    for cup in range(cups):
        await ctx.progress.report(cup, cups, f"cup {cup + 1} is brewing")
        await asyncio.sleep(0.05)
    await ctx.progress.report(cups, cups, "all done")
    return f"{cups} cups {'with' if milk else 'without'} milk"


@app.tool
async def steep(seconds: float, ctx: Context) -> str:
    """Let the tea stand. The client need not wait: it comes back for the result, to whichever server."""
    ctx.close_stream(retry=0.1)
    await asyncio.sleep(seconds)
    return f"steeped for {seconds:g} seconds"


if __name__ == "__main__":
    app.run()
