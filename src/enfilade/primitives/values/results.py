"""From returned values to content blocks, results of tools without an output schema, and contents of resources.

How the value of a tool is converted:

- `None`: a result without content;
- a string: one text block, as it is;
- content blocks, `Image`, `Audio`, `File`, blocks of the official SDK, and lists with any of them: these
  blocks;
- anything else: one text block of JSON; what is an object in JSON (a dict, model, dataclass) is
  `structuredContent` as well;
- bytes: text in base64, because their media type is unknown. Return an `Image`, `Audio` or `File` to
  set it;
- `ToolResult`: each part as the author sets it.

Objects of the official SDK are recognized by their classes (models of pydantic from a package called `mcp`); the
package itself is never imported.

Easy to get wrong:
- A result with `isError` reports a failure, so its structured content need not match the schema (R-514).
- None is not an empty resource. A function that returns `None` has most likely forgotten its `return`, and a
  client must not be told that a resource exists and is empty (R-523).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeGuard, get_origin

import msgspec
from msgspec import UNSET

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.other_frameworks import advice_on_arguments, is_converted, refuse_value
from enfilade.primitives.schema.type_aliases import parts_of
from enfilade.primitives.values.json_encoding import clean, json_bytes
from enfilade.primitives.values.media import Audio, File, Image, Media, sniff_mime_type
from enfilade.startup.lazy import LazyModule
from enfilade.wire.content import (
    AudioContent,
    BlobResourceContents,
    Block,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceContents,
    TextContent,
    TextResourceContents,
)
from enfilade.wire.message import Message
from enfilade.wire.resources import ReadResourceResult
from enfilade.wire.tools import CallToolResult

if TYPE_CHECKING:
    import pydantic
    import pydantic_core
    from pydantic import BaseModel

    from enfilade.primitives.schema.json_schema import SchemaChecker
else:  # for objects of the official SDK, and for JSON that an author made
    pydantic = LazyModule("pydantic")
    pydantic_core = LazyModule("pydantic_core")


@dataclass(slots=True, kw_only=True)
class ToolResult:
    """A result of a tool with each part set by its author.

    Attributes:
        content: anything that a tool can return; a string, a block, a list of blocks, an empty one for none.
        structured_content: the data for programs, an object in JSON. Without `content`, its JSON is the text,
            too (R-503).
        is_error: whether the call failed; the content then says why.
        meta: the `_meta` of the result.
    """

    content: Any = None
    structured_content: Any = UNSET
    is_error: bool = False
    meta: Mapping[str, Any] | None = None


if not TYPE_CHECKING:  # type checkers see the constructor without the other spellings
    ToolResult.__init__ = advice_on_arguments("result")(ToolResult.__init__)


class ResultWriter(Protocol):
    """Converts returned values to results.

    `schema` is the output schema to publish, if there is one; `wrapped` says whether the value is sent as
    `{"result": …}`, because it is not an object.
    """

    wrapped: bool

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the structured content."""

    def write(self, value: Any) -> CallToolResult:
        """Return the result for a value.

        Raises:
            ToolError: the value cannot be sent, or does not match the schema.
        """


class UntypedWriter:
    """Writes results without a schema."""

    schema = None
    wrapped = False

    def __init__(self, *, structured: bool = True) -> None:
        self._structured = structured

    def write(self, value: Any) -> CallToolResult:
        """Return the result for any value; see the top of this file."""
        if type(value) is str:
            return CallToolResult(content=[TextContent(text=clean(value))])
        value = as_list(value)
        if (own_result := explicit_result(value, None)) is not None:
            return own_result
        if (content := blocks_in(value)) is not None:
            return CallToolResult(content=content)
        data = json_bytes(value)
        result = CallToolResult(content=[TextContent(text=text_of_json(data))])
        if self._structured and data.startswith(b"{"):
            result.structured_content = msgspec.Raw(data)
        return result


#: The field itself, because results of `ctx.tools.call_raw` read as None if there is no data.
_DATA: Final[Any] = vars(CallToolResult)["structured_content"]


def explicit_result(value: Any, checker: SchemaChecker | None) -> CallToolResult | None:
    """Return the result for a value that is a result already, ours or the official SDK's; None otherwise.

    Args:
        value: what the function returned.
        checker: of the published output schema, if there is one.

    Raises:
        ReturnedValueError: the structured content is missing, or does not match the schema.
    """
    theirs = is_sdk_object(value) and type(value).__name__ == "CallToolResult"
    if theirs:
        value = msgspec.convert(sdk_dict(value), CallToolResult)
    if isinstance(value, CallToolResult):
        meta = value.meta or None
        value = ToolResult(
            content=(value.content or None) if theirs else value.content,  # the SDK's class always has a list
            structured_content=_DATA.__get__(value),
            is_error=value.is_error is True,
            meta=meta,
        )
    if not isinstance(value, ToolResult):
        return None
    content = as_list(value.content)
    result = CallToolResult(
        content=[] if isinstance(content, (list, tuple)) and not content else blocks_of(content)
    )
    if value.structured_content is not UNSET:
        _set_structured(result, value)
    if value.is_error:
        result.is_error = True
    elif checker is not None:
        _check(result, checker)
    if value.meta:
        result.meta = pydantic_core.from_json(json_bytes(dict(value.meta)))
    return result


def _set_structured(result: CallToolResult, value: ToolResult) -> None:
    content = value.structured_content
    data = bytes(content) if isinstance(content, msgspec.Raw) else json_bytes(content)
    result.structured_content = msgspec.Raw(data)
    if value.content is None:
        result.content = [TextContent(text=text_of_json(data))]


def _check(result: CallToolResult, checker: SchemaChecker) -> None:
    if result.structured_content is UNSET:
        raise ReturnedValueError(
            "The tool returned a result without the structured content that its output schema promises"
        )
    refuse_problems(checker, pydantic_core.from_json(bytes(result.structured_content)))


def refuse_problems(checker: SchemaChecker, value: Any) -> None:
    """Refuse what does not match the published output schema (R-514).

    Raises:
        ReturnedValueError: names the positions in the value and the problems.
    """
    if problems := checker.problems(value):
        text = "; ".join(map(str, problems))
        raise ReturnedValueError(f"The tool returned what its output schema does not allow: {text}")


# -- content blocks --------------------------------------------------------------------------------------------
#: Prefixes of the modules whose values are not sent.
_FOREIGN: Final = ("fastmcp.", "mcp.server.")
_SDK_PACKAGES: Final = frozenset({"mcp", "mcp_types"})


def block_of(value: Any) -> ContentBlock | None:
    """Return a value as a content block; None if it is plain data.

    Raises:
        ReturnedValueError: it looks like a block of the official SDK but is none that a tool can return.
        ToolError: the file of an image, sound or file cannot be read.
    """
    if isinstance(value, Block):
        return _with_clean_text(value)
    if isinstance(value, (Image, Audio, File)):
        return value.to_block()
    if is_sdk_object(value):
        try:
            return _with_clean_text(msgspec.convert(sdk_dict(value), ContentBlock))
        except msgspec.ValidationError as error:
            name = type(value).__name__
            advice = "; return it alone, or the blocks of its content" if name == "CallToolResult" else ""
            raise ReturnedValueError(f"A {name} was returned, which is no content block{advice}") from error
    return None


def blocks_of(value: Any) -> list[ContentBlock]:
    """Return the content for a value: nothing for None, the blocks in it, or the value as one text block."""
    blocks = blocks_in(value)
    return [TextContent(text=text_of(value))] if blocks is None else blocks


def blocks_in(value: Any) -> list[ContentBlock] | None:
    """Return a value as content blocks; None if it is plain data.

    A list counts as blocks if one of its items is a block; each other item becomes a text block.
    """
    if value is None:
        return []
    if (block := block_of(value)) is not None:
        return [block]
    if isinstance(value, (list, tuple)) and any(map(is_block, value)):
        return [block_of(item) or TextContent(text=text_of(item)) for item in value]
    return None


def text_of(value: Any) -> str:
    """Return a value as text: a string as it is, anything else as JSON, one string without its quotes."""
    if type(value) is str:
        return clean(value)
    return text_of_json(json_bytes(value))


def text_of_json(data: bytes) -> str:
    """Return JSON as the text of a block; a JSON string without its quotes."""
    return msgspec.json.decode(data, type=str) if data.startswith(b'"') else data.decode()


def as_list(value: Any) -> Any:
    """Return a list for an iterator, which can be read only once, and any other value as it is."""
    return list(value) if isinstance(value, Iterator) else value


def is_sdk_object(value: Any) -> TypeGuard[BaseModel]:
    """Return whether a value is one of the official SDK's protocol types.

    Raises:
        ReturnedValueError: it belongs to another framework and cannot be converted.
    """
    kind = type(value)
    if kind.__module__.startswith(_FOREIGN) and not is_converted(kind):
        refuse_value(value)
    return is_sdk_class(kind)


def is_sdk_class(kind: type) -> bool:
    """Return whether a class is one of the official SDK's protocol types."""
    return kind.__module__.partition(".")[0] in _SDK_PACKAGES and issubclass(kind, pydantic.BaseModel)


def sdk_dict(value: BaseModel) -> dict[str, Any]:
    """Return an object of the official SDK under its wire names."""
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


def declares_content(annotation: Any) -> bool:
    """Return whether a return annotation has a class of content anywhere; such a tool has no output schema."""
    return any(_is_content_class(annotation_part) for annotation_part in parts_of(annotation))


def _is_content_class(annotation: Any) -> bool:
    is_class = isinstance(annotation, type) and get_origin(annotation) is None
    return is_class and (issubclass(annotation, (Message, Media)) or is_sdk_class(annotation))


def is_block(value: Any) -> bool:
    """Return whether a value is a content block, or becomes one: ours, media, or the official SDK's."""
    return isinstance(value, (Block, Media)) or is_sdk_object(value)


def _with_clean_text(block: Any) -> ContentBlock:
    """Return the block with text that UTF-8 can encode, usually the block itself."""
    if isinstance(block, TextContent):
        if (text := clean(block.text)) is not block.text:
            return msgspec.structs.replace(block, text=text)
    elif isinstance(block, EmbeddedResource) and block.resource.text is not UNSET:
        text = clean(block.resource.text)
        if text is not block.resource.text:
            return msgspec.structs.replace(block, resource=msgspec.structs.replace(block.resource, text=text))
    unchanged: ContentBlock = block
    return unchanged


# -- contents of resources -------------------------------------------------------------------------------------
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
