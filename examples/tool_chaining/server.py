"""A server whose tools call each other, past the same checks as a client's call."""

import asyncio
from dataclasses import dataclass

from enfilade import Context, MCPApp, ToolError

app = MCPApp(name="tool-chaining", version="1.0.0")

PLACES = {"Lisbon": (38.7, -9.1), "Oslo": (59.9, 10.8), "Ulm": (48.4, 10.0)}


@dataclass
class Place:
    city: str
    latitude: float
    longitude: float


@app.tool
def locate(city: str) -> Place:
    """Say where a city is."""
    if city not in PLACES:
        raise ToolError(f"I do not know {city}. I know {', '.join(PLACES)}.")
    return Place(city, *PLACES[city])


@app.tool
async def temperature(latitude: float, longitude: float) -> float:
    """Say how warm it is somewhere, in degrees Celsius."""
    return round(30 - abs(latitude - 23.5) / 2, 1)


@app.tool
async def warmth(city: str, ctx: Context) -> float:
    """Say how warm it is in a city. What a tool returns comes back as it would in JSON: a dict, a number."""
    place = await ctx.tools.call("locate", {"city": city})
    degrees: float = await ctx.tools.call(
        "temperature", {"latitude": place["latitude"], "longitude": place["longitude"]}
    )
    return degrees


@app.tool
async def compare(cities: list[str], ctx: Context) -> str:
    """Say which city is the warmest; the others are asked for at the same time."""
    degrees = await asyncio.gather(*(ctx.tools.call("warmth", {"city": city}) for city in cities))
    return max(zip(degrees, cities, strict=True))[1]


@app.tool
async def known(city: str, ctx: Context) -> bool:
    """Say whether a city is known. `call` raises what a tool raises; `call_raw` returns it."""
    result = await ctx.tools.call_raw("locate", {"city": city})
    return result.is_error is not True


if __name__ == "__main__":
    app.run()
