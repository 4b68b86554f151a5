"""The report of a check: steps in the order of a client, each with findings and how to mend them."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

Level = Literal["ok", "warning", "problem"]

Access = Literal["token", "open", "unclear"]

#: The levels, the worst first.
LEVELS: Final[tuple[Level, ...]] = ("problem", "warning", "ok")

#: Longest text of a stranger in a finding, in characters.
_LONGEST: Final = 300


class Finding(Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at.

    Attributes:
        level: `ok`; `warning` (some clients fail, or a user is at risk); `problem` (a rule is broken).
        text: what it is.
        fix: how to mend it; empty for what is well.
    """

    level: Level
    text: str
    fix: str = ""


class Step(Struct):
    """One step of a client, such as a document that it reads.

    Attributes:
        title: what is done.
        findings: what was found, in that order.
    """

    title: str
    findings: list[Finding] = []

    def ok(self, text: str) -> None:
        """Add what is as it should be."""
        self.findings.append(Finding("ok", text))

    def warning(self, text: str, fix: str) -> None:
        """Add what makes trouble for some clients."""
        self.findings.append(Finding("warning", text, fix))

    def problem(self, text: str, fix: str) -> None:
        """Add what breaks a rule, or makes clients fail."""
        self.findings.append(Finding("problem", text, fix))


class Report(Struct):
    """The outcome of a check.

    Attributes:
        url: the endpoint that was checked.
        access: `token` if it wants one; `open` if it wants none; `unclear` for another answer.
        offers_login: whether something says where clients get a token. A server of API keys has no such thing.
        steps: the steps, in the order of a client.
    """

    url: str
    access: Access = "unclear"
    offers_login: bool = True
    steps: list[Step] = []

    @property
    def is_protected(self) -> bool:
        """Whether the endpoint wants a token."""
        return self.access == "token"

    def step(self, title: str) -> Step:
        """Begin a step."""
        step = Step(title)
        self.steps.append(step)
        return step

    def count(self, level: Level) -> int:
        """Return how many findings have a level."""
        return sum(finding.level == level for step in self.steps for finding in step.findings)

    def as_json(self) -> dict[str, Any]:
        """Return the report as values of JSON, with the counts."""
        report: dict[str, Any] = msgspec.to_builtins(self)
        return {**report, "counts": {level: self.count(level) for level in LEVELS}}


def quoted(value: object) -> str:
    """Return a value of a server for a finding: on one line, and cut where it is long; `missing` for none."""
    if value is None:
        return "missing"
    text = " ".join((value if isinstance(value, str) else msgspec.json.encode(value).decode()).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
