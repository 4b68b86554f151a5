"""The files that a view is made of, read within a bound and looked at for changes.

Easy to get wrong: the clock of a file system. A file that was written within its last tick may be written again
under the same time, so what was read is kept only once its files are older than that.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

#: Each comment is atomic: one that may also end at a later `-->` is tried in exponentially many ways.
_DOCTYPE: Final = re.compile(r"\ufeff?\s*(?:(?><!--.*?-->)\s*)*<!doctype\s+html", re.IGNORECASE | re.DOTALL)
_TICK: Final = 2_000_000_000  # nanoseconds; the times of FAT have two seconds


class DocumentError(Exception):
    """A view has no document. The text is for its author: it may have paths."""


def has_doctype(text: str) -> bool:
    """Whether a text begins as an HTML5 document does: with its doctype, after comments."""
    return _DOCTYPE.match(text) is not None


def check_html(text: str, source: str) -> str:
    """Return the text of a view, if it is an HTML5 document as far as its beginning says so (X-APP-4).

    Args:
        source: what errors call it.

    Raises:
        DocumentError: it is none; the text says what to write.
    """
    if has_doctype(text):
        return text
    raise DocumentError(f'{source} is no HTML document: it must begin with "<!doctype html>"')


class Files:
    """The files that a document was made of.

    Args:
        max_size: most bytes of all together.
    """

    def __init__(self, max_size: int) -> None:
        self._states: dict[Path, tuple[int, int, int]] = {}
        self._max_size = max_size
        self._size = 0

    def read(self, path: Path) -> bytes:
        """Return the bytes of a file.

        Raises:
            DocumentError: it cannot be read, or there are too many bytes.
        """
        try:
            self._states[path] = _state(path)
            with path.open("rb") as file:
                data = file.read(self._max_size + 1 - self._size)
        except FileNotFoundError:
            raise DocumentError(f"there is no file {path}; build the front end first, or mend the path") from None
        except OSError as error:
            raise DocumentError(f"{path} cannot be read: {error.strerror}") from None
        self._size += len(data)
        if self._size > self._max_size:
            raise DocumentError(
                f"{path.name} makes the view larger than {self._max_size} bytes; leave something out, serve "
                "large assets from elsewhere, or raise max_size="
            )
        return data

    def read_text(self, path: Path) -> str:
        """Return the text of a file in UTF-8.

        Raises:
            DocumentError: it cannot be read, is too large or has another encoding.
        """
        try:
            return self.read(path).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise DocumentError(f"{path} is not in UTF-8; save it in UTF-8") from None

    def are_settled(self, now: int) -> bool:
        """Whether a later change of a file can be seen by its time.

        Args:
            now: nanoseconds since the epoch.
        """
        return all(now - modified > _TICK for modified, _, _ in self._states.values())

    def are_unchanged(self) -> bool:
        """Whether all files are as they were when they were read."""
        try:
            return all(_state(path) == state for path, state in self._states.items())
        except OSError:
            return False


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino
