"""One worker process: how it is started, what it is told, and what it tells.

Parent and worker hold the two ends of a pipe. The worker says `UP` once it serves; a word from the parent, or
the end of the pipe because the parent is gone, tells it to stop. Signals would do for most of that, but not on
Windows, and not for a parent that was killed: its workers would hold the port for ever.

The easy thing to get wrong is a script that serves without `if __name__ == "__main__"`. Each worker imports it,
and would start workers of its own; `refuse_in_worker` is what stops that.
"""

from __future__ import annotations

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

from enfilade import collector
from enfilade.later import Later
from enfilade.transports.http_server import Served, Server, ServerOptions

if TYPE_CHECKING:
    import multiprocessing
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
else:  # a server of one process asks here whether it is a worker, and needs nothing else of this file
    multiprocessing = Later("multiprocessing")

Load = Callable[[], Served]

_UP: Final = b"up"
_STOP: Final = b"stop"
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
        overdue_at: when it must have ended, in `time.monotonic` seconds; None as long as it is to go on.
    """

    def __init__(
        self, load: Load, listeners: list[socket.socket], options: ServerOptions, generation: int
    ) -> None:
        self.ready = False
        self.generation = generation
        self.replaces: Worker | None = None
        self.overdue_at: float | None = None
        self._has_spoken = False
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
        """What becomes readable when there is news of it: its pipe while it has something to say, and its end."""
        return [self._process.sentinel] if self._has_spoken else [self._pipe, self._process.sentinel]

    def listen(self) -> bool:
        """Take what it says; True if it has just begun to serve."""
        try:
            if self._has_spoken or not self._pipe.poll():
                return False
            self._has_spoken = True
            self.ready = self._pipe.recv_bytes() == _UP
        except (EOFError, OSError):  # it is about to end
            return False
        return self.ready

    def stop(self, patience: float) -> None:
        """Ask it to end within so many seconds."""
        if self.overdue_at is None:
            self.overdue_at = time.monotonic() + patience
            with suppress(OSError):
                self._pipe.send_bytes(_STOP)
            if not self.ready and sys.platform != "win32":  # it may take long to start, and serves nobody yet
                self._process.terminate()

    def kill(self) -> None:
        """End it without a word."""
        self.overdue_at = math.inf
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
        collector.wait()
        app = load()
        os.environ.pop(_MARK, None)  # processes that the app starts are no workers
        server = Server(app, options, workers=2, up=lambda: pipe.send_bytes(_UP))
        threading.Thread(target=_obey, args=(pipe, server), daemon=True).start()
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        server.serve_until_stopped(listeners)


def _obey(pipe: Connection, server: Server) -> None:
    """Wait for the word of the parent, or for its end."""
    with suppress(EOFError, OSError):
        pipe.recv_bytes()
    server.should_exit = True
