"""How `run()` serves over http: in this process, by several workers, or by one that is renewed when files change.

The easy thing to get wrong is that a worker makes the app anew, from its file: what was given to `run()` goes
there with it, what the main block of a script did to the app does not. And what workers share must not live in
the memory of one of them, so a store in memory gives way to a file that lasts as long as the parent does.
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

    from enfilade import loading as _source
    from enfilade.loading import Source
    from enfilade.primitives.tool import Tool
    from enfilade.state.store import Store
    from enfilade.transports.asgi_types import Receive, Scope, Send
    from enfilade.transports.http11.server import Served, ServerOptions
else:
    _source = LazyModule("enfilade.loading")


log = logging.getLogger("enfilade")

_RELOADING_TIMEOUT: Final = 1.0  # seconds that requests get when the code changes under them


class Launched(Protocol):
    """An app that can be served, here or in another process."""

    settings: Settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        ...

    def drain(self) -> None:
        """Prepare for the end."""
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
    """Somebody who looks on while a server is written."""

    def load(self, source: Source, settings: Settings) -> Served:
        """Make the app anew, in another process, as `again` does; who looks on is pickled to get there."""
        ...

    def changed(self, files: Sequence[str]) -> None:
        """Hear which files have changed."""
        ...

    def begun(self, generation: int) -> None:
        """Hear that a process serves, and after how many changes it was started."""
        ...


def check_manner(settings: Settings, workers: int | None, reload: bool) -> None:
    """Refuse what cannot be: several processes on one pair of pipes, several workers that reload.

    Raises:
        SettingsError: it is so.
    """
    if settings.transport != "http":
        if reload or (workers or 1) > 1:
            asked = "reload" if reload else "workers"
            raise SettingsError(
                f"Invalid settings: {asked} needs transport='http'; over stdio there is one process"
            )
    elif reload and settings.workers > 1:
        raise SettingsError(
            f"Invalid settings: reload and workers={settings.workers} exclude each other; reload while you write "
            "the server, and several workers when it is done"
        )


def check_single_process(settings: Settings, workers: int | None, reload: bool) -> None:
    """Refuse what needs further processes, for a server that runs in the loop of its caller.

    Args:
        settings: those in force.
        workers: how many were asked for by an argument.
        reload: whether reloading was asked for.

    Raises:
        SettingsError: it needs further processes.
    """
    several = settings.workers > 1 if settings.transport == "http" else (workers or 1) > 1
    if reload or several:
        asked = "reload" if reload else f"workers={settings.workers}"
        raise SettingsError(f"Invalid settings: run_async() serves in this process; {asked} needs app.run()")


def refuse_running_loop() -> None:
    """Refuse to block a running event loop.

    Raises:
        RuntimeError: a loop is running in this thread.
    """
    asyncio = sys.modules.get("asyncio")  # without which no loop is running
    if asyncio is not None and asyncio._get_running_loop() is not None:
        raise RuntimeError("run() would block the running event loop; use `await app.run_async(...)` instead")


def launch(
    app: Launched,
    given: Store | None,
    *,
    reload: bool,
    watcher: Watcher | None = None,
    bound: Callable[[str], object] | None = None,
) -> None:
    """Serve until stopped.

    Args:
        app: what to serve.
        given: the store that the app was given as an object; None for what its settings say.
        reload: renew the process that serves when a file changes.
        watcher: looks on while that happens.
        bound: is called with the URL of the endpoint once its port is bound; without, the log says it.

    Raises:
        SettingsError: there is no such store, or workers cannot share it.
        LoadError: other processes are needed and could not find the app again.
        SystemExit: it could not start; the log or the text says why.
    """
    from enfilade.transports.http11.server import serve_http
    from enfilade.transports.processes.worker import refuse_in_worker

    refuse_in_worker()
    of = app.settings
    options = _server_options(of, reload=reload)
    if of.workers == 1 and not reload:
        serve_http(app, options, _bind(of, bound))
        return
    source = _source.find_source(app)
    with ExitStack() as stack:
        folder: Path | None = None
        if given is None and of.store.startswith("memory:"):
            folder = _private_folder(stack)
            app.settings = replace(of, store=f"sqlite:///{(folder / 'state.db').as_posix()}")
        elif not app.store.shared:
            raise SettingsError(
                "Invalid settings: the app was given a store that other processes cannot share; give a URL"
            )
        listeners = _bind(of, bound)
        stack.callback(_close, listeners)
        _supervise(app, source, options, listeners, reload, watcher, folder)


def _bind(of: Settings, bound: Callable[[str], object] | None) -> list[socket.socket]:
    """Bind the port, and then say where the server is.

    Raises:
        SystemExit: that is not possible; stderr says why.
    """
    from enfilade.public_url import public_url, warn_of_missing_names
    from enfilade.transports.processes.listeners import ListenError, bind

    try:
        listeners = bind(of.host, of.port)
    except ListenError as error:
        if sys.stderr is not None:
            sys.stderr.write(f"enfilade: {error}\n")
        raise SystemExit(STARTUP_FAILURE) from None
    url = public_url(of, listeners[0].getsockname()[1])
    if bound is not None:
        bound(url)
    else:
        log.info("listening at %s (Ctrl-C stops)", url)
    warn_of_missing_names(of)
    return listeners


def _private_folder(stack: ExitStack) -> Path:
    """Return a folder for the store that workers share if none was given; it goes when the stack is left.

    Raises:
        SettingsError: there is no place for it.
    """
    from enfilade.state.private_folder import private_folder

    try:
        return stack.enter_context(private_folder())
    except OSError as error:
        raise SettingsError(
            f"Invalid settings: there is no place for what workers share ({error}); give store=sqlite:///file.db"
        ) from None


def _close(listeners: Iterable[socket.socket]) -> None:
    for each in listeners:
        each.close()


async def serve_embedded(app: Launched) -> None:
    """Serve in this process and in the running event loop until stopped or cancelled.

    Raises:
        RuntimeError: it could not start; the text says why the port cannot be bound, the log anything else.
    """
    from enfilade.public_url import public_url, warn_of_missing_names
    from enfilade.transports.http11.embedded_server import bind_in_thread, serve_http_embedded
    from enfilade.transports.processes.listeners import ListenError
    from enfilade.transports.processes.worker import refuse_in_worker

    refuse_in_worker()
    of = app.settings
    options = _server_options(of, reload=False)
    try:
        listeners = await bind_in_thread(of.host, of.port)
    except ListenError as error:
        raise RuntimeError(str(error)) from None
    log.info("listening at %s", public_url(of, listeners[0].getsockname()[1]))
    warn_of_missing_names(of)
    await serve_http_embedded(app, options, listeners)


def _server_options(of: Settings, *, reload: bool) -> ServerOptions:
    """Return what the settings say about the HTTP server."""
    from enfilade.transports.http11.connection_timeouts import ConnectionLimits
    from enfilade.transports.http11.server import ServerOptions

    limits = ConnectionLimits(
        header_timeout=of.header_timeout,
        body_timeout=of.body_timeout,
        body_rate=of.body_rate,
        idle_timeout=of.idle_timeout,
        write_timeout=of.write_timeout,
        discard_limit=of.discard_limit,
        response_memory=of.response_memory,
        max_connections=of.max_connections,
        probe_paths=frozenset(path for path in (of.health_path, of.ready_path) if path),
    )
    return ServerOptions(
        host=of.host,
        port=of.port,
        log_level=of.log_level,
        drain_delay=0.0 if reload else of.drain_delay,
        shutdown_timeout=min(of.shutdown_timeout, _RELOADING_TIMEOUT) if reload else of.shutdown_timeout,
        worker_timeout=0.0 if reload else of.worker_timeout,  # who writes a server may halt it in a debugger
        lifespan_timeout=of.lifespan_timeout,
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
    load: Callable[[], Served] = partial(again, source, app.settings, names)
    if watcher is not None:
        load = partial(watcher.load, source, app.settings)
    if folder is not None:
        load = partial(_holding, folder, load)
    gc_pause.resume()
    supervisor = Supervisor(load, listeners, options, app.settings.workers, waits_for_changes=reload)
    if watcher is not None:
        supervisor.on_serving = watcher.begun
    ended = threading.Event()
    if reload:
        folder = watched_folder(Path(source.file))
        log.info("reloading when a Python file in %s changes", folder)

        def changed(files: Sequence[str]) -> None:
            if watcher is not None:
                watcher.changed(files)
            supervisor.renew()

        watch_files(folder, changed, ended)
    try:
        exit_code = supervisor.run()
    finally:
        ended.set()
    if exit_code:
        raise SystemExit(exit_code)


def _holding(folder: Path, load: Callable[[], Served]) -> Served:
    """Make the app in a worker that uses a private folder."""
    from enfilade.state.private_folder import hold

    hold(folder)
    return load()


def again(source: Source, settings: Settings, names: Iterable[str]) -> Launched:
    """Return the app in another process: made anew, with the settings of the first.

    Args:
        source: where it is written.
        settings: those in force where it was launched.
        names: the tools that it had there; what is missing here is told.

    Raises:
        SystemExit: it cannot be made; the reason is on stderr.
    """
    from enfilade.transports.processes.server_log import log_to_stderr

    log_to_stderr(settings.log_level, pid=True)
    try:
        app: Launched = source.load()  # type: ignore[assignment]  # what was an app in the parent
    except (_source.LoadError, SettingsError) as error:
        log.error("%s", _source.described(error, settings.log_level))
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
