"""A server with slow tools that tell how far they have come, and stop when nobody waits any more."""

import asyncio
import hashlib
from typing import Annotated

from pydantic import Field

from enfilade import Context, MCPApp

app = MCPApp(name="progress", version="1.0.0")


@app.tool
async def bake(cakes: Annotated[int, Field(ge=1, le=20)], ctx: Context) -> str:
    """Bake cakes, one after the other. The number to be baked is known, so the client can show a bar."""
    for done in range(cakes):
        await ctx.progress.report(done, total=cakes, message=f"cake {done + 1} is in the oven")
        await asyncio.sleep(0.1)  # a client that cancels ends the function here
    await ctx.progress.report(cakes, total=cakes, message="all done")
    return f"{cakes} cakes"


@app.tool
async def search(word: str, ctx: Context) -> int:
    """Look for a word. How long that takes nobody knows, so there is no total."""
    found = 0
    for page, text in enumerate(["a tea party", "tea for two", "coffee", "more tea"], start=1):
        found += text.split().count(word)
        await ctx.progress.report(page, message=f"{page} pages read")
        await asyncio.sleep(0.05)
    return found


@app.tool
def stretch(password: str, rounds: Annotated[int, Field(ge=1, le=100)], ctx: Context) -> str:
    """Hash a text many times. A plain function runs in a thread, and looks for itself whether to go on."""
    digest = password.encode()
    for done in range(rounds):
        if ctx.cancelled:
            break
        digest = hashlib.pbkdf2_hmac("sha256", digest, b"an example", 1000)
        ctx.progress.report(done + 1, total=rounds)
    return digest.hex()


if __name__ == "__main__":
    app.run()
