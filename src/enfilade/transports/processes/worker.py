"""One worker process: how it is started, what it is told, and what it tells.

Parent and worker hold the two ends of a pipe. The worker says `UP` once it serves. The parent sends `PING` now
and then, which the worker's event loop answers with `PONG`, and `STOP`; the end of the pipe, because the parent
is gone, means the same. Signals would do for most of that, but not on Windows, and not for a parent that was
killed: its workers would hold the port for ever.

The easy thing to get wrong is a script that serves without `if __name__ == "__main__"`. Each worker imports it,
and would start workers of its own; `refuse_in_worker` is what stops that.
"""

from __future__ import annotations

import asyncio
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
from enfilade.transports.processes.watchdog import Watchdog

if TYPE_CHECKING:
    import multiprocessing
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
else:  # a server of one process asks here whether it is a worker, and needs nothing else of this file
    multiprocessing = LazyModule("multiprocessing")

Load = Callable[[], Served]

_UP: Final = b"up"
_STOP: Final = b"stop"
_PING: Final = b"ping"
_PONG: Final = b"pong"
_MARK: Final = "_ENFILADE_WORKER_OF"  # in the environment of a process that is to become a worker


class Worker:
    """A process that serves on a listener it shares with others.

    Args:
        load: makes the app, in the new process; picklable.
        listeners: the sockets, bound by the parent.
        options: how it serves and stops.
        generation: of the code that it runs.

    Attributes:
        pid: its process id.
        ready: it serves.
        generation: of the code that it runs.
        replaces: the worker that is to stop as soon as this one serves.
        watchdog: judges whether it hangs.
        overdue_at: when it must have ended, in `time.monotonic` seconds; None as long as it is to go on.
    """

    def __init__(
        self, load: Load, listeners: list[socket.socket], options: ServerOptions, generation: int
    ) -> None:
        self.ready = False
        self.generation = generation
        self.replaces: Worker | None = None
        self.overdue_at: float | None = None
        self.watchdog = Watchdog(options.worker_timeout, time.monotonic())
        self._pipe_ended = False
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process: SpawnProcess = spawn.Process(target=_work, args=(theirs, listeners, load, options))
        with theirs, _marked():
            self._process.start()
        self.pid = self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with, negative for a signal; None while it runs."""
        return self._process.exitcode

    @property
    def news(self) -> list[Connection | int]:
        """What becomes readable when there is news of it: its pipe, while that is open, and its end."""
        return [self._process.sentinel] if self._pipe_ended else [self._pipe, self._process.sentinel]

    def listen(self) -> bool:
        """Take what it says; True if it has just begun to serve."""
        was_ready = self.ready
        try:
            while not self._pipe_ended and self._pipe.poll():
                self.ready = self._pipe.recv_bytes() == _UP or self.ready
                self.watchdog.answered(time.monotonic())
        except (EOFError, OSError):  # it is about to end
            self._pipe_ended = True
        return self.ready and not was_ready

    def ask(self, now: float) -> None:
        """Ask whether its event loop runs, if it is time for that."""
        if self.watchdog.asks(now):
            with suppress(OSError):  # it is about to end
                self._pipe.send_bytes(_PING)

    def stop(self, patience: float) -> None:
        """Ask it to end within so many seconds."""
        if self.overdue_at is None:
            self.overdue_at = time.monotonic() + patience
            with suppress(OSError):
                self._pipe.send_bytes(_STOP)
            if not self.ready and sys.platform != "win32":  # it may take long to start, and serves nobody yet
                self._process.terminate()

    def kill(self) -> None:
        """End it without a word; whoever counts the dead knows of it."""
        self.overdue_at = math.inf
        self._process.kill()

    def give_up(self) -> None:
        """End one that does not start, as if it had died by itself."""
        self.watchdog.limit = 0.0
        self._process.kill()

    def put_away(self) -> None:
        """Let go of it after its end."""
        self._process.join()
        self._process.close()
        self._pipe.close()


def refuse_in_worker() -> None:
    """Stop a script that serves while it is only imported by a worker.

    Raises:
        SystemExit: that is the case; the text says what to do.
    """
    if os.environ.get(_MARK) == str(os.getppid()):
        raise SystemExit(
            "enfilade: each worker imports this file, and must not serve by that: "
            'put the call of run() under `if __name__ == "__main__":`'
        )


@contextmanager
def _marked() -> Iterator[None]:
    os.environ[_MARK] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[_MARK]


def _work(pipe: Connection, listeners: list[socket.socket], load: Load, options: ServerOptions) -> None:
    """Be a worker: what the new process does."""
    with suppress(KeyboardInterrupt):  # Ctrl-C reaches all processes of a terminal; the parent says what to do
        gc_pause.pause()
        app = load()
        os.environ.pop(_MARK, None)  # processes that the app starts are no workers
        loops: list[asyncio.AbstractEventLoop] = []

        def up() -> None:
            loops.append(asyncio.get_running_loop())
            pipe.send_bytes(_UP)

        server = Server(app, options, workers=2, up=up)
        threading.Thread(target=_obey, args=(pipe, server, loops), daemon=True).start()
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        server.serve_until_stopped(listeners)


def _obey(pipe: Connection, server: Server, loops: list[asyncio.AbstractEventLoop]) -> None:
    """Have the event loop answer the parent, until the parent says stop or ends."""

    def answer() -> None:
        with suppress(OSError):  # the parent is gone, and this thread learns it as well
            pipe.send_bytes(_PONG)  # does not block: the parent asks again only after the answer

    with suppress(EOFError, OSError, RuntimeError):  # or the event loop is closed
        while pipe.recv_bytes() == _PING:
            loops[0].call_soon_threadsafe(answer)
    server.should_exit = True
