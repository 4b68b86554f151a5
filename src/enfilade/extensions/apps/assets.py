"""The files of a built front end: which file a reference names, and its bytes as a data URI.

Easy to get wrong: a path that leads out of the folder. `..` at the top stays at the top, as in a browser, and a
symbolic link that leads out is refused.
"""

from __future__ import annotations

import base64
import posixpath
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from enfilade.extensions.apps.files import DocumentError, Files
from enfilade.primitives.values.media import guess_mime_type

#: Suffixes of what is code or text; scripts name other files as assets.
_CODE: Final = frozenset({".html", ".htm", ".js", ".mjs", ".cjs", ".css", ".map", ".json", ".txt", ".md", ".ts"})
_FONTS: Final = {".woff2": "font/woff2", ".woff": "font/woff", ".ttf": "font/ttf", ".otf": "font/otf"}
_MOST: Final = 1000  # files of a front end


class Source:
    """The files of a front end.

    Args:
        folder: what the build has written.
        entry: the HTML file in it.
        files: reads them, and remembers them.

    Attributes:
        html: the text of the HTML file.

    Raises:
        DocumentError: there is no such folder or file.
    """

    def __init__(self, folder: Path, entry: str, files: Files) -> None:
        if not folder.is_dir():
            raise DocumentError(f"there is no folder {folder}; build the front end first, or mend the path")
        self.folder = folder.resolve()
        self.entry = entry
        self._files = files
        self.html = files.read_text(self.folder / entry)

    def path_of(self, reference: str, beside: str) -> str | None:
        """Return the path of what a reference names, below the folder; None if it is none of its files.

        Args:
            reference: as it is written.
            beside: the path of the file that has it.

        Raises:
            DocumentError: it cannot be a path.
        """
        try:
            address = urlsplit(reference.strip())
        except ValueError:  # such as http://[
            return None
        if address.scheme or address.netloc or not address.path:
            return None
        path = posixpath.normpath(posixpath.join("/", posixpath.dirname(beside), unquote(address.path)))
        if "\\" in path or "\0" in path:
            raise DocumentError(f"{beside}: {reference!r} is no path of a file")
        return path.lstrip("/")

    def has(self, path: str) -> bool:
        """Whether there is such a file, also if its suffix is left out."""
        return any((self.folder / f"{path}{suffix}").is_file() for suffix in ("", ".js", ".mjs"))

    def read(self, path: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            DocumentError: it cannot be read, or leads out of the folder by a link.
        """
        return self._files.read(self._inside(path))

    def text(self, path: str) -> str:
        """Return the text of a file.

        Raises:
            DocumentError: it cannot be read, leads out of the folder, or is not in UTF-8.
        """
        return self._files.read_text(self._inside(path))

    def data_uri(self, path: str, fragment: str = "") -> str:
        """Return a file as a data URI.

        Raises:
            DocumentError: it cannot be read.
        """
        suffix = posixpath.splitext(path)[1].lower()
        kind = _FONTS.get(suffix) or guess_mime_type(path) or "application/octet-stream"
        encoded = base64.b64encode(self.read(path)).decode("ascii")
        return f"data:{kind};base64,{encoded}{fragment and f'#{fragment}'}"

    def spellings_of_media(self) -> dict[str, str]:
        """Return the paths of images, fonts and the like, by how scripts may name them.

        Raises:
            DocumentError: there are too many files for a front end.
        """
        spellings: dict[str, str] = {}
        for count, file in enumerate(self.folder.rglob("*")):
            if count >= _MOST:
                raise DocumentError(
                    f"{self.folder} has more than {_MOST} files; name the folder that the build has written"
                )
            if file.suffix and file.suffix.lower() not in _CODE and file.is_file():
                path = file.relative_to(self.folder).as_posix()
                spellings |= dict.fromkeys((f"/{path}", f"./{path}"), path)
                if "/" in path:
                    spellings[path] = path
        return spellings

    def _inside(self, path: str) -> Path:
        file = (self.folder / path).resolve()
        if not file.is_relative_to(self.folder):
            raise DocumentError(f"{path} leads out of the folder {self.folder}")
        return file
