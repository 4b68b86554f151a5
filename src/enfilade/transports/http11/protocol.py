"""HTTP/1.1 on one connection: httptools' parser, and less work for each request than uvicorn's own protocol has.

uvicorn makes one of these for each connection, as it would make its own, and goes on to own the listener, the
lifespan, the signals and the end. What is saved is what uvicorn does anew for each request and need not: a
timer, an event, a parsed URL, a callback of the task, a second write, and a search of each header for bad
characters.

Requests may be pipelined: `cycle` is the request that the parser is at, `_active` the one that the application
is at, and `_waiting` has those in between. The parser gets at most `_PIECE` bytes at a time, and once enough
requests wait (see `http_waiting`), the bytes behind them are held back and reading pauses. The same happens to
the rest of what takes long to parse, such as chunks of one byte, until other connections had their turn.

Easy to get wrong: whatever stops the parser must not stop the requests before it, nor write into their
responses. So a refusal is written when all of them are answered.
"""

import asyncio
import inspect
import logging
import time
from typing import Any, Final

import httptools
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from enfilade.transports.http11.connection_slots import refuse_for_lack_of_room, slots_of
from enfilade.transports.http11.connection_timeouts import Watch
from enfilade.transports.http11.flow_control import Flow
from enfilade.transports.http11.framing import FORWARDED, INVALID, NOTED, RequestRefused
from enfilade.transports.http11.pipelining import WaitingRequests
from enfilade.transports.http11.reader import BETWEEN, IN_BODY, IN_HEAD, MAX_FIELDS, TRAILERS, RequestReader
from enfilade.transports.http11.refusal import LingeringClose, response_of
from enfilade.transports.http11.request_cycle import Cycle, has_close, has_token
from enfilade.transports.refusal_log import refusals

TOO_SLOW: Final = "The request did not become complete in time."
TOO_MUCH_WAITS: Final = "Too many requests wait; try again later."

_PIECE: Final = 8192  # bytes that are parsed before the limits are looked at
_TURN: Final = 0.0003  # seconds of parsing after which other connections have their turn
_HALF_CLOSED: Final = 2.0  # seconds that requests get to finish once their client has closed its sending half

log = logging.getLogger("uvicorn.error")


class HttpProtocol(RequestReader):
    """One connection.

    Args:
        config: what uvicorn was told.
        server_state: what the connections of a server share.
        app_state: what the lifespan left for requests.
        _loop: the event loop; None for the one that runs.
    """

    __slots__ = (
        "_active",
        "_app",
        "_app_state",
        "_asgi",
        "_closing",
        "_default_head",
        "_discard_limit",
        "_discarded",
        "_half_closed",
        "_held",
        "_is_stopped",
        "_is_stopping",
        "_limit_concurrency",
        "_loop",
        "_plain_app",
        "_slots",
        "_turn",
        "_waiting",
        "flow",
        "in_reserve",
        "logs_access",
        "look_at",
        "server_state",
        "transport",
        "watch",
    )

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        super().__init__(config.root_path)
        self._app = self._plain_app = config.loaded_app
        if type(self._app) is ProxyHeadersMiddleware:  # which has nothing to do without such headers
            self._plain_app = self._app.app
        self._app_state = app_state
        self._asgi = {"version": config.asgi_version, "spec_version": "2.3"}
        self._limit_concurrency = config.limit_concurrency
        self._loop = _loop or asyncio.get_running_loop()
        self.server_state = server_state
        self._slots = slots_of(config, server_state, self._loop)
        self._discard_limit = self._slots.sweep.limits.discard_limit
        self.logs_access = logging.getLogger("uvicorn.access").hasHandlers()

        self._default_head: tuple[Any, bytes] = (None, b"")

        self.cycle: Cycle | None = None
        self._active: Cycle | None = None
        self._waiting: WaitingRequests | tuple[()] = ()
        self.look_at = 0.0  # see `connection_timeouts`
        self.watch: Watch | None = None
        self.in_reserve = False

        self._is_stopped = False  # the parser gets nothing at present
        self._held: memoryview | None = None  # bytes that it gets when fewer requests wait
        self._turn: asyncio.Handle | None = None  # goes on with them
        self._is_stopping = False  # what has been read is answered, and nothing after that
        self._discarded = 0  # bytes that came behind a refused request
        self._closing: LingeringClose | None = None
        self._half_closed: asyncio.TimerHandle | None = None  # the client sends no more

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
        self._slots.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all requests that nobody waits for their responses, and forget those that have not begun."""
        self.server_state.connections.discard(self)
        if self.in_reserve:
            self._slots.leave(self)
        if self._half_closed is not None:
            self._half_closed.cancel()
        if self._closing is not None:
            self._closing.cancel()
        if self._active is not None:
            self._active.disconnect()
        self._drop_waiting()
        self._held = None
        self.resume_writing()
        del self._parser  # which holds this

    def data_received(self, data: bytes) -> None:
        """Parse what the client sent."""
        self.look_at = 0.0
        if self._is_stopped or len(data) > _PIECE:
            self._feed_in_pieces(memoryview(data))
            return
        self._has_blanks = b" \r\n" in data or b"\t\r\n" in data
        try:  # as `_feed`, which costs more
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed(self._after_upgrade(data, upgrade))
        except httptools.HttpParserError:
            self._refuse(self._refusal or RequestRefused(400, INVALID))
        else:
            if self._stage:
                self._check_overhead(len(data))

    def eof_received(self) -> bool | None:
        """Let short requests finish: the client has closed its sending half, or the whole connection.

        Nobody can tell which. So a response that has begun to stream, and one that is not complete within
        `_HALF_CLOSED` seconds, ends as if the client were gone.
        """
        active, last = self._active, self.cycle
        if self._half_closed is not None:
            return True
        if active is None or last is None or active.response_started or self._closing is not None:
            return None
        if (last.more_body and self._refusal is None) or not self.transport.can_write_eof():  # TLS cannot
            return None
        if self._refusal is None:
            last.keep_alive = False
        self._half_closed = self._loop.call_later(_HALF_CLOSED, self.transport.close)
        return True

    def pause_writing(self) -> None:
        """The client does not read: let whoever sends wait."""
        self.look_at = 0.0
        self.flow.pause_writing()
        self._slots.unread.add(self)

    def resume_writing(self) -> None:
        """The client reads again, or has gone."""
        self.flow.resume_writing()
        self._slots.unread.remove(self)

    # -- what the parser says ----------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        """Call the application, or line the request up behind others of this connection."""
        http_version = self._parser.get_http_version()
        method = self._parser.get_method()
        keep_alive = self._parser.should_keep_alive()
        headers = self._headers
        fields = dict(headers)
        app, expects_continue = self._plain_app, False
        # Only a plain request passes: HTTP/1.1 with Host, no header twice, none noted, a head that came at once.
        if (
            http_version != "1.1"
            or b"host" not in fields
            or len(fields) != len(headers)
            or not NOTED.isdisjoint(fields)
            or self._overhead is not None
            or len(fields) > MAX_FIELDS
            or self._has_blanks
        ):
            http_version, notes = self._check_head(http_version, method, keep_alive)
            if http_version == "1.0":
                keep_alive = False
            else:
                expects_continue = has_token(notes.get(b"expect", b""), b"100-continue")
            if not FORWARDED.isdisjoint(notes):
                app = self._app
        if self._url != self._last_url or method != self._last_method:
            self._keep_target(method)
        self._stage = IN_BODY
        scope = {
            **self._scope,
            "asgi": self._asgi.copy(),
            "http_version": http_version,
            "method": method.decode("ascii"),
            "headers": headers,
            "state": self._app_state.copy(),
        }
        self._headers = TRAILERS
        if self._limit_concurrency is not None and self._is_crowded(self._limit_concurrency):
            log.warning("Exceeded concurrency limit.")
            app = service_unavailable
        if self.in_reserve:
            if not self._slots.is_served(self, self._scope["path"][len(self._root_path) :]):
                app = refuse_for_lack_of_room
            keep_alive = keep_alive and not self.in_reserve
        before = self.cycle
        self.cycle = cycle = Cycle(self, app, scope, keep_alive, expects_continue)
        if not keep_alive and http_version == "1.0":
            cycle.end_by_close()
        if before is None or (before.response_complete and before.keep_alive):
            self._start(cycle)
        else:  # also behind a request that closes the connection, which drops whatever waits then
            self._line_up(cycle)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body; more of it only when the application asks, once there is enough."""
        cycle = self.cycle
        assert cycle is not None
        if self._overhead is not None:  # it began in an earlier feed, so somebody may count what comes of it
            size = len(body)
            self._body_size += size
            cycle.received += size
        if not cycle.response_complete and cycle.take(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """End a request."""
        if self._upgraded is not None:  # whose body the parser did not look at
            return
        self._stage = BETWEEN
        cycle = self.cycle
        assert cycle is not None
        cycle.more_body = False
        if not cycle.response_complete:
            cycle.tell()

    # -- what the server and the cycles say --------------------------------------------------------------------

    def shutdown(self) -> None:
        """Answer what has been read of requests, then close the connection: uvicorn's server is stopping."""
        self._is_stopping = True
        if self._held is None:
            self._end_with_newest()

    def drop_waiting(self) -> int:
        """Let the response under way be the last one; return how many requests wait behind it."""
        count = len(self._waiting)
        self._drop_waiting()
        self._held = None
        if self._active is not None:
            self._active.keep_alive = False
        return count

    def default_head(self) -> bytes:
        """Return the lines that uvicorn wants on each response.

        If they close the connection, only the response that is the last one does (RFC 9112 §9.6).
        """
        of, lines = self._default_head
        wanted = self.server_state.default_headers
        if wanted is not of:  # uvicorn replaces the list when the date changes, and does not change the list
            lines = self._read_default_head(wanted)
        return lines

    def _read_default_head(self, wanted: list[tuple[bytes, bytes]]) -> bytes:
        fields = [
            (name, value) for name, value in wanted if name.lower() != b"connection" or not has_close(value)
        ]
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        if len(fields) == len(wanted):
            self._default_head = (wanted, lines)
        elif self._active is not None and not self._waiting and self._held is None:
            self._active.keep_alive = False
        return lines

    def response_completed(self, keep_alive: bool) -> None:
        """Go on with the next request that is there, or wait for one."""
        self.server_state.total_requests += 1
        if not keep_alive:
            self._close()
            return
        if self.transport.is_closing():
            return
        if self._waiting:
            self._start(self._waiting.popleft())
            if self._is_stopped and not self._waiting and self._refusal is None:
                self._go_on()  # now, since this one may wait for the rest of its body
            else:
                self.resume_reading()
            return
        if self._is_stopped:
            if self._refusal is not None:
                self._answer_refusal(self._refusal)
                return
            self._go_on()
            if self._active is None or not self._active.response_complete:
                return
        if self.flow.read_paused:
            self.resume_reading()
        self.look_at = 0.0

    def resume_reading(self) -> None:
        """Take again what the client sends, unless enough requests wait."""
        if not self._is_stopped or (self._refusal is not None and self._discarded <= self._discard_limit):
            self.flow.resume_reading()

    # ----------------------------------------------------------------------------------------------------------

    def _start(self, cycle: Cycle) -> None:
        self._active = cycle
        cycle.task = self._loop.create_task(cycle.run())
        self.server_state.tasks.add(cycle.task)

    def _is_crowded(self, limit: int) -> bool:
        return len(self.server_state.connections) >= limit or len(self.server_state.tasks) >= limit

    def _line_up(self, cycle: Cycle) -> None:
        """Let a pipelined request wait; parse no more once enough of them do."""
        waiting = self._waiting or WaitingRequests(self.server_state)
        self._waiting = waiting
        waiting.append(cycle)
        self._stop_if_full()

    def _stop_if_full(self) -> None:
        if self._waiting and self._waiting.is_full():
            self._is_stopped = True
            self.flow.pause_reading()

    def _drop_waiting(self) -> None:
        if self._waiting:
            self._waiting.clear()
        self._waiting = ()

    def _check_overhead(self, size: int) -> None:
        """As for each connection; and stop in the middle of a body or head if enough requests wait."""
        super()._check_overhead(size)
        self._stop_if_full()

    # -- feeding the parser ------------------------------------------------------------------------------------

    def _feed_in_pieces(self, data: memoryview) -> None:
        """Parse bytes for as long as few requests wait, and hold back the rest."""
        if self._refusal is not None:
            self._discard(len(data))
            return
        if self._held is not None:  # the transport may have read before it was paused
            self._hold(memoryview(bytes(self._held) + bytes(data)))
            return
        end = time.monotonic() + _TURN
        while data:
            if self._is_stopped:
                if self._refusal is None:
                    self._hold(data)
                return
            self._feed(data[:_PIECE])
            data = data[_PIECE:]
            if data and time.monotonic() >= end and not self._is_stopped:
                self._is_stopped = True
                self._turn = self._turn or self._loop.call_soon(self._take_turn)

    def _hold(self, data: memoryview) -> None:
        """Hold back bytes, and read no more; refuse them if the connections of the server hold too much."""
        self.flow.pause_reading()
        self._held = data
        if not isinstance(self._waiting, WaitingRequests):
            self._waiting = WaitingRequests(self.server_state)
        if not self._waiting.hold(memoryview(data.obj).nbytes):  # all that these bytes are a part of
            self._refuse(RequestRefused(503, TOO_MUCH_WAITS))

    def _drop_held(self) -> None:
        self._held = None
        if isinstance(self._waiting, WaitingRequests):
            self._waiting.hold(0)

    def _take_turn(self) -> None:
        """Go on with what the last turn of the event loop has left, unless it waits for responses by now."""
        self._turn = None
        if self._held is None or self.transport.is_closing() or (self._waiting and self._waiting.is_full()):
            return
        self._go_on()

    def _go_on(self) -> None:
        """Parse what was held back, and read on if the application takes what it gets."""
        held = self._held
        self._drop_held()
        self._is_stopped = False
        if held is not None:
            self._feed_in_pieces(held)
        if self._is_stopping and self._refusal is None and self._held is None:
            self._end_with_newest()
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.unread <= HIGH_WATER_LIMIT:
            self.resume_reading()

    def _end_with_newest(self) -> None:
        """Let the response to the newest request be the last one, or close the connection if it is complete."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    # -- refusing and closing ----------------------------------------------------------------------------------

    @property
    def is_reading_head(self) -> bool:
        """Whether some of a head has come, and not all."""
        return self._stage == IN_HEAD

    @property
    def is_ending(self) -> bool:
        """Whether nothing is read from the client any more, except to discard it."""
        return self._refusal is not None

    @property
    def peer(self) -> tuple[str, int] | None:
        """Address of the client."""
        peer: tuple[str, int] | None = self._scope["client"]
        return peer

    def may_discard(self, announced: int | None, received: int) -> bool:
        """Whether the rest of a body that the application does not want is so small that it can be read.

        Args:
            announced: bytes that the client promised; None for chunks.
            received: bytes that have come.
        """
        return announced is not None and announced - received <= self._discard_limit

    def time_out(self, setting: str) -> None:
        """Refuse a request that does not become complete in time; close a connection on which nothing has come.

        No response goes to a client that has sent nothing: it would read it as the response to a request that it
        is about to send.
        """
        if self._stage == BETWEEN:
            self.transport.close()
        else:
            self._refuse(RequestRefused(408, TOO_SLOW, setting))

    def _refuse(self, refusal: RequestRefused) -> None:
        """Parse no more; answer it once all requests before it are answered."""
        self._refusal = refusal
        self._is_stopped = True
        self._drop_held()
        self._url, self._headers = b"", TRAILERS  # they may be large, and wait behind a stream with the refusal
        active, broken = self._active, self.cycle
        if self._stage == IN_BODY and broken is not None:  # its body will not end
            if self._waiting:
                self._waiting.pop()
            else:
                broken.disconnect()
                active = None
                if broken.response_started:
                    self._close()
                    return
        if active is None or active.response_complete:
            self._answer_refusal(refusal)

    def _answer_refusal(self, refusal: RequestRefused) -> None:
        refusals.warn(self._scope["client"], refusal.status, refusal.reason, refusal.setting)
        self.transport.write(response_of(refusal.status, refusal.reason, self.default_head()))
        self._close()

    def _close(self) -> None:
        """Close the connection, but let the client read the response if it still sends."""
        is_read = self._stage == BETWEEN and not self._is_stopped and not self._waiting
        if is_read or self._half_closed is not None:
            self.transport.close()
        elif self._closing is None:
            self._is_stopped = True
            self._refusal = self._refusal or RequestRefused(400, INVALID)
            self._held = None
            self._drop_waiting()
            self.flow.resume_reading()
            self._closing = LingeringClose(self.transport, self._discard_limit)

    def _discard(self, size: int) -> None:
        """Drop bytes that come behind a refused request, and no more than the limit of them."""
        if self._closing is not None:
            self._closing.discard(size)
            return
        self._discarded += size
        if self._discarded > self._discard_limit:
            self.flow.pause_reading()


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
