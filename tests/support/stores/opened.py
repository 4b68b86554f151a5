"""Stores for the length of a block, and waiting for what they will have done some time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from enfilade.state.open import open_store
from enfilade.state.store import Store
from enfilade.timings import Timings


async def until(look: Callable[[], object]) -> None:
    """Wait until `look` returns something true."""
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def opened(url: str, timings: Timings = Timings()) -> AsyncIterator[Store]:
    store = open_store(url, timings=timings)
    await store.start()
    try:
        yield store
    finally:
        await store.close()
