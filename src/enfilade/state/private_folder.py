"""A folder shared by the processes of one server, removed when the last of them ends.

It is in the user's folder for state, because many systems clean the temporary one. Every process that uses it
holds a shared lock on a file in it, and the operating system releases that lock however a process ends. So a
folder whose lock is free belongs to a server that was killed; the next server that starts or ends removes it. No
process ids are compared, as they are reused.

The easy thing to get wrong is a folder that is being created and has no lock yet. So folders are created and
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

from enfilade.timings import Timings

_NAME: Final = "enfilade"
_PREFIX: Final = "workers-"
_LOCK: Final = "lock"

#: Seconds after which a folder without a lock is abandoned, where there is no lock shared by all servers.
_ABANDONED_AFTER: Final = 3600.0

#: Descriptors of the locks that this process holds, by folder.
_held: dict[Path, int] = {}


def candidate_folders() -> list[Path]:
    """Return the folders in which private folders may be created, the best first."""
    home = Path("~").expanduser()
    candidates: list[Path] = []
    if sys.platform == "win32":
        candidates.append(Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / _NAME)
    elif sys.platform == "darwin":
        candidates.append(home / "Library" / "Application Support" / _NAME)
    else:
        state = os.environ.get("XDG_STATE_HOME", "")
        candidates.append(Path(state if os.path.isabs(state) else home / ".local" / "state") / _NAME)
        # Second, since it may be removed when the user logs out, while servers are still running.
        if os.path.isabs(runtime := os.environ.get("XDG_RUNTIME_DIR", "")) and os.path.isdir(runtime):
            candidates.append(Path(runtime) / _NAME)
    owner = "" if sys.platform == "win32" else f"-{os.getuid()}"
    return [*candidates, Path(tempfile.gettempdir()) / f"{_NAME}{owner}"]


@contextlib.contextmanager
def private_folder(timings: Timings = Timings()) -> Iterator[Path]:
    """Create a folder that only this user can read, and remove it at the end, with abandoned ones.

    Raises:
        OSError: it cannot be created anywhere.
    """
    folder = _create(timings.folder_lock_wait)
    try:
        yield folder
    finally:
        release(folder, timings)


def hold(folder: Path, timings: Timings = Timings()) -> None:
    """Hold a folder created by another process until this process ends."""
    _held[folder] = _locked(folder / _LOCK)
    util.Finalize(None, release, args=(folder, timings), exitpriority=0)


def release(folder: Path, timings: Timings) -> None:
    """Release a folder; the last process that does so removes it."""
    descriptor = _held.pop(folder, None)
    if descriptor is not None:
        os.close(descriptor)
    with contextlib.suppress(OSError), _exclusive(folder.parent, timings.folder_lock_wait):
        _remove_abandoned(folder.parent)


def _create(wait: float) -> Path:
    failure: OSError | None = None
    for parent in candidate_folders():
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_ours(parent)
            with _exclusive(parent, wait):
                _remove_abandoned(parent)
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
                _held[folder] = _locked(folder / _LOCK)
            return folder
        except OSError as error:
            failure = failure or error
    raise failure or OSError("no private folder can be created")


def _check_ours(parent: Path) -> None:
    """Refuse a folder in which other users can create or replace files."""
    if sys.platform != "win32":
        status = parent.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(f"{parent} can be changed by other users")


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders that no process holds; called under the lock of all servers."""
    for folder in parent.glob(f"{_PREFIX}*"):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


if sys.platform == "win32":

    def _locked(file: Path) -> int:
        """Open a file; no process can delete it before it is closed."""
        return os.open(file, os.O_CREAT | os.O_RDWR)

    @contextlib.contextmanager
    def _exclusive(parent: Path, wait: float) -> Iterator[None]:
        """Do nothing: on Windows no process can delete an open file."""
        yield

    def _is_abandoned(folder: Path) -> bool:
        try:
            (folder / _LOCK).unlink()
        except FileNotFoundError:
            return time.time() - folder.stat().st_mtime > _ABANDONED_AFTER
        except OSError:
            return False
        return True

else:
    import fcntl

    def _locked(file: Path) -> int:
        """Take the shared lock on a file.

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
    def _exclusive(parent: Path, wait: float) -> Iterator[None]:
        """Prevent other servers of this user from creating and removing folders here.

        Raises:
            OSError: another server has held the lock for longer than `Timings.folder_lock_wait`.
        """
        descriptor = os.open(parent / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            end = time.monotonic() + wait
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

    def _is_abandoned(folder: Path) -> bool:
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True  # its creator was killed before locking it
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True
