"""Serving over HTTP by uvicorn, for `run()`; any other ASGI server will do as well.

The easy thing to get wrong is the end. uvicorn closes its listener and every idle connection at once, with
whatever the kernel has received for them and nobody has read yet, and then waits for open responses, among them
streams that are open for as long as their clients like. So this server first says that it is going, goes on
serving what was on its way, and closes a socket only when nothing waits in it:

    drain: not ready, streams end, "connection: close" ─▶ drain_delay ─▶ who waits is accepted, the listener
    closed ─▶ no connection has unread bytes ─▶ `shutdown.py` ─▶ lifespan ─▶ the event loop closed ─▶ the
    signal once more, for its default action
"""

import asyncio
import contextlib
import logging
import selectors
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from types import FrameType
from typing import Any, Final, Literal, Protocol

import msgspec

from enfilade.startup import gc_pause, uvicorn_import
from enfilade.transports.processes.process_end import STARTUP_FAILURE, ExitDeadline
from enfilade.transports.processes.server_log import flush_log

uvicorn_import.import_uvicorn()
import uvicorn  # noqa: E402 - as lean as that has made it
from uvicorn.server import HANDLED_SIGNALS  # noqa: E402

from enfilade.transports.http11.connection_slots import AcceptErrors  # noqa: E402 - these import uvicorn too
from enfilade.transports.http11.connection_timeouts import ConnectionLimits  # noqa: E402

_SETTLING: Final = (
    2.0  # seconds at most for connections and bytes that were there when the server was told to stop
)
_LONGEST_QUEUE: Final = 4096  # connections that wait to be accepted; uvicorn asks for half of that
_TURN: Final = 0.002  # seconds between two looks at the sockets; the event loop reads in between
_QUIET_TURNS: Final = 25  # who was accepted last has so many turns to be known to uvicorn, and to say something
_CLOSE: Final = (b"connection", b"close")
_FORCED: Final = 1.0  # seconds in which a server ends that was told twice
#: Seconds for cancelled requests: a handler has one to unwind, and its response one to leave.
UNWINDING: Final = 2.0
_STUBBORN: Final = 0.5  # seconds for the event loop to close around requests that have not ended

log = logging.getLogger("enfilade")


class Served(Protocol):
    """An ASGI application that can be told that the end is near."""

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Serve."""
        ...

    def drain(self) -> None:
        """Stop being ready, and end the streams that wait for changes."""
        ...


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a server listens and stops.

    Attributes:
        host: address to bind.
        port: port to bind; 0 for a free one.
        log_level: what uvicorn logs.
        drain_delay: seconds for which a server that was told to stop goes on taking requests.
        shutdown_timeout: seconds that requests in flight then get to finish.
        header_timeout, body_timeout, idle_timeout, write_timeout: seconds; see `Settings`.
        body_rate: bytes per second below which a body is too slow; 0 for any rate.
        max_connections: connections held at once; 0 for what the limit of descriptors allows.
        discard_limit: bytes read from a client after its request was refused.
        response_memory: bytes of responses that wait for clients which do not read.
        worker_timeout: seconds of silence after which the parent replaces a hung worker; 0 for never.
        lifespan_timeout: seconds that the lifespan gets in the end, and after it threads and exit handlers.
        probe_paths: paths that are served also when there are too many connections.
    """

    host: str
    port: int
    log_level: str
    drain_delay: float
    shutdown_timeout: float
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    body_rate: int = 256
    idle_timeout: float = 75.0
    write_timeout: float = 30.0
    max_connections: int = 0
    discard_limit: int = 64 * 1024
    response_memory: int = 256 * 1024 * 1024
    worker_timeout: float = 60.0
    lifespan_timeout: float = 5.0
    probe_paths: tuple[str, ...] = ()

    @property
    def stop_timeout(self) -> float:
        """Seconds within which a server that is told to stop has finished its last request."""
        return self.drain_delay + _SETTLING + self.shutdown_timeout + UNWINDING


class Config(uvicorn.Config):
    """uvicorn's options, and limits of connections, which `HttpProtocol` looks for here."""

    connection_limits: ConnectionLimits | None = None


class Server(uvicorn.Server):
    """A uvicorn server that loses nothing of what was sent to it before it was told to stop.

    Args:
        app: what it serves.
        options: how it listens and stops.
        workers: processes that share its listener.
        on_serving: called once it serves.
    """

    def __init__(
        self,
        app: Served,
        options: ServerOptions,
        *,
        workers: int = 1,
        on_serving: Callable[[], None] | None = None,
    ) -> None:
        self._deadline: ExitDeadline | None = None
        self._told_to_stop = False
        super().__init__(uvicorn_config(app, options, workers))
        self._app = app
        self._options = options
        self._on_serving = on_serving
        self._accept_errors: AcceptErrors | None = None

    @property  # an attribute of uvicorn's, and set by its signal handler
    def should_exit(self) -> bool:
        """Whether it is to stop. Once it is, the process ends in time, also if its event loop is blocked."""
        return self._told_to_stop

    @should_exit.setter
    def should_exit(self, stop: bool) -> None:
        self._told_to_stop = stop
        if stop and self._deadline is not None:
            self._deadline.set(self._options.stop_timeout + self._options.lifespan_timeout, self._exit_code())

    def _exit_code(self) -> int:
        return 128 + self._captured_signals[-1] if self._captured_signals else 1

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal; end at once at the second one, with what that leaves undone."""
        again = self._told_to_stop
        super().handle_exit(sig, frame)
        if again:
            self.force_exit = True
            if self._deadline is not None:
                self._deadline.set(_FORCED, self._exit_code())

    def serve_until_stopped(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal or `should_exit` asks to stop.

        Raises:
            SystemExit: it could not start; uvicorn has logged why.
        """
        self._deadline = ExitDeadline(self._options.lifespan_timeout)
        try:
            with self._handling_signals():
                self.run(sockets)
        except KeyboardInterrupt:  # the default action of Ctrl-C
            return
        finally:
            self._deadline.run_returned()
        if self.force_exit:
            raise SystemExit(self._exit_code())
        if not self.started:
            raise SystemExit(STARTUP_FAILURE)

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        """Take signals for as long as there is an event loop, and raise the first once more when it is closed.

        uvicorn raises it within the loop: Ctrl-C would strike whatever runs there, and be logged by all of it.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._captured_signals and (not self.force_exit or self._captured_signals[-1] != signal.SIGINT):
            signal.raise_signal(self._captured_signals[-1])

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, and write the log before the signal is raised again that ended it."""
        with self.capture_signals() if self._deadline is None else contextlib.nullcontext():
            try:
                await self._serve(sockets)
            finally:
                flush_log()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._accept_errors = AcceptErrors(asyncio.get_running_loop())
        gc_pause.resume()
        if self._on_serving is not None:
            self._on_serving()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop in the order that the top of this file gives."""
        await asyncio.sleep(_TURN)  # what is there by now was sent before the end was announced: it is read first
        self._take_leave()
        await self._linger(self._options.drain_delay)
        queued = _accept_all(sockets or [each for server in self.servers for each in server.sockets])
        for server in self.servers:  # at once, so that nobody joins the queue in between
            server.close()
        for each in sockets or []:
            each.close()
        for connection in queued:
            with contextlib.suppress(OSError):  # it is gone already
                await asyncio.get_running_loop().connect_accepted_socket(self._new_protocol, connection)
        await self._until_all_is_read()
        from enfilade.transports.http11.shutdown import finish_requests  # needed only now

        have_ended = await finish_requests(
            self.server_state, self._options.shutdown_timeout, UNWINDING, lambda: self.force_exit
        )
        if self.force_exit:
            self.lifespan.shutdown_failed = True  # it is cancelled, which is nothing to be logged
        await super().shutdown(sockets)
        if not have_ended and self._deadline is not None:
            self._deadline.set(_STUBBORN, self._exit_code())
        if self._accept_errors is not None:
            self._accept_errors.restore()

    def _take_leave(self) -> None:
        """Say that the server is going: to probes, to streams, and with the last response on each connection."""
        self._app.drain()
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)  # websockets have none
            if cycle is not None and cycle.response_started and not cycle.response_complete:
                connection.shutdown()  # its head is out and cannot say so: let the response be the last

    async def _linger(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.force_exit and (left := end - time.monotonic()) > 0:  # noqa: ASYNC110 - a signal handler sets it
            await asyncio.sleep(min(left, 0.05))

    def _new_protocol(self) -> asyncio.Protocol:
        config, state = self.config, self.server_state
        return config.http_protocol_class(config=config, server_state=state, app_state=self.lifespan.state)  # type: ignore[call-arg]

    async def _until_all_is_read(self) -> None:
        """Let the event loop work until no connection has bytes that it could read."""
        end = time.monotonic() + _SETTLING
        quiet = 0
        while quiet < _QUIET_TURNS and not self.force_exit and time.monotonic() < end:
            await asyncio.sleep(_TURN)
            quiet = 0 if _any_readable(self._being_read()) else quiet + 1

    def _being_read(self) -> list[Any]:
        """Return the sockets that the event loop reads from; it does not while a request is too much to hold."""
        transports = [connection.transport for connection in self.server_state.connections]
        return [each.get_extra_info("socket") for each in transports if each.is_reading()]


def uvicorn_config(app: Served, options: ServerOptions, workers: int) -> uvicorn.Config:
    """Return the options in uvicorn's words."""
    protocol = http_protocol()
    config = Config(
        app,
        host=options.host,
        port=options.port,
        http=protocol,
        ws="none",
        log_level=options.log_level,
        log_config=None,  # its loggers are shown as ours are
        access_log=options.log_level == "debug",  # a line for each request costs more than the request
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(options.shutdown_timeout)),
        server_header=False,
        workers=workers,
        timeout_keep_alive=options.idle_timeout,  # type: ignore[arg-type]  # only used as seconds
    )
    if protocol == "auto":
        log.warning(
            "uvicorn's own HTTP protocol serves: header_timeout, body_timeout, body_rate, write_timeout, "
            "max_connections, discard_limit and response_memory have no effect"
        )
    else:
        config.connection_limits = connection_limits(options)
    return config


def connection_limits(options: ServerOptions) -> ConnectionLimits:
    """Return the limits of each connection, and of their number."""
    return ConnectionLimits(
        header_timeout=options.header_timeout,
        body_timeout=options.body_timeout,
        body_rate=options.body_rate,
        idle_timeout=options.idle_timeout,
        write_timeout=options.write_timeout,
        discard_limit=options.discard_limit,
        response_memory=options.response_memory,
        max_connections=options.max_connections,
        probe_paths=frozenset(path for path in options.probe_paths if path),
    )


def http_protocol() -> type[asyncio.Protocol] | Literal["auto"]:
    """Return our protocol; or leave it to uvicorn where what ours stands on is missing, or is not what it was."""
    try:
        from enfilade.transports.http11.protocol import HttpProtocol, is_supported  # needs httptools
    except ImportError:
        return "auto"
    if is_supported():
        return HttpProtocol
    log.info("this version of uvicorn is served by its own HTTP protocol, which is slower")
    return "auto"


def serve_http(app: Served, options: ServerOptions, listeners: list[socket.socket]) -> None:
    """Serve an ASGI app in this process until a signal asks to stop.

    Args:
        app: what to serve.
        options: how.
        listeners: bound sockets; they are closed in the end.

    Raises:
        SystemExit: the server could not start; uvicorn has logged why.
    """
    try:
        Server(app, options).serve_until_stopped(listeners)
    finally:
        for each in listeners:
            each.close()


def _accept_all(listeners: Iterable[Any]) -> list[socket.socket]:
    """Return the connections that wait to be accepted, faster than new ones can come."""
    accepted: list[socket.socket] = []
    for listener in listeners:
        with (
            socket.fromfd(listener.fileno(), listener.family, listener.type) as own,
            contextlib.suppress(OSError),
        ):
            own.setblocking(False)
            while len(accepted) < _LONGEST_QUEUE:
                accepted.append(own.accept()[0])
    return accepted


def _any_readable(sockets: Iterable[Any]) -> bool:
    """Whether the kernel has something for one of these sockets: bytes, a connection to accept, or an end."""
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            if each is not None and (number := each.fileno()) >= 0:
                selector.register(number, selectors.EVENT_READ)
        return bool(selector.get_map()) and bool(selector.select(0))
