"""Middleware that ships: how long requests take, a line for each as data, and failures for an error tracker.

Each is made by a function, and given to `MCPApp(middleware=[...])`, or to a tool: `@app.tool(middleware=[...])`.
Easy to get wrong: what a tool raises. Its call has a result for the model, so middleware around the app sees no
exception; `error_reporting` hears of it where it is logged.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from enfilade.primitives.errors import EnfiladeError
from enfilade.serving.dispatcher import MethodHandler, Middleware
from enfilade.serving.failures import failure_hook, log_safely
from enfilade.serving.request import Request
from enfilade.wire.jsonrpc import RpcError
from enfilade.wire.message import Message

__all__ = ["FailureReport", "Timing", "error_reporting", "structured_log", "timing"]

log = logging.getLogger("enfilade.middleware")
_calls: Final = logging.getLogger("enfilade.calls")


class Timing(msgspec.Struct, frozen=True):
    """How long a request took.

    Attributes:
        method: of the protocol, such as `tools/call`.
        target: the name of the tool or prompt, or the URI of the resource; None for other methods.
        seconds: from the middleware to the result.
        outcome: `ok`, `tool error`, or the class of what was raised.
    """

    method: str
    target: str | None
    seconds: float
    outcome: str


def timing(report: Callable[[Timing], object], *, slower_than: float = 0.0) -> Middleware:
    """Return middleware that says how long each request took.

    Args:
        report: called in the event loop, so it must not block.
        slower_than: seconds; quicker requests are not reported.
    """

    async def measure(request: Request, call_next: MethodHandler) -> Message:
        started, outcome = time.perf_counter(), "ok"
        try:
            result = await call_next(request)
            outcome = "tool error" if getattr(result, "is_error", None) is True else "ok"
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            seconds = time.perf_counter() - started
            if seconds >= slower_than:
                _call_safely(report, Timing(request.method, _target(request), seconds, outcome))
        return result

    return measure


def structured_log(logger: logging.Logger = _calls, level: int = logging.INFO) -> Middleware:
    """Return middleware that logs each request as data, for handlers that send records elsewhere.

    The record has the members `method`, `target`, `ms`, `outcome`, `client` and `principal`; its text is for
    people.

    Args:
        logger: by default `enfilade.calls`.
        level: of the records.
    """

    async def write(request: Request, call_next: MethodHandler) -> Message:
        return await timing(lambda timed: _write(logger, level, request, timed))(request, call_next)

    return write


def _write(logger: logging.Logger, level: int, request: Request, timed: Timing) -> None:
    info, principal = request.peer.client_info, request.principal
    fields = {
        "method": timed.method,
        "target": timed.target,
        "ms": round(timed.seconds * 1000, 3),
        "outcome": timed.outcome,
        "client": None if info is None else info.name,
        "principal": None if principal is None else principal.subject,
    }
    subject = timed.method if timed.target is None else f"{timed.method} {timed.target!r}"
    logger.log(level, "%s: %s in %.1f ms", subject, timed.outcome, timed.seconds * 1000, extra=fields)


class FailureReport(msgspec.Struct, frozen=True):
    """A failure that nobody meant: neither a `ToolError` nor another error for the client.

    Attributes:
        error: the exception, with its traceback; it may have secrets in it.
        method: of the protocol.
        target: the name of the tool or prompt, or the URI of the resource; None for other methods.
        correlation: the id under which the log has it, and which the client was given; empty if it has none yet.
    """

    error: BaseException
    method: str
    target: str | None
    correlation: str


def error_reporting(report: Callable[[FailureReport], object]) -> Middleware:
    """Return middleware that reports failures, such as to an error tracker.

    Args:
        report: called in the event loop once for each failure, so it must not block; such as
            `lambda failure: sentry_sdk.capture_exception(failure.error)`.
    """

    async def watch(request: Request, call_next: MethodHandler) -> Message:
        reported: list[BaseException] = []

        def hear(error: BaseException, correlation: str) -> None:
            if error not in reported:
                reported.append(error)
                _call_safely(report, FailureReport(error, request.method, _target(request), correlation))

        token = failure_hook.set(hear)
        try:
            return await call_next(request)
        except Exception as error:
            if not isinstance(error, RpcError | EnfiladeError):
                hear(error, "")
            raise
        finally:
            failure_hook.reset(token)

    return watch


def _call_safely(report: Callable[[Any], object], value: object) -> None:
    """Call a function of the author, whose failure must not fail the request."""
    try:
        report(value)
    except Exception as error:
        log_safely(log, logging.ERROR, "a function of middleware failed: %r", error)


def _target(request: Request) -> str | None:
    """Return what a request is about: the name of a tool or prompt, or the URI of a resource."""
    for key in ("name", "uri"):
        if isinstance(value := getattr(request.params, key, None), str):
            return value
    return None
