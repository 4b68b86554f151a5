"""Running the functions that authors registered: each in its place, with its context and its dependencies.

`async def` functions run in the event loop, plain `def` functions in a thread; all of a server's share the same
threads, and the steps of one call with dependencies have one of them.

Easy to get wrong: the order of the end. A result is made while the dependencies are still there, because it may
read what they opened.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from enfilade.primitives.handler import Handler
from enfilade.primitives.questions.input_required import InputRequired
from enfilade.serving.context import Context
from enfilade.serving.dependencies import Overrides, provided
from enfilade.serving.request import Request
from enfilade.serving.secrets import NO_SECRETS, Secrets
from enfilade.serving.thread_pool import Lane, Threads
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.serving.client_requests import returned as explicit
else:  # for handlers that return questions
    explicit = LazyModule("enfilade.serving.client_requests.returned")

R = TypeVar("R")
G = TypeVar("G")


class Handlers:
    """What all handlers of a server share.

    Args:
        threads: how many plain `def` functions may run at once.
        overrides: what stands in for dependencies.
        context: makes the context of a request.
    """

    def __init__(
        self, threads: int, overrides: Overrides, context: Callable[[Request, Secrets], Context]
    ) -> None:
        self.threads = Threads(threads)
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
                return finish(value)
            found: R | InputRequired = value
        else:
            found = await self._once(request, handler, bind, given, finish, secrets)
        if isinstance(found, InputRequired):
            again = partial(self._once, request, handler, bind, given, finish, secrets)
            while isinstance(found, InputRequired):
                found = await explicit.answered(request, found, again)
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
            async with provided(handler.dependencies, context, lane, self.overrides) as values:
                return finished(await self._called(handler, {**bound, **values}, lane), finish)
        finally:
            lane.close()
        raise AssertionError("a dependency hid an exception")

    async def _called(self, handler: Handler, bound: dict[str, Any], threads: Threads | Lane) -> Any:
        if handler.is_async:
            return await handler.call(bound)
        return await threads.result_of(handler.call, bound)

    def close(self) -> None:
        """Let go of the threads; running `def` functions finish on their own."""
        self.threads.shutdown()
        self.threads = Threads(self.threads.limit)


def finished(value: Any, finish: Callable[[Any], R]) -> R | InputRequired:
    """Return the result for a value, or the questions that it is."""
    return value if isinstance(value, InputRequired) else finish(value)
