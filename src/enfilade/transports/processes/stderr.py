"""Writing to stderr without waiting for whoever reads it: a bounded buffer, and a thread that empties it.

A client may ignore the stderr of a server that it starts (2025-11-25 basic/transports, stdio), and a pipe that
nobody reads is full after 64 KiB: from then on every write to it blocks. So nothing that the event loop runs
writes to stderr itself. What does not fit into the buffer is dropped and counted, and the count is written once
there is room again.

Easy to get wrong: a watchdog and signal handlers write here too, so no lock may be held during a write.
"""

import contextlib
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

#: Bytes that may wait for a reader of stderr.
CAPACITY: Final = 1024 * 1024
#: Bytes of one write, unless a single line is longer: a pipe takes so many as a whole, beside other writers.
_WHOLE: Final = getattr(select, "PIPE_BUF", 4096)
_CHUNK: Final = 64 * 1024
_SETTLED: Final = 0.3  # seconds that a relay gets to read what is in its pipe


def _plain_notice(count: int) -> bytes:
    return b"%d lines were dropped, because stderr was not read\n" % count


class LineWriter:
    """Writes lines to a descriptor in a thread; `put` may be called from anywhere and never waits.

    Args:
        descriptor: where to write.
        capacity: bytes that may wait; what is more is dropped.

    Attributes:
        notice: makes the line that tells how many lines were dropped.
    """

    def __init__(self, descriptor: int, capacity: int = CAPACITY) -> None:
        self.notice: Callable[[int], bytes] = _plain_notice
        self._descriptor = descriptor
        self._capacity = capacity
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0  # lines, since the last notice
        self._dropping = self._half_line = False
        self._broken = False
        self._total = 0  # bytes written
        self._vain = -1  # what that was when a flush was in vain
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Begin without a thread: a forked child has none, and its parent writes what waited."""
        self._changed = threading.Condition(threading.RLock())
        self._lines.clear()
        self._size = self._dropped = 0
        self._dropping = self._half_line = False
        self._started = False

    def put(self, data: bytes) -> None:
        """Take a line, or several; drop them if too much waits already."""
        with self._changed:
            if self._broken:
                return
            if self._size and (self._dropping or self._size + len(data) > self._capacity):
                self._dropping = True
                self._dropped += data.count(b"\n")
                self._half_line = not data.endswith(b"\n")
                return
            self._size += len(data)
            self._lines.append(data)
            self._changed.notify_all()
        self.start()

    def start(self) -> None:
        """Start the thread, once: with the first line at the latest, and before the interpreter shuts down.

        Raises:
            RuntimeError: it is shutting down, when Python 3.12 and later start no thread.
        """
        with self._changed:
            if self._started:
                return
            self._started = True
        threading.Thread(target=self._run, name="enfilade-stderr", daemon=True).start()

    def flush(self, limit: float) -> bool:
        """Wait until everything is written; False if it is not.

        Args:
            limit: seconds at most; none at all if nothing has been written since a wait was in vain.
        """
        with self._changed:
            if self._vain == self._total:
                limit = 0.0
            flushed = self._changed.wait_for(lambda: self._size == 0, timeout=limit)
            self._vain = -1 if flushed else self._total
            return flushed

    def _run(self) -> None:
        while True:
            chunk = self._next()
            try:
                self._write_all(chunk)
            except OSError:  # nobody will ever read it
                self._discard()
                return
            self._written(len(chunk))

    def _next(self) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._lines)
            chunk = self._lines.popleft()
            while self._lines and len(chunk) + len(self._lines[0]) <= _WHOLE:
                chunk += self._lines.popleft()
            return chunk

    def _written(self, size: int) -> None:
        with self._changed:
            self._size -= size
            self._total += size
            if self._dropping and self._size <= self._capacity // 2:
                notice = self.notice(self._dropped + self._half_line)
                self._dropped, self._dropping, self._half_line = 0, False, False
                self._lines.append(notice)
                self._size += len(notice)
            self._changed.notify_all()

    def _discard(self) -> None:
        """Take nothing any more."""
        with self._changed:
            self._lines.clear()
            self._size, self._broken = 0, True
            self._changed.notify_all()

    def _write_all(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # whoever made the pipe wanted it so, perhaps for itself
                select.select([], [self._descriptor], [], 1.0)


class Relay:
    """Takes fd 1 and 2, and passes on to a `LineWriter` what `print`, native code and children write there.

    Args:
        writer: takes what is read.
    """

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer
        writer.start()  # what comes first may come from an `atexit` function
        self._reading, writing = os.pipe()
        _enlarge(writing)
        self._real = os.dup(2)
        for standard in (1, 2):
            os.dup2(writing, standard)
        os.close(writing)
        self._lately = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="enfilade-relay", daemon=True)
        self._thread.start()

    @property
    def real(self) -> int:
        """The descriptor that was fd 2."""
        return self._real

    def restore(self, limit: float) -> bool:
        """Let fd 1 and 2 be what fd 2 was, unless nobody reads there: then whatever writes would block.

        Args:
            limit: seconds that its reader gets to take what waits.

        Returns:
            Whether that was done.
        """
        if not self._settled() or not self._writer.flush(limit):
            return False
        for standard in (1, 2):
            os.dup2(self._real, standard)  # which closes the pipe, unless a child process has it, too
        self._thread.join(_SETTLED)
        self._writer.flush(limit)
        return True

    def _settled(self) -> bool:
        """Wait until nothing is left in the pipe; False if it is filled faster than it is read."""
        end = time.monotonic() + _SETTLED
        while time.monotonic() < end:
            if sys.platform == "win32" or not select.select([self._reading], [], [], 0)[0]:
                return True
            time.sleep(0.005)
        return False

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(self._reading, _CHUNK):
                self._writer.put(chunk)


def _enlarge(descriptor: int) -> None:
    """Let a pipe hold what native code writes while it keeps every thread of Python waiting."""
    try:
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, CAPACITY)
    except (ImportError, AttributeError, OSError):  # only Linux can, and not above the user's limit
        return


_writer: LineWriter | None = None


def stderr_writer() -> LineWriter | None:
    """Return the process's writer of stderr, made when first asked for; None if the process has no stderr."""
    global _writer  # noqa: PLW0603 - there is one stderr
    if _writer is None:
        with contextlib.suppress(OSError):
            _writer = LineWriter(os.dup(2))
    return _writer
