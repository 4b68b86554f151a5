"""A line that somebody types at the terminal, while the event loop goes on.

Easy to get wrong: the thread that waits for it. If the call ends meanwhile, nobody may have to press return for
the command to end, and Python's own files are locked by whoever reads them; so a thread that is given up reads
the descriptor itself.
"""

import asyncio
import os
import sys
import threading


async def typed_line() -> str | None:
    """Return the next line without its end, or None if there is no more."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str | None] = loop.create_future()

    def read() -> None:
        try:
            data = os.read(sys.stdin.fileno(), 65_536)
        except OSError:
            data = b""
        text = data.decode(sys.stdin.encoding or "utf-8", "replace").rstrip("\r\n") if data else None
        try:
            loop.call_soon_threadsafe(_settle, line, text)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    threading.Thread(target=read, daemon=True, name="enfilade-typed").start()
    return await line


def _settle(line: asyncio.Future[str | None], text: str | None) -> None:
    if not line.done():
        line.set_result(text)
