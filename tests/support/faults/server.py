"""The server that the fault tests kill, cut off, starve and stop: as a process of its own, several to a store.

    python tests/support/faults/server.py 8000

What it says is numbered, so that whatever is missing or comes twice shows. The easy thing to get wrong is to ask
it about the past: what a killed process knew is gone, so what must be known afterwards is written to a file.
"""

import asyncio
import os
import sqlite3
import sys
from pathlib import Path

from pydantic import BaseModel

from enfilade import Context, MCPApp, ToolError
from enfilade.serving.subscriptions import updated
from enfilade.timings import Timings

HELD: set[str] = set()

app = MCPApp(
    "faulty",
    version="1.0.0",
    log_level=os.environ.get("FAULTY_LOG_LEVEL", "warning"),
    audit=os.environ.get("FAULTY_AUDIT") or None,
)
if "FAULTY_LEASE" in os.environ:  # seconds, in place of 12, so that a test need not last that long
    lease = float(os.environ["FAULTY_LEASE"])
    app._timings = Timings(lease=lease, lease_renewal=lease / 6, lease_grace=lease / 2)
app.add_text_resource("note://a", "a note")


class Confirm(BaseModel):
    """What the user is asked."""

    sure: bool


@app.tool
async def count(n: int, ctx: Context, pause: float = 0.0, size: int = 0) -> int:
    """Say the numbers from 1 to n, with a pause (seconds) and a text of some size (characters) after each."""
    for number in range(1, n + 1):
        await ctx.log.info(f"{number} {'x' * size}" if size else str(number))
        await asyncio.sleep(pause)
    return n


@app.tool
async def burst(n: int, ctx: Context) -> int:
    """Say the numbers from 1 to n without ever waiting."""
    for number in range(1, n + 1):
        ctx.log.info(str(number))
    return n


@app.tool
async def charge(ledger: str, ctx: Context, patience: float = 300.0) -> str:
    """Ask the user, who has some seconds, and then write a line to a file."""
    answer = await ctx.elicit("Sure?", Confirm, timeout=patience)
    with Path(ledger).open("a") as file:
        file.write("charged\n")
    return f"charged: {answer.action}"


@app.tool
async def hold(name: str, ctx: Context, seconds: float = 3600.0) -> str:
    """Say that it is there, and stay until it is cancelled, or for that long."""
    HELD.add(name)
    try:
        await ctx.log.info("held")
        await asyncio.sleep(seconds)
    finally:
        HELD.discard(name)
    return "never"


@app.tool
async def nap(seconds: float) -> str:
    """Take a while, and say nothing."""
    await asyncio.sleep(seconds)
    return "rested"


@app.tool
async def whisper(ctx: Context) -> str:
    """Say something that only those hear who asked for every detail."""
    await ctx.log.debug("psst")
    return "whispered"


@app.tool
async def announce(uri: str) -> str:
    """Say that a resource has changed."""
    app.changes.announce(updated(uri))
    return uri


@app.tool
async def echo(text: str) -> str:
    """Return the text."""
    return text


@app.tool(cache=2, annotations={"read_only_hint": True})
async def look(number: int) -> int:
    """Look a number up, which takes a moment."""
    await asyncio.sleep(0.01)
    return number


@app.tool(idempotency_key="order_id", idempotency_ttl=5)
async def order(order_id: str) -> str:
    """Order something, which takes a moment."""
    await asyncio.sleep(0.01)
    return order_id


@app.tool
async def stumble() -> str:
    """Fail in a way nobody planned."""
    raise RuntimeError("nobody planned this")


@app.tool(max_concurrency=4, rate_limit="500/second", max_wait=20)
async def limited() -> str:
    """Do something of which only a few at a time may be done."""
    await asyncio.sleep(0.002)
    return "done"


@app.tool(max_result=2000, on_overflow="truncate")
async def rows(n: int) -> list[int]:
    """Return more numbers than a result may have."""
    return list(range(n))


@app.tool
async def inside() -> dict[str, int | list[str]]:
    """Say what this process holds at present."""
    doing = sorted(str(getattr(each.get_coro(), "__qualname__", each)) for each in asyncio.all_tasks())
    return {"pid": os.getpid(), "tasks": len(doing), "doing": doing, "held": sorted(HELD)}


@app.tool
async def limit_files(size: int) -> int:
    """Let no file of this process grow beyond a size in bytes, as a full disk would not; below 0: let them."""
    if sys.platform == "win32":
        raise ToolError("Windows has no such limit")
    import resource

    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most if size < 0 else size, most))
    return size


@app.tool
def fill_disk(file: str) -> int:
    """Write a file until the disk is full, and return its size in bytes."""
    with Path(file).open("wb", buffering=0) as ballast:
        for size in (4096, 1):
            try:
                while True:
                    ballast.write(b"x" * size)
            except OSError:
                continue
        return ballast.tell()


@app.tool
def clear_disk(file: str) -> str:
    """Delete that file."""
    Path(file).unlink()
    return file


@app.tool
def check_file(file: str) -> str:
    """Say what SQLite thinks of a database."""
    with sqlite3.connect(file, timeout=30) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return str(verdict)


if __name__ == "__main__":
    app.run("http", port=int(sys.argv[1]), workers=int(sys.argv[2]) if len(sys.argv) > 2 else 1)
