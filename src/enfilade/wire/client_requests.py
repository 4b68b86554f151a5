"""What a server asks its client: elicitation, sampling and roots, and the result that carries the questions.

Up to 2025-11-25 each question is a request of the server. Since 2026-07-28 a call ends with its questions in an
`InputRequiredResult`, and its retry has the answers (multi round-trip requests).

Easy to get wrong: the type of an answer depends on the question under the same key. So answers stay raw until
they are matched with their questions (`message.InputResponseRequestParams`).
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.content import AudioContent, ImageContent, TextContent, ToolResultContent, ToolUseContent
from enfilade.wire.message import Message, NotificationParams, Result, Role
from enfilade.wire.tasks import TaskMetadata
from enfilade.wire.tools import Tool

# -- elicitation: questions to the user, by a form or by a URL ---------------------------------------------------
#
# A form without `mode` is legal everywhere, a form with it only since 2025-11-25, so the two kinds cannot be told
# apart by a tag. `ElicitRequestParams` decodes either, and a server sends its two subclasses.


class ElicitRequestParams(Message, kw_only=True):
    """The question. `requested_schema` is a flat object schema of primitive properties."""

    mode: Literal["form", "url"] | UnsetType = UNSET
    message: str
    requested_schema: dict[str, Any] | UnsetType = UNSET
    url: str | UnsetType = UNSET
    elicitation_id: str | UnsetType = UNSET
    task: TaskMetadata | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class ElicitRequestFormParams(ElicitRequestParams, kw_only=True):
    """A form."""

    mode: Literal["form"] | UnsetType = "form"
    requested_schema: dict[str, Any]


class ElicitRequestURLParams(ElicitRequestParams, kw_only=True):
    """A page to visit. `elicitation_id` is required by 2025-11-25 and unknown to 2026-07-28 (R-547)."""

    mode: Literal["url"] = "url"
    url: str


class ElicitRequest(Message, tag_field="method", tag="elicitation/create", kw_only=True):
    """The question, as one of the questions of an `InputRequiredResult`."""

    params: ElicitRequestParams


class ElicitResult(Message, kw_only=True):
    """The user's answer; `content` comes with `accept` of a form only.

    No revision allows null in it, but clients send it for a field that was left empty; the form decides about it.
    """

    action: Literal["accept", "decline", "cancel"]
    content: dict[str, str | int | float | bool | list[str] | None] | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class ElicitationCompleteNotificationParams(NotificationParams, kw_only=True):
    """The interaction at a URL has ended (2025-11-25 only)."""

    elicitation_id: str


# -- sampling: a message of the client's model -------------------------------------------------------------------
#
# `content` is one block or an array of blocks; peers before 2025-11-25 know only the single block.

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


# -- roots: the directories and files that the user has opened for the server ------------------------------------
#
# A root's `uri` is a URI, by the protocol a `file://` URI, and not a path.


class Root(Message, kw_only=True):
    """One root."""

    uri: str
    name: str | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


class ListRootsRequest(Message, tag_field="method", tag="roots/list", kw_only=True):
    """The server's question for the roots, as one of the questions of an `InputRequiredResult`."""

    params: NotificationParams | UnsetType = UNSET


class ListRootsResult(Message, kw_only=True):
    """The client's answer."""

    roots: list[Root]
    meta: dict[str, Any] | UnsetType = msgspec.field(name="_meta", default=UNSET)


# -- questions in a result ---------------------------------------------------------------------------------------

InputRequest = ElicitRequest | CreateMessageRequest | ListRootsRequest


class InputRequiredResult(Result, kw_only=True):
    """The questions, by keys of the server's choice in place of ids (R-288), and the state to send back.

    At least one of the two fields is set (R-287).
    """

    result_type: str | UnsetType = "input_required"
    input_requests: dict[str, InputRequest] | UnsetType = UNSET
    request_state: str | UnsetType = UNSET
