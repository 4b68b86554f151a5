"""Servers for the clients: over HTTP one process for all of them, over stdio one for each."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import tapped
import tooling
from clients.drivers import DRIVERS, Driver, Play, Report, drive
from servers import ROOT, ServerProcess

#: The server that each script of calls is played against.
SERVERS = {
    "calls.json": ROOT / "tests/clients/server.py",
    "changes.json": ROOT / "tests/clients/changing.py",
    "quickstart.json": ROOT / "examples/quickstart/server.py",
}


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """Return a function that plays a script with a client over a transport, once: reports are kept.

    Every message that left a server on the way is held against the schema of its revision in the end.
    """
    log = tmp_path_factory.mktemp("clients") / "left.jsonl"
    servers: dict[str, ServerProcess] = {}
    reports: dict[tuple[Driver, str, str], Report] = {}

    def target(script: str, transport: str) -> list[str]:
        command = tapped.command(SERVERS[script], transport, "{port}" if transport == "http" else None, log)
        if transport == "stdio":
            return ["stdio", *command]
        if script not in servers:
            servers[script] = stack.enter_context(ServerProcess(command))
        return ["http", servers[script].url]

    def play_once(driver: Driver, script: str, transport: str) -> Report:
        key = (driver, script, transport)
        if key not in reports:
            reports[key] = drive(driver, script, target(script, transport))
        return reports[key]

    with ExitStack() as stack:
        yield play_once
    if reports:
        assert tapped.validate_log(log) > len(reports)


@pytest.fixture(scope="session", params=["http", "stdio"])
def transport(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.name, scope="session")
def driver(request: pytest.FixtureRequest) -> Driver:
    """Return a client that is installed; one that is not is skipped, or a failure where tools are required."""
    chosen: Driver = request.param
    try:
        chosen.command()
    except tooling.ToolMissing as missing:
        if tooling.required():
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    return chosen
