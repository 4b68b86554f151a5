"""A server with an audit, for tests: `python audited_server.py PORT`; variables say where it is written."""

import asyncio
import os
import sys

from pydantic import BaseModel, SecretStr

from enfilade import Context, MCPApp, ToolError


class Login(BaseModel):
    """Who logs in."""

    user: str
    password: SecretStr


app = MCPApp(
    "Audited",
    secret="s" * 32,
    audit=os.environ.get("AUDIT_FILE", "/dev/null"),
    audit_required=os.environ.get("AUDIT_REQUIRED") == "1",
)


@app.tool
async def transfer(amount: int, note: str = "") -> str:
    """Move money, and note it in a file."""
    with open(os.environ["AUDIT_DONE"], "a", encoding="utf-8") as done:
        done.write(f"{amount}\n")
    return f"{amount} moved"


@app.tool
async def log_in(login: Login, tags: list[str], pin: SecretStr) -> str:
    """Take secrets."""
    return f"hello {login.user}"


@app.tool(audit="names")
def names_only(token: str) -> str:
    """Have its arguments recorded by name."""
    return token[:0]


@app.tool(audit="none")
def nothing(token: str) -> str:
    """Have none of its arguments recorded."""
    raise ToolError("no")


@app.tool(requires_secrets=["API_KEY"])
async def leak(text: str, ctx: Context) -> str:
    """Have a secret."""
    return str(len(ctx.secret("API_KEY")))


@app.tool
async def chain(ctx: Context) -> str:
    """Call another tool."""
    return str(await ctx.tools.call("names_only", {"token": "t"}))


@app.tool
async def hang() -> str:
    """Never end."""
    await asyncio.Event().wait()
    return ""


if __name__ == "__main__":
    app.run("http", port=int(sys.argv[1]), workers=int(os.environ.get("AUDIT_WORKERS", "1")), log_level="warning")
