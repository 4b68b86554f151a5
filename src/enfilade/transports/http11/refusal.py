"""How a connection ends on which no further request can be served: the response, and the close.

If a server closes a socket while the client still sends, the kernel resets the connection, and the client may
lose the response. So the sending half is closed first, and what still comes is read and discarded for a moment
(RFC 9112 §9.6). Easy to get wrong: a client that sends without end must not hold the connection that way, so
time and bytes are limited.
"""

import asyncio
from typing import Any, Final

from enfilade.transports.http11.request_cycle import STATUS_LINES

LINGER: Final = 2.0  # seconds in which a client can read a response that refuses what it still sends


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
