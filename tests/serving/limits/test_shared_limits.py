"""Limits that several workers keep together: none is exceeded, they are used, and killed workers hold nothing.

Easy to get wrong: when a call counts. It begins after its share of the rate is due, never before, so what had
begun until some time is no more than the rate allows until then.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from enfilade import Context, MCPApp
from enfilade.serving.channel import Channel, Peer
from enfilade.serving.dispatcher import Dispatcher
from enfilade.serving.request import Request
from enfilade.wire.tools import CallToolRequestParams
from support.cluster.server_processes import ProcessCluster
from support.harness import eventually
from support.http_client.connection import Http
from support.servers.processes import python_command

pytestmark = pytest.mark.anyio

WORKERS = 4
PRINCIPALS = 50
CALLS = 10_000

#: Calls a second of each principal, and calls of each that run or wait at the same time.
RATE = 25
SIDE_BY_SIDE = 20


class Shop:
    """Four workers in this process, each with a store of its own for one URL.

    Attributes:
        begun: when calls of each principal began.
        running: calls that run now.
        most: the most that ran at the same time.
    """

    def __init__(self, url: str) -> None:
        self.begun: dict[str, list[float]] = {}
        self.running = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.apps = [self._app(url) for _ in range(WORKERS)]
        self.dispatchers: list[Dispatcher] = []

    def _app(self, url: str) -> MCPApp:
        app = MCPApp("shop", store=url)

        @app.tool(rate_limit=f"{RATE}/second", limit_per="principal", max_wait=60)
        async def rated(ctx: Context) -> str:
            self.begun.setdefault(ctx.peer.principal or "", []).append(time.monotonic())
            return "done"

        @app.tool(max_concurrency=3)
        async def slotted() -> str:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.003)
            self.running -= 1
            return "done"

        @app.tool(max_concurrency=1)
        async def held() -> str:
            await self.gate.wait()
            return "done"

        return app

    async def call(self, worker: int, tool: str, principal: str | None = None) -> bytes:
        peer = Peer(revision="2026-07-28", principal=principal)
        params = CallToolRequestParams(name=tool)
        return await self.dispatchers[worker].dispatch(Request(1, "tools/call", params, peer, Channel()))


@pytest.fixture
async def shop(shared_url: str) -> AsyncIterator[Shop]:
    shop = Shop(shared_url)
    async with contextlib.AsyncExitStack() as stack:
        for app in shop.apps:
            shop.dispatchers.append(await stack.enter_async_context(app.running()))
        for worker in range(WORKERS):
            await shop.call(worker, "rated", f"first call of {worker}")
        yield shop


async def lateness(seconds: list[float]) -> None:
    """Note how late this event loop is, each time that it should do something."""
    while True:
        due = time.monotonic() + 0.05
        await asyncio.sleep(0.05)
        seconds.append(max(0.0, time.monotonic() - due - 0.005))


async def test_ten_thousand_calls_never_exceed_a_rate_and_use_it(shop: Shop) -> None:
    begun_at = time.monotonic()

    async def call_repeatedly(number: int) -> None:
        for count in range(CALLS // PRINCIPALS // SIDE_BY_SIDE):
            worker, user = (number + count) % WORKERS, f"user {number % PRINCIPALS}"
            assert b"done" in await shop.call(worker, "rated", user)

    late: list[float] = []
    watching = asyncio.create_task(lateness(late))
    await asyncio.gather(*(call_repeatedly(number) for number in range(PRINCIPALS * SIDE_BY_SIDE)))
    watching.cancel()
    possible = 0.0
    for principal in range(PRINCIPALS):
        times = sorted(shop.begun[f"user {principal}"])
        assert len(times) == CALLS // PRINCIPALS
        for count, at in enumerate(times, 1):
            assert count <= RATE + RATE * (at - begun_at) + 0.001
        possible += RATE + RATE * (times[-1] - times[0] - sum(late))  # a machine that is busy is no waste
    assert 0.97 * possible <= CALLS, "a part of the rate was not used"


async def test_calls_at_the_same_time_are_never_more_than_there_may_be(shop: Shop) -> None:
    results = await asyncio.gather(*(shop.call(number % WORKERS, "slotted") for number in range(200)))
    assert all(b"done" in result for result in results)
    assert shop.most == 3


async def test_a_slot_goes_from_worker_to_worker(shop: Shop) -> None:
    calls: list[asyncio.Task[bytes]] = []
    for worker in range(WORKERS):
        calls.append(asyncio.create_task(shop.call(worker, "held")))
        await asyncio.sleep(0.02)
    calls[1].cancel()
    await asyncio.wait((calls[1],))
    shop.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(result, bytes) for result in results] == [True, False, True, True]
    assert b"done" in await shop.call(0, "held")


# -- workers as processes ----------------------------------------------------------------------------------------

LEASE = 1.5

SERVER = f"""
import asyncio
import os
import sys
from enfilade import MCPApp
from enfilade.timings import Timings

app = MCPApp("slots")
app._timings = Timings(lease={LEASE}, lease_renewal=0.4, poll_interval=0.2)


@app.tool(max_concurrency=1)
async def hold(seconds: float) -> str:
    print("held", file=sys.stderr, flush=True)
    await asyncio.sleep(seconds)
    return str(os.getpid())


@app.tool
async def place() -> str:
    return str(os.getpid())


app.run("http", port=int(sys.argv[1]))
"""


def test_a_killed_worker_gives_its_slots_back(shared_url: str, tmp_path: Path) -> None:
    file = tmp_path / "slots.py"
    file.write_text(SERVER, encoding="utf-8")

    with ProcessCluster(2, lambda _: python_command(file, "{port}"), shared_url) as cluster:
        first, second = (Http(server.port) for server in cluster.servers)
        assert text(first.modern_call("hold", seconds=0)) != text(second.modern_call("hold", seconds=0))
        pending = first.start_modern("tools/call", {"name": "hold", "arguments": {"seconds": 1000}})
        eventually(lambda: cluster.servers[0].output.count("held") == 2)
        waiting = second.start_modern("tools/call", {"name": "hold", "arguments": {"seconds": 0}})
        cluster.kill(0)
        assert text(waiting.read()) == text(second.modern_call("place"))
        pending.close()


def text(reply: Any) -> str:
    found: str = reply.messages[-1]["result"]["content"][0]["text"]
    return found
