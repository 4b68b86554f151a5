"""stdio: one client over the process's stdin and stdout, one JSON-RPC message a line, and an end with a deadline.

`Reader` and `Writer` have a thread each, because a descriptor may be a pipe, a file or a console and only
blocking calls work on all of them on every platform. A client that does not read never blocks the event loop:
what waits for it is counted, notifications above `OUTPUT_CAPACITY` are dropped, and no further line is read until
it has caught up. Nor can a client flood the loop: at most `MOST_WAITING` × `LINES_AT_ONCE` lines wait for it, and
none is handed over while too much waits for the client.

The end (R-403):

    end of input ─▶ calls get `shutdown_timeout`, and their responses are written ─▶ the rest is cancelled and
    refused ─▶ lifespan, at most `lifespan_timeout` ─▶ the process ends
    SIGTERM, SIGINT ─▶ the same with one second for calls, as a client that sends them will soon use force
    nobody reads stdout any more ─▶ the same without any time for calls

Each step has a limit here, in the event loop. `ExitDeadline` limits all of them together from outside, as a
handler may block the loop (2025-11-25 basic/lifecycle, shutdown of stdio).

Easy to get wrong: the end of the input must be noticed while reading is paused, or else a client that has died
without reading would keep the process alive for ever.
"""

import asyncio
import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import msgspec

from enfilade.serving.dispatcher import Dispatcher
from enfilade.startup import gc_pause
from enfilade.transports.message_connection import CANCELLED_LIMIT, Connection
from enfilade.transports.processes.process_end import STARTUP_FAILURE, ExitDeadline, stop_on_signals
from enfilade.transports.stdio_fds import is_hung_up, private_pipes

log = logging.getLogger("enfilade.transports")
server_log = logging.getLogger("enfilade")

#: Bytes waiting for the client above which notifications are dropped and no line is read.
OUTPUT_CAPACITY: Final = 1024 * 1024
#: Bytes waiting for the client down to which that lasts.
OUTPUT_HIGH_WATER: Final = 64 * 1024
#: Lines that are handed to the loop in one call, and calls that may wait for the loop.
LINES_AT_ONCE: Final = 256
MOST_WAITING: Final = 8
#: Seconds that the client gets to take the last responses.
LAST_WRITE: Final = 1.0
#: Seconds at most that calls get to finish after a signal.
SIGNALLED_LIMIT: Final = 1.0

_READ_SIZE: Final = 64 * 1024  # bytes
_POLL_INTERVAL: Final = 0.25  # seconds between checks for the end of the input while reading is paused
#: Printed on stderr if a person has started the server at a terminal, where nothing else would be seen.
_AT_TERMINAL: Final = (
    "Serving over stdio, waiting for an MCP client on standard input. Ctrl-C ends it; "
    "`enfilade run FILE --transport http` serves at a URL.\n"
)
_INPUT_ENDED: Final = 1  # exit code if the deadline ends the process then; after a signal it is 128 + its number

Running = Callable[[], AbstractAsyncContextManager[Dispatcher]]


class StdioOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one client is served over stdio.

    Attributes:
        line_limit: longest message in bytes.
        request_timeout: seconds that a request may take; 0 for no limit.
        max_requests: requests in flight at once.
        scopes: what the client may do; `*` for everything.
        shutdown_timeout: seconds that calls get to finish after the end of the input.
        lifespan_timeout: seconds that the lifespan gets at the end, and after it threads and exit handlers.
    """

    line_limit: int
    request_timeout: float
    shutdown_timeout: float
    lifespan_timeout: float
    max_requests: int = 1000
    scopes: frozenset[str] = frozenset()

    @property
    def signalled_timeout(self) -> float:
        """Seconds that calls get to finish after a signal."""
        return min(self.shutdown_timeout, SIGNALLED_LIMIT)


class Writer:
    """Writes lines in a thread; the outlet of every request of the process.

    Args:
        on_unread: called in the loop once nobody can read there any more.
    """

    def __init__(self, descriptor: int, on_unread: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_unread = on_unread
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._waiting = 0  # bytes
        self._room: asyncio.Future[None] | None = None
        self._done = self._loop.create_future()
        self.open_for_reading = threading.Event()
        self.open_for_reading.set()
        threading.Thread(target=self._run, name="enfilade-stdout", daemon=True).start()

    @property
    def is_congested(self) -> bool:
        return self._waiting > OUTPUT_HIGH_WATER and not self._done.done()

    def close_connection(self, retry: float | None) -> bool:
        return False

    def note_scopes(self, scopes: Iterable[str]) -> None:
        return  # nothing is resumed

    async def wait_for_room(self) -> None:
        if self.is_congested:
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.wait((self._room,), timeout=5.0)

    def push(self, message: bytes) -> bool:
        if self._waiting + len(message) > OUTPUT_CAPACITY:
            return False
        self._put(message)
        return True

    def send(self, message: bytes) -> bool:
        self._put(message)
        return True

    async def write(self, message: bytes) -> None:
        """Write a response, which is never dropped."""
        self._put(message)

    async def close(self) -> None:
        """Write what waits, if the client still takes it within a second."""
        self._lines.put(None)
        await asyncio.wait((self._done,), timeout=LAST_WRITE)

    def _put(self, message: bytes) -> None:
        self._waiting += len(message) + 1
        if self._waiting > OUTPUT_CAPACITY:
            self.open_for_reading.clear()
        self._lines.put(message + b"\n")

    def _count_written(self, size: int) -> None:
        self._waiting -= size
        if self._waiting <= OUTPUT_HIGH_WATER:
            self.open_for_reading.set()
            if self._room is not None and not self._room.done():
                self._room.set_result(None)
            self._room = None

    def _run(self) -> None:
        has_ended = False
        while not has_ended:
            lines = [self._lines.get()]
            while lines[-1] is not None and not self._lines.empty():
                lines.append(self._lines.get())
            has_ended = lines[-1] is None
            chunk = b"".join(line for line in lines if line is not None)
            try:
                self._write_all(chunk)
            except OSError:
                has_ended = True
                self._call_in_loop(self._on_unread)
            self._call_in_loop(self._count_written, len(chunk))
        self.open_for_reading.set()
        self._call_in_loop(self._finish)

    def _write_all(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _call_in_loop(self, callback: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed, so nothing needs to be counted
            log.debug("the writer outlived its loop")


class Reader:
    """Reads lines in a thread and hands them to the loop, up to `LINES_AT_ONCE` in one call.

    Args:
        limit: longest line in bytes; a longer one is skipped and handed on as None.
        gate: while cleared, nothing is read and nothing handed on.
        on_lines: called in the loop with lines that are not blank.
        on_end: called in the reader's thread at the end of the input, even if the loop is blocked.
    """

    def __init__(
        self,
        descriptor: int,
        limit: int,
        gate: threading.Event,
        on_lines: Callable[[list[bytes | None]], None],
        on_end: Callable[[], None],
    ) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._gate = gate
        self._on_lines = on_lines
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._handed = self._taken = 0  # calls; each counted by one thread alone
        self._caught_up = threading.Event()
        self._caught_up.set()
        threading.Thread(target=self._run, name="enfilade-stdin", daemon=True).start()

    def _run(self) -> None:
        remainder, is_skipping = b"", False
        try:
            while chunk := self._read():
                *parts, remainder = (remainder + chunk).split(b"\n") if b"\n" in chunk else (remainder + chunk,)
                lines: list[bytes | None] = []
                for line in parts:
                    if is_skipping or len(line) > self._limit:
                        lines.append(None)
                    elif line and not line.isspace():
                        lines.append(line)
                    is_skipping = False
                for start in range(0, len(lines), LINES_AT_ONCE):
                    if start:
                        self._wait_for_room()
                    self._hand_over(lines[start : start + LINES_AT_ONCE])
                if len(remainder) > self._limit:
                    remainder, is_skipping = b"", True
            if remainder.strip() and not is_skipping:
                self._hand_over([remainder])
        except RuntimeError:  # the loop is closed
            log.debug("the reader outlived its loop")
        self._on_end()

    def _hand_over(self, lines: list[bytes | None]) -> None:
        self._handed += 1
        if self._is_behind():
            self._caught_up.clear()
            if not self._is_behind():  # the loop has caught up meanwhile, and will not set the event again
                self._caught_up.set()
        self._loop.call_soon_threadsafe(self._take, lines)

    def _is_behind(self) -> bool:
        return self._handed - self._taken >= MOST_WAITING

    def _take(self, lines: list[bytes | None]) -> None:
        self._taken += 1
        self._on_lines(lines)
        if not self._caught_up.is_set() and not self._is_behind():
            self._caught_up.set()

    def _wait_for_room(self) -> None:
        while not (self._gate.wait(_POLL_INTERVAL) and self._caught_up.wait(_POLL_INTERVAL)):
            if is_hung_up(self._descriptor):  # the rest is at most a chunk, and what the pipe holds
                return

    def _read(self) -> bytes:
        self._wait_for_room()
        try:
            return os.read(self._descriptor, _READ_SIZE)
        except OSError:  # Windows reports a closed pipe as an error
            return b""


def serve_stdio(running: Running, options: StdioOptions) -> None:
    """Serve one client until the input ends, a signal asks to stop, or nobody reads the output any more.

    Args:
        running: sets the server up, and yields its dispatcher.

    Raises:
        SystemExit: a signal asked to stop before the server had started, or it could not start and the log says
            why.
    """
    with private_pipes() as pipes:
        deadline = ExitDeadline(options.lifespan_timeout)
        loop = asyncio.new_event_loop()
        server = _Server(running, options, deadline, loop)
        try:
            with stop_on_signals(server.on_signal):
                try:
                    loop.run_until_complete(server.serve(*pipes))
                except asyncio.CancelledError:
                    raise SystemExit(128 + server.stop_signal) from None
                except Exception as error:
                    if server.is_up:
                        raise
                    server_log.error("the server could not be started", exc_info=error)
                    raise SystemExit(STARTUP_FAILURE) from None
                finally:
                    _cancel_remaining(loop)
        finally:
            loop.close()
            deadline.run_returned()


async def serve_stdio_embedded(running: Running, options: StdioOptions) -> None:
    """Serve one client in the running event loop; the process belongs to its host, so it has no deadline.

    Raises:
        asyncio.CancelledError: the task was cancelled; the server has ended as on a signal.
    """
    with private_pipes() as pipes:
        server = _Server(running, options, None, asyncio.get_running_loop())
        with stop_on_signals(server.on_signal):
            try:
                await server.serve(*pipes)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not server.stop_signal or task is None or task.uncancel():
                    raise


class _Server:
    """Serves one client.

    Attributes:
        is_up: whether its lifespan has started.
        stop_signal: the signal that asked to stop; 0 for none.
    """

    def __init__(
        self,
        running: Running,
        options: StdioOptions,
        deadline: ExitDeadline | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.is_up = False
        self.stop_signal = 0
        self._running = running
        self._options = options
        self._deadline = deadline
        self._loop = loop
        self._input_ended = asyncio.Event()  # or no further input is served
        self._must_hurry = asyncio.Event()  # a signal asked to stop, or nobody reads the output
        self._is_unread = False  # nobody reads the output
        self._main: asyncio.Task[None] | None = None

    def on_signal(self, number: int) -> None:
        """Stop; called from a signal handler."""
        self.stop_signal = number
        self._set_deadline(self._options.signalled_timeout, 128 + number)
        self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        self._must_hurry.set()
        self._input_ended.set()
        if not self.is_up and self._main is not None:
            self._main.cancel()

    def _on_end(self) -> None:
        self._set_deadline(self._options.shutdown_timeout, _INPUT_ENDED)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended already
            self._loop.call_soon_threadsafe(self._input_ended.set)

    def _on_unread(self) -> None:
        self._is_unread = True
        self._set_deadline(0.0, _INPUT_ENDED)
        self._must_hurry.set()
        self._input_ended.set()

    def _set_deadline(self, call_timeout: float, exit_code: int) -> None:
        if self._deadline is not None:
            clean_up = CANCELLED_LIMIT + LAST_WRITE + self._options.lifespan_timeout
            self._deadline.set(call_timeout + clean_up, exit_code)

    async def serve(self, incoming: int, outgoing: int) -> None:
        """Serve until it is time to stop.

        Raises:
            asyncio.CancelledError: a signal asked to stop before the server had started, or the task was
                cancelled.
        """
        self._main = asyncio.current_task()
        async with self._running() as dispatcher:
            self.is_up = True
            gc_pause.resume()
            if os.isatty(incoming):
                sys.stderr.write(_AT_TERMINAL)
            writer = Writer(outgoing, self._on_unread)
            connection = Connection(
                dispatcher,
                writer,
                writer.write,
                request_timeout=self._options.request_timeout,
                max_requests=self._options.max_requests,
                local_scopes=self._options.scopes,
            )

            def feed(lines: list[bytes | None]) -> None:
                if self._must_hurry.is_set():
                    return
                for line in lines:
                    if line is None:
                        connection.refuse_long(self._options.line_limit)
                    else:
                        connection.feed(line)

            Reader(incoming, self._options.line_limit, writer.open_for_reading, feed, self._on_end)
            try:
                await self._input_ended.wait()
            except asyncio.CancelledError:
                self._must_hurry.set()
                raise
            finally:
                await self._finish(connection)
                await writer.close()

    async def _finish(self, connection: Connection) -> None:
        """Let calls finish within their time, and then cancel them."""
        quiet = asyncio.ensure_future(connection.quiet())
        hurry = asyncio.ensure_future(self._must_hurry.wait())
        timeout = self._options.shutdown_timeout
        await asyncio.wait((quiet, hurry), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._must_hurry.is_set() and not self._is_unread:
            await asyncio.wait((quiet,), timeout=self._options.signalled_timeout)
        quiet.cancel()
        hurry.cancel()
        await connection.close(refuse=not self._is_unread)


def _cancel_remaining(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what still runs in a loop, as `asyncio.run` does, but with a time limit."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=CANCELLED_LIMIT))
    closing = loop.create_task(loop.shutdown_asyncgens())
    loop.run_until_complete(asyncio.wait((closing,), timeout=CANCELLED_LIMIT))
    loop.set_exception_handler(_ignore)  # a task that does not end is destroyed while it is pending


def _ignore(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    return
