"""A server for tests of traces; its handlers make spans of their own.

python traced_server.py http PORT [WORKERS]        python traced_server.py stdio
"""

import asyncio
import os
import sys
from typing import Any

from enfilade import Context, MCPApp, ToolError

app = MCPApp("Traced", version="2.1", secret="s" * 32)


def own_span(name: str) -> str:
    """Make a span, as a library would; return the id of its trace."""
    from opentelemetry import trace

    with trace.get_tracer("shop").start_as_current_span(name) as span:
        return format(span.get_span_context().trace_id, "032x")


@app.tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@app.tool
async def query(text: str) -> str:
    """Make a span in the event loop."""
    return own_span("db.query")


@app.tool
def query_in_thread(text: str) -> str:
    """Make a span in a thread."""
    return own_span("db.query")


@app.tool
def pid() -> int:
    """Say which worker this is."""
    return os.getpid()


@app.tool
def imported() -> list[str]:
    """Say which modules are loaded."""
    return list(sys.modules)


@app.tool
async def chain(ctx: Context) -> Any:
    """Call another tool."""
    return await ctx.tools.call("add", {"a": 1, "b": 2})


@app.tool
def fail() -> str:
    """Fail for the model."""
    raise ToolError("secret detail")


@app.tool
def crash(text: str) -> str:
    """Fail unexpectedly."""
    raise ValueError(f"needle {text}")


@app.tool(timeout=0.05)
async def slow() -> str:
    """Take longer than it may."""
    await asyncio.sleep(60)
    return ""


@app.tool
async def wait(ctx: Context) -> str:
    """Report, and wait for ever."""
    ctx.progress.report(1)
    await asyncio.Event().wait()
    return ""


@app.tool
async def detach(ctx: Context) -> str:
    """Go on without the connection of the client, which has to resume the stream."""
    ctx.close_stream()
    return "done"


@app.tool
async def ask(ctx: Context) -> str:
    """Ask the client."""
    return str(await ctx.elicit("Sure?", bool))


@app.prompt
def greeting(name: str) -> str:
    """Greet."""
    return f"Hello {name}"


@app.resource("notes://all")
def notes() -> str:
    """Return all notes."""
    return "nothing"


if __name__ == "__main__":
    transport, *numbers = sys.argv[1:]
    port, workers = (*map(int, numbers), 1)[:2] if numbers else (0, 1)
    app.run(transport, **({"port": port, "workers": workers} if numbers else {}))  # type: ignore[arg-type]
