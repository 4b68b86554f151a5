"""A first MCP server: three functions become three tools. Serve it with `make run`, or run this file: stdio."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from enfilade import Context, MCPApp

app = MCPApp(name="quickstart", version="1.0.0")


@app.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@dataclass
class Forecast:
    city: str
    celsius: float
    sky: str


@app.tool
def forecast(city: Annotated[str, "The city to look up"]) -> Forecast:
    """Say what the weather will be like tomorrow."""
    return Forecast(city=city, celsius=21.5, sky="clear")


@app.tool
async def countdown(start: Annotated[int, Field(ge=1, le=60)], ctx: Context) -> str:
    """Count down to zero, and let the client watch."""
    await ctx.log.info(f"Counting down from {start}")
    for passed in range(start):
        await ctx.progress.report(passed, total=start, message=f"T minus {start - passed}")
        await asyncio.sleep(0.1)
    return "Lift-off!"


if __name__ == "__main__":
    app.run()
