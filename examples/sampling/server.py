"""A server without a model of its own: the client's model writes for it."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from enfilade import Context, MCPApp, MissingCapabilityError, text_of

app = MCPApp(name="sampling", version="1.0.0")


@app.tool
async def summarize(text: str, ctx: Context, sentences: Annotated[int, Field(ge=1, le=10)] = 2) -> str:
    """Summarize a text."""
    written = await ctx.sample(
        f"Summarize this in {sentences} sentences:\n\n{text}",
        system_prompt="Write plainly. Add nothing that is not in the text.",
        max_tokens=100 * sentences,
        temperature=0.2,
    )
    return text_of(written)


@dataclass
class Debate:
    pro: str
    contra: str


@app.tool
async def debate(motion: str, ctx: Context) -> Debate:
    """Argue for a motion and against it. Both questions are asked at once."""
    pro, contra = await asyncio.gather(
        ctx.sample(f"Give one sentence in favour of this: {motion}", max_tokens=60),
        ctx.sample(f"Give one sentence against this: {motion}", max_tokens=60),
    )
    return Debate(pro=text_of(pro), contra=text_of(contra))


@app.tool
async def headline(text: str, ctx: Context) -> str:
    """Find a headline: by the client's model if there is one, otherwise by taking the first words."""
    try:
        written = await ctx.sample(f"Write a headline of at most six words:\n\n{text}", max_tokens=30)
    except MissingCapabilityError:
        return " ".join(text.split()[:6])
    return text_of(written)


if __name__ == "__main__":
    app.run()
