"""Servers for the clients: over HTTP one process for all of them, over stdio one for each."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import tooling
from clients.drivers import DRIVERS, Driver, Play, Report, drive
from servers import ServerProcess, enfilade_command, python_command

COMMANDS = {
    "calls.json": {
        "http": python_command("tests/clients/server.py", "--port", "{port}"),
        "stdio": python_command("tests/clients/server.py"),
    },
    "changes.json": {
        "http": python_command("tests/clients/changing.py", "--port", "{port}"),
        "stdio": python_command("tests/clients/changing.py"),
    },
    # The newcomer's server goes through the command line, as the newcomer does.
    "quickstart.json": {
        "http": enfilade_command(
            "run",
            "examples/quickstart/server.py",
            "--transport",
            "http",
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
        ),
        "stdio": enfilade_command("run", "examples/quickstart/server.py"),
    },
}


@pytest.fixture(scope="session")
def play() -> Iterator[Play]:
    """Return a function that plays a script with a client over a transport, once: reports are kept."""
    servers: dict[str, ServerProcess] = {}
    reports: dict[tuple[Driver, str, str], Report] = {}

    def target(script: str, transport: str) -> list[str]:
        command = COMMANDS[script][transport]
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
