"""For each cell of the matrix one everything server, or a cluster of them, and one run of each leg against it."""

from collections.abc import Callable, Iterator

import pytest

from conformance import suite
from conformance.scenarios import SCENARIOS
from support import tooling
from support.servers.processes import ROOT
from support.stores.matrix import CELLS, Cell, Cells

Outcome = Callable[[Cell, str], suite.Run]


def legs_of(cell: Cell) -> list[str]:
    """Return the legs that are run in a cell: both eras in full in each, and all legs in the first.

    What the others add does not depend on the store, but for tasks, which are in `all`: so the last has that too.
    """
    if cell is CELLS[0]:
        return list(SCENARIOS)
    return ["all-2025-11-25", "all-2026-07-28", *(["all"] if cell is CELLS[-1] else [])]


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Return what a leg found in a cell; the first time that a cell is asked for, all of its legs are run.

    In the end, whatever left the servers must have been legal.
    """
    with tooling.or_skip():
        tooling.conformance()
    runs: dict[Cell, dict[str, suite.Run]] = {}
    with Cells(tmp_path_factory.mktemp("conformance")) as cells:

        def run_once(cell: Cell, leg: str) -> suite.Run:
            if cell not in runs:
                runs[cell] = {}
                with cells.serve(cell, ROOT / "examples/everything/server.py") as url:
                    for each in legs_of(cell):
                        results = tmp_path_factory.mktemp(f"{cell.name}-{each}")
                        runs[cell][each] = suite.run(suite.LEGS[each], url, results)
            assert leg in runs[cell], "the first test of this cell says why it was not run"
            return runs[cell][leg]

        yield run_once
        assert cells.validate_logs() > 0
