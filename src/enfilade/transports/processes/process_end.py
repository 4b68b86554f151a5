"""Signals that stop a process, and a deadline for its end that a thread enforces, whatever hangs.

Handlers may swallow their cancellation, block the event loop or a thread, or hang in their clean-up. None of that
can be ended from inside the event loop, so `ExitDeadline` has a thread that ends the process. Behind the thread
is the timer of `faulthandler`, which is native and needs no GIL, for code that never lets another thread run.

    set(seconds) ─▶ the clean-up of `run()` ─▶ run_returned() ─▶ the author's code after `run()`: no limit ─▶ the
    main thread is done ─▶ other threads and exit handlers, at most `exit_timeout` seconds

Easy to get wrong: a signal handler calls `set`, so it must take no lock.
"""

import faulthandler
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from enfilade.transports.processes import server_log

_NATIVE_DELAY: Final = 1.0  # seconds by which the native timer is later than the thread
_OWN_EXIT_HANDLERS: Final = 1.0  # seconds for our own exit handlers, which write the rest of the log
_POLL_INTERVAL: Final = 1.0  # seconds between checks of the main thread, for Pythons without `_register_atexit`

#: Exit code of a server that could not start; the same as uvicorn's.
STARTUP_FAILURE: Final = 3

#: Signals that ask a process to stop.
STOP_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
)


class ExitDeadline:
    """Ends the process at a deadline, from a thread that starts at once.

    Args:
        exit_timeout: seconds for threads and exit handlers once the main thread is done, besides our own
            handlers.
    """

    def __init__(self, exit_timeout: float) -> None:
        self._exit_timeout = exit_timeout + _OWN_EXIT_HANDLERS
        self._earliest = float("inf")
        self._main_is_done = threading.Event()
        self._requests: queue.SimpleQueue[tuple[float, int] | None] = queue.SimpleQueue()
        # Where the native timer writes its traceback: on stderr that write could block.
        self._null_device = os.open(os.devnull, os.O_WRONLY)
        threading.Thread(target=self._watch, name="enfilade-ending", daemon=True).start()

    def set(self, seconds: float, exit_code: int) -> None:
        """Set the deadline, or move it forward; callable from any thread and from signal handlers.

        Args:
            seconds: until the process is ended; a call with a later deadline has no effect.
            exit_code: of the process, if the deadline ends it.
        """
        deadline = time.monotonic() + seconds
        self._requests.put((deadline, exit_code))
        if deadline < self._earliest:
            self._earliest = deadline
            self._arm_native(seconds)

    def run_returned(self) -> None:
        """Cancel the deadline, since `run()` is done; `exit_timeout` applies once the main thread ends."""
        faulthandler.cancel_dump_traceback_later()
        # Python calls these before it joins the threads of pools, which is before the main thread counts as done.
        register = getattr(threading, "_register_atexit", None)
        if register is not None:
            with suppress(RuntimeError):  # the interpreter shuts down already
                register(self._main_is_done.set)
        self._requests.put(None)

    def _arm_native(self, seconds: float) -> None:
        faulthandler.dump_traceback_later(seconds + _NATIVE_DELAY, exit=True, file=self._null_device)

    def _watch(self) -> None:
        deadline, exit_code = float("inf"), 1
        request: tuple[float, int] | None = (deadline, exit_code)
        while request is not None:
            if request[0] < deadline:
                deadline, exit_code = request
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                self._end_process("the server did not end in time", exit_code)
            try:
                request = self._requests.get(timeout=None if deadline == float("inf") else remaining)
            except queue.Empty:
                continue
        while not self._main_is_done.wait(_POLL_INTERVAL) and threading.main_thread().is_alive():
            continue
        self._arm_native(self._exit_timeout)
        time.sleep(self._exit_timeout)
        self._end_process("a thread or an exit handler did not end in time", 1)

    @staticmethod
    def _end_process(reason: str, exit_code: int) -> None:
        server_log.warn_without_locks(f"{reason}: the process is ended")
        os._exit(exit_code)


@contextmanager
def stop_on_signals(stop: Callable[[int], object]) -> Iterator[None]:
    """Call `stop` at the first signal that asks to stop; the second signal ends the process.

    That holds after this context too.

    The handlers are Python's and not the event loop's, whose handlers run late if the loop is blocked and lose a
    signal if its pipe is full. A signal that the process ignores (nohup) stays ignored. Threads other than the
    main thread cannot handle signals: there this does nothing.

    Args:
        stop: called with the signal's number in the main thread, between any two instructions.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    handled = [number for number, handler in previous_handlers.items() if handler is not signal.SIG_IGN]

    def handle(number: int, _: FrameType | None) -> None:
        for handled_number in handled:
            signal.signal(handled_number, signal.SIG_DFL)  # needs neither the GIL nor a loop
        stop(number)

    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            previous = previous_handlers[number]
            if signal.getsignal(number) is handle or previous is not signal.default_int_handler:
                signal.signal(number, previous)
