"""The requests of the benchmark as bytes, and a small client that sends them one at a time and reads the answers.

wrk sends the very bytes that are checked here. The easy thing to get wrong is the length: an id is put in by
wrk, for each request another, so all ids have the same number of digits as `ID`, which stands for them.
"""

import http.client
import json
import socket
from types import TracebackType
from typing import Any, Final, Self

from processes import HOST, BenchError
from works import STATELESS, Work

ID: Final = 1_000_000_000
#: Stands for the id of a session that wrk has just been given.
SESSION_MARK: Final = "@session@"
SESSION_ERA: Final = "2025-11-25"
CLIENT: Final = {"name": "bench", "version": "1"}
META: Final = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientInfo": CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def initialize(port: int, token: str | None = None) -> bytes:
    """Return the request that opens a session.

    Args:
        token: an access token, for servers that want one.
    """
    params = {"protocolVersion": SESSION_ERA, "capabilities": {}, "clientInfo": CLIENT}
    message = {"jsonrpc": "2.0", "id": ID, "method": "initialize", "params": params}
    return _post(port, _authorized(token), message)


def initialized(port: int, session: str, token: str | None = None) -> bytes:
    """Return the notification that makes a session ready."""
    headers = _of(session) | _authorized(token)
    return _post(port, headers, {"jsonrpc": "2.0", "method": "notifications/initialized"})


def call(port: int, work: Work, session: str | None, token: str | None = None) -> bytes:
    """Return a request that calls the tool of a work."""
    params: dict[str, Any] = {"name": work.tool, "arguments": work.arguments}
    meta: dict[str, Any] = {} if session else dict(META)
    if work.progress:
        meta["progressToken"] = ID
    if meta:
        params["_meta"] = meta
    stateless = {"MCP-Protocol-Version": STATELESS, "Mcp-Method": "tools/call", "Mcp-Name": work.tool}
    headers = (_of(session) if session else stateless) | _authorized(token)
    return _post(port, headers, {"jsonrpc": "2.0", "id": ID, "method": "tools/call", "params": params})


def request(port: int, session: str, method: str, params: dict[str, Any]) -> bytes:
    """Return any request of a session."""
    return _post(port, _of(session), {"jsonrpc": "2.0", "id": ID, "method": method, "params": params})


def listen(port: int, session: str) -> bytes:
    """Return the request for a session's stream of what the server says unasked."""
    return _head(port, "GET", {"Accept": "text/event-stream", **_of(session)})


def _of(session: str) -> dict[str, str]:
    return {"MCP-Protocol-Version": SESSION_ERA, "Mcp-Session-Id": session}


def _authorized(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _head(port: int, method: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} /mcp HTTP/1.1", f"Host: {HOST}:{port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _post(port: int, headers: dict[str, str], message: dict[str, Any]) -> bytes:
    body = json.dumps(message, separators=(",", ":")).encode()
    fixed = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Content-Length": str(len(body)),
    }
    return _head(port, "POST", {**fixed, **headers}) + body


class Client:
    """One connection to a server, for the length of a `with` block.

    Args:
        port: where the server listens.
        token: the access token that sessions are opened with.
    """

    def __init__(self, port: int, token: str | None = None) -> None:
        self._port = port
        self._token = token
        self._socket = socket.create_connection((HOST, port), 30.0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(self, request: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """Send a request, and return the response and its body.

        Raises:
            BenchError: the answer is an error, or none.
        """
        response, body = self.exchange(request)
        if response.status >= 300:
            raise BenchError(f"answered {response.status}: {body[:500].decode(errors='replace')}")
        return response, body

    def exchange(self, request: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """Send a request, and return the response, whatever its status, and its body.

        Raises:
            BenchError: there is none.
        """
        try:
            self._socket.sendall(request)
            response = http.client.HTTPResponse(self._socket)
            response.begin()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"no answer: {error!r}") from error
        return response, body

    def open_session(self) -> str:
        """Open a session, and return its id."""
        response, _ = self.ask(initialize(self._port, self._token))
        session = response.headers["mcp-session-id"]
        if session is None:
            raise BenchError("a session was opened, but has no id")
        self.ask(initialized(self._port, session, self._token))
        return session


def check_refused(port: int, work: Work, session: str | None, token: str | None) -> None:
    """Check that a server refuses a call for its token.

    Raises:
        BenchError: it does not.
    """
    with Client(port) as client:
        response, _ = client.exchange(call(port, work, session, token))
    if response.status != 401:
        raise BenchError(f"a call with {'a forged' if token else 'no'} token was answered {response.status}")


def messages_of(response: http.client.HTTPResponse, body: bytes) -> list[dict[str, Any]]:
    """Return the JSON-RPC messages of an answer, which is JSON or a stream of events."""
    if response.headers.get_content_type() != "text/event-stream":
        return [json.loads(body)]
    lines = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
    return [json.loads(line) for line in lines if line]


def check(work: Work, response: http.client.HTTPResponse, body: bytes) -> None:
    """Compare a whole answer with what it should be.

    Left out is only what servers may say beyond the result: who they are, and members at their defaults.

    Raises:
        BenchError: it is something else.
    """
    *notifications, reply = messages_of(response, body)
    result = reply.get("result", {})
    said = {key: value for key, value in result.items() if key != "_meta"}
    if work.era == STATELESS and said.pop("resultType", None) != "complete":
        raise BenchError("the result has no resultType")
    if said.get("isError") is False:
        del said["isError"]
    wanted = {"jsonrpc": "2.0", "id": ID}
    if {key: value for key, value in reply.items() if key != "result"} != wanted:
        raise BenchError(f"wrong answer: {_short(reply)}")
    texts = [json.loads(each.pop("text")) if work.json_text else each.pop("text") for each in said["content"]]
    if said != {"content": [{"type": "text"}], "structuredContent": work.structured} or texts != [work.text]:
        raise BenchError(f"wrong result: {_short(reply)}")
    found = [{"method": each["method"], "params": _without_extras(each["params"])} for each in notifications]
    if found != work.notifications(ID):
        raise BenchError(f"{len(found)} of {len(work.notifications(ID))} notifications, or not in order")


def _without_extras(params: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key not in ("_meta", "logger", "message")}


def _short(message: Any) -> str:
    return json.dumps(message)[:500]
