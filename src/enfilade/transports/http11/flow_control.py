"""BackPressure control of one connection, and the two ways to close it that the transport does not have.

Writers wait until the client reads; reading pauses until the application consumes. The back-pressure of an event
stream is in `http/sse_stream.py`. Most connections never wait, and an idle stream is one of thousands, so the
event to wait on exists only while somebody waits.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from contextvars import Context
from typing import Any, Final

#: Seconds in which a client can read a response that refuses what it still sends.
LINGER: Final = 2.0

# The option SO_LINGER, on, with 0 seconds. Windows has shorter fields.
_NO_LINGER: Final = struct.pack("HH" if sys.platform == "win32" else "ii", 1, 0)


class BackPressure:
    """What may be read from a connection and written to it now.

    Args:
        context: of the connection. In it reading goes on, whoever says so: an event loop calls what reads in the
            context in which reading began, and a request leaves nothing of its own to those behind it.

    Attributes:
        read_paused: whether reading is paused.
        resumptions: how often the client has made room for waiting writers.
        write_paused: whether writers should wait for room.
    """

    __slots__ = ("_context", "_transport", "_writable", "read_paused", "resumptions", "write_paused")

    def __init__(self, transport: asyncio.Transport, context: Context) -> None:
        self._transport = transport
        self._context = context
        self.read_paused = False
        self.write_paused = False
        self.resumptions = 0
        self._writable: asyncio.Event | None = None  # exists while somebody waits for it

    async def wait_writable(self) -> None:
        """Wait until there is room to write."""
        if self.write_paused:
            self._writable = self._writable or asyncio.Event()
            await self._writable.wait()

    def pause_reading(self) -> None:
        """Read no more from the client."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the client again."""
        if self.read_paused:
            self.read_paused = False
            self._context.copy().run(self._transport.resume_reading)

    def pause_writing(self) -> None:
        """Make writers wait: the client does not read."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Wake the writers: the client reads again, or has gone."""
        self.write_paused = False
        self.resumptions += 1
        if self._writable is not None:
            self._writable.set()
            self._writable = None


def reset(transport: asyncio.Transport) -> None:
    """Close a connection so that its client sees a reset, and the kernel drops what it has not delivered.

    `abort()` drops the buffer of the transport only. The kernel would keep its own for minutes, and end what the
    client reads as if it were complete (RFC 9293 §3.10.4 is the close, §3.10.5 the abort that is meant).
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != getattr(socket, "AF_UNIX", None):
        with contextlib.suppress(OSError, ValueError):  # it is closed already
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


class LingeringClose:
    """Closes a connection in a way that lets its client read the response while it still sends (RFC 9112 §9.6).

    A server that closes a socket with unread input makes the kernel reset the connection, and the client may lose
    the response. So the sending half is closed first, and input is read and dropped for a moment. Time and bytes
    are limited, or a client that sends without end would hold the connection.

    Args:
        transport: of the connection, whose reading is not paused.
        limit: most bytes that are dropped meanwhile.
    """

    def __init__(self, transport: Any, limit: int) -> None:
        self._transport = transport
        self._remaining = limit
        self._timer: asyncio.TimerHandle | None = None
        if not transport.can_write_eof():  # TLS has no half-closed connection
            transport.close()
        elif not transport.is_closing():
            transport.write_eof()
            self._timer = asyncio.get_running_loop().call_later(LINGER, self._close)

    def cancel(self) -> None:
        """Stop the timer, since the connection is closed."""
        if self._timer is not None:
            self._timer.cancel()

    def discard(self, size: int) -> None:
        """Count bytes that came and were dropped; stop reading above the limit.

        Closing the connection then would reset it before the client has read the response.
        """
        self._remaining -= size
        if self._remaining < 0:
            self._transport.pause_reading()

    def _close(self) -> None:
        if self._transport.get_write_buffer_size():  # whose time is limited by `write_timeout`
            self._timer = asyncio.get_running_loop().call_later(LINGER, self._close)
        else:
            self._transport.close()
