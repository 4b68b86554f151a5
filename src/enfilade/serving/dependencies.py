"""What handlers depend on: made before they run, and cleaned up after them.

Each is made once per call, however many ask for it, in the order of the parameters. What it is made of is known
from registration (`primitives/depends.py`), so a handler without dependencies pays for nothing here.

All plain `def` steps of a call, the handler's own among them, run in one thread: what they open may belong to it.

Easy to get wrong: the end. Clean-up runs after errors and cancellations too, in reverse order, and never hides
them; and a thread that opens something for a call that was cancelled meanwhile closes it again, since nobody else
knows of it.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any

from enfilade.primitives.depends import Provider, key_of
from enfilade.serving.thread_pool import Lane

if TYPE_CHECKING:
    from enfilade.serving.context import Context


class Overrides:
    """Functions that stand in for dependencies, such as in tests."""

    def __init__(self) -> None:
        self._providers: dict[Hashable, Provider] = {}

    def get(self, provider: Provider) -> Provider | None:
        """Return what stands in for a provider, or None."""
        return self._providers.get(provider.key) if self._providers else None

    @contextmanager
    def replaced(self, providers: Mapping[Callable[..., Any], Provider]) -> Iterator[None]:
        """Let providers stand in for functions, within a `with` block; blocks may be nested."""
        keyed = {key_of(fn): provider for fn, provider in providers.items()}
        before = {key: self._providers.get(key) for key in keyed}
        self._providers = {**self._providers, **keyed}
        try:
            yield
        finally:
            rest = {key: each for key, each in self._providers.items() if key not in keyed}
            self._providers = rest | {key: each for key, each in before.items() if each is not None}


@asynccontextmanager
async def open_dependencies(
    wanted: Iterable[tuple[str, Provider]], context: "Context | None", lane: Lane, overrides: Overrides
) -> AsyncIterator[dict[str, Any]]:
    """Yield the values of dependencies by parameter name, and clean up after them at the end.

    Args:
        wanted: providers by parameter name.
        context: for those that take it.
        lane: the thread for those that are plain `def` functions.
        overrides: what stands in for some of them.
    """
    async with AsyncExitStack() as stack:
        made = _Made(stack, lane, overrides, context)
        yield {name: await made.value_of(provider) for name, provider in wanted}


class _Made:
    """The dependencies of one call, as far as they have been made."""

    def __init__(
        self, stack: AsyncExitStack, lane: Lane, overrides: Overrides, context: "Context | None"
    ) -> None:
        self._stack = stack
        self._lane = lane
        self._overrides = overrides
        self._context = context
        self._values: dict[Hashable, Any] = {}
        self._replacing: set[Hashable] = set()

    async def value_of(self, provider: Provider) -> Any:
        """Return the value of a provider, made now if nobody asked for it before."""
        if provider.key not in self._replacing and (other := self._overrides.get(provider)) is not None:
            self._replacing.add(provider.key)  # a stand-in may depend on what it stands in for
            try:
                return await self.value_of(other)
            finally:
                self._replacing.discard(provider.key)
        if provider.key not in self._values:
            values: dict[str, Any] = {name: await self.value_of(each) for name, each in provider.dependencies}
            values.update(dict.fromkeys(provider.contexts, self._context))
            self._values[provider.key] = await self._make(provider, values)
        return self._values[provider.key]

    async def _make(self, provider: Provider, values: dict[str, Any]) -> Any:
        if provider.kind == "async":
            return await provider.call(values)
        if provider.kind == "plain":
            return await self._lane.result_of(provider.call, values)
        if provider.kind == "async generator":
            return await self._enter(_as_async_manager(provider.call(values)))
        return await self._enter(_InThread(lambda: _as_manager(provider.call(values)), self._lane))

    async def _enter(self, manager: AbstractAsyncContextManager[Any]) -> Any:
        value = await manager.__aenter__()

        async def leave(
            kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> bool:
            await manager.__aexit__(kind, error, trace)
            return False  # a dependency may turn an error into another, and never into silence

        self._stack.push_async_exit(leave)
        return value


class _InThread:
    """A plain context manager that is made, entered and left in a thread."""

    def __init__(self, make: Callable[[], AbstractContextManager[Any]], lane: Lane) -> None:
        self._make = make
        self._lane = lane
        self._lock = threading.Lock()
        self._entered: AbstractContextManager[Any] | None = None
        self._given_up = False

    async def __aenter__(self) -> Any:
        try:
            return await self._lane.run(self._enter)
        except asyncio.CancelledError:
            with self._lock:
                self._given_up = True
                entered = self._entered
            if entered is not None:  # just before the cancellation, so that its value was lost on the way here
                await self.__aexit__(None, None, None)
            raise

    def _enter(self) -> Any:
        manager = self._make()
        value = manager.__enter__()
        with self._lock:
            given_up = self._given_up
            if not given_up:
                self._entered = manager
        if given_up:
            manager.__exit__(None, None, None)
        return value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._entered is None:
            return None
        result: bool | None = await self._lane.run_surely(self._entered.__exit__, kind, error, trace)
        return result


def _as_manager(made: Any) -> AbstractContextManager[Any]:
    """Return what a function with a `yield` gave, as a context manager; `@contextmanager` gives one already."""
    return made if hasattr(type(made), "__enter__") else contextmanager(lambda: made)()


def _as_async_manager(made: Any) -> AbstractAsyncContextManager[Any]:
    """Do the same for an `async def` with a `yield`."""
    return made if hasattr(type(made), "__aenter__") else asynccontextmanager(lambda: made)()
