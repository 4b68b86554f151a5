"""An ASGI application called directly: no socket and no server, for tests that count what happens inside.

Every message that comes back is checked against the schema of its revision, as everywhere.
"""

import asyncio
import json
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from support.exchanges import Message, messages_of, requests_over_http
from support.http_client.connection import BOTH, CLIENT, HeaderValue, modern_headers, request_of, stateless_meta

NO_SESSIONS: dict[str, str] = {}


@dataclass
class AsgiReply:
    """A whole response, and how many ASGI messages it took."""

    status: int
    headers: dict[str, str]
    body: bytes
    sends: int

    @property
    def messages(self) -> list[Message]:
        return messages_of(self.headers.get("content-type", ""), self.body)

    @property
    def response(self) -> Message:
        (found,) = [message for message in self.messages if "method" not in message]
        return found

    @property
    def result(self) -> dict[str, Any]:
        assert "result" in self.response, self.response
        result: dict[str, Any] = self.response["result"]
        return result


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
        params = {"protocolVersion": revision, "capabilities": capabilities or {}, "clientInfo": CLIENT}
        answered = await self.post(request_of("initialize", params, 1, None), **headers)
        if "mcp-session-id" in answered.headers:
            self.sessions[answered.headers["mcp-session-id"]] = answered.result["protocolVersion"]
        return answered

    async def ask(
        self, token: str, method: str, params: dict[str, Any] | None = None, **headers: HeaderValue
    ) -> AsgiReply:
        """Send a request within a session."""
        return await self.post(request_of(method, params, 1, None), mcp_session_id=token, **headers)
