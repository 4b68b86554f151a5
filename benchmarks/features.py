"""Try what the README's table of features says of Enfilade and of other frameworks, as far as it can be tried.

    python benchmarks/features.py

Each server has its default settings; Enfilade has a second row with a store that its processes share. A session
is opened at one process and used at a second, as happens behind a load balancer, and then after a restart. A
server that fails for another reason must not pass for one without a feature, so the first process answers first.
"""

import http.client
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from environments import BENCH, PEERS, ROOT, install_peers, python_of
from messages import CLIENT, messages_of
from processes import HOST, BenchError, Server, cores
from works import STATELESS

_SERVERS: Final = ROOT / "benchmarks" / "servers"
_SESSION_BASED: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
_ARCADE: Final = {"arcade": ("arcade-mcp-server>=1.32,<2",)}
_FOREIGN: Final = "http://elsewhere.example"


class Framework(NamedTuple):
    """One row.

    Attributes:
        python: the interpreter that has the framework.
        program: its server, in `benchmarks/servers/`.
        env: variables of the server.
    """

    python: str
    program: str
    env: Mapping[str, str]


def post(
    port: int, message: dict[str, Any], headers: Mapping[str, str]
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send one message, and return the response and its body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    accepted = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    connection.request("POST", "/mcp", json.dumps(message), {**accepted, **headers})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def open_session(port: int, revision: str) -> tuple[str, dict[str, str]]:
    """Open a session, and return the revision that the server chose and the headers of the session's requests.

    Raises:
        BenchError: the server opens none.
    """
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": CLIENT}
    response, body = post(port, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}, {})
    if response.status != http.client.OK:
        raise BenchError(f"answered initialize with {response.status}")
    chosen = str(messages_of(response, body)[-1]["result"]["protocolVersion"])
    headers = {"Mcp-Session-Id": response.headers["mcp-session-id"], "MCP-Protocol-Version": chosen}
    post(port, {"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
    return chosen, headers


def status_of_list(port: int, headers: Mapping[str, str]) -> int:
    """List the tools, and return the status of the response."""
    return post(port, {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}, headers)[0].status


def asks(port: int, mode: str) -> str:
    """Return whether a tool of the server can ask the user of a client in this mode."""
    command = [python_of("sdk"), str(_SERVERS / "asking_client.py"), f"http://{HOST}:{port}/mcp", mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip() or "no"


def tried(framework: Framework) -> dict[str, str]:
    """Return what was seen of one framework, by feature.

    Raises:
        BenchError: its server does not start, or does not serve the session that it has opened.
    """

    def server() -> Server:
        command = [framework.python, str(_SERVERS / framework.program), "{port}"]
        return Server(command, framework.env, {cores()[0]}, BENCH)

    with server() as first:
        sessions = [open_session(first.port, revision) for revision in _SESSION_BASED]
        served = [
            chosen for revision, (chosen, _) in zip(_SESSION_BASED, sessions, strict=True) if chosen == revision
        ]
        session = sessions[-1][1]
        if (status := status_of_list(first.port, session)) != http.client.OK:
            raise BenchError(f"{framework.program}: its own session is answered with {status}")
        seen = {
            "session-based revisions": " ".join(served),
            "asks, session-based": asks(first.port, "legacy"),
            f"asks, {STATELESS}": asks(first.port, STATELESS),
            "foreign Origin": str(status_of_list(first.port, {**session, "Origin": _FOREIGN})),
            "foreign Host": str(
                status_of_list(first.port, {**session, "Host": _FOREIGN.removeprefix("http://")})
            ),
        }
        with server() as second:
            seen["session in another process"] = str(status_of_list(second.port, session))
    with server() as third:
        seen["session after a restart"] = str(status_of_list(third.port, session))
    return seen


def main() -> int:
    """Print what was seen, and return the exit code: 1 if Enfilade lacks what the README says it has."""
    install_peers({**PEERS, **_ARCADE})
    with tempfile.TemporaryDirectory() as folder:
        store = {"ENFILADE_STORE": f"sqlite:///{Path(folder) / 'state.db'}"}
        frameworks = {
            "Enfilade": Framework(sys.executable, "asking_enfilade.py", {}),
            "Enfilade with a store": Framework(sys.executable, "asking_enfilade.py", store),
            "official SDK": Framework(python_of("sdk"), "asking_sdk.py", {}),
            "FastMCP": Framework(python_of("fastmcp"), "asking_fastmcp.py", {}),
            "arcade-mcp-server": Framework(python_of("arcade"), "asking_arcade.py", {}),
        }
        seen = {name: tried(framework) for name, framework in frameworks.items()}
    for name, features in seen.items():
        print(name, *(f"  {feature}: {result}" for feature, result in features.items()), sep="\n")
    ours = seen["Enfilade with a store"]
    return 0 if list(ours.values()) == [" ".join(_SESSION_BASED), "yes", "yes", "403", "421", "200", "200"] else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, OSError, http.client.HTTPException) as problem:
        sys.exit(f"features: {problem}")
