"""Findings, and rules, which produce them.

A rule is a function with a decorator that has its severity, its reason and the fix. A change of the surface has a
severity of its own (`breaking`), so that a build can fail for such changes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Final, Literal

from msgspec import Struct

from enfilade.client.surface import Surface

Severity = Literal["error", "breaking", "warning", "note"]
FailOn = Literal["error", "warning", "breaking"]
Hits = Iterator[tuple[str, str]]  # the location, and the problem
Find = Callable[[Surface], Hits]

#: The severities, highest first.
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
        severity: `error` (violates the protocol), `breaking` (clients of the last snapshot fail), `warning`
            (causes trouble in some host or model), `note` (may be intended).
        where: the location in the server, such as `tool add, argument a`.
        problem: the problem.
        fix: the advice.
    """

    rule: str
    severity: Severity
    where: str
    problem: str
    fix: str


class Rule(Struct, frozen=True, kw_only=True):
    """A rule for the surface of a server.

    Attributes:
        id: its name.
        severity: the severity of its findings.
        why: the trouble that it prevents, and for whom.
        fix: the advice for a finding.
        find: yields the locations and problems in a surface.
    """

    id: str
    severity: Severity
    why: str
    fix: str
    find: Find

    def findings(self, surface: Surface) -> Iterator[Finding]:
        """Yield the findings of the rule in a surface."""
        for where, problem in self.find(surface):
            yield Finding(rule=self.id, severity=self.severity, where=where, problem=problem, fix=self.fix)


def rule(id: str, severity: Severity, why: str, fix: str) -> Callable[[Find], Rule]:
    """Return a decorator that turns a function into a rule; the arguments are attributes of `Rule`."""

    def decorate(find: Find) -> Rule:
        return Rule(id=id, severity=severity, why=why, fix=fix, find=find)

    return decorate


def rules_in(module: ModuleType) -> list[Rule]:
    """Return the rules of a module in source order."""
    return [value for value in vars(module).values() if isinstance(value, Rule)]


def sorted_by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings by descending severity, otherwise in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def fails(findings: Iterable[Finding], fail_on: FailOn) -> bool:
    """Return whether a build should fail for these findings."""
    return any(finding.severity in FAILING[fail_on] for finding in findings)
