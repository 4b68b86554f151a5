"""A server whose handlers do not end when they should, each in another way.

    python stubborn_server.py [http PORT]

`STUBBORN` names what besides the tools does not end: `lifespan`, `startup`, `exit` (an exit handler); `talk` lets
it write to stdout wherever it can.
Easy to get wrong: a test must not end a server before its handler is where it hurts, so each leaves a file there.
"""

import asyncio
import atexit
import ctypes
import faulthandler
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from enfilade import MCPApp

STUBBORN = os.environ.get("STUBBORN", "")

print("printed while it is imported")
sys.stdout.flush()

if STUBBORN == "exit":
    atexit.register(time.sleep, 3600)
if STUBBORN == "talk":
    atexit.register(print, "printed at the exit")
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
if os.environ.get("STUBBORN_FAULTHANDLER") == "1":
    faulthandler.enable()


@asynccontextmanager
async def lifespan(app: MCPApp) -> AsyncIterator[None]:
    print("printed by the lifespan, up")
    if STUBBORN == "talk":
        logging.getLogger("theirs").error("logged to stdout")
    if STUBBORN == "startup":
        reached()
        await asyncio.sleep(3600)
    yield
    print("printed by the lifespan, down")
    if STUBBORN == "lifespan":
        await asyncio.Event().wait()


app = MCPApp("stubborn", lifespan=lifespan)


def reached() -> None:
    """Say that a handler is where a test wants it."""
    Path(os.environ["REACHED"]).touch()


@app.tool
async def deaf() -> str:
    """Do not hear that it is cancelled."""
    reached()
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


@app.tool
async def tidy() -> str:
    """Clean up for ever."""
    try:
        reached()
        await asyncio.sleep(3600)
    finally:
        await asyncio.Event().wait()
    return ""


@app.tool
async def sleep() -> str:
    """Block the event loop, in a call that lets other threads run."""
    reached()
    time.sleep(3600)
    return ""


@app.tool
async def spin() -> str:
    """Block the event loop in Python."""
    reached()
    while True:
        pass


@app.tool
async def backtrack() -> str:
    """Block every thread, in native code that lets signal handlers run."""
    reached()
    re.match(r"(a|aa)+$", "a" * 200 + "b")
    return ""


@app.tool
def thread() -> str:
    """Block a thread."""
    reached()
    time.sleep(3600)
    return ""


@app.tool
async def pool() -> str:
    """Block a thread that the standard library waits for in the end."""
    reached()
    await asyncio.to_thread(time.sleep, 3600)
    return ""


@app.tool
async def own_thread() -> str:
    """Leave a thread behind that Python waits for in the end."""
    threading.Thread(target=time.sleep, args=(3600,)).start()
    reached()
    return ""


@app.tool
async def nap(seconds: float) -> str:
    """Wait."""
    reached()
    await asyncio.sleep(seconds)
    return "rested"


@app.tool
async def boom() -> str:
    """Fail, which is logged with a traceback."""
    raise RuntimeError("no " * 50)


@app.tool
async def chatter(size: int, by: str) -> str:
    """Write to stdout or stderr in one of the ways there are."""
    text = "x" * 79 + "\n"
    text *= -(-size // len(text))
    if by == "print":
        print(text)
    elif by == "stderr":
        sys.stderr.write(text)
    elif by == "native":
        ctypes.CDLL(None).dprintf(1, b"%s", text.encode())
    else:
        subprocess.run([sys.executable, "-c", f"import sys; sys.stderr.write('x' * {size})"], check=True)
    return "said"


@app.tool
async def crash() -> str:
    """End as native code does that has a fault."""
    ctypes.string_at(0)
    return ""


@app.tool
async def close_stderr() -> str:
    """Close what others write their log to."""
    sys.stderr.close()
    os.close(2)
    return ""


if __name__ == "__main__":
    if "http" in sys.argv:
        app.run("http", port=int(sys.argv[-1]))
    else:
        app.run()
