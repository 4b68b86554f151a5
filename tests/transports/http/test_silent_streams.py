"""Streams that wait, where tasks run at once, where streams come one by one, and where event loops end."""

import asyncio
import gc
import sys
from collections.abc import Callable

import pytest

from enfilade.transports.exchange import Headers
from enfilade.transports.http import sse_stream
from enfilade.transports.http.sse_stream import EventStream, StreamOptions


class Response:
    """Takes everything at once."""

    def __init__(self) -> None:
        self.written = b""

    async def start(self, status: int, headers: Headers) -> None: ...

    async def write(self, chunk: bytes, *, is_last: bool) -> None:
        self.written += chunk

    def write_now(self, chunk: bytes) -> bool:
        self.written += chunk
        return True


def opened(keep_alive: float = 0.05) -> tuple[EventStream, Response]:
    response = Response()
    stream = EventStream(response, [], StreamOptions(keep_alive=keep_alive))  # type: ignore[arg-type]
    stream.open()
    return stream, response


@pytest.mark.anyio
@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks")
async def test_a_stream_goes_on_where_tasks_run_at_once() -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    stream, response = opened()
    await asyncio.sleep(0)
    stream.push(b'{"a":1}')
    async with asyncio.timeout(10):
        while response.written.count(b": keep-alive") < 2:
            await asyncio.sleep(0.01)
    assert b'{"a":1}' in response.written
    stream.abandon()


@pytest.mark.anyio
async def test_streams_that_come_one_by_one_share_a_timer() -> None:
    streams = []
    for _ in range(6):
        streams.append(opened()[0])
        await asyncio.sleep(0.07)
    assert len({id(stream._keep_alive) for stream in streams}) == 1
    for stream in streams:
        stream.abandon()


@pytest.mark.parametrize("end", [EventStream.abandon, lambda _: None], ids=["closed", "left"])
def test_an_event_loop_that_is_closed_is_forgotten(end: Callable[[EventStream], None]) -> None:
    async def serve() -> None:
        stream, _ = opened(15.0)
        await asyncio.sleep(0.01)
        end(stream)

    before = len(sse_stream._queues)
    for _ in range(3):
        asyncio.run(serve())
    gc.collect()
    assert len(sse_stream._queues) <= before
