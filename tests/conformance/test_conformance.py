"""The official conformance suite in each cell of the matrix: every scenario is a test, and so is its verdict."""

import pytest

from conformance.conftest import Outcome, legs_of
from conformance.scenarios import SCENARIOS, SKIPPED
from support.stores.matrix import Cell, chosen_cells

LEGS = [(cell, leg) for cell in chosen_cells() for leg in legs_of(cell)]


def named(part: Cell | str) -> str:
    return part.name if isinstance(part, Cell) else part


@pytest.mark.parametrize(("cell", "leg"), LEGS, ids=named)
def test_the_leg_ran_the_scenarios_we_know(outcome: Outcome, cell: Cell, leg: str) -> None:
    run = outcome(cell, leg)
    assert sorted(run.scenarios) == sorted(SCENARIOS[leg]), run.output


@pytest.mark.parametrize(
    ("cell", "leg", "scenario"),
    [(cell, leg, name) for cell, leg in LEGS for name in SCENARIOS[leg]],
    ids=named,
)
def test_scenario(outcome: Outcome, cell: Cell, leg: str, scenario: str) -> None:
    """No failure, no warning, and nothing left out: a server that declares nothing has all checks skipped."""
    ended = outcome(cell, leg).scenarios[scenario]
    assert ended.broken == {}
    assert set(ended.skipped) <= SKIPPED


@pytest.mark.parametrize(("cell", "leg"), LEGS, ids=named)
def test_the_suites_own_verdict(outcome: Outcome, cell: Cell, leg: str) -> None:
    run = outcome(cell, leg)
    assert run.exit_code == 0, run.output
