"""A shop whose tools are quick, slow, failing and limited: something to look at on a dashboard.

ENFILADE_METRICS_PORT=9464 enfilade run server.py --transport http
"""

import asyncio
import random

from enfilade import MCPApp, ToolError

app = MCPApp(name="Shop", version="1.0.0", metrics=True)

STOCK = {"tea": 12, "coffee": 0, "cake": 3}


@app.tool
async def stock(item: str) -> int:
    """Say how many of an item there are."""
    return STOCK.get(item, 0)


@app.tool
async def search(text: str) -> list[str]:
    """Find items, sometimes slowly."""
    await asyncio.sleep(random.expovariate(5))
    return [item for item in STOCK if text in item]


@app.tool
async def order(item: str, count: int = 1) -> str:
    """Order an item."""
    if STOCK.get(item, 0) < count:
        raise ToolError(f"there is not enough {item}; order something else")
    return f"{count} {item} ordered"


@app.tool(rate_limit="60/minute", on_limit="refuse")
async def report() -> dict[str, int]:
    """Report the whole stock, once a second."""
    return STOCK


if __name__ == "__main__":
    app.run()
