"""Rules about who may use a server: they need the app itself, as its lists say nothing of scopes and secrets."""

from collections.abc import Iterator
from typing import Any

from enfilade.app import MCPApp
from enfilade.lint.findings import Finding
from enfilade.primitives.registry import Registry
from enfilade.transports.http.origin_checks import is_loopback


def access_findings(app: MCPApp) -> Iterator[Finding]:
    """Yield the findings about an app without `auth=`, whose callers over HTTP nobody knows."""
    if app.has_auth:
        return
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
