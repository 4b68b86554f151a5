"""An official client that looks for authorization at a server without any: its user reads why there is none."""

import json
import subprocess

import pytest

from clients.drivers import HERE
from enfilade import MCPApp
from support import tooling
from support.harness import Serving


@pytest.mark.parametrize(
    ("package", "module", "error"),
    [
        ("@modelcontextprotocol/sdk", "@modelcontextprotocol/sdk/client/auth.js", "InvalidRequestError"),
        ("@modelcontextprotocol/client", "@modelcontextprotocol/client", "RegistrationRejectedError"),
    ],
    ids=["typescript-v1", "typescript-v2"],
)
def test_the_refusal_is_an_oauth_error(package: str, module: str, error: str) -> None:
    """RFC 6749 §5.2: all that the client asks beside the endpoint has a form that it can read."""
    with tooling.or_skip():
        tooling.node_package(package)
        command = [tooling.node(), "--import", (HERE / "node" / "resolve.mjs").as_uri()]
    with Serving(MCPApp("open")) as server:
        url = f"http://127.0.0.1:{server.port}/mcp"
        done = subprocess.run(
            [*command, str(HERE / "node" / "authorize.mjs"), module, url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["name"] == error, told
    assert "This server has no authorization" in told["message"]
    assert "Invalid OAuth error response" not in told["message"]
