"""HTTP/1.1 on one connection: httptools' parser, and less work for each request than uvicorn's own protocol has.

uvicorn makes one of these for each connection, as it would make its own, and goes on to own the listener, the
lifespan, the signals and the end. What is saved is what uvicorn does anew for each request and need not: a timer,
an event, a parsed URL, a callback of the task, a second write, and a search of each header for bad characters.

The easy thing to get wrong is that requests may come before their forerunner is answered. `cycle` is the request
that the parser is at; the application may be at an earlier one, `_active`, and the rest is `_waiting`.
"""

import asyncio
import inspect
import logging
from typing import Any, Final
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from enfilade.transports.http_cycle import STATUS_LINES, Cycle, has_close
from enfilade.transports.http_flow import Flow

MAX_HEAD: Final = 65536  # bytes of a head that is not complete yet; h11 allows as many, llhttp has no limit

_NOTED: Final = frozenset(
    (b"expect", b"forwarded", *(b"x-forwarded-" + of for of in (b"for", b"host", b"port", b"prefix", b"proto")))
)
_REFUSALS: Final = {400: b"Invalid HTTP request received.", 431: b"The head of the request is too large."}

log = logging.getLogger("uvicorn.error")


class HttpProtocol(asyncio.Protocol):
    """One connection.

    Args:
        config: what uvicorn was told.
        server_state: what the connections of a server share.
        app_state: what the lifespan left for requests.
        _loop: the event loop; None for the one that runs.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self._app = self._plain_app = config.loaded_app
        if type(self._app) is ProxyHeadersMiddleware:  # which has nothing to do without such headers
            self._plain_app = self._app.app
        self._app_state = app_state
        self._asgi = {"version": config.asgi_version, "spec_version": "2.3"}
        self._root_path = config.root_path
        self._limit_concurrency = config.limit_concurrency
        self._timeout = config.timeout_keep_alive
        self._loop = _loop or asyncio.get_running_loop()
        self.server_state = server_state
        self.logs_access = logging.getLogger("uvicorn.access").hasHandlers()

        self._parser = httptools.HttpRequestParser(self)
        # What follows the last request of a connection is ignored; an error would come before the response.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._last_url: bytes | None = None
        self._default_head: tuple[Any, bytes, bool] = (None, b"", False)

        self.cycle: Cycle | None = None
        self._active: Cycle | None = None
        self._waiting: list[Cycle] = []  # few, if any, as reading pauses with the first
        self._timer: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None  # None: in use, or never used
        self._head_size: int | None = None  # None: no head is being read
        self.on_message_begin()
        self._head_size = None

    # -- what the transport says -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is one
        """Take a connection."""
        self.server_state.connections.add(self)  # type: ignore[arg-type]  # uvicorn names its own classes
        self.transport = transport
        self.flow = Flow(transport)
        self._scope: dict[str, Any] = {  # of each request on this connection; what differs is added
            "type": "http",
            "server": get_local_addr(transport),
            "client": get_remote_addr(transport),
            "scheme": "https" if is_ssl(transport) else "http",
            "root_path": self._root_path,
        }

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all requests that nobody waits for their responses, and forget those that have not begun."""
        self.server_state.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._active is not None:
            self._active.disconnect()
        self._waiting.clear()
        self.flow.resume_writing()
        del self._parser  # which holds this

    def data_received(self, data: bytes) -> None:
        """Parse what the client sent."""
        self._idle_since = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # a server may answer in HTTP/1.1 as if no other protocol had been offered (RFC 9110, 7.8)
        except httptools.HttpParserError:
            self._refuse(400)
            return
        if self._head_size is not None:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._refuse(431)

    def pause_writing(self) -> None:
        """The client does not read: let whoever sends wait."""
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.flow.resume_writing()

    # -- what the parser says ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False
        self._is_forwarded = False
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        """Take the URL, or a part of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        name = name.lower()
        self._headers.append((name, value))
        if name in _NOTED:
            if name == b"expect":
                self._expects_continue = value.lower() == b"100-continue"
            else:
                self._is_forwarded = True

    def on_headers_complete(self) -> None:
        """Call the application, or line the request up behind others of this connection."""
        self._head_size = None
        http_version = self._parser.get_http_version()
        if self._url != self._last_url:
            self._keep_target()
        scope = self._scope.copy()
        scope["asgi"] = self._asgi.copy()
        scope["http_version"] = http_version
        scope["method"] = self._parser.get_method().decode("ascii")
        scope["headers"] = self._headers
        scope["state"] = self._app_state.copy()
        self._headers = []  # trailers are no headers, least of all those that a proxy has looked at
        app = self._app if self._is_forwarded else self._plain_app
        if self._limit_concurrency is not None and self._is_crowded(self._limit_concurrency):
            log.warning("Exceeded concurrency limit.")
            app = service_unavailable
        keep_alive = http_version != "1.0" and self._parser.should_keep_alive()
        before = self.cycle
        self.cycle = cycle = Cycle(self, app, scope, keep_alive, self._expects_continue)
        if before is None or before.response_complete:
            self._start(cycle)
        else:
            self.flow.pause_reading()
            self._waiting.append(cycle)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body; more of it only when the application asks, once there is enough."""
        cycle = self.cycle
        assert cycle is not None
        if not cycle.response_complete and cycle.take(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """End a request."""
        cycle = self.cycle
        assert cycle is not None
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.tell()

    # -- what the server and the cycles say --------------------------------------------------------------------

    def shutdown(self) -> None:
        """Close the connection as soon as nothing is in flight: uvicorn's server is stopping."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def default_head(self) -> tuple[bytes, bool]:
        """Return the lines that uvicorn wants on each response, and whether they close the connection."""
        of, lines, closes = self._default_head
        wanted = self.server_state.default_headers
        if wanted is not of:  # uvicorn replaces the list when the date changes, and does not change the list
            lines = b"".join(b"%b: %b\r\n" % field for field in wanted)
            closes = any(name.lower() == b"connection" and has_close(value) for name, value in wanted)
            self._default_head = (wanted, lines, closes)
        return lines, closes

    def response_completed(self, keep_alive: bool) -> None:
        """Go on with the next request that is there, or wait for one."""
        self.server_state.total_requests += 1
        if not keep_alive:
            self.transport.close()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._waiting:
            self._start(self._waiting.pop(0))
            return
        self._idle_since = self._loop.time()
        if self._timer is None:  # one for many requests: it looks when it fires whether the time has come
            self._timer = self._loop.call_later(self._timeout, self._close_if_idle)

    # ----------------------------------------------------------------------------------------------------------

    def _start(self, cycle: Cycle) -> None:
        self._active = cycle
        cycle.task = self._loop.create_task(cycle.run())
        self.server_state.tasks.add(cycle.task)

    def _keep_target(self) -> None:
        """Take the parts of the URL into the scope, for as long as requests have the same one."""
        parsed = httptools.parse_url(self._url)
        path = parsed.path.decode("ascii")
        self._scope["path"] = self._root_path + (unquote(path) if "%" in path else path)
        self._scope["raw_path"] = self._root_path.encode("ascii") + parsed.path
        self._scope["query_string"] = parsed.query or b""
        self._last_url = self._url

    def _is_crowded(self, limit: int) -> bool:
        return len(self.server_state.connections) >= limit or len(self.server_state.tasks) >= limit

    def _close_if_idle(self) -> None:
        self._timer = None
        if self._idle_since is None or self.transport.is_closing():
            return
        left = self._idle_since + self._timeout - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._close_if_idle)
        else:
            self.transport.close()

    def _refuse(self, status: int) -> None:
        """Answer what is no request, and close the connection."""
        reason = _REFUSALS[status]
        log.warning("%s", reason.decode())
        self.transport.write(
            b"%b%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINES[status], self.default_head()[0], len(reason), reason)
        )
        self.transport.close()


def is_supported() -> bool:
    """Whether uvicorn makes connections as it did when this was written, and shares as much with them."""
    made_with = tuple(inspect.signature(HttpToolsProtocol).parameters)
    state, options = ServerState(), inspect.signature(uvicorn.Config).parameters
    return (
        made_with == tuple(inspect.signature(HttpProtocol).parameters)
        and all(hasattr(state, name) for name in ("connections", "tasks", "default_headers", "total_requests"))
        and all(name in options for name in ("root_path", "limit_concurrency", "timeout_keep_alive"))
        and hasattr(uvicorn.Config, "asgi_version")
    )
