"""Messages that an older revision cannot express, rewritten in terms that it has.

Each entry of `REWRITES` turns a message into an equivalent one for the revisions of its span. Fields that a
revision does not define are removed by the table in `field_revisions.py`.

Easy to get wrong: a rewrite must not modify its message, which is sent to other peers unchanged.
"""

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any, Final

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from enfilade.wire.content import AudioContent, ResourceLink, TextContent, ToolResultContent
from enfilade.wire.elicitation import ElicitRequestFormParams
from enfilade.wire.input_required import InputRequiredResult
from enfilade.wire.message import Message
from enfilade.wire.revisions import ONLY_2024, UNTIL_0326, UNTIL_0618, UNTIL_1125, Span
from enfilade.wire.sampling import CreateMessageRequestParams, SamplingMessage
from enfilade.wire.tools import CallToolResult, Tool, ToolAnnotations

_BRACE: Final = ord("{")


class InexpressibleError(ValueError):
    """The message has no equivalent in the peer's revision; a part of it would mean something else."""


Rewrite = Callable[[Any, str], Message]


def _audio(block: AudioContent, revision: str) -> TextContent:
    note = f"[audio ({block.mime_type}) left out: protocol revision {revision} has no audio content]"
    return TextContent(text=note, annotations=block.annotations)


def _resource_link(block: ResourceLink, revision: str) -> TextContent:
    text = f"{block.title or block.name}: {block.uri}"
    if block.description:
        text += f"\n{block.description}"
    return TextContent(text=text, annotations=block.annotations)


def _structured(message: CallToolResult | ToolResultContent, revision: str) -> Message:
    """R-504: structured content had to be an object; any other value has its text copy in `content`."""
    value = message.structured_content
    if value is UNSET or (type(value) is msgspec.Raw and memoryview(value)[0] == _BRACE) or _is_object(value):
        return message
    return replace(message, structured_content=UNSET)


def _tool(tool: Tool, revision: str) -> Tool:
    """R-504 for the output schema; in 2025-03-26, which has no `title`, it is one of the annotations."""
    if tool.output_schema is not UNSET and tool.output_schema.get("type") != "object":
        tool = replace(tool, output_schema=UNSET)
    if revision == UNTIL_0326.last and tool.title is not UNSET:
        annotations = ToolAnnotations() if tool.annotations is UNSET else tool.annotations
        if annotations.title is UNSET:
            tool = replace(tool, annotations=replace(annotations, title=tool.title))
    return tool


def _sampling_message(message: SamplingMessage, revision: str) -> SamplingMessage:
    """Before 2025-11-25 a message has one block."""
    if not isinstance(message.content, list):
        return message
    if len(message.content) != 1:
        raise InexpressibleError(f"a sampling message has exactly one content block in {revision}")
    return replace(message, content=message.content[0])


def _sampling(params: CreateMessageRequestParams, revision: str) -> CreateMessageRequestParams:
    if params.tools is not UNSET or params.tool_choice is not UNSET:
        raise InexpressibleError(f"sampling has no tools in {revision}")
    return params


def _form(params: ElicitRequestFormParams, revision: str) -> ElicitRequestFormParams:
    """Before 2025-11-25 only booleans have defaults in a form, and choices are a flat list with names."""
    properties = params.requested_schema.get("properties", {})
    schema = {
        "type": "object",
        **{key: value for key, value in params.requested_schema.items() if key == "required"},
        "properties": {name: _form_field(name, field, revision) for name, field in properties.items()},
    }
    return replace(params, requested_schema=schema)


def _form_field(name: str, field: Mapping[str, Any], revision: str) -> dict[str, Any]:
    if field.get("type") == "array":
        raise InexpressibleError(f"a form has no multiple choice in {revision}: {name!r}")
    legacy = {key: value for key, value in field.items() if key not in ("default", "oneOf")}
    if field.get("type") == "boolean" and "default" in field:
        legacy["default"] = field["default"]
    if "oneOf" in field:
        legacy["enum"] = [choice["const"] for choice in field["oneOf"]]
        legacy["enumNames"] = [choice.get("title", choice["const"]) for choice in field["oneOf"]]
    return legacy


def _interim(result: InputRequiredResult, revision: str) -> Message:
    raise InexpressibleError(f"questions travel as requests of their own in {revision}, not in a result")


def _is_object(value: Any) -> bool:
    """Whether a value is encoded as a JSON object."""
    if isinstance(value, msgspec.Raw):
        return bytes(value).lstrip().startswith(b"{")
    return isinstance(value, dict | msgspec.Struct | Mapping) or is_dataclass(value)


#: For each rewritten type, the revisions and the function.
REWRITES: Final[dict[type[Message], tuple[Span, Rewrite]]] = {
    AudioContent: (ONLY_2024, _audio),
    ResourceLink: (UNTIL_0326, _resource_link),
    Tool: (UNTIL_1125, _tool),
    CallToolResult: (UNTIL_1125, _structured),
    ToolResultContent: (UNTIL_1125, _structured),
    SamplingMessage: (UNTIL_0618, _sampling_message),
    CreateMessageRequestParams: (UNTIL_0618, _sampling),
    ElicitRequestFormParams: (UNTIL_0618, _form),
    InputRequiredResult: (UNTIL_1125, _interim),
}
