"""Writes lines to stderr without waiting for its reader.

A pipe that nobody reads is full after 64 KiB, and every further write to it blocks. So the event loop never
writes to stderr itself: `LineWriter` has a bounded buffer, which a thread empties. Lines that do not fit are
dropped and counted, and the count is written once there is room again.

Waking the thread costs more than most lines. Once awake, it gathers lines for `_GATHERING` seconds, again and
again while there are any, so a busy server wakes it some fifty times a second and not for each line. While it
gathers, a line that is not urgent needs no lock. Whatever ends the process in order flushes; what was gathered is
lost if the process is killed.

Easy to get wrong: the watchdog thread and signal handlers write here too, so no lock may be held during a write.
And a line that is put without the lock may come when the thread has just stopped to gather: it looks once more
after `_LATE` seconds before it waits without end.
"""

import contextlib
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from enfilade.counters import count

#: Bytes that may wait for the reader of stderr.
STDERR_CAPACITY: Final = 1024 * 1024

#: Bytes that a pipe takes in one piece, not mixed with other writers'. Only a single longer line is written in
#: parts.
_ATOMIC_WRITE: Final = getattr(select, "PIPE_BUF", 4096)
#: Bytes that go into one write to a file, and most that are taken from the lines at once.
_LARGE_WRITE: Final = 64 * 1024
_GATHERING: Final = 0.02  # seconds
_LATE: Final = 0.5  # seconds


def _default_notice(count: int) -> bytes:
    return b"%d lines were dropped, because stderr was not read\n" % count


class LineWriter:
    """Writes lines to a descriptor in a thread; `put` may be called from any thread and never blocks.

    Args:
        descriptor: where to write.
        capacity: bytes that may wait; what does not fit is dropped.

    Attributes:
        notice: makes the line that says how many lines were dropped.
    """

    def __init__(self, descriptor: int, capacity: int = STDERR_CAPACITY) -> None:
        self.notice: Callable[[int], bytes] = _default_notice
        self._descriptor = descriptor
        self._longest_write = _LARGE_WRITE if _is_file(descriptor) else _ATOMIC_WRITE
        self._capacity = capacity
        self._lines: deque[bytes] = deque()
        self._gathered: deque[bytes] = deque()  # put without the lock
        self._size = 0  # bytes of `_lines`
        self._dropped = 0  # lines, since the last notice
        self._is_dropping = self._is_line_cut = False
        self._is_broken = False
        self._total_written = 0  # bytes
        self._total_at_timeout = -1  # `_total_written` when a flush timed out
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Start without a thread: a forked child has none, and its parent writes the lines that waited."""
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._lines.clear()
        self._gathered.clear()
        self._size = self._dropped = 0
        self._is_dropping = self._is_line_cut = False
        self._is_started = self._is_busy = self._is_gathering = self._is_urgent = False

    def put(self, data: bytes, *, urgent: bool = True) -> None:
        """Append one or more lines; drop them if there is no room.

        Args:
            data: ends with a newline.
            urgent: write it now; else it may wait a moment for further lines.
        """
        with self._lock:
            if self._is_broken:
                return
            if urgent:
                self._take_gathered()
                self._is_urgent = True
            self._take(data)
            self._changed.notify_all()
            if self._is_started:
                return
        self.start()

    def gather(self, data: bytes) -> None:
        """Append lines as `put` does that are not urgent, without the lock where that is possible."""
        if self._is_gathering:
            self._gathered.append(data)
        else:
            self.put(data, urgent=False)

    def _take(self, data: bytes) -> None:
        """Let lines wait for the thread if there is room, else count them."""
        if self._size and (self._is_dropping or self._size + len(data) > self._capacity):
            self._is_dropping = True
            self._dropped += data.count(b"\n")
            count("log_lines_dropped", "stderr", data.count(b"\n"))
            self._is_line_cut = not data.endswith(b"\n")
            return
        self._size += len(data)
        self._lines.append(data)

    def _take_gathered(self) -> None:
        while self._gathered:
            self._take(self._gathered.popleft())

    def start(self) -> None:
        """Start the thread unless it runs; the first `put` does this too.

        Raises:
            RuntimeError: the interpreter shuts down, when Python 3.12 and later start no thread.
        """
        with self._changed:
            if self._is_started:
                return
            self._is_started = True
        threading.Thread(target=self._run, name="enfilade-stderr", daemon=True).start()

    def flush(self, limit: float) -> bool:
        """Wait until everything is written, and return whether it is.

        Args:
            limit: seconds to wait; 0 if nothing was written since the last flush that timed out.
        """
        with self._changed:
            if self._total_at_timeout == self._total_written:
                limit = 0.0
            self._take_gathered()
            self._is_urgent = True
            self._changed.notify_all()
            is_flushed = self._changed.wait_for(lambda: self._size == 0, timeout=limit)
            self._total_at_timeout = -1 if is_flushed else self._total_written
            return is_flushed

    def _run(self) -> None:
        while True:
            lines = self._next_lines()
            try:
                for chunk in _joined(lines, self._longest_write):
                    self._write_all(chunk)
            except OSError:  # the reader is gone for good
                self._discard_all()
                return
            self._count_written(sum(map(len, lines)))

    def _next_lines(self) -> list[bytes]:
        """Wait for lines, and return some of them."""
        with self._changed:
            if not self._lines:
                self._wait_for_lines()
            lines = [self._lines.popleft()]
            size = len(lines[0])
            while self._lines and (size := size + len(self._lines[0])) <= _LARGE_WRITE:
                lines.append(self._lines.popleft())
            if not self._lines:
                self._is_urgent = False
            return lines

    def _wait_for_lines(self) -> None:
        """Return when there are lines; unless one is urgent, others have joined them for a moment."""
        timeout: float | None = None
        while True:
            if not self._is_busy:
                self._changed.wait_for(lambda: self._lines, timeout)
                self._take_gathered()
                timeout = None
                if not self._lines:
                    continue
                self._is_busy = True
            if not self._is_urgent:
                self._is_gathering = True
                self._changed.wait_for(lambda: self._is_urgent, _GATHERING)
                self._is_gathering = False
            self._take_gathered()
            if self._lines:
                return
            self._is_busy, timeout = False, _LATE

    def _count_written(self, size: int) -> None:
        with self._changed:
            self._size -= size
            self._total_written += size
            if self._is_dropping and self._size <= self._capacity // 2:
                notice = self.notice(self._dropped + self._is_line_cut)
                self._dropped, self._is_dropping, self._is_line_cut = 0, False, False
                self._lines.append(notice)
                self._size += len(notice)
            self._changed.notify_all()

    def _discard_all(self) -> None:
        """Drop what waits, and everything that is put later."""
        with self._changed:
            self._lines.clear()
            self._gathered.clear()
            self._size, self._is_broken = 0, True
            self._changed.notify_all()

    def _write_all(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # another process has made the pipe non-blocking
                select.select([], [self._descriptor], [], 1.0)


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _joined(lines: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """Yield lines in pieces of at most that many bytes, or of one line."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > longest:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    yield b"".join(piece)


_writer: LineWriter | None = None


def stderr_writer() -> LineWriter | None:
    """Return the process's writer of stderr, created by the first call; None if the process has no stderr."""
    global _writer  # noqa: PLW0603 - there is one stderr
    if _writer is None:
        with contextlib.suppress(OSError):
            _writer = LineWriter(os.dup(2))
    return _writer
