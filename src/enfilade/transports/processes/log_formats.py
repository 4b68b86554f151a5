"""The two formats of the log: text for people, and JSON with a line for each record.

Both show the id of the request in which a record was made. They are formatters of `logging`, so a configuration
of one's own (`--log-config`) can name them: `{"()": "enfilade.transports.processes.log_formats.JsonFormatter"}`.

Easy to get wrong: texts of clients in messages and tracebacks. In text, further lines are indented and control
characters are written as escapes, so that no client can forge a line; JSON escapes both.
"""

import logging
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec

from enfilade.serving.observation.current import current_record

#: `origin` is the logger's name, in a worker process with the process id: `enfilade`, `enfilade[4711]`.
FORMAT: Final = "%(asctime)s %(levelname)s %(origin)s: %(message)s"

_LIBRARY: Final = str(Path(__file__).parents[2]) + os.sep
#: Control characters, and separators that some programs take for the end of a line.
_ESCAPES: Final = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
    if chr(code) not in "\n\t"
}


def logger_name(record: logging.LogRecord) -> str:
    """Return the name of a record's logger. `uvicorn.error`, uvicorn's general logger, is shown as `uvicorn`."""
    return "uvicorn" if record.name == "uvicorn.error" else record.name


class LogFormatter(logging.Formatter):
    """Text for people.

    Args:
        pattern: as `logging.Formatter` takes it.
        pid: show the process id in each line, for processes that share one stderr.
    """

    def __init__(self, pattern: str = FORMAT, *, pid: bool = False) -> None:
        super().__init__(pattern)
        self.pid = pid
        self._second = -1
        self._second_text = ""  # of `_second`

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with any further lines indented."""
        return super().format(record).translate(_ESCAPES).replace("\n", "\n  ")

    def line(self, logger: str, level: int, text: str) -> str:
        """Return a line that is no `LogRecord`, as `format` would: one line without control characters."""
        now = time.time()
        seconds = int(now)
        if seconds != self._second:
            self._second, self._second_text = (
                seconds,
                time.strftime(self.default_time_format, time.localtime(now)),
            )
        origin = f"{logger}[{os.getpid()}]" if self.pid else logger
        milliseconds = int((now - seconds) * 1000)
        return f"{self._second_text},{milliseconds:03d} {logging.getLevelName(level)} {origin}: {text}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that `logging` calls
        """Return the line without a traceback, with the id of its request at the end of the first line."""
        name = logger_name(record)
        record.origin = f"{name}[{record.process}]" if self.pid else name
        request = current_record.get()
        if request is None or hasattr(record, "request"):  # the line of a request has its id
            return super().formatMessage(record)
        first, newline, more = super().formatMessage(record).partition("\n")
        return f"{first} [{request.request_id}]{newline}{more}"

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name that `logging` calls
        """Return a traceback without its first frames, those of this library; at the level `debug` with them."""
        return super().formatException(_shown_exception(ei))


class LogLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A record of the log as JSON; the lines of requests have keys of their own, `RequestLine`.

    Attributes:
        time: RFC 3339, UTC.
        worker: id of the process.
        request_id: of the request in which it was made, and so are the next two.
        exception: a traceback.
        left_out: of a summary of a flood: how many lines of requests were left out, by outcome and by caller.
    """

    time: str
    level: str
    logger: str
    worker: int
    message: str
    request_id: str | None = None
    trace_id: str | None = None
    method: str | None = None
    exception: str | None = None
    left_out: dict[str, dict[str, int]] | None = None


class JsonFormatter(logging.Formatter):
    """JSON for machines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        from enfilade.serving.observation.request_line import timestamp

        if isinstance(line := getattr(record, "request", None), dict):  # of a request
            return msgspec.json.encode(line).decode()
        request = current_record.get()
        exception = None
        if record.exc_info:
            exception = record.exc_text or self.formatException(_shown_exception(record.exc_info))
        entry = LogLine(
            time=timestamp(record.created),
            level=record.levelname.lower(),
            logger=logger_name(record),
            worker=os.getpid(),
            message=_encodable(record.getMessage()),
            request_id=None if request is None else request.request_id,
            trace_id=None if request is None else request.trace_id,
            method=None if request is None else request.method,
            exception=None if exception is None else _encodable(exception),
            left_out=getattr(record, "left_out", None),
        )
        return msgspec.json.encode(entry).decode()


def _encodable(text: str) -> str:
    """Return a text that is valid UTF-8, whose separators of lines are no such in JSON either."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode().translate(_ESCAPES_IN_JSON)
    return text


_ESCAPES_IN_JSON: Final = {code: text for code, text in _ESCAPES.items() if code >= 0x7F}


def _shown_exception(exception: Any) -> Any:
    kind, error, trace = exception
    if not logging.getLogger("enfilade").isEnabledFor(logging.DEBUG):
        trace = user_frames(trace)
    return kind, error, trace


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without its first frames of the library; the complete one if all are."""
    user_trace = trace
    while user_trace is not None and user_trace.tb_frame.f_code.co_filename.startswith(_LIBRARY):
        user_trace = user_trace.tb_next
    return user_trace or trace
