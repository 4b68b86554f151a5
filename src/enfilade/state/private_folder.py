"""A folder for what the processes of one server share: where nothing cleans up, and gone when they are.

It lies in the user's folder for state, not in the temporary one, which many systems sweep. Every process that
uses it holds a shared lock on a file in it, and the system lets go of that lock however a process ends. So a
folder whose lock can be had is a leftover, of a server that was killed, and whoever starts or ends next removes
it. No process ids are compared, which may be in use again.

The easy thing to get wrong is a folder that is just being made: it has no lock yet. So folders are made and
removed under a lock that all servers of this user share.
"""

import contextlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import util
from pathlib import Path
from typing import Final

_NAME: Final = "enfilade"
_PREFIX: Final = "workers-"
_LOCK: Final = "lock"

#: Seconds for which the lock of all servers is waited for. It is held for moments only.
_PATIENCE: Final = 5.0

#: Seconds after which a folder without a lock is a leftover, where there is no lock of all servers.
_YOUNG: Final = 3600.0

#: Locks that this process holds for as long as it lives, by the folder.
_held: dict[Path, int] = {}


def places() -> list[Path]:
    """Return where such folders may lie, the best first."""
    home = Path("~").expanduser()
    found: list[Path] = []
    if sys.platform == "win32":
        found.append(Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / _NAME)
    elif sys.platform == "darwin":
        found.append(home / "Library" / "Application Support" / _NAME)
    else:
        state = os.environ.get("XDG_STATE_HOME", "")
        found.append(Path(state if os.path.isabs(state) else home / ".local" / "state") / _NAME)
        # Second, since it may go when its user logs out, whatever is still running.
        if os.path.isabs(runtime := os.environ.get("XDG_RUNTIME_DIR", "")) and os.path.isdir(runtime):
            found.append(Path(runtime) / _NAME)
    owner = "" if sys.platform == "win32" else f"-{os.getuid()}"
    return [*found, Path(tempfile.gettempdir()) / f"{_NAME}{owner}"]


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder that only this user can read, and remove it in the end, with leftovers of others.

    Raises:
        OSError: there is no place for it.
    """
    folder = _made()
    try:
        yield folder
    finally:
        leave(folder)


def hold(folder: Path) -> None:
    """Keep a folder that another process has made for as long as this process lives."""
    _held[folder] = _locked(folder / _LOCK)
    util.Finalize(None, leave, args=(folder,), exitpriority=0)


def leave(folder: Path) -> None:
    """Hold a folder no longer; the last process that leaves it removes it."""
    descriptor = _held.pop(folder, None)
    if descriptor is not None:
        os.close(descriptor)
    with contextlib.suppress(OSError), _alone(folder.parent):
        _remove_leftovers(folder.parent)


def _made() -> Path:
    failure: OSError | None = None
    for place in places():
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_ours(place)
            with _alone(place):
                _remove_leftovers(place)
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
                _held[folder] = _locked(folder / _LOCK)
            return folder
        except OSError as error:
            failure = failure or error
    raise failure or OSError("there is no place for a private folder")


def _check_ours(place: Path) -> None:
    """Refuse a folder in which others can put or replace something."""
    if sys.platform != "win32":
        found = place.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise PermissionError(f"{place} is not this user's alone")


def _remove_leftovers(place: Path) -> None:
    """Remove the folders that nobody holds; to be called under the lock of all servers."""
    for folder in place.glob(f"{_PREFIX}*"):
        if _is_left(folder):
            shutil.rmtree(folder, ignore_errors=True)


if sys.platform == "win32":

    def _locked(file: Path) -> int:
        """Open a file, which nobody can delete before it is closed."""
        return os.open(file, os.O_CREAT | os.O_RDWR)

    @contextlib.contextmanager
    def _alone(place: Path) -> Iterator[None]:
        """Do nothing: nobody can delete there what somebody has open."""
        yield

    def _is_left(folder: Path) -> bool:
        try:
            (folder / _LOCK).unlink()
        except FileNotFoundError:
            return time.time() - folder.stat().st_mtime > _YOUNG
        except OSError:
            return False
        return True

else:
    import fcntl

    def _locked(file: Path) -> int:
        """Take a share of the lock on a file.

        Raises:
            OSError: it is being removed, or cannot be locked.
        """
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    @contextlib.contextmanager
    def _alone(place: Path) -> Iterator[None]:
        """Keep other servers of this user from making and removing folders here.

        Raises:
            OSError: another one has done so for too long.
        """
        descriptor = os.open(place / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            end = time.monotonic() + _PATIENCE
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.01)
            yield
        finally:
            os.close(descriptor)

    def _is_left(folder: Path) -> bool:
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True  # whoever made it was killed before it was locked
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True
