"""An ASGI application called directly: no socket and no server, for tests that count what happens inside.

Every message that comes back is checked against the schema of its revision, as everywhere.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from support.exchanges import HttpReply, Message, messages_of, requests_over_http
from support.http_client.connection import (
    BOTH,
    HeaderValue,
    initialize_request,
    modern_headers,
    request_of,
    stateless_meta,
)
from support.waiting import until

Application = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class AsgiReply(HttpReply):
    """A whole response, and how many ASGI messages it took."""

    status: int
    headers: dict[str, str]
    body: bytes
    sends: int

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


class AsgiClient:
    """Calls an MCP endpoint as a server would.

    Args:
        app: the ASGI application.
        path: of the endpoint.
    """

    def __init__(self, app: Any, path: str = "/mcp") -> None:
        self.app = app
        self.path = path
        self.sessions: dict[str, str] = {}

    def scope(self, fields: dict[str, HeaderValue], method: str = "POST") -> dict[str, Any]:
        """Return the scope of a request."""
        headers = [
            (name.replace("_", "-").encode(), value.encode("latin-1") if isinstance(value, str) else value)
            for name, value in {"host": "127.0.0.1:8000", **fields}.items()
            if isinstance(value, str | bytes)
        ]
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }

    async def send(self, scope: dict[str, Any], body: bytes) -> AsgiReply:
        """Send a request that is ready, and return the response unchecked: for tests that count every step."""
        unread = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            if unread:
                return unread.pop()
            await asyncio.Event().wait()
            raise AssertionError("nobody disconnects")

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        head = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent[0]["headers"]}
        whole = b"".join(message.get("body", b"") for message in sent)
        return AsgiReply(sent[0]["status"], head, whole, len(sent))

    async def post(self, message: Any, **headers: HeaderValue) -> AsgiReply:
        """POST a message; every message of the response is checked."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        fields: dict[str, HeaderValue] = {"content-type": "application/json", "accept": BOTH, **headers}
        answered = await self.send(self.scope(fields), body)
        plain = {name.replace("_", "-"): value for name, value in fields.items() if isinstance(value, str)}
        asked = requests_over_http(body, plain, self.sessions)
        for each in answered.messages:
            asked.check(each)
        return answered

    async def modern(
        self, method: str, params: dict[str, Any] | None = None, **headers: HeaderValue
    ) -> AsgiReply:
        """Send a stateless request with the headers that are due."""
        message = request_of(method, params, 1, stateless_meta())
        return await self.post(message, **{**modern_headers(message), **headers})

    async def initialize(
        self, revision: str = "2025-11-25", capabilities: dict[str, Any] | None = None, **headers: HeaderValue
    ) -> AsgiReply:
        """Open a session."""
        answered = await self.post(initialize_request(revision, capabilities), **headers)
        if "mcp-session-id" in answered.headers:
            self.sessions[answered.headers["mcp-session-id"]] = answered.result["protocolVersion"]
        return answered

    async def ask(
        self, token: str, method: str, params: dict[str, Any] | None = None, **headers: HeaderValue
    ) -> AsgiReply:
        """Send a request within a session."""
        return await self.post(request_of(method, params, 1, None), mcp_session_id=token, **headers)


class PausableRequest:
    """One request to an ASGI application, by a client that reads only while `reading` is set.

    Args:
        app: the application.
        scope: what is asked.
        body: the request's body.
        on_head: called when the response begins.
    """

    def __init__(
        self,
        app: Application,
        scope: dict[str, Any],
        body: bytes = b"",
        on_head: Callable[[], object] | None = None,
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.reading = asyncio.Event()
        self.reading.set()
        self._on_head = on_head
        self._unread = [{"type": "http.request", "body": body, "more_body": False}]
        self._gone = asyncio.Event()
        self.task: asyncio.Task[None] = asyncio.ensure_future(self._serve(app, scope))

    @property
    def messages(self) -> Iterator[Message]:
        """What has been read so far."""
        return iter(messages_of("text/event-stream", self.body))

    def leave(self) -> None:
        """Leave."""
        self._gone.set()

    async def until(self, look: Callable[[], object]) -> None:
        """Wait for something to become true."""
        await until(look)

    async def _serve(self, app: Application, scope: dict[str, Any]) -> None:
        await app(scope, self._receive, self._send)

    async def _receive(self) -> MutableMapping[str, Any]:
        if self._unread:
            return self._unread.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            if self._on_head is not None:
                self._on_head()
        else:
            await self.reading.wait()
            self.body += message.get("body", b"")
