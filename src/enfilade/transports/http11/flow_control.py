"""Back-pressure on one HTTP connection: writers wait for the client to read, reading for the app to consume.

The easy thing to get wrong is what is made too early: most connections never have to wait, and an idle stream is
one of thousands, so what is waited on is there only while somebody waits.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from typing import Final

# Seconds to linger: none. Windows has shorter fields.
_NO_LINGER: Final = struct.pack("HH" if sys.platform == "win32" else "ii", 1, 0)


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


class Flow:
    """What may be read from a connection and written to it now.

    Args:
        transport: that of the connection.

    Attributes:
        read_paused: whether reading is paused.
        resumptions: how often the client has made room for whoever waited to write.
        write_paused: whether who writes should wait until there is room.
    """

    __slots__ = ("_transport", "_writable", "read_paused", "resumptions", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        self.resumptions = 0
        self._writable: asyncio.Event | None = None  # there while somebody waits for it

    async def drain(self) -> None:
        """Wait until there is room again."""
        if self.write_paused:
            self._writable = self._writable or asyncio.Event()
            await self._writable.wait()

    def pause_reading(self) -> None:
        """Let the client wait with what it sends."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take again what the client sends."""
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Let whoever writes wait: the client does not read."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Let them go on: the client reads again, or has gone."""
        self.write_paused = False
        self.resumptions += 1
        if self._writable is not None:
            self._writable.set()
            self._writable = None
