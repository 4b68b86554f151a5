"""`subscriptions/listen` of 2026-07-28: one stream with the notifications that a client requested.

Easy to get wrong: every message of the stream has the id of the listen request in
`_meta["io.modelcontextprotocol/subscriptionId"]`, with its JSON type (R-2C3).
"""

from msgspec import UNSET, UnsetType

from enfilade.wire.message import Message, NotificationParams, RequestParams, Result


class SubscriptionFilter(Message, kw_only=True):
    """The requested or accepted notifications; absent ones are not requested."""

    tools_list_changed: bool | UnsetType = UNSET
    prompts_list_changed: bool | UnsetType = UNSET
    resources_list_changed: bool | UnsetType = UNSET
    resource_subscriptions: list[str] | UnsetType = UNSET


class SubscriptionsListenRequestParams(RequestParams, kw_only=True):
    """What to listen to."""

    notifications: SubscriptionFilter


class SubscriptionsAcknowledgedNotificationParams(NotificationParams, kw_only=True):
    """The first message of the stream: the subset of the filter that is accepted."""

    notifications: SubscriptionFilter


class SubscriptionsListenResult(Result):
    """The last message of the stream, when the server ends it."""
