"""Noticing that source files have changed, for `--reload`.

The modification times of the files are read twice a second. That costs a few milliseconds for a project of some
hundred files, and works on every kind of file system. Easy to get wrong: environments and other folders of
thousands of files that nobody edits must be skipped.
"""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_POLL_INTERVAL: Final = 0.5  # seconds between scans
_SKIPPED: Final = {"__pycache__", "node_modules", "site-packages", "build", "dist"}


def watched_folder(file: Path) -> Path:
    """Return the folder to watch for a file: the nearest one with a `pyproject.toml`, or else the file's own."""
    for folder in file.resolve().parents:
        if (folder / "pyproject.toml").is_file():
            return folder
    return file.resolve().parent


def watch_files(
    folder: Path, on_change: Callable[[Sequence[str]], object], stopped: threading.Event
) -> threading.Thread:
    """Start a thread that calls back whenever a Python file below a folder was written, added or removed.

    Args:
        folder: what to watch.
        on_change: called in that thread, with the paths of the files.
        stopped: set it to end the thread.
    """
    previous = _modification_times(folder)

    def poll() -> None:
        nonlocal previous
        while not stopped.wait(_POLL_INTERVAL):
            current = _modification_times(folder)
            if current != previous:
                changed = sorted({file for file, _ in current.items() ^ previous.items()})
                previous = current
                on_change(changed)

    thread = threading.Thread(target=poll, name="enfilade-reload", daemon=True)
    thread.start()
    return thread


def _modification_times(root: Path) -> dict[str, int]:
    """Return the modification time of each Python file in nanoseconds, without files that vanish meanwhile."""
    times: dict[str, int] = {}
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not _is_skipped(folder, name)]
        for name in names:
            if name.endswith(".py"):
                file = os.path.join(folder, name)
                try:
                    times[file] = os.stat(file).st_mtime_ns
                except OSError:
                    continue
    return times


def _is_skipped(folder: str, name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED or os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
