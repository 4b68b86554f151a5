"""How long a request may take, and one call of a tool.

The work stays in the task that it is in; one timer waits beside it, and is cancelled on the way out. Easy to get
wrong: whose cancellation it is. One that comes from outside (the client, the request's own deadline, a limit
further out) passes through, even if it comes at the same moment.
"""

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from enfilade.primitives.errors import ToolError
from enfilade.serving.failures import log_safely, too_long
from enfilade.serving.request import Outcome, Request

log = logging.getLogger("enfilade.serving")


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
        self._request.abandoned = True
        text = "tool %r took longer than %g s and was cancelled (the timeout of the tool)"
        log_safely(log, logging.WARNING, text, self._tool, self._seconds)
        self._task.cancel("the tool took too long")
        overdue = self._overdue
        if overdue is not None and self._request.parent is None:
            self._request.insist(lambda: overdue(self._error()))

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
