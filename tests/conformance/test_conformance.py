"""The official conformance suite in each cell of the matrix: every scenario is a test, and so is its verdict."""

import pytest

from conformance.conftest import Outcome, legs_of
from conformance.scenarios import SCENARIOS, SKILLS
from conformance.suite import expected_failures
from support.stores.matrix import Cell, chosen_cells

EXPECTED = expected_failures()
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
    """No failure and no warning, except those of the baseline, all of which must still be there."""
    broken = outcome(cell, leg).scenarios[scenario].broken
    listed = EXPECTED.get(scenario)
    allowed = set() if listed is None else listed or set(broken)
    unexpected = [f"{check}: {message}" for check, message in broken.items() if check not in allowed]
    assert not unexpected, "\n".join(unexpected)
    if listed is not None:
        stale = sorted(allowed - set(broken)) if broken else [scenario]
        assert not stale, f"{', '.join(stale)} now passes: remove it from expected-failures.yml"
        pytest.xfail(f"in the baseline: {', '.join(broken)}")


@pytest.mark.parametrize(("cell", "leg"), LEGS, ids=named)
def test_the_suites_own_verdict(outcome: Outcome, cell: Cell, leg: str) -> None:
    run = outcome(cell, leg)
    assert run.exit_code == 0, run.output


@pytest.mark.parametrize(("cell", "leg"), [(cell, leg) for cell, leg in LEGS if leg in SKILLS], ids=named)
def test_skills_leave_nothing_out(outcome: Outcome, cell: Cell, leg: str) -> None:
    """A server without skills passes as well: all checks are skipped."""
    assert outcome(cell, leg).scenarios[leg].skipped == {}


def test_the_baseline_names_scenarios_that_exist() -> None:
    known = {name for names in SCENARIOS.values() for name in names}
    assert set(EXPECTED) - known == set()
