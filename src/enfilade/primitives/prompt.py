"""Prompts: a function with its definition, and its returned value as messages.

A string is a message of the user, a list is several messages. A message has one content block on the wire, so an
author's list in one message becomes several messages of the same role, in order.

Easy to get wrong: on the wire every argument is a string (R-530), and the function's parameters are not. A string
that does not spell a value of the parameter's type is the caller's error, which names the argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET
from pydantic_core import to_json

from enfilade.primitives.access import Access, Visible, read_access
from enfilade.primitives.completion import Completer, Source, completers_for
from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.handler import Handler, handler_of
from enfilade.primitives.metadata import DumpableModel, check_options, check_sendable, read_icons
from enfilade.primitives.names import check_prompt_name
from enfilade.primitives.schema.docstrings import docstring_of, documented_names, read_docstring
from enfilade.primitives.schema.json_schema import expectation
from enfilade.primitives.schema.references import follow
from enfilade.primitives.schema.signature import describe, raw_name, read_signature, refuse_nothing
from enfilade.primitives.values.arguments import StringReader
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.primitives.values.results import as_list, blocks_of, is_sdk_object, sdk_dict
from enfilade.wire import prompts as wire
from enfilade.wire.content import ContentBlock, Icon
from enfilade.wire.message import Role
from enfilade.wire.prompts import GetPromptResult, PromptMessage


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A prompt that clients can ask for. Immutable; made by `prompt_from_function`.

    Attributes:
        name: the name as listed.
        definition: its entry in `prompts/list`, in the newest revision.
        handler: the function.
        completers: the sources of suggested values, by argument.
        arguments: the names of its arguments, in order.
        access: who may see and use it; None for everybody.
    """

    name: str
    definition: wire.Prompt
    handler: Handler
    completers: Mapping[str, Completer]
    arguments: tuple[str, ...]
    _reader: StringReader = field(repr=False)
    access: Access | None = None

    @property
    def origin(self) -> str:
        """Where its function was written."""
        return self.handler.origin

    def bind(self, arguments: Mapping[str, str], context: Any) -> dict[str, Any]:
        """Return the values for the function, by parameter name.

        Raises:
            ArgumentsError: says everything that is wrong with the arguments.
        """
        return self.handler.with_context(self._reader.read(to_json(dict(arguments))), context)

    def result(self, value: Any) -> wire.GetPromptResult:
        """Return the result for what the function returned (after awaiting it).

        Raises:
            ReturnedValueError: it cannot be sent.
        """
        description = self.definition.description
        return prompt_result(value, None if description is UNSET else description)


def prompt_from_function(
    fn: Callable[..., Any],
    *,
    context_type: type,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    icons: Sequence[Icon | Mapping[str, Any] | DumpableModel | str] | None = None,
    meta: Mapping[str, Any] | None = None,
    complete: Mapping[str, Source] | None = None,
    requires_scopes: Iterable[str] = (),
    visible: Visible | None = None,
) -> Prompt:
    """Make a prompt of any callable.

    Args:
        fn: a function, method, partial or callable object, `async` or not. Its parameters become the arguments,
            its docstring the descriptions.
        context_type: parameters annotated with this class take the context and are no arguments.
        name: the name to list; the function's own by default.
        title: a name for people.
        description: what the prompt is for; the docstring by default.
        icons: each with an https or data URI (R-560).
        meta: the `_meta` of the definition.
        complete: the sources of suggested values, by argument: a function, a list, an Enum.
        requires_scopes: what its callers must be allowed.
        visible: whether it is there for a caller.

    Raises:
        TypeError: the function cannot be a prompt; names the parameter and says what to do.
        ValueError: a name, icon or argument is not legal.
    """
    label = describe(fn)
    check_options(
        label, name=name, title=title, description=description, icons=icons, meta=meta, complete=complete
    )
    prompt_name = raw_name(fn) if name is None else name
    check_prompt_name(prompt_name)
    signature = read_signature(fn, context_type, kind="prompt")
    refuse_nothing(signature, label, "the messages of the prompt, such as a string")
    docstring = read_docstring(docstring_of(fn), documented_names(signature))
    reader = StringReader(
        prompt_name, signature.parameters, descriptions=docstring.parameters, label=label, kind="prompt"
    )
    arguments = _arguments(reader.schema)
    definition = wire.Prompt(
        name=prompt_name,
        title=title or UNSET,
        description=(docstring.description if description is None else description) or UNSET,
        arguments=arguments or UNSET,
        icons=read_icons(icons),
        meta=dict(meta) if meta else UNSET,
    )
    check_sendable(definition, label)
    names = tuple(argument.name for argument in arguments)
    completers = completers_for(signature.parameters, names, complete, context_type, label)
    access = read_access(label, requires_scopes, visible)
    return Prompt(prompt_name, definition, handler_of(fn, signature), completers, names, reader, access)


def _arguments(schema: Mapping[str, Any]) -> list[wire.PromptArgument]:
    required = schema.get("required", ())
    return [
        wire.PromptArgument(
            name=name,
            title=property_schema.get("title", UNSET),
            description=_description(property_schema, schema) or UNSET,
            required=name in required,
        )
        for name, property_schema in schema["properties"].items()
    ]


def _description(property_schema: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return the description of an argument, which says where its string has to be JSON."""
    text = str(property_schema.get("description", ""))
    kinds = {
        follow(branch, schema).get("type") for branch in (property_schema, *property_schema.get("anyOf", ()))
    }
    if kinds & {"array", "object"}:
        return f"{text} (as JSON: {expectation(property_schema, schema)})".lstrip()
    return text


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt.

    Attributes:
        content: text, a content block, `Image`, `Audio`, `File`, data, or a list of these.
        role: its author, `user` or `assistant`.
    """

    content: Any
    role: Role = "user"


class UserMessage(Message):
    """A message of the user."""

    __slots__ = ()

    def __init__(self, content: Any) -> None:
        super().__init__(content, "user")


class AssistantMessage(Message):
    """A message of the model."""

    __slots__ = ()

    def __init__(self, content: Any) -> None:
        super().__init__(content, "assistant")


@dataclass(frozen=True, slots=True)
class PromptResult:
    """The result of a prompt, for functions that set more than its messages.

    Attributes:
        messages: a message, or a list of them, in any form that a prompt may return.
        description: of this prompt as it was filled in; by default that of the definition.
        meta: the `_meta` of the result.
    """

    messages: Any
    description: str | None = None
    meta: Mapping[str, Any] | None = None


def prompt_result(value: Any, description: str | None) -> GetPromptResult:
    """Return the result for the value that a prompt's function returned.

    Raises:
        ReturnedValueError: it is not a message, or has content that cannot be sent.
        ToolError: the file of an image, sound or file cannot be read.
    """
    if is_sdk_object(value) and type(value).__name__ == "GetPromptResult":
        value = _converted(sdk_dict(value), GetPromptResult, "prompt")
    if isinstance(value, GetPromptResult):
        return value
    meta = None
    if isinstance(value, PromptResult):
        description, meta = value.description or description, value.meta
        value = value.messages
    return GetPromptResult(
        messages=_messages_of(value),
        description=description or UNSET,
        meta=msgspec.json.decode(json_bytes(dict(meta))) if meta else UNSET,
    )


def _messages_of(value: Any) -> list[PromptMessage]:
    if value is None:
        raise ReturnedValueError("It returned nothing where messages are due")
    value = as_list(value)
    items = value if isinstance(value, (list, tuple)) else [value]
    return [message for item in items for message in _messages_in(item)]


def _messages_in(item: Any) -> list[PromptMessage]:
    """Return the messages for one item of a prompt's list, usually one."""
    if is_sdk_object(item) and hasattr(item, "role"):
        item = sdk_dict(item)
    if isinstance(item, PromptMessage):
        return _messages_of_role(item.role, item.content)
    if isinstance(item, Message):
        return _messages_of_role(item.role, item.content)
    if isinstance(item, Mapping) and item.keys() == {"role", "content"}:
        return _messages_of_role(_converted(item["role"], Role, "role"), item["content"])
    return _messages_of_role("user", item)


def _messages_of_role(role: Role, content: Any) -> list[PromptMessage]:
    content = as_list(content)
    if isinstance(content, (list, tuple)):
        return [message for item in content for message in _messages_of_role(role, item)]
    if isinstance(content, Mapping) and "type" in content:
        content = _converted(dict(content), ContentBlock, "content block")
    return [PromptMessage(role=role, content=block) for block in blocks_of(content)]


def _converted(value: Any, kind: Any, kind_name: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ReturnedValueError(f"It returned a {kind_name} that is none: {error}") from error
