"""What becomes of an exception that a handler raised: whose failure it is, what is logged, what the client reads.

Any exception is the failure of one call, also one that is no `Exception`: a panic in a Rust extension, a group, a
`SystemExit`, a `GeneratorExit`. Three kinds pass: a `KeyboardInterrupt` that came from a signal, the closing of a
coroutine, and a cancellation from outside.

A call of a tool ends in a result with `isError` and a text (`tool_error_result`). Resources, prompts, completions
and middleware end in a JSON-RPC error (`failures_as_errors`, `with_client_errors`).

Easy to get wrong: the text. Only the message of an `EnfiladeError` was written for the client; any other
exception is masked: the client reads an id, under which the log has the traceback (R-719). And the log is written
on the way to the outcome, where handlers, filters and streams of the process may raise: use `log_safely` there.
"""

import asyncio
import logging
import secrets
import signal
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from opcode import opmap
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from msgspec import UNSET

from enfilade.primitives.errors import (
    NOT_FOUND,
    AnswerError,
    ArgumentsError,
    EnfiladeError,
    NotAnObjectError,
    ResourceNotFound,
    ReturnedValueError,
)
from enfilade.serving.channel import Channel, MissingCapabilityError, Peer
from enfilade.startup.lazy import LazyModule
from enfilade.state.store import StoreError
from enfilade.wire.content import TextContent
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, RpcError
from enfilade.wire.message import Message
from enfilade.wire.resources import NotFoundError
from enfilade.wire.tools import CallToolResult

if TYPE_CHECKING:
    from enfilade.primitives import uris as _uris
else:  # loaded with the first resource
    _uris = LazyModule("enfilade.primitives.uris")

log = logging.getLogger("enfilade.serving")

T = TypeVar("T")
ServedT = TypeVar("ServedT", bound="ServedRequest")

_RAISE: Final = opmap["RAISE_VARARGS"]
#: Packages whose exceptions authors raise in place of ours.
_FRAMEWORKS: Final = frozenset({"fastapi", "fastmcp", "mcp", "starlette"})
#: The text for the client where an author raised an error without one.
_NO_TEXT: Final = "It failed, and the server does not say why"


class Stoppable(Protocol):
    """The part of a request that tells a cancellation of the request from any other."""

    def is_stopping(self) -> bool:
        """Whether a `CancelledError` in its handler is about this request."""
        ...


class TextFilter(Protocol):
    """Removes secrets."""

    def text(self, text: str) -> str:
        """Return a text without the secrets in it."""
        ...

    def inside(self, value: Any) -> Any:
        """Return data, as JSON has it, without the secrets in its texts."""
        ...


class ServedRequest(Stoppable, Protocol):
    """The part of a `Request` that errors for its client are made of."""

    method: str
    params: Any
    peer: Peer
    channel: Channel

    @property
    def failure_redaction(self) -> TextFilter | None:
        """Removes the secrets of its tool and the token of its caller; None if there are none."""
        ...


# -- whose failure it is ---------------------------------------------------------------------------------------


def is_failure(error: BaseException, request: Stoppable) -> bool:
    """Whether an exception is the failure of this request alone."""
    if isinstance(error, asyncio.CancelledError):
        return not request.is_stopping()
    return not ends_more(error)


def ends_more(error: BaseException) -> bool:
    """Whether an exception ends more than one call: Ctrl-C, or the closing of the coroutine."""
    if isinstance(error, KeyboardInterrupt):
        return _came_from_a_signal(error)
    if isinstance(error, GeneratorExit):
        return not _was_raised(error)  # `close()` raises it where the coroutine waits
    return False


def stops(error: BaseException) -> bool:
    """Whether an exception outside of any request is a cancellation, or ends more than one call."""
    return isinstance(error, asyncio.CancelledError) or ends_more(error)


def _came_from_a_signal(error: KeyboardInterrupt) -> bool:
    """Whether the handler of SIGINT raised it, rather than a `raise` statement in other code.

    Python runs signal handlers in the main thread. Its default one is written in C and so has no frame: then the
    innermost frame is the interrupted one, at an instruction that raises nothing.
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


def single_error(error: BaseException) -> BaseException:
    """Return one `EnfiladeError` for a group of nothing else; any other exception as it is.

    Tasks that run side by side in an `asyncio.TaskGroup` raise such a group, also for a single `ToolError`.

    Returns:
        The only exception of the group; for several, an `EnfiladeError` with a line for each message. One that a
        stateless client gets as a protocol error is preferred.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = list(_leaves(error))
    readable = [leaf for leaf in leaves if isinstance(leaf, EnfiladeError)]
    if len(readable) < len(leaves):
        return error
    for leaf in readable:
        if isinstance(leaf, MissingCapabilityError | AnswerError):
            return leaf
    if len(readable) == 1:
        return readable[0]
    joined = EnfiladeError("\n".join(dict.fromkeys(str(leaf.message) for leaf in readable)))
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
    """Return the outcome of a request whose task was cancelled by other code.

    That is a stopping host, a host with a limit of its own, or a task that the handler has started. Only uvicorn
    gives the reason, in the message of the cancellation. The client of a stopping server should send the request
    again; any other client should not, because the request might be cancelled each time.
    """
    if is_shutdown(error):
        return cut_off()
    id = secrets.token_hex(6)
    log_safely(
        log, logging.WARNING, "%s was cancelled by its host, or by a task of its handler (id %s)", method, id
    )
    return RpcError(INTERNAL_ERROR, f"The request was cancelled on the server (id {id})", status=503)


def is_shutdown(cancellation: BaseException) -> bool:
    """Whether the message of a cancellation says that the server stops; uvicorn's and our own server's do."""
    return any("shutdown" in str(argument) for argument in cancellation.args)


def stopping() -> RpcError:
    """Return the outcome of a request that was not begun, because the server stops."""
    return RpcError(INTERNAL_ERROR, "The server is stopping; send the request again", status=503)


def cut_off() -> RpcError:
    """Return the outcome of a request that was in progress when the server stopped."""
    text = "The server is stopping: the request was cut off, and part of it may have been done"
    return RpcError(INTERNAL_ERROR, text, status=503)


class DeadlineError(RpcError):
    """A request took longer than `request_timeout`."""


def too_long(seconds: float) -> DeadlineError:
    """Return the outcome of a request that took longer than `request_timeout`."""
    return DeadlineError(INTERNAL_ERROR, f"The request took longer than {seconds:g} seconds and was stopped")


# -- the log ---------------------------------------------------------------------------------------------------


def log_safely(logger: logging.Logger, level: int, message: str, *args: object, exc_info: Any = None) -> None:
    """Log, and ignore a failure to do so: a call never loses its outcome to the log.

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
    """Writes at most one line per interval, with the number of lines that were suppressed.

    Args:
        logger: where to write.
        interval: seconds between two lines of a process.
    """

    def __init__(self, logger: logging.Logger, interval: float = 1.0) -> None:
        self._logger = logger
        self._interval = interval
        self._next_line = 0.0
        self._suppressed = 0

    def write(self, level: int, message: str, *args: object) -> bool:
        """Write a line, or count it; return whether it was written.

        Args:
            level: of `logging`.
            message: with `%` placeholders for `args`.
        """
        now = time.monotonic()
        if now < self._next_line:
            self._suppressed += 1
            return False
        suppressed, self._suppressed = self._suppressed, 0
        self._next_line = now + self._interval
        more = f" ({suppressed} more since the last such line)" if suppressed else ""
        log_safely(self._logger, level, message + "%s", *args, more)
        return True


_store_errors: Final = LimitedLog(log)


#: Called with a failure and its correlation id, where middleware wants to hear of it.
failure_hook: Final[ContextVar[Callable[[BaseException, str], None] | None]] = ContextVar(
    "enfilade_failure_hook", default=None
)


def masked(
    error: BaseException, event: str, redaction: TextFilter | None = None, *, as_text: bool = False
) -> RpcError:
    """Log an unexpected failure with its traceback, and return an error that has only the id of it (R-719).

    While the store is unavailable every request fails, so there is one line a second, and no id without a line.

    Args:
        error: the failure.
        event: names it in the log, such as `tools/call failed`.
        redaction: removes secrets.
        as_text: log the traceback as text in any case, as a frame has a secret in its variables.
    """
    if isinstance(error, StoreError):
        id = secrets.token_hex(6)
        is_logged = _store_errors.write(logging.ERROR, "%s: %s (id %s)", event, error, id)
        named = f" (id {id})" if is_logged else ""  # an id that is not in the log would help nobody
        text = f"The server cannot reach its store at the moment{named}; try again"
        return RpcError(INTERNAL_ERROR, text, status=503)
    id = log_failure(error, event, redaction, as_text=as_text)
    return RpcError(INTERNAL_ERROR, f"Internal error (id {id})")


def log_failure(
    error: BaseException, event: str, redaction: TextFilter | None = None, *, as_text: bool = False
) -> str:
    """Log a failure with its traceback under a new correlation id, and return the id.

    Args:
        error: the failure.
        event: names it in the log.
        redaction: removes secrets. A traceback with secrets is logged as text, since handlers of the log would
            find them in the exception.
        as_text: log the traceback as text in any case.
    """
    correlation = secrets.token_hex(6)
    from enfilade.serving.observation.current import current_record  # few requests fail

    if (record := current_record.get()) is not None:
        record.failure = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    if (hook := failure_hook.get()) is not None:
        hook(error, correlation)
    if hint := _hint(error):
        event = f"{event}; {hint}"
    text = None
    if redaction is not None or as_text:
        text = _redacted_traceback(error, redaction, as_text)
    if text is None:
        log_safely(log, logging.ERROR, "%s (id %s)", event, correlation, exc_info=error)
    else:
        log_safely(log, logging.ERROR, "%s (id %s)\n%s", event, correlation, text)
    return correlation


def _hint(error: BaseException) -> str:
    """Return what to raise in place of an exception of another framework; empty for any other exception."""
    for leaf in _leaves(error) if isinstance(error, BaseExceptionGroup) else (error,):
        if str(type(leaf).__module__).partition(".")[0] in _FRAMEWORKS:
            from enfilade.primitives.other_frameworks import hint_for

            return hint_for(leaf)
    return ""


def _redacted_traceback(error: BaseException, redaction: TextFilter | None, as_text: bool) -> str | None:
    """Return the traceback without the secrets in it; None if there are none, unless it is to be a text."""
    try:
        text = "".join(traceback.format_exception(error))
        clean = text if redaction is None else redaction.text(text)
    except Exception as failure:
        return f"{type(error).__name__}, whose traceback could not be written: {type(failure).__name__}"
    return None if clean == text and not as_text else clean.rstrip()


# -- what the client reads -------------------------------------------------------------------------------------


def tool_error_result(request: ServedRequest, tool_name: str, raised: BaseException) -> CallToolResult:
    """Return the result of a call whose tool raised something, for the model to read (SEP-1303).

    Raises:
        RpcError: INVALID_PARAMS for arguments that are no object.
        MissingCapabilityError, AnswerError: the stateless revision has protocol errors for them.
    """
    error = single_error(raised)
    if isinstance(error, NotAnObjectError):
        raise RpcError(INVALID_PARAMS, str(error)) from None
    if not isinstance(error, EnfiladeError):
        correlation = log_failure(raised, f"tool {tool_name!r} failed", request.failure_redaction)
        return error_result(f"Tool {tool_name!r} failed with an internal error (id {correlation}).", None)
    if request.channel.asker.is_protocol_error(error):
        raise error
    text = redacted(request, str(error))
    if isinstance(error, ReturnedValueError):  # the author's mistake, which the model cannot correct
        log_safely(log, logging.WARNING, "tool %r: %s", tool_name, text)
    return error_result(text, redacted(request, error.meta))


def error_result(text: str, meta: dict[str, Any] | None) -> CallToolResult:
    """Return the result of a call that failed."""
    content = TextContent(text=text if text.strip() else _NO_TEXT)
    return CallToolResult(content=[content], is_error=True, meta=UNSET if meta is None else meta)


def redacted(request: ServedRequest, value: T) -> T:
    """Return a text or data of an error without secrets of the request."""
    redaction = request.failure_redaction
    if redaction is None:
        return value
    clean: T = redaction.inside(value)
    return clean


@contextmanager
def failures_as_errors(request: ServedRequest, label: str, **data: Any) -> Iterator[None]:
    """Turn an exception of the handler of a resource, prompt or completion into the error that its client gets.

    Args:
        request: the client's request, or one that a handler made.
        label: names the handler in the log: `prompt 'greet'`.
        data: further members of the error's `data`.

    Raises:
        RpcError: INVALID_PARAMS for wrong arguments, INTERNAL_ERROR for anything else.
        MissingCapabilityError, AnswerError: the stateless revision has errors of its own for them.
    """
    try:
        yield
    except RpcError:
        raise
    except BaseException as raised:
        if not is_failure(raised, request):
            raise
        error = single_error(raised)
        if request.channel.asker.is_protocol_error(error):
            raise error from None
        if isinstance(error, ArgumentsError):
            raise _rpc_error(error, INVALID_PARAMS, data) from error
        if isinstance(error, ReturnedValueError):  # the author's mistake, whose text does not show the value
            log_safely(log, logging.WARNING, "%s: %s", label, error.message)
        if isinstance(error, EnfiladeError):
            raise _rpc_error(error, INTERNAL_ERROR, data) from error
        raise masked(raised, f"{label} failed", request.failure_redaction) from None


def with_client_errors(
    chain: Callable[[ServedT], Awaitable[Message]],
) -> Callable[[ServedT], Awaitable[Message]]:
    """Return a chain of middleware whose failures reach the client as those of handlers do.

    A `ToolError` that is raised around `tools/call` becomes a result that the model reads; around other methods
    it becomes an error with its text. An exception that is no `EnfiladeError` passes, and the dispatcher masks
    it.
    """

    async def checked(request: ServedT) -> Message:
        try:
            return await chain(request)
        except RpcError:
            raise
        except BaseException as raised:
            error = single_error(raised) if is_failure(raised, request) else raised
            if not isinstance(error, EnfiladeError):
                raise
            if request.channel.asker.is_protocol_error(error):
                raise error from None
            if request.method == "tools/call":
                return error_result(error.message, error.meta)
            if request.method == "resources/read" and isinstance(error, ResourceNotFound):
                raise not_found(error, request) from error
            code = INVALID_PARAMS if isinstance(error, ArgumentsError) else INTERNAL_ERROR
            raise _rpc_error(error, code, {}) from error

    return checked


def not_found(error: ResourceNotFound, request: ServedRequest) -> NotFoundError:
    """Return the error for a resource that does not exist, as the client's revision has it."""
    message = None if error.message == NOT_FOUND else error.message
    return NotFoundError(request.params.uri, request.peer.revision, message, error.meta)


def check_uri_length(uri: str) -> None:
    """Refuse a URI of a client that is too long to be matched: that would block the event loop.

    Raises:
        RpcError: INVALID_PARAMS.
    """
    if len(uri) > _uris.MAX_URI_LENGTH:
        raise RpcError(
            INVALID_PARAMS, f"Invalid params: the URI is longer than {_uris.MAX_URI_LENGTH} characters"
        )


def _rpc_error(error: EnfiladeError, code: int, data: Mapping[str, Any]) -> RpcError:
    members = {**(error.meta or {}), **data}
    return RpcError(code, error.message if error.message.strip() else _NO_TEXT, members or UNSET)
