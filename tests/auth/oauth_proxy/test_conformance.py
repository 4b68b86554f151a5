"""The official conformance suite finds an authorization server, and completes a login at it."""

import re
import subprocess
from pathlib import Path

from support import tooling
from support.authorization.proxy_client import ProxyClient
from support.authorization.visitor import Visitor
from support.servers.processes import free_port


def test_the_suite_for_authorization_servers(public_url: str, visitor: Visitor, tmp_path: Path) -> None:
    """A23, X-AUTH-20, X-AUTH-23: all of its scenarios; its user is a visitor who agrees."""
    port = free_port()
    client = ProxyClient.registered(public_url, redirect_uris=[f"http://127.0.0.1:{port}/callback"])
    with tooling.or_skip():
        command = [*tooling.conformance(), "authorization", "--url", public_url, "--port", str(port)]
    command += ["--client-id", client.client_id, "--resource", f"{public_url}/mcp", "-o", str(tmp_path)]
    output = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8") as suite:
        assert suite.stdout is not None
        for line in suite.stdout:
            output += line
            if url := re.search(r"http://\S+/oauth/authorize\S+", line):
                visitor.press(visitor.open(url[0]), decision="allow")
    assert suite.returncode == 0, output
    assert "authorization-code-grant: 1 passed" in output
    assert "Total: 3 passed, 0 failed" in output
