"""A whole check of a server: in each era, by every rule, and against a snapshot.

Easy to get wrong: one era that fails is a finding; both failing means that nothing was checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from enfilade.client.connect import Era, connect
from enfilade.client.errors import ConnectError, innermost
from enfilade.client.surface import EndlessListError, Surface, read_surface
from enfilade.client.targets import Target
from enfilade.lint.comparison import compare
from enfilade.lint.findings import Finding, sorted_by_severity
from enfilade.lint.protocol import probe, unspoken
from enfilade.lint.rules import apply_rules
from enfilade.lint.token_count import tokens_of_all

_ERAS: Final[tuple[Era, ...]] = ("stateless", "session")


class Outcome(Struct, kw_only=True):
    """What a check has found.

    Attributes:
        surface: what the server offers.
        eras: those that it speaks.
        tokens: about what its list of tools costs a model's context.
        findings: most grave first.
    """

    surface: Surface
    eras: list[str]
    tokens: int
    findings: list[Finding]


async def check(
    target: Target,
    *,
    before: Surface | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = 30.0,
) -> Outcome:
    """Check a server.

    Args:
        target: as for `enfilade.testing.connect`.
        before: what it offered when the last snapshot was stored.
        headers: of each HTTP request.
        timeout: seconds that each answer may take.

    Raises:
        ConnectError: it cannot be reached in any era.
        LoadError, ModuleNotFoundError: as for `connect`.
    """
    surface: Surface | None = None
    eras: list[str] = []
    findings: list[Finding] = []
    failure: ConnectError | None = None
    for era in _ERAS:
        try:
            found, said = await _in_era(target, era, headers, timeout)
        except ConnectError as error:
            failure = failure or error
            findings.append(unspoken(era, str(error).splitlines()[0]))
            continue
        eras.append(era)
        findings.extend(said)
        surface = surface or found
    if not eras and failure is not None:
        raise failure
    if surface is None:
        return Outcome(surface=Surface(), eras=eras, tokens=0, findings=sorted_by_severity(findings))
    findings.extend(apply_rules(surface))
    if before is not None:
        findings.extend(compare(before, surface))
    tokens = tokens_of_all(surface.tools)
    return Outcome(surface=surface, eras=eras, tokens=tokens, findings=sorted_by_severity(findings))


async def _in_era(
    target: Target, era: Era, headers: Mapping[str, str] | None, timeout: float | None
) -> tuple[Surface | None, list[Finding]]:
    async with connect(target, era=era, headers=headers, timeout=timeout, log_level=None) as client:
        try:
            surface = await read_surface(client)
        except EndlessListError as error:
            return None, [
                _broken("endless-list", client.protocol_version, str(error), "end with a page without cursor")
            ]
        except Exception as error:
            said = " ".join(str(innermost(error)).split())[:300]
            return None, [_broken("list", client.protocol_version, said, "answer lists as the protocol has them")]
        return surface, await probe(client, surface)


def _broken(rule: str, where: str, said: str, mend: str) -> Finding:
    return Finding(rule=rule, severity="error", where=where, said=said, mend=mend)
