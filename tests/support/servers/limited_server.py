"""A server with short limits for its connections, in a thread of this process.

Times are multiples of `UNIT`, so that a machine under load can be given more with `ENFILADE_SLOW_UNIT`. Easy to
get wrong: a client that only waits shows nothing. What is waited for is always an event of the server: the end of
a connection, or a message that the application received.
"""

import asyncio
import os
import socket
import time
from typing import Any

from msgspec.structs import replace

from enfilade.transports.http11.connection_timeouts import ConnectionLimits
from enfilade.transports.http11.protocol import HttpProtocol
from support.http_client.raw_http import App, Server, answer, read

UNIT = float(os.environ.get("ENFILADE_SLOW_UNIT", "0.1"))
LARGE = 20 * 1024 * 1024

#: No limit that a test did not ask for ends anything.
LONG = ConnectionLimits(header_timeout=60, body_timeout=60, idle_timeout=60, write_timeout=60)


class SlowApp(App):
    """Does what the path says, as its base does, and remembers what it received."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[tuple[str, bool]] = []
        self.sizes: list[int] = []

    async def record(self, scope: Any, receive: Any, send: Any) -> None:
        """Receive to the end of the body, or of the connection."""
        size = 0
        while True:
            message = await receive()
            self.received.append((message["type"], message.get("more_body", False)))
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        self.sizes.append(size)
        await answer(send, b"%d" % size)

    async def reads_late(self, scope: Any, receive: Any, send: Any) -> None:
        """Ask for the body when the test says so."""
        while not self.go.is_set():
            await asyncio.sleep(0.005)
        await answer(send, b"%d" % len(await read(receive)))

    async def blocks(self, scope: Any, receive: Any, send: Any) -> None:
        """Block the event loop for much longer than any limit of a test."""
        time.sleep(6 * UNIT)
        await answer(send, b"blocked")

    async def large(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer with a large body at once."""
        await answer(send, bytes(LARGE))

    async def refuses(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer without a look at the body."""
        headers = [(b"content-length", b"9")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"too large"})


class Limited(Server):
    """A server whose connections have limits.

    Args:
        loop: asyncio or uvloop.
        limits: in place of long ones.
    """

    def __init__(self, loop: str, **limits: Any) -> None:
        self.slow_app = SlowApp()
        super().__init__(self.slow_app, http=HttpProtocol, loop=loop)
        self._server.config.connection_limits = replace(LONG, **limits)  # type: ignore[attr-defined]  # ours

    def connections(self) -> int:
        """How many connections there are."""
        return len(self.state.connections)


def small_reader(port: int) -> socket.socket:
    """Return a connection that takes little at a time, so that the server notices a client that does not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", port))
    return connection
