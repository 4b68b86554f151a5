"""A server whose tool has a view, which calls another tool. The weather is invented."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from enfilade import Context, MCPApp, ToolResult

app = MCPApp(name="weather", version="1.0.0", title="Weather")

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SKIES = ("sunny", "cloudy", "rain", "windy")

app.add_view("ui://weather/forecast", file=Path(__file__).with_name("forecast.html"), prefers_border=True)


def weather(city: str, day: int) -> dict[str, Any]:
    """Invent the weather of a day, always the same."""
    seed = sum(city.encode()) + 5 * day * day
    return {"day": DAYS[day % 7], "high": 12 + seed % 14, "low": 4 + seed % 7, "sky": SKIES[seed % 4]}


@app.tool(ui="ui://weather/forecast", annotations={"read_only_hint": True})
def forecast(
    city: Annotated[str, Field(description="The name of a city.", examples=["Riga"])],
    ctx: Context,
    days: Annotated[int, Field(description="How many days.", ge=1, le=7)] = 5,
) -> ToolResult:
    """The weather of the next days."""
    outlook = [weather(city, day) for day in range(days)]
    lines = [f"{entry['day']}: {entry['low']} to {entry['high']} °C, {entry['sky']}" for entry in outlook]
    text = "\n".join([f"{city}:", *lines])
    if not ctx.client_supports_apps:
        text += "\n(A host of MCP Apps shows a chart here.)"
    return ToolResult(content=text, structured_content={"city": city, "days": outlook})


@app.tool(ui={"visibility": ["app"]}, annotations={"read_only_hint": True})
def another_day(city: str, day: Annotated[int, Field(ge=0, le=6)]) -> ToolResult:
    """The hours of one day, for the view."""
    low, high = (weather(city, day)[name] for name in ("low", "high"))
    hours = {f"{hour:02}:00": low + (high - low) * (12 - abs(14 - hour)) // 12 for hour in range(6, 23, 4)}
    text = ", ".join(f"{hour} {degrees} °C" for hour, degrees in hours.items())
    return ToolResult(content=text, structured_content={"day": DAYS[day], "hours": hours})


if __name__ == "__main__":
    app.run()
