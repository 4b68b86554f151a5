"""HTTP/1.1 on one connection: httptools parses, and each request costs less than in uvicorn's own protocol.

uvicorn creates one `HttpProtocol` for each connection, as it would create its own. Requests may be pipelined:
`cycle` is the request that the parser is at, `_active` the one that the application is at, and `_waiting` has
those in between. Responses go out in the order of the requests.

The state of a connection says what happens to the bytes that arrive:

    OPEN      they are parsed, in pieces of at most `_PIECE` bytes
    HELD      they are held back in `_held`, and reading is paused
    REFUSED   up to `discard_limit` of them are dropped, then reading is paused
    CLOSING   the same, by `LingeringClose`; the sending half is closed

    from      event                                                               to        by
    OPEN      enough requests wait (`WaitingRequests.is_full`)                    HELD      _hold_if_full
    OPEN      parsing has taken `parse_turn`; other connections get their turn    HELD      _feed_in_pieces
    HELD      the last waiting request has begun, or the turn has come            OPEN      _resume_parsing
    OPEN      what arrives is no request, or too large, or takes too long         REFUSED   _refuse
    HELD      the connections of the server hold too many bytes, or it times out  REFUSED   _refuse
    REFUSED   all requests before it are answered: the refusal is written         CLOSING   _write_refusal
    any       the last response is complete, and the client may still send        CLOSING   _close

`_refusal` is set in REFUSED and CLOSING. In addition the parser has a stage (`ParseStage`), each request its own
state (`request_cycle.py`), and the sweep derives a phase from these (`connection_timeouts.py`).
`_half_closed_timer` runs once the client has closed its sending half, in every state.

Easy to get wrong: whatever stops the parser must not stop the requests before it, nor write into their responses.
"""

import asyncio
import enum
import inspect
import logging
import sys
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import lru_cache
from typing import Any, Final

import httptools
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from enfilade.transports.http11.asgi_cycle import AsgiCycle
from enfilade.transports.http11.connection_slots import refuse_for_lack_of_room, slots_of
from enfilade.transports.http11.connection_timeouts import ConnectionProgress
from enfilade.transports.http11.direct_exchange import DirectApplication, DirectExchange
from enfilade.transports.http11.flow_control import BackPressure, LingeringClose
from enfilade.transports.http11.known_heads import MOST_KEPT, MOST_UNKNOWN, TRIED_AGAIN, KnownHead, head_of
from enfilade.transports.http11.memory_limits import WaitingRequests
from enfilade.transports.http11.reader import (
    BETWEEN,
    FORWARDED,
    IN_BODY,
    IN_HEAD,
    INVALID,
    MAX_FIELDS,
    NOTED,
    TRAILERS,
    LargeBody,
    NoParser,
    RequestReader,
    RequestRefused,
)
from enfilade.transports.http11.request_cycle import (
    RequestCycle,
    Target,
    has_close,
    has_token,
    refusal_response,
)
from enfilade.transports.refusal_log import refusals

TOO_SLOW: Final = "The request did not become complete in time."
TOO_MUCH_WAITS: Final = "Too many requests wait; try again later."

_PIECE: Final = 8192  # bytes that are parsed before the limits are checked
_HALF_CLOSED: Final = 2.0  # seconds that requests get to finish once their client has closed its sending half

log = logging.getLogger("uvicorn.error")


class ConnectionState(enum.Enum):
    """What happens to the bytes that arrive; see the top of this file."""

    OPEN = enum.auto()
    HELD = enum.auto()
    REFUSED = enum.auto()
    CLOSING = enum.auto()


# As globals, which are faster to read than attributes of an Enum.
_OPEN, _HELD, _REFUSED, _CLOSING = ConnectionState


class HttpProtocol(RequestReader):
    """One connection.

    Args:
        _loop: the event loop; None for the running one.

    Attributes:
        check_at: see `connection_timeouts`.
        in_reserve: whether it is above `max_connections`.
        progress: what the sweep noted.
    """

    __slots__ = (
        "_active",
        "_app",
        "_app_state",
        "_asgi_version",
        "_client",
        "_context",
        "_default_head",
        "_direct",
        "_discard_limit",
        "_discarded",
        "_half_closed_timer",
        "_held",
        "_is_shutting_down",
        "_known_heads",
        "_limit_concurrency",
        "_lingering",
        "_loop",
        "_plain_app",
        "_scheme",
        "_server",
        "_slots",
        "_state",
        "_turn",
        "_unknown_heads",
        "_waiting",
        "check_at",
        "flow",
        "in_reserve",
        "logs_access",
        "progress",
        "server_state",
        "transport",
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
        if type(self._app) is ProxyHeadersMiddleware:  # which does nothing without such headers
            self._plain_app = self._app.app
        self._direct: DirectApplication | None = None
        # Asked of the class: a wrapper may hand on whatever it is asked for.
        if hasattr(type(self._plain_app), "direct_endpoint") and not self._root_path and not app_state:
            self._direct = self._plain_app
        self._known_heads: list[KnownHead] | tuple[()] = ()
        self._unknown_heads = 0  # less those that were known
        self._context = copy_context()
        self._app_state = app_state
        self._asgi_version = config.asgi_version
        self._limit_concurrency = config.limit_concurrency
        self._loop = _loop or asyncio.get_running_loop()
        self.server_state = server_state
        self._slots = slots_of(config, server_state, self._loop)
        self._discard_limit = self._slots.sweep.limits.discard_limit
        self.logs_access = logging.getLogger("uvicorn.access").hasHandlers()

        self._default_head: tuple[Any, bytes] = (None, b"")

        self._active: RequestCycle | None = None
        self._waiting: WaitingRequests | tuple[()] = ()
        self.check_at = 0.0
        self.progress: ConnectionProgress | None = None
        self.in_reserve = False

        self._state = _OPEN
        self._held: memoryview | None = None  # bytes that the parser gets when fewer requests wait
        self._turn: asyncio.Handle | None = None  # resumes parsing after other connections had their turn
        self._is_shutting_down = False  # what has been read is answered, and nothing after that
        self._discarded = 0  # bytes that came behind a refused request
        self._lingering: LingeringClose | None = None
        self._half_closed_timer: asyncio.TimerHandle | None = None

    # -- calls by the transport --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is one
        """Begin a connection."""
        self.server_state.connections.add(self)  # type: ignore[arg-type]  # uvicorn names its own classes
        self.transport = transport
        self.flow = BackPressure(transport, self._context)
        self._server = _shared(get_local_addr(transport))
        self._client = get_remote_addr(transport)
        self._scheme = "https" if is_ssl(transport) else "http"
        self._slots.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Disconnect the requests, and drop those that have not begun."""
        self.server_state.connections.discard(self)
        if self.in_reserve:
            self._slots.leave_reserve(self)
        if self._half_closed_timer is not None:
            self._half_closed_timer.cancel()
        if self._lingering is not None:
            self._lingering.cancel()
        if self._active is not None:
            self._active.disconnect()
        self._drop_waiting()
        self._held = None
        self.resume_writing()
        del self._parser  # it refers to this object

    def data_received(self, data: bytes) -> None:
        """Parse what the client sent."""
        self.check_at = 0.0
        if self._known_heads and self._serve_known(data):
            return
        if self._state is not _OPEN or len(data) > _PIECE:
            self._feed_in_pieces(memoryview(data))
            return
        is_first, before = self._stage is BETWEEN, self.cycle
        self._has_blanks = b" \r\n" in data or b"\t\r\n" in data
        try:  # as `_feed`, which costs more
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed(self._after_upgrade(data, upgrade))
        except httptools.HttpParserError:
            self._refuse(self._refusal or RequestRefused(400, INVALID))
        else:
            if self._stage is not BETWEEN:
                self._check_overhead(len(data))
            elif is_first and before is not None and self.cycle is not before:
                self._remember_head(data)

    def _serve_known(self, data: bytes) -> bool:
        """Serve a request without parsing it, if it is one whole request with a head that was parsed before."""
        previous: Any = self.cycle
        if (
            not previous.response_complete
            or not previous.keep_alive
            or self._stage is not BETWEEN
            or self._state is not _OPEN
        ):
            return False
        for head in self._known_heads:
            fields = head.fields_in(data)
            if fields is not None:
                break
        else:
            return False
        if self._unknown_heads:
            self._unknown_heads = min(self._unknown_heads, MOST_UNKNOWN) - 1
        self.cycle = exchange = DirectExchange(
            self,
            "POST",
            endpoint=head.endpoint,
            target=head.target,
            fields=fields,
            verdict=head.verdict,
            more_body=False,
            _has_event=True,
            _body=data[head.size :],
        )
        self._start_now(exchange)
        return True

    def _remember_head(self, data: bytes) -> None:
        """Remember the head of the request that these bytes are, for the next one on this connection."""
        self._unknown_heads += 1
        if self._unknown_heads > MOST_UNKNOWN and self._unknown_heads % TRIED_AGAIN:
            self._known_heads = ()
            return
        exchange = self.cycle
        if type(exchange) is not DirectExchange or exchange.method != "POST" or not exchange.keep_alive:
            return
        if self.in_reserve or self._limit_concurrency is not None:  # each request is checked
            return
        head = head_of(data, exchange.target, exchange.endpoint) if exchange.is_plain else None
        if head is not None:
            exchange.head = head
            self._known_heads = [head, *self._known_heads[: MOST_KEPT - 1]]

    def eof_received(self) -> bool | None:
        """Let short requests finish: the client has closed its sending half, or the whole connection.

        TCP does not tell which. So a response that has begun to stream, and one that is not complete within
        `_HALF_CLOSED` seconds, ends as if the client were gone.
        """
        active, newest = self._active, self.cycle
        if self._half_closed_timer is not None:
            return True
        if active is None or newest is None or active.response_started or self._lingering is not None:
            return None
        if (newest.more_body and not self.is_ending) or not self.transport.can_write_eof():  # TLS cannot
            return None
        if not self.is_ending:
            newest.keep_alive = False
        self._half_closed_timer = self._loop.call_later(_HALF_CLOSED, self.transport.close)
        return True

    def pause_writing(self) -> None:
        """Make writers wait: the client does not read."""
        self.check_at = 0.0
        self.flow.pause_writing()
        self._slots.unread.add(self)

    def resume_writing(self) -> None:
        """Wake the writers: the client reads again, or has gone."""
        self.flow.resume_writing()
        self._slots.unread.remove(self)

    # -- calls by the parser -----------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        """Call the application, or append the request to the pipeline of this connection."""
        http_version = self._parser.get_http_version()
        method = self._parser.get_method()
        keep_alive = self._parser.should_keep_alive()
        headers = self._headers
        fields = dict(headers)
        app, expects_continue, is_plain = self._plain_app, False, True
        # A plain request needs no checks: HTTP/1.1 with Host, no header twice, none noted, a head that came at
        # once.
        if (
            http_version != "1.1"
            or b"host" not in fields
            or len(fields) != len(headers)
            or not NOTED.isdisjoint(fields)
            or self._overhead is not None
            or len(fields) > MAX_FIELDS
            or self._has_blanks
        ):
            is_plain = False
            http_version, noted = self._check_head(http_version, method, keep_alive)
            if http_version == "1.0":
                keep_alive = False
            else:
                expects_continue = has_token(noted.get(b"expect", b""), b"100-continue")
            if not FORWARDED.isdisjoint(noted):
                app = self._app
        if self._url != self._last_url or method != self._last_method:
            self._keep_target(method)
        self._stage = IN_BODY
        self._headers = TRAILERS
        if self.in_reserve or self._limit_concurrency is not None:
            app = self._with_limits(app)
            keep_alive = keep_alive and not self.in_reserve
        previous = self.cycle
        cycle = self._cycle_of(app, method.decode("ascii"), http_version, headers, is_plain)
        self.cycle = cycle
        cycle.keep_alive, cycle.expects_continue = keep_alive, expects_continue
        if not keep_alive and http_version == "1.0":
            cycle.end_by_close()
        if previous is None or (previous.response_complete and previous.keep_alive):
            self._start(cycle)
        else:  # also behind a request that closes the connection, which drops whatever waits then
            self._append_waiting(cycle)

    def _with_limits(self, app: Any) -> Any:
        """Return what answers the request whose head was read: the application, or the refusal of a limit."""
        if self._limit_concurrency is not None and self._exceeds_concurrency(self._limit_concurrency):
            log.warning("Exceeded concurrency limit.")
            app = service_unavailable
        if self.in_reserve and not self._slots.is_served(self, self._target.path[len(self._root_path) :]):
            app = refuse_for_lack_of_room
        return app

    def _cycle_of(
        self, app: Any, method: str, version: str, headers: list[tuple[bytes, bytes]], is_plain: bool
    ) -> RequestCycle:
        """Return the request whose head was read.

        Args:
            app: what answers it, by way of ASGI unless it has a shorter one for its target.
            method: the HTTP method.
            version: of HTTP.
            headers: of the request.
            is_plain: whether its head needed no checks.
        """
        target = self._target
        if self._direct is not None and app is self._direct and version == "1.1":
            endpoint = self._direct.direct_endpoint(target.path)
            if endpoint is not None:
                return DirectExchange(
                    self, method, endpoint=endpoint, target=target, is_plain=is_plain, _headers=headers
                )
        return AsgiCycle(self, method, app=app, scope=self.scope_of(target, method, version, headers))

    def on_body(self, body: bytes) -> None:
        """Buffer a part of a body; pause reading once the application has enough of it to receive."""
        cycle = self.cycle
        assert cycle is not None
        if self._overhead is not None:  # it began in an earlier feed, so its progress is measured
            size = len(body)
            self._body_size += size
            cycle.received += size
        if not cycle.response_complete and cycle.add_body(body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """End a request."""
        if self._upgraded is not None:  # whose body the parser has not read
            return
        self._stage = BETWEEN
        cycle = self.cycle
        assert cycle is not None
        cycle.more_body = False
        if not cycle.response_complete:
            cycle.wake_receiver()

    # -- calls by the server and by request cycles -------------------------------------------------------------

    def scope_of(
        self, target: Target, method: str, version: str, headers: list[tuple[bytes, bytes]]
    ) -> dict[str, Any]:
        """Return the scope of a request as ASGI has it."""
        return {
            "type": "http",
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "root_path": self._root_path,
            "path": target.path,
            "raw_path": target.raw_path,
            "query_string": target.query,
            "asgi": {"version": self._asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "method": method,
            "headers": headers,
            "state": self._app_state.copy(),
        }

    def shutdown(self) -> None:
        """Answer the requests that have been read, then close the connection: uvicorn's server is stopping."""
        self._is_shutting_down = True
        if self._held is None:
            self._end_with_newest()

    def drop_waiting(self) -> int:
        """Make the response in progress the last one; return how many requests are dropped behind it."""
        count = len(self._waiting)
        self._drop_waiting()
        self._held = None
        if self._active is not None:
            self._active.keep_alive = False
        return count

    def default_head(self) -> bytes:
        """Return the header lines that uvicorn wants on each response.

        If they close the connection, only the last response does so (RFC 9112 §9.6).
        """
        source, lines = self._default_head
        default_headers = self.server_state.default_headers
        if default_headers is not source:  # uvicorn replaces the list when the date changes, and never mutates it
            lines = self._encode_default_head(default_headers)
        return lines

    def _encode_default_head(self, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        fields = [
            (name, value)
            for name, value in default_headers
            if name.lower() != b"connection" or not has_close(value)
        ]
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        if len(fields) == len(default_headers):
            self._default_head = (default_headers, lines)
        elif self._active is not None and not self._waiting and self._held is None:
            self._active.keep_alive = False
        return lines

    def response_completed(self, keep_alive: bool) -> None:
        """Start the next request that has been read, or wait for one."""
        self.server_state.total_requests += 1
        if not keep_alive:
            self._close()
            return
        if self.transport.is_closing():
            return
        if self._waiting:
            self._outside(self._start, self._waiting.popleft())
            if self._state is _HELD and not self._waiting:
                self._outside(self._resume_parsing)  # now, since this request may need the rest of its body
            else:
                self.resume_reading()
            return
        if self._state is not _OPEN:
            if self._refusal is not None:
                self._write_refusal(self._refusal)
                return
            self._outside(self._resume_parsing)
            if self._active is None or not self._active.response_complete:
                return
        if self.flow.read_paused:
            self.resume_reading()
        self.check_at = 0.0

    def resume_reading(self) -> None:
        """Read from the client again, unless its bytes are held back or enough of them were dropped."""
        if self._state is _OPEN or (self.is_ending and self._discarded <= self._discard_limit):
            self.flow.resume_reading()

    # -- pipelining --------------------------------------------------------------------------------------------

    def _start(self, cycle: RequestCycle) -> None:
        self._active = cycle
        task = self._loop.create_task(cycle.run())
        if not task.done():  # with a task factory it may be
            cycle.task = task
            self.server_state.tasks.add(task)

    if sys.version_info >= (3, 12):

        def _start_now(self, cycle: RequestCycle) -> None:
            """Start a request that is complete, in this turn of the event loop where Python can do that."""
            if self._loop.get_task_factory() is not None:
                self._start(cycle)
                return
            self._active = cycle
            task = asyncio.Task(cycle.run(), loop=self._loop, eager_start=True)
            if not task.done():  # nearly always it is
                cycle.task = task
                self.server_state.tasks.add(task)

    else:
        _start_now = _start

    def _outside(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call what starts requests, which must not see the context variables of the one before them."""
        self._context.copy().run(call, *arguments)

    def _exceeds_concurrency(self, limit: int) -> bool:
        return len(self.server_state.connections) >= limit or len(self.server_state.tasks) >= limit

    def _append_waiting(self, cycle: RequestCycle) -> None:
        """Append a pipelined request; stop parsing once enough of them wait."""
        waiting = self._waiting or WaitingRequests(self._slots.waiting)
        self._waiting = waiting
        waiting.append(cycle)
        self._hold_if_full()

    def _hold_if_full(self) -> None:
        if self._waiting and self._waiting.is_full():
            if self._state is _OPEN:
                self._state = _HELD
            self.flow.pause_reading()

    def _drop_waiting(self) -> None:
        if self._waiting:
            self._waiting.clear()
        self._waiting = ()

    def _check_overhead(self, size: int) -> None:
        """Count as `RequestReader` does; and stop within a body or head if enough requests wait."""
        super()._check_overhead(size)
        self._hold_if_full()

    # -- feeding the parser ------------------------------------------------------------------------------------

    def _feed_in_pieces(self, data: memoryview) -> None:
        """Parse bytes while few requests wait, and hold back the rest."""
        if self.is_ending:
            self._discard(len(data))
            return
        if self._held is not None:  # the transport may have read before it was paused
            self._hold(memoryview(bytes(self._held) + bytes(data)))
            return
        deadline = time.monotonic() + self._slots.sweep.limits.timings.parse_turn
        while data:
            if self._state is not _OPEN:
                if self._state is _HELD:
                    self._hold(data)
                return
            size = self._parser.missing if type(self._parser) is LargeBody else _PIECE
            self._feed(data[:size])
            data = data[size:]
            if data and self._state is _OPEN and time.monotonic() >= deadline:
                self._state = _HELD
                self._turn = self._turn or self._loop.call_soon(self._take_turn)

    def _hold(self, data: memoryview) -> None:
        """Hold back bytes, and read no more; refuse them if the connections of the server hold too much."""
        self.flow.pause_reading()
        self._held = data
        if not isinstance(self._waiting, WaitingRequests):
            self._waiting = WaitingRequests(self._slots.waiting)
        if not self._waiting.hold(memoryview(data.obj).nbytes):  # the whole buffer that these bytes are a part of
            self._refuse(RequestRefused(503, TOO_MUCH_WAITS))

    def _drop_held(self) -> None:
        self._held = None
        if isinstance(self._waiting, WaitingRequests):
            self._waiting.hold(0)

    def _take_turn(self) -> None:
        """Resume parsing in the next turn of the event loop, unless enough requests wait by now."""
        self._turn = None
        if self._held is None or self.transport.is_closing() or (self._waiting and self._waiting.is_full()):
            return
        self._resume_parsing()

    def _resume_parsing(self) -> None:
        """Parse what was held back, and read on if the application receives what has arrived."""
        held = self._held
        self._drop_held()
        self._state = _OPEN
        if held is not None:
            self._feed_in_pieces(held)
        if self._is_shutting_down and not self.is_ending and self._held is None:
            self._end_with_newest()
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.unread <= HIGH_WATER_LIMIT:
            self.resume_reading()

    def _end_with_newest(self) -> None:
        """Make the response to the newest request the last one, or close the connection if it is complete."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    # -- refusing and closing ----------------------------------------------------------------------------------

    @property
    def is_reading_head(self) -> bool:
        """Whether a head has arrived in part."""
        return self._stage is IN_HEAD

    @property
    def is_ending(self) -> bool:
        """Whether nothing is read from the client any more, except to discard it."""
        return self._refusal is not None

    @property
    def client_address(self) -> tuple[str, int] | None:
        """Address of the client."""
        return self._client

    def may_discard(self, announced: int | None, received: int) -> bool:
        """Whether the rest of a body that the application does not want is so small that it can be read.

        Args:
            announced: Content-Length; None for chunks.
            received: bytes that have arrived.
        """
        return announced is not None and announced - received <= self._discard_limit

    def forget_head(self, cycle: RequestCycle) -> None:
        """Keep of a request that is answered only its state: its head may be large, and the connection idle."""
        if self._active is cycle:
            self._active = answered = cycle.without_head()
            if self.cycle is cycle:
                self.cycle = answered

    def release_parser(self, cycle: RequestCycle) -> None:
        """Do without a parser until something arrives behind a request, if it has arrived."""
        if self.cycle is cycle and cycle.keep_alive and self._stage is BETWEEN and self._state is _OPEN:
            self._parser = NoParser(self)

    def forget_request(self) -> RequestCycle | None:
        """Forget the heads that are known, and of the newest request, which is answered, all but its state."""
        self._known_heads = ()
        if self.cycle is not None:
            self.cycle = self._active = self.cycle.without_head()
        return self.cycle

    def time_out(self, setting: str) -> None:
        """Refuse an incomplete request; close a connection on which nothing has arrived.

        No response goes to a client that has sent nothing: it would read it as the response to a request that it
        is about to send.
        """
        if self._stage is BETWEEN:
            self.transport.close()
        else:
            self._refuse(RequestRefused(408, TOO_SLOW, setting))

    def _refuse(self, refusal: RequestRefused) -> None:
        """Stop parsing; answer with the refusal once all requests before it are answered."""
        self._refusal = refusal
        self._state = _REFUSED
        self._drop_held()
        self._url, self._headers = b"", TRAILERS  # they may be large, and the refusal may wait behind a stream
        active, broken = self._active, self.cycle
        if self._stage is IN_BODY and broken is not None:  # its body will not end
            if self._waiting:
                self._waiting.pop()
            else:
                broken.disconnect()
                active = None
                if broken.response_started:
                    self._close()
                    return
        if active is None or active.response_complete:
            self._write_refusal(refusal)

    def _write_refusal(self, refusal: RequestRefused) -> None:
        refusals.warn(self._client, refusal.status, refusal.reason, refusal.setting)
        self.transport.write(refusal_response(refusal.status, refusal.reason, self.default_head()))
        self._close()

    def _close(self) -> None:
        """Close the connection, but let the client read the response if it still sends."""
        has_read_all = self._stage is BETWEEN and self._state is _OPEN and not self._waiting
        if has_read_all or self._half_closed_timer is not None:
            self.transport.close()
        elif self._lingering is None:
            self._state = _CLOSING
            self._refusal = self._refusal or RequestRefused(400, INVALID)  # of what the client still sends
            self._held = None
            self._drop_waiting()
            self.flow.resume_reading()
            self._lingering = LingeringClose(self.transport, self._discard_limit)

    def _discard(self, size: int) -> None:
        """Drop bytes that arrive behind a refused request; pause reading above the limit."""
        if self._lingering is not None:
            self._lingering.discard(size)
            return
        self._discarded += size
        if self._discarded > self._discard_limit:
            self.flow.pause_reading()


@lru_cache(maxsize=64)
def _shared(address: tuple[str, int | None] | None) -> tuple[str, int | None] | None:
    """Return the same object for the same address: most connections come to one address of the server."""
    return address


def is_supported() -> bool:
    """Whether uvicorn creates connections, and shares with them, as it did when this was written."""
    parameters = tuple(inspect.signature(HttpToolsProtocol).parameters)
    state, options = ServerState(), inspect.signature(uvicorn.Config).parameters
    return (
        parameters == tuple(inspect.signature(HttpProtocol).parameters)
        and all(hasattr(state, name) for name in ("connections", "tasks", "default_headers", "total_requests"))
        and all(name in options for name in ("root_path", "limit_concurrency", "timeout_keep_alive"))
        and hasattr(uvicorn.Config, "asgi_version")
    )
