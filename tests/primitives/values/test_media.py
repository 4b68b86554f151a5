"""`media.py`: images, sounds and files as content blocks (D49)."""

import base64
from pathlib import Path
from typing import Any

import pytest

from enfilade.primitives.errors import ToolError
from enfilade.primitives.values.media import Audio, File, Image
from enfilade.wire.content import Annotations, AudioContent, EmbeddedResource, ImageContent

PNG = b"\x89PNG\r\n\x1a\n....."

TYPES = {
    "png signature": (Image(data=PNG), "image/png"),
    "jpeg signature": (Image(data=b"\xff\xd8\xff\xe0"), "image/jpeg"),
    "webp signature": (Image(data=b"RIFF....WEBP"), "image/webp"),
    "unknown image": (Image(data=b"?"), "image/png"),
    "format": (Image(data=PNG, format="jpg"), "image/jpeg"),
    "format with dot": (Image(data=PNG, format=".SVG"), "image/svg+xml"),
    "unknown format": (Image(data=PNG, format="heic"), "image/heic"),
    "mime type": (Image(data=PNG, mime_type="image/x"), "image/x"),
    "wav signature": (Audio(data=b"RIFF....WAVE"), "audio/wav"),
    "mp3 signature": (Audio(data=b"ID3."), "audio/mpeg"),
    "audio format": (Audio(data=b"?", format="mp3"), "audio/mpeg"),
    "unknown audio": (Audio(data=b"?"), "audio/wav"),
}


@pytest.mark.parametrize(("media", "mime_type"), TYPES.values(), ids=TYPES)
def test_media_type_of_bytes(media: Any, mime_type: str) -> None:
    block = media.to_block()
    assert isinstance(block, ImageContent | AudioContent)
    assert block.mime_type == mime_type
    assert base64.b64decode(block.data) == media.read()


def test_media_type_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.GIF"
    path.write_bytes(PNG)
    assert Image(path).to_block().mime_type == "image/gif"
    assert Image(str(path), annotations=Annotations(priority=1.0)).to_block().annotations == Annotations(
        priority=1.0
    )


def test_file_of_text_and_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "a ü.md").write_text("# Hé", encoding="utf-8")
    (tmp_path / "b.bin").write_bytes(b"\xff\x00")
    text = File(tmp_path / "a ü.md").to_block()
    assert isinstance(text, EmbeddedResource)
    assert text.resource.text == "# Hé"
    assert text.resource.mime_type == "text/markdown"
    assert text.resource.uri == "file:///a%20%C3%BC.md"
    assert File(tmp_path / "b.bin").to_block().resource.blob == "/wA="


def test_file_from_bytes() -> None:
    resource = File(data=b'{"a":1}', format="json", name="a.json", uri="x://a").to_block().resource
    assert (resource.uri, resource.mime_type, resource.text) == ("x://a", "application/json", '{"a":1}')
    assert File(data=b"%PDF-1.7").to_block().resource.mime_type == "application/pdf"
    assert File(data=b"a", format="pdf").to_block().resource.uri == "file:///file.pdf"
    assert File(data=b"\xff", mime_type="text/plain").to_block().resource.blob == "/w=="


def test_a_missing_file_is_the_tools_error_and_keeps_its_directory_d33(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        Image(tmp_path / "gone.png").to_block()
    assert "gone.png" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("arguments", [{}, {"path": "a", "data": b""}])
def test_exactly_one_of_path_and_data(arguments: Any) -> None:
    with pytest.raises(ValueError, match="either a path or data="):
        Image(**arguments)
