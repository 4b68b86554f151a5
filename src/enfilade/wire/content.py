"""Content blocks of tools, prompts and sampling messages, and contents of resources.

The `type` field of a block is the tag of its msgspec type.

Easy to get wrong: the two kinds of resource contents have no such tag; the schema tells them apart by the
presence of `text` or `blob`. So `ResourceContents` decodes either, and a server sends its two
subclasses.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.message import Message, Role


class Annotations(Message, kw_only=True):
    """Hints: whom the item is for, how much it matters (0 to 1), when it changed (ISO 8601)."""

    audience: list[Role] | UnsetType = UNSET
    priority: float | UnsetType = UNSET
    last_modified: str | UnsetType = UNSET


class Icon(Message, kw_only=True):
    """A picture for user interfaces. `src`: https or data URI; `sizes`: entries such as "48x48" or "any"."""

    src: str
    mime_type: str | UnsetType = UNSET
    sizes: list[str] | UnsetType = UNSET
    theme: Literal["light", "dark"] | UnsetType = UNSET


class ResourceContents(Message, kw_only=True):
    """The contents of a resource, as decoded: exactly one of `text` and `blob` (base64) is set."""

    uri: str
    mime_type: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    blob: str | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class TextResourceContents(ResourceContents, kw_only=True):
    """The contents of a resource that is text."""

    text: str


class BlobResourceContents(ResourceContents, kw_only=True):
    """The contents of a resource that is binary, in base64."""

    blob: str


class Block(Message, tag_field="type", kw_only=True):
    """The field of all content blocks."""

    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class TextContent(Block, tag="text", kw_only=True):
    """Text."""

    text: str
    annotations: Annotations | UnsetType = UNSET


class ImageContent(Block, tag="image", kw_only=True):
    """An image: base64 data and its media type."""

    data: str
    mime_type: str
    annotations: Annotations | UnsetType = UNSET


class AudioContent(Block, tag="audio", kw_only=True):
    """A sound: base64 data and its media type. Unknown to 2024-11-05."""

    data: str
    mime_type: str
    annotations: Annotations | UnsetType = UNSET


class ResourceLink(Block, tag="resource_link", kw_only=True):
    """A pointer to a resource, which need not be listed. Unknown before 2025-06-18."""

    uri: str
    name: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    mime_type: str | UnsetType = UNSET
    size: int | UnsetType = UNSET
    annotations: Annotations | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET


class EmbeddedResource(Block, tag="resource", kw_only=True):
    """A resource with its contents."""

    resource: ResourceContents
    annotations: Annotations | UnsetType = UNSET


#: What results consist of (R-517).
ContentBlock = TextContent | ImageContent | AudioContent | ResourceLink | EmbeddedResource


class ToolUseContent(Block, tag="tool_use", kw_only=True):
    """In sampling: the model asks for a tool call."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResultContent(Block, tag="tool_result", kw_only=True):
    """In sampling: the result of the tool. `structured_content` may be any JSON value, null included."""

    tool_use_id: str
    content: list[ContentBlock]
    structured_content: Any = UNSET
    is_error: bool | UnsetType = UNSET
