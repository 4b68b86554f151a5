"""Many streams that wait for changes, without a process, a port or a client of their own."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from enfilade import MCPApp
from enfilade.serving import subscriptions
from enfilade.transports.http11.protocol import HttpProtocol
from support.counting import Socket
from support.http_client.connection import INITIALIZE, modern_headers, request_of, stateless_meta

KINDS = ["session", "stateless"]

CHANGE = b'"notifications/tools/list_changed"'


def one() -> str:
    """Return nothing much."""
    return ""


class Streams:
    """An app with many open streams, each on a connection of its own.

    Args:
        store: what the app is given.

    Attributes:
        app: it has one tool.
        sockets: the clients' ends of the streams.
    """

    def __init__(self, store: str | None = None) -> None:
        self.app = MCPApp("change", store=store)
        self.app.tool(one)
        self._config = uvicorn.Config(self.app, log_config=None)
        self._protocols: list[HttpProtocol] = []
        self.sockets: list[Socket] = []

    async def _send(self, method: str, headers: dict[str, str], message: Any = None) -> Socket:
        body = b"" if message is None else json.dumps(message).encode()
        fields = {
            "host": "localhost",
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        state, socket = ServerState(), Socket()
        state.default_headers = [(b"date", b"today")]
        protocol = HttpProtocol(self._config, state, {})
        self._protocols.append(protocol)
        protocol.connection_made(socket)
        protocol.data_received(f"{method} /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
        while not socket.sent:
            await asyncio.sleep(0)
        assert socket.sent.startswith(b"HTTP/1.1 200"), socket.sent
        return socket

    async def open(self, kind: str) -> None:
        """Open a stream for changes of tools."""
        if kind == "session":
            head = (await self._send("POST", {}, INITIALIZE)).sent
            session = next(line[16:] for line in head.split(b"\r\n") if line.startswith(b"mcp-session-id: "))
            socket = await self._send("GET", {"mcp-session-id": session.decode()})
        else:
            params = {"notifications": {"toolsListChanged": True}}
            message = request_of("subscriptions/listen", params, len(self.sockets), stateless_meta())
            socket = await self._send("POST", _with_hyphens(modern_headers(message)), message)
        self.sockets.append(socket)

    async def change(self) -> None:
        """Announce a change, and return when every stream has it and the log as well."""
        for socket in self.sockets:
            socket.sent = b""
        self.app.changes.announce(subscriptions.TOOLS)
        await asyncio.sleep(0.3)
        while not all(socket.sent for socket in self.sockets):
            await asyncio.sleep(0.1)
        assert all(socket.sent.count(CHANGE) == 1 for socket in self.sockets)

    def disconnect(self) -> None:
        """Let all clients go."""
        for protocol in self._protocols:
            protocol.connection_lost(None)

    async def close(self) -> None:
        """Let all clients go, and end whatever still runs."""
        self.disconnect()
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


def _with_hyphens(headers: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
