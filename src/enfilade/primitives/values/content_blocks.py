"""From returned values to content blocks: our own, the media of this room, and those of the official SDK.

Easy to get wrong: the official SDK's objects are accepted by what they are (pydantic models from a package
called `mcp`), and that package is never imported here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TypeGuard, get_origin

import msgspec
from msgspec import UNSET
from pydantic import BaseModel
from pydantic_core import from_json

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.schema.type_aliases import parts_of
from enfilade.primitives.values.json_encoding import clean, json_bytes
from enfilade.primitives.values.media import Audio, File, Image, Media
from enfilade.startup.lazy import LazyModule
from enfilade.wire.content import Block, ContentBlock, EmbeddedResource, TextContent
from enfilade.wire.message import Message

if TYPE_CHECKING:
    from enfilade.primitives import other_frameworks as _frameworks
else:  # for mistakes alone
    _frameworks = LazyModule("enfilade.primitives.other_frameworks")

#: How the modules begin of which no value is sent.
_FOREIGN: Final = ("fastmcp.", "mcp.server.")
_SDK_PACKAGES: Final = frozenset({"mcp", "mcp_types"})


def block_of(value: Any) -> ContentBlock | None:
    """Return the block that a value is, or None if it is plain data.

    Raises:
        ReturnedValueError: it looks like a block of the official SDK but is none that a tool can return.
        ToolError: the file of an image, sound or file cannot be read.
    """
    if isinstance(value, Block):
        return _cleaned(value)
    if isinstance(value, (Image, Audio, File)):
        return value.to_block()
    if is_sdk_object(value):
        try:
            return _cleaned(msgspec.convert(sdk_dict(value), ContentBlock))
        except msgspec.ValidationError as error:
            name = type(value).__name__
            raise ReturnedValueError(f"A {name} was returned, which is no content block") from error
    return None


def blocks_of(value: Any) -> list[ContentBlock]:
    """Return the content for a value: nothing for None, the blocks in it, or the value as one text block."""
    found = blocks_in(value)
    return [TextContent(text=text_of(value))] if found is None else found


def blocks_in(value: Any) -> list[ContentBlock] | None:
    """Return the blocks that a value consists of; None if it is plain data.

    A list is a list of blocks as soon as one of its items is a block; what else is in it becomes text, item
    by item.
    """
    if value is None:
        return []
    if (block := block_of(value)) is not None:
        return [block]
    if isinstance(value, (list, tuple)) and any(map(_is_block, value)):
        return [block_of(item) or TextContent(text=text_of(item)) for item in value]
    return None


def text_of(value: Any) -> str:
    """Return a value as text: a string as it is, anything else as JSON, one string without its quotes."""
    if type(value) is str:
        return clean(value)
    return text_of_json(json_bytes(value))


def text_of_json(data: bytes) -> str:
    """Return ready JSON as the text of a block: what is a string, as it is."""
    return str(from_json(data)) if data.startswith(b'"') else data.decode()


def listed(value: Any) -> Any:
    """Return a list for an iterator, which can be read only once, and any other value as it is."""
    return list(value) if isinstance(value, Iterator) else value


def is_sdk_object(value: Any) -> TypeGuard[BaseModel]:
    """Return whether a value is one of the official SDK's protocol types.

    Raises:
        ReturnedValueError: it is of another framework, whose values mean nothing here.
    """
    kind = type(value)
    if kind.__module__.startswith(_FOREIGN) and not _frameworks.is_converted(kind):
        _frameworks.refuse_value(value)
    return isinstance(value, BaseModel) and is_sdk_class(kind)


def is_sdk_class(kind: type) -> bool:
    """Return whether a class is one of the official SDK's protocol types."""
    return issubclass(kind, BaseModel) and kind.__module__.partition(".")[0] in _SDK_PACKAGES


def sdk_dict(value: BaseModel) -> dict[str, Any]:
    """Return an object of the official SDK under its wire names."""
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


def declares_content(annotation: Any) -> bool:
    """Return whether a return annotation speaks of content anywhere: then it has no schema, and needs none."""
    return any(_is_content_class(part) for part in parts_of(annotation))


def _is_content_class(part: Any) -> bool:
    is_class = isinstance(part, type) and get_origin(part) is None
    return is_class and (issubclass(part, (Message, Media)) or is_sdk_class(part))


def _is_block(value: Any) -> bool:
    return isinstance(value, (Block, Media)) or is_sdk_object(value)


def _cleaned(block: Any) -> ContentBlock:
    """Return the block with text that can be encoded; nearly always that is the block itself."""
    if isinstance(block, TextContent):
        if (text := clean(block.text)) is not block.text:
            return msgspec.structs.replace(block, text=text)
    elif isinstance(block, EmbeddedResource) and block.resource.text is not UNSET:
        text = clean(block.resource.text)
        if text is not block.resource.text:
            return msgspec.structs.replace(block, resource=msgspec.structs.replace(block.resource, text=text))
    found: ContentBlock = block
    return found
