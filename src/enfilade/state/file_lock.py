"""A lock between processes, by a file that holds nothing.

The operating system releases it when its process ends, so no lock is left behind. The file stays: who deletes it
could do so while another process waits for it.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

#: Seconds between two attempts.
_POLL_INTERVAL: Final = 0.05


@contextlib.asynccontextmanager
async def file_lock(path: Path, timeout: float) -> AsyncIterator[bool]:
    """Hold a lock while the block runs, and yield whether it is held.

    It is not held if another process has it for longer than the timeout, or if the file cannot be opened: the
    caller decides whether to go on.

    Args:
        path: the file of the lock; its folder must exist.
        timeout: limit of the wait, in seconds.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError:
        yield False
        return
    try:
        end = time.monotonic() + timeout
        is_held = _try_to_lock(descriptor)
        while not is_held and time.monotonic() < end:
            await asyncio.sleep(_POLL_INTERVAL)  # the operating system has no wait with a limit
            is_held = _try_to_lock(descriptor)
        yield is_held
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _try_to_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_to_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
