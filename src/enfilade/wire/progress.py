"""Progress of a request in flight.

Easy to get wrong: the token keeps its JSON type, and `progress` must grow with every notification, also
where the total is unknown (R-2B0).
"""

from math import isfinite
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from enfilade.wire.message import NotificationParams, ProgressToken

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
