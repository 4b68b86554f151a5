"""The server's lifespan: set-up before the first request, clean-up after the last.

It runs in a task of its own, so that the same task enters and leaves the context manager, whatever starts it: a
host with a lifespan protocol, one without (the first request starts it), stdio or a test. Easy to get wrong: the
end. Code after `yield` always runs, also when the host only closes its event loop (D31).
"""

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

Setup = Callable[[Any], AbstractAsyncContextManager[Any]]


class Service(Protocol):
    """What runs beside requests."""

    async def start(self) -> None:
        """Begin."""
        ...

    async def stop(self) -> None:
        """End; also called if `start` has failed."""
        ...


#: Code of every function that `contextlib.contextmanager` returned.
_SYNCHRONOUS: Final = contextlib.contextmanager(lambda: iter(())).__code__


class Lifespan:
    """Starts and stops what a server needs.

    Args:
        setup: `@asynccontextmanager async def lifespan(app)`; what it yields is handed to handlers as
            `ctx.lifespan` (None is fine). None for no set-up at all.
        owner: what `setup` is called with.

    Raises:
        TypeError: `setup` is not a function of the app that returns an asynchronous context manager.
    """

    def __init__(self, setup: Setup | None, owner: Any) -> None:
        if setup is not None:
            _check(setup, owner)
        self._setup = setup
        self._services: list[Service] = []
        self._is_idle = setup is None
        self._owner = owner
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._stop: asyncio.Event | None = None
        self.value: Any = None
        self.started = setup is None

    @property
    def is_given(self) -> bool:
        """Whether the app has a lifespan."""
        return self._setup is not None

    def add_service(self, service: Service) -> None:
        """Start and stop something with the server, within its set-up and clean-up; before the start."""
        self._services.append(service)
        self._is_idle = self.started = False

    def belongs_here(self) -> bool:
        """Whether it has started, in the running event loop."""
        if self._is_idle:
            return True
        task = self._task
        return self.started and task is not None and task.get_loop() is asyncio.get_running_loop()

    async def start(self) -> None:
        """Run the set-up; concurrent calls run it once.

        Raises:
            Exception: raised by the set-up.
        """
        if self.belongs_here():
            return
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._ready, self._stop = loop.create_future(), asyncio.Event()
            self._task = loop.create_task(self._live(self._ready, self._stop))
        assert self._ready is not None
        await asyncio.shield(self._ready)

    async def stop(self) -> None:
        """Run the clean-up, and wait for it.

        Raises:
            Exception: raised by the code after `yield`.
        """
        if self._task is None or self._stop is None:
            return
        self._stop.set()
        task, self._task = self._task, None
        await task

    async def cancel_start(self) -> None:
        """Cancel a set-up that has not finished, and wait for a second at most until it has cleaned up."""
        if self._task is not None and not self.started:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=1.0)

    async def _live(self, ready: asyncio.Future[None], stop: asyncio.Event) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                if self._setup is not None:
                    self.value = await stack.enter_async_context(self._setup(self._owner))
                for service in self._services:
                    stack.push_async_callback(service.stop)
                    await service.start()
                self.started = True
                ready.set_result(None)
                with contextlib.suppress(
                    asyncio.CancelledError
                ):  # the event loop is being closed: leave in order
                    await stop.wait()
        except BaseException as error:
            if ready.done():
                raise
            if isinstance(error, asyncio.CancelledError | GeneratorExit):  # a waiter would take it for its own
                failure = RuntimeError(f"the lifespan ended in {type(error).__name__} before it was up")
                failure.__cause__ = error
                ready.set_exception(failure)
            else:
                ready.set_exception(error)
        finally:
            self.started = False
            self.value = None


def _check(setup: Any, owner: Any) -> None:
    """Refuse what cannot be a lifespan when the server is created, not at its first request.

    Raises:
        TypeError: with what to write instead.
    """
    usage = "write @asynccontextmanager async def lifespan(app), with one yield"
    called = getattr(type(setup), "__call__", None)  # noqa: B004 - which function it is, not whether there is one
    is_called = called is contextlib.AsyncContextDecorator.__call__
    if is_called or not callable(setup):
        raise TypeError(f"lifespan is a function, not {_described(setup)}; {usage}, and give lifespan=lifespan")
    function = setup.func if isinstance(setup, functools.partial) else setup
    name = getattr(function, "__name__", type(function).__name__)
    kinds = (inspect.isasyncgenfunction, inspect.iscoroutinefunction, inspect.isgeneratorfunction)
    if any(is_kind(setup) for is_kind in kinds) or getattr(setup, "__code__", None) is _SYNCHRONOUS:
        raise TypeError(f"{name}() is no asynchronous context manager; {usage}")
    try:
        signature = inspect.signature(setup)
    except ValueError:  # of a callable that was written in C
        return
    try:
        signature.bind(owner)
    except TypeError as error:
        raise TypeError(f"{name}() is called with the app, and does not take it ({error}); {usage}") from None


def _described(value: object) -> str:
    return "one that was called already" if hasattr(value, "__aenter__") else f"a {type(value).__name__}"
