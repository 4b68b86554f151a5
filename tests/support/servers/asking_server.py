"""A server that asks, logs and reports, for tests of clients: at the top of a file, where processes find it."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from enfilade import Context, Image, MCPApp, TextContent, ToolError

PIXEL = b"\x89PNG\r\n\x1a\n"

app = MCPApp(name="Shop", version="1.2.3", instructions="Be [bold]nice[/bold].")


@dataclass
class Wishes:
    """What a form can ask."""

    name: str
    amount: Annotated[int, Field(ge=1, le=9)]
    weight: float = 0.5
    gift: bool = False
    size: Annotated[Literal["s", "l"], Field(json_schema_extra={"enumNames": ["Small", "Large"]})] = "s"
    extras: Annotated[list[Literal["milk", "sugar", "lemon"]], Field(max_length=2)] = field(default_factory=list)


@app.tool(annotations={"readOnlyHint": True})
def add(a: Annotated[int, "the first"], b: Annotated[int, "the second"] = 1) -> int:
    """Add two numbers."""
    return a + b


@app.tool
async def order(item: Annotated[str, "what"], ctx: Context) -> dict[str, object]:
    """Order something."""
    await ctx.log.info("packing \x1b[31m[red]it[/red]")
    await ctx.progress.report(1, total=2, message="packed")
    answer = await ctx.elicit(f"How much {item}?", Wishes)
    if not answer.accepted:
        return {"action": answer.action}
    return {"item": item, **(answer.content or {})}


@app.tool
async def pay(ctx: Context) -> str:
    """Pay on a page."""
    return (await ctx.elicit_url("Pay here", "https://pay.example/1")).action


@app.tool
async def advise(ctx: Context) -> str:
    """Ask the model."""
    said = await ctx.sample("Tea or coffee?")
    assert isinstance(said.content, TextContent)
    return said.content.text


@app.tool
async def look_around(ctx: Context) -> list[str]:
    """Ask for the roots."""
    return [str(root.uri) for root in await ctx.roots()]


@app.tool
def picture() -> Image:
    """Return a picture."""
    return Image(data=PIXEL, format="png")


@app.tool
def fail() -> str:
    """Fail."""
    raise ToolError("Out of \x1b]0;tea\x07tea.")


class Box(BaseModel):
    label: str
    tags: list[str] = []


@app.tool
def pack(
    box: Box, sizes: list[int], kind: Literal["paper", "wood"] = "paper", weight: float | None = None
) -> str:
    """Pack a box."""
    return f"{box.label} {box.tags} {sizes} {kind} {weight!r}"


@app.resource("shop://prices", mime_type="text/plain")
def prices() -> str:
    """The prices."""
    return "tea 3"


@app.prompt
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Greet {name}."
