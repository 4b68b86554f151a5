"""A web application of its own right, with an MCP server inside that works on the same data."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException

from enfilade import MCPApp, ToolError

mcp = MCPApp(name="inside_fastapi", version="1.0.0")

prices = {"tea": 3.5, "coffee": 4.0}


@mcp.tool
def price(item: str) -> float:
    """Say what something costs."""
    if item not in prices:
        raise ToolError(f"There is no {item}. There are {', '.join(prices)}.")
    return prices[item]


@mcp.tool
def set_price(item: str, amount: float) -> str:
    """Change what something costs."""
    prices[item] = amount
    return f"{item}: {amount}"


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with mcp.running():  # what the MCP server has opened is put away with the rest
        yield


web = FastAPI(title="Prices", lifespan=lifespan)
web.router.routes.append(mcp.host_route())


@web.get("/prices/{item}")
def read_price(item: str) -> dict[str, float]:
    """The same price, for people with a browser."""
    if item not in prices:
        raise HTTPException(404, f"there is no {item}")
    return {item: prices[item]}


if __name__ == "__main__":
    mcp.run()
