"""Rules about who may use a server: they need the app itself, as its lists say nothing of scopes and secrets."""

from collections.abc import Iterator
from typing import Any, Final

from enfilade.app import MCPApp
from enfilade.lint.findings import Finding
from enfilade.primitives.limits.outcome_policy import CachePolicy
from enfilade.primitives.registry import Registry
from enfilade.transports.http.origin_checks import is_loopback

#: Names by which a function reads who calls.
_OF_CALLERS: Final = frozenset({"principal", "user_id", "session_id", "peer", "http", "state", "get_state"})


def access_findings(app: MCPApp) -> Iterator[Finding]:
    """Yield the findings about who may use what, and whose results callers get."""
    yield from _shared_results(app)
    if not app.has_auth:
        yield from _findings_without_auth(app)


def _shared_results(app: MCPApp) -> Iterator[Finding]:
    """Yield the findings about tools whose cached results are for all, and who read who calls."""
    for tool in app.tools:
        code = getattr(tool.fn, "__code__", None)
        names = sorted(_OF_CALLERS.intersection(getattr(code, "co_names", ())))
        is_shared = isinstance(tool.outcomes, CachePolicy) and tool.outcomes.per == "all"
        if is_shared and tool.contexts and names:
            yield Finding(
                rule="shared-cache",
                severity="warning",
                where=f"tool {tool.name}",
                problem=f"shares its results among all callers, and reads who calls: {', '.join(names)}",
                fix='write cache_per="principal", or make it an argument',
            )


def _findings_without_auth(app: MCPApp) -> Iterator[Finding]:
    """Yield the findings about an app whose callers over HTTP nobody knows."""
    lists: list[tuple[str, Registry[Any]]] = [
        ("tool", app.tools),
        ("resource", app.resources),
        ("template", app.templates),
        ("prompt", app.prompts),
    ]
    for kind, registry in lists:
        for name, item in zip(registry.names(), registry.items(), strict=True):
            if item.access is not None and item.access.scopes:
                yield Finding(
                    rule="scopes-without-auth",
                    severity="warning",
                    where=f"{kind} {name}",
                    problem=f"needs the scopes {' '.join(item.access.scopes)}, and the app has no auth=",
                    fix="give MCPApp(auth=ResourceServer(...)), or let a host say who calls",
                )
    if not is_loopback(app.settings.host):
        for tool in app.tools:
            if tool.secrets:
                yield Finding(
                    rule="secrets-without-auth",
                    severity="warning",
                    where=f"tool {tool.name}",
                    problem=f"uses secrets for whoever reaches {app.settings.host}, and the app has no auth=",
                    fix="give MCPApp(auth=ResourceServer(...)), or bind a loopback address",
                )
