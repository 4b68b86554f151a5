"""The log of a server that `run()` serves: one format, on stderr, and nobody waits for whoever reads it.

The library's own loggers and uvicorn's are shown, if nobody else handles them; the root logger is left alone.

Easy to get wrong: a failure to log must not become a failure of what was logged, not even when a tool has closed
`sys.stderr`.
"""

import logging
import sys
import traceback
from typing import Final

from enfilade.transports.processes.stderr import LineWriter, stderr_writer

#: `origin` is the logger's name, in a worker process with the process id: `enfilade`, `enfilade[4711]`.
FORMAT: Final = "%(asctime)s %(levelname)s %(origin)s: %(message)s"
#: Whose log is shown.
_SHOWN: Final = ("enfilade", "uvicorn")
_FLUSH: Final = 0.5  # seconds that the end of the process waits for a reader of the log


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
    """Hands records to a writer, as lines; never waits and never raises.

    Args:
        writer: takes the lines.
    """

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(_formatter)
        writer.notice = _dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        try:
            self._writer.put(_encoded(self.format(record)))
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that `logging` calls
        """Say that a record could not be formatted, and where it came from."""
        error = sys.exc_info()[1]
        said = "".join(traceback.format_exception_only(error)).strip()
        self._writer.put(_line(logging.ERROR, f"a record of {record.pathname}:{record.lineno} is lost: {said}"))

    def flush(self) -> None:
        """Wait a moment until everything is written; `logging` calls this when the process ends."""
        self._writer.flush(_FLUSH)


def log_to_stderr(level: str, *, pid: bool = False) -> None:
    """Show the log of a server on stderr if nobody else handles it; the root logger is left alone.

    Args:
        level: the least level that the library's loggers show; uvicorn's have their own setting.
        pid: show the process id in each line, since several processes write to this stderr.
    """
    _formatter.pid = pid
    logging.getLogger("enfilade").setLevel(level.upper())
    writer = stderr_writer()
    if writer is None:
        return
    for name in _SHOWN:
        logger = logging.getLogger(name)
        if not logger.hasHandlers():
            logger.addHandler(LogHandler(writer))


def note(text: str) -> None:
    """Write a warning without the locks of `logging`, which a thread that hangs may hold for ever."""
    if (writer := stderr_writer()) is not None:
        writer.put(_line(logging.WARNING, text))
        writer.flush(_FLUSH)


def flush_log() -> None:
    """Wait a moment until the log is written, for those who end the process without its exit handlers."""
    if (writer := stderr_writer()) is not None:
        writer.flush(_FLUSH)


def _dropped(count: int) -> bytes:
    return _line(logging.WARNING, f"{count} lines were dropped, because stderr was not read")


def _line(level: int, text: str) -> bytes:
    record = logging.LogRecord("enfilade", level, __file__, 0, text, None, None)
    return _encoded(_formatter.format(record))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace") + b"\n"
