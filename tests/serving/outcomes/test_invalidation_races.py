"""Invalidations while calls run, over sockets: what was computed before one is never in the cache after it.

The tool reads a number, waits, and returns the number. A number that is raised before an invalidation is what
every call has to see that begins after it, at any worker. Easy to get wrong: which calls begin after it. Those
that were sent when the invalidation had its answer.
"""

import itertools
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.cluster.server_processes import ProcessCluster
from support.harness import eventually
from support.http_client.connection import Http, PendingReply
from support.servers.processes import python_command

ROUNDS = 30
READERS = 6

SERVER = """
import asyncio
import sys
from pathlib import Path
from enfilade import MCPApp

app = MCPApp("prices")
numbers, gates = Path(sys.argv[2]), Path(sys.argv[3])
READ_ONLY = {"read_only_hint": True}


@app.tool(cache=600, annotations=READ_ONLY)
async def look(item: str, delay: float = 0.0) -> int:
    number = int((numbers / item).read_text())
    await asyncio.sleep(delay)
    return number


@app.tool(cache=600, annotations=READ_ONLY)
async def look_slowly(item: str) -> int:
    number = int((numbers / item).read_text())
    with (numbers / f"{item}.reads").open("a") as reads:
        print(number, file=reads)
    while not (gates / item).exists():
        await asyncio.sleep(0.005)
    return number


@app.tool
async def forget(tool: str, item: str | None = None) -> str:
    await app.tools.invalidate(tool, None if item is None else {"item": item})
    return "done"


app.run("http", port=int(sys.argv[1]))
"""


class Shop:
    """Workers that share a store, and the numbers that they read."""

    def __init__(self, cluster: ProcessCluster, folder: Path) -> None:
        self.workers = [Http(server.port) for server in cluster.servers]
        self._folder = folder
        self._names = itertools.count(1)

    def new_item(self) -> str:
        """Return a name that no other test has, whose number is 0."""
        item = f"item{next(self._names)}"
        self.set(item, 0)
        return item

    def set(self, item: str, number: int) -> None:
        beside = self._folder / "numbers" / f"{item}.new"
        beside.write_text(str(number), encoding="utf-8")
        beside.replace(beside.with_suffix(""))

    def open_gate(self, item: str) -> None:
        (self._folder / "gates" / item).touch()

    def reads(self, item: str, number: int) -> int:
        """How often `look_slowly` read an item when it had a number."""
        reads = self._folder / "numbers" / f"{item}.reads"
        return reads.read_text("utf-8").splitlines().count(str(number)) if reads.exists() else 0


@pytest.fixture(scope="module", params=["memory-1", "sqlite-1", "sqlite-3", "valkey-3"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("invalidation")
    for name in ("numbers", "gates"):
        (folder / name).mkdir()
    (folder / "prices.py").write_text(SERVER, encoding="utf-8")
    kind, _, count = request.param.partition("-")
    if kind == "valkey":
        url = f"{request.getfixturevalue('valkey_of_outcomes').url}?prefix=invalidation:"
    else:
        url = "memory://" if kind == "memory" else f"sqlite:///{folder / 'state.db'}"
    command = python_command(folder / "prices.py", "{port}", str(folder / "numbers"), str(folder / "gates"))
    with ProcessCluster(int(count), command, url) as cluster:
        yield Shop(cluster, folder)


def value(reply: Any) -> int:
    found: int = reply.messages[-1]["result"]["structuredContent"]["result"]
    return found


def start(http: Http, item: str) -> PendingReply:
    return http.start_modern("tools/call", {"name": "look_slowly", "arguments": {"item": item}})


@pytest.mark.parametrize("by_arguments", [True, False])
def test_a_run_that_began_before_is_not_cached(shop: Shop, by_arguments: bool) -> None:
    item = shop.new_item()
    before = start(shop.workers[0], item)
    eventually(lambda: shop.reads(item, 0) == 1)
    waiting_before = start(shop.workers[-1], item)
    shop.set(item, 1)
    narrow = {"item": item} if by_arguments else {}
    shop.workers[-1].modern_call("forget", tool="look_slowly", **narrow)
    after = [start(worker, item) for worker in shop.workers]
    shop.open_gate(item)
    assert value(before.read()) == 0, "its own caller gets its result"
    assert value(waiting_before.read()) in (0, 1)
    assert {value(reply.read()) for reply in after} == {1}
    assert {value(worker.modern_call("look_slowly", item=item)) for worker in shop.workers} == {1}


def test_calls_with_other_arguments_stay(shop: Shop) -> None:
    one, other = shop.new_item(), shop.new_item()
    for item in (one, other):
        assert value(shop.workers[0].modern_call("look", item=item)) == 0
        shop.set(item, 1)
    shop.workers[-1].modern_call("forget", tool="look", item=one)
    assert value(shop.workers[0].modern_call("look", item=one)) == 1
    assert value(shop.workers[0].modern_call("look", item=other)) == 0


def test_no_reader_ever_sees_what_was_before_an_invalidation(shop: Shop) -> None:
    """Whoever reads after an invalidation has had its answer gets the number of then, or a later one."""
    item, chance = shop.new_item(), random.Random(17)
    current, is_over = 0, False

    def read(number: int) -> list[tuple[int, int]]:
        delays, seen = random.Random(number), []
        while not is_over:
            least = current
            delay = delays.choice((0.0, 0.001, 0.01))
            reply = shop.workers[number % len(shop.workers)].modern_call("look", item=item, delay=delay)
            seen.append((least, value(reply)))
        return seen

    with ThreadPoolExecutor(READERS) as threads:
        readers = [threads.submit(read, number) for number in range(READERS)]
        try:
            for number in range(1, ROUNDS + 1):
                shop.set(item, number)
                chance.choice(shop.workers).modern_call("forget", tool="look")
                current = number
        finally:
            is_over = True
        seen = [each for reader in readers for each in reader.result()]
    assert len(seen) >= ROUNDS
    assert [(least, found) for least, found in seen if found < least] == []
