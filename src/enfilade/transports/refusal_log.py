"""Log lines about what is refused because of a limit, a setting, or bad HTTP: for whoever runs the server.

The easy thing to get wrong is that clients decide how often this happens. So there is at most one line a second
for each limit, with the number of those left out, and a flood of one kind does not hide the others.
"""

import logging
import time
from typing import Any, Final

from enfilade.serving.failures import log_safely
from enfilade.wire.jsonrpc import RpcError

log = logging.getLogger("enfilade.transports")

Peer = tuple[str, int | None]


class RefusalError(RpcError):
    """A request is refused because of a limit or a setting.

    Args:
        setting: the name of it, for the log; empty for a limit that is fixed.
        code: JSON-RPC error code.
        message: one sentence for the client.
        kwargs: as for `RpcError`.
    """

    def __init__(self, setting: str, code: int, message: str, **kwargs: Any) -> None:
        super().__init__(code, message, **kwargs)
        self.setting = setting


class RefusalLog:
    """Logs what is refused; a client that is refused often cannot fill the log.

    Args:
        interval: seconds between two lines of a process about one limit; what is refused in between is counted.
    """

    def __init__(self, interval: float = 1.0) -> None:
        self._interval = interval
        # For each setting, or status without one: when the next line may come, and how many were left out.
        self._limits: dict[str | int | None, tuple[float, int]] = {}

    def warn(self, peer: Peer | None, status: int | None, reason: str, setting: str = "") -> None:
        """Log a refusal, or count it.

        Args:
            peer: address of the client, if it has one.
            status: of the HTTP response, if there is one.
            reason: what the client was told.
            setting: the name of the setting that is the reason; empty if there is none.
        """
        kind, now = setting or status, time.monotonic()
        after, left_out = self._limits.get(kind, (0.0, 0))
        if now < after:
            self._limits[kind] = after, left_out + 1
            return
        self._limits[kind] = now + self._interval, 0
        sender = f"{peer[0]}:{peer[1]}" if peer else "a client"
        told = reason if status is None else f"HTTP {status}: {reason}"
        limit = f" ({setting})" if setting else ""
        more = f" ({left_out} more since the last such line)" if left_out else ""
        log_safely(log, logging.WARNING, "%s - %s%s%s", sender, told, limit, more)


refusals: Final = RefusalLog()


def log_refusal(peer: Peer | None, error: RpcError, status: int) -> None:
    """Log that a request is refused, if a limit or a setting is the reason.

    Args:
        peer: address of the client, if it has one.
        error: the outcome of the request.
        status: of the response.
    """
    if isinstance(error, RefusalError):
        refusals.warn(peer, status, error.message, error.setting)
