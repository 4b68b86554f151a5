"""What the methods of a context give back: some act at once and may be awaited, the others must be.

`ctx.log.info("…")` works in a plain `def` tool as it is, and in an `async def` tool with `await` in front, where
the await adds back-pressure: it returns when the reader has caught up. Either way the message is on its way
before the call returns.

`ctx.elicit("…")` and its kin do nothing until they are awaited. Easy to get wrong: what has not been awaited is
an object, and an object is true. So it has no truth value, and in a plain `def` function, which cannot await
anything, the call itself fails (`to_await`).
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Final, NoReturn, ParamSpec, TypeVar, cast

from enfilade.primitives.errors import ReturnedValueError
from enfilade.serving.channel import Outlet

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

#: What awaiting something that is done already goes through: nothing, so the event loop has no part in it.
_AT_ONCE: Final = cast("Generator[Any, Any, None]", iter(()))


class Sent:
    """Already sent; awaiting it waits for the reader to catch up."""

    __slots__ = ("_outlet",)

    def __init__(self, outlet: Outlet | None) -> None:
        self._outlet = outlet

    def __await__(self) -> Generator[Any, Any, None]:
        outlet = self._outlet
        if outlet is None or not outlet.crowded:
            return _AT_ONCE
        return outlet.drained().__await__()

    def __bool__(self) -> NoReturn:
        raise TypeError("this was sent, and says nothing of what became of it: it is neither true nor false")


DONE = Sent(None)


class Awaited(Coroutine[Any, Any, R_co]):
    """A coroutine that knows what it is called, and is neither true nor false.

    Args:
        coroutine: what is awaited.
        name: the call as an author writes it, such as `ctx.elicit`.
    """

    __slots__ = ("_coroutine", "_name")

    def __init__(self, coroutine: Coroutine[Any, Any, R_co], name: str) -> None:
        self._coroutine = coroutine
        self._name = name

    def __await__(self) -> Generator[Any, Any, R_co]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Go on, as a task of asyncio does."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Go on with an exception."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """End it."""
        self._coroutine.close()

    def __bool__(self) -> bool:
        if sys._getframe(1).f_globals.get("__name__", "").startswith("asyncio."):
            return True  # since Python 3.12 it asks so for the text of a task, as its debug mode does often
        raise TypeError(self._not_awaited())

    def __str__(self) -> str:
        raise TypeError(self._not_awaited())

    def __format__(self, spec: str) -> str:
        raise TypeError(self._not_awaited())

    def _not_awaited(self) -> str:
        self._coroutine.close()  # else Python warns, later and of less
        return f"{self._name} was not awaited, so there is no answer yet: write `await {self._name}(…)`"

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("cr_", "__")):  # which asyncio and debuggers read of coroutines
            return getattr(self._coroutine, name)
        raise AttributeError(
            f"{self._name} was not awaited, so there is no {name} yet: write `await {self._name}(…)`"
        )

    def __repr__(self) -> str:
        return f"<{self._name}(…), not awaited>"


def refuse_not_awaited(value: Any, depth: int = 3) -> None:
    """Refuse what a handler returned if it is, or holds, a call that was not awaited.

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
    """Return a decorator for `async def` methods of a context, whose calls fail where nobody could await them.

    Args:
        name: the call as an author writes it, such as `ctx.elicit`.
        usage: said where its arguments are not those that it has.
    """

    def decorated(method: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        @wraps(method)
        def called(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            try:
                asyncio.get_running_loop()
            except RuntimeError:  # a thread, where plain `def` functions run
                raise RuntimeError(
                    f"{name} must be awaited, which a plain `def` function cannot do: "
                    f"make it `async def`, and write `await {name}(…)`"
                ) from None
            try:
                coroutine = method(*args, **kwargs)
            except TypeError as error:  # nothing of the method has run yet
                raise TypeError(f"{error}; {usage}" if usage else str(error)) from None
            return Awaited(coroutine, name)

        return called

    return decorated
