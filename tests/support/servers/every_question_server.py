"""The server of the matrix: one tool that asks whatever can be asked, and charges once.

The charge goes into a file that the caller names, because it must be seen from outside and survive the process
that makes it.
"""

from pathlib import Path
from typing import Literal

from enfilade import Context, MCPApp, text_of

app = MCPApp("matrix", version="1.0.0")


@app.tool
async def errand(label: str, ledger: Path, ctx: Context) -> str:
    """Ask two or three questions, charge, let the model write and look at the roots."""
    name = await ctx.elicit(f"{label}: your name?", str)
    more = await ctx.elicit(f"{label}: any more?", bool)

    def charge() -> int:
        with ledger.open("a", encoding="utf-8") as file:
            file.write(f"{label}\n")
        return len(label)

    receipt = await ctx.once("charge", charge)
    size = (await ctx.elicit(f"{label}: what size?", Literal["small", "large"])).data if more.data else "none"
    written = await ctx.sample(f"{label}: greet {name.data}", max_tokens=20)
    roots = await ctx.roots()
    return f"{name.data} {size} {receipt} {text_of(written)} {roots[0].uri}"
