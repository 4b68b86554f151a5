"""Which process this is, and whether another one on the same machine still runs.

The one place for what differs between operating systems here. The easy thing to get wrong is a number that means
another process: process ids are counted per machine, start-up and (on Linux) namespace, so all of these are part
of the place, and where a place cannot be told apart from others nothing is said.
"""

import os
import platform
import sys
from functools import cache
from pathlib import Path


@cache
def place() -> str:
    """Return what two processes have in common if and only if they see each other's process ids."""
    parts = [sys.platform, platform.node()]
    if sys.platform == "linux":
        for file in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
            try:
                parts.append(os.readlink(file) if file.endswith("pid") else Path(file).read_text().strip())
            except OSError:
                return ""
    return "|".join(parts)


def is_gone(where: str, pid: int) -> bool:
    """Whether it is certain that a process does not run any more; False wherever that cannot be known."""
    if sys.platform == "win32" or not where or where != place():
        return False  # on Windows os.kill() ends a process instead of asking for it
    if pid == os.getpid():
        return True  # whoever had this number before us
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
