"""Where audit entries go: a file of JSON lines, or a function of the user, each served by one thread.

*A file.* Several workers append to one file: it is opened with `O_APPEND`, and what waits is appended by one
write, so that lines of two processes do not mix. Where a disk is full a write may be cut; then a line end is
written before the next line, so that one line is lost and not two. A file that was moved away, as `logrotate`
does it, is noticed before the next write, and a new one is opened under the name; `copytruncate` works as well.

*Durability.* Whoever waits for an entry waits for `fsync`, once for all entries that wait together. Entries that
nobody waits for are in the file within milliseconds; those of the last moment are lost if the process is killed.

Easy to get wrong: a full queue. It takes `CAPACITY` entries; then entries that nobody waits for are dropped and
counted in the log, and those that somebody waits for fail at once.
"""

import asyncio
import errno
import logging
import math
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from enfilade.counters import count
from enfilade.serving.failures import LimitedLog

log = logging.getLogger("enfilade.audit")

#: Entries that may wait to be written.
CAPACITY: Final = 10_000
#: Seconds after which an entry that somebody waits for has failed.
PATIENCE: Final = 5.0
_MOST_AT_ONCE: Final = 256
_FAILING: Final = 5.0  # seconds for which a failure counts as the present state
_CLOSING: Final = 2.0  # seconds for what waits when the server stops

Entry = dict[str, Any]


class AuditError(Exception):
    """An entry could not be written."""


class Sink(Protocol):
    """Takes entries, in the thread of a writer."""

    def check(self) -> None:
        """Check what can be checked before the first entry.

        Raises:
            OSError: no entry could be written.
        """
        ...

    def write(self, entries: Sequence[Entry], *, durable: bool) -> None:
        """Write entries.

        Args:
            durable: return only once they would survive a crash.
        """
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class AuditFile:
    """A file of JSON lines.

    Args:
        path: the file; it is created with mode 0600, in a folder that exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._is_cut = False

    def check(self) -> None:
        """Check that there can be such a file, without opening it: a pipe may have no reader yet.

        Raises:
            OSError: there cannot.
        """
        folder = self._path.parent
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {str(folder)!r}")
        if self._path.is_dir():
            raise IsADirectoryError("it is a folder")
        if not os.access(self._path if self._path.exists() else folder, os.W_OK):
            raise PermissionError("this user may not write it")

    def write(self, entries: Sequence[Entry], *, durable: bool) -> None:
        """Append lines by one write."""
        descriptor = self._open()
        data = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
        if self._is_cut:
            data = b"\n" + data
        written = os.write(descriptor, data)
        self._is_cut = 0 < written < len(data)
        if written < len(data):
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes could be written")
        if durable and stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fsync(descriptor)

    def _open(self) -> int:
        """Return the descriptor of the file that has the name now."""
        if self._descriptor is not None:
            held = os.fstat(self._descriptor)
            try:
                named = os.stat(self._path)
            except FileNotFoundError:
                named = None
            if named is not None and (named.st_ino, named.st_dev) == (held.st_ino, held.st_dev):
                return self._descriptor
            self.close()
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._descriptor

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._is_cut = False


class AuditFunction:
    """A plain function of the user, called for each entry in the thread of the writer."""

    def __init__(self, function: Callable[[Entry], object]) -> None:
        self._function = function

    def check(self) -> None:
        """Do nothing."""

    def write(self, entries: Sequence[Entry], *, durable: bool) -> None:
        """Call the function."""
        for entry in entries:
            self._function(entry)

    def close(self) -> None:
        """Do nothing."""


class AuditWriter:
    """Passes entries to a sink in a thread, in their order.

    Args:
        sink: takes them.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Entry, Future[None] | None]] = deque()
        self._is_started = self._is_closing = self._is_busy = False
        self._failures = LimitedLog(log)
        self._failed_at = -math.inf  # `time.monotonic`, of the last failure that no success came after

    @property
    def has_failed(self) -> bool:
        """Whether the last entries could not be written, some seconds ago at most."""
        return time.monotonic() - self._failed_at < _FAILING

    def check(self) -> None:
        """Check what can be checked before the first entry.

        Raises:
            OSError: no entry could be written.
        """
        self._sink.check()

    def put(self, entry: Entry) -> None:
        """Write an entry soon; a failure is logged."""
        if not self._add(entry, None):
            count("audit_entries_dropped")
            self._failures.write(logging.ERROR, "an audit entry was dropped: %d entries wait", CAPACITY)

    async def write(self, entry: Entry) -> None:
        """Write an entry, and return once it is durable.

        Raises:
            AuditError: it could not be written, or not in time.
        """
        written: Future[None] = Future()
        if not self._add(entry, written):
            raise AuditError("too many entries wait")
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.wrap_future(written)
        except TimeoutError:
            raise AuditError(f"it took longer than {PATIENCE:g} seconds") from None

    def _add(self, entry: Entry, written: "Future[None] | None") -> bool:
        with self._changed:
            if len(self._waiting) >= CAPACITY:
                return False
            self._waiting.append((entry, written))
            self._changed.notify_all()
            if self._is_started:
                return True
            self._is_started, self._is_closing = True, False
        threading.Thread(target=self._run, name="enfilade-audit", daemon=True).start()
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                if not self._waiting:
                    self._sink.close()
                    self._is_started = False
                    return
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
                self._is_busy = True
            self._write(batch)

    def _write(self, batch: "list[tuple[Entry, Future[None] | None]]") -> None:
        error: AuditError | None = None
        futures = [written for _, written in batch if written is not None]
        try:
            self._sink.write([entry for entry, _ in batch], durable=bool(futures))
        except BaseException as failure:
            self._failures.write(
                logging.ERROR, "the audit log cannot be written: %s: %s", type(failure).__name__, failure
            )
            error = AuditError(f"{type(failure).__name__}: {failure}")
            self._failed_at = time.monotonic()
            count("audit_entries_dropped", by=len(batch))
        else:
            self._failed_at = -math.inf
        for written in futures:
            if not written.set_running_or_notify_cancel():
                continue
            if error is None:
                written.set_result(None)
            else:
                written.set_exception(error)

    def close(self) -> None:
        """Write what waits, within two seconds, and end the thread; it starts again with the next entry."""
        with self._changed:
            if self._is_started:
                self._is_closing = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._is_busy and not self._waiting, timeout=_CLOSING)
