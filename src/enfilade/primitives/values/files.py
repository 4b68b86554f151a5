"""Files and directories of this machine as resources.

Their contents are read when a client asks, in a worker thread, so that it gets what is there now.

Easy to get wrong: whose file it is. What is asked for is a path that a stranger wrote; what is read is only a
regular file below the directory, after every symbolic link on the way was followed. Hidden files (`.env`, `.git`)
are not there unless their author says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from msgspec import UNSET

from enfilade.primitives.errors import ResourceError, ResourceNotFound
from enfilade.primitives.values.json_encoding import clean
from enfilade.primitives.values.media import contents_of_bytes, guess_mime_type, sniff_mime_type
from enfilade.wire.content import ResourceContents
from enfilade.wire.resources import Resource

#: Largest file that is read, in bytes, and most files of a directory that are listed.
MAX_SIZE: Final = 16 * 1024 * 1024
MOST_LISTED: Final = 1000


def file_reader(uri: str, path: Path, mime_type: str | None, max_size: int) -> Callable[[], ResourceContents]:
    """Return the function that reads a file as the contents of a resource."""

    def read() -> ResourceContents:
        return _contents(path, uri, mime_type, max_size)

    return read


def size_of(path: Path) -> int | None:
    """Return the present size of a file in bytes; None if it cannot be seen."""
    try:
        return path.stat().st_size
    except OSError:
        return None


class Directory:
    """The files below one directory.

    Args:
        prefix: what the URIs of its files begin with.
        root: the directory.
        hidden: whether names that begin with a dot count.
        max_size: largest file that is read, in bytes.
        limit: most files that are listed; the others can still be read.

    Raises:
        ValueError: it is no directory.
    """

    def __init__(self, prefix: str, root: Path, *, hidden: bool, max_size: int, limit: int) -> None:
        if not root.is_dir():
            raise ValueError(f"{root} is no directory")
        self._prefix = prefix if prefix.endswith("/") else f"{prefix}/"
        self._root = root.resolve()
        self._hidden = hidden
        self._max_size = max_size
        self._limit = limit

    @property
    def uri_template(self) -> str:
        """The template of its files' URIs."""
        return f"{self._prefix}{{+path}}"

    def read(self, path: str) -> ResourceContents:
        """Return what a file holds.

        Args:
            path: below the directory, with `/` between its parts.

        Raises:
            ResourceNotFound: there is no such file, or it is none of those that may be read.
            ResourceError: it cannot be read, or is too large.
        """
        found = self._find(path)
        if found is None:
            raise ResourceNotFound
        return _contents(found, self._uri(path), None, self._max_size)

    def listed(self) -> list[Resource]:
        """Return the definitions of its files, in the order of their paths."""
        found: list[Resource] = []
        for path in self._paths():
            if len(found) == self._limit:
                break
            relative = path.relative_to(self._root).as_posix()
            file = self._find(relative)
            size = None if file is None else size_of(file)
            if size is not None:
                found.append(
                    Resource(
                        uri=self._uri(relative),
                        name=relative,
                        mime_type=guess_mime_type(path.name) or UNSET,
                        size=size,
                    )
                )
        return found

    def suggest(self, value: str) -> list[str]:
        """Return the paths that go on from what was typed."""
        return [each.name for each in self.listed() if each.name.startswith(value)]

    def _find(self, path: str) -> Path | None:
        parts = path.split("/")
        if any(self._is_closed(part) for part in parts):
            return None
        try:
            found = self._root.joinpath(*parts).resolve(strict=True)
            inside = found.is_relative_to(self._root) and found.is_file()
        except (OSError, ValueError, RuntimeError):  # not there, not a name, or links in a circle
            return None
        # A link may have led to a place that has no open way to it.
        if not inside or any(map(self._is_closed, found.relative_to(self._root).parts)):
            return None
        return found

    def _is_closed(self, part: str) -> bool:
        """Return whether one step of a path leads nowhere that clients may go."""
        if part in ("", ".", "..") or "\\" in part or (os.name == "nt" and ":" in part):
            return True
        if clean(part) != part:  # a name that is no text, and so cannot stand in a URI
            return True
        return part.startswith(".") and not self._hidden

    def _paths(self) -> Iterator[Path]:
        for folder, folders, files in os.walk(self._root):
            folders[:] = sorted(name for name in folders if not self._is_closed(name))
            yield from (Path(folder, name) for name in sorted(files) if not self._is_closed(name))

    def _uri(self, relative: str) -> str:
        return self._prefix + quote(relative)


def _contents(path: Path, uri: str, mime_type: str | None, max_size: int) -> ResourceContents:
    try:
        with path.open("rb") as file:
            data = file.read(max_size + 1)
    except FileNotFoundError:
        raise ResourceNotFound from None
    except OSError as error:
        raise ResourceError(f"The file {path.name} cannot be read: {error.strerror}") from error
    if len(data) > max_size:
        raise ResourceError(f"The file {path.name} is larger than {max_size} bytes")
    return contents_of_bytes(data, uri, mime_type or guess_mime_type(path.name) or _guess(data))


def _guess(data: bytes) -> str:
    """Return the media type of a file whose name says nothing."""
    if (found := sniff_mime_type(data)) is not None:
        return found
    try:
        data.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "application/octet-stream" if b"\0" in data else "text/plain"
