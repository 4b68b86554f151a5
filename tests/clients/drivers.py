"""The real clients that the tests drive, and how one drive is run.

Each driver is a small program in the client's own language that takes a script of calls (a JSON file of this
folder), plays it against one server and prints what it saw as one JSON object. A client is never imported here:
what counts is what its users get, in a process of their own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import tooling
from support.stores.matrix import Cell

HERE = Path(__file__).resolve().parent
SESSIONS = "2025-11-25"
STATELESS = "2026-07-28"
TIMEOUT = 100.0
"""Seconds one drive may take before it counts as hung."""


@dataclass(frozen=True)
class Driver:
    """One client in one mode, and what it is known to do."""

    name: str
    program: str
    revision: str
    """The revision it agrees on with a server that offers them all."""
    mode: str | None = None
    knows_server: bool = True
    """Whether it tells its user the server's name: one that is pinned to a revision never asks for it."""

    def command(self) -> list[str]:
        """Return the command that starts it, up to the script.

        Raises:
            tooling.ToolMissing: Its runtime or its packages are not installed.
        """
        mode = ["--mode", self.mode] if self.mode else []
        return [*self._runtime(), str(HERE / self.program), *mode]

    def _runtime(self) -> list[str]:
        if self.program.endswith(".mjs"):
            for package in ("sdk", "client"):
                tooling.node_package(f"@modelcontextprotocol/{package}")
            return [tooling.node(), "--import", (HERE / "node" / "resolve.mjs").as_uri()]
        return [tooling.python_v1() if self.program.endswith("v1.py") else sys.executable]


def installed(driver: Driver) -> Driver:
    """Return a client that is installed; one that is not is skipped, or a failure where tools are required."""
    with tooling.or_skip():
        driver.command()
    return driver


DRIVERS = [
    Driver("python-v1", "python/python_v1.py", SESSIONS),
    Driver("python-v2-legacy", "python/python_v2.py", SESSIONS, "legacy"),
    Driver("python-v2-auto", "python/python_v2.py", STATELESS, "auto"),
    Driver("python-v2-pinned", "python/python_v2.py", STATELESS, STATELESS, knows_server=False),
    Driver("typescript-v1", "node/typescript_v1.mjs", SESSIONS),
    Driver("typescript-v2-legacy", "node/typescript_v2.mjs", SESSIONS, "legacy"),
    Driver("typescript-v2-auto", "node/typescript_v2.mjs", STATELESS, "auto"),
    Driver("typescript-v2-pinned", "node/typescript_v2.mjs", STATELESS, STATELESS),
]


@dataclass(frozen=True)
class Report:
    """What a client saw; see `Recorder` in the drivers."""

    revision: str
    server: dict[str, Any]
    tools: dict[str, dict[str, Any]]
    calls: dict[str, dict[str, Any]]
    events: list[dict[str, Any]]

    def text(self, call: str) -> str:
        """Return the text of the first content block of a result."""
        text: str = self.calls[call]["content"][0]["text"]
        return text

    def progress(self, call: str) -> list[tuple[float, float | None, str | None]]:
        """Return the progress that reached one call's own callback: value, total, message."""
        return [
            (event["progress"], event["total"], event["message"])
            for event in self.events
            if event["kind"] == "progress" and event["call"] == call
        ]

    def logs(self) -> list[tuple[str, Any]]:
        return [(event["level"], event["data"]) for event in self.events if event["kind"] == "log"]

    def changes(self) -> set[str]:
        """Return what the client's user was told has changed: lists by name, resources by URI."""
        return {event["what"] for event in self.events if event["kind"] == "changed"}

    def after_result(self, call: str) -> list[dict[str, Any]]:
        """Return what still came for a call after its result; there should be nothing."""
        end = self.events.index({"kind": "result", "call": call})
        return [event for event in self.events[end + 1 :] if event.get("call") == call]


STDIO = "stdio"

ServerLocation = Cell | str
"""Where a client meets a server: in a cell of the matrix, over HTTP, or over `STDIO`."""


def location_name(location: ServerLocation) -> str:
    return location.name if isinstance(location, Cell) else location


PlayScript = Callable[[Driver, str, ServerLocation], Report]
"""Plays a script (the second) with a client at a place."""


def drive(driver: Driver, script: str, target: Sequence[str]) -> Report:
    """PlayScript a script with a client and return what it saw.

    Args:
        driver: The client.
        script: Name of a JSON file in this folder.
        target: `["http", URL]`, or `["stdio", *COMMAND]`.

    Raises:
        AssertionError: The client gave up; the message has what it printed.
    """
    command = [*driver.command(), str(HERE / script), *target]
    # Both runtimes' clients hand only a safe few of these on to a server that they start over stdio.
    env = {**os.environ, "PYTHONUTF8": "1"}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT, check=False, env=env
    )
    assert done.returncode == 0, f"{driver.name} ended with {done.returncode}:\n{done.stderr[-4000:]}"
    return Report(**json.loads(done.stdout))
