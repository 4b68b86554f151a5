"""What a check has found, for programs: JSON, and the lines that GitHub Actions shows beside a change.

Easy to get wrong: a line for GitHub ends where a line ends, so what would end it is written as %0A.
"""

import json
from typing import Any, Final

import msgspec

from enfilade.lint.findings import SEVERITIES, Finding
from enfilade.lint.rules import RULES
from enfilade.lint.run import Outcome

_LEVELS: Final = {"error": "error", "breaking": "error", "warning": "warning", "note": "notice"}
_WHY: Final = {rule.id: rule.why for rule in RULES}


def why(finding: Finding) -> str:
    """Return who minds what was found; empty if the finding says so itself."""
    return _WHY.get(finding.rule, "")


def counts(outcome: Outcome) -> dict[str, int]:
    """Return how many findings there are of each severity."""
    return {each: sum(finding.severity == each for finding in outcome.findings) for each in SEVERITIES}


def as_json(outcome: Outcome) -> str:
    """Return all that was found as JSON."""
    found: dict[str, Any] = {
        "server": outcome.surface.server,
        "eras": outcome.eras,
        "tools": len(outcome.surface.tools),
        "tokens": outcome.tokens,
        "counts": counts(outcome),
        "findings": [{**msgspec.to_builtins(each), "why": why(each)} for each in outcome.findings],
    }
    return json.dumps(found, indent=2, ensure_ascii=False)


def as_github(outcome: Outcome, file: str | None) -> str:
    """Return commands for GitHub Actions, a line for each finding.

    Args:
        outcome: what was found.
        file: the file that is annotated; None for the run as a whole.
    """
    return "\n".join(_command(each, file) for each in outcome.findings)


def _command(finding: Finding, file: str | None) -> str:
    place = f"file={_escaped(file, ':,')}," if file else ""
    title = _escaped(f"{finding.rule}: {finding.where}", ":,")
    return f"::{_LEVELS[finding.severity]} {place}title={title}::{_escaped(f'{finding.said} ({finding.mend})')}"


def _escaped(text: str, more: str = "") -> str:
    for each in f"%\r\n{more}":  # % first, for the others bring it in
        text = text.replace(each, f"%{ord(each):02X}")
    return text
