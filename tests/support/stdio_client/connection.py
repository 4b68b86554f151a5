"""stdio as a test wants to speak it: a real process, any bytes as a line, every line that comes back checked.

Easy to get wrong: answers come in any order. `answer` waits for one and keeps what came in between for later.
"""

import json
import os
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any, Self

from enfilade.wire.revisions import LATEST_HANDSHAKE
from support.exchanges import Message, PipeExchange, parsed, typed_id
from support.http_client.connection import CLIENT, request_of, stateless_meta

TIMEOUT = 60.0


class Stdio:
    """A server process, for the length of a `with` block.

    Args:
        command: what to run.
        env: variables to set on top of this process's own.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._command = list(command)
        self._env = {**os.environ, **(env or {})}
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.stashed: list[Message] = []
        self._stderr: list[bytes] = []
        self._piped = PipeExchange()

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=pipe, env=self._env)
        self.readers = [
            threading.Thread(target=self._read_lines, args=(self.process.stdout,), daemon=True),
            threading.Thread(target=self._read_log, args=(self.process.stderr,), daemon=True),
        ]
        for reader in self.readers:
            reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self.readers:
            reader.join(10)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was left to send goes nowhere

    def _read_lines(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self._lines.put(line)
        self._lines.put(None)

    def _read_log(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self._stderr.append(line)

    @property
    def log(self) -> str:
        """What the server has printed to stderr so far."""
        return b"".join(self._stderr).decode("utf-8", "replace")

    # -- sending -----------------------------------------------------------------------------------------------

    def send(self, message: Any) -> None:
        """Send a message, or bytes as they are, as one line."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        self._piped.note_request(parsed(body))
        assert self.process.stdin is not None
        self.process.stdin.write(body + b"\n")
        self.process.stdin.flush()

    def request(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        id: Any = 1,
        meta: dict[str, Any] | None = None,
        claim: str | None = None,
    ) -> None:
        """Send a request; with a claim it is a stateless one."""
        if claim is not None:
            meta = {**stateless_meta(protocolVersion=claim), **(meta or {})}
        self.send(request_of(method, params, id, meta))

    def initialize(self, revision: str = LATEST_HANDSHAKE) -> Message:
        """Open the session and return the response."""
        params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": CLIENT}
        self.request("initialize", params, id="initialize")
        response = self.answer("initialize")
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return response

    # -- receiving ---------------------------------------------------------------------------------------------

    def read(self) -> Message:
        """Return the next message of the server."""
        return self.stashed.pop(0) if self.stashed else self._next()

    def answer(self, id: Any) -> Message:
        """Return the response to an id, whatever comes in between."""
        for position, message in enumerate(self.stashed):
            if "method" not in message and typed_id(message.get("id")) == typed_id(id):
                return self.stashed.pop(position)
        while True:
            message = self._next()
            if "method" not in message and typed_id(message.get("id")) == typed_id(id):
                return message
            self.stashed.append(message)

    def ask(self, method: str, params: dict[str, Any] | None = None, **more: Any) -> Message:
        """Send a request and return the response to it."""
        self.request(method, params, **more)
        return self.answer(more.get("id", 1))

    def take_notifications(self) -> list[Message]:
        """Return the notifications that have come and nobody has read."""
        found = [message for message in self.stashed if "method" in message]
        self.stashed = [message for message in self.stashed if "method" not in message]
        return found

    def _next(self) -> Message:
        line = self._lines.get(timeout=TIMEOUT)
        assert line is not None, f"the server has ended: {self.log}"
        assert line.endswith(b"\n"), f"half a line: {line!r}"
        message = json.loads(line)
        self._piped.request_of(message).check(message)
        return message  # type: ignore[no-any-return]

    # -- ending ------------------------------------------------------------------------------------------------

    def close_input(self) -> None:
        """Let the server see the end of its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> int:
        """Close the input and return the exit code."""
        self.close_input()
        return self.process.wait(TIMEOUT)

    def read_to_end(self) -> list[Message]:
        """Return every message up to the end of the output."""
        found, self.stashed = self.stashed, []
        while (line := self._lines.get(timeout=TIMEOUT)) is not None:
            message = json.loads(line)
            self._piped.request_of(message).check(message)
            found.append(message)
        return found
