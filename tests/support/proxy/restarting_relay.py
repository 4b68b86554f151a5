"""A relay between clients and servers, that does to the servers what hosts do: kill them, and take turns.

It passes whole requests and responses, so it is for the stateless era, where an answer is not waited for in the
middle. Easy to get wrong: the moment. A server is killed when its question has been taken over and not yet been
handed on, so the client cannot be faster.
"""

import http.client
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from support.servers.processes import ServerProcess

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"}


class Relay:
    """Hands every request to one of some servers, for the length of a `with` block.

    Args:
        command: starts a server.
        env: its variables; the secret, which all of them share, among them.
        restart: kill the server after each of its questions, and start another.
        workers: how many servers take turns.
    """

    def __init__(
        self, command: Sequence[str], env: dict[str, str], *, restart: bool = False, workers: int = 1
    ) -> None:
        self._start: Callable[[], ServerProcess] = lambda: ServerProcess(command, env=env)
        self._restart = restart
        self._workers = workers
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._turn = 0
        self.rounds: list[int] = []
        """The process of each server that has asked something, in order."""

    def __enter__(self) -> Self:
        self._servers = [self._stack.enter_context(self._start()) for _ in range(self._workers)]
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/mcp"
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)
        self._stack.close()

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, bytes]:
        """Send a request to the server whose turn it is, and return status, headers and body of its response."""
        with self._lock:
            self._turn += 1
            position = self._turn % self._workers
            server = self._servers[position]
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            answer = response.read()
            connection.close()
            if b'"input_required"' in answer:
                self.rounds.append(server.pid)
                if self._restart:
                    server.kill()
                    self._servers[position] = self._stack.enter_context(self._start())
            return response.status, response.getheaders(), answer


def _handler(relay: Relay) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            status, fields, answer = relay.pass_on(self.command, self.path, headers, body)
            self.send_response(status)
            for name, value in fields:
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET = do_DELETE = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
