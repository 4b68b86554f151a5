"""Going on with a coroutine whose first step was made by hand.

Most handlers never wait for anything. Whoever makes the first step itself (`coroutine.send(None)`) learns of it
before anything is set up for those that do. The easy thing to get wrong is the rest: what is thrown into the
waiting task, a cancellation above all, belongs to the coroutine.
"""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from enfilade.serving.failures import cancelled_by_host
from enfilade.wire.jsonrpc import encode_error

if TYPE_CHECKING:
    from enfilade.serving.request import Outcome, Request

T = TypeVar("T")


@types.coroutine
def going_on(coroutine: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Return what a coroutine returns in the end, as `await` would.

    Args:
        coroutine: one that was begun.
        waits_for: what its last step gave.
    """
    while True:
        sent, thrown = None, None
        try:
            sent = yield waits_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            thrown = error
        try:
            waits_for = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            del thrown  # which holds on to this frame, as the frame does to it


@types.coroutine
def served(coroutine: Coroutine[Any, Any, T], waits_for: Any, request: "Request") -> Generator[Any, Any, T]:
    """Do the same for a handler, and tell a cancellation from outside from one that it makes itself.

    Both are counted by the task alike. What is added while the coroutine runs is the handler's own doing, since
    nothing else runs then; what is added between its steps is not.

    Args:
        request: what is served; its `outside` says how many cancellations came from outside.
    """
    task = request.task
    assert task is not None
    own = task.cancelling()
    while True:
        sent, thrown = None, None
        try:
            sent = yield waits_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            thrown = error
        before = task.cancelling()
        request.outside = before - own
        if isinstance(thrown, asyncio.CancelledError) and request.outside > 0 and not request.cancelled:
            _insist(request, thrown)
        try:
            waits_for = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            del thrown
            after = task.cancelling()
            own = min(after, own + max(0, after - before))


def _insist(request: "Request", cancellation: asyncio.CancelledError) -> None:
    """See to it that the caller is told, also if the handler ignores that its host has cancelled it."""

    def outcome() -> "Outcome":
        error = cancelled_by_host(cancellation, request.method)
        return encode_error(request.id, error), error

    request.insist(outcome)
