"""The process's standard descriptors, taken for the protocol alone; what differs between platforms is in here.

While the pipes are claimed, fd 0 reads nothing and fd 1 is stderr, so `print`, native libraries and child
processes cannot write into the protocol or eat its input (R-401, D32). If stderr is a pipe, which a client need
not read, fd 1 and fd 2 lead to a thread that passes on what its reader takes and drops what is too much, so that
no writer waits.

`enfilade run` claims them before it imports the app, and gives them back if that serves http; `run()` claims them
when it is called.

Easy to get wrong: what native code says when it crashes would be lost in the pipe to the thread. So
`faulthandler` writes to the real stderr, with the Python frames that led to the crash.
"""

import atexit
import contextlib
import faulthandler
import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from enfilade.transports.processes.stderr import Relay, stderr_writer

_FLUSH: Final = 0.5  # seconds that a reader of stderr gets at the end


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
        self._relay: Relay | None = None
        self._by_line = getattr(sys.stdout, "line_buffering", True)
        if not os.isatty(0):
            self.take_input()
        self._redirect()
        _reconfigure(line_buffering=True)
        _binary(self.outgoing)

    def take_input(self) -> int:
        """Return stdin under another descriptor, and let fd 0 read nothing."""
        if self._incoming < 0:
            self._incoming = os.dup(0)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
            _binary(self._incoming)
        return self._incoming

    def _redirect(self) -> None:
        try:
            kind = os.fstat(2).st_mode
        except OSError:  # there is no stderr
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.close(nothing)
            return
        writer = stderr_writer()
        if writer is not None and (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
            self._relay = Relay(writer)
            atexit.register(self.restore_stderr)
        else:
            os.dup2(2, 1)

    def show_crashes(self) -> None:
        """Let a crash of native code be told on the real stderr."""
        if self._relay is not None:
            faulthandler.enable(file=self._relay.real)

    def restore_stderr(self) -> None:
        """Let fd 2 be what it was, and fd 1 the same, unless nobody reads there."""
        if self._relay is None:
            return
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        if self._relay.restore(_FLUSH):
            if faulthandler.is_enabled():
                faulthandler.enable(file=2)
            self._relay = None

    def release(self) -> None:
        """Let all be as it was before."""
        self.restore_stderr()
        _flush(sys.stdout)
        _reconfigure(line_buffering=self._by_line)
        os.dup2(self.outgoing, 1)
        os.close(self.outgoing)
        if self._incoming >= 0:
            os.dup2(self._incoming, 0)
            os.close(self._incoming)


_claimed: ProtocolPipes | None = None


def claim_pipes() -> None:
    """Take stdin and stdout for the protocol, before it is known whether it is spoken there.

    Raises:
        OSError: the process has no stdin or stdout.
    """
    global _claimed  # noqa: PLW0603 - a process has one stdin
    if _claimed is None:
        _claimed = ProtocolPipes()


def release_pipes() -> None:
    """Give them back, as the protocol is not spoken there."""
    global _claimed  # noqa: PLW0603
    if _claimed is not None:
        _claimed.release()
        _claimed = None


@contextmanager
def private_pipes() -> Iterator[tuple[int, int]]:
    """Yield stdin and stdout of the protocol; give them back in the end, unless they were claimed before.

    Raises:
        OSError: the process has no stdin or stdout.
    """
    before = _claimed
    claim_pipes()
    assert _claimed is not None
    _claimed.show_crashes()
    try:
        yield _claimed.take_input(), _claimed.outgoing
    finally:
        if before is None:
            release_pipes()


def hung_up(descriptor: int) -> bool:
    """Whether nobody can write to a pipe or socket any more, so that what can still be read of it has an end.

    Always False where the platform cannot tell.
    """
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(descriptor, getattr(select, "POLLRDHUP", 0))
    gone = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)
    return any(event & gone for _, event in poll.poll(0))


def _flush(stream: Any) -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, it is closed, or it is broken
        stream.flush()


def _reconfigure(**options: bool) -> None:
    with contextlib.suppress(AttributeError, ValueError):  # it is none of Python's own, or it is closed
        sys.stdout.reconfigure(**options)  # type: ignore[union-attr]  # as io.TextIOWrapper has it


def _binary(descriptor: int) -> None:
    """Keep Windows from translating line ends; elsewhere there is nothing to do."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(descriptor, os.O_BINARY)
