"""Servers as pinned processes, and what the kernel says of them: processor time and memory of the whole tree.

The easy thing to get wrong is where a process runs: a child inherits the cores of its parent, threads that it
starts included, so this program moves to the server's cores for the moment in which it starts one. Times come
from the scheduler in nanoseconds; what `ps` counts in hundredths of a second is too coarse for a call of 30 µs.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"
PROC: Final = Path("/proc")
_START: Final = 30.0  # seconds until a server must answer
_STOP: Final = 5.0  # seconds until one that was told to stop is killed


class BenchError(Exception):
    """A server did not do what it should; the message says what, with the end of its log."""


def cores() -> tuple[int, int]:
    """Return the core of the servers and that of the load, for a process that is not pinned itself.

    Raises:
        BenchError: there are not two.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchError("two processor cores are needed: one for the server, one for the load")
    return allowed[0], allowed[1]


@contextlib.contextmanager
def pinned(to: set[int]) -> Iterator[None]:
    """Let whatever is started in a `with` block run on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, to)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Return a port that nobody listens on, and that the system gives to nobody unasked."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port


def environment() -> dict[str, str]:
    """Return the variables for what is measured: none that sets up Enfilade or keeps Python from caching."""
    left_out = ("ENFILADE_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}


class Server:
    """A server for the length of a `with` block.

    Args:
        command: what to run; `{port}` in a word is replaced.
        env: variables on top of `environment()`.
        cores: where it may run.
        cwd: where it works.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cores: set[int], cwd: Path) -> None:
        self.port = free_port()
        self._command = [word.replace("{port}", str(self.port)) for word in command]
        self._env = environment() | {name: value.replace("{port}", str(self.port)) for name, value in env.items()}
        self._cores = cores
        self._cwd = cwd
        self.started = 0.0

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()  # a file, as a pipe that nobody reads stops a server that logs
        with pinned(self._cores):
            self.started = time.perf_counter()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,  # so that a Ctrl-C reaches it by way of `__exit__` only
            )
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _wait(self) -> None:
        end = time.monotonic() + _START
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise BenchError(f"it ended with {self._process.returncode}:\n{self.log()}")
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1.0):
                return
            time.sleep(0.001)
        raise BenchError(f"it does not listen after {_START:.0f} s:\n{self.log()}")

    def _stop(self) -> None:
        family = self._family()
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP)
        if self._process.poll() is None:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()

    def log(self) -> str:
        """Return the end of what it has printed."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 3000))
        return self._log.read().decode(errors="replace")

    def _family(self) -> list[int]:
        found = [self._process.pid]
        for pid in found:
            for task in _tasks(pid):
                with contextlib.suppress(OSError):
                    found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def worked(self) -> float:
        """Return the seconds for which it has had a core, all its processes and threads together."""
        nanoseconds = 0
        for pid in self._family():
            for task in _tasks(pid):
                with contextlib.suppress(OSError):
                    nanoseconds += int((task / "schedstat").read_text().split()[0])
        return nanoseconds / 1e9

    def memory(self) -> int:
        """Return its resident bytes, all its processes together."""
        pages = 0
        for pid in self._family():
            with contextlib.suppress(OSError):
                pages += int((PROC / str(pid) / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def proportional(self) -> int:
        """Return its bytes, of which those that it shares with others count in part: all its processes together.

        The kernel's PSS. What else on this machine runs the same Python makes it smaller.
        """
        size = 0
        for pid in self._family():
            with contextlib.suppress(OSError):
                lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
                size += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return size * 1024


def _tasks(pid: int) -> list[Path]:
    with contextlib.suppress(OSError):
        return list((PROC / str(pid) / "task").iterdir())
    return []
