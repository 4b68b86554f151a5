"""From returned values to the contents of a resource: text, bytes, data, files, or several of them.

Easy to get wrong: None is not an empty resource. A function that returns `None` has most likely forgotten its
`return`, and a client must not be told that a resource exists and is empty (R-523).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.values.json_encoding import clean, json_bytes
from enfilade.primitives.values.media import Media, sniff_mime_type
from enfilade.primitives.values.results import as_list, is_sdk_object, sdk_dict
from enfilade.wire.content import (
    AudioContent,
    BlobResourceContents,
    EmbeddedResource,
    ImageContent,
    ResourceContents,
    TextContent,
    TextResourceContents,
)
from enfilade.wire.resources import ReadResourceResult

_BYTES = (bytes, bytearray, memoryview)


def read_result(
    value: Any, uri: str, mime_type: str | None, meta: Mapping[str, Any] | None = None
) -> ReadResourceResult:
    """Return the result of reading a resource, with bytes in base64 (R-520).

    Args:
        value: what its function returned.
        uri: the requested URI.
        mime_type: the media type of strings, bytes and data; guessed by default.
        meta: the `_meta` of contents that have none of their own.

    Raises:
        ReturnedValueError: a resource cannot have this value.
        ToolError: a file cannot be read.
    """
    if is_sdk_object(value) and type(value).__name__ == "ReadResourceResult":
        value = msgspec.convert(sdk_dict(value), ReadResourceResult)
    if isinstance(value, ReadResourceResult):
        return value
    value = as_list(value)
    if isinstance(value, (list, tuple)) and any(map(_is_explicit, value)):
        contents = [_contents_of(item, uri, mime_type) for item in value]
    else:
        contents = [_contents_of(value, uri, mime_type)]
    return ReadResourceResult(contents=[_with_meta(item, meta) for item in contents] if meta else contents)


def _with_meta(contents: ResourceContents, meta: Mapping[str, Any]) -> ResourceContents:
    return contents if contents.meta is not UNSET else msgspec.structs.replace(contents, meta=dict(meta))


def _contents_of(value: Any, uri: str, mime_type: str | None) -> ResourceContents:
    if isinstance(value, str):
        return TextResourceContents(uri=uri, mime_type=mime_type or "text/plain", text=clean(value))
    if isinstance(value, _BYTES):
        data = bytes(value)
        guess = mime_type or sniff_mime_type(data) or "application/octet-stream"
        return BlobResourceContents(uri=uri, mime_type=guess, blob=base64.b64encode(data).decode("ascii"))
    if value is None:
        raise ReturnedValueError("It returned nothing; raise ResourceNotFound where there is nothing to read")
    return _explicit_contents(value, uri) or TextResourceContents(
        uri=uri, mime_type=mime_type or "application/json", text=json_bytes(value).decode()
    )


def _explicit_contents(value: Any, uri: str) -> ResourceContents | None:
    """Return the contents for a value of a protocol type, ours or the official SDK's; None for plain data."""
    if is_sdk_object(value):
        value = _from_sdk(sdk_dict(value), type(value).__name__)
    if isinstance(value, EmbeddedResource):
        value = value.resource
    if isinstance(value, ResourceContents):
        return value if value.text is UNSET else msgspec.structs.replace(value, text=clean(value.text))
    if isinstance(value, Media):
        return value.to_contents(uri)
    if isinstance(value, (ImageContent, AudioContent)):
        return BlobResourceContents(uri=uri, mime_type=value.mime_type, blob=value.data)
    if isinstance(value, TextContent):
        return TextResourceContents(uri=uri, mime_type="text/plain", text=clean(value.text))
    return None


def _from_sdk(members: Mapping[str, Any], name: str) -> Any:
    kinds: tuple[Any, ...] = (TextContent | ImageContent | AudioContent | EmbeddedResource,)
    if "type" not in members:
        kinds = (TextResourceContents, BlobResourceContents)
    for kind in kinds:
        try:
            return msgspec.convert(members, kind)
        except msgspec.ValidationError:
            continue
    raise ReturnedValueError(f"It returned a {name}, which is nothing that a resource can hold")


def _is_explicit(value: Any) -> bool:
    kinds = (ResourceContents, EmbeddedResource, Media, ImageContent, AudioContent, TextContent, *_BYTES)
    return isinstance(value, kinds) or is_sdk_object(value)
