"""Sampling: the server requests a completion from the client's model.

Easy to get wrong: `content` is one block or an array of blocks; peers before 2025-11-25 know only the single
block (R-552).
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.content import AudioContent, ImageContent, TextContent, ToolResultContent, ToolUseContent
from enfilade.wire.message import Message, Role
from enfilade.wire.tasks import TaskMetadata
from enfilade.wire.tools import Tool

SamplingMessageContentBlock = TextContent | ImageContent | AudioContent | ToolUseContent | ToolResultContent


class SamplingMessage(Message, kw_only=True):
    """One message of the conversation."""

    role: Role
    content: SamplingMessageContentBlock | list[SamplingMessageContentBlock]
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class ModelHint(Message, kw_only=True):
    """A part of the name of a preferred model."""

    name: str | UnsetType = UNSET


class ModelPreferences(Message, kw_only=True):
    """Preferences for a model: hints in order of preference, and priorities from 0 to 1."""

    hints: list[ModelHint] | UnsetType = UNSET
    cost_priority: float | UnsetType = UNSET
    speed_priority: float | UnsetType = UNSET
    intelligence_priority: float | UnsetType = UNSET


class ToolChoice(Message, kw_only=True):
    """Whether the model may, must or must not use the tools."""

    mode: Literal["auto", "required", "none"] | UnsetType = UNSET


class CreateMessageRequestParams(Message, kw_only=True):
    """The request. `max_tokens` limits the completion and is required (R-552)."""

    messages: list[SamplingMessage]
    max_tokens: int
    system_prompt: str | UnsetType = UNSET
    include_context: Literal["none", "thisServer", "allServers"] | UnsetType = UNSET
    model_preferences: ModelPreferences | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    stop_sequences: list[str] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    tools: list[Tool] | UnsetType = UNSET
    tool_choice: ToolChoice | UnsetType = UNSET
    task: TaskMetadata | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class CreateMessageRequest(Message, tag_field="method", tag="sampling/createMessage", kw_only=True):
    """The question, as one of the questions of an `InputRequiredResult`."""

    params: CreateMessageRequestParams


class CreateMessageResult(Message, kw_only=True):
    """The completion. `stop_reason` is "endTurn", "maxTokens", "toolUse" or a value of the client."""

    role: Role
    content: SamplingMessageContentBlock | list[SamplingMessageContentBlock]
    model: str
    stop_reason: str | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)
