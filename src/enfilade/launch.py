"""How `run()` serves over HTTP: in this process, by several workers, or by a worker that is replaced on changes.

Easy to get wrong: a worker imports the file of the app again. The settings of the parent are passed to it; what
the main block of a script did to the app is not there. Workers cannot share a store in memory, so it is replaced
by an SQLite file that is deleted when the parent ends.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from msgspec.structs import replace

from enfilade.settings import Settings, SettingsError
from enfilade.startup.lazy import LazyModule
from enfilade.transports.processes.process_end import STARTUP_FAILURE

if TYPE_CHECKING:
    import socket

    from enfilade import loading as _loading
    from enfilade.loading import AppSource
    from enfilade.primitives.tool import Tool
    from enfilade.state.store import Store
    from enfilade.transports.asgi import Receive, Scope, Send
    from enfilade.transports.http11.server import Served, ServerOptions
    from enfilade.transports.processes.listeners import ListenOptions
    from enfilade.transports.processes.service_manager import ServiceManager
    from enfilade.transports.processes.tls import TlsFiles
else:
    _loading = LazyModule("enfilade.loading")

log = logging.getLogger("enfilade")

#: Stands in a URL where the settings name no host by which clients can call the server.
UNKNOWN_HOST: Final = "HOST"

_RELOADING_TIMEOUT: Final = 1.0  # seconds that requests get to finish when the code has changed


class Launched(Protocol):
    """An app that can be served, in this process or another."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        ...

    @settings.setter
    def settings(self, settings: Settings) -> None: ...

    @property
    def endpoint_path(self) -> str:
        """The path by which clients call the endpoint."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        ...

    def drain(self) -> None:
        """Prepare for shutdown: open streams are told to end."""
        ...

    @property
    def tools(self) -> Iterable[Tool]:
        """Its tools."""
        ...

    @property
    def store(self) -> Store:
        """Its store."""
        ...

    @property
    def given_store(self) -> Store | None:
        """The store that it was given as an object; None for the one in its settings."""
        ...


class Host(NamedTuple):
    """A host that is served in place of the app in it.

    Attributes:
        original: the ASGI application, which other processes find again.
        wrap: makes what is served of it; picklable.
    """

    original: object
    wrap: Callable[[object], Launched]


class DevelopmentObserver(Protocol):
    """An observer of a server under development; it is pickled to each new process."""

    def load(self, source: AppSource, settings: Settings, wrap: Callable[[object], Launched] | None) -> Served:
        """Import the app in another process, as `reload_app` does."""
        ...

    def changed(self, files: Sequence[str]) -> None:
        """Handle a change of files."""
        ...

    def report_reload(self, generation: int) -> None:
        """Handle that a process serves, which was started after this number of changes."""
        ...


def check_processes(settings: Settings, workers: int | None, reload: bool) -> None:
    """Refuse several processes over stdio, and several workers with reloading.

    Raises:
        SettingsError: the settings ask for one of these.
    """
    if settings.transport != "http":
        if reload or (workers or 1) > 1:
            option = "reload" if reload else "workers"
            raise SettingsError(
                f"Invalid settings: {option} needs transport='http'; over stdio there is one process"
            )
    elif reload and settings.workers > 1:
        raise SettingsError(
            f"Invalid settings: reload and workers={settings.workers} exclude each other; reload while you write "
            "the server, and several workers when it is done"
        )


def check_single_process(settings: Settings, workers: int | None, reload: bool) -> None:
    """Refuse options that need further processes, for a server that runs in the caller's event loop.

    Raises:
        SettingsError: further processes would be needed.
    """
    several = settings.workers > 1 if settings.transport == "http" else (workers or 1) > 1
    if reload or several:
        option = "reload" if reload else f"workers={settings.workers}"
        raise SettingsError(f"Invalid settings: run_async() serves in this process; {option} needs app.run()")


def _check_sockets(settings: Settings) -> None:
    """Refuse settings of sockets that exclude each other.

    Raises:
        SettingsError: they do.
    """
    if settings.uds and settings.fd >= 0:
        raise SettingsError("Invalid settings: uds and fd exclude each other; the server listens on one of them")
    if settings.tls_key and not settings.tls_cert:
        raise SettingsError("Invalid settings: tls_key needs tls_cert, the file of the certificate")


def _check_proxies(settings: Settings) -> None:
    """Refuse proxies that cannot be.

    Raises:
        SettingsError: names the first of them.
    """
    for name in settings.forwarded_allow_ips:
        _check_proxy("forwarded_allow_ips", name)
    if not settings.forwarded_allow_ips and not settings.uds:  # then uvicorn reads the variable
        for name in os.environ.get("FORWARDED_ALLOW_IPS", "").split(","):
            _check_proxy("the variable FORWARDED_ALLOW_IPS", name.strip())


def _check_proxy(setting: str, name: str) -> None:
    """Refuse what no proxy can have: uvicorn would take it as a text, and believe nobody.

    Raises:
        SettingsError: it is neither an address, a network, the path of a Unix socket, nor `*`.
    """
    import ipaddress

    if name in ("", "*") or name.startswith(("/", "unix:")):
        return
    try:
        if "/" in name:
            ipaddress.ip_network(name)
        else:
            ipaddress.ip_address(name)
    except ValueError:
        hint = ""
        with suppress(ValueError):
            hint = f"; the network of that address is {ipaddress.ip_network(name, strict=False)}"
        raise SettingsError(
            f"Invalid settings: {setting}: {name!r} is no address of a proxy; give addresses or networks, such "
            f"as 10.0.0.7, 10.0.0.0/8 or fd00::/8, the path of a Unix socket, or * for any{hint}"
        ) from None


def _trusted_proxies(settings: Settings) -> str:
    """Return the proxies whose headers are believed, as uvicorn takes them; empty for its default.

    A Unix socket has no addresses: who may connect is decided by its permissions.
    """
    if settings.forwarded_allow_ips:
        names = settings.forwarded_allow_ips
        return "*" if "*" in names else ",".join(["127.0.0.1", "::1", *names])
    return "*" if settings.uds else ""


def _check_trust(settings: Settings) -> None:
    """Refuse the header of a certificate where it is believed from everybody.

    Raises:
        SettingsError: `forwarded_allow_ips` or `FORWARDED_ALLOW_IPS` has no bounds.
    """
    from enfilade.transports.http11.client_certificate import trusts_everybody

    if settings.uds:  # whose permissions say who is a proxy
        return
    if trusts_everybody(_trusted_proxies(settings) or os.environ.get("FORWARDED_ALLOW_IPS", "")):
        raise SettingsError(
            f"Invalid settings: with auth_certificate_header={settings.auth_certificate_header!r} the setting "
            "forwarded_allow_ips, or the variable FORWARDED_ALLOW_IPS, must not trust every address, since any "
            "client could send the certificate of another one. Set it to the addresses of the proxy, such as "
            "10.0.0.7 or 10.0.0.0/8"
        )


def refuse_running_loop() -> None:
    """Refuse to block a running event loop.

    Raises:
        RuntimeError: a loop is running in this thread.
    """
    asyncio = sys.modules.get("asyncio")  # if it was never imported, no loop is running
    if asyncio is not None and asyncio._get_running_loop() is not None:
        raise RuntimeError("run() would block the running event loop; use `await app.run_async(...)` instead")


def launch(
    app: Launched,
    *,
    reload: bool,
    watcher: DevelopmentObserver | None = None,
    on_bound: Callable[[str], object] | None = None,
    host: Host | None = None,
) -> None:
    """Serve until stopped.

    Args:
        app: the app to serve.
        reload: whether the process that serves is replaced when a file changes.
        watcher: observes changes and new processes.
        on_bound: called with the URL of the endpoint once the port is bound; by default the URL is logged.
        host: what the app was made of, if it is a host around an `MCPApp`.

    Raises:
        SettingsError: there is no such store, or workers cannot share it.
        LoadError: other processes are needed and cannot import the app.
        SystemExit: the server could not start; the log or stderr says why.
    """
    from enfilade.transports.http11.server import serve_http
    from enfilade.transports.processes.worker import refuse_in_worker

    refuse_in_worker()
    settings = app.settings
    options = _server_options(settings, reload=reload)
    manager = _service_manager()
    if settings.workers == 1 and not reload:
        with metrics_port(settings):
            listeners, options = _bind(app, options, on_bound)
            serve_http(app, options, listeners, manager)
        return
    source = _loading.find_source(app if host is None else host.original)
    with ExitStack() as stack:
        folders: list[Path] = []
        if app.given_store is None and settings.store.startswith("memory:"):
            folders.append(_private_folder(stack, "the store of the workers", "set store=sqlite:///file.db"))
            app.settings = replace(settings, store=f"sqlite:///{(folders[0] / 'state.db').as_posix()}")
        elif not app.store.shared:
            raise SettingsError(
                "Invalid settings: the app was given a store that other processes cannot share; give a URL"
            )
        on_ended = _share_metrics(settings, stack, folders)
        stack.enter_context(metrics_port(settings))
        listeners, options = _bind(app, options, on_bound)
        for listener in listeners:
            stack.callback(listener.close)
        wrap = None if host is None else host.wrap
        _supervise(app, source, options, listeners, reload, watcher, folders, wrap, manager, on_ended)


def _bind(
    app: Launched, options: ServerOptions, on_bound: Callable[[str], object] | None
) -> tuple[list[socket.socket], ServerOptions]:
    """Bind the port or the socket and announce the URL of the server; return its options with what was bound.

    Raises:
        SystemExit: it cannot be bound, or the certificate cannot be used; stderr says why.
    """
    from enfilade.transports.processes.listeners import ListenError, address_of

    settings = app.settings
    listening = _listen_options(settings)
    try:
        _check_certificate(options)
        listeners = listening.listeners()
    except ListenError as error:
        if sys.stderr is not None:
            sys.stderr.write(f"enfilade: {error}\n")
        raise SystemExit(STARTUP_FAILURE) from None
    address = address_of(listeners[0])
    url = public_url(replace(settings, path=app.endpoint_path), address)
    if isinstance(address, str):
        log.info("listening on the Unix socket %s", address)
    if on_bound is not None:
        on_bound(url)
    else:
        log.info("listening at %s (Ctrl-C stops)", url)
    warn_of_missing_names(settings)
    return listeners, replace(options, socket_file=listening.socket_file)


def _service_manager() -> ServiceManager | None:
    """Return the service manager that waits for messages of this process; None if nobody does."""
    if "NOTIFY_SOCKET" not in os.environ:
        return None
    from enfilade.transports.processes.service_manager import ServiceManager

    return ServiceManager()


def _listen_options(settings: Settings) -> ListenOptions:
    """Return where the server listens."""
    from enfilade.transports.processes.listeners import ListenOptions

    return ListenOptions(
        host=settings.host,
        port=settings.port,
        uds=settings.uds,
        uds_mode=int(settings.uds_mode, 8),
        fd=settings.fd,
    )


def _check_certificate(options: ServerOptions) -> None:
    """Report what is wrong with a certificate before anything is bound.

    Raises:
        ListenError: the text says what.
    """
    if options.tls is not None:
        from enfilade.transports.processes.listeners import ListenError
        from enfilade.transports.processes.tls import TlsError

        try:
            options.tls.context()
        except TlsError as error:
            raise ListenError(str(error)) from None


def _private_folder(stack: ExitStack, purpose: str, advice: str) -> Path:
    """Return a folder that workers share; it is deleted when the stack is closed, and the last of them has ended.

    Args:
        purpose: what it is for.
        advice: what to do if there is none.

    Raises:
        SettingsError: no folder can be made.
    """
    from enfilade.state.private_folder import private_folder

    try:
        return stack.enter_context(private_folder())
    except OSError as error:
        raise SettingsError(
            f"Invalid settings: no folder can be made for {purpose} ({error}); {advice}"
        ) from None


def _share_metrics(
    settings: Settings, stack: ExitStack, folders: list[Path]
) -> Callable[[int | None, bool], object] | None:
    """Let workers share their metrics until the stack is closed; return what is told of ended workers.

    Args:
        folders: those that workers hold; one is added.

    Raises:
        SettingsError: no folder can be made.
    """
    if not settings.metrics:
        return None
    from enfilade.telemetry.prometheus.exposition import FOLDER_VARIABLE
    from enfilade.telemetry.prometheus.shared import WorkerDeaths, sharing

    if FOLDER_VARIABLE not in os.environ:
        folders.append(_private_folder(stack, "the metrics of the workers", f"set {FOLDER_VARIABLE} to one"))
        stack.enter_context(sharing(folders[-1]))
    return WorkerDeaths(Path(os.environ[FOLDER_VARIABLE])).ended


@contextmanager
def metrics_port(settings: Settings) -> Iterator[None]:
    """Serve metrics on a port of their own while the block runs, if a setting says so.

    Raises:
        SystemExit: the port cannot be bound; stderr says why.
    """
    if not (settings.metrics and settings.metrics_port):
        yield
        return
    from enfilade.assembly import host_origin_policy
    from enfilade.telemetry.prometheus.own_port import serving
    from enfilade.transports.processes.listeners import ListenError, bind

    try:
        sockets = bind(settings.host, settings.metrics_port)
    except ListenError as error:
        if sys.stderr is not None:
            sys.stderr.write(f"enfilade: metrics_port: {error}\n")
        raise SystemExit(STARTUP_FAILURE) from None
    token = settings.metrics_token.get_secret_value()
    with serving(sockets, settings.metrics_path, host_origin_policy(settings), token):
        address = _with_port(settings.host, settings.metrics_port)
        log.info("metrics at http://%s%s", address, settings.metrics_path)
        yield


async def serve_embedded(app: Launched) -> None:
    """Serve in this process and in the running event loop until stopped or cancelled.

    Raises:
        RuntimeError: it could not start; the text says why the port cannot be bound, the log any other reason.
    """
    from enfilade.transports.http11.server import serve_http_embedded
    from enfilade.transports.processes.listeners import ListenError, address_of, listen_in_thread
    from enfilade.transports.processes.worker import refuse_in_worker

    refuse_in_worker()
    settings = app.settings
    options = _server_options(settings, reload=False)
    listening = _listen_options(settings)
    try:
        _check_certificate(options)
        listeners = await listen_in_thread(listening)
    except ListenError as error:
        raise RuntimeError(str(error)) from None
    log.info("listening at %s", public_url(settings, address_of(listeners[0])))
    warn_of_missing_names(settings)
    options = replace(options, socket_file=listening.socket_file)
    with metrics_port(settings):
        await serve_http_embedded(app, options, listeners)


def _server_options(settings: Settings, *, reload: bool) -> ServerOptions:
    """Return the options of the HTTP server that follow from the settings.

    Raises:
        SettingsError: they exclude each other, or would let a client pass for another one.
    """
    from enfilade.transports.http11.connection_timeouts import ConnectionLimits
    from enfilade.transports.http11.server import ServerOptions

    _check_sockets(settings)
    if settings.auth_certificate_header:
        _check_trust(settings)
    _check_proxies(settings)
    metrics = settings.metrics_path if settings.serves_metrics else ""
    limits = ConnectionLimits(
        header_timeout=settings.header_timeout,
        body_timeout=settings.body_timeout,
        body_rate=settings.body_rate,
        idle_timeout=settings.idle_timeout,
        write_timeout=settings.write_timeout,
        discard_limit=settings.discard_limit,
        response_memory=settings.response_memory,
        max_connections=settings.max_connections,
        probe_paths=frozenset(path for path in (settings.health_path, settings.ready_path, metrics) if path),
    )
    timeout = settings.shutdown_timeout
    return ServerOptions(
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level,
        drain_delay=0.0 if reload else settings.drain_delay,
        shutdown_timeout=min(timeout, _RELOADING_TIMEOUT) if reload else timeout,
        worker_timeout=0.0 if reload else settings.worker_timeout,  # its author may halt it in a debugger
        lifespan_timeout=settings.lifespan_timeout,
        certificate_header=settings.auth_certificate_header,
        tls=_tls_files(settings),
        root_path=settings.root_path,
        forwarded_allow_ips=_trusted_proxies(settings),
        limits=limits,
    )


def _supervise(
    app: Launched,
    source: AppSource,
    options: ServerOptions,
    listeners: list[socket.socket],
    reload: bool,
    watcher: DevelopmentObserver | None,
    folders: Sequence[Path],
    wrap: Callable[[object], Launched] | None,
    manager: ServiceManager | None,
    on_ended: Callable[[int | None, bool], object] | None,
) -> None:
    import threading

    from enfilade.loading import project_folder
    from enfilade.startup import gc_pause
    from enfilade.transports.processes.supervisor import Supervisor, watch_files

    names = () if reload else tuple(tool.name for tool in app.tools)
    load: Callable[[], Served] = partial(reload_app, source, app.settings, names, wrap)
    if watcher is not None:
        load = partial(watcher.load, source, app.settings, wrap)
    for folder in folders:
        load = partial(_load_with_folder, folder, load)
    gc_pause.resume()
    supervisor = Supervisor(load, listeners, options, app.settings.workers, manager, waits_for_changes=reload)
    if watcher is not None:
        supervisor.on_serving = watcher.report_reload
    if on_ended is not None:
        supervisor.on_ended = on_ended
    stopped = threading.Event()
    if reload:
        project = project_folder(Path(source.file))
        log.info("reloading when a Python file in %s changes", project)

        def on_change(files: Sequence[str]) -> None:
            if watcher is not None:
                watcher.changed(files)
            supervisor.replace_workers()

        watch_files(project, on_change, stopped)
    try:
        exit_code = supervisor.run()
    finally:
        stopped.set()
    if exit_code:
        raise SystemExit(exit_code)


def _load_with_folder(folder: Path, load: Callable[[], Served]) -> Served:
    """Import the app in a worker that uses a private folder."""
    from enfilade.state.private_folder import hold

    hold(folder)
    return load()


def configure_log(settings: Settings, *, pid: bool = False) -> None:
    """Configure the log of this process.

    Args:
        pid: show the id of the process in each line.

    Raises:
        SettingsError: `log_config` names no configuration that can be used.
    """
    from enfilade.transports.processes import server_log

    try:
        server_log.configure_log(settings.log_config, settings.log_level, form=settings.log_format, pid=pid)
    except ImportError as error:
        raise SettingsError(f"Invalid settings: log_config in YAML needs PyYAML: {error}") from None
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise SettingsError(
            f"Invalid settings: log_config={settings.log_config!r} cannot be used: {reason}"
        ) from None


def reload_app(
    source: AppSource,
    settings: Settings,
    names: Iterable[str],
    wrap: Callable[[object], Launched] | None = None,
) -> Launched:
    """Import the app in another process, and apply the settings of the parent.

    Args:
        names: those of its tools in the parent; a tool that is missing here is logged.
        wrap: makes what is served of what the file makes, for a host.

    Raises:
        SystemExit: the file cannot be imported; the reason is on stderr.
    """
    configure_log(settings, pid=True)
    try:
        loaded: Any = source.load()  # it is an app in the parent, or a host
        app: Launched = loaded if wrap is None else wrap(loaded)
        app.settings = settings
    except (_loading.LoadError, SettingsError) as error:
        log.error("%s", _loading.describe_error(error, settings.log_level))
        raise SystemExit(STARTUP_FAILURE) from None
    missing = sorted(set(names) - {tool.name for tool in app.tools})
    if missing:
        log.warning(
            "a worker imports %s, and finds no tool %s in it: add tools at the top level of the file",
            Path(source.file).name,
            ", ".join(missing),
        )
    return app


def _tls_files(settings: Settings) -> TlsFiles | None:
    if not settings.tls_cert:
        return None
    from enfilade.transports.processes.tls import TlsFiles

    password = settings.tls_key_password.get_secret_value()
    return TlsFiles(certificate=settings.tls_cert, key=settings.tls_key, password=password)


def public_url(settings: Settings, port: int | str) -> str:
    """Return the URL by which clients reach the endpoint, as far as the settings say.

    A server that is bound to all addresses is called by a name that only its operator knows, and `Host` is
    checked against `allowed_hosts`: a URL with 127.0.0.1 might be refused with 421. So the first allowed host is
    taken for a public server, and the bound address for any other.

    Behind a Unix socket, for which `port` is its path, there is no port, and no address to take.

    The host is `UNKNOWN_HOST` if the server refuses loopback names and `allowed_hosts` has no name without a
    wildcard.
    """
    from enfilade.transports.http.origin_checks import is_loopback, own_name

    if isinstance(port, str):
        host = next((name for name in settings.allowed_hosts if "*" not in name), UNKNOWN_HOST)
        return f"{settings.scheme}://{host}{settings.path}"
    local = replace(settings, port=port).url
    names = [host for host in settings.allowed_hosts if "*" not in host]
    loopback_is_served = settings.allow_localhost or "*" in settings.allowed_hosts
    is_public = not own_name(settings.host)
    if not is_public and (loopback_is_served or not is_loopback(settings.host)):
        return local
    if not names:
        return local if loopback_is_served else f"{settings.scheme}://{UNKNOWN_HOST}:{port}{settings.path}"
    return f"{settings.scheme}://{_with_port(names[0], port)}{settings.path}"


def warn_of_missing_names(settings: Settings) -> None:
    """Log a warning if the server is not bound to loopback and accepts no host name but its own address."""
    from enfilade.transports.http.origin_checks import is_loopback, own_name

    if settings.allowed_hosts or (is_loopback(settings.host) and settings.allow_localhost):
        return
    served = [] if not settings.allow_localhost and is_loopback(settings.host) else [*own_name(settings.host)]
    served += ["localhost", "127.0.0.1", "[::1]"] if settings.allow_localhost else []
    log.warning(
        "allowed_hosts is empty, so %s; add the names by which clients call, with --allowed-hosts NAME or "
        "ENFILADE_ALLOWED_HOSTS=NAME",
        f"requests for other hosts than {', '.join(served)} are refused"
        if served
        else "every request is refused",
    )


def _with_port(name: str, port: int) -> str:
    """Return `name:port`; an allowed host may contain a port already, after an IPv6 address in brackets."""
    if name.startswith("["):
        return name if "]:" in name else f"{name}:{port}"
    colons = name.count(":")
    return name if colons == 1 else f"[{name}]:{port}" if colons else f"{name}:{port}"
