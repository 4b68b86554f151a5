"""Cancellation of a request in flight, in either direction.

Easy to get wrong: the id is the one the *sender* of this notification gave to its request; client and server
number theirs independently.
"""

from msgspec import UNSET, UnsetType

from enfilade.wire.message import NotificationParams, RequestId


class CancelledNotificationParams(NotificationParams, kw_only=True):
    """Which request is cancelled, and a reason.

    The id is optional in 2025-11-25, where a task is cancelled by `tasks/cancel` instead.
    """

    request_id: RequestId | UnsetType = UNSET
    reason: str | UnsetType = UNSET
