"""A server process over stdio, and a client that reads only what a test wants it to read.

The easy thing to get wrong is to read by accident: what nobody reads fills its pipe, and that is what is tested.
"""

import json
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from support.harness import eventually
from support.http_client.connection import CLIENT
from support.servers.processes import ROOT, enfilade_command

SCRIPT = ROOT / "tests/support/faults/stubborn_server.py"
LIMIT = 60.0


class SlowReader:
    """A server process and its client, which reads what it is told to.

    Args:
        folder: where its handlers say that they are reached.
        env: variables on top of this process's own.
        reads: which of `stdout` and `stderr` the client reads.
    """

    def __init__(
        self, folder: Path, env: dict[str, str], reads: tuple[str, ...] = ("stdout", "stderr"), **more: Any
    ) -> None:
        self.reached = folder / f"reached-{os.urandom(8).hex()}"
        command = more.pop("command", enfilade_command("run", str(SCRIPT)))
        pipe = subprocess.PIPE
        whole = {**os.environ, "REACHED": str(self.reached), **env}
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=whole, **more)
        self._messages: dict[Any, Any] = {}
        self._seen = 0
        self.output: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._readers = [threading.Thread(target=self._read, args=(name,), daemon=True) for name in reads]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(10)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def _read(self, name: str) -> None:
        pipe = getattr(self.process, name)
        while chunk := os.read(pipe.fileno(), 65536):
            self.output[name] += chunk

    def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def call(self, tool: str, id: Any = 1, **arguments: Any) -> None:
        self.send(id=id, method="tools/call", params={"name": tool, "arguments": arguments})

    def initialize(self) -> None:
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}
        self.send(id="initialize", method="initialize", params=params)

    def enter(self, tool: str, **arguments: Any) -> None:
        """Call a tool and wait until it is where it hurts."""
        self.initialize()
        self.call(tool, **arguments)
        eventually(self.reached.exists, timeout=LIMIT)

    @property
    def messages(self) -> dict[Any, Any]:
        """What has come on stdout, by id: whole messages, and nothing else."""
        end = self.output["stdout"].rfind(b"\n") + 1
        for line in bytes(self.output["stdout"][self._seen : end]).splitlines():
            message = json.loads(line)
            self._messages[message.get("id")] = message
        self._seen = max(self._seen, end)
        return self._messages

    def answer(self, id: Any) -> Any:
        """Wait for the response to an id."""
        eventually(lambda: id in self.messages, f"no answer to {id!r}: {self.log}", timeout=LIMIT)
        return self.messages[id]

    @property
    def log(self) -> str:
        return bytes(self.output["stderr"]).decode()

    def close_input(self) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def end(self, how: str | signal.Signals) -> int:
        """End it by the end of its input or a signal, and return its exit code."""
        if how == "input":
            self.close_input()
        else:
            assert isinstance(how, signal.Signals)
            self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(LIMIT)
        for reader in self._readers:
            reader.join(10)
        return code
