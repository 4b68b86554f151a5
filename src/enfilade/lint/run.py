"""Check a server in both eras, by all rules and against a snapshot; the outcome as JSON and for GitHub Actions.

An era that fails is a finding. If both fail, nothing was checked, and that is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from enfilade.client.connect import ConnectError, Era, connect, innermost
from enfilade.client.surface import EndlessListError, Surface, read_surface
from enfilade.client.targets import Target
from enfilade.lint import schema_rules, surface_rules
from enfilade.lint.comparison import compare
from enfilade.lint.findings import SEVERITIES, Finding, Rule, rules_in, sorted_by_severity
from enfilade.lint.protocol import missing_era, probe
from enfilade.lint.surface_rules import tokens_of_all

RULES: Final[tuple[Rule, ...]] = (*rules_in(surface_rules), *rules_in(schema_rules))

_ERAS: Final[tuple[Era, ...]] = ("stateless", "session")
_REASONS: Final = {rule.id: rule.why for rule in RULES}
#: The commands of GitHub Actions, by severity.
_GITHUB_LEVELS: Final = {"error": "error", "breaking": "error", "warning": "warning", "note": "notice"}


class Outcome(Struct, kw_only=True):
    """The outcome of a check.

    Attributes:
        surface: the surface of the server.
        eras: the eras that it supports.
        tokens: estimated number of tokens of its list of tools in a model's context.
        findings: the findings, highest severity first.
    """

    surface: Surface
    eras: list[str]
    tokens: int
    findings: list[Finding]


def apply_rules(surface: Surface) -> list[Finding]:
    """Return the findings of all rules in a surface."""
    return [finding for rule in RULES for finding in rule.findings(surface)]


async def check(
    target: Target,
    *,
    baseline: Surface | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = 30.0,
) -> Outcome:
    """Check a server.

    Args:
        target: the server, as for `enfilade.testing.connect`.
        baseline: the surface of an earlier snapshot, for the comparison.
        headers: headers of each HTTP request.
        timeout: limit in seconds for each response.

    Raises:
        ConnectError: the server cannot be reached in any era.
        LoadError, ModuleNotFoundError: as for `connect`.
    """
    surface: Surface | None = None
    eras: list[str] = []
    findings: list[Finding] = []
    failure: ConnectError | None = None
    for era in _ERAS:
        try:
            surface_of_era, problems = await _check_era(target, era, headers, timeout)
        except ConnectError as error:
            failure = failure or error
            findings.append(missing_era(era, str(error).splitlines()[0]))
            continue
        eras.append(era)
        findings.extend(problems)
        surface = surface or surface_of_era
    if not eras and failure is not None:
        raise failure
    if surface is not None:
        findings.extend(apply_rules(surface))
        if baseline is not None:
            findings.extend(compare(baseline, surface))
    surface = surface or Surface()
    return Outcome(
        surface=surface, eras=eras, tokens=tokens_of_all(surface.tools), findings=sorted_by_severity(findings)
    )


async def _check_era(
    target: Target, era: Era, headers: Mapping[str, str] | None, timeout: float | None
) -> tuple[Surface | None, list[Finding]]:
    async with connect(target, era=era, headers=headers, timeout=timeout, log_level=None) as client:
        try:
            surface = await read_surface(client)
        except EndlessListError as error:
            fix = "end the list with a page without a cursor"
            return None, [_bad_list("endless-list", client.protocol_version, str(error), fix)]
        except Exception as error:
            problem = " ".join(str(innermost(error)).split())[:300]
            fix = "answer list requests as the protocol specifies"
            return None, [_bad_list("list", client.protocol_version, problem, fix)]
        return surface, await probe(client, surface)


def _bad_list(rule: str, where: str, problem: str, fix: str) -> Finding:
    return Finding(rule=rule, severity="error", where=where, problem=problem, fix=fix)


def why(finding: Finding) -> str:
    """Return the reason of a finding's rule; empty if the finding explains itself."""
    return _REASONS.get(finding.rule, "")


def counts(outcome: Outcome) -> dict[str, int]:
    """Return the number of findings by severity."""
    return {
        severity: sum(finding.severity == severity for finding in outcome.findings) for severity in SEVERITIES
    }


def as_json(outcome: Outcome) -> str:
    """Return an outcome as JSON."""
    report: dict[str, Any] = {
        "server": outcome.surface.server,
        "eras": outcome.eras,
        "tools": len(outcome.surface.tools),
        "tokens": outcome.tokens,
        "counts": counts(outcome),
        "findings": [{**msgspec.to_builtins(finding), "why": why(finding)} for finding in outcome.findings],
    }
    return json.dumps(report, indent=2, ensure_ascii=False)


def as_github(outcome: Outcome, file: str | None) -> str:
    """Return commands for GitHub Actions, one line for each finding.

    Args:
        outcome: the outcome of a check.
        file: the file to annotate; None for the run.
    """
    return "\n".join(_github_command(finding, file) for finding in outcome.findings)


def _github_command(finding: Finding, file: str | None) -> str:
    location = f"file={_escaped(file, ':,')}," if file else ""
    title = _escaped(f"{finding.rule}: {finding.where}", ":,")
    text = _escaped(f"{finding.problem} ({finding.fix})")
    return f"::{_GITHUB_LEVELS[finding.severity]} {location}title={title}::{text}"


def _escaped(text: str, separators: str = "") -> str:
    """Escape characters that would end a command or its property."""
    for character in f"%\r\n{separators}":  # % first, because the escapes contain it
        text = text.replace(character, f"%{ord(character):02X}")
    return text
