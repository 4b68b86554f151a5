"""Progress of a request in flight.

Easy to get wrong: the token goes back with the JSON type it came with, and `progress` must grow with every
notification, also where the total is unknown (R-2B0).
"""

from msgspec import UNSET, UnsetType

from enfilade.wire.message import NotificationParams, ProgressToken


class ProgressNotificationParams(NotificationParams, kw_only=True):
    """How far a request has come; `progress` and `total` are in the sender's own units."""

    progress_token: ProgressToken
    progress: int | float
    total: int | float | UnsetType = UNSET
    message: str | UnsetType = UNSET
