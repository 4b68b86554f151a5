"""Notifications about a request in flight: progress and log messages to the client, cancellation either way.
And the subscription to notifications of changes.

Easy to get wrong: a progress token keeps its JSON type, and `progress` must grow with every notification, also
where the total is unknown (R-2B0).
"""

from typing import Any, Final, Literal, get_args

from msgspec import UNSET, UnsetType

from enfilade.wire.jsonrpc import RequestId
from enfilade.wire.message import Message, NotificationParams, ProgressToken, RequestParams, Result


class ProgressNotificationParams(NotificationParams, kw_only=True):
    """How far a request has come; `progress` and `total` are in the sender's own units."""

    progress_token: ProgressToken
    progress: int | float
    total: int | float | UnsetType = UNSET
    message: str | UnsetType = UNSET


# -- log messages ----------------------------------------------------------------------------------------------

LoggingLevel = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]

#: The lowest level of log messages that a session gets until its client sets another one.
DEFAULT_LOG_LEVEL: Final[LoggingLevel] = "info"

# RFC 5424 severities, least severe first: a message is sent if it is at least as severe as the requested level
# (R-2B4).
SEVERITY: dict[LoggingLevel, int] = {level: rank for rank, level in enumerate(get_args(LoggingLevel))}


class SetLevelRequestParams(RequestParams, kw_only=True):
    """The least severe level that is sent (session-based revisions; in the stateless one it is in `_meta`).

    Its type refuses an unknown level (R-2B5).
    """

    level: LoggingLevel


class LoggingMessageNotificationParams(NotificationParams, kw_only=True):
    """One log message."""

    level: LoggingLevel
    logger: str | UnsetType = UNSET
    data: Any


# -- cancellation ----------------------------------------------------------------------------------------------


class CancelledNotificationParams(NotificationParams, kw_only=True):
    """Which request is cancelled, and a reason.

    The id is optional in 2025-11-25, where a task is cancelled by `tasks/cancel` instead.
    """

    request_id: RequestId | UnsetType = UNSET
    reason: str | UnsetType = UNSET


# -- `subscriptions/listen` of 2026-07-28: one stream with the notifications that a client requested -------------
#
# Every message of the stream has the id of the listen request, with its JSON type, in
# `_meta["io.modelcontextprotocol/subscriptionId"]` (R-2C3).


class SubscriptionFilter(Message, kw_only=True):
    """The requested or accepted notifications; absent ones are not requested.

    Attributes:
        task_ids: of the tasks extension: those whose changes are requested.
    """

    tools_list_changed: bool | UnsetType = UNSET
    prompts_list_changed: bool | UnsetType = UNSET
    resources_list_changed: bool | UnsetType = UNSET
    resource_subscriptions: list[str] | UnsetType = UNSET
    task_ids: list[str] | UnsetType = UNSET


class SubscriptionsListenRequestParams(RequestParams, kw_only=True):
    """What to listen to."""

    notifications: SubscriptionFilter


class SubscriptionsAcknowledgedNotificationParams(NotificationParams, kw_only=True):
    """The first message of the stream: the subset of the filter that is accepted."""

    notifications: SubscriptionFilter


class SubscriptionsListenResult(Result):
    """The last message of the stream, when the server ends it."""
