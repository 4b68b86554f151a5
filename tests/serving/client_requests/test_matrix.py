"""One tool and every official client in each cell of the matrix: it asks, samples, and charges exactly once.

In the stateless era also while servers are killed. Easy to get wrong: a charge that happened twice and is not
looked at. It goes into a file, which is read in the end.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from clients.drivers import DRIVERS, STATELESS, STDIO, Driver, Report, drive, installed, location_name
from support.proxy import recording_app
from support.proxy.restarting_relay import Relay
from support.servers.processes import ROOT
from support.stores.matrix import Cells, chosen_cells

SERVER = ROOT / "tests/support/servers/every_question_server.py"
SCRIPT = json.loads(Path(__file__).with_name("errand.json").read_text(encoding="utf-8"))
SECRET = {"ENFILADE_SECRET": "a secret of the matrix that is long enough"}

ASKED = {
    "long": [
        ("elicit", "long: your name?"),
        ("elicit", "long: any more?"),
        ("elicit", "long: what size?"),
        ("sample", "long: greet Ada"),
        ("roots", "roots"),
    ],
    "short": [
        ("elicit", "short: your name?"),
        ("elicit", "short: any more?"),
        ("sample", "short: greet Bob"),
        ("roots", "roots"),
    ],
}
"""The third question is asked only if the second was answered with yes."""

ROUNDS = sum(map(len, ASKED.values()))


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.name)
def driver(request: pytest.FixtureRequest) -> Driver:
    return installed(request.param)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return where the servers' messages are recorded; in the end each is held against its revision's schema."""
    path = tmp_path_factory.mktemp("matrix") / "left.jsonl"
    yield path
    if path.exists():
        recording_app.validate_log(path)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cells]:
    """Serves the tool; in the end, whatever left the servers must have been legal."""
    with Cells(tmp_path_factory.mktemp("cells")) as cells:
        yield cells
    cells.validate_logs()


@pytest.fixture(scope="module", params=[*chosen_cells(), STDIO], ids=location_name)
def target(request: pytest.FixtureRequest, cells: Cells, log: Path) -> Iterator[list[str]]:
    """Return where a client finds the tool: at the servers of a cell, or over stdio."""
    if request.param == STDIO:
        yield ["stdio", *recording_app.command(SERVER, "stdio", None, log)]
        return
    with cells.serve(request.param, SERVER) as url:
        yield ["http", url]


def run_errands(driver: Driver, target: Sequence[str], folder: Path) -> None:
    """Let a client call the tool twice, and check what it saw and what was charged."""
    ledger, script = folder / "ledger", folder / "errand.json"
    steps = [
        [{**call, "arguments": {**call["arguments"], "ledger": str(ledger)}} for call in step]
        for step in SCRIPT["steps"]
    ]
    script.write_text(json.dumps({**SCRIPT, "steps": steps}), encoding="utf-8")
    report = drive(driver, str(script), target)
    assert report.revision == driver.revision
    assert asked(report) == [*ASKED["long"], *ASKED["short"]]
    assert report.text("long") == "Ada large 4 Hello, Ada. file:///home/ada"
    assert report.text("short") == "Bob none 5 Hello, Bob. file:///home/ada"
    assert ledger.read_text(encoding="utf-8").splitlines() == ["long", "short"]


def asked(report: Report) -> list[Any]:
    """Return the questions that came to the client's user, in order."""
    return [(event["what"], event["words"]) for event in report.events if event["kind"] == "asked"]


def test_one_function_for_every_client(driver: Driver, target: list[str], tmp_path: Path) -> None:
    """R-29A, R-29C, SEP-2260: an answer may come to another worker than the one that asked."""
    run_errands(driver, target, tmp_path)


PINNED = [each for each in DRIVERS if each.mode == STATELESS]


@pytest.mark.parametrize(
    ("driver", "hosts", "processes"),
    [
        pytest.param(PINNED[0], {"restart": True}, ROUNDS, id="killed and restarted after each question"),
        *(
            pytest.param(driver, {"workers": 2}, 2, id=f"two processes in turn-{driver.name}")
            for driver in PINNED
        ),
    ],
    indirect=["driver"],
)
def test_whatever_becomes_of_the_servers(
    driver: Driver, hosts: dict[str, Any], processes: int, tmp_path: Path, log: Path
) -> None:
    """R-294, R-29A: what a call has asked, been told and done is with the client; any worker goes on from it."""
    with Relay(recording_app.command(SERVER, "http", "{port}", log), SECRET, **hosts) as relay:
        run_errands(driver, ["http", relay.url], tmp_path)
    assert len(relay.rounds) == ROUNDS
    assert len(set(relay.rounds)) == processes
