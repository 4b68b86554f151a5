"""Dependencies of handlers: created before the handler runs, cleaned up after it.

Each is created once per call, however many depend on it, in the order of the parameters. The providers are known
from registration (`primitives/depends.py`), so a handler without dependencies pays for nothing here.

All plain `def` steps of a call, also the handler, run in one thread: what they open may belong to that thread.

Easy to get wrong: the end. Clean-up runs after errors and cancellations too, in reverse order, and never hides
them. A thread that opens something for a call that was cancelled meanwhile closes it again, since no other code
has a reference to it.
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
    """Replacements of dependencies, such as in tests."""

    def __init__(self) -> None:
        self._providers: dict[Hashable, Provider] = {}

    def get(self, provider: Provider) -> Provider | None:
        """Return the replacement of a provider, or None."""
        return self._providers.get(provider.key) if self._providers else None

    @contextmanager
    def replaced(self, providers: Mapping[Callable[..., Any], Provider]) -> Iterator[None]:
        """Replace functions by providers within a `with` block; blocks may be nested."""
        keyed = {key_of(fn): provider for fn, provider in providers.items()}
        outer = {key: self._providers.get(key) for key in keyed}
        self._providers = {**self._providers, **keyed}
        try:
            yield
        finally:
            others = {key: provider for key, provider in self._providers.items() if key not in keyed}
            self._providers = others | {key: provider for key, provider in outer.items() if provider is not None}


@asynccontextmanager
async def open_dependencies(
    providers: Iterable[tuple[str, Provider]], context: "Context | None", lane: Lane, overrides: Overrides
) -> AsyncIterator[dict[str, Any]]:
    """Yield the values of dependencies by parameter name, and clean up after them at the end."""
    async with AsyncExitStack() as stack:
        values = _DependencyValues(stack, lane, overrides, context)
        yield {name: await values.value_of(provider) for name, provider in providers}


class _DependencyValues:
    """The values of the dependencies of one call, as far as they have been created."""

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
        """Return the value of a provider, created at the first call."""
        if provider.key not in self._replacing and (override := self._overrides.get(provider)) is not None:
            self._replacing.add(provider.key)  # a replacement may depend on what it replaces
            try:
                return await self.value_of(override)
            finally:
                self._replacing.discard(provider.key)
        if provider.key not in self._values:
            values: dict[str, Any] = {
                name: await self.value_of(dependency) for name, dependency in provider.dependencies
            }
            values.update(dict.fromkeys(provider.contexts, self._context))
            self._values[provider.key] = await self._create(provider, values)
        return self._values[provider.key]

    async def _create(self, provider: Provider, values: dict[str, Any]) -> Any:
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
            return False  # a dependency may replace an error by another, and never suppress it

        self._stack.push_async_exit(leave)
        return value


class _InThread:
    """A plain context manager that is created, entered and left in a thread."""

    def __init__(self, create: Callable[[], AbstractContextManager[Any]], lane: Lane) -> None:
        self._create = create
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
            if entered is not None:  # the cancellation came after it, so its value was lost on the way here
                await self.__aexit__(None, None, None)
            raise

    def _enter(self) -> Any:
        manager = self._create()
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
        result: bool | None = await self._lane.run_to_end(self._entered.__exit__, kind, error, trace)
        return result


def _as_manager(value: Any) -> AbstractContextManager[Any]:
    """Return the value of a function with a `yield` as a context manager, which it may be already."""
    return value if hasattr(type(value), "__enter__") else contextmanager(lambda: value)()


def _as_async_manager(value: Any) -> AbstractAsyncContextManager[Any]:
    """Return the value of an `async def` with a `yield` as a context manager."""
    return value if hasattr(type(value), "__aenter__") else asynccontextmanager(lambda: value)()
