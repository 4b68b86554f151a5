"""Serving over HTTP by uvicorn, for `run()` and `run_async()`; any other ASGI server will do as well.

Easy to get wrong: the end. uvicorn closes its listener and every idle connection at once, with whatever the
kernel has received for them and nobody has read, and then waits for open responses, among them streams that are
open for as long as their clients like. So this server first announces that it stops, goes on serving what was on
its way, and closes a socket only when it has no unread input:

    drain: not ready, streams end, "connection: close" ─▶ drain_delay ─▶ the queue of the listener is accepted,
    the listener closed ─▶ no connection has unread bytes ─▶ `shutdown.py` ─▶ lifespan ─▶ the event loop closed ─▶
    the signal is raised again, for its default action
"""

import asyncio
import contextlib
import logging
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from enfilade.startup import gc_pause, uvicorn_import
from enfilade.transports.asgi import Receive, Scope, Send
from enfilade.transports.processes.listeners import SocketFile
from enfilade.transports.processes.process_end import STARTUP_FAILURE, ExitDeadline
from enfilade.transports.processes.server_log import flush_log

uvicorn_import.import_uvicorn()
import uvicorn  # noqa: E402 - without its command line
from uvicorn.server import HANDLED_SIGNALS  # noqa: E402

from enfilade.transports.http11.connection_slots import AcceptErrors  # noqa: E402 - these import uvicorn too
from enfilade.transports.http11.connection_timeouts import ConnectionLimits  # noqa: E402
from enfilade.transports.http11.flow_control import reset  # noqa: E402

if TYPE_CHECKING:
    from enfilade.transports.processes.service_manager import ServiceManager
    from enfilade.transports.processes.tls import RenewedCertificate, TlsFiles
else:
    RenewedCertificate = ServiceManager = TlsFiles = Any  # few servers need their modules

#: Seconds at most for connections and bytes that had arrived when the server was told to stop.
_READ_TIMEOUT: Final = 2.0
_LONGEST_QUEUE: Final = 4096  # connections that wait to be accepted; uvicorn asks for half of that
_TICKS_PER_LOOK: Final = 10  # ticks of a tenth of a second between two looks for a renewed certificate
_POLL_INTERVAL: Final = 0.002  # seconds between two checks of the sockets; the event loop reads in between
#: Checks without input after which all is read: a connection that was just accepted needs a moment.
_QUIET_POLLS: Final = 25
_CLOSE: Final = (b"connection", b"close")
_FORCED: Final = 1.0  # seconds in which a server ends that was told to stop twice
#: Seconds for cancelled requests: a handler has one for its clean-up, and its response one to be sent.
UNWINDING: Final = 2.0
_STUBBORN: Final = 0.5  # seconds for the event loop to close around requests that have not ended
_ABORTED_LIFESPAN: Final = 1.0  # seconds that the lifespan gets when the server is not stopped in order
_LIMIT_SETTINGS: Final = (
    "header_timeout, body_timeout, body_rate, write_timeout, max_connections, discard_limit and response_memory"
)

log = logging.getLogger("enfilade")


class Served(Protocol):
    """An ASGI application that can be told that the server stops."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        ...

    def drain(self) -> None:
        """Stop being ready, and end the streams that wait for changes."""
        ...


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a server listens and stops.

    Attributes:
        port: port to bind; 0 for a free one.
        log_level: what uvicorn logs.
        drain_delay: seconds for which a server that was told to stop goes on taking requests.
        shutdown_timeout: seconds that requests in flight then get to finish.
        worker_timeout: seconds without an answer after which the parent replaces a hung worker; 0 for never.
        lifespan_timeout: seconds that the lifespan gets at the end, and after it threads and exit handlers.
        certificate_header: in which a trusted proxy says the client's certificate; empty for none.
        limits: of the connections.
        tls: certificate and key; None to serve without TLS.
        root_path: prefix of the path that a proxy strips.
        forwarded_allow_ips: proxies whose headers are believed, as uvicorn takes them; empty for its default.
        socket_file: the file of the Unix socket, which the process removes that has made it.
    """

    host: str
    port: int
    log_level: str
    drain_delay: float
    shutdown_timeout: float
    worker_timeout: float = 60.0
    lifespan_timeout: float = 5.0
    certificate_header: str = ""
    limits: ConnectionLimits = ConnectionLimits(max_connections=0)
    tls: TlsFiles | None = None
    root_path: str = ""
    forwarded_allow_ips: str = ""
    socket_file: SocketFile | None = None

    @property
    def stop_timeout(self) -> float:
        """Seconds within which a server that is told to stop has finished its last request."""
        return self.drain_delay + _READ_TIMEOUT + self.shutdown_timeout + UNWINDING


class Config(uvicorn.Config):
    """uvicorn's options, and limits of connections, which `HttpProtocol` reads here."""

    connection_limits: ConnectionLimits | None = None
    certificate_header = ""
    tls: TlsFiles | None = None

    def load(self) -> None:
        super().load()
        if self.tls is not None:
            self.ssl = self.tls.context()
        if self.certificate_header:
            from enfilade.transports.http11.client_certificate import ClientCertificateHeader

            trusted = self.forwarded_allow_ips
            self.loaded_app = ClientCertificateHeader(self.loaded_app, self.certificate_header, trusted)


class Server(uvicorn.Server):
    """A uvicorn server that serves all that was sent to it before it was told to stop.

    Args:
        workers: processes that share its listener.
        on_serving: called once it serves.
        manager: is told of the start, the end, and in between that the event loop runs.
    """

    def __init__(
        self,
        app: Served,
        options: ServerOptions,
        *,
        workers: int = 1,
        on_serving: Callable[[], None] | None = None,
        manager: ServiceManager | None = None,
    ) -> None:
        self._deadline: ExitDeadline | None = None
        self._should_exit = False
        super().__init__(uvicorn_config(app, options, workers))
        self._app = app
        self._options = options
        self._on_serving = on_serving
        self._accept_errors: AcceptErrors | None = None
        self._manager = manager
        self._socket_file = options.socket_file if workers == 1 else None  # else it is the parent's
        self._renewal: RenewedCertificate | None = None

    @property  # an attribute of uvicorn's, which its signal handler sets
    def should_exit(self) -> bool:
        """Whether it is to stop. Setting it also sets the deadline of the process, for a blocked event loop."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, stop: bool) -> None:
        self._should_exit = stop
        if stop and self._deadline is not None:
            self._deadline.set(self._options.stop_timeout + self._options.lifespan_timeout, self._exit_code())

    def _exit_code(self) -> int:
        return 128 + self._captured_signals[-1] if self._captured_signals else 1

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal; end at once at the second one, whatever is unfinished."""
        is_second = self._should_exit
        super().handle_exit(sig, frame)
        if is_second:
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
        """Handle signals while there is an event loop, and raise the last one again when it is closed.

        uvicorn raises it within the loop: Ctrl-C would interrupt whatever runs there, and be logged by all of it.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous_handlers = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous_handlers.items():
                signal.signal(number, handler)
        if self._captured_signals and (not self.force_exit or self._captured_signals[-1] != signal.SIGINT):
            signal.raise_signal(self._captured_signals[-1])

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, and write the log before the signal that ended it is raised again."""
        with self.capture_signals() if self._deadline is None else contextlib.nullcontext():
            try:
                await self._serve(sockets)
            finally:
                if self.started:
                    log.info("stopped")
                flush_log()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            log.info("serving")
        self._accept_errors = AcceptErrors(asyncio.get_running_loop())
        gc_pause.resume()
        if self._options.tls is not None and self.config.ssl is not None:
            from enfilade.transports.processes.tls import RenewedCertificate

            self._renewal = RenewedCertificate(self._options.tls, self.config.ssl)
        if self._manager is not None:
            self._manager.ready()
        if self._on_serving is not None:
            self._on_serving()

    async def on_tick(self, counter: int) -> bool:
        """Do what is due, ten times a second; return whether to stop."""
        if self._manager is not None:
            self._manager.alive()
        if self._renewal is not None and counter % _TICKS_PER_LOOK == 0:
            await self._renewal.check()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop in the order that the top of this file gives."""
        if self._manager is not None:
            self._manager.stopping()
        await asyncio.sleep(_POLL_INTERVAL)  # read first what was sent before the end is announced
        self._announce_end()
        await self._wait_unless_forced(self._options.drain_delay)
        queued = _accept_all(sockets or [listener for server in self.servers for listener in server.sockets])
        for server in self.servers:  # at once, so that no client joins the queue in between
            server.close()
        for listener in sockets or []:
            listener.close()
        if self._socket_file is not None:
            self._socket_file.remove()
        for connection in queued:
            with contextlib.suppress(OSError):  # the client has closed it already
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._new_protocol, connection, ssl=self.config.ssl
                )
        await self._wait_until_read()
        from enfilade.transports.http11.shutdown import finish_requests  # needed only now

        have_ended = await finish_requests(
            self.server_state, self._options.shutdown_timeout, UNWINDING, lambda: self.force_exit
        )
        if self.force_exit:
            self.lifespan.shutdown_failed = True  # it is cancelled, and uvicorn would log that
        await super().shutdown(sockets)
        if not have_ended and self._deadline is not None:
            self._deadline.set(_STUBBORN, self._exit_code())
        if self._accept_errors is not None:
            self._accept_errors.restore()

    def _announce_end(self) -> None:
        """Announce the end to probes, to streams, and with the last response on each connection."""
        self._app.drain()
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)  # websockets have none
            if cycle is not None and cycle.response_started and not cycle.response_complete:
                connection.shutdown()  # its head was sent without `connection: close`: make the response the last

    async def _wait_unless_forced(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.force_exit and (remaining := end - time.monotonic()) > 0:  # noqa: ASYNC110 - a signal handler sets it
            await asyncio.sleep(min(remaining, 0.05))

    def _new_protocol(self) -> asyncio.Protocol:
        config, state = self.config, self.server_state
        return config.http_protocol_class(config=config, server_state=state, app_state=self.lifespan.state)  # type: ignore[call-arg]

    async def _wait_until_read(self) -> None:
        """Let the event loop run until no connection has input that it could read."""
        end = time.monotonic() + _READ_TIMEOUT
        quiet_polls = 0
        while quiet_polls < _QUIET_POLLS and not self.force_exit and time.monotonic() < end:
            await asyncio.sleep(_POLL_INTERVAL)
            quiet_polls = 0 if _any_readable(self._sockets_being_read()) else quiet_polls + 1

    def _sockets_being_read(self) -> list[Any]:
        """Return the sockets that the event loop reads from, without those whose reading is paused."""
        transports = [connection.transport for connection in self.server_state.connections]
        return [transport.get_extra_info("socket") for transport in transports if transport.is_reading()]


class EmbeddedServer(Server):
    """A server in an event loop of its caller, for `run_async()`: it never ends the process.

    The caller stops it by cancelling the task that awaits it. uvicorn does not handle that: a cancelled `serve()`
    leaves the listener, the connections and the lifespan open. Here the first cancellation stops the server in
    order, and is raised again when that is done.
    """

    def __init__(self, app: Served, options: ServerOptions) -> None:
        super().__init__(app, options)
        self._cancellation: asyncio.CancelledError | None = None

    async def serve_until_cancelled(self, listeners: list[socket.socket]) -> None:
        """Serve until a signal or a cancellation asks to stop, and stop in order.

        Raises:
            RuntimeError: it could not start; the log says why.
            CancelledError: the task was cancelled; the server has stopped by now.
        """
        try:
            await self.serve(listeners)
        except asyncio.CancelledError:  # while it started, or once more while it stopped
            await self._abort()
            raise
        except SystemExit:  # uvicorn cannot listen; the caller's loop goes on
            self.started = False
        if not self.started:
            raise RuntimeError("the server could not start; the log says why")
        if self._cancellation is not None:
            raise self._cancellation

    async def main_loop(self) -> None:
        """Wait until the server should stop."""
        try:
            await super().main_loop()
        except asyncio.CancelledError as error:
            self._cancellation = error

    async def _abort(self) -> None:
        """Close everything at once, and reset the connections."""
        for server in getattr(self, "servers", ()):  # which exists once it listens
            server.close()
        for task in self.server_state.tasks:
            task.cancel("the server is stopping (shutdown)")
        for connection in self.server_state.connections:
            reset(connection.transport)
        lifespan = getattr(self, "lifespan", None)
        if lifespan is not None and lifespan.startup_event.is_set():  # or it still starts
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lifespan.shutdown(), _ABORTED_LIFESPAN)


def uvicorn_config(app: Served, options: ServerOptions, workers: int) -> uvicorn.Config:
    """Return the options as uvicorn has them."""
    _filter_access_log(options.limits.probe_paths)
    config = Config(
        app,
        host=options.host,
        port=options.port,
        http=http_protocol(),
        ws="none",
        log_level=options.log_level,
        log_config=None,  # its loggers are shown as ours are
        access_log=options.log_level == "debug",  # a line for each request costs more than the request
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(options.shutdown_timeout)),
        server_header=False,
        workers=workers,
        timeout_keep_alive=options.limits.idle_timeout,  # type: ignore[arg-type]  # only used as seconds
        root_path=options.root_path,
        forwarded_allow_ips=options.forwarded_allow_ips or None,
    )
    config.tls = options.tls
    config.connection_limits = options.limits
    config.certificate_header = options.certificate_header
    if options.log_level == "info":  # what it says about its start and its end, this library says in a line each
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return config


class _AccessLogFilter(logging.Filter):
    """Keeps out of the access log what must not be there, or helps nobody.

    That is the query of a URL, in which a client may have put its token by mistake (R-611), and probes that are
    answered 200, which come every few seconds for ever.

    Args:
        paths: of the probes.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        super().__init__()
        self._paths = frozenset(paths)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is shown. Its arguments are uvicorn's: client, method, path, HTTP version, status."""
        arguments = record.args
        if not isinstance(arguments, tuple) or len(arguments) != 5:
            return True
        client, method, url, version, status = arguments
        path = str(url).partition("?")[0]
        record.args = (client, method, path, version, status)
        return status != 200 or path not in self._paths


def _filter_access_log(paths: Iterable[str]) -> None:
    """Filter the access log; probes that were hidden for another server of this process are shown again."""
    logger = logging.getLogger("uvicorn.access")
    for earlier in [entry for entry in logger.filters if isinstance(entry, _AccessLogFilter)]:
        logger.removeFilter(earlier)
    logger.addFilter(_AccessLogFilter(paths))


def http_protocol() -> type[asyncio.Protocol] | Literal["auto"]:
    """Return our protocol; or "auto", with a warning, where httptools is missing or uvicorn has changed."""
    try:
        from enfilade.transports.http11.protocol import HttpProtocol, is_supported  # needs httptools
    except ImportError:
        reason = "httptools is not installed"
    else:
        if is_supported():
            return HttpProtocol
        reason = f"uvicorn {uvicorn.__version__} is not supported"
    log.warning("%s, so uvicorn's own HTTP protocol serves: %s have no effect", reason, _LIMIT_SETTINGS)
    return "auto"


def serve_http(
    app: Served, options: ServerOptions, listeners: list[socket.socket], manager: ServiceManager | None = None
) -> None:
    """Serve an ASGI app in this process until a signal asks to stop.

    Args:
        listeners: bound sockets; they are closed at the end.
        manager: the service manager that has started this process.

    Raises:
        SystemExit: the server could not start; uvicorn has logged why.
    """
    try:
        Server(app, options, manager=manager).serve_until_stopped(listeners)
    finally:
        for listener in listeners:
            listener.close()


async def serve_http_embedded(app: Served, options: ServerOptions, listeners: list[socket.socket]) -> None:
    """Serve an ASGI app in the running event loop until a signal or a cancellation asks to stop.

    Args:
        listeners: bound sockets; they are closed at the end.

    Raises:
        RuntimeError: it could not start; the log says why.
    """
    try:
        await EmbeddedServer(app, options).serve_until_cancelled(listeners)
    finally:
        for listener in listeners:
            listener.close()


def _accept_all(listeners: Iterable[Any]) -> list[socket.socket]:
    """Return the connections that wait to be accepted, faster than new ones can come."""
    accepted: list[socket.socket] = []
    for listener in listeners:
        with (
            socket.fromfd(listener.fileno(), listener.family, listener.type) as duplicate,
            contextlib.suppress(OSError),
        ):
            duplicate.setblocking(False)
            while len(accepted) < _LONGEST_QUEUE:
                accepted.append(duplicate.accept()[0])
    return accepted


def _any_readable(sockets: Iterable[Any]) -> bool:
    """Whether the kernel has something for one of these sockets: bytes, a connection to accept, or an end."""
    with selectors.DefaultSelector() as selector:
        for sock in sockets:
            if sock is not None and (descriptor := sock.fileno()) >= 0:
                selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.get_map()) and bool(selector.select(0))
