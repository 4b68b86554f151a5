"""Files of one user that nobody else can read, below the user's folder for data.

Easy to get wrong: who can read a file while it is written. It is created for its owner alone and takes its name
when it is complete, so there is no moment at which others could open it, or at which half of it is there.

On Windows the folder is `%LOCALAPPDATA%\\enfilade`, which other users cannot open: files in it inherit that.
"""

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

_NAME: Final = "enfilade"
#: Largest file that is read, in bytes.
_LARGEST: Final = 4 * 1024 * 1024


class UnsafeFileError(Exception):
    """Other users can read or replace a file or a folder; the text says which, and what to do."""


def data_folder() -> Path:
    """Return the folder for data of this user. It may not exist yet."""
    home = Path("~").expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / _NAME
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / _NAME
    data = os.environ.get("XDG_DATA_HOME", "")
    return Path(data if os.path.isabs(data) else home / ".local" / "share") / _NAME


def read_private(path: Path) -> bytes | None:
    """Return the content of a file that is private; None if there is no such file.

    Raises:
        UnsafeFileError: other users can read or change it.
        OSError: it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        _check_private(path, os.fstat(descriptor), 0o077)
        return file.read(_LARGEST)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user can read, whole or not at all; create its folder.

    Raises:
        UnsafeFileError: other users can replace files in its folder.
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_private(path.parent, path.parent.stat(), 0o022)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _check_private(path: Path, status: os.stat_result, forbidden: int) -> None:
    """Check that a file or folder belongs to this user, and that others lack the permissions of a mask."""
    if sys.platform == "win32":
        return  # other users have no access to the folder of this one
    if status.st_uid != os.getuid():
        raise UnsafeFileError(f"{path} belongs to another user: remove it")
    if status.st_mode & forbidden:
        mode = "700" if stat.S_ISDIR(status.st_mode) else "600"
        raise UnsafeFileError(f"other users have access to {path}: chmod {mode} makes it private")
