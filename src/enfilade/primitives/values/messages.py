"""From returned values to the messages of a prompt.

A string is a message of the user, a list is several. Easy to get wrong: a message has one content block. What an
author puts into one message as a list becomes several of the same role, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.values.content_blocks import blocks_of, is_sdk_object, listed, sdk_dict
from enfilade.primitives.values.json_encoding import json_bytes
from enfilade.wire.content import ContentBlock
from enfilade.wire.message import Role
from enfilade.wire.prompts import GetPromptResult, PromptMessage


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt.

    Attributes:
        content: text, a content block, `Image`, `Audio`, `File`, data, or a list of these.
        role: who says it, `user` or `assistant`.
    """

    content: Any
    role: Role = "user"


class UserMessage(Message):
    """What the user says."""

    __slots__ = ()

    def __init__(self, content: Any) -> None:
        super().__init__(content, "user")


class AssistantMessage(Message):
    """What the model is to have said."""

    __slots__ = ()

    def __init__(self, content: Any) -> None:
        super().__init__(content, "assistant")


@dataclass(frozen=True, slots=True)
class PromptResult:
    """A whole prompt, for functions that say more than its messages.

    Attributes:
        messages: a message, or a list of them, in any form that a prompt may return.
        description: of this prompt as it was filled in; by default that of the definition.
        meta: the `_meta` of the result.
    """

    messages: Any
    description: str | None = None
    meta: Mapping[str, Any] | None = None


def prompt_result(value: Any, description: str | None) -> GetPromptResult:
    """Return the result for what a prompt's function returned.

    Raises:
        ReturnedValueError: it is no message, or holds what cannot be sent.
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
    value = listed(value)
    items = value if isinstance(value, (list, tuple)) else [value]
    return [message for item in items for message in _messages_in(item)]


def _messages_in(item: Any) -> list[PromptMessage]:
    """Return the messages for one item of a prompt's list: nearly always one."""
    if is_sdk_object(item) and hasattr(item, "role"):
        item = sdk_dict(item)
    if isinstance(item, PromptMessage):
        return _said(item.role, item.content)
    if isinstance(item, Message):
        return _said(item.role, item.content)
    if isinstance(item, Mapping) and item.keys() == {"role", "content"}:
        return _said(_converted(item["role"], Role, "role"), item["content"])
    return _said("user", item)


def _said(role: Role, content: Any) -> list[PromptMessage]:
    content = listed(content)
    if isinstance(content, (list, tuple)):
        return [message for part in content for message in _said(role, part)]
    if isinstance(content, Mapping) and "type" in content:
        content = _converted(dict(content), ContentBlock, "content block")
    return [PromptMessage(role=role, content=block) for block in blocks_of(content)]


def _converted(value: Any, kind: Any, what: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ReturnedValueError(f"It returned a {what} that is none: {error}") from error
