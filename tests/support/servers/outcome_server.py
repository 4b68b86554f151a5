"""A server whose tools have a cache or are idempotent: over HTTP within the tests, over stdio as a process."""

import asyncio
import sys

from enfilade import Context, MCPApp

READ_ONLY = {"read_only_hint": True}


class OutcomeServer(MCPApp):
    """Tools that return how often they ran."""

    def __init__(self) -> None:
        super().__init__("outcomes")
        self.runs = 0
        self.add_tool(self.look, annotations=READ_ONLY, cache="1 minute")
        self.add_tool(self.order, idempotent=True, idempotency_key="order_id")

    async def look(self, ctx: Context, number: int) -> str:
        """Look something up, with progress and log messages."""
        self.runs += 1
        await ctx.progress.report(1, 2)
        ctx.log.error("looking")
        await asyncio.sleep(0.02)
        return f"{number} in run {self.runs}"

    async def order(self, item: str, order_id: str | None = None) -> str:
        """Order something."""
        self.runs += 1
        await asyncio.sleep(0.02)
        return f"{item} in run {self.runs}"


if __name__ == "__main__":
    OutcomeServer().run(sys.argv[1])
