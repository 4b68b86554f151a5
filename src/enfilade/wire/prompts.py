"""Prompts: listing them and filling them in.

Easy to get wrong: the arguments of a prompt are strings, whatever type the author's function declares.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.content import ContentBlock, Icon
from enfilade.wire.message import InputResponseRequestParams, Message, PaginatedResult, Result, Role


class PromptArgument(Message, kw_only=True):
    """One argument that the user fills in."""

    name: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    required: bool | UnsetType = UNSET


class Prompt(Message, kw_only=True):
    """The definition of a prompt."""

    name: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    arguments: list[PromptArgument] | UnsetType = UNSET
    icons: list[Icon] | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class ListPromptsResult(PaginatedResult, kw_only=True):
    """One page of the prompts."""

    prompts: list[Prompt]


class GetPromptRequestParams(InputResponseRequestParams, kw_only=True):
    """Which prompt, with what arguments."""

    name: str
    arguments: dict[str, str] | UnsetType = UNSET


class PromptMessage(Message, kw_only=True):
    """One message of a filled-in prompt."""

    role: Role
    content: ContentBlock


class GetPromptResult(Result, kw_only=True):
    """A filled-in prompt."""

    description: str | UnsetType = UNSET
    messages: list[PromptMessage]
