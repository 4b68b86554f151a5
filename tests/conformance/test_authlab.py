"""`mcp-authlab`, a scanner of the authorization of MCP servers: every check of ours is green."""

import json
import os
import subprocess
from typing import Any

import pytest

from support import tooling
from support.authorization.oidc_provider import OidcProvider
from support.servers import whoami_server
from support.servers.processes import ServerProcess, free_port

#: Checks of the server itself: each is a case, and must have run.
CHECKS = [
    *("CHAL-01", "CHAL-02", "CHAL-03", "PRM-01", "PRM-02", "PRM-03", "PRM-04", "PRM-05", "PRM-06"),
    *("TOK-01", "TOK-02", "TOK-03", "TOK-04", "TOK-05", "TOK-06", "SCOPE-01"),
    *("SESS-01", "SESS-02", "ORIG-01", "VER-01"),
]
#: `TLS-01` and `ASM-03` want https, which nothing on this machine has.
OVER_HTTP = {"TLS-01", "ASM-03"}


@pytest.fixture(scope="module")
def report(running_oidc_provider: OidcProvider) -> dict[str, Any]:
    """What the scanner says of a server, with a token for it and one for another; and the server's log."""
    with tooling.or_skip():
        command = tooling.authlab()
    running_oidc_provider.reset()
    port = free_port()
    resource, other = f"http://127.0.0.1:{port}/mcp", "https://other.example.com/mcp"
    running_oidc_provider.configure(resources=[resource, other])
    tokens = {
        name: running_oidc_provider.user_token("ada", ["notes:read"], audience)
        for name, audience in (("MCP_AUTHLAB_TOKEN", resource), ("MCP_AUTHLAB_FOREIGN_TOKEN", other))
    }
    server = ServerProcess(
        whoami_server.COMMAND, port=port, env=whoami_server.env(resource, running_oidc_provider.issuer)
    )
    with server:
        done = subprocess.run(
            [*command, "scan", resource, "--no-login", "--tool", "write", "--format", "json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **tokens},
        )
    assert done.stdout, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return {**content, "log": server.output, "tokens": tokens.values()}


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_is_green(report: dict[str, Any], check: str) -> None:
    """B10, R-601, R-602, R-603, R-604, R-609, R-611, R-701, R-703, R-705."""
    (result,) = [result for result in report["results"] if result["id"] == check]
    assert result["status"] == "pass", result


def test_nothing_else_fails(report: dict[str, Any]) -> None:
    """Also of what it says of the authorization server, but for https."""
    results = {result["id"]: result["status"] for result in report["results"]}
    bad = {check for check, status in results.items() if status in ("fail", "error", "warn")}
    assert bad <= OVER_HTTP, [result for result in report["results"] if result["id"] in bad]
    assert set(CHECKS) <= results.keys()


def test_the_challenge_to_a_call_without_the_scope(report: dict[str, Any]) -> None:
    """R-605, R-606: the scanner saw a 403, with all that the call needs."""
    (result,) = [result for result in report["results"] if result["id"] == "SCOPE-01"]
    assert f"asks for scope='{whoami_server.SCOPE} {whoami_server.MORE}'" in result["message"]


def test_the_log_has_no_token(report: dict[str, Any]) -> None:
    """B2, R-611: also of the request that had one in its query."""
    assert "POST /mcp" in report["log"]
    assert [token for token in report["tokens"] if token in report["log"]] == []
    assert "access_token" not in report["log"]
