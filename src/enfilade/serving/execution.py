"""Runs the functions that authors registered, with their contexts, dependencies and time limits.

`async def` functions run in the event loop, plain `def` functions in a thread of the server's pool; the steps of
one call with dependencies share one thread. A handler that returns questions runs again with their answers.

Easy to get wrong: the order at the end. The result is made before the dependencies are cleaned up, because it may
read what they opened.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from enfilade.primitives.errors import ReturnedValueError, ToolError
from enfilade.primitives.handler import Handler
from enfilade.primitives.questions.input_required import InputRequired
from enfilade.serving.awaitables import refuse_not_awaited
from enfilade.serving.channel import Outcome
from enfilade.serving.context import Context
from enfilade.serving.dependencies import Overrides, open_dependencies
from enfilade.serving.failures import log_safely, too_long
from enfilade.serving.request import Request, RequestState
from enfilade.serving.secrets import NO_SECRETS, Secrets
from enfilade.serving.thread_pool import Lane, ThreadPool
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.serving.client_requests import ask as _ask
else:  # for handlers that return questions
    _ask = LazyModule("enfilade.serving.client_requests.ask")

log = logging.getLogger("enfilade.serving")

R = TypeVar("R")
G = TypeVar("G")


class HandlerRunner:
    """Runs the handlers of a server."""

    def __init__(
        self, threads: int, overrides: Overrides, context: Callable[[Request, Secrets], Context]
    ) -> None:
        self.threads = ThreadPool(threads)
        self.overrides = overrides
        self.context = context

    async def run(
        self,
        request: Request,
        handler: Handler,
        bind: Callable[[G, Context | None], dict[str, Any]],
        inputs: G,
        finish: Callable[[Any], R],
        secrets: Secrets = NO_SECRETS,
    ) -> R:
        """Call a function and return the result that `finish` makes of its value.

        Args:
            request: on whose behalf it is called.
            handler: the function.
            bind: returns the values of its parameters except dependencies, from the inputs and the context, if it
                takes one.
            inputs: what the client sent for them.
            finish: makes the result.
            secrets: those of its context.

        Raises:
            Exception: raised by the function, `bind`, `finish` or a dependency.
        """
        if not handler.dependencies:  # a shorter way for most handlers
            context = self.context(request, secrets) if handler.contexts else None
            bound = bind(inputs, context)
            if handler.is_async:
                value = await handler.call(bound)
            else:
                value = await self.threads.result_of(handler.call, bound)
            result = finish_value(value, finish)
        else:
            result = await self._run_once(request, handler, bind, inputs, finish, secrets)
        if isinstance(result, InputRequired):
            return await self.answered(result, request, handler, bind, inputs, finish, secrets)
        return result

    async def answered(
        self,
        questions: InputRequired,
        request: Request,
        handler: Handler,
        bind: Callable[[G, Context | None], dict[str, Any]],
        inputs: G,
        finish: Callable[[Any], R],
        secrets: Secrets = NO_SECRETS,
    ) -> R:
        """Ask the questions that a function has returned, and return its result once it returns one.

        Args:
            questions: what it has returned first; the other arguments are those of `run`.
        """
        run_again = partial(self._run_once, request, handler, bind, inputs, finish, secrets)
        result: R | InputRequired = questions
        while isinstance(result, InputRequired):
            result = await _ask.run_until_result(request, result, run_again)
        return result

    async def _run_once(
        self,
        request: Request,
        handler: Handler,
        bind: Callable[[G, Context | None], dict[str, Any]],
        inputs: G,
        finish: Callable[[Any], R],
        secrets: Secrets,
    ) -> R | InputRequired:
        """Call a function once; return the result that `finish` makes of its value, or its questions."""
        context = self.context(request, secrets) if handler.needs_context else None
        bound = bind(inputs, context)
        if not handler.dependencies:
            return finish_value(await self._call(handler, bound, self.threads), finish)
        lane = self.threads.lane()
        try:
            async with open_dependencies(handler.dependencies, context, lane, self.overrides) as values:
                return finish_value(await self._call(handler, {**bound, **values}, lane), finish)
        finally:
            lane.close()
        raise AssertionError("a dependency hid an exception")

    async def _call(self, handler: Handler, bound: dict[str, Any], threads: ThreadPool | Lane) -> Any:
        if handler.is_async:
            return await handler.call(bound)
        return await threads.result_of(handler.call, bound)

    def close(self) -> None:
        """Shut the threads down; running `def` functions finish on their own."""
        self.threads.shutdown()
        self.threads = ThreadPool(self.threads.limit)


def finish_value(value: Any, finish: Callable[[Any], R]) -> R | InputRequired:
    """Return the result of a handler's value; questions as they are."""
    if isinstance(value, InputRequired):
        return value
    try:
        return finish(value)
    except ReturnedValueError:
        refuse_not_awaited(value)
        raise


# -- time limits -----------------------------------------------------------------------------------------------
#
# The work stays in the task that it is in, and one timer waits beside it. A cancellation that comes from outside
# (the client, the request's own deadline, an outer limit) passes through, even if it comes at the same time.


def expire(request: Request, seconds: float) -> None:
    """Cancel a request that takes longer than `request_timeout`, and log it."""
    if request.cancel("deadline", verdict=too_long(seconds)):
        text = "%s took longer than %g s and was cancelled (request_timeout)"
        log_safely(log, logging.WARNING, text, request.title(), seconds)


class ToolTimeoutError(ToolError):
    """A tool took longer than it may."""

    _kind = "timeout"


class TimeLimit:
    """Stops a call that takes too long, for the length of a `with` block.

    Args:
        request: the call; its handler's threads see that it was given up.
        tool: the name of the tool, for the error.
        seconds: how long it may take.
        overdue: makes the outcome of a client's call from the error, if its handler goes on all the same.

    Raises:
        ToolTimeoutError: at the end of the block, if it took longer.
    """

    def __init__(
        self,
        request: Request,
        tool: str,
        seconds: float,
        overdue: Callable[[ToolTimeoutError], Outcome] | None = None,
    ) -> None:
        self._request = request
        self._overdue = overdue
        self._tool = tool
        self._seconds = seconds
        self._expired = False
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a task")
        self._task = task

    def __enter__(self) -> Self:
        self._cancelling = self._task.cancelling()
        self._timer = self._task.get_loop().call_later(self._seconds, self._expire)
        return self

    def _expire(self) -> None:
        self._expired = True
        if self._request.phase is RequestState.ACTIVE:
            self._request.phase = RequestState.TIMED_OUT
        text = "tool %r took longer than %g s and was cancelled (the timeout of the tool)"
        log_safely(log, logging.WARNING, text, self._tool, self._seconds)
        self._task.cancel("the tool took too long")
        overdue = self._overdue
        if overdue is not None and self._request.parent is None:
            self._request.ensure_outcome(lambda: overdue(self._error()))

    def _error(self) -> ToolTimeoutError:
        return ToolTimeoutError(
            f"Tool {self._tool!r} took longer than the {self._seconds:g} seconds it may take, and was stopped"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if not self._expired:
            return
        only_ours = self._task.uncancel() <= self._cancelling
        if only_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise self._error() from error
