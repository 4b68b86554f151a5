"""The ways tests talk to a server: raw HTTP over real sockets, lines over real pipes, and one view of both.

Nothing here is an MCP client that could be lenient or put things right: what a test says is what is sent, and
every message that comes back is checked against the official schema of its revision before the test sees it.
`open_client` gives the same few verbs for both eras over both transports, for behaviour that must not differ.
"""

import asyncio
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import uvicorn

from enfilade.wire.revisions import LATEST_HANDSHAKE, LATEST_STATELESS
from support.exchanges import Message, member_of
from support.http_client.connection import HeaderValue, Http, HttpSession, PendingReply
from support.servers.quick_server import QuickServer
from support.stdio_client.connection import Stdio
from support.waiting import eventually

__all__ = [
    "CLIENT_KINDS",
    "PROBE_SERVER",
    "Http",
    "McpClient",
    "Outcome",
    "Serving",
    "Stdio",
    "eventually",
    "open_client",
]

T = TypeVar("T")
Params = dict[str, Any] | None

PROBE_SERVER = Path(__file__).parent / "servers/probe_server.py"

CLIENT_KINDS = ("http-session", "http-stateless", "stdio-session", "stdio-stateless")


class Serving:
    """An ASGI application on uvicorn, in a thread of this process, on a free port.

    Args:
        asgi: the application.
        options: for `uvicorn.Config`.
    """

    def __init__(self, asgi: Any, **options: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.http = Http(self.port)
        self.loop: asyncio.AbstractEventLoop | None = None

        async def tapped(scope: Any, receive: Any, send: Any) -> None:
            self.loop = asyncio.get_running_loop()
            await asgi(scope, receive, send)

        config = uvicorn.Config(
            tapped, **{"log_level": "critical", "lifespan": "on", "timeout_graceful_shutdown": 1, **options}
        )
        self._server = QuickServer(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self._server.started or not self._thread.is_alive(), "uvicorn did not start")
        assert self._server.started, "uvicorn ended at once"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._socket.close()

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run something in the server's own event loop."""
        assert self.loop is not None

        async def awaited() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(30)


@dataclass
class Outcome:
    """What one request came to."""

    response: Message | None
    notifications: list[Message] = field(default_factory=list)

    @property
    def result(self) -> dict[str, Any]:
        return member_of(self.response, "result")

    @property
    def error(self) -> dict[str, Any]:
        return member_of(self.response, "error")

    @property
    def text(self) -> str:
        """The text of a tool's result."""
        return "\n".join(block["text"] for block in self.result["content"])

    def sent(self, method: str) -> list[dict[str, Any]]:
        """The params of the notifications of one kind."""
        return [message["params"] for message in self.notifications if message["method"] == method]


class McpClient(ABC):
    """A client of one server, in one era over one transport; ids count up unless a test names one."""

    revision: str
    stateless: bool
    over_http: bool

    def __init__(self) -> None:
        self._count = 0

    def start(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        id: Any = None,
        meta: dict[str, Any] | None = None,
    ) -> Callable[[], Outcome]:
        """Send a request; what is returned waits for its outcome."""
        return self._send_request(method, params, self.next_id() if id is None else id, meta)

    @abstractmethod
    def _send_request(self, method: str, params: Params, id: Any, meta: Params) -> Callable[[], Outcome]: ...

    @abstractmethod
    def raw(self, body: bytes, *, method: str | None = None, name: str | None = None) -> Message:
        """Send a body as it is, and return the one message that comes back.

        Args:
            method: for the header `Mcp-Method`, where there are headers.
            name: for the header `Mcp-Name`.
        """

    def notify(self, method: str, params: Params = None) -> None:
        """Send a notification."""
        self._send_notification(
            {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})}
        )

    @abstractmethod
    def _send_notification(self, message: Message) -> None: ...

    def ask(self, method: str, params: dict[str, Any] | None = None, **more: Any) -> Outcome:
        """Send a request and wait for its outcome."""
        return self.start(method, params, **more)()

    def call(self, tool: str, /, **more: Any) -> Outcome:
        """Call a tool, as `starts` does, and wait for the outcome."""
        return self.starts(tool, **more)()

    def starts(
        self, tool: str, /, *, id: Any = None, meta: dict[str, Any] | None = None, **arguments: Any
    ) -> Callable[[], Outcome]:
        """Call a tool; what is returned waits for the outcome."""
        return self.start("tools/call", {"name": tool, "arguments": arguments}, id=id, meta=meta)

    def journal(self, name: str) -> list[str]:
        """Return what became of the probe server's calls of a name."""
        found: list[str] = self.call("journal", name=name).result["structuredContent"]["result"]
        return found

    def until(self, name: str, entry: str) -> None:
        """Wait until the probe server's journal has an entry."""
        eventually(lambda: entry in self.journal(name), f"{name} never {entry}")

    def next_id(self) -> int:
        self._count += 1
        return self._count


class HttpMcpClient(McpClient):
    over_http = True

    def __init__(self, http: Http, session: HttpSession | None) -> None:
        super().__init__()
        self.http, self.session = http, session
        self.stateless = session is None
        self.revision = LATEST_STATELESS if session is None else session.revision

    def _send_request(self, method: str, params: Params, id: Any, meta: Params) -> Callable[[], Outcome]:
        if self.session is None:
            waiting = self.http.start_modern(method, params, id=id, meta=meta)
        else:
            waiting = self.session.start(method, params, id=id, meta=meta)
        return lambda: self._outcome(waiting)

    @staticmethod
    def _outcome(waiting: PendingReply) -> Outcome:
        messages = waiting.read().messages
        notifications = [message for message in messages if "method" in message]
        responses = [message for message in messages if "method" not in message]
        assert len(responses) <= 1, responses
        return Outcome(responses[0] if responses else None, notifications)

    def raw(self, body: bytes, *, method: str | None = None, name: str | None = None) -> Message:
        headers: dict[str, HeaderValue] = {"mcp_method": method, "mcp_name": name}
        headers["mcp_protocol_version"] = self.revision
        if self.session is not None:
            headers = self.session.headers
        (message,) = self.http.post(body, **headers).messages
        return message

    def _send_notification(self, message: Message) -> None:
        if self.session is None:
            reply = self.http.post(message, mcp_protocol_version=LATEST_STATELESS)
        else:
            reply = self.session.post(message)
        assert (reply.status, reply.body) == (202, b"")


class StdioMcpClient(McpClient):
    over_http = False

    def __init__(self, stdio: Stdio, *, stateless: bool) -> None:
        super().__init__()
        self.stdio, self.stateless = stdio, stateless
        self.revision = LATEST_STATELESS if stateless else LATEST_HANDSHAKE

    def _send_request(self, method: str, params: Params, id: Any, meta: Params) -> Callable[[], Outcome]:
        self.stdio.request(method, params, id=id, meta=meta, claim=self.revision if self.stateless else None)
        return lambda: Outcome(self.stdio.answer(id), self.stdio.take_notifications())

    def raw(self, body: bytes, *, method: str | None = None, name: str | None = None) -> Message:
        self.stdio.send(body)
        return self.stdio.read()

    def _send_notification(self, message: Message) -> None:
        self.stdio.send(message)


@contextmanager
def open_client(kind: str, http: Http | None = None, script: Path = PROBE_SERVER) -> Iterator[McpClient]:
    """Open one of `CLIENT_KINDS` to a probe server, or to another server.

    Args:
        kind: which.
        http: where it is served over HTTP already; by default a probe server is started.
        script: what serves it over stdio.
    """
    with ExitStack() as stack:
        if kind.startswith("http"):
            if http is None:
                from support.servers.probe_server import ProbeServer

                http = stack.enter_context(Serving(ProbeServer())).http
            yield HttpMcpClient(http, http.initialize() if kind == "http-session" else None)
        else:
            stdio = stack.enter_context(Stdio([sys.executable, str(script), "stdio"]))
            if kind == "stdio-session":
                stdio.initialize()
            yield StdioMcpClient(stdio, stateless=kind == "stdio-stateless")
