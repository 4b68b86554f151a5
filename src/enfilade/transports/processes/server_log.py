"""The log of a server that `run()` serves: one format for all of it, on stderr, without waiting for its reader.

The root logger gets a handler if it has none, so that the records of users' own loggers and of uvicorn are shown
as the library's are: as text for people, or as JSON with a line for each record. A record that is made within a
request carries its ids. A host that has configured logging keeps what it has configured.

Easy to get wrong: a failure to log must not become a failure of what was logged, not even when a tool has closed
`sys.stderr`.
"""

import logging
import sys
import traceback
from pathlib import Path
from typing import Final

import msgspec

from enfilade.transports.processes.line_writer import LineWriter, stderr_writer
from enfilade.transports.processes.log_formats import JsonFormatter, LogFormatter

_FLUSH_TIMEOUT: Final = 0.5  # seconds that the end of the process waits for the reader of stderr
#: Loggers of libraries that log each request they send, with its URL, at the level info.
_TALKATIVE: Final = ("httpx", "httpcore")

_formatter: LogFormatter | JsonFormatter = LogFormatter()


class LogHandler(logging.Handler):
    """Passes records to a writer as lines; never blocks and never raises.

    Args:
        writer: takes the lines.

    Attributes:
        is_json: whether the lines are JSON.
        put_line: writes a whole line, which may wait a moment for others.
    """

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer
        self.put_line = writer.gather
        writer.notice = _dropped_notice

    @property
    def is_json(self) -> bool:
        return isinstance(_formatter, JsonFormatter)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return _formatter.format(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._writer.put(_encode_line(self.format(record)), urgent=record.levelno >= logging.WARNING)
        except Exception:
            self.handleError(record)

    def put_text(self, logger: str, level: int, text: str) -> None:
        """Write a text as a line of a logger; it has no control characters."""
        if isinstance(_formatter, LogFormatter):
            self.put_line(_encode_line(_formatter.line(logger, level, text)))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that `logging` calls
        """Log that a record could not be formatted, and where it was made."""
        error = sys.exc_info()[1]
        reason = "".join(traceback.format_exception_only(error)).strip()
        text = f"a record of {record.pathname}:{record.lineno} is lost: {reason}"
        self._writer.put(_format_line(logging.ERROR, text))

    def flush(self) -> None:
        """Wait half a second at most until everything is written; `logging` calls this when the process ends."""
        self._writer.flush(_FLUSH_TIMEOUT)


def log_to_stderr(level: str, *, form: str = "text", pid: bool = False) -> None:
    """Show the log of a server on stderr, if nobody else handles it.

    Args:
        level: the lowest level that is shown; uvicorn's loggers have their own setting.
        form: `text` or `json`.
        pid: show the process id in each line, since several processes write to this stderr.
    """
    global _formatter  # noqa: PLW0603 - there is one stderr
    _formatter = JsonFormatter() if form == "json" else LogFormatter(pid=pid)
    own, root = logging.getLogger("enfilade"), logging.getLogger()
    own.setLevel(level.upper())
    is_ours = any(isinstance(handler, LogHandler) for handler in root.handlers)
    if (own.hasHandlers() and not is_ours) or (writer := stderr_writer()) is None:
        return
    if not is_ours:
        root.addHandler(LogHandler(writer))
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        if level == "info" and logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(logging.WARNING)


def configure_log(file: str, level: str, *, form: str = "text", pid: bool = False) -> None:
    """Configure the log as a file says, or show it on stderr.

    Args:
        file: what `logging.config` takes: a dict as JSON or YAML, by the end of the name, or else an INI file;
            empty for stderr.
        level: of the log on stderr, and so are the others.

    Raises:
        OSError, ValueError: the file cannot be read, or is no such configuration.
    """
    if not file:
        log_to_stderr(level, form=form, pid=pid)
        return
    import logging.config  # which few servers need

    path = Path(file)
    if path.suffix.lower() not in (".json", ".yaml", ".yml"):
        path.read_bytes()  # says that it is not there, as `fileConfig` does not in all versions
        logging.config.fileConfig(file, disable_existing_loggers=False)
        return
    if path.suffix.lower() == ".json":
        config = msgspec.json.decode(path.read_bytes())
    else:
        config = msgspec.yaml.decode(path.read_bytes())
    logging.config.dictConfig({"disable_existing_loggers": False, **config})


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
