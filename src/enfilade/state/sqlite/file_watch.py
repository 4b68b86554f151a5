"""Noticing that somebody has written to the database, without a thread and without asking SQLite.

Whatever is written goes into the file that ends in `-wal`, so its size or its time of change differs afterwards.
To look at these fifty times a second costs an event loop next to nothing. A thread that woke as often would take
the interpreter away from whatever runs, which costs a busy worker several percent of its calls.

Easy to get wrong: two writes within one tick of the file system's clock look like one, if the file did not grow.
So a file that was changed just now may have changed again, and counts as changed at the next look as well.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import Final

#: Seconds for which a change may hide another; some file systems' clocks tick only so often.
_TICK: Final = 0.05

#: Where the times of an open file can be relied on.
RELIABLE: Final = sys.platform != "win32"


class FileWatch:
    """Looks at a file until it is stopped; to be made and stopped in the event loop.

    Args:
        path: the file; it need not exist.
        pause: seconds between two looks.
        changed: called when it may have been written to.
    """

    def __init__(self, path: str, pause: float, changed: Callable[[], object]) -> None:
        self._path = path
        self._pause = pause
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._seen: tuple[int, ...] = ()
        self._timer = self._loop.call_later(pause, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._pause, self._look)
        try:
            found = os.stat(self._path)
        except OSError:  # it is not there yet, or not any more
            seen: tuple[int, ...] = ()
        else:
            seen = (found.st_ino, found.st_size, found.st_mtime_ns)
            if abs(time.time() - found.st_mtime) < _TICK:
                self._changed()
        if seen != self._seen:
            self._seen = seen
            self._changed()
