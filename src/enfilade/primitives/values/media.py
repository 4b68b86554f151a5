"""Images, sounds and files that a handler returns: from a path or from bytes in memory.

Easy to get wrong: a path is read when the result is made, not when the object is, so that what arrives is
what the file then holds; a file that is missing by then is the tool's error. And the media type of unnamed
bytes can only be guessed for formats with a signature; `format=` settles it.
"""

from __future__ import annotations

import base64
import mimetypes
import os
from pathlib import Path
from typing import Final
from urllib.parse import quote

from msgspec import UNSET

from enfilade.primitives.errors import ToolError
from enfilade.wire.content import (
    Annotations,
    AudioContent,
    BlobResourceContents,
    EmbeddedResource,
    ImageContent,
    TextResourceContents,
)

# Kept here because what the operating system knows differs from machine to machine.
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
# Where the signature stands in the file, what it is, and what it stands for.
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


class Media:
    """What `Image`, `Audio` and `File` have in common.

    Args:
        path: the file to read when the result is made.
        data: the bytes themselves; exactly one of the two is given.
        format: the format, such as `"png"`; guessed from the name or the bytes otherwise.
        mime_type: the media type, where neither guess nor format is right.
        annotations: for whom the block is, and how much it matters.
    """

    __slots__ = ("_data", "_mime_type", "_path", "annotations")

    _family: str = "application"
    _fallback: str = "application/octet-stream"

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
        """Return the media type: as given, by the file's name, or by the signature in its bytes."""
        if self._mime_type:
            return self._mime_type
        guess = guess_mime_type(self._path.name) if self._path is not None else None
        return guess or sniff_mime_type(data) or self._fallback

    def to_contents(self, uri: str) -> TextResourceContents | BlobResourceContents:
        """Return what a resource of this URI holds, reading the file if there is one."""
        data = self.read()
        return contents_of_bytes(data, uri, self.mime_type(data))

    def _mime_type_of(self, name: str) -> str:
        return _MIME_BY_SUFFIX.get(f".{name.lower().lstrip('.')}") or f"{self._family}/{name.lower()}"


class Image(Media):
    """A picture, as an `image` block; PNG where nothing tells the format.

    Args:
        path: the file, read when the result is made.
        data: the bytes themselves; exactly one of the two is given.
        format: such as `"jpeg"`; guessed from the name or the bytes otherwise.
        mime_type: the media type, where neither guess nor format is right.
        annotations: for whom it is, and how much it matters.

    Raises:
        ValueError: path and data are both given, or neither.
    """

    __slots__ = ()
    _family = "image"
    _fallback = "image/png"

    def to_block(self) -> ImageContent:
        """Return the content block, reading the file if there is one."""
        data = self.read()
        return ImageContent(
            data=_base64(data), mime_type=self.mime_type(data), annotations=self.annotations or UNSET
        )


class Audio(Media):
    """A sound, as an `audio` block; WAV where nothing tells the format.

    Args:
        path: the file, read when the result is made.
        data: the bytes themselves; exactly one of the two is given.
        format: such as `"mp3"`; guessed from the name or the bytes otherwise.
        mime_type: the media type, where neither guess nor format is right.
        annotations: for whom it is, and how much it matters.

    Raises:
        ValueError: path and data are both given, or neither.
    """

    __slots__ = ()
    _family = "audio"
    _fallback = "audio/wav"

    def to_block(self) -> AudioContent:
        """Return the content block, reading the file if there is one."""
        data = self.read()
        return AudioContent(
            data=_base64(data), mime_type=self.mime_type(data), annotations=self.annotations or UNSET
        )


class File(Media):
    """Any file, as an embedded resource: text where it is text, base64 otherwise.

    Args:
        path: the file, read when the result is made.
        data: the bytes themselves; exactly one of the two is given.
        format: such as `"csv"`; guessed from the name or the bytes otherwise.
        mime_type: the media type, where neither guess nor format is right.
        annotations: for whom it is, and how much it matters.
        name: what clients call it; the path's own name by default.
        uri: its URI, `file:///name` by default. The directory is nobody's business.

    Raises:
        ValueError: path and data are both given, or neither.
    """

    __slots__ = ("_name", "_uri")

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        data: bytes | None = None,
        format: str | None = None,  # noqa: A002 - likewise
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
        """Return what a resource holds that is this file, under the URI of its own if it was given one."""
        return super().to_contents(self._uri or uri)


def contents_of_bytes(data: bytes, uri: str, mime_type: str) -> TextResourceContents | BlobResourceContents:
    """Return what a resource holds: text where the media type and the bytes say so, base64 otherwise."""
    try:
        if not _is_text(mime_type):
            raise UnicodeError
        return TextResourceContents(uri=uri, mime_type=mime_type, text=data.decode())
    except UnicodeError:
        return BlobResourceContents(uri=uri, mime_type=mime_type, blob=_base64(data))


def guess_mime_type(name: str) -> str | None:
    """Return the media type that the end of a name stands for; None if it says nothing."""
    return _MIME_BY_SUFFIX.get(Path(name).suffix.lower()) or mimetypes.guess_type(name)[0]


def sniff_mime_type(data: bytes) -> str | None:
    """Return the media type that the bytes begin like; None if they are like nothing known."""
    for offset, signature, guess in _SIGNATURES:
        if data.startswith(signature, offset):
            return guess
    return None


def _is_text(mime_type: str) -> bool:
    return mime_type.startswith("text/") or mime_type.endswith(("json", "xml", "javascript", "yaml"))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
