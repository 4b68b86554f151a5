"""Runs the official conformance suite against the everything server, once per leg, and reads what it found.

The suite's own exit code counts failures of scored scenarios only and its summary hides warnings, so the verdicts
here come from the `checks.json` that it writes for each scenario.
"""

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from enfilade.wire.revisions import ALL
from support import tooling

TIMEOUT = 300.0
"""Seconds a whole leg may take; it takes less than 20."""


@dataclass(frozen=True)
class Leg:
    """One run of the suite: its options, and so which scenarios speak which revision."""

    name: str
    options: tuple[str, ...]


LEGS = {
    leg.name: leg
    for leg in (
        Leg("all", ("--suite", "all")),
        Leg("draft", ("--suite", "draft")),
        *(Leg(f"all-{revision}", ("--suite", "all", "--spec-version", revision)) for revision in ALL[1:]),
        Leg("required-2025-11-25", ("--requirements", "2025-11-25")),
        Leg("required-2026-07-28", ("--requirements", "2026-07-28")),
    )
}


@dataclass
class Scenario:
    """What one scenario found: check id → message, for the checks that did not hold, or were not made."""

    failures: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def broken(self) -> dict[str, str]:
        """Everything that is not as it should be: what the protocol demands and what it recommends."""
        return self.failures | self.warnings


@dataclass(frozen=True)
class Run:
    """The outcome of one leg."""

    exit_code: int
    output: str
    scenarios: dict[str, Scenario]


def run(leg: Leg, url: str, results: Path) -> Run:
    """Run one leg against a server that is up."""
    command = [*tooling.conformance(), "server", "--url", url, *leg.options, "-o", str(results)]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT, check=False
    )
    scenarios = {}
    for checks in sorted(results.glob("server-*/checks.json")):
        # The folder is `server-SCENARIO-TIME`, the time like 2026-07-28T12-30-59-123Z.
        name = re.sub(r"-\d{4}-\d\d-\d\dT[\dZ-]+$", "", checks.parent.name.removeprefix("server-"))
        scenarios[name] = _read(checks)
    # What comes before the summary is one paragraph for each scenario, and says only that it ran.
    summary = done.stdout[max(done.stdout.find("=== SUMMARY ==="), 0) :]
    return Run(done.returncode, summary + done.stderr, scenarios)


def _read(checks: Path) -> Scenario:
    scenario = Scenario()
    for check in json.loads(checks.read_text(encoding="utf-8")):
        message = check.get("errorMessage") or check.get("description") or ""
        if check["status"] == "FAILURE":
            scenario.failures[check["id"]] = message
        elif check["status"] == "WARNING":
            scenario.warnings[check["id"]] = message
        elif check["status"] == "SKIPPED":
            scenario.skipped[check["id"]] = message
    return scenario
