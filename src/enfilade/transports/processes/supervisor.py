"""Several processes on one listener: the parent that starts them, replaces them and stops them.

The parent owns the socket and serves nothing itself. It starts one worker, and the others once that one serves,
so that what is wrong with the app is said once. A worker that ends is replaced. To take up new code (SIGHUP, or
a file that changed) a new worker is started first, and the old one stops when the new one serves; if the new
one fails, the old one stays.

A worker that hangs is killed (`watchdog.py`), which is the only end that one has whose event loop is blocked.

The easy thing to get wrong is to wait for ever. Whatever is told to stop has a moment by which it is killed, a
second Ctrl-C kills at once, and the parent lets go of the listener before it waits, so that no client is left
in a queue that nobody will serve.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType
from typing import Any, Final

from enfilade.transports.http11.server import ServerOptions
from enfilade.transports.processes.process_end import STARTUP_FAILURE
from enfilade.transports.processes.worker import Load, Worker

log = logging.getLogger("enfilade")

_TICK: Final = 0.5  # seconds; also what it takes to see the end of a worker whose own children outlive it
_MARGIN: Final = 5.0  # seconds on top of the drain budget, for what the app's lifespan puts away
_LONGEST_PAUSE: Final = 5.0  # seconds between two tries to start a worker that cannot start
_HELD_UP: Final = 2.0  # seconds between two looks of the parent that show that it was stopped itself

_STOPPING: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]


class Supervisor:
    """Keeps a number of workers running.

    Args:
        load: makes the app in a worker; picklable.
        listeners: the bound sockets that they share.
        options: how each serves and stops.
        count: how many.
        waits_for_changes: whether code that cannot start is tried again only after `renew()`.

    Attributes:
        begun: is called when a worker begins to serve, with how often `renew()` was called before it started.
    """

    def __init__(
        self,
        load: Load,
        listeners: list[socket.socket],
        options: ServerOptions,
        count: int,
        *,
        waits_for_changes: bool = False,
    ) -> None:
        self.begun: Callable[[int], object] = lambda generation: None
        self._make: Callable[[], Worker] = lambda: Worker(load, listeners, options, self._generation)
        self._listeners = listeners
        self._patience = options.patience + max(_MARGIN, options.lifespan_timeout)
        self._count = count
        self._waits_for_changes = waits_for_changes
        self._workers: list[Worker] = []
        self._generation = 0
        self._failed_generation = -1
        self._failures = 0
        self._not_before = 0.0
        self._looked_at = time.monotonic()
        self._exit_code: int | None = None  # what to end with, once it is decided that this ends
        self._serving = False  # whether a worker has ever served
        self._at_terminal = _at_terminal()
        self._signals: list[int] = []
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)

    def renew(self) -> None:
        """Replace all workers by new ones, which load the app anew; callable from any thread."""
        self._generation += 1
        self._ring()

    def run(self) -> int:
        """Keep the workers running until a signal asks to stop.

        Returns:
            The exit code: 0, or that of a failed start.
        """
        with self._handling_signals():
            try:
                while self._exit_code is None or self._workers:
                    self._act()
                    self._wait()
            finally:
                for worker in self._workers:  # only after an error of our own
                    worker.kill()
                    worker.put_away()
        return self._exit_code

    # -- what happens ------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait for a signal, for news of a worker, or until something is due."""
        watched: list[Any] = [self._bell]
        for worker in self._workers:
            watched += worker.news
        due = [self._not_before, *(each.overdue_at or each.watchdog.due_at or 0.0 for each in self._workers)]
        now = time.monotonic()
        wait(watched, min([_TICK, *(moment - now for moment in due if moment > now)]))
        try:
            while self._bell.recv(64):
                pass
        except BlockingIOError:
            return

    def _act(self) -> None:
        while self._signals:  # first, as Ctrl-C also ends workers that are only starting
            self._obey(self._signals.pop(0))
        now = time.monotonic()
        held_up, self._looked_at = now - self._looked_at, now
        for worker in list(self._workers):
            if held_up > _HELD_UP:  # the machine may have been suspended, and the workers with it
                worker.watchdog.forgive(held_up)
            if worker.listen():
                self._has_begun(worker)
            if worker.exit_code is not None:
                self._has_ended(worker, worker.exit_code)
            elif worker.overdue_at is None:
                self._watch(worker, now)
            elif worker.overdue_at <= now:
                log.warning("worker %s did not stop in time and is killed", worker.pid)
                worker.kill()
        if self._exit_code is None:
            self._fill_up()
            self._replace_the_old()

    def _watch(self, worker: Worker, now: float) -> None:
        """Ask a worker for a sign of life now and then, and kill one that hangs."""
        worker.ask(now)
        if worker.watchdog.hangs(now):
            log.error(
                "worker %s has not %s for %g seconds: it is killed, and another takes its place",
                worker.pid,
                "answered" if worker.ready else "started",
                worker.watchdog.patience,
            )
            (worker.kill if worker.ready else worker.give_up)()

    def _has_begun(self, worker: Worker) -> None:
        self._failures, self._serving = 0, True
        self.begun(worker.generation)
        if worker.replaces is not None:
            worker.replaces.stop(self._patience)
            worker.replaces = None

    def _has_ended(self, worker: Worker, exit_code: int) -> None:
        self._workers.remove(worker)
        worker.put_away()
        for other in self._workers:
            if other.replaces is worker:
                other.replaces = None
        if self._exit_code is not None or worker.overdue_at is not None:
            return
        if worker.ready:
            log.warning("worker %s died (exit code %s): another takes its place", worker.pid, exit_code)
        else:
            self._could_not_start(worker, exit_code)

    def _could_not_start(self, worker: Worker, exit_code: int) -> None:
        self._failures += 1
        self._pause()
        if exit_code >= 0:  # otherwise it was killed, which says nothing of its code
            self._failed_generation = max(self._failed_generation, worker.generation)
        if any(other.ready for other in self._workers):
            log.error("a new worker could not start (exit code %s); those that serve go on", exit_code)
        elif self._serving and exit_code < 0:
            log.error("a new worker was killed while it started (exit code %s); trying again", exit_code)
        elif self._serving and self._waits_for_changes:
            log.error("the server could not start; waiting for a change")
        else:
            log.error("the worker could not start (exit code %s); stopping", exit_code)
            self._stop(STARTUP_FAILURE)

    def _fill_up(self) -> None:
        """Start workers until there are enough; a single one before any has served."""
        staying = [each for each in self._workers if each.overdue_at is None and each.replaces is None]
        broken = self._waits_for_changes and self._generation == self._failed_generation
        if broken or time.monotonic() < self._not_before:
            return
        for _ in range(len(staying), self._count if self._serving else 1):
            self._start(None)

    def _replace_the_old(self) -> None:
        """Start a worker of the newest generation in place of an older one, one at a time."""
        if self._generation <= self._failed_generation or any(each.replaces for each in self._workers):
            return
        if time.monotonic() < self._not_before:
            return
        for old in self._workers:
            if old.generation < self._generation and old.overdue_at is None:
                self._start(old)
                return

    def _start(self, replaces: Worker | None) -> None:
        try:
            worker = self._make()
        except OSError as error:  # no more processes, memory or descriptors: another time, perhaps
            self._failures += 1
            self._pause()
            log.error("no new worker could be started: %s", error)
            return
        worker.replaces = replaces
        self._workers.append(worker)

    def _pause(self) -> None:
        self._not_before = time.monotonic() + min(0.1 * 2**self._failures, _LONGEST_PAUSE)

    # -- stopping ----------------------------------------------------------------------------------------------

    def _stop(self, exit_code: int) -> None:
        self._exit_code = exit_code
        for listener in self._listeners:
            listener.close()
        for worker in self._workers:
            worker.stop(self._patience)

    def _obey(self, number: int) -> None:
        if number not in _STOPPING:  # SIGHUP
            if self._at_terminal and not _at_terminal():  # it is gone, and with it whoever started this
                self._stop(0)
            else:
                log.info("replacing all workers")
                self.renew()
        elif self._exit_code is None:
            log.info("stopping: requests in flight are finished (Ctrl-C again to stop at once)")
            self._stop(0)
        elif number == signal.SIGINT:
            for worker in self._workers:
                worker.kill()

    # -- signals -----------------------------------------------------------------------------------------------

    @contextmanager
    def _handling_signals(self) -> Iterator[None]:
        """Take note of signals for the main loop.

        One that the process ignores is SIGHUP by nohup, and stays ignored, or SIGINT by a shell that starts it in
        the background, and ends the server as it ends one without workers.
        """
        handled = [*_STOPPING, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
        before = {number: signal.getsignal(number) for number in handled}
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if number in _STOPPING or handler is not signal.SIG_IGN:
                    signal.signal(number, self._note)
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)
            self._bell.close()
            self._ringer.close()

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)
        self._ring()

    def _ring(self) -> None:
        try:
            self._ringer.send(b"!")
        except OSError:  # it rings already, or nobody is there any more
            return


def _at_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False
