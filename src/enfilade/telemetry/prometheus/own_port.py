"""Metrics on a port of their own, served by a thread: with one worker in its process, otherwise in the parent.

So a scrape is answered also while the event loop is blocked, and the port that clients reach has no metrics. The
server of the standard library is enough for that; its threads are bounded. Whoever sends nothing is dropped, and
whoever sends slowly when there is no room for another.
"""

import logging
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from enfilade.serving.failures import LimitedLog
from enfilade.telemetry.prometheus.exposition import CONTENT_TYPE, Refusal, ScrapeError, refusal_of, render
from enfilade.transports.http.origin_checks import HostOriginPolicy

_MOST_CONNECTIONS: Final = 16
_IDLE: Final = 5.0  # seconds in which a client sends, or reads, something
_YIELDS: Final = 2.0  # seconds after which a connection is closed if another needs its place
_CLOSING: Final = 0.5  # seconds in which one that is closed gives up its place

_writing: Final = threading.Lock()
_failures: Final = LimitedLog(logging.getLogger("enfilade"))


@contextmanager
def serving(sockets: Sequence[socket.socket], path: str, policy: HostOriginPolicy, token: str) -> Iterator[None]:
    """Serve metrics for as long as the block runs, and close the sockets at its end.

    Args:
        sockets: bound ones.
        path: of the metrics.
        policy: says which hosts and origins may scrape.
        token: that a scrape needs; empty for none.
    """
    with ExitStack() as stack:
        for bound in sockets:
            server = _Server(bound, path, policy, token)
            stack.callback(server.server_close)
            threading.Thread(target=server.serve_forever, name="enfilade-metrics", daemon=True).start()
            stack.callback(server.shutdown)
        yield


class _Server(ThreadingHTTPServer):
    """Serves one socket."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, bound: socket.socket, path: str, policy: HostOriginPolicy, token: str) -> None:
        super().__init__(bound.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.path = path
        self.policy = policy
        self.token = token
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._open: dict[socket.socket, float] = {}
        self.server_activate()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._has_room():
            self._open[request] = time.monotonic()
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def _has_room(self) -> bool:
        if self._free.acquire(blocking=False):
            return True
        due = time.monotonic() - _YIELDS
        slow = [connection for connection, began in list(self._open.items()) if began < due]
        for connection in slow:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        return bool(slow) and self._free.acquire(timeout=_CLOSING)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.pop(request, None)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that has gone."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one request; `http.server` calls methods by the names of those of HTTP."""

    timeout = _IDLE
    server: _Server

    def do_GET(self) -> None:
        refusal = self._refusal()
        if refusal is not None:
            self._answer(refusal.status, "text/plain; charset=utf-8", refusal.reason.encode())
            return
        try:
            with _writing:
                body = render()
        except ScrapeError as error:
            _failures.write(logging.ERROR, "%s", error)
            self._answer(503, "text/plain; charset=utf-8", b"the metrics cannot be read; the log says why")
            return
        self._answer(200, CONTENT_TYPE, body)

    do_HEAD = do_GET  # noqa: N815

    def _refusal(self) -> Refusal | None:
        if self.path.partition("?")[0] != self.server.path:
            return Refusal(404, f"nothing here; the metrics are at {self.server.path}")
        names = [name.lower() for name in self.headers]
        if names.count("host") > 1 or names.count("origin") > 1:
            return Refusal(400, "a header is there more than once")
        fields = {name.lower().encode("latin-1"): text.encode("latin-1") for name, text in self.headers.items()}
        return refusal_of(self.server.policy, self.server.token, fields, self.command)

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Return no name and version of what serves."""
        return "enfilade"

    def log_message(self, *_: Any) -> None:
        """Log nothing: a scrape comes every few seconds."""
