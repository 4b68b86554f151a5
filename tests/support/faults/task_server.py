"""The server whose workers are killed while they run tasks: as a process of its own, several to a store.

    python tests/support/faults/task_server.py 8000

A side effect is a line of a file, written by one system call, so that it is there or not there whatever becomes
of the process. The easy thing to get wrong is what a line proves: that the effect has happened, and not that its
task knows of it.
"""

import asyncio
import os
import sys
import threading
import time
import tracemalloc
from functools import partial

from enfilade import Context, MCPApp
from enfilade.extensions.tasks.extension import TasksExtension
from enfilade.timings import Timings

TIMINGS: Timings | None = None
if "TASKS_LEASE" in os.environ:  # seconds, in place of 12, so that a test need not last that long
    lease = float(os.environ["TASKS_LEASE"])
    TIMINGS = Timings(lease=lease, lease_renewal=lease / 6, poll_interval=0.2)

app = MCPApp("tasks", version="1.0.0", log_level="info")
app.add_extension(TasksExtension(poll_interval=0.1, own_limit=50_000, timings=TIMINGS))
if "TASKS_USERS" in os.environ:  # callers are whoever they say
    from support.authorization.header_users import HeaderUsers

    app.endpoint._authenticator = HeaderUsers()

if "TASKS_TRACED" in os.environ:  # before anything is counted
    tracemalloc.start()


def do(ledger: str, effect: str) -> int:
    """Write a line to a file."""
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return os.write(descriptor, f"{effect}\n".encode())
    finally:
        os.close(descriptor)


async def do_slowly(ledger: str, effect: str, pause: float) -> int:
    """Write a line to a file, between two pauses."""
    await asyncio.sleep(pause)
    written = do(ledger, effect)
    await asyncio.sleep(pause)
    return written


@app.tool(task="optional")
async def work(name: str, ctx: Context, ledger: str = "", steps: int = 1, pause: float = 0.1) -> str:
    """Do some steps, each once, with pauses between them."""
    for step in range(steps):
        await asyncio.sleep(pause)
        await ctx.progress.report(step + 1, steps, f"{name} {step + 1}")
        if ledger:
            await ctx.once(f"step {step}", partial(do, ledger, f"{name} {step}"))
    return f"{name} done"


@app.tool(task="optional", durable=True)
async def journey(name: str, ctx: Context, ledger: str, steps: int = 4, pause: float = 0.1) -> str:
    """Do some steps, each once and of some length, with a longer sleep in the middle."""
    for step in range(steps):
        await ctx.once(f"step {step}", partial(do_slowly, ledger, f"{name} {step}", pause))
        await asyncio.sleep(pause)
        if step == steps // 2:
            await ctx.sleep(1.1)
    return f"{name} done"


@app.tool(task="optional")
async def confirm(name: str, ctx: Context) -> str:
    """Ask whether to go on."""
    answer = await ctx.elicit(f"{name}?", bool)
    return f"{name} {answer.action}"


@app.tool(task="optional", durable=True)
async def order(name: str, ctx: Context, ledger: str) -> str:
    """Do something, ask, and do something else."""
    await ctx.once("order", partial(do, ledger, f"{name} 0"))
    answer = await ctx.elicit(f"{name}?", bool)
    await ctx.once("ship", partial(do, ledger, f"{name} 1"))
    return f"{name} {answer.action}"


@app.tool(task="optional")
async def hold(name: str) -> str:
    """Stay until it is cancelled."""
    await asyncio.sleep(3600)
    return f"{name} never"


@app.tool(task="optional", durable=True)
async def nap(until: float, ctx: Context) -> str:
    """Sleep until a time in seconds since the epoch."""
    await ctx.sleep(max(0.0, until - time.time()))
    return "slept"


@app.tool
async def inside() -> dict[str, int]:
    """Say what this process holds at present."""
    traced = tracemalloc.get_traced_memory()[0]
    return {
        "pid": os.getpid(),
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "traced": traced,
    }


if __name__ == "__main__":
    app.run("http", port=int(sys.argv[1]))
