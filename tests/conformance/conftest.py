"""One everything server for the whole session, and one run of each leg of the suite against it."""

from collections.abc import Callable, Iterator

import pytest

import tapped
import tooling
from conformance import suite
from servers import ROOT, ServerProcess

Outcome = Callable[[str], suite.Run]


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Return a function that runs a leg the first time it is asked for it, and hands out what that run found."""
    try:
        tooling.conformance()
    except tooling.ToolMissing as missing:
        if tooling.required():
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    runs: dict[str, suite.Run] = {}
    log = tmp_path_factory.mktemp("conformance") / "left.jsonl"
    everything = ROOT / "examples/everything/server.py"
    with ServerProcess(tapped.command(everything, "http", "{port}", log)) as server:

        def run_once(leg: str) -> suite.Run:
            if leg not in runs:
                runs[leg] = suite.run(suite.LEGS[leg], server.url, tmp_path_factory.mktemp(leg))
            return runs[leg]

        yield run_once
    if runs:
        assert tapped.validate_log(log) > len(runs)
