"""The official conformance suite: every scenario of every leg is a test, and so is the suite's own verdict."""

from collections.abc import Callable

import pytest

from conformance.scenarios import SCENARIOS
from conformance.suite import Run, expected_failures

EXPECTED = expected_failures()
Outcome = Callable[[str], Run]


@pytest.mark.parametrize("leg", SCENARIOS)
def test_the_leg_ran_the_scenarios_we_know(outcome: Outcome, leg: str) -> None:
    run = outcome(leg)
    assert sorted(run.scenarios) == sorted(SCENARIOS[leg]), run.output


@pytest.mark.parametrize(("leg", "scenario"), [(leg, name) for leg, names in SCENARIOS.items() for name in names])
def test_scenario(outcome: Outcome, leg: str, scenario: str) -> None:
    """No failure and no warning, except those of the baseline, all of which must still be there."""
    broken = outcome(leg).scenarios[scenario].broken
    listed = EXPECTED.get(scenario)
    allowed = set() if listed is None else listed or set(broken)
    unexpected = [f"{check}: {message}" for check, message in broken.items() if check not in allowed]
    assert not unexpected, "\n".join(unexpected)
    if listed is not None:
        stale = sorted(allowed - set(broken)) if broken else [scenario]
        assert not stale, f"{', '.join(stale)} now passes: remove it from expected-failures.yml"
        pytest.xfail(f"in the baseline: {', '.join(broken)}")


@pytest.mark.parametrize("leg", SCENARIOS)
def test_the_suites_own_verdict(outcome: Outcome, leg: str) -> None:
    run = outcome(leg)
    assert run.exit_code == 0, run.output


def test_the_baseline_names_scenarios_that_exist() -> None:
    known = {name for names in SCENARIOS.values() for name in names}
    assert set(EXPECTED) - known == set()
