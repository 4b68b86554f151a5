"""The log of requests: an observer that writes a line at the level info for each.

Where the log is the one that `run()` shows on stderr, a line goes to its writer as bytes, past `logging`, which
would cost more than the line itself. Any other configuration (`--log-config`, a host's) gets a `LogRecord` of the
logger `enfilade.requests`: its message is the line for people, and its attribute `request` the dict for machines.

Calls that tools make of each other are not requests of clients: they have a line at the level debug.

Easy to get wrong: a flood. Lines of one second beyond `limit` are counted, and a summary says how many of which
outcome were left out, and whose most of them were. Of failures and refusals, the first of each kind within a
second is always written.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from enfilade.counters import count
from enfilade.serving.observation.observer import EndObserver
from enfilade.serving.observation.record import RequestRecord
from enfilade.serving.observation.request_line import LOGGER, json_line, line_of, text_line

_INFO: Final = logging.INFO
_DEBUG: Final = logging.DEBUG
_MOST_CALLERS: Final = 1000  # that are counted between two summaries
_SHOWN_CALLERS: Final = 5
_OTHERS: Final = ""


class LineHandler(Protocol):
    """A handler of `logging` that takes lines which are written already; `LogHandler` is one."""

    is_json: bool
    put_line: Callable[[bytes], None]

    def put_text(self, logger: str, level: int, text: str) -> None:
        """Write a text as a line of a logger."""
        ...


class RequestLog(EndObserver):
    """Writes the lines.

    Args:
        limit: lines a second; 0 for no bound.
    """

    def __init__(self, limit: int = 0) -> None:
        self._logger = logging.getLogger(LOGGER)
        self._handler = direct_handler(self._logger)
        has_json = self._handler is not None and self._handler.is_json
        self._put_json = self._handler.put_line if self._handler is not None and has_json else None
        self._limit = limit
        self._second = 0.0
        self._lines = 0
        self._kinds: set[tuple[str, str | None, str | None]] = set()
        self._left_out: Counter[tuple[str, str | None]] = Counter()  # by outcome, and principal or session
        self._names: dict[str | None, str] = {}  # of principals and sessions
        self._summary: asyncio.TimerHandle | None = None

    def end(self, record: RequestRecord) -> None:
        """Write the line of a request."""
        level = _INFO if record.parent is None else _DEBUG
        if not self._logger.isEnabledFor(level) or (record.request is None and record.error is None):
            return  # the latter has ended a session
        if self._limit and not self._has_room(record):
            return
        if self._put_json is not None:
            self._put_json(json_line(record, "info" if level is _INFO else "debug"))
        elif self._handler is not None:
            self._handler.put_text(LOGGER, level, text_line(record))
        else:
            self._log(record, level)

    def _log(self, record: RequestRecord, level: int) -> None:
        line = self._logger.makeRecord(LOGGER, level, __file__, 0, text_line(record), (), None)
        line.request = msgspec.structs.asdict(line_of(record))
        self._logger.handle(line)

    # -- floods ------------------------------------------------------------------------------------------------

    def _has_room(self, record: RequestRecord) -> bool:
        """Whether this line is written; if not, it is counted."""
        if record.ended - self._second >= 1.0:
            self._second, self._lines = record.ended, 0
            self._kinds.clear()
        self._lines += 1
        if self._lines <= self._limit:
            return True
        outcome = record.outcome
        if outcome != "ok" and len(self._kinds) < self._limit:
            kind = (outcome, record.method, record.target)
            if kind not in self._kinds:
                self._kinds.add(kind)
                return True
        request = record.request
        peer = record.peer if request is None else request.peer
        caller = None if peer is None else peer.principal or peer.session_id
        if caller not in self._names:
            caller = self._name(caller, record)
        self._left_out[outcome, caller] += 1
        if self._summary is None:
            self._summary = asyncio.get_running_loop().call_later(1.0, self.summarize)
        return False

    def _name(self, caller: str | None, record: RequestRecord) -> str | None:
        """Remember what a caller is called, and return under what it is counted: `_OTHERS` if there are many."""
        name = record.principal or record.client or "unknown"
        if len(self._names) >= _MOST_CALLERS:
            caller, name = _OTHERS, "others"
        self._names[caller] = name
        return caller

    def summarize(self) -> None:
        """Write how many lines were left out since the last summary, and whose they were."""
        self._summary = None
        if not self._left_out:
            return
        by_outcome: Counter[str] = Counter()
        by_caller: Counter[str] = Counter()
        for (outcome, caller), number in self._left_out.items():
            by_outcome[outcome] += number
            by_caller[self._names[caller]] += number
        outcomes, most = dict(by_outcome.most_common()), dict(by_caller.most_common(_SHOWN_CALLERS))
        total = self._left_out.total()
        count("log_lines_dropped", "log_limit", total)
        self._left_out.clear()
        self._names.clear()
        counts = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
        by = ", ".join(f"{name} ({number})" for name, number in most.items())
        text = f"{total} requests were left out of the log (log_limit={self._limit}): {counts}; most by {by}"
        self._logger.info("%s", text, extra={"left_out": {"outcomes": outcomes, "callers": most}})


def direct_handler(logger: logging.Logger) -> LineHandler | None:
    """Return the handler that takes the lines of a logger as bytes, if there is no other handler or filter."""
    handlers: list[Any] = []
    source: logging.Logger | None = logger
    while source is not None:
        handlers += source.handlers
        source = source.parent if source.propagate else None
    if len(handlers) == 1 and hasattr(handlers[0], "put_line") and not handlers[0].filters and not logger.filters:
        handler: LineHandler = handlers[0]
        return handler
    return None
