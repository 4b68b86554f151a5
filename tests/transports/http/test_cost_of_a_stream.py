"""What a GET stream holds on to while nothing happens on it: there may be thousands of them.

Memory is counted by object and by allocated byte, not as the system sees it, so that the numbers hardly vary.
Easy to get wrong: what the server needs only once, or a first time, belongs to no stream; so some streams are
open before anything is counted.
"""

import asyncio
import gc
import json
import socket
import tracemalloc
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from enfilade import MCPApp
from support.http_client.connection import INITIALIZE

uvloop = pytest.importorskip("uvloop")
HttpProtocol = pytest.importorskip("enfilade.transports.http11.protocol").HttpProtocol

BEFORE, STREAMS = 20, 100

BYTES = 11 * 1024
"""It is 9.1 KiB with Python 3.11, the session included."""


class Streams:
    """Open GET streams, and the server that has them, in one event loop."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        config = uvicorn.Config(MCPApp("idle"), lifespan="off", log_level="critical", access_log=False)
        config.load()
        state = ServerState()
        self._server = await self._loop.create_server(lambda: HttpProtocol(config, state, {}), "127.0.0.1", 0)
        self._address = self._server.sockets[0].getsockname()

    async def stop(self) -> None:
        for each in self._held:
            each.close()
        self._server.close()
        while len(asyncio.all_tasks()) > 1:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0.01)

    async def open(self, count: int) -> None:
        for session in [await self._session() for _ in range(count)]:
            line, head = await self._ask("GET", {"Mcp-Session-Id": session})
            assert head.startswith(b"HTTP/1.1 200")
            self._held.append(line)
        await asyncio.sleep(0.05)

    async def _session(self) -> str:
        line, head = await self._ask("POST", {}, json.dumps(INITIALIZE).encode())
        line.close()
        return next(each[16:].decode() for each in head.split(b"\r\n") if each[:16] == b"mcp-session-id: ")

    async def _ask(self, method: str, headers: dict[str, str], body: bytes = b"") -> tuple[socket.socket, bytes]:
        fields = {
            "Host": "localhost",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Authorization": "Bearer " + 40 * "token",
            **headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        line = socket.socket()
        line.setblocking(False)
        await self._loop.sock_connect(line, self._address)
        await self._loop.sock_sendall(line, f"{method} /mcp HTTP/1.1\r\n{lines}\r\n".encode() + body)
        return line, await self._loop.sock_recv(line, 65536)


def with_streams(count: Callable[[], Any]) -> tuple[Any, Any]:
    """Return what is counted with some streams, and with `STREAMS` more."""

    async def work() -> tuple[Any, Any]:
        streams = Streams()
        await streams.start()
        try:
            await streams.open(BEFORE)
            before = count()
            await streams.open(STREAMS)
            return before, count()
        finally:
            await streams.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


def objects() -> Counter[str]:
    gc.collect()
    found = gc.get_objects()
    counted = Counter(type(each).__qualname__ for each in found)
    counted["coroutine"] = sum(isinstance(each, Coroutine) for each in found)
    for each in found:
        if isinstance(each, dict) and "http_version" in each:
            counted["scope"] += 1
    return counted


def test_it_is_one_task_and_no_timer() -> None:
    before, after = with_streams(objects)
    each = {
        kind: round((after[kind] - before[kind]) / STREAMS, 1)
        for kind in ("Task", "TimerHandle", "Event", "scope")
    }
    assert each == {"Task": 1, "TimerHandle": 0, "Event": 0, "scope": 0}


def test_it_is_not_many_bytes() -> None:
    def traced() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before, after = with_streams(traced)
    finally:
        tracemalloc.stop()
    assert (after - before) / STREAMS < BYTES
