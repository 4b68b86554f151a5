"""The server that every client in this folder is driven against: one tool for each thing a client can observe.

`meet` is the easy one to get wrong: it returns only when two calls are inside it at once, so a server (or a
client) that runs calls one after the other cannot pass, and no test has to look at a clock. As the two may be in
different workers, they meet in a folder.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from enfilade import Context, MCPApp, ToolError

app = MCPApp(name="client-tests", version="1.2.3")

MEETING_TIMEOUT = 20.0
"""Seconds after which a lonely `meet` gives up, so that its failure is a result and not a hang."""

PAUSE = 0.01
"""Seconds between the last notification of a tool and its result: the TypeScript clients lose progress that they
read in one chunk with the result, as happens over stdio, whatever server sent it."""

ALONE = tempfile.TemporaryDirectory()
MEETING = Path(os.environ.get("MEETING") or ALONE.name)
"""Where calls meet: workers are told of a folder for all of them."""


@dataclass
class Place:
    city: str
    latitude: float
    longitude: float
    aliases: list[str]


@app.tool
def add(a: int, b: int) -> int:
    """Add two integers."""
    return a + b


@app.tool
def greet(name: str) -> str:
    """Greet somebody by name, whatever letters it is written in."""
    return f"Hello, {name}!"


@app.tool
def locate(city: str) -> Place:
    """Say where a city is."""
    return Place(city=city, latitude=56.95, longitude=24.11, aliases=["Rīga", "Рига"])


@app.tool
def fail(reason: str) -> str:
    """Fail in a way that the model should read about."""
    raise ToolError(f"This tool failed: {reason}")


@app.tool
async def climb(steps: int, ctx: Context) -> str:
    """Report progress once for each step."""
    for step in range(1, steps + 1):
        await ctx.progress.report(step, total=steps, message=f"step {step}")
        await asyncio.sleep(PAUSE)
    return f"climbed {steps}"


@app.tool
async def chatter(ctx: Context) -> str:
    """Log one message at each of four levels."""
    await ctx.log.debug("too quiet to be heard")
    await ctx.log.info("kettle on")
    await ctx.log.warning("kettle boiling")
    await ctx.log.error("kettle dry")
    await asyncio.sleep(PAUSE)
    return "logged"


async def meeting() -> None:
    """Take the next number, and wait for whoever takes the one that makes a pair with it."""
    for number in itertools.count():
        with contextlib.suppress(FileExistsError):
            (MEETING / str(number)).touch(exist_ok=False)
            break
    while not (MEETING / str(number ^ 1)).exists():
        await asyncio.sleep(PAUSE)


@app.tool
async def meet(name: str, ctx: Context) -> str:
    """Wait until a second call has come in too."""
    await ctx.progress.report(1, total=2, message=f"{name} waits")
    async with asyncio.timeout(MEETING_TIMEOUT):
        await meeting()
    await ctx.progress.report(2, total=2, message=f"{name} met")
    await asyncio.sleep(PAUSE)
    return f"{name} done"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, help="serve Streamable HTTP on 127.0.0.1; without it, stdio")
    port: int | None = parser.parse_args().port
    if port is None:
        app.run()
    else:
        app.run(transport="http", host="127.0.0.1", port=port, path="/mcp")
