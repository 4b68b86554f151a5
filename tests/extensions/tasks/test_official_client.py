"""The official TypeScript package for tasks, in both dialects, against the server of the official suite."""

import json
import subprocess
from typing import Any

import pytest

from clients.drivers import HERE
from support import tooling
from support.servers.processes import ServerProcess, python_command

DRIVER = HERE / "node" / "tasks.mjs"


@pytest.mark.parametrize(
    ("mode", "revision", "failure"),
    [
        ("auto", "2026-07-28", {"kind": "task", "status": "failed"}),
        ("legacy", "2025-11-25", {"status": "error"}),
    ],
)
def test_it_settles_every_task(mode: str, revision: str, failure: dict[str, Any]) -> None:
    with tooling.or_skip():
        tooling.node_package("@modelcontextprotocol/ext-tasks")
        resolve = (HERE / "node" / "resolve.mjs").as_uri()
        command = [tooling.node(), "--import", resolve, str(DRIVER), mode]
    with ServerProcess(python_command("examples/everything/server.py", "--port", "{port}")) as server:
        done = subprocess.run([*command, server.url], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    calls = seen["calls"]
    assert seen["revision"] == revision
    assert calls["greet"]["text"] == "Hello, Ada!"
    assert calls["slow_compute"]["text"] == "slow: computed for 0.2 seconds"
    assert calls["failing_job"]["kind"] == "task"
    assert calls["protocol_error_job"].pop("error") == "This job always fails with an error of the protocol"
    assert calls["protocol_error_job"] == failure
    assert calls["confirm_delete"]["text"] == "Deleted a.txt"


def test_the_python_client_of_the_older_dialect() -> None:
    """R-374, R-375, R-377: `tasks/result` waits, and its stream has the question."""
    with tooling.or_skip():
        command = [tooling.python_v1(), str(HERE / "python" / "tasks_v1.py")]
    with ServerProcess(python_command("examples/everything/server.py", "--port", "{port}")) as server:
        done = subprocess.run([*command, server.url], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "declared": {"cancel": {}, "requests": {"tools": {"call": {}}}},
        "slow_compute": {"status": "completed", "text": "slow: computed for 0.2 seconds"},
        "failing_job": {"status": "failed", "text": "This job always fails"},
        "confirm_delete": {"status": "completed", "text": "Deleted a.txt"},
        "cancelled": "cancelled",
        "again": -32602,
    }
