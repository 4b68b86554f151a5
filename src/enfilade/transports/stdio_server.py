"""One client over the process's stdin and stdout, for `run()`, and an end that nobody can hold up.

    the input ends ─▶ calls get `shutdown_timeout`, and their responses are written ─▶ what is left is cancelled
    and refused ─▶ lifespan, at most `lifespan_timeout` ─▶ the process ends
    SIGTERM, SIGINT ─▶ the same with one second for calls, as a client that sends them will soon use force
    nobody reads stdout any more ─▶ the same without any time for calls

Each step is limited here, in the event loop. `Ending` limits all of them together from outside, as a handler may
block the loop (2025-11-25 basic/lifecycle, shutdown of stdio).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import msgspec

from enfilade.serving.dispatcher import Dispatcher
from enfilade.startup import gc_pause
from enfilade.transports.message_connection import CANCELLED_LIMIT, Connection
from enfilade.transports.processes.process_end import STARTUP_FAILURE, Ending, handling_signals
from enfilade.transports.stdio import LAST_WRITE, Reader, Writer
from enfilade.transports.stdio_fds import private_pipes

log = logging.getLogger("enfilade")

#: Seconds at most that calls get to finish after a signal.
SIGNALLED_LIMIT: Final = 1.0
_INPUT_ENDED: Final = 1  # exit code of a process that has to be ended then; after a signal it is 128 + its number

Running = Callable[[], AbstractAsyncContextManager[Dispatcher]]


class StdioOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one client is served over stdio.

    Attributes:
        line_limit: longest message in bytes.
        request_timeout: seconds that a request may take; 0 for no limit.
        max_requests: requests in flight at once.
        shutdown_timeout: seconds that calls get to finish after the end of the input.
        lifespan_timeout: seconds that the lifespan gets in the end, and after it threads and exit handlers.
    """

    line_limit: int
    request_timeout: float
    shutdown_timeout: float
    lifespan_timeout: float
    max_requests: int = 1000

    @property
    def hurry(self) -> float:
        """Seconds that calls get to finish after a signal."""
        return min(self.shutdown_timeout, SIGNALLED_LIMIT)


def serve_stdio(running: Running, options: StdioOptions) -> None:
    """Serve one client until the input ends, a signal asks to stop, or nobody reads the output any more.

    Args:
        running: sets the server up, and yields its dispatcher.
        options: how it is served.

    Raises:
        SystemExit: a signal asked to stop before the server was up, or it could not start, and the log says why.
    """
    with private_pipes() as pipes:
        ending = Ending(options.lifespan_timeout)
        loop = asyncio.new_event_loop()
        server = _Server(running, options, ending, loop)
        try:
            with handling_signals(server.on_signal):
                try:
                    loop.run_until_complete(server.serve(*pipes))
                except asyncio.CancelledError:
                    raise SystemExit(128 + server.stopped_by) from None
                except Exception as error:
                    if server.is_up:
                        raise
                    log.error("the server could not be started", exc_info=error)
                    raise SystemExit(STARTUP_FAILURE) from None
                finally:
                    _put_away(loop)
        finally:
            loop.close()
            ending.returned()


async def serve_stdio_embedded(running: Running, options: StdioOptions) -> None:
    """Do the same in the running event loop, whose process is not ours to end: its host must not block the loop.

    Raises:
        asyncio.CancelledError: the task was cancelled; the server has ended as on a signal.
    """
    with private_pipes() as pipes:
        server = _Server(running, options, None, asyncio.get_running_loop())
        with handling_signals(server.on_signal):
            try:
                await server.serve(*pipes)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not server.stopped_by or task is None or task.uncancel():
                    raise


class _Server:
    """Serves one client.

    Attributes:
        is_up: whether its lifespan has started.
        stopped_by: the signal that asked to stop; 0 for none.
    """

    def __init__(
        self, running: Running, options: StdioOptions, ending: Ending | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.is_up = False
        self.stopped_by = 0
        self._running = running
        self._options = options
        self._ending = ending
        self._loop = loop
        self._ended = asyncio.Event()  # nothing more comes in
        self._hurried = asyncio.Event()  # a signal asked to stop, or nobody reads the output
        self._unread = False  # nobody reads the output
        self._main: asyncio.Task[None] | None = None

    def on_signal(self, number: int) -> None:
        """Stop; called from a signal handler."""
        self.stopped_by = number
        self._limit(self._options.hurry, 128 + number)
        self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        self._hurried.set()
        self._ended.set()
        if not self.is_up and self._main is not None:
            self._main.cancel()

    def _on_end(self) -> None:
        self._limit(self._options.shutdown_timeout, _INPUT_ENDED)
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended already
            self._loop.call_soon_threadsafe(self._ended.set)

    def _on_unread(self) -> None:
        self._unread = True
        self._limit(0.0, _INPUT_ENDED)
        self._hurried.set()
        self._ended.set()

    def _limit(self, for_calls: float, exit_code: int) -> None:
        if self._ending is not None:
            rest = CANCELLED_LIMIT + LAST_WRITE + self._options.lifespan_timeout
            self._ending.begin(for_calls + rest, exit_code)

    async def serve(self, incoming: int, outgoing: int) -> None:
        """Serve until it is time to stop.

        Raises:
            asyncio.CancelledError: a signal asked to stop before the server was up, or somebody else did.
        """
        self._main = asyncio.current_task()
        async with self._running() as dispatcher:
            self.is_up = True
            gc_pause.resume()
            writer = Writer(outgoing, self._on_unread)
            connection = Connection(
                dispatcher,
                writer,
                writer.write,
                request_timeout=self._options.request_timeout,
                max_requests=self._options.max_requests,
            )

            def take(lines: list[bytes | None]) -> None:
                if self._hurried.is_set():
                    return
                for line in lines:
                    if line is None:
                        connection.refuse_long(self._options.line_limit)
                    else:
                        connection.feed(line)

            Reader(incoming, self._options.line_limit, writer.open_for_reading, take, self._on_end)
            try:
                await self._ended.wait()
            except asyncio.CancelledError:
                self._hurried.set()
                raise
            finally:
                await self._finish(connection)
                await writer.close()

    async def _finish(self, connection: Connection) -> None:
        """Let calls finish for as long as is due, and then end them."""
        quiet = asyncio.ensure_future(connection.quiet())
        hurried = asyncio.ensure_future(self._hurried.wait())
        await asyncio.wait(
            (quiet, hurried), timeout=self._options.shutdown_timeout, return_when=asyncio.FIRST_COMPLETED
        )
        if self._hurried.is_set() and not self._unread:
            await asyncio.wait((quiet,), timeout=self._options.hurry)
        quiet.cancel()
        hurried.cancel()
        await connection.close(refuse=not self._unread)


def _put_away(loop: asyncio.AbstractEventLoop) -> None:
    """End what still runs in a loop, as `asyncio.run` does, but not for ever."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=CANCELLED_LIMIT))
    closing = loop.create_task(loop.shutdown_asyncgens())
    loop.run_until_complete(asyncio.wait((closing,), timeout=CANCELLED_LIMIT))
    loop.set_exception_handler(_ignored)  # a task that would not end is destroyed while it is pending


def _ignored(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    return
