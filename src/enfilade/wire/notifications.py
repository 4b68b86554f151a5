"""Notifications about a request in flight: progress and log messages to the client, cancellation either way.

Easy to get wrong: a progress token keeps its JSON type, and `progress` must grow with every notification, also
where the total is unknown (R-2B0).
"""

from math import isfinite
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.message import NotificationParams, ProgressToken, RequestId, RequestParams

_encode: Final = msgspec.json.Encoder().encode


class ProgressNotificationParams(NotificationParams, kw_only=True):
    """How far a request has come; `progress` and `total` are in the sender's own units."""

    progress_token: ProgressToken
    progress: int | float
    total: int | float | UnsetType = UNSET
    message: str | UnsetType = UNSET


class ProgressNotifications:
    """Encodes the notifications of one token; their constant part is encoded once.

    Args:
        token: of the request.
        with_messages: whether the client's revision defines messages.
    """

    __slots__ = ("_head", "_tail", "_total", "_with_messages")

    def __init__(self, token: ProgressToken, *, with_messages: bool) -> None:
        self._head = (
            b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":'
            + _encode(token)
            + b',"progress":'
        )
        self._with_messages = with_messages
        self._total: float | None = None
        self._tail = b"}}"

    def encoded(self, progress: float, total: float | None, message: str | None) -> bytes:
        """Return a notification, equal to `ProgressNotificationParams` with the same values.

        A total that is not finite is omitted, as JSON has no number for it.
        """
        if total is not self._total:
            is_finite = total is not None and isfinite(total)
            self._tail = b',"total":' + _encode(total) + b"}}" if is_finite else b"}}"
            self._total = total
        if message is None or not self._with_messages:
            return self._head + _encode(progress) + self._tail
        return self._head + _encode(progress) + self._tail[:-2] + b',"message":' + _encode(message) + b"}}"


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
