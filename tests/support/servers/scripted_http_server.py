"""An HTTP server whose answers a test sets while it runs, with every fault there is.

Easy to get wrong: an answer that never ends must end with the server, or its thread outlives the test.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_SPACES = b" " * 65_536


@dataclass(frozen=True)
class Answer:
    """What the server answers.

    Args:
        value: JSON, or bytes that are sent as they are.
        status: the status of the response.
        headers: its headers.
        gate: the answer waits until this is set.
        padding: bytes of spaces after the body, which JSON may have; None for spaces without end.
        pause: seconds after each byte of the body; 0 for a body as a whole.
        hangs_up: whether the connection is closed in place of an answer.
    """

    value: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    gate: threading.Event | None = None
    padding: int | None = 0
    pause: float = 0.0
    hangs_up: bool = False

    @property
    def body(self) -> bytes:
        """The bytes of the response."""
        return self.value if isinstance(self.value, bytes) else json.dumps(self.value).encode()


@dataclass(frozen=True)
class Received:
    """A request that has come."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class ScriptedHttpServer:
    """Answers by path for the length of a `with` block; 404 where there is nothing."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[Received], Answer]] = {}
        self.received: list[Received] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._closing = threading.Event()
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the port; answers that wait or never end are ended. A second time does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        for answer in self.answers.values():
            if isinstance(answer, Answer) and answer.gate is not None:
                answer.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def count(self, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(request.path == path for request in list(self.received))

    def answer(self, request: Received) -> Answer:
        """Return what is answered to a request, as soon as it may be."""
        self.received.append(request)
        answer = self.answers.get(request.path, Answer({}, 404))
        answer = answer(request) if callable(answer) else answer
        if answer.gate is not None:
            answer.gate.wait(30)
        return answer

    def goes_on(self, seconds: float = 0.0) -> bool:
        """Wait, and return whether the server is still there."""
        return not self._closing.wait(seconds)


class _Server(ThreadingHTTPServer):
    request_queue_size = 100
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have gone."""


def _handler(server: ScriptedHttpServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = server.answer(Received(self.command, self.path, dict(self.headers), body))
            if answer.hangs_up:
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.padding is not None:
                self.send_header("Content-Length", str(len(answer.body) + answer.padding))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client need not read to the end
                self.send_body(answer)

        def send_body(self, answer: Answer) -> None:
            if answer.pause:
                for byte in answer.body:
                    self.wfile.write(bytes([byte]))
                    if not server.goes_on(answer.pause):
                        return
            else:
                self.wfile.write(answer.body)
            left = answer.padding
            while (left is None or left > 0) and server.goes_on():
                size = len(_SPACES) if left is None else min(left, len(_SPACES))
                self.wfile.write(_SPACES[:size])
                left = None if left is None else left - size

        do_GET = do_POST = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    return Handler
