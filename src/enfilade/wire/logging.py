"""Log messages to the client.

Easy to get wrong: `data` is any JSON value, and null is one of them (R-502).
"""

from typing import Any, Literal, get_args

from msgspec import UNSET, UnsetType

from enfilade.wire.message import NotificationParams, RequestParams

LoggingLevel = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]

# RFC 5424 severities, least severe first: a message is sent if it is at least as severe as the requested level
# (R-2B4).
SEVERITY: dict[LoggingLevel, int] = {level: rank for rank, level in enumerate(get_args(LoggingLevel))}


class SetLevelRequestParams(RequestParams, kw_only=True):
    """The least severe level that is sent (session-based revisions; in the stateless one it is in `_meta`)."""

    level: LoggingLevel


class LoggingMessageNotificationParams(NotificationParams, kw_only=True):
    """One log message."""

    level: LoggingLevel
    logger: str | UnsetType = UNSET
    data: Any
