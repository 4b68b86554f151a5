"""Running the functions that authors registered: each in its place, with its context and its dependencies.

`async def` functions run in the event loop, plain `def` functions in a thread; all of a server's share the same
threads, and the steps of one call with dependencies have one of them.

Easy to get wrong: the order of the end. A result is made while the dependencies are still there, because it may
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
from enfilade.serving.channel import Outcome
from enfilade.serving.context import Context
from enfilade.serving.dependencies import Overrides, open_dependencies
from enfilade.serving.failures import log_safely, too_long
from enfilade.serving.notifications import refuse_not_awaited
from enfilade.serving.request import Request, RequestState
from enfilade.serving.secrets import NO_SECRETS, Secrets
from enfilade.serving.thread_pool import Lane, ThreadPool
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.serving.client_requests import returned
else:  # for handlers that return questions
    returned = LazyModule("enfilade.serving.client_requests.returned")

log = logging.getLogger("enfilade.serving")

R = TypeVar("R")
G = TypeVar("G")


class HandlerRunner:
    """What all handlers of a server share.

    Args:
        threads: how many plain `def` functions may run at once.
        overrides: what stands in for dependencies.
        context: makes the context of a request.
    """

    def __init__(
        self, threads: int, overrides: Overrides, context: Callable[[Request, Secrets], Context]
    ) -> None:
        self.threads = ThreadPool(threads)
        self.overrides = overrides
        self._context = context

    async def run(
        self,
        request: Request,
        handler: Handler,
        bind: Callable[[G, Context | None], dict[str, Any]],
        given: G,
        finish: Callable[[Any], R],
        secrets: Secrets = NO_SECRETS,
    ) -> R:
        """Call a function and return what `finish` makes of what it returned.

        Args:
            request: what it is called for.
            handler: the function.
            bind: returns the values of its parameters but for dependencies, from what was given and the context,
                if it takes one.
            given: what the client sent for them.
            finish: makes the result.
            secrets: what its context gives out.

        Raises:
            Exception: whatever one of them or a dependency raised.
        """
        if handler.is_async and not handler.dependencies:  # what most are, said with less ado
            context = self._context(request, secrets) if handler.contexts else None
            value = await handler.call(bind(given, context))
            if not isinstance(value, InputRequired):
                try:
                    return finish(value)
                except ReturnedValueError:
                    refuse_not_awaited(value)
                    raise
            found: R | InputRequired = value
        else:
            found = await self._once(request, handler, bind, given, finish, secrets)
        if isinstance(found, InputRequired):
            again = partial(self._once, request, handler, bind, given, finish, secrets)
            while isinstance(found, InputRequired):
                found = await returned.run_until_result(request, found, again)
        return found

    async def _once(
        self,
        request: Request,
        handler: Handler,
        bind: Callable[[G, Context | None], dict[str, Any]],
        given: G,
        finish: Callable[[Any], R],
        secrets: Secrets,
    ) -> R | InputRequired:
        """Call a function, and return what `finish` makes of what it returned, or the questions that it is."""
        context = self._context(request, secrets) if handler.needs_context else None
        bound = bind(given, context)
        if not handler.dependencies:
            return finished(await self._called(handler, bound, self.threads), finish)
        lane = self.threads.lane()
        try:
            async with open_dependencies(handler.dependencies, context, lane, self.overrides) as values:
                return finished(await self._called(handler, {**bound, **values}, lane), finish)
        finally:
            lane.close()
        raise AssertionError("a dependency hid an exception")

    async def _called(self, handler: Handler, bound: dict[str, Any], threads: ThreadPool | Lane) -> Any:
        if handler.is_async:
            return await handler.call(bound)
        return await threads.result_of(handler.call, bound)

    def close(self) -> None:
        """Let go of the threads; running `def` functions finish on their own."""
        self.threads.shutdown()
        self.threads = ThreadPool(self.threads.limit)


def finished(value: Any, finish: Callable[[Any], R]) -> R | InputRequired:
    """Return the result for a value, or the questions that it is."""
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
# (the client, the request's own deadline, a limit further out) passes through, even if it comes at the same time.


def expire(request: Request, seconds: float) -> None:
    """Cancel a request that takes longer than `request_timeout`, and log it.

    Args:
        request: which takes too long.
        seconds: the limit.
    """
    if request.cancel("deadline", verdict=too_long(seconds)):
        text = "%s took longer than %g s and was cancelled (request_timeout)"
        log_safely(log, logging.WARNING, text, request.title(), seconds)


class ToolTimeoutError(ToolError):
    """A tool took longer than it may."""


class TimeLimit:
    """Stops a call that takes too long, for the length of a `with` block.

    Args:
        request: the call; its handler's threads see that it was given up.
        tool: the name of the tool, for the error.
        seconds: how long it may take.
        overdue: makes the outcome of a client's call from the error, should its handler go on all the same.

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
