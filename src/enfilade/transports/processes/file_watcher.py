"""Noticing that source files have changed, for `--reload`.

It looks at the times of the files twice a second; that costs a few milliseconds for a project of some hundred
files, and works on every kind of file system. The easy thing to get wrong is where to look: not into
environments and other folders of thousands of files that nobody edits.
"""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_PAUSE: Final = 0.5  # seconds between two looks
_PASSED_OVER: Final = {"__pycache__", "node_modules", "site-packages", "build", "dist"}


def watched_folder(file: Path) -> Path:
    """Return the folder that counts for a file: the nearest with a `pyproject.toml`, or else its own."""
    for folder in file.resolve().parents:
        if (folder / "pyproject.toml").is_file():
            return folder
    return file.resolve().parent


def on_change(folder: Path, call: Callable[[Sequence[str]], object], ended: threading.Event) -> threading.Thread:
    """Call back, in a thread of its own, whenever a Python file below a folder was written, added or removed.

    Args:
        folder: where to look.
        call: what to do; it is told which files.
        ended: set it to stop looking.
    """
    before = _times(folder)

    def look() -> None:
        nonlocal before
        while not ended.wait(_PAUSE):
            now = _times(folder)
            if now != before:
                changed = sorted({file for file, _ in now.items() ^ before.items()})
                before = now
                call(changed)

    thread = threading.Thread(target=look, name="enfilade-reload", daemon=True)
    thread.start()
    return thread


def _times(folder: Path) -> dict[str, int]:
    """Return when each Python file was last written; a file that vanishes under our eyes is left out."""
    found: dict[str, int] = {}
    for place, inner, files in os.walk(folder):
        inner[:] = [name for name in inner if not _is_passed_over(place, name)]
        for name in files:
            if name.endswith(".py"):
                file = os.path.join(place, name)
                try:
                    found[file] = os.stat(file).st_mtime_ns
                except OSError:
                    continue
    return found


def _is_passed_over(place: str, name: str) -> bool:
    return name.startswith(".") or name in _PASSED_OVER or os.path.exists(os.path.join(place, name, "pyvenv.cfg"))
