"""Projection: a message as a revision defines it. Fields that it does not define are removed by the table of
`revision_tables.py`; what must not get lost with them is rewritten in terms that it has (`REWRITES`).

For every pair of revision and type the tables are compiled once into a function, or into None where no message of
the type ever changes. Then a message costs one lookup, and a copy only if a field has to be removed; nested
messages that never change are not visited.

Easy to get wrong: the message is shared (a tool's definition goes to peers of all revisions), so it must not be
modified. The result is the message itself or a shallow copy, to be encoded and not modified.
"""

import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, structs
from msgspec.structs import replace

from enfilade.wire.client_requests import (
    CreateMessageRequestParams,
    ElicitRequestFormParams,
    ElicitRequestParams,
    InputRequiredResult,
    SamplingMessage,
)
from enfilade.wire.content import AudioContent, ResourceLink, TextContent, ToolResultContent
from enfilade.wire.message import JsonResult, Message, NotificationParams, Result
from enfilade.wire.revision_tables import META_KEYS, spans
from enfilade.wire.revisions import ALL, ONLY_2024, UNTIL_0326, UNTIL_0618, UNTIL_1125, Span
from enfilade.wire.tools import CallToolResult, LongTextResult, Tool, ToolAnnotations

_Transform = Callable[[Any], Message]
Rewrite = Callable[[Any, str], Message]

_BRACE: Final = ord("{")

# The types whose `_meta` may contain keys of the protocol besides those of the author.
_WITH_PROTOCOL_META: Final = (Result, NotificationParams, ElicitRequestParams, CreateMessageRequestParams)


class _Transforms(dict[type[Message], "_Transform | None"]):
    """The function for each type of message in one revision, compiled with its first message."""

    def __init__(self, revision: str) -> None:
        super().__init__()
        self._revision = revision

    def __missing__(self, kind: type[Message]) -> "_Transform | None":
        transform = self[kind] = _compile(kind, self._revision)
        return transform


_transforms: Final = {revision: _Transforms(revision) for revision in ALL}
_encode: Final = msgspec.json.Encoder().encode


class InexpressibleError(ValueError):
    """The message has no equivalent in the peer's revision; a part of it would mean something else."""


def encode(message: Message, revision: str) -> bytes:
    """Return a message as JSON for a peer of that revision, which its session agreed on (R-302, R-416).

    Raises:
        InexpressibleError: the revision cannot express it.
    """
    transform = _transforms[revision][type(message)]
    return _encode(message if transform is None else transform(message))


def project(message: Message, revision: str) -> Message:
    """Return a message as a revision defines it: the message itself, or a copy with fewer or other fields.

    Raises:
        InexpressibleError: the revision cannot express it.
        KeyError: there is no such revision.
    """
    transform = _transforms[revision][type(message)]
    return message if transform is None else transform(message)


def _compile(kind: type[Message], revision: str) -> _Transform | None:
    """Return the function that projects messages of a type to a revision; None if they never change."""
    if kind is LongTextResult:
        return lambda result: project(result.with_encoded_text(), revision)
    if kind is JsonResult:
        return _open_result(revision)
    revisions = spans(kind)
    names = kind.__struct_fields__
    hidden = tuple(name for name in names if name not in revisions or revision not in revisions[name])
    lost = next((field.name for field in structs.fields(kind) if field.required and field.name in hidden), None)
    reduce = _reduction(kind, revision, hidden) if lost is None else _refusal(kind, lost, revision)
    span, rewrite = REWRITES.get(kind, (None, None))
    if span is None or rewrite is None or revision not in span:
        return reduce
    return _rewriting(rewrite, reduce, revision)


def _open_result(revision: str) -> _Transform:
    """Return the function for results of methods that are not of this package, which have any members."""
    has_result_type = revision in spans(Result)["result_type"]

    def as_json(result: Any) -> Any:
        members = dict(result.members)
        if has_result_type:
            members.setdefault("resultType", result.result_type)
        if result.meta is not UNSET:
            members["_meta"] = {key: value for key, value in result.meta.items() if _is_known(key, revision)}
        return Raw(_encode(members))

    return as_json


def _is_known(key: str, revision: str) -> bool:
    return key not in META_KEYS or revision in META_KEYS[key]


def _rewriting(rewrite: Rewrite, reduce: _Transform | None, revision: str) -> _Transform:
    if rewrite is _structured and reduce is not None:
        return _with_structure(reduce, revision)

    def rewritten(message: Message) -> Message:
        result = rewrite(message, revision)
        if result is not message and type(result) is not type(message):
            return project(result, revision)
        return result if reduce is None else reduce(result)

    return rewritten


def _with_structure(reduce: _Transform, revision: str) -> _Transform:
    """Return the function for what has structured content; nearly always that is an object, or there is none."""

    def rewritten(message: Any) -> Message:
        value = message.structured_content
        if value is UNSET or (type(value) is Raw and memoryview(value)[0] == _BRACE):
            return reduce(message)
        return reduce(_structured(message, revision))

    return rewritten


def _refusal(kind: type[Message], lost: str, revision: str) -> _Transform:
    """Return the function for a type that has a required field which the revision does not define."""

    def refuse(message: Message) -> Message:
        raise InexpressibleError(f"{kind.__name__} cannot be expressed in {revision}, which has no {lost!r}")

    return refuse


def _reduction(kind: type[Message], revision: str, hidden: tuple[str, ...]) -> _Transform | None:
    """Return the function that removes fields, in the message and nested ones, and keys of `_meta`."""
    nested = tuple(
        name
        for name, kinds in _nested(kind).items()
        if name not in hidden and any(_changes(inner, revision) for inner in kinds)
    )
    foreign: frozenset[str] = frozenset()  # of the protocol; keys of an author are kept
    if issubclass(kind, _WITH_PROTOCOL_META) and "meta" not in hidden:
        foreign = frozenset(key for key, span in META_KEYS.items() if revision not in span)
    if not (hidden or nested or foreign):
        return None
    if len(hidden) == 1 and foreign and not nested:
        return _omission(hidden[0], foreign)

    def reduce(message: Any) -> Any:
        reduced = None
        for name in hidden:
            if getattr(message, name) is not UNSET:
                if reduced is None:
                    reduced = message.__copy__()
                setattr(reduced, name, UNSET)
        for name in nested:
            value = getattr(message, name)
            inner = value if value is UNSET else _project_value(value, revision)
            if inner is not value:
                if reduced is None:
                    reduced = message.__copy__()
                setattr(reduced, name, inner)
        if foreign and message.meta is not UNSET and not foreign.isdisjoint(message.meta):
            if reduced is None:
                reduced = message.__copy__()
            reduced.meta = {key: value for key, value in message.meta.items() if key not in foreign} or UNSET
        return message if reduced is None else reduced

    return reduce


def _omission(name: str, foreign: frozenset[str]) -> _Transform:
    """Return the function that removes one field and keys of `_meta`, as for most results."""

    def omit(message: Any) -> Any:
        omitted = message.__copy__()
        setattr(omitted, name, UNSET)
        if message.meta is not UNSET and not foreign.isdisjoint(message.meta):
            omitted.meta = {key: value for key, value in message.meta.items() if key not in foreign} or UNSET
        return omitted

    return omit


def _project_value(value: Any, revision: str) -> Any:
    """Return a field's value with the messages in it projected; the value itself if none changed."""
    if isinstance(value, list):
        return _project_list(value, revision)
    if isinstance(value, Message):
        return project(value, revision)
    if isinstance(value, dict):
        entries = {key: _project_value(entry, revision) for key, entry in value.items()}
        return value if all(entries[key] is value[key] for key in value) else entries
    return value


def _project_list(items: list[Any], revision: str) -> list[Any]:
    transforms = _transforms[revision]
    reduced = None
    for position, item in enumerate(items):
        transform = transforms.get(type(item), _undecided)
        if transform is None:
            continue  # the usual case, so the call of `_project_value` is inlined
        inner = _project_value(item, revision) if transform is _undecided else transform(item)
        if inner is not item:
            reduced = reduced or items.copy()
            reduced[position] = inner
    return reduced or items


def _undecided(message: Message) -> Message:
    """Stand for the function of a type that is not compiled yet, or is no message type."""
    raise NotImplementedError


def _nested(kind: type[Message]) -> dict[str, set[type[Message]]]:
    """Return the message types that each field may hold, including subclasses."""
    return {name: set(_messages(hint)) for name, hint in typing.get_type_hints(kind).items()}


def _messages(hint: Any) -> Iterator[type[Message]]:
    if isinstance(hint, type) and issubclass(hint, Message):
        yield hint
        for subclass in hint.__subclasses__():
            yield from _messages(subclass)
    for argument in typing.get_args(hint):
        yield from _messages(argument)


def _changes(kind: type[Message], revision: str) -> bool:
    """Whether some message of this type has to change for the revision."""
    return _compile(kind, revision) is not None


# -- what a revision cannot express, in terms that it has --------------------------------------------------------


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
    if value is UNSET or _is_object(value):
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
    if isinstance(value, Raw):
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
