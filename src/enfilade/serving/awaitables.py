"""What a context gives out to be awaited: messages that were sent, and calls that need an answer.

`ctx.log` and `ctx.progress` send at once and return an `AwaitableSend`. A plain `def` tool ignores it; an
`async def` tool may await it, which adds back-pressure: the await returns when the reader has caught up.

`ctx.elicit` and its kin do nothing until they are awaited. Easy to get wrong: a call that was not awaited is an
object, and an object is true. So it has no truth value, and in a plain `def` function, which cannot await
anything, the call itself fails (`to_await`).
"""

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar, cast

from enfilade.primitives.errors import ReturnedValueError
from enfilade.serving.channel import Outlet

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

#: Awaiting this does not suspend, so the event loop takes no part in it.
_AT_ONCE: Final = cast("Generator[Any, Any, None]", iter(()))


class AwaitableSend(Coroutine[Any, Any, None]):
    """A message that was sent; awaiting it waits until the reader has caught up.

    It has the methods of a coroutine, as `asyncio.create_task` and task groups take nothing else. All messages of
    a call share one object, and each task that runs it waits on its own.
    """

    __slots__ = ("_outlet", "_waiting")

    def __init__(self, outlet: Outlet | None) -> None:
        self._outlet = outlet

    def __await__(self) -> Generator[Any, Any, None]:
        outlet = self._outlet
        if outlet is None or not outlet.is_congested:
            return _AT_ONCE
        return outlet.wait_for_room().__await__()

    def send(self, value: Any) -> Any:
        """Start the wait of the current task, or resume it."""
        task = asyncio.current_task()
        waiting = self._waiting.get(task) if hasattr(self, "_waiting") else None
        if waiting is None:
            outlet = self._outlet
            if outlet is None or not outlet.is_congested:
                raise StopIteration
            if not hasattr(self, "_waiting"):  # most messages are awaited, or not at all
                self._waiting: dict[asyncio.Task[Any] | None, Coroutine[Any, Any, None]] = {}
            waiting = self._waiting[task] = outlet.wait_for_room()
        return self._resume(waiting.send, value)

    def throw(self, *error: Any) -> Any:
        """Resume the wait of the current task with an exception."""
        waiting = self._waiting.get(asyncio.current_task()) if hasattr(self, "_waiting") else None
        return super().throw(*error) if waiting is None else self._resume(waiting.throw, *error)

    def close(self) -> None:
        """End the wait of the current task."""
        waiting = self._waiting.pop(asyncio.current_task(), None) if hasattr(self, "_waiting") else None
        if waiting is not None:
            waiting.close()

    def _resume(self, step: Callable[..., Any], *values: Any) -> Any:
        try:
            return step(*values)
        except BaseException:  # its end
            del self._waiting[asyncio.current_task()]
            raise

    def __bool__(self) -> bool:
        if _is_called_by_asyncio():
            return True
        raise TypeError("a sent message is neither true nor false: whether the client received it is not known")


#: Nothing is waited for.
DONE = AwaitableSend(None)


class Awaited(Coroutine[Any, Any, R_co]):
    """A coroutine with the name of its call and without a truth value.

    Args:
        coroutine: the coroutine of the call.
        name: the call as an author writes it, such as `ctx.elicit`.
    """

    __slots__ = ("_coroutine", "_name")

    def __init__(self, coroutine: Coroutine[Any, Any, R_co], name: str) -> None:
        self._coroutine = coroutine
        self._name = name

    def __await__(self) -> Generator[Any, Any, R_co]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Resume the coroutine."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Resume the coroutine with an exception."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """Close the coroutine."""
        self._coroutine.close()

    def __bool__(self) -> bool:
        if _is_called_by_asyncio():
            return True
        raise TypeError(self._not_awaited())

    def __str__(self) -> str:
        if self._has_started():  # as a task, say: what is formatted is the call, as a log message may do
            return repr(self)
        raise TypeError(self._not_awaited())

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def _has_started(self) -> bool:
        return inspect.getcoroutinestate(self._coroutine) != inspect.CORO_CREATED

    def _not_awaited(self) -> str:
        if self._has_started():
            return f"{self._name} has no truth value: its answer is the value of `await {self._name}(…)`"
        self._coroutine.close()  # else Python warns later, and with less detail
        return f"{self._name} was not awaited, so there is no answer yet: write `await {self._name}(…)`"

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("cr_", "__")):  # read by asyncio and debuggers
            return getattr(self._coroutine, name)
        raise AttributeError(
            f"{self._name} was not awaited, so there is no {name} yet: write `await {self._name}(…)`"
        )

    def __repr__(self) -> str:
        states = {inspect.CORO_CREATED: "not awaited", inspect.CORO_CLOSED: "ended"}
        return f"<{self._name}(…), {states.get(inspect.getcoroutinestate(self._coroutine), 'awaited')}>"


def _is_called_by_asyncio() -> bool:
    """Return whether asyncio asks for a truth value, as it does for the repr of a task since Python 3.12."""
    return bool(sys._getframe(2).f_globals.get("__name__", "").startswith("asyncio."))


def refuse_not_awaited(value: Any, depth: int = 3) -> None:
    """Refuse the value of a handler that is, or contains, a call that was not awaited.

    Raises:
        ReturnedValueError: names the call.
    """
    if isinstance(value, Awaited):
        raise ReturnedValueError(value._not_awaited())
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for item in items if depth else ():
        refuse_not_awaited(item, depth - 1)


def to_await(
    name: str, *, usage: str = ""
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """Return a decorator for `async def` methods of a context; their calls fail where nothing can await them.

    Args:
        name: the call as an author writes it, such as `ctx.elicit`.
        usage: added to the error for wrong arguments.
    """

    def decorated(method: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        @wraps(method)
        def called(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            try:
                coroutine = method(*args, **kwargs)
            except TypeError as error:  # nothing of the method has run yet
                raise TypeError(f"{error}; {usage}" if usage else str(error)) from None
            try:
                asyncio.get_running_loop()
            except RuntimeError:  # a thread, where plain `def` functions run
                coroutine.close()
                raise RuntimeError(
                    f"{name} must be awaited, which a plain `def` function cannot do: "
                    f"make it `async def`, and write `await {name}(…)`"
                ) from None
            return Awaited(coroutine, name)

        return called

    return decorated
