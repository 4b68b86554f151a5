"""How `run()` serves over HTTP: in this process, by several workers, or by a worker that is replaced on changes.

Easy to get wrong: a worker imports the file of the app again. The settings of the parent are passed to it; what
the main block of a script did to the app is not there. Workers cannot share a store in memory, so it is replaced
by an SQLite file that is deleted when the parent ends.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from msgspec.structs import replace

from enfilade.settings import Settings, SettingsError
from enfilade.startup.lazy import LazyModule
from enfilade.transports.processes.process_end import STARTUP_FAILURE

if TYPE_CHECKING:
    import socket

    from enfilade import loading as _loading
    from enfilade.loading import Source
    from enfilade.primitives.tool import Tool
    from enfilade.state.store import Store
    from enfilade.transports.asgi import Receive, Scope, Send
    from enfilade.transports.http11.server import Served, ServerOptions
else:
    _loading = LazyModule("enfilade.loading")

log = logging.getLogger("enfilade")

#: Stands in a URL where the settings name no host by which clients can call the server.
UNKNOWN_HOST: Final = "HOST"

_RELOADING_TIMEOUT: Final = 1.0  # seconds that requests get to finish when the code has changed


class Launched(Protocol):
    """An app that can be served, in this process or another."""

    settings: Settings

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


class Watcher(Protocol):
    """An observer of a server under development; it is pickled to each new process."""

    def load(self, source: Source, settings: Settings) -> Served:
        """Import the app in another process, as `reload_app` does."""
        ...

    def changed(self, files: Sequence[str]) -> None:
        """Handle a change of files."""
        ...

    def serving(self, generation: int) -> None:
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

    Args:
        settings: the settings in force.
        workers: the number of workers that was passed as an argument.
        reload: whether reloading was asked for.

    Raises:
        SettingsError: further processes would be needed.
    """
    several = settings.workers > 1 if settings.transport == "http" else (workers or 1) > 1
    if reload or several:
        option = "reload" if reload else f"workers={settings.workers}"
        raise SettingsError(f"Invalid settings: run_async() serves in this process; {option} needs app.run()")


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
    store: Store | None,
    *,
    reload: bool,
    watcher: Watcher | None = None,
    on_bound: Callable[[str], object] | None = None,
) -> None:
    """Serve until stopped.

    Args:
        app: the app to serve.
        store: the store that the app was given as an object; None for the one in its settings.
        reload: whether the process that serves is replaced when a file changes.
        watcher: observes changes and new processes.
        on_bound: called with the URL of the endpoint once the port is bound; by default the URL is logged.

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
    if settings.workers == 1 and not reload:
        serve_http(app, options, _bind(settings, on_bound))
        return
    source = _loading.find_source(app)
    with ExitStack() as stack:
        folder: Path | None = None
        if store is None and settings.store.startswith("memory:"):
            folder = _private_folder(stack)
            app.settings = replace(settings, store=f"sqlite:///{(folder / 'state.db').as_posix()}")
        elif not app.store.shared:
            raise SettingsError(
                "Invalid settings: the app was given a store that other processes cannot share; give a URL"
            )
        listeners = _bind(settings, on_bound)
        stack.callback(_close, listeners)
        _supervise(app, source, options, listeners, reload, watcher, folder)


def _bind(settings: Settings, on_bound: Callable[[str], object] | None) -> list[socket.socket]:
    """Bind the port and announce the URL of the server.

    Raises:
        SystemExit: the port cannot be bound; stderr says why.
    """
    from enfilade.transports.processes.listeners import ListenError, bind

    try:
        listeners = bind(settings.host, settings.port)
    except ListenError as error:
        if sys.stderr is not None:
            sys.stderr.write(f"enfilade: {error}\n")
        raise SystemExit(STARTUP_FAILURE) from None
    url = public_url(settings, listeners[0].getsockname()[1])
    if on_bound is not None:
        on_bound(url)
    else:
        log.info("listening at %s (Ctrl-C stops)", url)
    warn_of_missing_names(settings)
    return listeners


def _private_folder(stack: ExitStack) -> Path:
    """Return a folder for the default store of workers; it is deleted when the stack is closed.

    Raises:
        SettingsError: no folder can be made.
    """
    from enfilade.state.private_folder import private_folder

    try:
        return stack.enter_context(private_folder())
    except OSError as error:
        raise SettingsError(
            f"Invalid settings: no folder can be made for the store of the workers ({error}); set store=sqlite:///file.db"
        ) from None


def _close(listeners: Iterable[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


async def serve_embedded(app: Launched) -> None:
    """Serve in this process and in the running event loop until stopped or cancelled.

    Raises:
        RuntimeError: it could not start; the text says why the port cannot be bound, the log any other reason.
    """
    from enfilade.transports.http11.embedded_server import bind_in_thread, serve_http_embedded
    from enfilade.transports.processes.listeners import ListenError
    from enfilade.transports.processes.worker import refuse_in_worker

    refuse_in_worker()
    settings = app.settings
    options = _server_options(settings, reload=False)
    try:
        listeners = await bind_in_thread(settings.host, settings.port)
    except ListenError as error:
        raise RuntimeError(str(error)) from None
    log.info("listening at %s", public_url(settings, listeners[0].getsockname()[1]))
    warn_of_missing_names(settings)
    await serve_http_embedded(app, options, listeners)


def _server_options(settings: Settings, *, reload: bool) -> ServerOptions:
    """Return the options of the HTTP server that follow from the settings."""
    from enfilade.transports.http11.connection_timeouts import ConnectionLimits
    from enfilade.transports.http11.server import ServerOptions

    limits = ConnectionLimits(
        header_timeout=settings.header_timeout,
        body_timeout=settings.body_timeout,
        body_rate=settings.body_rate,
        idle_timeout=settings.idle_timeout,
        write_timeout=settings.write_timeout,
        discard_limit=settings.discard_limit,
        response_memory=settings.response_memory,
        max_connections=settings.max_connections,
        probe_paths=frozenset(path for path in (settings.health_path, settings.ready_path) if path),
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
        limits=limits,
    )


def _supervise(
    app: Launched,
    source: Source,
    options: ServerOptions,
    listeners: list[socket.socket],
    reload: bool,
    watcher: Watcher | None,
    folder: Path | None,
) -> None:
    import threading

    from enfilade.startup import gc_pause
    from enfilade.transports.processes.file_watcher import watch_files, watched_folder
    from enfilade.transports.processes.supervisor import Supervisor

    names = () if reload else tuple(tool.name for tool in app.tools)
    load: Callable[[], Served] = partial(reload_app, source, app.settings, names)
    if watcher is not None:
        load = partial(watcher.load, source, app.settings)
    if folder is not None:
        load = partial(_load_with_folder, folder, load)
    gc_pause.resume()
    supervisor = Supervisor(load, listeners, options, app.settings.workers, waits_for_changes=reload)
    if watcher is not None:
        supervisor.on_serving = watcher.serving
    stopped = threading.Event()
    if reload:
        folder = watched_folder(Path(source.file))
        log.info("reloading when a Python file in %s changes", folder)

        def on_change(files: Sequence[str]) -> None:
            if watcher is not None:
                watcher.changed(files)
            supervisor.renew()

        watch_files(folder, on_change, stopped)
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


def reload_app(source: Source, settings: Settings, names: Iterable[str]) -> Launched:
    """Import the app in another process, and apply the settings of the parent.

    Args:
        source: the file and variable of the app.
        settings: the settings in force in the parent.
        names: the tools of the app in the parent; those that are missing here are logged.

    Raises:
        SystemExit: the file cannot be imported; the reason is on stderr.
    """
    from enfilade.transports.processes.server_log import log_to_stderr

    log_to_stderr(settings.log_level, pid=True)
    try:
        app: Launched = source.load()  # type: ignore[assignment]  # it is an app in the parent
    except (_loading.LoadError, SettingsError) as error:
        log.error("%s", _loading.describe_error(error, settings.log_level))
        raise SystemExit(STARTUP_FAILURE) from None
    app.settings = settings
    missing = sorted(set(names) - {tool.name for tool in app.tools})
    if missing:
        log.warning(
            "a worker imports %s, and finds no tool %s in it: add tools at the top level of the file",
            Path(source.file).name,
            ", ".join(missing),
        )
    return app


def public_url(settings: Settings, port: int) -> str:
    """Return the URL by which clients reach the endpoint, as far as the settings say.

    A server that is bound to all addresses is called by a name that only its operator knows, and `Host` is
    checked against `allowed_hosts`: a URL with 127.0.0.1 might be refused with 421. So the first allowed host is
    taken for a public server, and the bound address for any other.

    Args:
        settings: the settings in force.
        port: the bound port.

    Returns:
        The URL. Its host is `UNKNOWN_HOST` if the server refuses loopback names and `allowed_hosts` has no name
        without a wildcard.
    """
    from enfilade.transports.http.origin_checks import is_loopback, own_name

    local = replace(settings, port=port).url
    names = [host for host in settings.allowed_hosts if "*" not in host]
    loopback_is_served = settings.allow_localhost or "*" in settings.allowed_hosts
    is_public = not own_name(settings.host)
    if not is_public and (loopback_is_served or not is_loopback(settings.host)):
        return local
    if not names:
        return local if loopback_is_served else f"http://{UNKNOWN_HOST}:{port}{settings.path}"
    return f"http://{_with_port(names[0], port)}{settings.path}"


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
