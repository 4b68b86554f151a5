"""Several processes on one listener: the parent that starts, restarts and stops workers.

The parent owns the socket and serves nothing itself. It starts one worker, and the others once that one serves,
so that an error in the app is reported once. A worker that ends is restarted. For new code (SIGHUP, or a changed
file) a new worker is started first, and the old one stops when the new one serves; if the new one fails, the old
one stays. A worker that hangs is killed (`Watchdog` in `worker.py`): nothing else ends a blocked event loop.

Easy to get wrong: waiting for ever. A worker that is told to stop is killed at a deadline, a second Ctrl-C kills
at once, and the parent closes the listener before it waits, so that no client stays in a queue that nobody
serves.
"""

import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any, Final

from enfilade.transports.http11.server import ServerOptions
from enfilade.transports.processes.process_end import STARTUP_FAILURE, STOP_SIGNALS
from enfilade.transports.processes.service_manager import ServiceManager
from enfilade.transports.processes.worker import Load, Worker

log = logging.getLogger("enfilade")

_POLL_INTERVAL: Final = 0.5  # seconds; the sentinel of a worker is late if its own children outlive it
_LIFESPAN_MARGIN: Final = 5.0  # seconds for the app's lifespan, in addition to the time for requests
_MAX_RETRY_DELAY: Final = 5.0  # seconds between attempts to start a worker that cannot start
_SCAN_INTERVAL: Final = 0.5  # seconds between two looks for changed files
#: Folders of thousands of files that nobody edits; environments are skipped as well.
_SKIPPED: Final = {"__pycache__", "node_modules", "site-packages", "build", "dist"}
_SUSPENDED: Final = 2.0  # seconds between two rounds of the main loop that show that the parent did not run


class Supervisor:
    """Keeps a number of workers running.

    Args:
        load: makes the app in a worker; picklable.
        listeners: the bound sockets that they share.
        count: number of workers.
        manager: is told of the start, the end, and in between that this process runs.
        waits_for_changes: whether code that cannot start is tried again only after `replace_workers()`.

    Attributes:
        on_serving: called when a worker begins to serve, with how often `replace_workers()` had been called
            before it started.
        on_ended: called when a worker has ended, with the id of its process, and whether it died.
    """

    def __init__(
        self,
        load: Load,
        listeners: list[socket.socket],
        options: ServerOptions,
        count: int,
        manager: ServiceManager | None = None,
        *,
        waits_for_changes: bool = False,
    ) -> None:
        self.on_serving: Callable[[int], object] = lambda generation: None
        self.on_ended: Callable[[int | None, bool], object] = lambda pid, died: None
        self._make_worker: Callable[[], Worker] = lambda: Worker(load, listeners, options, self._generation)
        self._listeners = listeners
        self._socket_file = options.socket_file
        self._manager = manager or ServiceManager({})
        self._stop_timeout = options.stop_timeout + max(_LIFESPAN_MARGIN, options.lifespan_timeout)
        self._count = count
        self._waits_for_changes = waits_for_changes
        self._workers: list[Worker] = []
        self._generation = 0
        self._failed_generation = -1
        self._failures = 0
        self._no_start_before = 0.0
        self._last_round = time.monotonic()
        self._exit_code: int | None = None  # set once it stops
        self._has_served = False  # whether any worker has served
        self._was_at_terminal = _is_at_terminal()
        self._signals: list[int] = []
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)

    def replace_workers(self) -> None:
        """Replace all workers by new ones, which load the app anew; callable from any thread."""
        self._generation += 1
        self._wake()

    def run(self) -> int:
        """Keep the workers running until a signal asks to stop.

        Returns:
            The exit code: 0, or that of a failed start.
        """
        with self._handling_signals():
            try:
                while self._exit_code is None or self._workers:
                    self._run_round()
                    self._wait()
            finally:
                for worker in self._workers:  # only after an error of our own
                    worker.kill()
                    worker.close()
        return self._exit_code

    # -- the main loop -----------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait for a signal, for a message or the end of a worker, or until something is due."""
        waitables: list[Any] = [self._wake_receiver]
        for worker in self._workers:
            waitables += worker.waitables
        due = [worker.kill_at or worker.watchdog.due_at or 0.0 for worker in self._workers]
        now = time.monotonic()
        delays = [moment - now for moment in (self._no_start_before, *due) if moment > now]
        wait(waitables, min([_POLL_INTERVAL, *delays]))
        try:
            while self._wake_receiver.recv(64):
                pass
        except BlockingIOError:
            return

    def _run_round(self) -> None:
        while self._signals:  # first, as Ctrl-C also ends workers that are still starting
            self._obey_signal(self._signals.pop(0))
        self._manager.alive()
        now = time.monotonic()
        elapsed, self._last_round = now - self._last_round, now
        for worker in list(self._workers):
            if elapsed > _SUSPENDED:  # the machine may have been suspended, and the workers with it
                worker.watchdog.forgive(elapsed)
            if worker.read_messages():
                self._worker_serves(worker)
            if worker.exit_code is not None:
                self._worker_ended(worker, worker.exit_code)
            elif worker.kill_at is None:
                self._check_health(worker, now)
            elif worker.kill_at <= now:
                log.warning("worker %s did not stop in time and is killed", worker.pid)
                worker.kill()
        if self._exit_code is None:
            self._start_missing()
            self._start_replacement()

    def _check_health(self, worker: Worker, now: float) -> None:
        """Ping a worker if that is due, and kill it if it hangs."""
        worker.ping_if_due(now)
        if worker.watchdog.is_hung(now):
            log.error(
                "worker %s has not %s for %g seconds: it is killed, and another takes its place",
                worker.pid,
                "answered" if worker.is_serving else "started",
                worker.watchdog.timeout,
            )
            (worker.kill if worker.is_serving else worker.kill_failed_start)()

    def _worker_serves(self, worker: Worker) -> None:
        self._failures, self._has_served = 0, True
        self._manager.ready()
        self.on_serving(worker.generation)
        if worker.replaces is not None:
            worker.replaces.stop(self._stop_timeout)
            worker.replaces = None

    def _worker_ended(self, worker: Worker, exit_code: int) -> None:
        self._workers.remove(worker)
        worker.close()
        died = worker.kill_at is None or (worker.kill_at == math.inf and worker.replaces is None)
        self.on_ended(worker.pid, died and self._exit_code is None)
        for other in self._workers:
            if other.replaces is worker:
                other.replaces = None
        if self._exit_code is not None or worker.kill_at is not None:
            return
        if worker.is_serving:
            log.warning("worker %s died (exit code %s): another takes its place", worker.pid, exit_code)
        else:
            self._start_failed(worker, exit_code)

    def _start_failed(self, worker: Worker, exit_code: int) -> None:
        self._failures += 1
        self._delay_next_start()
        if exit_code >= 0:  # a negative code is a signal, and no sign that the code is broken
            self._failed_generation = max(self._failed_generation, worker.generation)
        if any(other.is_serving for other in self._workers):
            remaining = "the previous code goes" if self._waits_for_changes else "the other workers go"
            log.error("a new worker could not start (exit code %s); %s on serving", exit_code, remaining)
        elif self._has_served and exit_code < 0:
            log.error("a new worker was killed while it started (exit code %s); trying again", exit_code)
        elif self._has_served and self._waits_for_changes:
            log.error("the server could not start; waiting for a change")
        else:
            log.error("the worker could not start (exit code %s); stopping", exit_code)
            self._stop(STARTUP_FAILURE)

    def _start_missing(self) -> None:
        """Start workers until there are enough; a single one before any has served."""
        staying = [worker for worker in self._workers if worker.kill_at is None and worker.replaces is None]
        is_broken = self._waits_for_changes and self._generation == self._failed_generation
        if is_broken or time.monotonic() < self._no_start_before:
            return
        for _ in range(len(staying), self._count if self._has_served else 1):
            self._start(None)

    def _start_replacement(self) -> None:
        """Start a worker of the newest generation in place of an older one, one at a time."""
        if self._generation <= self._failed_generation or any(worker.replaces for worker in self._workers):
            return
        if time.monotonic() < self._no_start_before:
            return
        for worker in self._workers:
            if worker.generation < self._generation and worker.kill_at is None:
                self._start(worker)
                return

    def _start(self, replaces: Worker | None) -> None:
        try:
            worker = self._make_worker()
        except OSError as error:  # a lack of processes, memory or descriptors, which may pass
            self._failures += 1
            self._delay_next_start()
            log.error("no new worker could be started: %s", error)
            return
        worker.replaces = replaces
        self._workers.append(worker)

    def _delay_next_start(self) -> None:
        self._no_start_before = time.monotonic() + min(0.1 * 2**self._failures, _MAX_RETRY_DELAY)

    # -- stopping ----------------------------------------------------------------------------------------------

    def _stop(self, exit_code: int) -> None:
        self._exit_code = exit_code
        self._manager.stopping()
        for listener in self._listeners:
            listener.close()
        if self._socket_file is not None:
            self._socket_file.remove()
        for worker in self._workers:
            worker.stop(self._stop_timeout)

    def _obey_signal(self, number: int) -> None:
        if number not in STOP_SIGNALS:  # SIGHUP
            if self._was_at_terminal and not _is_at_terminal():  # the terminal was closed
                self._stop(0)
            else:
                log.info("replacing all workers")
                self.replace_workers()
        elif self._exit_code is None:
            log.info("stopping: requests in flight are finished (Ctrl-C again to stop at once)")
            self._stop(0)
        elif number == signal.SIGINT:
            for worker in self._workers:
                worker.kill()

    # -- signals -----------------------------------------------------------------------------------------------

    @contextmanager
    def _handling_signals(self) -> Iterator[None]:
        """Queue signals for the main loop.

        A signal that the process ignores is either SIGHUP under nohup, which stays ignored, or SIGINT of a
        process that a shell has started in the background, which stops this server as it stops one without
        workers.
        """
        handled = [*STOP_SIGNALS, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
        previous_handlers = {number: signal.getsignal(number) for number in handled}
        if threading.current_thread() is threading.main_thread():
            for number, handler in previous_handlers.items():
                if number in STOP_SIGNALS or handler is not signal.SIG_IGN:
                    signal.signal(number, self._queue_signal)
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in previous_handlers.items():
                    signal.signal(number, handler)
            self._wake_receiver.close()
            self._wake_sender.close()

    def _queue_signal(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)
        self._wake()

    def _wake(self) -> None:
        try:
            self._wake_sender.send(b"!")
        except OSError:  # its buffer is full, so the loop wakes anyway; or it is closed
            return


def _is_at_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False


# -- changed files, for `--reload` -------------------------------------------------------------------------------


def watch_files(
    folder: Path, on_change: Callable[[Sequence[str]], object], stopped: threading.Event
) -> threading.Thread:
    """Start a thread that calls back whenever a Python file below a folder was written, added or removed.

    Args:
        on_change: called in that thread, with the paths of the files.
        stopped: set it to end the thread.
    """
    # Reading the times costs a few milliseconds for a project of some hundred files, and works on every kind of
    # file system.
    previous = _modification_times(folder)

    def poll() -> None:
        nonlocal previous
        while not stopped.wait(_SCAN_INTERVAL):
            current = _modification_times(folder)
            if current != previous:
                changed = sorted({file for file, _ in current.items() ^ previous.items()})
                previous = current
                on_change(changed)

    thread = threading.Thread(target=poll, name="enfilade-reload", daemon=True)
    thread.start()
    return thread


def _modification_times(root: Path) -> dict[str, int]:
    """Return the modification time of each Python file in nanoseconds, without files that vanish meanwhile."""
    times: dict[str, int] = {}
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not _is_skipped(folder, name)]
        for name in names:
            if name.endswith(".py"):
                file = os.path.join(folder, name)
                try:
                    times[file] = os.stat(file).st_mtime_ns
                except OSError:
                    continue
    return times


def _is_skipped(folder: str, name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED or os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
