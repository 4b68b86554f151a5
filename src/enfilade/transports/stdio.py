"""stdio: one JSON-RPC message per line, over descriptors that nothing else can touch.

A thread reads and a thread writes, because a descriptor may be a pipe, a file or a console and only blocking
calls work on all of them on every platform. The loop is never blocked by a client that does not read: what waits
for it is counted, notifications above the limit are dropped, and no further line is read until it has caught up.
Nor is it flooded: a few thousand lines of input wait for the loop at most, and none is handed to it while too
much waits for the client. Both are looked at every few lines, as a chunk may hold tens of thousands.

Easy to get wrong: the end of the input must be seen while nothing is read, or else a client that neither reads
nor lives would hold the process for ever.
"""

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import Final

from enfilade.transports.stdio_fds import hung_up

log = logging.getLogger("enfilade.transports")

#: Bytes waiting for the client above which notifications are dropped and no line is read.
CAPACITY: Final = 1024 * 1024
HIGH_WATER: Final = 64 * 1024
#: Seconds that the client gets to take the last responses.
LAST_WRITE: Final = 1.0
#: Lines that are handed to the loop in one call, and calls that wait for the loop before no further one is made.
LINES_AT_ONCE: Final = 256
MOST_WAITING: Final = 8
_CHUNK: Final = 64 * 1024
_LOOK: Final = 0.25  # seconds between two looks whether the input has ended while nothing is read


class Writer:
    """Writes lines in a thread; the outlet of every request of the process.

    Args:
        descriptor: where to write.
        gone: called in the loop once nobody can read there any more.
    """

    def __init__(self, descriptor: int, gone: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._gone = gone
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
        await asyncio.wait((self._done,), timeout=LAST_WRITE)

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
            except OSError:
                ended = True
                self._tell(self._gone)
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
    """Reads lines in a thread and hands them to the loop, some of one chunk in one call.

    Args:
        descriptor: where to read.
        limit: longest line in bytes; a longer one is skipped and handed on as None.
        gate: while cleared, nothing is read and nothing handed on.
        take: called in the loop with lines that are not blank.
        end: called in the reader's thread at the end of the input, whatever the loop does.
    """

    def __init__(
        self,
        descriptor: int,
        limit: int,
        gate: threading.Event,
        take: Callable[[list[bytes | None]], None],
        end: Callable[[], None],
    ) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._gate = gate
        self._take = take
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._handed = self._taken = 0  # each counted by one thread alone
        self._caught_up = threading.Event()
        self._caught_up.set()
        threading.Thread(target=self._run, name="enfilade-stdin", daemon=True).start()

    def _run(self) -> None:
        rest, skipping = b"", False
        try:
            while chunk := self._read():
                *lines, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
                whole: list[bytes | None] = []
                for line in lines:
                    if skipping or len(line) > self._limit:
                        whole.append(None)
                    elif line and not line.isspace():
                        whole.append(line)
                    skipping = False
                for start in range(0, len(whole), LINES_AT_ONCE):
                    if start:
                        self._wait_for_room()
                    self._hand(whole[start : start + LINES_AT_ONCE])
                if len(rest) > self._limit:
                    rest, skipping = b"", True
            if rest.strip() and not skipping:
                self._hand([rest])
        except RuntimeError:  # the loop is closed: nobody listens any more
            log.debug("the reader outlived its loop")
        self._end()

    def _hand(self, lines: list[bytes | None]) -> None:
        self._handed += 1
        if self._behind():
            self._caught_up.clear()
            if not self._behind():  # in between the loop has caught up, and will not say so again
                self._caught_up.set()
        self._loop.call_soon_threadsafe(self._take_all, lines)

    def _behind(self) -> bool:
        return self._handed - self._taken >= MOST_WAITING

    def _take_all(self, lines: list[bytes | None]) -> None:
        self._taken += 1
        self._take(lines)
        if not self._caught_up.is_set() and not self._behind():
            self._caught_up.set()

    def _wait_for_room(self) -> None:
        while not (self._gate.wait(_LOOK) and self._caught_up.wait(_LOOK)):
            if hung_up(self._descriptor):  # what is left is no more than a chunk, and what a pipe holds
                return

    def _read(self) -> bytes:
        self._wait_for_room()
        try:
            return os.read(self._descriptor, _CHUNK)
        except OSError:  # Windows reports a closed pipe as an error
            return b""
