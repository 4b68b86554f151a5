"""Completion of prompt arguments and of template variables while the user types.

Easy to get wrong: at most 100 values are sent, whatever `total` is.
"""

from msgspec import UNSET, UnsetType

from enfilade.wire.message import Message, RequestParams, Result


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
