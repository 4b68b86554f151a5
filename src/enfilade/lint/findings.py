"""Findings, and the rules that make them.

A rule is a function with a decorator: what it looks for, how severe that is, why, and how to fix it stand
together. A change of the surface has a severity of its own (`breaking`), so that a build can fail for that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Final, Literal

from msgspec import Struct

from enfilade.client.surface import Surface

Severity = Literal["error", "breaking", "warning", "note"]
FailOn = Literal["error", "warning", "breaking"]
Hits = Iterator[tuple[str, str]]  # where, and what is wrong there
Find = Callable[[Surface], Hits]

#: Most severe first.
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "breaking", "warning", "note")

#: Severities that fail a build, by the option `--fail-on`.
FAILING: Final[dict[FailOn, frozenset[Severity]]] = {
    "warning": frozenset({"error", "breaking", "warning"}),
    "error": frozenset({"error", "breaking"}),
    "breaking": frozenset({"breaking"}),
}


class Finding(Struct, frozen=True, kw_only=True, rename={"problem": "said", "fix": "mend"}):
    """One problem of a server. In JSON, `problem` is called `said`, and `fix` is called `mend`.

    Attributes:
        rule: the rule's id.
        severity: `error` (against the protocol), `breaking` (clients of the last snapshot fail), `warning` (some
            host or model has trouble), `note` (may be intended).
        where: the part of the server, such as `tool add, argument a`.
        problem: what is wrong.
        fix: what to do about it.
    """

    rule: str
    severity: Severity
    where: str
    problem: str
    fix: str


class Rule(Struct, frozen=True, kw_only=True):
    """A rule for what a server offers.

    Attributes:
        id: its name.
        severity: of its findings.
        why: who has trouble, and which. A rule without a reason is no rule.
        fix: what to do about a finding.
        find: yields where in a surface what is wrong.
    """

    id: str
    severity: Severity
    why: str
    fix: str
    find: Find

    def findings(self, surface: Surface) -> Iterator[Finding]:
        """Yield what the rule finds in a surface."""
        for where, problem in self.find(surface):
            yield Finding(rule=self.id, severity=self.severity, where=where, problem=problem, fix=self.fix)


def rule(id: str, severity: Severity, why: str, fix: str) -> Callable[[Find], Rule]:
    """Return a decorator that makes a function a rule; arguments are the attributes of `Rule`."""

    def decorate(find: Find) -> Rule:
        return Rule(id=id, severity=severity, why=why, fix=fix, find=find)

    return decorate


def rules_in(module: ModuleType) -> list[Rule]:
    """Return the rules of a module, in the order in which they are written."""
    return [value for value in vars(module).values() if isinstance(value, Rule)]


def sorted_by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings, most severe first, otherwise in order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def fails(findings: Iterable[Finding], fail_on: FailOn) -> bool:
    """Whether a build should fail for these findings."""
    return any(finding.severity in FAILING[fail_on] for finding in findings)
