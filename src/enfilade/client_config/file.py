"""A file that belongs to another program: read, and replaced as a whole or not at all.

    read ─▶ (somebody else may write) ─▶ is it still the same? ─▶ copy beside it ─▶ new file, synced ─▶ replace

The easy thing to get wrong is what a replacement loses: a symlink that leads elsewhere, the mode, the owner.
"""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

import msgspec

from enfilade.client_config.errors import ClientFileError


class ClientFile(msgspec.Struct, frozen=True):
    """A file as it was when it was read.

    Attributes:
        path: its name, perhaps a symlink.
        before: its bytes; None if it did not exist.
    """

    path: Path
    before: bytes | None

    @property
    def target(self) -> Path:
        """The file behind the name."""
        return Path(os.path.realpath(self.path))

    def write(self, after: bytes) -> Path | None:
        """Replace the file, and return the copy of what it was, if it was there.

        Raises:
            ClientFileError: it cannot be written, or is not what it was when it was read.
        """
        try:
            return self._replace(after)
        except OSError as error:
            raise ClientFileError(
                f"{self.path} cannot be written: {error.strerror or error}; it is as it was"
            ) from None

    def _replace(self, after: bytes) -> Path | None:
        target = self.target
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # of mode 600
        try:
            with os.fdopen(handle, "wb") as new:
                new.write(after)
                new.flush()
                os.fsync(new.fileno())
            copy = None if self.before is None else self._keep(target, Path(name), self.before)
            if read(self.path).before != self.before:
                if copy is not None:
                    copy.unlink()
                raise ClientFileError(
                    f"{self.path} was changed by somebody else just now; look at it and try again"
                )
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        _sync(target.parent)
        return copy

    def _keep(self, target: Path, new: Path, before: bytes) -> Path:
        """Give a new file what the old one has, and return a copy of the old one."""
        old = target.stat()
        number = 0
        while True:
            copy = target.with_name(f"{target.name}.bak{f'.{number}' if number else ''}")
            try:
                handle = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            except FileExistsError:
                number += 1
                continue
            with os.fdopen(handle, "wb") as file:
                file.write(before)
            break
        for each in (new, copy):
            if hasattr(os, "chown"):
                with contextlib.suppress(OSError):  # only root may give files away
                    os.chown(each, old.st_uid, old.st_gid)
            os.chmod(each, stat.S_IMODE(old.st_mode))
        return copy


def read(path: Path) -> ClientFile:
    """Return a file as it is.

    Raises:
        ClientFileError: it is there and cannot be read.
    """
    try:
        return ClientFile(path, path.read_bytes())
    except FileNotFoundError:
        return ClientFile(path, None)
    except OSError as error:
        raise ClientFileError(f"{path} cannot be read: {error.strerror or error}") from None


def _sync(folder: Path) -> None:
    """Make the names in a folder last, where a folder can be opened for that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
