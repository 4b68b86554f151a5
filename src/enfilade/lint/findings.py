"""What a check finds, and how grave it is.

Easy to get wrong: a change of the surface is no mistake. It has a severity of its own, so that a build can fail
for what breaks clients and for nothing else.
"""

from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct

Severity = Literal["error", "breaking", "warning", "note"]
FailOn = Literal["error", "warning", "breaking"]

#: Most grave first.
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "breaking", "warning", "note")

#: What fails a build, by what was asked for.
FAILING: Final[dict[FailOn, frozenset[Severity]]] = {
    "warning": frozenset({"error", "breaking", "warning"}),
    "error": frozenset({"error", "breaking"}),
    "breaking": frozenset({"breaking"}),
}


class Finding(Struct, frozen=True, kw_only=True):
    """Something that was found.

    Attributes:
        rule: the rule's id.
        severity: `error` (against the protocol), `breaking` (clients of the last snapshot fail), `warning` (some
            host or model has trouble), `note` (may be as you want it).
        where: what it is about, such as `tool add, argument a`.
        said: what is wrong.
        mend: what to do about it.
    """

    rule: str
    severity: Severity
    where: str
    said: str
    mend: str


def sorted_by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings, most grave first, otherwise in order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def fails(findings: Iterable[Finding], fail_on: FailOn) -> bool:
    """Whether a build should fail for what was found."""
    return any(finding.severity in FAILING[fail_on] for finding in findings)
