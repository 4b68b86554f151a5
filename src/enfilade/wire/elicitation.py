"""Elicitation: questions of the server to the user, by a form or by a URL.

Easy to get wrong: a form without `mode` is legal everywhere, a form with it only since 2025-11-25, so the two
kinds cannot be told apart by a tag. `ElicitRequestParams` decodes either, and a server sends its two
subclasses.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.message import Message, NotificationParams
from enfilade.wire.tasks import TaskMetadata


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
