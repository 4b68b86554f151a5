"""How a connection ends on which no further request can be served: the response, the log line, and the close.

If a server closes a socket while the client still sends, the kernel resets the connection, and the client may
lose the response. So the sending half is closed first, and what still comes is read and discarded for a moment
(RFC 9112 §9.6). Easy to get wrong: a client that sends without end must not hold the connection that way, so
time and bytes are limited.
"""

import asyncio
import logging
import time
from typing import Any, Final

from enfilade.transports.http_cycle import STATUS_LINES

LINGER: Final = 2.0  # seconds in which a client can read a response that refuses what it still sends

log = logging.getLogger("uvicorn.error")


class RefusalLog:
    """Log lines about bad requests: whoever sends many of them cannot fill the log.

    Args:
        interval: seconds between two lines of a process; lines in between are counted.
    """

    def __init__(self, interval: float = 1.0) -> None:
        self._interval = interval
        self._next = 0.0
        self._unshown = 0

    def warn(self, peer: tuple[str, int] | None, reason: str) -> None:
        """Log a refusal, or count it."""
        now = time.monotonic()
        if now < self._next:
            self._unshown += 1
            return
        unshown, self._unshown = self._unshown, 0
        self._next = now + self._interval
        sender = f"{peer[0]}:{peer[1]}" if peer else "a client"
        more = f" ({unshown} more bad requests since the last line)" if unshown else ""
        log.warning("%s - %s%s", sender, reason, more)


refusals: Final = RefusalLog()


def response_of(status: int, reason: str, default_lines: bytes) -> bytes:
    """Return the whole response that refuses a request.

    Args:
        default_lines: header lines that every response has.
    """
    body = reason.encode()
    return b"%b%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
        STATUS_LINES[status],
        default_lines,
        len(body),
        body,
    )


class LingeringClose:
    """Closes a connection so that its client can read what was written.

    Args:
        transport: of the connection, whose reading is not paused.
        limit: most bytes that are discarded meanwhile.
    """

    def __init__(self, transport: Any, limit: int) -> None:
        self._transport = transport
        self._left = limit
        self._timer: asyncio.TimerHandle | None = None
        if not transport.can_write_eof():  # TLS has no half-closed connection
            transport.close()
        elif not transport.is_closing():
            transport.write_eof()
            self._timer = asyncio.get_running_loop().call_later(LINGER, self._close)

    def cancel(self) -> None:
        """Forget the connection: it is closed."""
        if self._timer is not None:
            self._timer.cancel()

    def discard(self, size: int) -> None:
        """Take note that so many bytes came and were dropped; read no more once there were enough of them.

        To close the connection then would reset it, before the client has read the response.
        """
        self._left -= size
        if self._left < 0:
            self._transport.pause_reading()

    def _close(self) -> None:
        if self._transport.get_write_buffer_size():  # whose time is limited by `write_timeout`
            self._timer = asyncio.get_running_loop().call_later(LINGER, self._close)
        else:
            self._transport.close()
