"""The log of a server that `run()` serves: one format, on stderr, without waiting for its reader.

A client may ignore the stderr of a server that it starts (2025-11-25 basic/transports, stdio). A pipe that nobody
reads is full after 64 KiB, and every further write to it blocks. So the event loop never writes to stderr itself:
`LineWriter` has a bounded buffer, which a thread empties. Lines that do not fit are dropped and counted, and the
count is written once there is room again.

The library's own loggers and uvicorn's are shown if they have no other handler; the root logger is not touched.

Easy to get wrong: the watchdog thread and signal handlers write here too, so no lock may be held during a write.
And a failure to log must not become a failure of what was logged, not even when a tool has closed `sys.stderr`.
"""

import contextlib
import logging
import os
import select
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from typing import Final

#: Bytes that may wait for the reader of stderr.
STDERR_CAPACITY: Final = 1024 * 1024
#: `origin` is the logger's name, in a worker process with the process id: `enfilade`, `enfilade[4711]`.
FORMAT: Final = "%(asctime)s %(levelname)s %(origin)s: %(message)s"

_SHOWN_LOGGERS: Final = ("enfilade", "uvicorn")
_FLUSH_TIMEOUT: Final = 0.5  # seconds that the end of the process waits for the reader of stderr
#: Bytes that a pipe takes in one piece, not mixed with other writers'. Only a single longer line is written in
#: parts.
_ATOMIC_WRITE: Final = getattr(select, "PIPE_BUF", 4096)


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
        self._capacity = capacity
        self._lines: deque[bytes] = deque()
        self._size = 0
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
        self._changed = threading.Condition(threading.RLock())
        self._lines.clear()
        self._size = self._dropped = 0
        self._is_dropping = self._is_line_cut = False
        self._is_started = False

    def put(self, data: bytes) -> None:
        """Append one or more lines; drop them if there is no room."""
        with self._changed:
            if self._is_broken:
                return
            if self._size and (self._is_dropping or self._size + len(data) > self._capacity):
                self._is_dropping = True
                self._dropped += data.count(b"\n")
                self._is_line_cut = not data.endswith(b"\n")
                return
            self._size += len(data)
            self._lines.append(data)
            self._changed.notify_all()
        self.start()

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
            is_flushed = self._changed.wait_for(lambda: self._size == 0, timeout=limit)
            self._total_at_timeout = -1 if is_flushed else self._total_written
            return is_flushed

    def _run(self) -> None:
        while True:
            chunk = self._next_chunk()
            try:
                self._write_all(chunk)
            except OSError:  # the reader is gone for good
                self._discard_all()
                return
            self._count_written(len(chunk))

    def _next_chunk(self) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._lines)
            chunk = self._lines.popleft()
            while self._lines and len(chunk) + len(self._lines[0]) <= _ATOMIC_WRITE:
                chunk += self._lines.popleft()
            return chunk

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
            self._size, self._is_broken = 0, True
            self._changed.notify_all()

    def _write_all(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # another process has made the pipe non-blocking
                select.select([], [self._descriptor], [], 1.0)


_writer: LineWriter | None = None


def stderr_writer() -> LineWriter | None:
    """Return the process's writer of stderr, created by the first call; None if the process has no stderr."""
    global _writer  # noqa: PLW0603 - there is one stderr
    if _writer is None:
        with contextlib.suppress(OSError):
            _writer = LineWriter(os.dup(2))
    return _writer


class LogFormatter(logging.Formatter):
    """The one format of the log.

    Attributes:
        pid: show the process id in each line, for processes that share one stderr.
    """

    pid = False

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that `logging` calls
        """Return the line. `uvicorn.error`, which is uvicorn's general logger, is shown as `uvicorn`."""
        name = "uvicorn" if record.name == "uvicorn.error" else record.name
        record.origin = f"{name}[{record.process}]" if self.pid else name
        return super().formatMessage(record)


_formatter = LogFormatter(FORMAT)


class LogHandler(logging.Handler):
    """Passes records to a writer as lines; never blocks and never raises.

    Args:
        writer: takes the lines.
    """

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(_formatter)
        writer.notice = _dropped_notice

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._writer.put(_encode_line(self.format(record)))
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that `logging` calls
        """Log that a record could not be formatted, and where it was made."""
        error = sys.exc_info()[1]
        reason = "".join(traceback.format_exception_only(error)).strip()
        text = f"a record of {record.pathname}:{record.lineno} is lost: {reason}"
        self._writer.put(_format_line(logging.ERROR, text))

    def flush(self) -> None:
        """Wait half a second at most until everything is written; `logging` calls this when the process ends."""
        self._writer.flush(_FLUSH_TIMEOUT)


def log_to_stderr(level: str, *, pid: bool = False) -> None:
    """Show the log of a server on stderr, for loggers that have no handler; the root logger is not touched.

    Args:
        level: the lowest level that the library's loggers show; uvicorn's have their own setting.
        pid: show the process id in each line, since several processes write to this stderr.
    """
    _formatter.pid = pid
    logging.getLogger("enfilade").setLevel(level.upper())
    writer = stderr_writer()
    if writer is None:
        return
    for name in _SHOWN_LOGGERS:
        logger = logging.getLogger(name)
        if not logger.hasHandlers():
            logger.addHandler(LogHandler(writer))


def warn_without_locks(text: str) -> None:
    """Write a warning without the locks of `logging`, which a hanging thread may hold for ever."""
    if (writer := stderr_writer()) is not None:
        writer.put(_format_line(logging.WARNING, text))
        writer.flush(_FLUSH_TIMEOUT)


def flush_log() -> None:
    """Wait half a second at most until the log is written; for ends of the process without exit handlers."""
    if (writer := stderr_writer()) is not None:
        writer.flush(_FLUSH_TIMEOUT)


def _dropped_notice(count: int) -> bytes:
    return _format_line(logging.WARNING, f"{count} lines were dropped, because stderr was not read")


def _format_line(level: int, text: str) -> bytes:
    record = logging.LogRecord("enfilade", level, __file__, 0, text, None, None)
    return _encode_line(_formatter.format(record))


def _encode_line(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace") + b"\n"
