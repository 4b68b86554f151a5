"""Clients that log in, as processes that obey commands: the test decides what happens between two calls.

Each official client has one process for all of its connections; `mcp-remote` has one for each.
"""

import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, Self

import httpx

from clients.drivers import HERE, SESSIONS, STATELESS
from support import tooling
from support.waiting import eventually

TIMEOUT = 60.0
"""Seconds that one command may take."""


class Connection(Protocol):
    """A client's connection to one server."""

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its structured content.

        Raises:
            AssertionError: the client's user gets an error.
        """
        ...


class Process:
    """A process that takes a line and answers with one, for the length of a `with` block.

    Args:
        command: what to run.
        env: variables to set on top of this process's own.
    """

    def __init__(self, command: Sequence[str], env: dict[str, str] | None = None) -> None:
        self._command, self._env = command, {**os.environ, "PYTHONUTF8": "1", **(env or {})}
        self._lines = queue.SimpleQueue[str]()
        self._log: list[str] = []

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8", env=self._env
        )
        for stream, take in ((self._process.stdout, self._lines.put), (self._process.stderr, self._log.append)):
            threading.Thread(target=self._read, args=(stream, take), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self, stream: IO[str], take: Any) -> None:
        with suppress(ValueError):
            for line in stream:
                take(line)
            take("")

    @property
    def log(self) -> str:
        """What it has printed to standard error so far."""
        return "".join(self._log)

    def send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """Return the next line.

        Raises:
            AssertionError: there is none in time, or the process has ended.
        """
        try:
            line = self._lines.get(timeout=TIMEOUT)
        except queue.Empty:
            line = ""
        assert line, f"{self._command} does not answer:\n{self.log[-4000:]}"
        message: dict[str, Any] = json.loads(line)
        return message

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and return the answer.

        Raises:
            AssertionError: it is an error.
        """
        self.send(command)
        answer = self.read()
        assert "error" not in answer, f"{answer['error']}\n{self.log[-4000:]}"
        return answer


@dataclass(frozen=True)
class LoginClient:
    """One client in one mode.

    Attributes:
        program: the driver; empty for `mcp-remote`.
        revision: what it agrees on.
        steps_up: whether it asks the user for more scopes after a 403. The TypeScript client 1.x uses its refresh
            token, which cannot have more, and gives up.
    """

    name: str
    program: str
    mode: str
    revision: str
    steps_up: bool = True

    def command(self) -> list[str]:
        """Return the command of the driver.

        Raises:
            tooling.ToolMissing: its runtime or its packages are not installed.
        """
        if self.program.endswith(".mjs"):
            tooling.node_package("@modelcontextprotocol/client")
            return [
                tooling.node(),
                "--import",
                (HERE / "node" / "resolve.mjs").as_uri(),
                str(HERE / "node" / self.program),
            ]
        python = tooling.python_v1() if self.program.endswith("v1.py") else sys.executable
        return [python, str(HERE / "python" / self.program)]


CLIENTS = [
    LoginClient("python-v1", "logins_v1.py", "legacy", SESSIONS),
    LoginClient("python-v2-legacy", "logins_v2.py", "legacy", SESSIONS),
    LoginClient("python-v2-auto", "logins_v2.py", "auto", STATELESS),
    LoginClient("typescript-v1", "logins_v1.mjs", "legacy", SESSIONS, steps_up=False),
    LoginClient("typescript-v2-legacy", "logins_v2.mjs", "legacy", SESSIONS),
    LoginClient("typescript-v2-auto", "logins_v2.mjs", "auto", STATELESS),
    LoginClient("mcp-remote-legacy", "", "legacy", SESSIONS),
    LoginClient("mcp-remote-auto", "", "auto", STATELESS),
]


class Clients:
    """Opens connections of all clients, for the length of a `with` block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, Process] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.__exit__()

    def close_remote(self) -> None:
        """End what runs of `mcp-remote`: those for one server would wait for each other's logins."""
        for name in [name for name in self._processes if name.startswith("mcp-remote")]:
            self._processes.pop(name).__exit__()

    def connect(self, client: LoginClient, url: str, **options: Any) -> Connection:
        """Open a connection; the client logs in if it must.

        Args:
            options: for an official client `document`, the URL of its Client ID Metadata Document, by which it
                needs no registration, or `credentials` of its own with which no user is asked: `client_id`,
                `client_secret`, `issuer` and `scope`.
        """
        self._count += 1
        key = f"{client.name}-{self._count}"
        if not client.program:
            return RemoteConnection(self._start(key, *self._remote(client, url, key)))
        process = self._processes.get(client.program) or self._start(client.program, client.command())
        return DrivenConnection(process, key, client.mode, url, options)

    def _start(self, name: str, command: Sequence[str], env: dict[str, str] | None = None) -> Process:
        self._processes[name] = Process(command, env).__enter__()
        return self._processes[name]

    def _remote(self, client: LoginClient, url: str, key: str) -> tuple[list[str], dict[str, str]]:
        program = tooling.node_package("mcp-remote") / "dist" / "proxy.js"
        options = ["--protocol", client.mode, "--transport", "http-only", "--allow-http", "--host", "127.0.0.1"]
        # No program that would open a browser is found there.
        env = {"PATH": str(Path(tooling.node()).parent), "MCP_REMOTE_CONFIG_DIR": str(self._folder / key)}
        return [tooling.node(), str(program), url, *options], env


class DrivenConnection:
    """A connection of an official client."""

    def __init__(self, process: Process, key: str, mode: str, url: str, options: dict[str, Any]) -> None:
        self._process, self._key = process, key
        process.ask(do="connect", key=key, url=url, mode=mode, **options)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = self._process.ask(do="call", key=self._key, tool=tool, arguments=arguments)["result"]
        assert not result.get("isError"), result
        content: dict[str, Any] = result["structuredContent"]
        return content


class RemoteConnection:
    """A host that speaks stdio to `mcp-remote`; the user opens the URL that it prints."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._visited: set[str] = set()
        self._count = 0
        params = {
            "protocolVersion": SESSIONS,
            "capabilities": {},
            "clientInfo": {"name": "host", "version": "1"},
        }
        self._request("initialize", params)
        process.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = self._request("tools/call", {"name": tool, "arguments": arguments})
        assert not result.get("isError"), result
        content: dict[str, Any] = result["structuredContent"]
        return content

    def _request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        self._process.send({"jsonrpc": "2.0", "id": self._count, "method": method, "params": params})
        answers: list[dict[str, Any]] = []
        reader = threading.Thread(target=self._answer, args=(answers,), daemon=True)
        reader.start()

        def answered_or_asked() -> bool:
            self._visit_what_is_printed()
            return bool(answers) or not reader.is_alive()

        eventually(answered_or_asked, "mcp-remote does not answer", TIMEOUT)
        assert answers, self._process.log
        assert "result" in answers[0], f"{answers[0]}\n{self._process.log[-4000:]}"
        result: dict[str, Any] = answers[0]["result"]
        return result

    def _answer(self, answers: list[dict[str, Any]]) -> None:
        with suppress(AssertionError):  # of which `_request` tells
            while (message := self._process.read()).get("id") != self._count:
                pass
            answers.append(message)

    def _visit_what_is_printed(self) -> None:
        for url in re.findall(r"visiting:\s+(http\S+)", self._process.log):
            if url not in self._visited:
                with suppress(httpx.ConnectError):  # it may print the URL before it listens for the answer
                    _visit(url)
                    self._visited.add(url)


def _visit(url: str) -> None:
    """Open a page as a user who agrees to what it asks; errors are for the client."""
    with httpx.Client(follow_redirects=True, timeout=TIMEOUT) as browser:
        page = browser.get(url)
        action = re.search(r'<form method="post" action="([^"]*)"', page.text)
        if action is not None:
            fields = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page.text))
            browser.post(page.url.join(action[1]), data={**fields, "decision": "allow"})
