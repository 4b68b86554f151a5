"""The server of the tests of transports and of faults: each tool does one thing that can be observed.

It runs inside the tests (`ProbeServer()`) and as a process of its own (`python probe_server.py stdio`), with
the same tools, so that one test holds for every way in. `journal` tells what became of the calls that nobody got
an answer to. Settings come from the environment (`ENFILADE_...`) as for any server.
"""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import Field

from enfilade import Context, MCPApp, ToolError

PATIENCE = 60.0
"""Seconds after which a tool that nobody releases gives up, so that a failing test ends."""


class CallJournal:
    """What the tools of one server share: who has entered, who is let go, and what became of each call."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self._doors: dict[str, threading.Event] = {}

    def gate(self, name: str) -> threading.Event:
        return self._doors.setdefault(name, threading.Event())

    @contextmanager
    def recorded(self, name: str) -> Iterator[None]:
        """Write down how a call begins and ends."""
        self.journal.append(f"{name} entered")
        try:
            yield
        except asyncio.CancelledError:
            self.journal.append(f"{name} cancelled")
            raise
        self.journal.append(f"{name} finished")

    async def opened(self, name: str) -> None:
        """Wait until `release` was called for a name; polled, because doors are opened from threads as well."""
        async with asyncio.timeout(PATIENCE):
            while not self.gate(name).is_set():
                await asyncio.sleep(0.005)


class ProbeServer(MCPApp):
    """The server, with what its tools share."""

    def __init__(self, **options: Any) -> None:
        super().__init__("workbench", version="1.0.0", **options)
        self.calls = CallJournal()
        _add_plain_tools(self)
        _add_tools_that_end_oddly(self)
        _add_waiting_tools(self, self.calls)
        _add_talking_tools(self, self.calls)


def _add_plain_tools(app: MCPApp) -> None:
    @app.tool
    def add(a: int, b: int) -> int:
        """Add two integers."""
        return a + b

    @app.tool
    async def echo(text: str) -> str:
        """Return the text."""
        return text

    @app.tool(input_schema={"type": "object"})
    async def anything(**given: Any) -> str:
        """Say how many arguments came."""
        return str(len(given))

    @app.tool
    async def region(
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "none",
        count: Annotated[int, Field(json_schema_extra={"x-mcp-header": "Count"})] = 0,
        dry: Annotated[bool, Field(json_schema_extra={"x-mcp-header": "Dry-Run"})] = False,
    ) -> str:
        """Take arguments that clients mirror into headers."""
        return f"{region} {count} {dry}"

    @app.tool
    async def refuse(reason: str) -> str:
        """Fail in words for the model."""
        raise ToolError(reason)

    @app.tool
    async def crash() -> str:
        """Fail in a way nobody planned."""
        raise RuntimeError("the password is swordfish")

    @app.tool
    def leave() -> str:
        """Try to end the whole process."""
        sys.exit(3)

    @app.tool
    async def leave_from_the_loop() -> str:
        """Try to end the whole process where it is most delicate."""
        sys.exit(3)


def _add_tools_that_end_oddly(app: MCPApp) -> None:
    left_behind: list[asyncio.Task[None]] = []

    @app.tool
    def run_dry() -> str:
        """Ask an iterator for more than it has, as `next()` without a default does."""
        return next(iter(()))

    @app.tool
    async def run_dry_in_the_loop() -> str:
        """Do the same in a coroutine."""
        return next(iter(()))

    @app.tool
    async def wait_for_the_cancelled() -> str:
        """Wait for work of one's own that was cancelled: nobody has cancelled the call."""
        work = asyncio.create_task(asyncio.sleep(PATIENCE))
        work.cancel()
        await work
        return "never"

    @app.tool
    async def fail_together() -> str:
        """Fail in several ways at once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_fail())
            group.create_task(_fail())
        return "never"

    @app.tool
    async def outlive(ctx: Context) -> str:
        """Leave work behind that reports progress when the call is over."""

        async def late() -> None:
            await asyncio.sleep(0)
            await ctx.progress.report(2)
            await ctx.log.error("late")

        left_behind.append(asyncio.create_task(late()))
        await ctx.progress.report(1)
        return "left"


async def _fail() -> None:
    raise RuntimeError("one of several")


def _add_waiting_tools(app: MCPApp, bench: CallJournal) -> None:
    @app.tool
    async def wait(name: str) -> str:
        """Wait to be released."""
        with bench.recorded(name):
            await bench.opened(name)
        return f"{name} released"

    @app.tool
    def block(name: str) -> str:
        """Wait to be released, and block the thread meanwhile."""
        with bench.recorded(name):
            if not bench.gate(name).wait(PATIENCE):
                raise ToolError("nobody came")
        return f"{name} released"

    @app.tool
    def sleep(seconds: float) -> str:
        """Block the thread for a time."""
        time.sleep(seconds)
        return "awake"

    @app.tool
    async def release(name: str) -> str:
        """Let a waiting call go."""
        bench.gate(name).set()
        return name

    @app.tool
    async def journal(name: str) -> list[str]:
        """Say what became of the calls of a name."""
        return [entry.partition(" ")[2] for entry in bench.journal if entry.startswith(f"{name} ")]


def _add_talking_tools(app: MCPApp, bench: CallJournal) -> None:
    @app.tool
    async def report(steps: int, ctx: Context) -> str:
        """Report progress and log a message for each step."""
        for step in range(1, steps + 1):
            await ctx.progress.report(step, total=steps, message=f"step {step}")
            await ctx.log.info(f"step {step}")
        return f"{steps} steps"

    @app.tool
    async def flood(name: str, messages: int, size: int, ctx: Context) -> str:
        """Log many long messages, and wait for the reader as a tool should."""
        with bench.recorded(name):
            for _ in range(messages):
                await ctx.log.error("x" * size)
        return "flooded"

    @app.tool
    async def tell(name: str, ctx: Context) -> str:
        """Log a message, then wait to be released, then log another."""
        await ctx.log.info("before")
        with bench.recorded(name):
            await bench.opened(name)
        await ctx.log.info("after")
        return "told"

    @app.tool
    def scribble() -> str:
        """Write to standard output in every way there is."""
        print("printed")
        sys.stdout.write("written\n")
        sys.stdout.flush()
        os.write(1, b"from below\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        return "scribbled"


app = ProbeServer()

if __name__ == "__main__":
    app.run(sys.argv[1], port=int(sys.argv[2]) if len(sys.argv) > 2 else None)
