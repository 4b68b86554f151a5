"""Whether another process on the same machine is still running.

A process id is unique per machine, boot and (on Linux) PID namespace only, so all of these are part of
`process_namespace`; where it cannot be determined, no process is said to be gone.
"""

import os
import platform
import sys
from functools import cache
from pathlib import Path


@cache
def process_namespace() -> str:
    """Return a text that two processes share if and only if they see each other's process ids; "" if unknown."""
    parts = [sys.platform, platform.node()]
    if sys.platform == "linux":
        for file in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
            try:
                parts.append(os.readlink(file) if file.endswith("pid") else Path(file).read_text().strip())
            except OSError:
                return ""
    return "|".join(parts)


def is_gone(namespace: str, pid: int) -> bool:
    """Whether a process has certainly ended; False if that cannot be determined."""
    if sys.platform == "win32" or not namespace or namespace != process_namespace():
        return False  # on Windows os.kill() ends a process instead of probing it
    if pid == os.getpid():
        return True  # an earlier process with the same id
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
