"""A context manager in a task of its own, which may be left in another task than it was entered in.

Fixtures need that: plugins of pytest run the set-up and the tear-down of an asynchronous fixture in two tasks,
and the cancel scopes of the official client must be left in the task that entered them.

Easy to get wrong: the task is to end before the caller goes on, however the caller ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

Held = TypeVar("Held")


@asynccontextmanager
async def held(manager: AbstractAsyncContextManager[Held]) -> AsyncIterator[Held]:
    """Enter a context manager in a task of its own, and leave it there when the caller leaves.

    Args:
        manager: what to enter. It sees no exception of the caller's: it is left as if there were none.

    Yields:
        What the manager yields.

    Raises:
        BaseException: what the manager raises on the way in, or on the way out.
    """
    entered: asyncio.Future[Held] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def live() -> None:
        async with manager as value:
            entered.set_result(value)
            await leave.wait()

    task = asyncio.create_task(live())
    either: tuple[asyncio.Future[Any], ...] = (task, entered)
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not entered.done():
            entered.cancel()
            await task  # raises what kept it from being entered
        yield entered.result()
    except BaseException:
        leave.set()
        if not entered.done() or entered.cancelled():
            task.cancel()  # it may never be entered
        await _ended(task)
        raise
    leave.set()
    await _ended(task)
    task.result()


async def _ended(task: asyncio.Task[None]) -> None:
    """Wait until a task has ended, also where the scope that the caller is in was cancelled."""
    from anyio import CancelScope

    with CancelScope(shield=True):
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
    if not task.cancelled():
        task.exception()  # the caller's own error, if there is one, matters more
