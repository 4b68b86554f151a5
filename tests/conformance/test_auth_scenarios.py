"""What the conformance suite's own servers send in its scenarios of authorization, ours sends too.

There is no scenario for a resource server: the suite is one, for clients. So its scenarios run here with an
official client, and what its server has sent is compared with what ours sends in the same case (X-AUTH-7).
"""

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from clients.drivers import HERE as CLIENTS
from enfilade.testing import Issuer
from support import tooling
from support.http_client.connection import INITIALIZE
from support.servers import whoami_server

SCENARIOS = [
    "metadata-var1",
    "metadata-var2",
    "metadata-var3",
    "resource-mismatch",
    "scope-from-www-authenticate",
    "scope-step-up",
]
#: The suite names an error without a token; RFC 6750 §3.1 has none there (R-603).
OF_BAD_TOKENS = {"error", "error_description"}
METADATA = "/.well-known/oauth-protected-resource"

issuer = Issuer("https://issuer.test")


class Sent(NamedTuple):
    """One response of the suite's server."""

    path: str
    status: int
    headers: dict[str, str]
    body: Any


def play(scenario: str, folder: Path) -> list[Sent]:
    """Run a scenario with the official TypeScript client, and return what the suite's server has sent."""
    resolve, program = CLIENTS / "node" / "resolve.mjs", CLIENTS / "node" / "scenario_client.mjs"
    client = [tooling.node(), "--import", resolve.as_uri(), str(program)]
    command = [*tooling.conformance(), "client", "--scenario", f"auth/{scenario}", "-o", str(folder)]
    done = subprocess.run(
        [*command, "--command", subprocess.list2cmdline(client)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = list(folder.glob(f"**/{scenario}-*/checks.json"))
    assert len(found) == 1, done.stdout + done.stderr
    checks = json.loads(found[0].read_text(encoding="utf-8"))
    details = [check["details"] for check in checks if check["id"] == "outgoing-response"]
    return [Sent(each["path"], each["statusCode"], each["headers"], each.get("body")) for each in details]


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Sent]]:
    """What was sent in each scenario; they run side by side."""
    with tooling.or_skip():
        tooling.conformance()
    folders = [tmp_path_factory.mktemp(name) for name in SCENARIOS]
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(SCENARIOS, threads.map(play, SCENARIOS, folders), strict=True))


@pytest.fixture(params=SCENARIOS)
def sent(request: pytest.FixtureRequest, scenarios: dict[str, list[Sent]]) -> list[Sent]:
    return scenarios[request.param]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The endpoint of our server."""
    with whoami_server.serving(issuer.server()) as url:
        yield url


def request(url: str, method: str, params: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    """Send a request of the session era."""
    usual = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
    return httpx.post(url, json=message, headers={**usual, **headers})


def parameters(headers: Any) -> dict[str, str]:
    """Return the parameters of a challenge."""
    scheme, _, rest = headers["www-authenticate"].partition(" ")
    assert scheme == "Bearer"
    return dict(re.findall(r'(\w+)="([^"]*)"', rest))


def test_the_challenge_to_a_request_without_a_token(sent: list[Sent], url: str) -> None:
    """X-AUTH-7, R-602, R-604: what a client finds there, it finds at ours, and the metadata where it leads."""
    ours = request(url, "initialize")
    theirs = [parameters(response.headers) for response in sent if response.status == 401]
    assert ours.status_code == 401
    assert theirs
    for challenge in theirs:
        assert challenge.keys() - OF_BAD_TOKENS <= parameters(ours.headers).keys()
    assert parameters(ours.headers) == {"resource_metadata": metadata_url(url), "scope": whoami_server.SCOPE}
    assert httpx.get(parameters(ours.headers)["resource_metadata"]).json()["resource"] == url


def metadata_url(url: str) -> str:
    return url.replace("/mcp", f"{METADATA}/mcp")


def test_the_metadata(sent: list[Sent], url: str) -> None:
    """X-AUTH-7, R-601, R-602: at each place where a client looks in the scenarios, and for the URL that it calls.

    In `resource-mismatch` a client must turn away from metadata of another resource.
    """
    looked = {response.path for response in sent if response.path.startswith(METADATA)} or {f"{METADATA}/mcp"}
    names = {
        name for response in sent if response.path in looked and response.status == 200 for name in response.body
    }
    for path in looked:
        response = httpx.get(url.replace("/mcp", path))
        assert response.status_code == 200
        assert names <= response.json().keys()
        assert response.json()["resource"] == url
        assert response.json()["authorization_servers"] == [issuer.url]


def test_the_challenge_to_a_token_without_the_scope(scenarios: dict[str, list[Sent]], url: str) -> None:
    """X-AUTH-7, R-605, R-606: what a client steps up by, with all scopes of the operation."""
    (theirs,) = [parameters(sent.headers) for sent in scenarios["scope-step-up"] if sent.status == 403]
    token = f"Bearer {issuer.token('ada', audience=url, scopes=[whoami_server.SCOPE])}"
    session = request(url, "initialize", INITIALIZE["params"], authorization=token).headers["mcp-session-id"]
    headers = {"authorization": token, "mcp-session-id": session}
    assert request(url, "tools/call", {"name": "whoami"}, **headers).status_code == 200
    refusal = request(url, "tools/call", {"name": "write"}, **headers)
    assert refusal.status_code == 403
    ours = parameters(refusal.headers)
    assert theirs.keys() <= ours.keys()
    assert ours["error"] == theirs["error"] == "insufficient_scope"
    assert theirs["scope"] in ("mcp:write", "mcp:basic mcp:write")
    assert ours["scope"] == f"{whoami_server.SCOPE} {whoami_server.MORE}"
    assert ours["resource_metadata"] == metadata_url(url)
