"""Folders of skills on disk, read without a way out of them.

Each folder is opened by its name within the one above, and no name is followed that is a symbolic link. So a
folder or file that is replaced by a link between a look and a read is not read (X-SKILL-11). The folder that
the author named may itself be a link: it is followed each time, which lets a deployment replace all skills at
once.

Easy to get wrong: special files. To open a pipe waits for a writer, so files are opened without waiting, and
read only once their type is known. Where the system opens nothing within an open folder, as on Windows, each
name on the way is looked at instead, before and after.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from enfilade.extensions.skills.definition import (
    DEEPEST,
    MOST_BYTES,
    SkillError,
    check_file_name,
    check_size,
    is_left_out,
)

#: Whether files can be opened and listed within an open folder.
_BY_DESCRIPTOR: Final = (
    os.open in os.supports_dir_fd and os.scandir in os.supports_fd and hasattr(os, "O_NOFOLLOW")
)
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_OF_FOLDERS: Final = _FLAGS | getattr(os, "O_DIRECTORY", 0)
_OF_FILES: Final = _FLAGS | getattr(os, "O_NONBLOCK", 0)
_NOT_FOLLOWED: Final = getattr(os, "O_NOFOLLOW", 0)

#: Entries that are looked at in one folder, and folders of one skill.
_MOST_ENTRIES: Final = 20_000
_MOST_FOLDERS: Final = 2_048


class Fingerprint(NamedTuple):
    """What changes with a file: if it is as it was, the file most probably is.

    Attributes:
        size: in bytes.
        modified, changed: times in nanoseconds; on Windows the second is that of its creation.
    """

    device: int
    inode: int
    size: int
    modified: int
    changed: int


class Listing(NamedTuple):
    """All that is in a folder, at each level, by path with `/` between its segments, in order."""

    files: dict[str, Fingerprint]
    folders: list[str]


class OpenFolder:
    """A folder that is open, for the length of a `with` block.

    Raises:
        OSError: there is none.
    """

    def __init__(self, path: str, descriptor: int | None) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def root(cls, path: Path) -> OpenFolder:
        """Open a folder by its path; links on the way are followed."""
        if _BY_DESCRIPTOR:
            return cls(str(path), os.open(path, _OF_FOLDERS))
        if not path.is_dir():
            raise NotADirectoryError(str(path))
        return cls(str(path), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def folder(self, name: str) -> OpenFolder:
        """Open a folder in it.

        Raises:
            OSError: there is none of this name, or it is a link.
        """
        path = os.path.join(self._path, name)
        if self._descriptor is not None:
            flags = _OF_FOLDERS | _NOT_FOLLOWED
            return OpenFolder(path, os.open(name, flags, dir_fd=self._descriptor))
        if kind_of(os.lstat(path)) != "folder":
            raise NotADirectoryError(path)
        return OpenFolder(path, None)

    def at(self, names: Sequence[str]) -> OpenFolder:
        """Open a folder at some depth in it; without names itself once more."""
        if not names:
            copy = None if self._descriptor is None else os.dup(self._descriptor)
            return OpenFolder(self._path, copy)
        with self.folder(names[0]) as folder:
            return folder.at(names[1:])

    def entries(self) -> dict[str, os.stat_result]:
        """Return what is directly in it, by name, in order; without what is no part of a skill.

        Raises:
            OSError: it cannot be read.
            SkillError: there is too much.
        """
        found: dict[str, os.stat_result] = {}
        with os.scandir(self._path if self._descriptor is None else self._descriptor) as entries:
            for count, entry in enumerate(entries):
                if count >= _MOST_ENTRIES:
                    raise SkillError("size", f"a folder has more than {_MOST_ENTRIES} entries; leave some out")
                if is_left_out(entry.name):
                    continue
                try:
                    found[entry.name] = self._status(entry.name)
                except FileNotFoundError:  # it was removed meanwhile
                    continue
        return dict(sorted(found.items()))

    def read(self, path: str) -> tuple[bytes, Fingerprint, bool]:
        """Return the bytes of a file at some depth in it, its fingerprint, and whether it stayed as it was.

        Raises:
            OSError: there is none, or there is a link on the way.
            SkillError: it is no file, or larger than a skill may be.
        """
        *names, name = path.split("/")
        with self.at(names) as folder:
            return folder._read(name)

    def _read(self, name: str) -> tuple[bytes, Fingerprint, bool]:
        path = os.path.join(self._path, name)
        if self._descriptor is None:
            if kind_of(os.lstat(path)) != "file":
                raise SkillError("files", "a file is none any more")
            descriptor = os.open(path, _OF_FILES)
        else:
            descriptor = os.open(name, _OF_FILES | _NOT_FOLLOWED, dir_fd=self._descriptor)
        try:
            before = os.fstat(descriptor)
            if kind_of(before) != "file":
                raise SkillError("files", "a file is none any more")
            with open(descriptor, "rb", closefd=False) as file:  # it would leave that of a folder open
                data = file.read(MOST_BYTES + 1)
            after = fingerprint_of(os.fstat(descriptor))
        finally:
            os.close(descriptor)
        if self._descriptor is None and fingerprint_of(os.lstat(path)) != after:
            raise FileNotFoundError(name)
        check_size(1, len(data))
        return data, after, after == fingerprint_of(before) and len(data) == after.size

    def _status(self, name: str) -> os.stat_result:
        if self._descriptor is None:
            return os.lstat(os.path.join(self._path, name))
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """Return the fingerprint of a file."""
    return Fingerprint(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def kind_of(status: os.stat_result) -> str:
    """Return what something is: `file`, `folder`, `link` (of any kind), or `special`."""
    reparse = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0)
    if stat.S_ISLNK(status.st_mode) or getattr(status, "st_file_attributes", 0) & reparse:
        return "link"
    if stat.S_ISDIR(status.st_mode):
        return "folder"
    return "file" if stat.S_ISREG(status.st_mode) else "special"


def list_skill(folder: OpenFolder) -> Listing:
    """Return all that is in the folder of a skill.

    Raises:
        OSError: it cannot be read.
        SkillError: something in it is no file and no folder, has a name that hosts could not write, or there is
            more than a skill may have.
    """
    listing = Listing({}, [])
    _list_into(listing, folder, "", 0)
    return Listing(dict(sorted(listing.files.items())), sorted(listing.folders))


def _list_into(listing: Listing, folder: OpenFolder, path: str, size: int) -> int:
    """Add what is in a folder; return the bytes of all files so far."""
    if path.count("/") >= DEEPEST or len(listing.folders) >= _MOST_FOLDERS:
        raise SkillError(
            "size", f"more than {DEEPEST} levels of folders or {_MOST_FOLDERS} of them; leave some out"
        )
    listing.folders.append(path)
    for name, status in folder.entries().items():
        check_file_name(name)
        inner, kind = f"{path}/{name}" if path else name, kind_of(status)
        if kind == "folder":
            with folder.folder(name) as below:
                size = _list_into(listing, below, inner, size)
        elif kind == "file":
            listing.files[inner] = fingerprint_of(status)
            size += status.st_size
            check_size(len(listing.files), size)
        else:
            noun = "a symbolic link" if kind == "link" else "a special file"
            raise SkillError("place", f"{inner} is {noun}, which is not followed; put the file itself there")
    return size
