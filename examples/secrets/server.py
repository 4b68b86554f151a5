"""A server whose tools need secrets. Each sees those it has declared, and nothing else sees any."""

import hashlib
import hmac

from enfilade import Context, MCPApp

app = MCPApp(name="secrets", version="1.0.0")


@app.tool(requires_secrets=["SIGNING_KEY"])
def sign(message: str, ctx: Context) -> str:
    """Sign a message. The key comes from the environment or `.env`; without it the tool says how to set it."""
    key = ctx.secret("SIGNING_KEY")
    return hmac.new(key.encode(), message.encode(), hashlib.sha256).hexdigest()


@app.tool
async def is_signed_by_us(message: str, signature: str, ctx: Context) -> bool:
    """Check a signature. This tool never sees the key: it calls the one that does."""
    expected: str = await ctx.tools.call("sign", {"message": message})
    return hmac.compare_digest(expected, signature)


@app.tool(requires_secrets=["SIGNING_KEY"])
def careless(ctx: Context) -> str:
    """Fail in a way that would give the key away. What reaches the client and the log does not have it."""
    raise RuntimeError(f"could not connect with the key {ctx.secret('SIGNING_KEY')}")


if __name__ == "__main__":
    app.run()
