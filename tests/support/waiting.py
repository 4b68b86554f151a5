"""Waiting until something is so: never for a time, since another thread or process takes as long as it takes."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str = "it did not happen", timeout: float = 30.0) -> T:
    """Return what `look` returns as soon as that is true."""
    began = time.monotonic()
    while not (found := look()):
        waited = time.monotonic() - began
        assert waited < timeout, what
        time.sleep(min(0.01, 0.001 + waited / 10))  # soon again at first, for what happens at once
    return found


async def until(look: Callable[[], object], timeout: float = 30.0) -> None:
    """Return when `look`, or what it returns to be awaited, is true."""
    async with asyncio.timeout(timeout):
        while True:
            found = look()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.002)
