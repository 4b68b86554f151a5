"""Servers for the clients: over HTTP those of each cell of the matrix in turn, over stdio one for each client."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from clients.drivers import (
    DRIVERS,
    STDIO,
    Driver,
    PlayScript,
    Report,
    ServerLocation,
    drive,
    installed,
    location_name,
)
from support.proxy import recording_app
from support.servers.processes import ROOT
from support.stores.matrix import Cell, Cells, chosen_cells

#: The server that each script of calls is played against.
SERVERS = {
    "calls.json": ROOT / "tests/clients/server.py",
    "changes.json": ROOT / "tests/clients/changing.py",
    "quickstart.json": ROOT / "examples/quickstart/server.py",
}


@pytest.fixture(scope="session")
def play_script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayScript]:
    """Return a function that plays a script with a client at a place, once: what came of it is kept.

    Only the servers of one cell run at a time. Every message that left a server on the way is held against the
    schema of its revision in the end.
    """
    folder = tmp_path_factory.mktemp("clients")
    meeting = folder / "meeting"
    meeting.mkdir()
    reports: dict[tuple[Driver, str, ServerLocation], Report | AssertionError] = {}
    urls: dict[tuple[Cell, str], str] = {}

    def target(script: str, location: ServerLocation) -> list[str]:
        if location == STDIO:
            return ["stdio", *recording_app.command(SERVERS[script], "stdio", None, folder / "stdio.jsonl")]
        assert isinstance(location, Cell)
        if any(cell != location for cell, _ in urls):
            servers.close()
            urls.clear()
        if (location, script) not in urls:
            urls[location, script] = servers.enter_context(cells.serve(location, SERVERS[script]))
        return ["http", urls[location, script]]

    def play_once(driver: Driver, script: str, location: ServerLocation) -> Report:
        key = (driver, script, location)
        if key not in reports:
            try:
                reports[key] = drive(driver, script, target(script, location))
            except AssertionError as failure:
                reports[key] = failure
        report = reports[key]
        if isinstance(report, AssertionError):
            raise report
        return report

    with Cells(folder, {"MEETING": str(meeting)}) as cells, ExitStack() as servers:
        yield play_once
    if reports:
        assert cells.validate_logs() > len(reports)


@pytest.fixture(scope="session", params=[*chosen_cells(), STDIO], ids=location_name)
def location(request: pytest.FixtureRequest) -> ServerLocation:
    """Return where a client meets the server: a cell of the matrix, or a pair of pipes."""
    chosen: ServerLocation = request.param
    return chosen


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.name)
def driver(request: pytest.FixtureRequest) -> Driver:
    return installed(request.param)
