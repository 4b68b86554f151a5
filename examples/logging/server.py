"""A server whose tools log to the client: at every level, with data, and under names of their own."""

import logging

from enfilade import Context, MCPApp

app = MCPApp(name="logging", version="1.0.0")

#: The server's own log is another matter: it goes to stderr, and no client sees it.
log = logging.getLogger("shop")


@app.tool
async def order(item: str, amount: int, ctx: Context) -> str:
    """Order something, and tell the client what happens."""
    log.info("an order came in")
    await ctx.log.debug("looking at the shelf")
    await ctx.log.info({"item": item, "amount": amount})
    await ctx.log.notice("this customer orders for the first time", logger="shop.customers")
    if amount > 10:
        await ctx.log.warning("the shelf is nearly empty", extra={"item": item, "left": 2})
    return f"{amount} × {item}"


@app.tool
def alarm(ctx: Context) -> str:
    """Log at the levels that are left. In a plain `def` there is nothing to await."""
    ctx.log.error("a lamp is broken")
    ctx.log.critical("the till does not open")
    ctx.log.alert("somebody must come at once")
    ctx.log.emergency("the shop is on fire")
    return "Help is on its way."


if __name__ == "__main__":
    app.run()
