"""The end of a process, enforced by a thread: whatever hangs, the process ends by its deadline.

Handlers may swallow their cancellation, block the event loop or a thread, or hang in what they put away. None of
that can be ended from within, so `Ending` has a thread that ends the process. Behind it stands the timer of
`faulthandler`, which is native and needs no GIL: for code that never lets another thread run.

    begin(seconds) ─▶ whatever `run()` has to put away ─▶ returned() ─▶ what the author does after `run()`: no
    limit ─▶ the main thread is done ─▶ other threads and exit handlers, at most `after` seconds

Easy to get wrong: a signal handler calls `begin`, so it must take no lock.
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

_BEHIND: Final = 1.0  # seconds by which the native timer is later than the thread
_OWN: Final = 1.0  # seconds for our own exit handlers, which write what is left of the log
_LOOK: Final = 1.0  # seconds between two looks whether the main thread is done, where Python does not tell

#: Exit code of a server that could not start, as uvicorn has it.
STARTUP_FAILURE: Final = 3

#: Signals that ask a process to end.
STOP_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
)


class Ending:
    """Ends the process at a deadline, from a thread of its own that begins to wait at once.

    Args:
        after: seconds that threads and exit handlers get once the main thread is done, besides our own.
    """

    def __init__(self, after: float) -> None:
        self._after = after + _OWN
        self._soonest = float("inf")
        self._done = threading.Event()  # the main thread is
        self._orders: queue.SimpleQueue[tuple[float, int] | None] = queue.SimpleQueue()
        self._silence = os.open(os.devnull, os.O_WRONLY)  # the native timer would write where it hung, and block
        threading.Thread(target=self._watch, name="enfilade-ending", daemon=True).start()

    def begin(self, seconds: float, exit_code: int) -> None:
        """Give the process so many seconds to end; callable from any thread and from signal handlers.

        Args:
            seconds: until it ends; a later call can only bring that forward.
            exit_code: what it ends with if it has to be ended.
        """
        deadline = time.monotonic() + seconds
        self._orders.put((deadline, exit_code))
        if deadline < self._soonest:
            self._soonest = deadline
            self._arm(seconds)

    def returned(self) -> None:
        """Take note that `run()` is done: what the author does next has no limit, but the end after that has."""
        faulthandler.cancel_dump_traceback_later()
        # Python calls these before it waits for threads of pools, which is before the main thread counts as done.
        register = getattr(threading, "_register_atexit", None)
        if register is not None:
            with suppress(RuntimeError):  # it is about to end already
                register(self._done.set)
        self._orders.put(None)

    def _arm(self, seconds: float) -> None:
        faulthandler.dump_traceback_later(seconds + _BEHIND, exit=True, file=self._silence)

    def _watch(self) -> None:
        deadline, exit_code = float("inf"), 1
        order: tuple[float, int] | None = (deadline, exit_code)
        while order is not None:
            if order[0] < deadline:
                deadline, exit_code = order
            left = deadline - time.monotonic()
            if left <= 0:
                self._end("the server did not end in time", exit_code)
            try:
                order = self._orders.get(timeout=None if deadline == float("inf") else left)
            except queue.Empty:
                continue
        while not self._done.wait(_LOOK) and threading.main_thread().is_alive():
            continue
        self._arm(self._after)
        time.sleep(self._after)
        self._end("a thread or an exit handler did not end in time", 1)

    @staticmethod
    def _end(what: str, exit_code: int) -> None:
        server_log.note(f"{what}: the process is ended")
        os._exit(exit_code)


@contextmanager
def handling_signals(stop: Callable[[int], object]) -> Iterator[None]:
    """Call `stop` at the first signal that asks to end; the second one ends the process at once, also later.

    The handlers are Python's: the event loop's would wait for a loop that may be blocked, and lose a signal while
    its pipe is full. What the process ignores (nohup) it goes on to ignore. In a thread that is not the main
    one there are no signals, and nothing happens here.

    Args:
        stop: called with the signal's number in the main thread, between two instructions of whatever runs there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def handle(number: int, _: FrameType | None) -> None:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)  # needs neither the GIL nor a loop
        stop(number)

    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            if signal.getsignal(number) is handle or before[number] is not signal.default_int_handler:
                signal.signal(number, before[number])
