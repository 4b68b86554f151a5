"""What becomes of an exception that a handler raised: whose failure it is, what is logged, what the client reads.

Any exception is the failure of one call, also one that is no `Exception`: a panic in a Rust extension, a group, a
`SystemExit`, a `GeneratorExit`. Three kinds are more than that and pass: a `KeyboardInterrupt` that came from a
signal, the closing of a coroutine, and a cancellation from outside.

Easy to get wrong: the log. It is written on the way to the outcome, and handlers, filters and streams of the
process may raise, so everything that is logged on that way goes through `log_safely`.
"""

import asyncio
import logging
import secrets
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from opcode import opmap
from types import TracebackType
from typing import Any, Final, Protocol

from enfilade.primitives.errors import AnswerError, EnfiladeError
from enfilade.serving.client_requests.errors import MissingCapabilityError
from enfilade.state.store import StoreError
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError

log = logging.getLogger("enfilade.serving")

_RAISE: Final = opmap["RAISE_VARARGS"]
#: Packages with exceptions that are taken for those of ours.
_FRAMEWORKS: Final = frozenset({"fastapi", "fastmcp", "mcp", "starlette"})


class Stoppable(Protocol):
    """A request, as far as failures are concerned."""

    def is_stopping(self) -> bool:
        """Whether a `CancelledError` in its handler is about this request."""
        ...


class TextFilter(Protocol):
    """What takes secrets out of a text."""

    def text(self, text: str) -> str:
        """Return a text without the secrets in it."""
        ...


# -- whose failure it is ---------------------------------------------------------------------------------------


def is_failure(error: BaseException, request: Stoppable) -> bool:
    """Whether an exception is the failure of a request, and of nothing else.

    Args:
        error: what was raised while the request was served.
        request: it, or a request that its handler made.
    """
    if isinstance(error, asyncio.CancelledError):
        return not request.is_stopping()
    return not ends_more(error)


def ends_more(error: BaseException) -> bool:
    """Whether an exception ends more than a call: Ctrl-C, or the closing of the coroutine it passes through."""
    if isinstance(error, KeyboardInterrupt):
        return _came_from_a_signal(error)
    if isinstance(error, GeneratorExit):
        return not _was_raised(error)  # `close()` raises it where the coroutine waits
    return False


def stops(error: BaseException) -> bool:
    """Whether an exception outside of any request asks to stop: a cancellation, or what `ends_more`."""
    return isinstance(error, asyncio.CancelledError) or ends_more(error)


def _came_from_a_signal(error: KeyboardInterrupt) -> bool:
    """Whether the handler of SIGINT raised it, and not some code with a `raise` of its own.

    Python runs signal handlers in the main thread. Its default one is written in C and so has no frame: then the
    innermost frame is whatever was interrupted, at an instruction that raises nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        return not _was_raised(error)
    code = getattr(getattr(handler, "func", handler), "__code__", None)  # asyncio.Runner's is a partial
    return any(trace.tb_frame.f_code is code for trace in _trace(error))


def _was_raised(error: BaseException) -> bool:
    """Whether the innermost frame of an exception is at a `raise`."""
    traces = list(_trace(error))
    return bool(traces) and traces[-1].tb_frame.f_code.co_code[traces[-1].tb_lasti] == _RAISE


def _trace(error: BaseException) -> Iterator[TracebackType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next


def alone(error: BaseException) -> BaseException:
    """Return what a group of exceptions comes to, if all in it was written for the caller; else what was given.

    Tasks that run side by side in an `asyncio.TaskGroup` raise such a group, also for a single `ToolError`.

    Returns:
        The exception, if it is one; for several, an `EnfiladeError` with a line for each message. One of those
        that a stateless client gets as an error of the protocol comes before all others.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = list(_leaves(error))
    told = [each for each in leaves if isinstance(each, EnfiladeError)]
    if len(told) < len(leaves):
        return error
    for each in told:
        if isinstance(each, MissingCapabilityError | AnswerError):
            return each
    if len(told) == 1:
        return told[0]
    joined = EnfiladeError("\n".join(dict.fromkeys(str(each.message) for each in told)))
    joined.__cause__ = error
    return joined


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(reversed(error.exceptions))
        else:
            yield error


def cancelled_by_host(error: BaseException, method: str) -> RpcError:
    """Return the outcome of a request whose task was cancelled, and not by us.

    A host that stops does so, or one with a limit of its own, or a task that the handler has started. Only
    uvicorn says why, in the message of the cancellation. The client of a server that stops should send the
    request again; any other should not, because the request might be cancelled each time.
    """
    if is_shutdown(error):
        return cut_off()
    id = secrets.token_hex(6)
    log_safely(
        log, logging.WARNING, "%s was cancelled by its host, or by a task of its handler (id %s)", method, id
    )
    return RpcError(INTERNAL_ERROR, f"The request was cancelled on the server (id {id})", status=503)


def is_shutdown(cancellation: BaseException) -> bool:
    """Whether a cancellation says that the server stops, as uvicorn's and those of our own server do."""
    return any("shutdown" in str(each) for each in cancellation.args)


def stopping() -> RpcError:
    """Return the outcome of a request of which nothing was done, because the server ends."""
    return RpcError(INTERNAL_ERROR, "The server is stopping; send the request again", status=503)


def cut_off() -> RpcError:
    """Return the outcome of a request that was under way when the server ended."""
    text = "The server is stopping: the request was cut off, and part of it may have been done"
    return RpcError(INTERNAL_ERROR, text, status=503)


def too_long(seconds: float) -> RpcError:
    """Return the outcome of a request that took longer than `request_timeout`."""
    return RpcError(INTERNAL_ERROR, f"The request took longer than {seconds:g} seconds and was stopped")


# -- what the log has, and the client reads --------------------------------------------------------------------


def log_safely(logger: logging.Logger, level: int, message: str, *args: object, exc_info: Any = None) -> None:
    """Log, and let nothing come of it if that fails: a call never loses its outcome to the log.

    `logging` itself hides what its handlers raise, but not for a closed `sys.stderr`, and not what filters and
    handlers of the user raise.

    Args:
        logger: where to log.
        level: of `logging`.
        message: with `%` placeholders for `args`.
        exc_info: an exception whose traceback is logged too.
    """
    try:
        logger.log(level, message, *args, exc_info=exc_info)
    except BaseException as error:
        if ends_more(error):
            raise


class LimitedLog:
    """Writes at most one line a second, with the number of those that were left out.

    Args:
        logger: where to write.
        interval: seconds between two lines of a process.
    """

    def __init__(self, logger: logging.Logger, interval: float = 1.0) -> None:
        self._logger = logger
        self._interval = interval
        self._after = 0.0
        self._left_out = 0

    def write(self, level: int, message: str, *args: object) -> bool:
        """Write a line, or count it; return whether it was written.

        Args:
            level: of `logging`.
            message: with `%` placeholders for `args`.
        """
        now = time.monotonic()
        if now < self._after:
            self._left_out += 1
            return False
        left_out, self._left_out, self._after = self._left_out, 0, now + self._interval
        more = f" ({left_out} more since the last such line)" if left_out else ""
        log_safely(self._logger, level, message + "%s", *args, more)
        return True


_store_errors: Final = LimitedLog(log)


def masked(error: BaseException, what: str, redaction: TextFilter | None = None) -> RpcError:
    """Log an unexpected failure whole and return what the peer may know of it: an id to ask for (R-719).

    While the store is away every request fails, so of these there is one line a second, and no id without a line.
    """
    if isinstance(error, StoreError):
        id = secrets.token_hex(6)
        is_logged = _store_errors.write(logging.ERROR, "%s: %s (id %s)", what, error, id)
        named = f" (id {id})" if is_logged else ""  # nobody could find an id that is not in the log
        text = f"The server cannot reach its store at the moment{named}; try again"
        return RpcError(INTERNAL_ERROR, text, status=503)
    return RpcError(INTERNAL_ERROR, f"Internal error (id {log_failure(error, what, redaction)})")


def log_failure(error: BaseException, what: str, redaction: TextFilter | None = None) -> str:
    """Log a failure with its traceback under a new correlation id, and return the id.

    Args:
        redaction: takes secrets out of it. What had some is logged as text alone, since whoever is handed the
            exception itself would find them in it.
    """
    correlation = secrets.token_hex(6)
    if hint := _hint(error):
        what = f"{what}; {hint}"
    text = None if redaction is None else _redacted(error, redaction)
    if text is None:
        log_safely(log, logging.ERROR, "%s (id %s)", what, correlation, exc_info=error)
    else:
        log_safely(log, logging.ERROR, "%s (id %s)\n%s", what, correlation, text)
    return correlation


def _hint(error: BaseException) -> str:
    """Return what to raise in place of an exception of another framework; empty for any other exception."""
    for each in _leaves(error) if isinstance(error, BaseExceptionGroup) else (error,):
        if str(type(each).__module__).partition(".")[0] in _FRAMEWORKS:
            from enfilade.primitives.other_frameworks import hint_for

            return hint_for(each)
    return ""


def _redacted(error: BaseException, redaction: TextFilter) -> str | None:
    """Return the traceback without the secrets in it; None if there are none."""
    try:
        whole = "".join(traceback.format_exception(error))
        clean = redaction.text(whole)
    except Exception as failure:
        return f"{type(error).__name__}, whose traceback could not be written: {type(failure).__name__}"
    return None if clean == whole else clean.rstrip()
