"""A server with metrics whose requests end in every way.

python measured_server.py http PORT        python measured_server.py stdio
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from enfilade import Context, MCPApp, ToolError
from enfilade.wire.jsonrpc import RpcError
from support.servers.processes import ROOT, ServerProcess, python_command

SCRIPT = "tests/support/telemetry/measured_server.py"

app = MCPApp("Measured", version="2.1", metrics=True, secret="s" * 32)


@app.tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@app.tool
def fail() -> str:
    """Fail for the model."""
    raise ToolError("not today")


@app.tool
async def chain(ctx: Context) -> Any:
    """Call another tool."""
    return await ctx.tools.call("add", {"a": 1, "b": 2})


@app.tool
async def own_code(code: int) -> str:
    """End with an error code of our own."""
    raise RpcError(code, "no")


async def _opened(gate: str) -> str:
    """Return when a file is there."""
    async with asyncio.timeout(30):
        while not Path(gate).exists():
            await asyncio.sleep(0.005)
    return "done"


@app.tool(max_concurrency=1, on_limit="refuse")
async def alone(gate: str) -> str:
    """Be the only one until a file is there."""
    return await _opened(gate)


@app.tool(max_concurrency=1)
async def in_turn(gate: str) -> str:
    """Be the only one until a file is there; others wait."""
    return await _opened(gate)


@app.tool
async def ask(ctx: Context) -> str:
    """Ask the client."""
    return str((await ctx.elicit("Sure?", bool)).action)


@app.tool(timeout=0.05)
async def late() -> str:
    """Take longer than it may."""
    await asyncio.sleep(60)
    return ""


@app.tool
async def block(seconds: float) -> str:
    """Block the event loop."""
    time.sleep(seconds)
    return "done"


@app.tool
def hold(gate: str) -> str:
    """Hold a thread until a file is there."""
    end = time.monotonic() + 30
    while not Path(gate).exists() and time.monotonic() < end:
        time.sleep(0.005)
    return "done"


@app.tool(cache=60, annotations={"read_only_hint": True})
async def kept(text: str) -> str:
    """Return the text, from the cache if that has it."""
    return text


@app.tool
async def pid() -> int:
    """Return the id of the process."""
    return os.getpid()


@app.tool
async def die() -> None:
    """End the process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.prompt
def greet() -> str:
    """Greet."""
    return "hello"


class MeasuredServer(ServerProcess):
    """The server over HTTP in a process of its own, with settings as variables."""

    def __init__(self, **variables: str) -> None:
        env = {"PYTHONPATH": str(ROOT / "tests"), "ENFILADE_LOG_LEVEL": "warning", **variables}
        super().__init__(python_command(SCRIPT, "http", "{port}"), env=env)

    @property
    def metrics_url(self) -> str:
        """Where a scrape goes."""
        return f"http://127.0.0.1:{self.port}/metrics"


if __name__ == "__main__":
    transport, *port = sys.argv[1:]
    app.run(transport, **({"port": int(port[0])} if port else {}))  # type: ignore[arg-type]
