"""Servers as real processes: start one, wait until it listens, read what it prints, end it.

The easy thing to get wrong is a full pipe: a server that logs into a pipe nobody reads stops at 64 KiB, which
looks like a hang of the server. `ServerProcess` reads its pipes from the first moment to the last.
"""

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

ROOT = Path(__file__).resolve().parents[3]
HOST = "127.0.0.1"


#: A UDP socket on the number of each port that `free_port` gave out: it keeps other test processes from the port,
#: but not the server that is to listen there.
_reserved: deque[socket.socket] = deque(maxlen=200)


def free_port() -> int:
    """Return a port that nobody listens on, and that neither the system nor another test process gives away.

    A server binds it seconds later: a port that the system itself had chosen would by then often be somebody's.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        reserved = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            reserved.bind((HOST, port))
            with socket.socket() as probe:
                probe.bind((HOST, port))
        except OSError:
            reserved.close()
            continue
        _reserved.append(reserved)
        return port


def python_command(script: Path | str, *arguments: str) -> list[str]:
    """Return the command that runs a Python file with the interpreter of the tests."""
    return [sys.executable, str(ROOT / script), *arguments]


def environment(**more: str) -> dict[str, str]:
    """Return the variables of a command: ours without those about screens, our programs first, and more."""
    kept = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]), **more}


def enfilade_command(*arguments: str) -> list[str]:
    """Return the command line `enfilade ...`, of this very environment."""
    return [sys.executable, "-c", "from enfilade.cli import main; main()", *arguments]


class ServerProcess:
    """A server in a process of its own, for the length of a `with` block.

    Args:
        command: What to run; a `{port}` in a word is replaced by the port.
        port: Where it will listen; a free one by default.
        path: The path of the endpoint in `url`.
        env: Variables to set on top of this process's own.
        start_timeout: Seconds that it may take until it accepts connections.
        cwd: The directory that it works in; that of the project by default.

    Raises:
        RuntimeError: It ended, or did not listen in time; the message has what it printed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int | None = None,
        path: str = "/mcp",
        env: Mapping[str, str] | None = None,
        start_timeout: float = 30.0,
        cwd: Path = ROOT,
    ) -> None:
        self.port = free_port() if port is None else port
        self.url = f"http://{HOST}:{self.port}{path}"
        self._command = [word.replace("{port}", str(self.port)) for word in command]
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._start_timeout = start_timeout
        self._cwd = cwd
        self._lines: list[str] = []
        self._readers: list[threading.Thread] = []
        self._process: subprocess.Popen[str] | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the server has not been started: use it in a `with` block")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        """What it has printed so far, standard output and standard error together."""
        return "".join(self._lines)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=self._env,
            cwd=self._cwd,
        )
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            reader = threading.Thread(target=self._drain, args=(pipe,), daemon=True)
            reader.start()
            self._readers.append(reader)
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, timeout: float = 10.0) -> int:
        """Ask it to end, insist after `timeout` seconds, and return its exit code."""
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._finish_reading()
        return self.process.returncode

    def kill(self) -> None:
        """End it without a word, as a crash would."""
        self.process.kill()
        self.process.wait()
        self._finish_reading()

    def _drain(self, pipe: IO[str]) -> None:
        with contextlib.suppress(ValueError), pipe:  # ValueError: closed under our hands at the very end
            for line in pipe:
                self._lines.append(line)

    def _finish_reading(self) -> None:
        # A grandchild may hold the pipe open after the server's own end; do not wait for it for ever.
        for reader in self._readers:
            reader.join(timeout=5)

    def _listens(self) -> bool:
        """Say whether it is this server that listens there, and not a stranger."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            for each in (process, *process.children(recursive=True)):
                for socket_ in each.net_connections("tcp"):
                    if socket_.status == psutil.CONN_LISTEN and socket_.laddr[1] == self.port:
                        return True
        return False

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self._finish_reading()
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.output}")
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
                if self._listens():
                    return
            time.sleep(0.01)
        raise RuntimeError(f"the server did not listen within {self._start_timeout} s:\n{self.output}")
