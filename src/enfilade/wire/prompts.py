"""Prompts: listing them and filling them in, and completion while the user types.

Easy to get wrong: the arguments of a prompt are strings, whatever type the author's function declares.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.content import ContentBlock, Icon
from enfilade.wire.message import (
    InputResponseRequestParams,
    Message,
    PaginatedResult,
    RequestParams,
    Result,
    Role,
)


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


# -- completion of their arguments, and of the variables of resource templates -----------------------------------
#
# At most 100 values are sent, whatever `total` is.


class PromptReference(Message, tag_field="type", tag="ref/prompt", kw_only=True):
    """A prompt, by name."""

    name: str
    title: str | UnsetType = UNSET


class ResourceTemplateReference(Message, tag_field="type", tag="ref/resource", kw_only=True):
    """A resource template, by its template (called ResourceReference before 2025-06-18)."""

    uri: str


class CompletionArgument(Message, kw_only=True):
    """The argument being typed, and its value so far."""

    name: str
    value: str


class CompletionContext(Message, kw_only=True):
    """Arguments that the user has completed."""

    arguments: dict[str, str] | UnsetType = UNSET


class CompleteRequestParams(RequestParams, kw_only=True):
    """What to complete."""

    ref: PromptReference | ResourceTemplateReference
    argument: CompletionArgument
    context: CompletionContext | UnsetType = UNSET


class Completion(Message, kw_only=True):
    """Suggestions, best first. `total` may exceed their number; `has_more` says that there are more."""

    values: list[str]
    total: int | UnsetType = UNSET
    has_more: bool | UnsetType = UNSET


class CompleteResult(Result, kw_only=True):
    """The answer."""

    completion: Completion
