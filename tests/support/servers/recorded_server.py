"""A server whose requests end in every way, for tests of what is recorded of them; and what reads its log.

python recorded_server.py http PORT        python recorded_server.py stdio
"""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from enfilade import Context, MCPApp, ToolError
from support.http_client.connection import Http
from support.servers.processes import ROOT, ServerProcess, python_command
from support.waiting import eventually

KEYS = [
    *("time", "level", "logger", "worker", "method", "target", "ms", "outcome", "revision", "transport"),
    *("client", "principal", "session", "request_id", "trace_id", "bytes_in", "bytes_out", "questions"),
]

SCRIPT = "tests/support/servers/recorded_server.py"
#: Variables of a server that logs JSON.
ENV = {"ENFILADE_LOG_FORMAT": "json", "PYTHONPATH": str(ROOT / "tests")}

app = MCPApp("Recorded", secret="s" * 32)
log = logging.getLogger("shop.orders")


@app.tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@app.tool
def fail() -> str:
    """Fail for the model."""
    raise ToolError("not today")


@app.tool
def crash(text: str) -> str:
    """Fail unexpectedly."""
    raise ValueError(f"needle {text}")


@app.tool
def say(text: str) -> str:
    """Log a text, in a thread."""
    log.warning("heard %s", text)
    return text


@app.tool
async def chain(ctx: Context) -> Any:
    """Call another tool."""
    return await ctx.tools.call("add", {"a": 1, "b": 2})


@app.tool(timeout=0.1)
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
async def ask(ctx: Context) -> str:
    """Ask the client."""
    return str(await ctx.elicit("Sure?", bool))


@app.tool(requires_scopes=["admin"])
async def scoped() -> str:
    """Need a scope."""
    return "yes"


@app.resource("notes://all")
def notes() -> str:
    """Return all notes."""
    return "nothing"


class RecordedServer(ServerProcess):
    """The server over HTTP in a process of its own, which logs JSON."""

    def __init__(self, **variables: str) -> None:
        self._markers = count()
        super().__init__(python_command(SCRIPT, "http", "{port}"), env={**ENV, **variables})

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged, every line of it."""
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The lines of requests."""
        return [line for line in self.lines if line["logger"] == "enfilade.requests" and "outcome" in line]

    def request(self, request_id: str) -> dict[str, Any]:
        """Wait for the line of a request, and return it."""

        def look() -> dict[str, Any] | None:
            return next((line for line in self.requests if line["request_id"] == request_id), None)

        found = eventually(look, f"no line for {request_id}:\n{self.output}")
        assert found is not None
        return found

    @contextmanager
    def recording(self, expected: int = 1) -> Iterator[list[dict[str, Any]]]:
        """Yield a list that has the lines of the requests within the block, once there are so many."""
        marker = f"marker-{next(self._markers)}"
        Http(self.port).post(b"", x_request_id=marker)  # what came before it has its line before it
        found: list[dict[str, Any]] = []
        line = self.request(marker)
        before = self.requests.index(line) + 1
        yield found
        eventually(lambda: len(self.requests) >= before + expected, self.output)
        found += self.requests[before:]


if __name__ == "__main__":
    transport, *port = sys.argv[1:]
    app.run(transport, **({"port": int(port[0])} if port else {}))  # type: ignore[arg-type]
