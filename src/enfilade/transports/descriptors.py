"""The process's standard descriptors, taken for the protocol alone; what differs between platforms is in here.

While `private_pipes` is open, fd 0 reads nothing and fd 1 is stderr, so `print`, native libraries and child
processes cannot write into the protocol or eat its input (R-401, D32).
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def private_pipes() -> Iterator[tuple[int, int]]:
    """Yield duplicates of stdin and stdout that nothing else in the process knows.

    Raises:
        OSError: the process has no stdin or stdout.
    """
    sys.stdout.flush()
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    _binary(incoming, outgoing)
    _print_by_line()
    try:
        yield incoming, outgoing
    finally:
        sys.stdout.flush()
        os.dup2(incoming, 0)
        os.dup2(outgoing, 1)
        os.close(incoming)
        os.close(outgoing)


def _print_by_line() -> None:
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True)


def _binary(*descriptors: int) -> None:
    """Keep Windows from translating line ends; elsewhere there is nothing to do."""
    if sys.platform == "win32":
        import msvcrt

        for descriptor in descriptors:
            msvcrt.setmode(descriptor, os.O_BINARY)
