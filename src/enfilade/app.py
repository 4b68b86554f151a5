"""`MCPApp`: the front door. It collects what a server offers, and is itself an ASGI application.

Nothing of the protocol is decided here; the rooms behind do that. They are built when the server is first used,
so everything registered before is in, and the middleware chain is made once.

Easy to get wrong: `from enfilade import MCPApp` should take no time, so what only a server needs that serves is
imported where it is built.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import (
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from enfilade.primitives.foreign_names import APP_ATTRIBUTES
from enfilade.primitives.metadata import check_cacheable, check_options, check_required_texts, read_icons
from enfilade.primitives.other_frameworks import advice_on_arguments, advice_on_attributes, check_middleware
from enfilade.primitives.schema.signature import read_provider
from enfilade.registration import Registration
from enfilade.serving.context import Context
from enfilade.serving.dependencies import Overrides
from enfilade.serving.lifespan import Lifespan
from enfilade.serving.subscriptions import updated
from enfilade.startup.lazy import LazyModule
from enfilade.startup.main_module import name_main_module
from enfilade.state.store import StoreError
from enfilade.state.tokens import Seal
from enfilade.wire.lifecycle import Implementation

if TYPE_CHECKING:
    from starlette.routing import Route

    from enfilade import assembly as _assembly, setting_sources as _sources
    from enfilade.primitives.metadata import Caching, DumpableModel
    from enfilade.serving import failures as _failures
    from enfilade.serving.dispatcher import Dispatcher, Middleware
    from enfilade.serving.execution import HandlerRunner
    from enfilade.serving.lifespan import Setup
    from enfilade.serving.secrets import Lookup
    from enfilade.settings import Settings
    from enfilade.state.event_store import EventStore
    from enfilade.state.store import Store
    from enfilade.timings import Timings
    from enfilade.transports import asgi as _asgi
    from enfilade.transports.asgi import Receive, Scope, Send
    from enfilade.transports.exchange import HttpExchange
    from enfilade.transports.http import other_paths as _other_paths
    from enfilade.transports.http.endpoint import Endpoint
    from enfilade.wire.content import Icon
else:
    _asgi = LazyModule("enfilade.transports.asgi")
    _assembly = LazyModule("enfilade.assembly")
    _other_paths = LazyModule("enfilade.transports.http.other_paths")
    _sources = LazyModule("enfilade.setting_sources")
    _failures = LazyModule("enfilade.serving.failures")


log = logging.getLogger("enfilade")


def _refuse_settings(*unknown: Any) -> None:
    """Refuse settings as arguments of a function that does not take them."""
    _sources.refuse_unknown(*unknown)


@advice_on_attributes(APP_ATTRIBUTES)
class MCPApp(Registration):
    """An MCP server.

    Every argument that is also a setting can be overridden from outside: by `ENFILADE_<NAME>` in the environment
    or in `.env`, and by the options of `enfilade run`, which outrank both.

    Args:
        name: who the server says it is.
        version: its own version.
        instructions: how to use it, for the client's model.
        title: its name for people.
        icons: pictures of it, https or data URIs.
        website_url: where to read about it.
        host: address `run()` binds over http.
        port: port `run()` binds.
        path: path of the endpoint.
        transport: how `run()` serves: `stdio`, or `http` (also `streamable-http`, `streamable`).
        log_level: what `run()` logs to stderr.
        lifespan: `@asynccontextmanager async def lifespan(app)`; what it yields is `ctx.lifespan`.
        middleware: `async def mw(request, call_next)`, outermost first.
        tool_names: `plain` lists tools as written, `qualified` as `Server_Tool`.
        store: where that is kept which clients cannot carry, and what workers share: `memory://`,
            `sqlite:///file.db`, `redis://host:6379/0` (also `rediss://`, `valkey://`), or a store.
        event_store: keeps the events of streams instead of `store`, so that clients can resume them.
        secret: seals session ids, 32 bytes at least, newest first; without one, workers share one by their store.
        request_timeout: seconds that a request may take; 0 for no limit.
        secrets: where tools get their secrets: a mapping, or `def` or `async def` of a name and the client
            (a `Peer`). By default the environment, and then `.env`.
        caching: hints for clients, by list method: `{"tools/list": Caching(ttl=60, scope="public")}`.
        schema_refs: list schemas with `$ref` and `$defs`. By default what they refer to is written out in place,
            as many hosts do not follow them.
        settings: further settings; arguments given here outrank it.

    Raises:
        SettingsError: a setting has a value it cannot have.
        TypeError: there is no such argument, and the text says what to write, and how to give it if it is a
            setting; or an argument has another type.
        ValueError: the name or the version is empty, or an icon comes from elsewhere than an https or data URI.
    """

    @advice_on_arguments("server", refuse_first=_refuse_settings)
    def __init__(
        self,
        name: str = "enfilade",
        *,
        version: str = "0.1.0",
        instructions: str | None = None,
        title: str | None = None,
        icons: Sequence[Icon | Mapping[str, Any] | DumpableModel | str] | None = None,
        website_url: str | None = None,
        host: str | None = None,
        port: int | None = None,
        path: str | None = None,
        transport: str | None = None,
        log_level: str | None = None,
        lifespan: Setup | None = None,
        middleware: Iterable[Middleware] | None = (),
        tool_names: str | None = None,
        store: str | Store | None = None,
        event_store: EventStore | None = None,
        secret: str | Sequence[str] | None = None,
        request_timeout: float | None = None,
        secrets: Mapping[str, str] | Lookup | None = None,
        caching: Mapping[str, Caching] | None = None,
        schema_refs: bool = False,
        settings: Settings | None = None,
    ) -> None:
        code_settings: dict[str, Any] = {
            "host": host,
            "port": port,
            "path": path,
            "transport": transport,
            "log_level": log_level,
            "tool_names": tool_names,
            "store": store if isinstance(store, str) else None,
            "secret": secret,
            "request_timeout": request_timeout,
        }
        self.settings = _sources.load(code_settings, settings)
        name_main_module(sys._getframe(1))
        check_required_texts("MCPApp()", name=name, version=version)
        check_options("MCPApp()", instructions=instructions, title=title, website_url=website_url, icons=icons)
        super().__init__(name, qualified=self.settings.tool_names == "qualified", schema_refs=schema_refs)
        self.version = version
        self._instructions = instructions
        self._server_info = Implementation(
            name=name,
            version=version,
            title=UNSET if title is None else title,
            website_url=UNSET if website_url is None else website_url,
            icons=read_icons(icons),
        )
        self._middleware = list(middleware or ())
        for function in self._middleware:
            check_middleware(function)
        self._lifespan = Lifespan(lifespan, self)
        self._seal = Seal([part.get_secret_value() for part in self.settings.secret])
        self._store: Store | None = None if store is None or isinstance(store, str) else store
        self._event_store = event_store
        self._secrets = secrets
        self._dotenv = partial(_sources.find_dotenv, Path.cwd())
        self._overrides = Overrides()
        self._dispatcher: Dispatcher | None = None
        self._handlers: HandlerRunner | None = None
        self._caching = check_cacheable(caching or {})
        self._endpoint: Endpoint | None = None
        self._timings: Timings | None = None  # set by tests

    @property
    def has_lifespan(self) -> bool:
        """Whether a lifespan was given, which may add tools, resources and prompts when the server starts."""
        return self._lifespan.is_given

    @property
    def title(self) -> str | None:
        """The server's name for people."""
        return self._server_info.title or None

    @property
    def instructions(self) -> str | None:
        """How to use the server, for the client's model."""
        return self._instructions

    @property
    def icons(self) -> Sequence[Icon]:
        """Pictures of the server."""
        return self._server_info.icons or ()

    @property
    def website_url(self) -> str | None:
        """Where to read about the server."""
        return self._server_info.website_url or None

    # -- around the handlers -----------------------------------------------------------------------------------

    @advice_on_arguments("middleware")
    def add_middleware(self, middleware: Middleware, *, outermost: bool = False) -> Middleware:
        """Put `async def mw(request, call_next)` inside the middleware added so far; also a decorator.

        Args:
            middleware: the function.
            outermost: put it around all of them instead, so that it sees what they do as well.

        Raises:
            RuntimeError: the server has been used already.
            TypeError: it is a class, or an object with a method for each kind of request.
        """
        if self._dispatcher is not None:
            raise RuntimeError("middleware must be added before the server is first used")
        check_middleware(middleware)
        self._middleware.insert(0 if outermost else len(self._middleware), middleware)
        return middleware

    def notify_resource_updated(self, uri: str) -> None:
        """Tell every client that watches a resource that its contents changed; callable from any thread."""
        self.changes.announce(updated(uri))

    def override(
        self, fn: Callable[..., Any] | Mapping[Callable[..., Any], Callable[..., Any]], other: Any = None
    ) -> AbstractContextManager[None]:
        """Let other functions stand in for dependencies within a `with` block, such as in a test.

        Args:
            fn: the function that handlers depend on, or a mapping from such functions to what stands in for them.
            other: what stands in for it: a function as any dependency, which may depend on it in turn.

        Raises:
            TypeError: what stands in is no function, or cannot be a dependency.
        """
        pairs = fn if isinstance(fn, Mapping) else {fn: other}
        return self._overrides.replaced({replaced: read_provider(by, Context) for replaced, by in pairs.items()})

    # -- the rooms behind --------------------------------------------------------------------------------------

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher, built on first use."""
        if self._dispatcher is None:
            self._dispatcher, self._handlers = _assembly.build_dispatcher(
                self,
                self.settings,
                _assembly.Parts(
                    server_info=self._server_info,
                    instructions=self._instructions,
                    middleware=self._middleware,
                    seal=self._seal,
                    overrides=self._overrides,
                    lifespan=self._lifespan,
                    secrets=self._secrets,
                    dotenv=self._dotenv,
                    caching=self._caching,
                ),
            )
        return self._dispatcher

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Dispatcher]:
        """Set the server up, yield its dispatcher, and put everything away."""
        dispatcher = self.dispatcher
        await self._lifespan.start()
        try:
            yield dispatcher
        finally:
            await self._close()

    async def _close(self) -> None:
        try:
            await self._lifespan.stop()
        finally:
            if self._endpoint is not None:
                await self._endpoint.stop()
            if self._handlers is not None:
                self._handlers.close()

    # -- ASGI --------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application, on its own or mounted in another."""
        kind = scope["type"]
        if kind == "http":
            exchange = _asgi.AsgiExchange(scope["method"], scope["headers"], scope, receive, send)
            if scope["path"] != self.settings.path and not self._is_mounted_path(scope):
                await self._beside_endpoint(exchange, _asgi.inner_path(scope))
            elif self._lifespan.belongs_here() or await self._started_late(exchange):
                serving = (self._endpoint or self.endpoint).serve(exchange)
                del scope  # which a stream does not need, for however long it is open
                await serving
        elif kind == "lifespan":
            await self._serve_lifespan(receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    async def _started_late(self, exchange: HttpExchange) -> bool:
        """Set up at a request, for a host that told us nothing of its lifespan; False if that failed."""
        from enfilade.transports.http.response import send_json
        from enfilade.wire.jsonrpc import encode_error

        try:
            await self._lifespan.start()
        except BaseException as error:
            if _failures.stops(error):
                raise
            failure = _failures.masked(error, "the lifespan could not be started")
            await send_json(
                exchange,
                500,
                encode_error(None, failure),
                _other_paths.origin_headers(_assembly.guard_of(self.settings), exchange),
            )
            return False
        return True

    def host_route(self) -> Route:
        """Return the route by which a host in Starlette or FastAPI serves the endpoint, at the app's own path.

        With a slash at the end or without: `api.router.routes.append(app.host_route())`, or
        `Starlette(routes=[app.host_route()])`.

        Raises:
            ModuleNotFoundError: there is no Starlette.
        """
        from starlette.routing import Route

        path = self.settings.path.rstrip("/")
        route = Route(path or "/", self)
        route.path_regex = re.compile(rf"^{re.escape(path)}/?$")
        return route

    @property
    def endpoint(self) -> Endpoint:
        """The HTTP endpoint, built on first use."""
        if self._endpoint is None:
            self._endpoint = _assembly.build_endpoint(
                self.settings, self.dispatcher, self.store, self._event_store, self._seal, self._timings
            )
        return self._endpoint

    @property
    def store(self) -> Store:
        """What is behind the setting `store`, opened on first use."""
        if self._store is None:
            self._store = _assembly.store_of(self.settings, self._seal)
        return self._store

    @property
    def given_store(self) -> Store | None:
        """The store that it was given as an object; None if the settings say which it is."""
        return self._store

    def _is_mounted_path(self, scope: Scope) -> bool:
        """Whether a path is the endpoint's because a host mounted the app there (no redirects)."""
        inner = _asgi.inner_path(scope).rstrip("/")
        return inner in ("" if scope.get("root_path") else "/", self.settings.path.rstrip("/"))

    async def _beside_endpoint(self, exchange: HttpExchange, inner: str) -> None:
        """Answer probes, preflights of browsers, and that there is nothing else."""
        guard = _assembly.guard_of(self.settings)
        if not inner or inner not in (self.settings.health_path, self.settings.ready_path):
            await _other_paths.serve_other_path(exchange, guard, inner, self.settings.path)
        elif not await _other_paths.serve_preflight(exchange, guard):
            unready = None if inner == self.settings.health_path else await self._unready()
            await _other_paths.serve_probe(exchange, unready, _other_paths.origin_headers(guard, exchange))

    async def _unready(self) -> str | None:
        """Return why no requests should be sent here at present, or None if they should."""
        try:
            await self._lifespan.start()  # for a host that told us nothing of its own
        except BaseException as error:
            if _failures.stops(error):
                raise
            _failures.masked(error, "the lifespan could not be started")
            return "the lifespan could not be started"
        return await self.endpoint.ready()

    def drain(self) -> None:
        """Prepare for the end: say to probes that this is not ready, and end the streams that wait for changes.

        `run()` does this by itself. It is for hosts that know of their end before they wait for open responses.
        """
        self.endpoint.drain()

    async def _open_early(self) -> None:
        """Build the endpoint and hear other workers before the first request, so mistakes show at the start."""
        try:
            await self.endpoint.start()
        except StoreError as error:  # the store may come back, and requests say so until it does
            if not self.store.unavailable:  # else the store has said it
                log.warning("the store is out of reach: %s", error)

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._lifespan.start()
            await self._open_early()
        except BaseException as error:
            if _failures.stops(error):
                raise
            log.exception("the lifespan could not be started")
            await send({"type": "lifespan.startup.failed", "message": repr(error)})
            return
        from enfilade.serving.tools import prepare_later
        from enfilade.timings import Timings

        preparing = prepare_later(self.tools, (self._timings or Timings()).prepare_delay)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        preparing.cancel()
        self.changes.end()  # for hosts that say so before they wait for open responses
        try:
            await self._close()
        except BaseException as error:
            if _failures.stops(error):
                raise
            log.exception("the lifespan could not be stopped")
            await send({"type": "lifespan.shutdown.failed", "message": repr(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})

    # -- running -----------------------------------------------------------------------------------------------

    @advice_on_arguments("run", refuse_first=_refuse_settings)
    def run(
        self,
        transport: str | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        path: str | None = None,
        log_level: str | None = None,
        workers: int | None = None,
        reload: bool = False,
    ) -> None:
        """Serve until stopped, by default over stdio.

        Arguments outrank those of the constructor; `.env` and the environment outrank both.

        Args:
            transport: `stdio` or `http`.
            host: address to bind.
            port: port to bind; 0 for a free one.
            path: path of the endpoint.
            log_level: what to log to stderr.
            workers: processes that serve, over http. Each imports the file that makes the app, so the call of
                `run()` must stand under `if __name__ == "__main__":`.
            reload: start anew whenever a Python file of the project changes, over http.

        Raises:
            SettingsError: a value that cannot be.
            LoadError: new processes are needed, and could not find the app in a file.
            RuntimeError: an event loop is running in this thread; await `run_async()` there.
        """
        from enfilade import launch

        launch.refuse_running_loop()
        arguments = {"transport": transport, "host": host, "port": port, "path": path, "log_level": log_level}
        settings = _sources.load({**arguments, "workers": workers}, self.settings)
        launch.check_processes(settings, workers, reload)
        with self._served_with(settings):
            self.serve(reload=reload)

    @advice_on_arguments("run", refuse_first=_refuse_settings)
    async def run_async(
        self,
        transport: str | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        path: str | None = None,
        log_level: str | None = None,
        workers: int | None = None,
        reload: bool = False,
    ) -> None:
        """Serve in the running event loop until stopped: `run()` for programs that have a loop of their own.

        Cancel the task that awaits this to stop the server: it ends as on a signal, within `drain_delay` and
        `shutdown_timeout`, and then `CancelledError` is raised. A second cancellation ends it at once.

        In the main thread SIGINT and SIGTERM are handled while it serves. Over http they stop the server in
        order, and are then raised again for the handlers that were there before. In other threads signals are
        left alone.

        Args:
            transport: as in `run()`, and so are the others.
            host: see `run()`.
            port: see `run()`.
            path: see `run()`.
            log_level: see `run()`.
            workers: refused if it is more than 1, since this is one process.
            reload: refused, since new code needs a new process.

        Raises:
            SettingsError: a value that cannot be, several workers, or reload.
            RuntimeError: it could not start. If the port cannot be bound, the text says why; otherwise the log
                does.
        """
        from enfilade import launch
        from enfilade.startup import gc_pause

        arguments = {"transport": transport, "host": host, "port": port, "path": path, "log_level": log_level}
        settings = _sources.load({**arguments, "workers": workers}, self.settings)
        launch.check_single_process(settings, workers, reload)
        with self._served_with(settings):
            try:
                self._prepare()
                if self.settings.transport == "http":
                    await launch.serve_embedded(self)
                else:
                    await self._serve_stdio()
            finally:
                gc_pause.resume()
                await self._lifespan.cancel_start()

    @contextmanager
    def _served_with(self, settings: Settings) -> Iterator[None]:
        """Put settings in force. If the server cannot start, or fails, those from before are in force again."""
        before, self.settings = self.settings, settings
        try:
            yield
        except (Exception, SystemExit):
            self.settings = before
            raise

    def serve(self, *, reload: bool = False, bound: Callable[[str], object] | None = None) -> None:
        """Serve until stopped by the settings as they are: for command lines, whose options outrank `run()`.

        Args:
            reload: as in `run()`.
            bound: is called with the URL of the endpoint once its port is bound, over http.

        Raises:
            SettingsError: there is no such store.
            LoadError: as in `run()`.
            RuntimeError: as in `run()`.
        """
        from enfilade import launch
        from enfilade.startup import gc_pause

        launch.refuse_running_loop()
        self._prepare()
        try:
            if self.settings.transport == "http":
                self._run_http(reload, bound)
            else:
                self._run_stdio()
        finally:
            gc_pause.resume()

    def _prepare(self) -> None:
        """Do what every start begins with; whoever calls this calls `collector.go_on()` in the end."""
        from enfilade.startup import gc_pause
        from enfilade.transports.processes.server_log import log_to_stderr

        log_to_stderr(self.settings.log_level)
        _sources.warn_of_unknown_variables()
        _assembly.warn_of_nothing(self, MCPApp, has_lifespan=self.has_lifespan)
        if self._store is None:
            _assembly.opened(self.settings, starting=True)  # what is wrong with it is said before anybody calls
        gc_pause.pause()

    def _run_http(self, reload: bool, bound: Callable[[str], object] | None) -> None:
        from enfilade.launch import launch

        launch(self, self._store, reload=reload, on_bound=bound)

    def _run_stdio(self) -> None:
        from enfilade.transports.stdio import serve_stdio

        serve_stdio(self.running, _assembly.stdio_options(self.settings))

    async def _serve_stdio(self) -> None:
        from enfilade.transports.stdio import serve_stdio_embedded

        await serve_stdio_embedded(self.running, _assembly.stdio_options(self.settings))
