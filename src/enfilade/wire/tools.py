"""Tools: listing them and calling them.

Easy to get wrong: `structured_content` may be any JSON value since 2026-07-28, so `None` there is the value
null and is sent; a result without structured content has `UNSET`. It may also hold a `msgspec.Raw`, JSON
bytes that are ready to be sent. And arguments may have numbers that no float has, which msgspec refuses and
pydantic reads as an infinity: whoever looks at arguments reads them by `decode_arguments`.
"""

import json
import math
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.content import ContentBlock, Icon, TextContent
from enfilade.wire.message import InputResponseRequestParams, Message, PaginatedResult, Result
from enfilade.wire.tasks import TaskMetadata


class ToolAnnotations(Message, kw_only=True):
    """Hints on what a tool does. Absent means: not read-only, destructive, not idempotent, open world (R-516)."""

    title: str | UnsetType = UNSET
    read_only_hint: bool | UnsetType = UNSET
    destructive_hint: bool | UnsetType = UNSET
    idempotent_hint: bool | UnsetType = UNSET
    open_world_hint: bool | UnsetType = UNSET


class ToolExecution(Message, kw_only=True):
    """Whether the tool can, may not or must be run as a task (2025-11-25 only)."""

    task_support: Literal["forbidden", "optional", "required"] | UnsetType = UNSET


class Tool(Message, kw_only=True):
    """The definition of a tool. Both schemas are JSON Schema; that of the input has the root type object."""

    name: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | UnsetType = UNSET
    annotations: ToolAnnotations | UnsetType = UNSET
    execution: ToolExecution | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class ListToolsResult(PaginatedResult, kw_only=True):
    """One page of the tools."""

    tools: list[Tool]


class CallToolRequestParams(InputResponseRequestParams, kw_only=True):
    """A call. The arguments stay raw until the tool is known, whose own validator reads the bytes."""

    name: str
    arguments: msgspec.Raw | UnsetType = UNSET
    task: TaskMetadata | UnsetType = UNSET


class CallToolResult(Result, kw_only=True):
    """The result of a tool; `is_error` tells the model that the call failed."""

    content: list[ContentBlock]
    structured_content: Any = UNSET
    is_error: bool | UnsetType = UNSET


class LongTextResult(CallToolResult, kw_only=True, dict=True):
    """The result of one long text, which is encoded once for both places that have it.

    `projection.py` puts the JSON of the text in its place when the result is encoded, unless somebody has changed
    the result meanwhile.
    """

    @classmethod
    def of(cls, text: str, encoded: bytes, structured_content: msgspec.Raw) -> "LongTextResult":
        """Return the result for a text and its JSON."""
        result = cls(content=[TextContent(text=text)], structured_content=structured_content)
        result.__dict__["encoded"] = text, msgspec.Raw(encoded)
        return result

    def with_encoded_text(self) -> CallToolResult:
        """Return a result to be encoded: with the JSON of the text, if it is still the one and only content."""
        text, encoded = self.__dict__.get("encoded", (None, None))
        content = self.content
        if len(content) == 1 and type(content[0]) is TextContent and content[0].text is text:
            content = [msgspec.structs.replace(content[0], text=encoded)]
        names = CallToolResult.__struct_fields__
        return CallToolResult(**{**{name: getattr(self, name) for name in names}, "content": content})


def decode_arguments(arguments: msgspec.Raw | bytes, beyond: Callable[[str], Any] = str) -> Any:
    """Return the arguments of a call as JSON has them.

    Args:
        arguments: as they came.
        beyond: returns what stands for a number that no float has, such as 1e999, from how it is written.

    Raises:
        ValueError, RecursionError: no handler can read them.
    """
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return json.loads(bytes(arguments), parse_float=lambda text: _finite(text, beyond))


def _finite(text: str, beyond: Callable[[str], Any]) -> Any:
    number = float(text)
    return number if math.isfinite(number) else beyond(text)
