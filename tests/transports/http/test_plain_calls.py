"""What a plain call costs the store: nothing (a call that is answered with one JSON body, in either era).

The easy thing to get wrong is to count what is not the calls': each worker says now and then that it is there,
and looks again at a session that is in use every few seconds, which is allowed here once a second.
"""

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.http_client.connection import BOTH, Http, modern_headers, request_of, stateless_meta
from support.servers.processes import HOST, ServerProcess, python_command
from support.stores.valkey_server import Valkey

CALLS = 1000

NOT_OURS = {"info", "config", "config|resetstat", "ping", "client", "client|setinfo", "client|setname", "hello"}
"""What this test asks itself, and what connections say when they are opened or looked after."""


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey


@pytest.fixture(scope="module")
def server(valkey: Valkey) -> Iterator[ServerProcess]:
    command = python_command("tests/support/servers/probe_server.py", "http", "{port}")
    with ServerProcess(command, env={"ENFILADE_STORE": valkey.url}) as server:
        yield server


def commands(valkey: Valkey) -> dict[str, int]:
    """Return how often each command was given, of those that say something about calls."""
    stats: dict[str, dict[str, Any]] = valkey.ask("INFO", "commandstats")
    found = {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}
    return {name: count for name, count in found.items() if name not in NOT_OURS}


def call_again_and_again(port: int, message: dict[str, Any], headers: dict[str, str]) -> None:
    """Send a call a thousand times over one connection."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    body = json.dumps(message)
    for _ in range(CALLS):
        connection.request("POST", "/mcp", body, {"content-type": "application/json", "accept": BOTH, **headers})
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["result"]["content"][0]["text"]) == (200, "x")
    connection.close()


@pytest.mark.parametrize("era", ["session", "stateless"])
def test_plain_calls_touch_no_store(valkey: Valkey, server: ServerProcess, era: str) -> None:
    params: dict[str, Any] = {"name": "echo", "arguments": {"text": "x"}}
    if era == "session":
        session = Http(server.port).initialize()
        assert session.call("echo", text="x").status == 200
        message = request_of("tools/call", params, 1, None)
        headers = {"mcp-session-id": session.token, "mcp-protocol-version": session.revision}
    else:
        message = request_of("tools/call", params, 1, stateless_meta())
        headers = {name.replace("_", "-"): str(value) for name, value in modern_headers(message).items()}
    valkey.ask("CONFIG", "RESETSTAT")
    began = time.monotonic()
    call_again_and_again(server.port, message, headers)
    took = time.monotonic() - began
    given = commands(valkey)
    assert given.pop("set", 0) <= took + 1
    assert given.pop("get", 0) <= took + 1  # of the session before as well
    assert given == {}
