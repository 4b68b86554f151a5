"""Check a server in both eras: by probes, by all rules and against a snapshot.

An era that fails is a finding. If both fail, nothing was checked, and that is an error.

Probes are requests without side effects. No tool of the server is run: arguments that are not an object are sent
to tools with required arguments, which cannot run with them, or else to a tool that does not exist.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from enfilade.app import MCPApp
from enfilade.client.connect import ConnectError, Era, connect_with, innermost
from enfilade.client.surface import EndlessListError, Surface, read_surface
from enfilade.client.targets import ConnectionOptions, Target
from enfilade.lint import schema_rules, skill_rules, surface_rules
from enfilade.lint.access_rules import access_findings
from enfilade.lint.findings import SEVERITIES, Finding, Rule, Severity, rules_in, sorted_by_severity
from enfilade.lint.skill_rules import skill_findings
from enfilade.lint.snapshot import compare
from enfilade.lint.surface_rules import tokens_of_all
from enfilade.lint.view_rules import RULES as VIEW_RULES, text_findings, view_findings

if TYPE_CHECKING:
    import httpx2

    from enfilade.client.recording_client import Connected

RULES: Final[tuple[Rule, ...]] = tuple(
    rule for module in (surface_rules, schema_rules, skill_rules) for rule in rules_in(module)
)

_ERAS: Final[tuple[Era, ...]] = ("stateless", "session")
_REASONS: Final = {rule.id: rule.why for rule in RULES} | {id: why for id, (_, why, _) in VIEW_RULES.items()}
#: The commands of GitHub Actions, by severity.
_GITHUB_LEVELS: Final = {"error": "error", "breaking": "error", "warning": "warning", "note": "notice"}

_METHOD_NOT_FOUND: Final = -32601
_NO_SUCH_METHOD: Final = "enfilade/no-such-method"
_NO_SUCH_TOOL: Final = "enfilade_no_such_tool"
_MAX_PROBED_TOOLS: Final = 20  # that are called with arguments that are not an object

#: Advice for the findings of this module, by rule.
_FIXES: Final = {
    "endless-list": "end the list with a page without a cursor",
    "list": "answer list requests as the protocol specifies",
    "unknown-method": "answer unknown methods with the JSON-RPC error -32601",
    "unknown-tool": "answer a call of a tool that does not exist with an error",
    "malformed-arguments": "validate arguments, and answer invalid ones with an error",
    "ping": "answer ping with an empty result",
    "alive": "an error in one request must not end the connection",
    "era": "nothing, if all of your clients support the other one",
}


class CheckOutcome(Struct, kw_only=True):
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
    http_auth: httpx2.Auth | None = None,
) -> CheckOutcome:
    """Check a server.

    Args:
        target: the server, as for `enfilade.testing.connect`.
        baseline: the surface of an earlier snapshot, for the comparison.
        headers: headers of each HTTP request. An app is then served over HTTP, and checked as its caller sees it.
        timeout: limit in seconds for each response.
        http_auth: authorizes each HTTP request; as `headers`.

    Raises:
        ConnectError: the server cannot be reached in any era.
        LoadError, ModuleNotFoundError: as for `connect`.
    """
    options = ConnectionOptions(headers, http_auth=http_auth, lists_all=isinstance(target, MCPApp))
    outcome = await _check_target(target, baseline, options, timeout)
    if isinstance(target, MCPApp):
        of_app = [*access_findings(target), *skill_findings(target), *text_findings(target)]
        outcome.findings = sorted_by_severity([*outcome.findings, *of_app])
    return outcome


async def _check_target(
    target: Target, baseline: Surface | None, options: ConnectionOptions, timeout: float | None
) -> CheckOutcome:
    surface: Surface | None = None
    eras: list[str] = []
    findings: list[Finding] = []
    failure: ConnectError | None = None
    for era in _ERAS:
        try:
            surface_of_era, problems = await _check_era(target, era, options, timeout, with_views=surface is None)
        except ConnectError as error:
            failure = failure or error
            findings.append(_finding("era", era, str(error).splitlines()[0], "note"))
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
    return CheckOutcome(
        surface=surface, eras=eras, tokens=tokens_of_all(surface.tools), findings=sorted_by_severity(findings)
    )


async def _check_era(
    target: Target, era: Era, options: ConnectionOptions, timeout: float | None, *, with_views: bool
) -> tuple[Surface | None, list[Finding]]:
    async with connect_with(target, options, era=era, timeout=timeout) as client:
        try:
            surface = await read_surface(client)
        except EndlessListError as error:
            return None, [_finding("endless-list", client.protocol_version, str(error))]
        except Exception as error:
            problem = " ".join(str(innermost(error)).split())[:300]
            return None, [_finding("list", client.protocol_version, problem)]
        app = target if isinstance(target, MCPApp) else None
        findings = [finding async for finding in view_findings(client, surface, app)] if with_views else []
        return surface, [*findings, *[finding async for finding in _probe(client, surface)]]


async def _probe(client: Connected, surface: Surface) -> AsyncIterator[Finding]:
    """Yield the findings about a server's responses in the era of its client."""
    where = client.protocol_version
    code = await _error_of(client, _NO_SUCH_METHOD, {})
    if code != _METHOD_NOT_FOUND:
        yield _finding("unknown-method", where, f"an unknown method is answered with {_answer(code)}")
    if surface.tools:
        code = await _error_of(client, "tools/call", {"name": _NO_SUCH_TOOL, "arguments": {}})
        if code is None:
            yield _finding("unknown-tool", where, "a call of a tool that does not exist succeeds")
        for tool in surface.tools[:_MAX_PROBED_TOOLS]:
            required = tool.get("inputSchema", {}).get("required")
            name = tool["name"] if required else _NO_SUCH_TOOL
            code = await _error_of(client, "tools/call", {"name": name, "arguments": "no object"})
            if code is None:
                problem = "accepts arguments that are not an object"
                yield _finding("malformed-arguments", f"{where}, tool {name}", problem)
    async for finding in _probe_after_errors(client, where):
        yield finding


async def _probe_after_errors(client: Connected, where: str) -> AsyncIterator[Finding]:
    session = client.session.initialize_result is not None
    method = "ping" if session else "tools/list"
    code = await _error_of(client, method, {})
    if code is not None and not (method == "tools/list" and code == _METHOD_NOT_FOUND):
        rule = "ping" if code == _METHOD_NOT_FOUND else "alive"
        yield _finding(rule, where, f"{method} is answered with {_answer(code)} after errors")


async def _error_of(client: Connected, method: str, params: dict[str, Any]) -> int | None:
    """Return the error code of a response; None if the request succeeds, 0 if a tool reports a failure."""
    from mcp import MCPError
    from mcp_types import Request
    from pydantic import RootModel, ValidationError

    request = Request[dict[str, Any], str](method=method, params=params)
    try:
        response = await client.session.send_request(request, RootModel[dict[str, Any]])
    except MCPError as error:
        return error.code
    except ValidationError:  # a result of another form
        return None
    return 0 if response.root.get("isError") else None


def _answer(code: int | None) -> str:
    return "a result" if code is None else f"the error {code}"


def _finding(rule: str, where: str, problem: str, severity: Severity = "error") -> Finding:
    return Finding(rule=rule, severity=severity, where=where, problem=problem, fix=_FIXES[rule])


# -- The outcome as JSON, and for GitHub Actions ---
def why(finding: Finding) -> str:
    """Return the reason of a finding's rule; empty if the finding explains itself."""
    return _REASONS.get(finding.rule, "")


def counts(outcome: CheckOutcome) -> dict[str, int]:
    """Return the number of findings by severity."""
    return {
        severity: sum(finding.severity == severity for finding in outcome.findings) for severity in SEVERITIES
    }


def as_json(outcome: CheckOutcome) -> str:
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


def as_github(outcome: CheckOutcome, file: str | None) -> str:
    """Return commands for GitHub Actions, one line for each finding, which annotate a file or the run."""
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
