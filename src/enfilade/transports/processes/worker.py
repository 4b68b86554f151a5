"""One worker process: how it is started, the messages between it and its parent, and how a hung one is noticed.

Parent and worker hold the two ends of a pipe. The worker sends `UP` once it serves. The parent sends `PING` now
and then, which the worker's event loop answers with `PONG`, and `STOP`; the end of the pipe, because the parent
is gone, means the same. Signals could do most of that, but not on Windows, and not after the parent was killed:
its workers would hold the port for ever.

`PONG` shows that the event loop runs and requests can be served. The parent sends one `PING` at a time, a quarter
of `worker_timeout` after the last `PONG`: with the default of 60 seconds, an idle worker wakes up every 15.

    STARTING ── UP ─▶ RUNNING ── PING ─▶ PINGED ── PONG ─▶ RUNNING
        └── 10 × worker_timeout ─▶ hung ◀── worker_timeout ──┘

Easy to get wrong: a script that serves without `if __name__ == "__main__"`. Each worker imports it, and would
start workers of its own; `refuse_in_worker` stops that.
"""

from __future__ import annotations

import asyncio
import enum
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from enfilade.startup import gc_pause
from enfilade.startup.lazy import LazyModule
from enfilade.transports.http11.server import Served, Server, ServerOptions

if TYPE_CHECKING:
    import multiprocessing
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
else:  # a server of one process calls only `refuse_in_worker`
    multiprocessing = LazyModule("multiprocessing")

Load = Callable[[], Served]

_UP: Final = b"up"
_STOP: Final = b"stop"
_PING: Final = b"ping"
_PONG: Final = b"pong"
_WORKER_MARK: Final = "_ENFILADE_WORKER_OF"  # in the environment of a process that is to become a worker

_PINGS_PER_TIMEOUT: Final = 4
#: A worker that starts may take so many times `worker_timeout`: it imports the app and starts the lifespan.
_START_FACTOR: Final = 10


class WorkerState(enum.Enum):
    """What a watchdog waits for: the start of the worker, the time of the next `PING`, or its answer."""

    STARTING = enum.auto()
    RUNNING = enum.auto()
    PINGED = enum.auto()


class Watchdog:
    """Decides when a worker is pinged and when it counts as hung; times are monotonic, in seconds.

    Args:
        limit: seconds after which a worker that does not answer counts as hung; 0 for never.
        now: the time at which the worker was started.
    """

    def __init__(self, limit: float, now: float) -> None:
        self.limit = limit
        self._state = WorkerState.STARTING
        self._since = now  # when it entered this state

    @property
    def timeout(self) -> float:
        """Seconds in which the worker has to start, or to answer."""
        return self.limit * _START_FACTOR if self._state is WorkerState.STARTING else self.limit

    @property
    def due_at(self) -> float | None:
        """When to ping the worker, or when it counts as hung; None for never."""
        if not self.limit:
            return None
        if self._state is WorkerState.RUNNING:
            return self._since + self.limit / _PINGS_PER_TIMEOUT
        return self._since + self.timeout

    def mark_alive(self, now: float) -> None:
        """Note an answer, or the message that the worker serves."""
        self._state, self._since = WorkerState.RUNNING, now

    def pings(self, now: float) -> bool:
        """Return whether the worker is to be pinged now; if so, its answer is expected from now on."""
        if self._state is not WorkerState.RUNNING or self.due_at is None or now < self.due_at:
            return False
        self._state, self._since = WorkerState.PINGED, now
        return True

    def is_hung(self, now: float) -> bool:
        """Whether the worker has not started, or not answered, in time."""
        return self._state is not WorkerState.RUNNING and self.due_at is not None and now >= self.due_at

    def forgive(self, seconds: float) -> None:
        """Leave out a time in which the parent itself did not run, such as a suspension of the machine."""
        self._since += seconds


class Worker:
    """A process that serves on listeners it shares with others.

    Args:
        load: makes the app, in the new process; picklable.
        listeners: the sockets, bound by the parent.
        generation: of the code that it runs.

    Attributes:
        is_serving: whether it has said that it serves.
        generation: of the code that it runs.
        replaces: the worker that is to stop as soon as this one serves.
        watchdog: decides whether it hangs.
        kill_at: the `time.monotonic` by which it must have ended; None until it is told to stop.
    """

    def __init__(
        self, load: Load, listeners: list[socket.socket], options: ServerOptions, generation: int
    ) -> None:
        self.is_serving = False
        self.generation = generation
        self.replaces: Worker | None = None
        self.kill_at: float | None = None
        self.watchdog = Watchdog(options.worker_timeout, time.monotonic())
        self._pipe_ended = False
        spawn = multiprocessing.get_context("spawn")
        self._pipe, worker_end = spawn.Pipe()
        self._process: SpawnProcess = spawn.Process(target=_work, args=(worker_end, listeners, load, options))
        with worker_end, _marked_environment():
            self._process.start()
        self.pid = self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    @property
    def waitables(self) -> list[Connection | int]:
        """What becomes readable when it sends or ends: its pipe, while that is open, and its sentinel."""
        return [self._process.sentinel] if self._pipe_ended else [self._pipe, self._process.sentinel]

    def read_messages(self) -> bool:
        """Read what it has sent; return whether it has just begun to serve."""
        was_serving = self.is_serving
        try:
            while not self._pipe_ended and self._pipe.poll():
                self.is_serving = self._pipe.recv_bytes() == _UP or self.is_serving
                self.watchdog.mark_alive(time.monotonic())
        except (EOFError, OSError):  # it is about to end
            self._pipe_ended = True
        return self.is_serving and not was_serving

    def ping_if_due(self, now: float) -> None:
        """Ping it if it is time for that."""
        if self.watchdog.pings(now):
            with suppress(OSError):  # it is about to end
                self._pipe.send_bytes(_PING)

    def stop(self, timeout: float) -> None:
        """Tell it to end within so many seconds."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + timeout
            with suppress(OSError):
                self._pipe.send_bytes(_STOP)
            if not self.is_serving and sys.platform != "win32":  # its start may take long, and it has no requests
                self._process.terminate()

    def kill(self) -> None:
        """Kill it as one that was told to stop: its end is not reported as a failure."""
        self.kill_at = math.inf
        self._process.kill()

    def kill_failed_start(self) -> None:
        """Kill one that does not start; its end is reported as if it had died by itself."""
        self.watchdog.limit = 0.0
        self._process.kill()

    def close(self) -> None:
        """Release its process and pipe, after its end."""
        self._process.join()
        self._process.close()
        self._pipe.close()


def refuse_in_worker() -> None:
    """Stop a script that serves while a worker imports it.

    Raises:
        SystemExit: this process is such a worker; the text says what to do.
    """
    if os.environ.get(_WORKER_MARK) == str(os.getppid()):
        raise SystemExit(
            "enfilade: each worker imports this file, and must not serve by that: "
            'put the call of run() under `if __name__ == "__main__":`'
        )


@contextmanager
def _marked_environment() -> Iterator[None]:
    os.environ[_WORKER_MARK] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[_WORKER_MARK]


def _work(pipe: Connection, listeners: list[socket.socket], load: Load, options: ServerOptions) -> None:
    """Run a worker: the target of the new process."""
    with suppress(KeyboardInterrupt):  # Ctrl-C reaches all processes of a terminal; the parent decides what to do
        gc_pause.pause()
        app = load()
        os.environ.pop(_WORKER_MARK, None)  # processes that the app starts are no workers
        loops: list[asyncio.AbstractEventLoop] = []

        def report_serving() -> None:
            loops.append(asyncio.get_running_loop())
            pipe.send_bytes(_UP)

        server = Server(app, options, workers=2, on_serving=report_serving)
        threading.Thread(target=_obey_parent, args=(pipe, server, loops), daemon=True).start()
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        server.serve_until_stopped(listeners)


def _obey_parent(pipe: Connection, server: Server, loops: list[asyncio.AbstractEventLoop]) -> None:
    """Have the event loop answer each `PING`, until the parent sends `STOP` or is gone."""

    def send_pong() -> None:
        with suppress(OSError):  # the parent is gone, which ends this thread too
            pipe.send_bytes(_PONG)  # does not block: the parent pings again only after the answer

    with suppress(EOFError, OSError, RuntimeError):  # or the event loop is closed
        while pipe.recv_bytes() == _PING:
            loops[0].call_soon_threadsafe(send_pong)
    server.should_exit = True
