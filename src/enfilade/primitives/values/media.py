"""Images, sounds and files that handlers return, and files and directories that are resources.

A file is read when it is needed: when a result is made, or when a client reads a resource (then in a worker
thread). So clients get what the file holds at that time, and a file that is missing by then is an error of that
call.

Easy to get wrong:

- The media type of bytes without a name can only be guessed for formats with a signature; `format=` settles it.
- The path below a directory comes from the client. Only regular files below the directory are read, after every
  symbolic link was followed, and hidden ones (`.env`, `.git`) only if the author allows it.
"""

from __future__ import annotations

import base64
import mimetypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeVar
from urllib.parse import quote

from msgspec import UNSET

from enfilade.primitives.errors import ResourceError, ResourceNotFound, ToolError
from enfilade.primitives.values.json_encoding import clean
from enfilade.wire.content import (
    Annotations,
    AudioContent,
    BlobResourceContents,
    Block,
    EmbeddedResource,
    ImageContent,
    ResourceContents,
    TextResourceContents,
)
from enfilade.wire.resources import Resource

# A table of our own, because that of the operating system differs from machine to machine.
_MIME_BY_SUFFIX: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
    ".bmp": "image/bmp",
    ".avif": "image/avif",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".pdf": "application/pdf",
}
# The offset of a signature in the file, the signature, and the media type.
_SIGNATURES: Final = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"%PDF-", "application/pdf"),
)


_BlockT = TypeVar("_BlockT", bound=Block)


class Media(Generic[_BlockT]):
    """What `Image`, `Audio` and `File` have in common: bytes, from a path or from memory, and their media type.

    Args:
        path: the file to read when the result is made.
        data: the bytes themselves; exactly one of the two is needed.
        format: the format, such as `"png"`; guessed from the name or the bytes by default.
        mime_type: the media type, where neither a guess nor `format` is right.
        annotations: for whom the block is, and how much it matters.

    Raises:
        ValueError: both path and data are there, or neither.
    """

    __slots__ = ("_data", "_mime_type", "_path", "annotations")

    _family: ClassVar = "application"  # the first half of media types made of an unknown `format`
    _fallback: ClassVar = "application/octet-stream"  # the media type where nothing tells it
    _block: ClassVar[Callable[..., Any]]  # makes the content block

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        data: bytes | None = None,
        format: str | None = None,  # noqa: A002 - the name that imaging libraries use
        mime_type: str | None = None,
        annotations: Annotations | None = None,
    ) -> None:
        if (path is None) == (data is None):
            raise ValueError(f"{type(self).__name__} takes either a path or data=")
        self._path = None if path is None else Path(path)
        self._data = data
        self._mime_type = mime_type or (self._mime_type_of(format) if format else None)
        self.annotations = annotations

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            ToolError: the file cannot be read; names the file but not where it is.
        """
        if self._path is None:
            return self._data or b""
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise ToolError(f"The file {self._path.name} cannot be read: {error.strerror}") from error

    def mime_type(self, data: bytes) -> str:
        """Return the media type: as declared, by the file's name, or by the signature in its bytes."""
        if self._mime_type:
            return self._mime_type
        guess = guess_mime_type(self._path.name) if self._path is not None else None
        return guess or sniff_mime_type(data) or self._fallback

    def to_block(self) -> _BlockT:
        """Return the content block, reading the file if there is one.

        Raises:
            ToolError: the file cannot be read.
        """
        data = self.read()
        block: _BlockT = type(self)._block(
            data=_base64(data), mime_type=self.mime_type(data), annotations=self.annotations or UNSET
        )
        return block

    def to_contents(self, uri: str) -> TextResourceContents | BlobResourceContents:
        """Return the contents of a resource of this URI, reading the file if there is one."""
        data = self.read()
        return contents_of_bytes(data, uri, self.mime_type(data))

    def _mime_type_of(self, name: str) -> str:
        return _MIME_BY_SUFFIX.get(f".{name.lower().lstrip('.')}") or f"{self._family}/{name.lower()}"


class Image(Media[ImageContent]):
    """A picture, sent as an `image` block; PNG where nothing tells the format.

    Its arguments are `path` or `data=`, `format=`, `mime_type=` and `annotations=`; see `Media`.
    """

    __slots__ = ()
    _family, _fallback, _block = "image", "image/png", ImageContent


class Audio(Media[AudioContent]):
    """A sound, sent as an `audio` block; WAV where nothing tells the format.

    Its arguments are `path` or `data=`, `format=`, `mime_type=` and `annotations=`; see `Media`.
    """

    __slots__ = ()
    _family, _fallback, _block = "audio", "audio/wav", AudioContent


class File(Media[EmbeddedResource]):
    """Any file, sent as an embedded resource: text where it is text, base64 otherwise.

    Args:
        path: the file, read when the result is made.
        data: the bytes themselves; exactly one of the two is needed.
        format: such as `"csv"`; guessed from the name or the bytes by default.
        mime_type: the media type, where neither a guess nor `format` is right.
        annotations: for whom it is, and how much it matters.
        name: what clients call it; the path's own name by default.
        uri: its URI, `file:///name` by default, which does not show the directory.

    Raises:
        ValueError: both path and data are there, or neither.
    """

    __slots__ = ("_name", "_uri")

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        data: bytes | None = None,
        format: str | None = None,  # noqa: A002 - as above
        mime_type: str | None = None,
        name: str | None = None,
        uri: str | None = None,
        annotations: Annotations | None = None,
    ) -> None:
        super().__init__(path, data=data, format=format, mime_type=mime_type, annotations=annotations)
        extension = f".{format.lower()}" if format else ""
        self._name = name or (self._path.name if self._path else f"file{extension}")
        self._uri = uri

    def to_block(self) -> EmbeddedResource:
        """Return the content block, reading the file if there is one."""
        contents = self.to_contents(f"file:///{quote(self._name)}")
        return EmbeddedResource(resource=contents, annotations=self.annotations or UNSET)

    def to_contents(self, uri: str) -> TextResourceContents | BlobResourceContents:
        """Return the contents of a resource that is this file, under the file's own URI if it has one."""
        return super().to_contents(self._uri or uri)


def contents_of_bytes(data: bytes, uri: str, mime_type: str) -> TextResourceContents | BlobResourceContents:
    """Return contents of a resource: text if the media type and the bytes allow it, base64 otherwise."""
    try:
        if not _is_text(mime_type):
            raise UnicodeError
        return TextResourceContents(uri=uri, mime_type=mime_type, text=data.decode())
    except UnicodeError:
        return BlobResourceContents(uri=uri, mime_type=mime_type, blob=_base64(data))


def guess_mime_type(name: str) -> str | None:
    """Return the media type for the suffix of a name; None if it is unknown."""
    return _MIME_BY_SUFFIX.get(Path(name).suffix.lower()) or mimetypes.guess_type(name)[0]


def sniff_mime_type(data: bytes) -> str | None:
    """Return the media type by the signature of the bytes; None if it is unknown."""
    for offset, signature, guess in _SIGNATURES:
        if data.startswith(signature, offset):
            return guess
    return None


def _is_text(mime_type: str) -> bool:
    return mime_type.startswith("text/") or mime_type.endswith(("json", "xml", "javascript", "yaml"))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# -- files and directories as resources ------------------------------------------------------------------------
#: Largest file that is read, in bytes, and most files of a directory that are listed.
MAX_SIZE: Final = 16 * 1024 * 1024
MOST_LISTED: Final = 1000


def file_reader(uri: str, path: Path, mime_type: str | None, max_size: int) -> Callable[[], ResourceContents]:
    """Return the function that reads a file as the contents of a resource."""

    def read() -> ResourceContents:
        return _file_contents(path, uri, mime_type, max_size)

    return read


def size_of(path: Path) -> int | None:
    """Return the current size of a file in bytes; None if it cannot be read."""
    try:
        return path.stat().st_size
    except OSError:
        return None


class Directory:
    """The files below one directory.

    Args:
        prefix: what the URIs of its files begin with.
        root: the directory.
        hidden: whether names that begin with a dot are included.
        max_size: largest file that is read, in bytes.
        limit: most files that are listed; the others can still be read.

    Raises:
        ValueError: the root is not a directory.
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
        """Return the contents of a file.

        Args:
            path: below the directory, with `/` between its parts.

        Raises:
            ResourceNotFound: there is no such file, or it may not be read.
            ResourceError: it cannot be read, or is too large.
        """
        file = self._find(path)
        if file is None:
            raise ResourceNotFound
        return _file_contents(file, self._uri(path), None, self._max_size)

    def definitions(self) -> list[Resource]:
        """Return the definitions of its files, in the order of their paths."""
        resources: list[Resource] = []
        for path in self._paths():
            if len(resources) == self._limit:
                break
            relative = path.relative_to(self._root).as_posix()
            file = self._find(relative)
            size = None if file is None else size_of(file)
            if size is not None:
                resources.append(
                    Resource(
                        uri=self._uri(relative),
                        name=relative,
                        mime_type=guess_mime_type(path.name) or UNSET,
                        size=size,
                    )
                )
        return resources

    def suggest(self, value: str) -> list[str]:
        """Return the paths that begin with a value."""
        return [resource.name for resource in self.definitions() if resource.name.startswith(value)]

    def _find(self, path: str) -> Path | None:
        parts = path.split("/")
        if any(self._is_closed(name) for name in parts):
            return None
        try:
            resolved = self._root.joinpath(*parts).resolve(strict=True)
            inside = resolved.is_relative_to(self._root) and resolved.is_file()
        except (OSError, ValueError, RuntimeError):  # not there, not a name, or links in a circle
            return None
        # A link may have led to a path with a name that is not allowed.
        if not inside or any(map(self._is_closed, resolved.relative_to(self._root).parts)):
            return None
        return resolved

    def _is_closed(self, name: str) -> bool:
        """Return whether a name in a path is not allowed."""
        if name in ("", ".", "..") or "\\" in name or (os.name == "nt" and ":" in name):
            return True
        if clean(name) != name:  # not valid text, so it cannot be in a URI
            return True
        return name.startswith(".") and not self._hidden

    def _paths(self) -> Iterator[Path]:
        for folder, folders, files in os.walk(self._root):
            folders[:] = sorted(name for name in folders if not self._is_closed(name))
            yield from (Path(folder, name) for name in sorted(files) if not self._is_closed(name))

    def _uri(self, relative: str) -> str:
        return self._prefix + quote(relative)


def _file_contents(path: Path, uri: str, mime_type: str | None, max_size: int) -> ResourceContents:
    try:
        with path.open("rb") as file:
            data = file.read(max_size + 1)
    except FileNotFoundError:
        raise ResourceNotFound from None
    except OSError as error:
        raise ResourceError(f"The file {path.name} cannot be read: {error.strerror}") from error
    if len(data) > max_size:
        raise ResourceError(f"The file {path.name} is larger than {max_size} bytes")
    return contents_of_bytes(data, uri, mime_type or guess_mime_type(path.name) or _mime_type_of_bytes(data))


def _mime_type_of_bytes(data: bytes) -> str:
    """Return the media type of a file by its bytes alone."""
    if (mime_type := sniff_mime_type(data)) is not None:
        return mime_type
    try:
        data.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "application/octet-stream" if b"\0" in data else "text/plain"
