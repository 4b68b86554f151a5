"""HTTP as a test wants to speak it: any header, any number of times, any bytes, and a connection that can be cut.

Every message that comes back is checked against the schema of its revision. Easy to get wrong: `None` as a
header's value leaves a header out that would be sent by default.
"""

import contextlib
import http.client
import json
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any, Self

from enfilade.wire.headers import NAMED_BY
from enfilade.wire.revisions import LATEST_HANDSHAKE, LATEST_STATELESS
from support.exchanges import HttpReply, Message, SentRequests, event_data, requests_over_http

TIMEOUT = 60.0

BOTH = "application/json, text/event-stream"

HeaderValue = str | bytes | list[str | bytes] | None

CLIENT = {"name": "harness", "version": "1"}


def stateless_meta(**members: Any) -> dict[str, Any]:
    """Return the `_meta` of a stateless request; further members are those of `io.modelcontextprotocol/`."""
    prefix = "io.modelcontextprotocol/"
    required = {"protocolVersion": LATEST_STATELESS, "clientCapabilities": {}}
    return {prefix + name: value for name, value in {**required, **members}.items()}


def request_of(method: str, params: dict[str, Any] | None, id: Any, meta: dict[str, Any] | None) -> Message:
    """Return a request as a message."""
    message: Message = {"jsonrpc": "2.0", "id": id, "method": method}
    if params is not None or meta is not None:
        message["params"] = {**(params or {}), **({} if meta is None else {"_meta": meta})}
    return message


def initialize_request(revision: str, capabilities: dict[str, Any] | None = None, id: Any = 1) -> Message:
    """Return the request that opens a session."""
    params = {"protocolVersion": revision, "capabilities": capabilities or {}, "clientInfo": CLIENT}
    return request_of("initialize", params, id, None)


INITIALIZE = initialize_request("2025-11-25")


class PendingReply:
    """A request that was sent, and whatever comes back for it.

    Args:
        connection: where it was sent.
        asked: what it asks for; an attribute too.
        sessions: where a session that it opens is noted.
    """

    def __init__(
        self, connection: http.client.HTTPConnection, asked: SentRequests, sessions: dict[str, str]
    ) -> None:
        self._connection = connection
        self._socket: socket.socket = connection.sock
        self.asked = asked
        self._sessions = sessions
        self._response: http.client.HTTPResponse | None = None

    @property
    def response(self) -> http.client.HTTPResponse:
        if self._response is None:
            self._response = self._connection.getresponse()
        return self._response

    @property
    def status(self) -> int:
        return self.response.status

    def header(self, name: str) -> str | None:
        return self.response.getheader(name)

    def read(self) -> "Reply":
        """Wait for the end of the response."""
        reply = Reply(self.response, self.response.read())
        self.close()
        for message in reply.messages:
            self.asked.check(message)
        self._note_session(reply)
        return reply

    def events(self) -> Iterator[Message]:
        """Yield the messages of a stream as they come, to its end."""
        for data in event_data(line.decode() for line in self._lines()):
            message = json.loads(data)
            self.asked.check(message)
            yield message

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of a stream as they come, comments included."""
        return self._lines()

    def _lines(self) -> Iterator[bytes]:
        while line := self.response.readline():
            yield line.rstrip(b"\n")

    def limit(self, seconds: float) -> None:
        """Let what is read from here on fail with a TimeoutError after that long."""
        self._socket.settimeout(seconds)

    def cut(self) -> None:
        """Break the connection off."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self.close()

    def reset(self) -> None:
        """Let the connection break without a goodbye: the server gets a reset in place of an end."""
        linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._connection.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _note_session(self, reply: "Reply") -> None:
        token = reply.header("mcp-session-id")
        if token is not None and len(reply.messages) == 1 and "result" in reply.messages[0]:
            self._sessions[token] = reply.messages[0]["result"].get("protocolVersion", self._sessions.get(token))


class Reply(HttpReply):
    """A whole response over a socket."""

    def __init__(self, response: http.client.HTTPResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = [(name.lower(), value) for name, value in response.getheaders()]
        self.body = body

    def header(self, name: str) -> str | None:
        """Return the value of a header; there must not be two."""
        found = [value for key, value in self.headers if key == name.lower()]
        assert len(found) < 2, f"{name} was sent {len(found)} times"
        return found[0] if found else None


class Http:
    """Talks to the MCP endpoint at a port of this machine. Each request has a connection of its own."""

    def __init__(self, port: int, path: str = "/mcp") -> None:
        self.port = port
        self.path = path
        self.sessions: dict[str, str] = {}

    def start(
        self,
        verb: str,
        body: bytes = b"",
        headers: dict[str, HeaderValue] | None = None,
        *,
        path: str | None = None,
    ) -> PendingReply:
        """Send a request and wait for nothing."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        connection.putrequest(verb, path or self.path, skip_host=True, skip_accept_encoding=True)
        fields = {"host": f"127.0.0.1:{self.port}", "content-length": str(len(body)), **(headers or {})}
        for name, value in fields.items():
            for each in value if isinstance(value, list) else [value]:
                if each is not None:
                    connection.putheader(name, each)
        connection.endheaders()
        # A body that is too large is answered before it was all sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(body)
        plain = {name: value for name, value in fields.items() if isinstance(value, str)}
        return PendingReply(connection, requests_over_http(body, plain, self.sessions), self.sessions)

    def request(self, verb: str, body: bytes = b"", *arguments: Any, **options: Any) -> Reply:
        """Send a request, as `start` does, and wait for the whole response."""
        return self.start(verb, body, *arguments, **options).read()

    def start_post(self, message: Any, **headers: HeaderValue) -> PendingReply:
        """POST a message (or bytes, as they are); `mcp_method="x"` is the header `Mcp-Method`."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        fields: dict[str, HeaderValue] = {"content-type": "application/json", "accept": BOTH}
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        return self.start("POST", body, fields)

    def post(self, message: Any, **headers: HeaderValue) -> Reply:
        return self.start_post(message, **headers).read()

    def start_modern(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        id: Any = 1,
        meta: dict[str, Any] | None = None,
        **headers: HeaderValue,
    ) -> PendingReply:
        """Send a stateless request, with the headers that are due unless others are given."""
        message = request_of(method, params, id, {**stateless_meta(), **(meta or {})})
        return self.start_post(message, **{**modern_headers(message), **headers})

    def modern(self, method: str, params: dict[str, Any] | None = None, **more: Any) -> Reply:
        """Send a stateless request, as `start_modern` does, and wait for the whole response."""
        return self.start_modern(method, params, **more).read()

    def modern_call(self, tool: str, /, **arguments: Any) -> Reply:
        return self.modern("tools/call", {"name": tool, "arguments": arguments})

    def initialize(
        self, revision: str = LATEST_HANDSHAKE, capabilities: dict[str, Any] | None = None, **headers: HeaderValue
    ) -> "HttpSession":
        """Open a session."""
        reply = self.post(initialize_request(revision, capabilities, 0), **headers)
        token = reply.header("mcp-session-id")
        assert token is not None, (reply.status, reply.body)
        return HttpSession(self, token, reply.result["protocolVersion"])

    def raw(self, data: bytes) -> socket.socket:
        """Send bytes as they are and return the connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)
        connection.sendall(data)
        return connection


class HttpSession:
    """One session of the session era."""

    def __init__(self, http: Http, token: str, revision: str) -> None:
        self.http, self.token, self.revision = http, token, revision

    @property
    def headers(self) -> dict[str, HeaderValue]:
        version = self.revision if self.revision >= "2025-06-18" else None
        return {"mcp_session_id": self.token, "mcp_protocol_version": version}

    def start(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        id: Any = 1,
        meta: dict[str, Any] | None = None,
        **headers: HeaderValue,
    ) -> PendingReply:
        """Send a request of the session."""
        return self.http.start_post(request_of(method, params, id, meta), **{**self.headers, **headers})

    def ask(self, method: str, params: dict[str, Any] | None = None, **more: Any) -> Reply:
        return self.start(method, params, **more).read()

    def call(self, tool: str, /, *, id: Any = 1, **arguments: Any) -> Reply:
        return self.ask("tools/call", {"name": tool, "arguments": arguments}, id=id)

    def post(self, message: Any, **headers: HeaderValue) -> Reply:
        """POST any message within the session."""
        return self.http.post(message, **{**self.headers, **headers})

    def start_post(self, message: Any) -> PendingReply:
        """POST any message within the session, and wait for nothing."""
        return self.http.start_post(message, **self.headers)

    def cancel(self, id: Any) -> Reply:
        params = {"requestId": id, "reason": "enough"}
        return self.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    def delete(self) -> Reply:
        fields = {name.replace("_", "-"): value for name, value in self.headers.items()}
        return self.http.request("DELETE", b"", fields)


def modern_headers(message: Message) -> dict[str, HeaderValue]:
    """Return the headers that a stateless request owes."""
    headers: dict[str, HeaderValue] = {
        "mcp_protocol_version": LATEST_STATELESS,
        "mcp_method": message["method"],
    }
    params = message.get("params")
    member = NAMED_BY.get(message["method"])
    if member and isinstance(params, dict) and isinstance(params.get(member), str):
        headers["mcp_name"] = params[member]
    return headers
