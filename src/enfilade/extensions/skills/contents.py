"""What the bytes of a file of a skill say: digest, size, media type, and whether it is served as text.

Digests are of the bytes that clients get (X-SKILL-4). JSON carries any text of UTF-8 as it is, so the bytes of
a text are the same again; all else is served as a blob.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from msgspec import Struct

from enfilade.extensions.skills.front_matter import FrontMatterError, read_front_matter
from enfilade.primitives.values.media import guess_mime_type, sniff_mime_type
from enfilade.wire.content import BlobResourceContents, ResourceContents, TextResourceContents

#: Files that are text whatever a table of media types says of them: `.ts` is a film there.
_TEXT_SUFFIXES: Final = {
    **dict.fromkeys((".md", ".markdown"), "text/markdown"),
    ".py": "text/x-python",
    ".sh": "text/x-shellscript",
    ".ts": "text/x-typescript",
    ".toml": "application/toml",
    **dict.fromkeys((".yaml", ".yml"), "application/yaml"),
}
#: Kinds of media that are no text, also where all of their bytes could be.
_NO_TEXT: Final = ("image/", "audio/", "video/", "font/", "application/pdf", "application/zip")


class FileFacts(Struct, frozen=True):
    """What the bytes of a file say.

    Attributes:
        size: in bytes.
        digest: `sha256:` and 64 hexadecimal digits, of the bytes.
        mime_type: its media type.
        is_text: whether it is served as text.
    """

    size: int
    digest: str
    mime_type: str
    is_text: bool


def facts_of(name: str, data: bytes) -> FileFacts:
    """Return what the bytes of a file of this name say."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    guess = _TEXT_SUFFIXES.get(suffix) or guess_mime_type(name) or sniff_mime_type(data)
    is_media = guess is not None and guess.startswith(_NO_TEXT) and guess != "image/svg+xml"
    is_text = not is_media and _is_text(data)
    mime_type = guess or ("text/plain" if is_text else "application/octet-stream")
    return FileFacts(len(data), digest_of(data), mime_type, is_text)


def digest_of(data: bytes) -> str:
    """Return the digest of the bytes of a file."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def contents_of(data: bytes, uri: str, facts: FileFacts) -> ResourceContents:
    """Return the contents of the resource that a file is, as text only while its bytes are text."""
    if facts.is_text and _is_text(data):
        return TextResourceContents(uri=uri, mime_type=facts.mime_type, text=data.decode())
    import base64

    blob = base64.b64encode(data).decode("ascii")
    return BlobResourceContents(uri=uri, mime_type=facts.mime_type, blob=blob)


def _is_text(data: bytes) -> bool:
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def front_matter_of(data: bytes) -> dict[str, Any] | FrontMatterError:
    """Return the front matter of a `SKILL.md`, or why it has none that can be served."""
    try:
        return read_front_matter(data)
    except FrontMatterError as error:
        return error
