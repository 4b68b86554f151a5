"""stdio: one JSON-RPC message per line, over descriptors that nothing else can touch.

A thread reads and a thread writes, because a descriptor may be a pipe, a file or a console and only blocking
calls work on all of them on every platform. The loop is never blocked by a client that does not read: what waits
for it is counted, notifications above the limit are dropped, and no further line is read until it has caught up.
"""

import asyncio
import logging
import os
import queue
import signal
import threading
from collections.abc import Callable
from typing import Final

from enfilade.serving.dispatcher import Dispatcher
from enfilade.transports.connection import Connection
from enfilade.transports.descriptors import private_pipes

log = logging.getLogger("enfilade.transports")

#: Bytes waiting for the client above which notifications are dropped and no line is read.
CAPACITY: Final = 1024 * 1024
HIGH_WATER: Final = 64 * 1024
#: Seconds that requests in flight get to finish after the end of the input (R-403).
LAST_WORDS: Final = 1.0
_CHUNK: Final = 64 * 1024


class Writer:
    """Writes lines in a thread; the outlet of every request of the process.

    Args:
        descriptor: where to write.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._room: asyncio.Future[None] | None = None
        self._done = self._loop.create_future()
        self.open_for_reading = threading.Event()
        self.open_for_reading.set()
        threading.Thread(target=self._run, name="enfilade-stdout", daemon=True).start()

    @property
    def crowded(self) -> bool:
        return self._waiting > HIGH_WATER and not self._done.done()

    def part(self, retry: float | None) -> bool:
        return False

    async def drained(self) -> None:
        if self.crowded:
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.wait((self._room,), timeout=5.0)

    def push(self, message: bytes) -> bool:
        if self._waiting + len(message) > CAPACITY:
            return False
        self._put(message)
        return True

    def send(self, message: bytes) -> bool:
        self._put(message)
        return True

    async def write(self, message: bytes) -> None:
        """Take a response, which is never dropped."""
        self._put(message)

    async def close(self) -> None:
        """Write what is left, if the client still takes it within a second."""
        self._lines.put(None)
        await asyncio.wait((self._done,), timeout=LAST_WORDS)

    def _put(self, message: bytes) -> None:
        self._waiting += len(message) + 1
        if self._waiting > CAPACITY:
            self.open_for_reading.clear()
        self._lines.put(message + b"\n")

    def _written(self, size: int) -> None:
        self._waiting -= size
        if self._waiting <= HIGH_WATER:
            self.open_for_reading.set()
            if self._room is not None and not self._room.done():
                self._room.set_result(None)
            self._room = None

    def _run(self) -> None:
        ended = False
        while not ended:
            lines = [self._lines.get()]
            while lines[-1] is not None and not self._lines.empty():
                lines.append(self._lines.get())
            ended = lines[-1] is None
            chunk = b"".join(line for line in lines if line is not None)
            try:
                self._write_all(chunk)
            except OSError:  # the client is gone; the end of the input will say so, too
                ended = True
            self._tell(self._written, len(chunk))
        self.open_for_reading.set()
        self._tell(self._finish)

    def _write_all(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _tell(self, call: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # the loop is closed: nobody counts any more
            log.debug("the writer outlived its loop")


class Reader:
    """Reads lines in a thread and hands each to the loop.

    Args:
        descriptor: where to read.
        limit: longest line in bytes; a longer one is skipped and handed on as None.
        gate: while cleared, nothing is read.
        take: called in the loop for each line.
        end: called in the loop at the end of the input.
    """

    def __init__(
        self,
        descriptor: int,
        limit: int,
        gate: threading.Event,
        take: Callable[[bytes | None], None],
        end: Callable[[], None],
    ) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._gate = gate
        self._take = take
        self._end = end
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="enfilade-stdin", daemon=True).start()

    def _run(self) -> None:
        rest, skipping = b"", False
        try:
            while chunk := self._read():
                *lines, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
                for line in lines:
                    self._hand(None if skipping or len(line) > self._limit else line)
                    skipping = False
                if len(rest) > self._limit:
                    rest, skipping = b"", True
            if rest.strip() and not skipping:
                self._hand(rest)
            self._loop.call_soon_threadsafe(self._end)
        except RuntimeError:  # the loop is closed: nobody listens any more
            log.debug("the reader outlived its loop")

    def _hand(self, line: bytes | None) -> None:
        if line is None or (not line.isspace() and line):
            self._loop.call_soon_threadsafe(self._take, line)

    def _read(self) -> bytes:
        self._gate.wait()
        try:
            return os.read(self._descriptor, _CHUNK)
        except OSError:  # Windows reports a closed pipe as an error
            return b""


async def serve_stdio(dispatcher: Dispatcher, *, line_limit: int, request_timeout: float = 0.0) -> None:
    """Serve one client over the process's stdin and stdout until the input ends or a signal asks to stop.

    Args:
        dispatcher: runs the requests.
        line_limit: longest message in bytes.
        request_timeout: seconds that a request may take; 0 for no limit.
    """
    with private_pipes() as (incoming, outgoing):
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        writer = Writer(outgoing)
        connection = Connection(dispatcher, writer, writer.write, request_timeout=request_timeout)

        def take(line: bytes | None) -> None:
            if line is None:
                connection.refuse_long(line_limit)
            else:
                connection.feed(line)

        Reader(incoming, line_limit, writer.open_for_reading, take, ended.set)
        stop_signals = _on_signals(loop, ended)
        try:
            await ended.wait()
            await connection.close(patience=LAST_WORDS)
            await writer.close()
        finally:
            for number in stop_signals:
                loop.remove_signal_handler(number)


def _on_signals(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> list[signal.Signals]:
    """Take the signals that ask to stop as the end of the input, where the loop can do that."""
    taken = []
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, ended.set)
        except (NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
            continue
        taken.append(number)
    return taken
