"""Log lines about what is refused because of a limit, a setting, or bad HTTP: for whoever runs the server.

Clients decide how often this happens. So there is at most one line a second for each limit, with the number of
those left out, and a flood of one kind does not hide the others.
"""

import logging
from typing import Any, Final

from enfilade.counters import count
from enfilade.serving.failures import LimitedLog
from enfilade.wire.jsonrpc import RpcError

log = logging.getLogger("enfilade.transports")

Address = tuple[str, int | None]


class RefusalError(RpcError):
    """A request is refused because of a limit or a setting.

    Args:
        setting: the name of it, for the log; empty for a limit that is fixed.
    """

    is_refusal = True

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
        self._limits: dict[str | int | None, LimitedLog] = {}  # by setting, or by status without one

    def warn(self, client_address: Address | None, status: int | None, reason: str, setting: str = "") -> None:
        """Log a refusal, or count it.

        Args:
            setting: the name of the setting that is the reason; empty if there is none.
        """
        kind = setting or status
        count("requests_refused", setting or str(status or 400))
        if kind not in self._limits:
            self._limits[kind] = LimitedLog(log, self._interval)
        sender = f"{client_address[0]}:{client_address[1]}" if client_address else "a client"
        response = reason if status is None else f"HTTP {status}: {reason}"
        limit = f" ({setting})" if setting else ""
        self._limits[kind].write(logging.WARNING, "%s - %s%s", sender, response, limit)


refusals: Final = RefusalLog()


def log_refusal(client_address: Address | None, error: RpcError, status: int) -> None:
    """Log that a request is refused, if a limit or a setting is the reason."""
    if isinstance(error, RefusalError):
        refusals.warn(client_address, status, error.message, error.setting)
