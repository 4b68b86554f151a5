"""A coroutine that has taken its first step is driven to its end as if it had been awaited."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from enfilade.transports.http.sse_stream import resume_coroutine

pytestmark = pytest.mark.anyio


async def started(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Take the first step, which must not be the last, and then wait for the result."""
    return await resume_coroutine(coroutine, coroutine.send(None))


async def test_it_returns_what_it_returns() -> None:
    async def work() -> str:
        for _ in range(3):
            await asyncio.sleep(0)
        return await asyncio.to_thread(str, 5)

    assert await started(work()) == "5"


async def test_it_raises_what_it_raises() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise LookupError("nowhere")

    with pytest.raises(LookupError, match="nowhere"):
        await started(work())


async def spin() -> None:
    """Wait without a future, which would carry the cancellation by itself."""
    while True:
        await asyncio.sleep(0)


@pytest.mark.parametrize("swallowed", [True, False])
@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(3600), spin], ids=["for a future", "for its turn"])
async def test_a_cancellation_is_its_own(wait: Callable[[], Awaitable[None]], swallowed: bool) -> None:
    """R-361: it is thrown into the coroutine, which may put things away, or go on."""
    heard: list[str] = []

    async def work() -> str:
        try:
            await wait()
        except asyncio.CancelledError as error:
            heard.append(str(error))
            await asyncio.sleep(0)
            if not swallowed:
                raise
        return "all the same"

    task = asyncio.create_task(started(work()))
    await asyncio.sleep(0)
    task.cancel("enough")
    if swallowed:
        assert await task == "all the same"
    else:
        with pytest.raises(asyncio.CancelledError):
            await task
    assert heard == ["enough"]


async def test_a_time_limit_within_it_holds() -> None:
    async def work() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(3600)

    with pytest.raises(TimeoutError):
        await started(work())


def test_who_is_closed_closes_it() -> None:
    closed: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(True)

    waiting = started(work())
    waiting.send(None)
    waiting.close()
    assert closed == [True]
