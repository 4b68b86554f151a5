"""The clock of the machine is set an hour forwards or back between calls: rates, slots, caches and keys go on.

Two workers share a file, as SQLite is the store that goes by this clock: Redis has its own, and a store in memory
has one that cannot be set. What stands for the setting is a file with seconds that every process adds to its
clock; a timer would not notice it either.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cluster.server_processes import ProcessCluster
from support.harness import eventually
from support.http_client.connection import Http
from support.servers.processes import python_command

HOUR = 3600.0
SECONDS_AFTER = 5.0

SERVER = """
import asyncio
import sys
import time
from pathlib import Path

offset, now = Path(sys.argv[2]), time.time
time.time = lambda: now() + float(offset.read_text())

from enfilade import MCPApp

app = MCPApp("clock")
runs = 0
gate = asyncio.Event()


@app.tool(rate_limit="5/second", on_limit="refuse")
async def quick() -> str:
    return "done"


@app.tool(rate_limit="2/hour", on_limit="refuse")
async def scarce() -> str:
    return "done"


@app.tool(max_concurrency=1, on_limit="refuse")
async def hold(wait: bool) -> str:
    if wait:
        print("held", file=sys.stderr, flush=True)
        await gate.wait()
    return "done"


@app.tool
async def let_go() -> str:
    gate.set()
    return "done"


@app.tool(cache=60, annotations={"read_only_hint": True})
async def look() -> int:
    global runs
    runs += 1
    return runs


@app.tool(idempotency_key="key")
async def pay(key: str) -> int:
    global runs
    runs += 1
    return runs


app.run("http", port=int(sys.argv[1]))
"""


class Machine:
    """Two workers, and the clock that they have.

    Attributes:
        first, second: the workers.
        cluster: their processes.
    """

    def __init__(self, cluster: ProcessCluster, offset: Path) -> None:
        self.first, self.second = (Http(server.port) for server in cluster.servers)
        self.cluster = cluster
        self._offset = offset

    def set_clock(self, seconds: float) -> None:
        """Set the clock to so many seconds after the time that it is."""
        beside = self._offset.with_suffix(".new")
        beside.write_text(str(seconds), encoding="utf-8")
        beside.replace(self._offset)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    offset, file = tmp_path / "offset", tmp_path / "clock.py"
    offset.write_text("0", encoding="utf-8")
    file.write_text(SERVER, encoding="utf-8")
    command = python_command(file, "{port}", str(offset))
    with ProcessCluster(2, command, f"sqlite:///{tmp_path / 'state.db'}") as cluster:
        yield Machine(cluster, offset)


def result(http: Http, tool: str, **arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = http.modern_call(tool, **arguments).messages[-1]["result"]
    return found


def admitted(http: Http, tool: str, count: int) -> int:
    """Return how many of some calls were admitted."""
    return sum(not result(http, tool).get("isError") for _ in range(count))


def value(http: Http, tool: str, **arguments: Any) -> int:
    found: int = result(http, tool, **arguments)["structuredContent"]["result"]
    return found


def test_a_rate_comes_back_soon_after_the_clock_was_set_back(machine: Machine) -> None:
    assert admitted(machine.first, "quick", 5) == 5
    machine.set_clock(-HOUR)
    eventually(lambda: admitted(machine.second, "quick", 1), timeout=SECONDS_AFTER)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_clock_that_was_set_lets_no_more_through_than_a_full_bucket(machine: Machine, seconds: float) -> None:
    assert admitted(machine.first, "scarce", 2) == 2
    machine.set_clock(seconds)
    assert admitted(machine.second, "scarce", 4) <= 2
    assert admitted(machine.first, "scarce", 4) == 0


def test_a_clock_that_goes_forth_and_back_leaves_the_rate_as_it_was(machine: Machine) -> None:
    assert admitted(machine.first, "quick", 5) == 5
    machine.set_clock(HOUR)
    assert admitted(machine.second, "quick", 5) == 5
    machine.set_clock(0)
    eventually(lambda: admitted(machine.first, "quick", 1), timeout=SECONDS_AFTER)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_slot_that_is_held_stays_held(machine: Machine, seconds: float) -> None:
    holding = machine.first.start_modern("tools/call", {"name": "hold", "arguments": {"wait": True}})
    with holding:
        eventually(lambda: "held" in machine.cluster.output())
        machine.set_clock(seconds)
        assert result(machine.first, "hold", wait=False)["isError"] is True
        result(machine.first, "let_go")
        assert holding.read().messages[-1]["result"]["content"][0]["text"] == "done"
    eventually(lambda: not result(machine.second, "hold", wait=False).get("isError"))


def test_a_cached_result_does_not_outlive_its_time_when_the_clock_is_set_back(machine: Machine) -> None:
    assert value(machine.first, "look") == value(machine.second, "look") == 1
    machine.set_clock(-HOUR)
    assert result(machine.first, "look").get("_meta", {}).get("enfilade/answeredFrom") is None
    assert value(machine.first, "look") == value(machine.second, "look") == 2


def test_a_cached_result_is_over_when_the_clock_says_so(machine: Machine) -> None:
    assert value(machine.first, "look") == value(machine.second, "look") == 1
    machine.set_clock(HOUR)
    assert value(machine.first, "look") == value(machine.second, "look") == 2


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_key_keeps_its_outcome(machine: Machine, seconds: float) -> None:
    assert value(machine.first, "pay", key="a") == 1
    machine.set_clock(seconds)
    assert value(machine.second, "pay", key="a") == 1
    assert value(machine.first, "pay", key="b") == 2
    assert value(machine.second, "pay", key="b") == 2
