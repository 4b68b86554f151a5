"""The process's standard descriptors, reserved for the protocol; differences between platforms are handled here.

While the pipes are claimed, fd 0 reads nothing and fd 1 is stderr, so `print`, native libraries and child
processes cannot write into the protocol or consume its input (R-401, D32). If stderr is a pipe, which a client
need not read, fd 1 and fd 2 lead to `StderrRelay`, whose thread passes on what the reader takes and drops the
excess, so that no writer blocks.

`enfilade run` claims the pipes before it imports the app, and releases them if the app serves HTTP; `run()`
claims them when it is called.

Easy to get wrong: the message of a crash in native code would be lost in the pipe to the thread. So
`faulthandler` writes to the real stderr, with the Python frames that led to the crash.
"""

import atexit
import contextlib
import faulthandler
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from enfilade.transports.processes.line_writer import STDERR_CAPACITY, LineWriter, stderr_writer

_FLUSH_TIMEOUT: Final = 0.5  # seconds that the reader of stderr gets at the end
_READ_SIZE: Final = 64 * 1024  # bytes
_EMPTY_TIMEOUT: Final = 0.3  # seconds in which the relay reads what is in its pipe


class StderrRelay:
    """Replaces fd 1 and 2 by a pipe, and passes on what is written there to a `LineWriter`.

    `print`, native code and child processes write there.

    Args:
        writer: takes what is read.
    """

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer
        writer.start()  # now, because the first output may come from an `atexit` function
        self._read_end, write_end = os.pipe()
        _enlarge(write_end)
        self._real_stderr = os.dup(2)
        for standard in (1, 2):
            os.dup2(write_end, standard)
        os.close(write_end)
        self._thread = threading.Thread(target=self._run, name="enfilade-relay", daemon=True)
        self._thread.start()

    @property
    def real_stderr(self) -> int:
        """The descriptor that was fd 2."""
        return self._real_stderr

    def restore(self, limit: float) -> bool:
        """Point fd 1 and 2 to the real stderr, unless nobody reads it: then every writer would block.

        Args:
            limit: seconds that the reader of stderr gets to take what waits.

        Returns:
            Whether that was done.
        """
        if not self._wait_until_empty() or not self._writer.flush(limit):
            return False
        for standard in (1, 2):
            os.dup2(self._real_stderr, standard)  # which closes the pipe, unless a child process has it too
        self._thread.join(_EMPTY_TIMEOUT)
        self._writer.flush(limit)
        return True

    def _wait_until_empty(self) -> bool:
        """Wait until nothing is left in the pipe; return False if it is filled faster than it is read."""
        deadline = time.monotonic() + _EMPTY_TIMEOUT
        while time.monotonic() < deadline:
            if sys.platform == "win32" or not select.select([self._read_end], [], [], 0)[0]:
                return True
            time.sleep(0.005)
        return False

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(self._read_end, _READ_SIZE):
                self._writer.put(chunk)


class ProtocolPipes:
    """Stdin and stdout under descriptors that nothing else in the process knows, until `release`.

    A terminal stays stdin until `take_input`, so that a debugger works while an app is imported.

    Raises:
        OSError: the process has no stdin or stdout.
    """

    def __init__(self) -> None:
        _flush(sys.stdout)
        self.outgoing = os.dup(1)
        self._incoming = -1
        self._relay: StderrRelay | None = None
        self._line_buffering = getattr(sys.stdout, "line_buffering", True)
        if not os.isatty(0):
            self.take_input()
        self._redirect()
        _reconfigure(line_buffering=True)
        _set_binary(self.outgoing)

    def take_input(self) -> int:
        """Return stdin under another descriptor, and let fd 0 read nothing."""
        if self._incoming < 0:
            self._incoming = os.dup(0)
            null_device = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null_device, 0)
            os.close(null_device)
            _set_binary(self._incoming)
        return self._incoming

    def _redirect(self) -> None:
        try:
            mode = os.fstat(2).st_mode
        except OSError:  # there is no stderr
            null_device = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null_device, 1)
            os.close(null_device)
            return
        writer = stderr_writer()
        if writer is not None and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            self._relay = StderrRelay(writer)
            atexit.register(self.restore_stderr)
        else:
            os.dup2(2, 1)

    def show_crashes(self) -> None:
        """Write the message of a crash in native code to the real stderr."""
        if self._relay is not None:
            faulthandler.enable(file=self._relay.real_stderr)

    def restore_stderr(self) -> None:
        """Point fd 1 and 2 to the real stderr, unless nobody reads it."""
        if self._relay is None:
            return
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        if self._relay.restore(_FLUSH_TIMEOUT):
            if faulthandler.is_enabled():
                faulthandler.enable(file=2)
            self._relay = None

    def release(self) -> None:
        """Restore all descriptors."""
        self.restore_stderr()
        _flush(sys.stdout)
        _reconfigure(line_buffering=self._line_buffering)
        os.dup2(self.outgoing, 1)
        os.close(self.outgoing)
        if self._incoming >= 0:
            os.dup2(self._incoming, 0)
            os.close(self._incoming)


_claimed: ProtocolPipes | None = None


def claim_pipes() -> None:
    """Reserve stdin and stdout for the protocol, before it is known whether the app serves over stdio.

    Raises:
        OSError: the process has no stdin or stdout.
    """
    global _claimed  # noqa: PLW0603 - a process has one stdin
    if _claimed is None:
        _claimed = ProtocolPipes()


def release_pipes() -> None:
    """Restore stdin and stdout, as the app does not serve over stdio."""
    global _claimed  # noqa: PLW0603
    if _claimed is not None:
        _claimed.release()
        _claimed = None


@contextmanager
def private_pipes() -> Iterator[tuple[int, int]]:
    """Yield stdin and stdout of the protocol; restore them at the end, unless they had been claimed before.

    Raises:
        OSError: the process has no stdin or stdout.
    """
    was_claimed = _claimed is not None
    claim_pipes()
    assert _claimed is not None
    _claimed.show_crashes()
    try:
        yield _claimed.take_input(), _claimed.outgoing
    finally:
        if not was_claimed:
            release_pipes()


def is_hung_up(descriptor: int) -> bool:
    """Whether nobody can write to a pipe or socket any more, so that its input ends after what is buffered.

    Always False where the platform cannot tell.
    """
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(descriptor, getattr(select, "POLLRDHUP", 0))
    hang_up = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)
    return any(event & hang_up for _, event in poll.poll(0))


def _flush(stream: Any) -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, it is closed, or it is broken
        stream.flush()


def _reconfigure(**options: bool) -> None:
    with contextlib.suppress(AttributeError, ValueError):  # it is not an `io.TextIOWrapper`, or it is closed
        sys.stdout.reconfigure(**options)  # type: ignore[union-attr]  # as io.TextIOWrapper has it


def _enlarge(descriptor: int) -> None:
    """Let a pipe hold what native code writes while it holds the GIL, so that the relay cannot read."""
    try:
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, STDERR_CAPACITY)
    except (ImportError, AttributeError, OSError):  # only Linux can, and not above the user's limit
        return


def _set_binary(descriptor: int) -> None:
    """Keep Windows from translating line ends; elsewhere there is nothing to do."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(descriptor, os.O_BINARY)
