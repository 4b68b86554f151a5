"""`MCPApp`: the front door. It collects what a server offers, and is itself an ASGI application.

Nothing of the protocol is decided here; the packages below do that. They are built when the server is first used,
so everything registered before is in, and the middleware chain is made once.

Easy to get wrong: `from enfilade import MCPApp` should take no time, so what only a server needs that serves is
imported where it is built.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from msgspec import UNSET

from enfilade.primitives.errors import named_in_errors
from enfilade.primitives.foreign_names import APP_ATTRIBUTES
from enfilade.primitives.metadata import check_cacheable, check_options, check_required_texts, read_icons
from enfilade.primitives.other_frameworks import (
    advice_on_arguments,
    advice_on_attributes,
    check_middleware,
    read_middleware,
)
from enfilade.primitives.schema.signature import read_provider
from enfilade.registration import ExtensionT, Registration
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
    import os

    from starlette.routing import Route

    from enfilade import assembly as _assembly, setting_sources as _sources, timings as _timings
    from enfilade.auth.authenticator import ResourceAuthenticator
    from enfilade.auth.oauth_providers.provider import OAuth2
    from enfilade.auth.oauth_proxy.endpoints import ProxyEndpoints
    from enfilade.auth.resource_server import ResourceServer
    from enfilade.auth.tool_auth.clients import StaticToken
    from enfilade.auth.tool_auth.service import ToolAuthorization
    from enfilade.launch import Host, Launched
    from enfilade.primitives.metadata import Caching, DumpableModel
    from enfilade.primitives.options import LimitPer, OnLimit, OnOverflow
    from enfilade.primitives.tool import Tool
    from enfilade.publishing import documents as _publishing
    from enfilade.routes import asgi_middleware as _asgi_middleware, serve as _serve_routes, table as _routes
    from enfilade.serving import failures as _failures
    from enfilade.serving.callers import state_records as _records
    from enfilade.serving.callers.state_records import StateStore
    from enfilade.serving.dispatcher import Dispatcher, Middleware
    from enfilade.serving.execution import HandlerRunner
    from enfilade.serving.lifespan import Setup
    from enfilade.serving.limits import stored_results as _stored_results
    from enfilade.serving.limits.admission import Limiter
    from enfilade.serving.limits.stored_results import StoredResults
    from enfilade.serving.observation.audit import Audit
    from enfilade.serving.observation.observer import Observer
    from enfilade.serving.outcomes import kept_outcomes as _kept
    from enfilade.serving.outcomes.kept_outcomes import KeptOutcomes
    from enfilade.serving.secrets import Lookup
    from enfilade.settings import Settings
    from enfilade.state.event_store import EventStore
    from enfilade.state.store import Store
    from enfilade.telemetry.prometheus.endpoint import Metrics
    from enfilade.timings import Timings
    from enfilade.transports import asgi as _asgi
    from enfilade.transports.asgi import AsgiExchange, Receive, Scope, Send
    from enfilade.transports.exchange import HttpExchange, HttpRequest
    from enfilade.transports.http import other_paths as _other_paths
    from enfilade.transports.http.endpoint import Endpoint
    from enfilade.wire.content import Icon
    from enfilade.wire.jsonrpc import RpcError
else:
    _asgi = LazyModule("enfilade.transports.asgi")
    _asgi_middleware = LazyModule("enfilade.routes.asgi_middleware")
    _assembly = LazyModule("enfilade.assembly")
    _other_paths = LazyModule("enfilade.transports.http.other_paths")
    _publishing = LazyModule("enfilade.publishing.documents")
    _routes = LazyModule("enfilade.routes.table")
    _serve_routes = LazyModule("enfilade.routes.serve")
    _sources = LazyModule("enfilade.setting_sources")
    _failures = LazyModule("enfilade.serving.failures")
    _kept = LazyModule("enfilade.serving.outcomes.kept_outcomes")
    _timings = LazyModule("enfilade.timings")
    _stored_results = LazyModule("enfilade.serving.limits.stored_results")
    _records = LazyModule("enfilade.serving.callers.state_records")


log = logging.getLogger("enfilade")

#: The handler of a plain route.
Handler = TypeVar("Handler", bound=Callable[..., Any])


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
        description: what it is for, in up to 100 characters, for people who look for servers.
        registry_name: its name in registries and in its server card, such as `io.github.ada/notes`.
        repository: URL of its source code.
        host: address `run()` binds over http.
        port: port `run()` binds.
        path: path of the endpoint.
        transport: how `run()` serves: `stdio`, or `http` (also `streamable-http`, `streamable`).
        log_level: what `run()` logs to stderr.
        lifespan: `@asynccontextmanager async def lifespan(app)`; what it yields is `ctx.lifespan`.
        middleware: `async def mw(request, call_next)`, outermost first.
        asgi_middleware: ASGI middleware around all that is served over HTTP, outermost first: classes, pairs of a
            class and its keyword arguments, or `Middleware(...)` of Starlette.
        tool_names: `plain` lists tools as written, `qualified` as `Server_Tool`.
        store: where that is kept which clients cannot carry, and what workers share: `memory://`,
            `sqlite:///file.db`, `redis://host:6379/0` (also `rediss://`, `valkey://`), or a store.
        event_store: keeps the events of streams instead of `store`, so that clients can resume them.
        secret: seals session ids, 32 bytes at least, newest first; without one, workers share one by their store.
        request_timeout: seconds that a request may take; 0 for no limit.
        max_concurrency: calls of all workers at the same time, together with those of other tools, resources and
            prompts; each tool may have limits of its own.
        rate_limit: calls in a period: `600/minute`.
        limit_per: whose calls count together for these two: those of a `principal`, `session` or `client`, or
            `all`.
        on_limit: whether a call beyond them should `wait`, or be refused at once (`refuse`).
        max_wait: seconds that it waits at most.
        max_result: largest result of a tool that does not say: `8000` bytes, or `2000 tokens`.
        on_overflow: what becomes of a larger one: an `error`, or it is cut (`truncate`), or cut with a `link` to
            the whole.
        secrets: where tools get their secrets: a mapping, or `def` or `async def` of a name and the client
            (a `Peer`). By default the environment, and then `.env`.
        caching: hints for clients, by list method: `{"tools/list": Caching(ttl=60, scope="public")}`.
        public_url: URL by which clients reach the endpoint, or what is before its path; with `auth=` it is that
            of the resource.
        tool_auth: providers at which tools act for their callers (`requires_auth=`), with the credentials of this
            server there: `[GitHub.client(id="…", secret="…")]`, or `StaticToken("github", env="…")`.
        auth_prompt: how clients are asked for consent: by a question (`ask`), or for 2025-11-25 by an error that
            holds the page (`error`).
        auth_timeout: seconds that a call waits for a user's consent.
        auth: who may call over HTTP: a `ResourceServer` of `enfilade.auth`. None lets everybody in, or leaves it
            to a host's authentication.
        audit: who did what when, with which arguments, and how it ended: the path of a file of JSON lines, or
            `def` or `async def` of a dict.
        audit_required: refuse requests that cannot be recorded, and record each before its response leaves.
        audit_arguments: how much of the arguments is recorded, unless a tool says it: `all`, `names` or `none`.
        metrics: serve metrics for Prometheus, with the extra `enfilade[prometheus]`.
        metrics_path: where they are, beside the endpoint.
        metrics_port: port that serves them and nothing else, in place of that of the server; 0 for none.
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
        description: str | None = None,
        registry_name: str | None = None,
        repository: str | None = None,
        host: str | None = None,
        port: int | None = None,
        path: str | None = None,
        transport: str | None = None,
        log_level: str | None = None,
        lifespan: Setup | None = None,
        middleware: Iterable[Middleware] | None = (),
        asgi_middleware: Iterable[Any] = (),
        tool_names: str | None = None,
        store: str | Store | None = None,
        event_store: EventStore | None = None,
        secret: str | Sequence[str] | None = None,
        request_timeout: float | None = None,
        max_concurrency: int | None = None,
        rate_limit: str | None = None,
        limit_per: LimitPer | None = None,
        on_limit: OnLimit | None = None,
        max_wait: float | None = None,
        max_result: int | str | None = None,
        on_overflow: OnOverflow | None = None,
        secrets: Mapping[str, str] | Lookup | None = None,
        caching: Mapping[str, Caching] | None = None,
        public_url: str | None = None,
        tool_auth: Iterable[OAuth2 | StaticToken] = (),
        auth_prompt: Literal["ask", "error"] | None = None,
        auth_timeout: float | None = None,
        auth: ResourceServer | None = None,
        audit: str | os.PathLike[str] | Callable[[dict[str, Any]], object] | None = None,
        audit_required: bool = False,
        audit_arguments: Literal["all", "names", "none"] = "all",
        metrics: bool | None = None,
        metrics_path: str | None = None,
        metrics_port: int | None = None,
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
            "max_concurrency": max_concurrency,
            "rate_limit": rate_limit,
            "limit_per": limit_per,
            "on_limit": on_limit,
            "max_wait": max_wait,
            "max_result": max_result,
            "on_overflow": on_overflow,
            "metrics": metrics,
            "metrics_path": metrics_path,
            "metrics_port": metrics_port,
            "registry_name": registry_name,
            "repository": repository,
            "public_url": public_url,
            "auth_prompt": auth_prompt,
            "auth_timeout": auth_timeout,
        }
        self.settings = _sources.load(code_settings, settings)
        name_main_module(sys._getframe(1))
        check_required_texts("MCPApp()", name=name, version=version)
        texts = {"instructions": instructions, "title": title, "description": description}
        check_options("MCPApp()", **texts, website_url=website_url, icons=icons)
        super().__init__(name, qualified=self.settings.tool_names == "qualified", schema_refs=schema_refs)
        self.version = version
        self._instructions = instructions
        self._server_info = Implementation(
            name=name,
            version=version,
            title=UNSET if title is None else title,
            website_url=UNSET if website_url is None else website_url,
            description=UNSET if description is None else description,
            icons=read_icons(icons),
        )
        self._middleware: list[Middleware] = read_middleware(middleware)
        self._asgi_factories = _asgi_middleware.read_asgi_middleware(asgi_middleware) if asgi_middleware else ()
        self._outer: Callable[..., Any] | None = self._wrap if self._asgi_factories else None
        self._routes: _routes.RouteTable | None = None
        self._route_server: _serve_routes.RouteServer | None = None
        self._lifespan = Lifespan(lifespan, self)
        self._auth = None if auth is None else _assembly.check_auth(auth)
        self._tool_auth_given = () if tool_auth == () else _assembly.check_tool_auth(tool_auth)
        self._tool_auth: ToolAuthorization | None = None
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
        self._state: StateStore | None = None
        self._limiter: Limiter | None = None
        self._outcomes: KeptOutcomes | None = None
        self._results: StoredResults | None = None
        self._authenticator: ResourceAuthenticator | None = None
        self._proxy: ProxyEndpoints | None = None
        self._timings: Timings | None = None  # set by tests
        self._observers: list[Observer] = []
        self._is_observed = False
        self._audit_options: _assembly.AuditOptions | None = None
        if audit is not None or audit_required or audit_arguments != "all":
            self._audit_options = _assembly.check_audit(audit, audit_required, audit_arguments)
        self._audit: Audit | None = None
        self._metrics: Metrics | None = None
        self._documents: _publishing.Documents | None = None

    @property
    def endpoint_path(self) -> str:
        """The path of the endpoint, without that of a host around the app."""
        return self.settings.path

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

    @property
    def description(self) -> str | None:
        """What the server is for."""
        return self._server_info.description or None

    @property
    def reads_secrets_from_environment(self) -> bool:
        """Whether tools get their secrets from the environment, as they do unless `secrets=` was given."""
        return self._secrets is None

    # -- around the handlers -----------------------------------------------------------------------------------

    @advice_on_arguments("middleware")
    def add_middleware(self, middleware: Middleware, *, outermost: bool = False) -> Middleware:
        """Put `async def mw(request, call_next)` inside the middleware added so far; also a decorator.

        Args:
            middleware: the function.
            outermost: put it around all of them instead, so that it sees what they do as well.

        Raises:
            RuntimeError: the server has been used already.
            TypeError: it is a class or an object with a method for each kind of request, or does not take a
                request and the next function.
        """
        if self._dispatcher is not None:
            raise RuntimeError("middleware must be added before the server is first used")
        check_middleware(middleware)
        self._middleware.insert(0 if outermost else len(self._middleware), middleware)
        return middleware

    def add_extension(self, extension: ExtensionT) -> ExtensionT:
        if self._dispatcher is not None:
            raise RuntimeError("extensions must be added before the server is first used")
        super().add_extension(extension)
        if extension.runs_beside_requests:
            self._lifespan.add_service(extension)
        return extension

    add_extension.__doc__ = Registration.add_extension.__doc__

    # -- plain HTTP beside the endpoint ------------------------------------------------------------------------

    @named_in_errors("app.route")
    def route(
        self,
        path: str,
        methods: Sequence[str] = ("GET",),
        *,
        authenticated: bool = False,
        scopes: Iterable[str] | None = None,
    ) -> Callable[[Handler], Handler]:
        """Let a function answer plain HTTP requests for a path; a decorator.

        The function takes a `RouteRequest` of `enfilade.routes`, or nothing, and returns text, bytes, data for
        JSON, a `Response`, or a response of Starlette.

        Args:
            path: such as `/status` or `/orders/{id}`; `{rest:path}` stands for what has slashes.
            methods: HTTP methods that it answers; with GET it answers HEAD as well.
            authenticated: refuse callers that are not known. By default a route is public, also with `auth=`.
            scopes: what a caller must have; it implies `authenticated`.

        Raises:
            TypeError: the function takes other parameters than the request.
            ValueError: the path has another use, or another route has it with one of the methods.
        """
        required = _routes.read_scopes(authenticated, scopes)

        def add(handler: Handler) -> Handler:
            table = self._own_routes()
            table.add(path, methods, handler, required)
            table.check(self._reserved_paths())
            return handler

        return add

    @named_in_errors("app.add_route")
    def add_route(
        self, path: str, app: Any, *, authenticated: bool = False, scopes: Iterable[str] | None = None
    ) -> None:
        """Serve another ASGI application at a path and all paths below: a mount.

        Its lifespan is not run. At `/` it gets all paths that nothing else has.

        Args:
            path: such as `/admin`.
            app: the application.
            authenticated: refuse callers that are not known.
            scopes: what a caller must have; it implies `authenticated`.

        Raises:
            TypeError: it is no ASGI application.
            ValueError: the path has another use, or another application is mounted there.
        """
        table = self._own_routes()
        table.mount(path, app, _routes.read_scopes(authenticated, scopes))
        table.check(self._reserved_paths())

    def _own_routes(self) -> _routes.RouteTable:
        if self._routes is None:
            self._routes = _routes.RouteTable()
        return self._routes

    def _reserved_paths(self) -> dict[str, str]:
        """Return what has a path, by path."""
        settings = self.settings
        return {
            settings.health_path: "the liveness probe (health_path)",
            settings.ready_path: "the readiness probe (ready_path)",
            settings.path: "the MCP endpoint (path)",
            **({settings.metrics_path: "the metrics (metrics_path)"} if self.settings.serves_metrics else {}),
            **({} if self._auth is None else self._auth.reserved_paths()),
        }

    def notify_resource_updated(self, uri: str) -> None:
        """Tell every client that watches a resource that its contents changed; callable from any thread."""
        self.changes.announce(updated(uri))

    @named_in_errors("app.override")
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

    # -- the packages below ------------------------------------------------------------------------------------

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher, built on first use."""
        if self._dispatcher is None:
            self._dispatcher, self._handlers = _assembly.build_dispatcher(
                self,
                self.settings,
                server_info=self._server_info,
                instructions=self._instructions,
                middleware=self._middleware,
                seal=self._seal,
                overrides=self._overrides,
                lifespan=self._lifespan,
                secrets=self._secrets,
                dotenv=self._dotenv,
                caching=self._caching,
                state=lambda: self.caller_state,
                auth=self._auth,
                lacks_scopes=self._lacks_scopes,
                governing=_assembly.governing_of(
                    self.settings,
                    self._limiter_of_calls,
                    lambda: self._whole_results,
                    lambda: self._kept_outcomes,
                    lambda: self.tool_authorization.authorizer,
                ),
            )
            if self.settings.max_result and self.settings.on_overflow == "link":
                self.offer_whole_results()
        return self._dispatcher

    def _lacks_scopes(self, request: HttpRequest, scopes: Sequence[str]) -> RpcError | None:
        """Return the error of a caller over HTTP without some scopes; None if nobody authenticates callers."""
        authenticator = self.authenticator
        return None if authenticator is None else authenticator.lacks_scopes(request, scopes)

    @property
    def timings(self) -> Timings:
        """Time limits and intervals of what runs beside requests."""
        return self._timings or _timings.Timings()

    @property
    def caller_state(self) -> StateStore:
        """What keeps state of callers; it has the store and the keys of the server."""
        if self._state is None:
            self._state = _records.StateStore(self.name, lambda: self.store, self._seal)
        return self._state

    @property
    def needs_tool_auth(self) -> bool:
        """Whether tools act for their callers at other services."""
        return bool(self._tool_auth_given) or any(tool.auth for tool in self.tools)

    @property
    def tool_authorization(self) -> ToolAuthorization:
        """What gives tools tokens of other services, built on first use.

        Raises:
            ModuleNotFoundError: `enfilade[auth]` is not installed.
        """
        if self._tool_auth is None:
            self._tool_auth = _assembly.build_tool_auth(
                self,
                self.title or self.name,
                self._tool_auth_given,
                self.settings,
                self.caller_state,
                self._auth,
                self._dotenv,
                self.timings,
            )
        return self._tool_auth

    def add_observer(self, observer: Observer) -> None:
        """Let an observer see each request: `begin` before its handler, `end` with its outcome.

        `enfilade.serving.observation` describes observers and the records that they get.

        Args:
            observer: has the methods `begin` and `end`, each of which takes a `RequestRecord`.

        Raises:
            RuntimeError: the server has been used already.
        """
        if self._is_observed:
            raise RuntimeError("observers must be added before the server is first used")
        self._observers.append(observer)

    def _observe(self) -> None:
        """Let the observers that the settings and the code ask for see all requests; once, at the start."""
        if not self._is_observed:
            self._is_observed = True
            self._audit = _assembly.audit_of(self, self._audit_options)
            self._metrics = _assembly.metrics_of(self, self.settings, self.version)
            if self._metrics is not None:
                self._store = _assembly.measured_store(self.store)
            given = self._observers if self._metrics is None else [*self._observers, self._metrics.observer]
            _assembly.observe(self.dispatcher, self, self.version, self.settings, given, self._audit)

    @property
    def _whole_results(self) -> StoredResults:
        if self._results is None:
            self._results = _stored_results.StoredResults(
                self.name,
                lambda: self.caller_state,
                self.settings.whole_results_per_caller,
                self.settings.whole_results_size,
            )
        return self._results

    def offer_tasks(self) -> None:
        """Offer that calls run as tasks, by the extension that the app was given, or by the usual one."""
        from enfilade.extensions.tasks.extension import TasksExtension
        from enfilade.extensions.tasks.state import TASKS

        if self.extensions is None or self.extensions.get(TASKS) is None:
            self.add_extension(TasksExtension())

    def offer_whole_results(self) -> None:
        """Offer the whole results that links lead to, as resources of a template."""
        if _stored_results.TEMPLATE not in self.templates:
            description = "The whole result of a tool, by the link that came with a part of it"
            self.add_resource(
                self._whole_results.read, _stored_results.TEMPLATE, name="result", description=description
            )

    @property
    def _kept_outcomes(self) -> KeptOutcomes:
        if self._outcomes is None:
            self._outcomes = _kept.KeptOutcomes(
                self.name, lambda: self.caller_state, self.timings, lambda: self._endpoint
            )
        return self._outcomes

    async def _invalidate(self, tool: Tool, arguments: Mapping[str, Any] | None) -> None:
        await self._kept_outcomes.invalidate(tool, arguments)

    def _limiter_of_calls(self) -> Limiter:
        if self._limiter is None:
            self._limiter = _assembly.build_limiter(self.name, self.settings, lambda: self.store, self._timings)
        return self._limiter

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Dispatcher]:
        """Set the server up, yield its dispatcher, and put everything away."""
        dispatcher = self.dispatcher
        self._observe()
        self.authenticator  # noqa: B018 - a mistake in it is said before anybody calls
        await self._lifespan.start()
        if self._metrics is not None:
            self._metrics.sampler.start()
        try:
            yield dispatcher
        finally:
            await self._close()

    async def _close(self) -> None:
        try:
            if self._dispatcher is not None:
                await self._dispatcher.stop_notified()
            await self._lifespan.stop()
        finally:
            if self._tool_auth is not None:
                await self._tool_auth.aclose()
            if self._outcomes is not None:
                await self._outcomes.close()
            if self._proxy is not None:
                await self._proxy.close()
            if self._endpoint is not None:
                await self._endpoint.stop()
            if self._limiter is not None:
                await self._limiter.close()
            if self._state is not None:
                await self._state.close()
            if self._audit is not None:
                await self._audit.close()
            if self._handlers is not None:
                self._handlers.close()
            if self._metrics is not None:
                self._metrics.sampler.stop()
            if self._dispatcher is not None and self._dispatcher.observation is not None:
                await self._dispatcher.observation.close()

    # -- ASGI --------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send, _is_inner: bool = False) -> None:
        """Serve as an ASGI application, on its own or mounted in another."""
        if self._outer is not None and not _is_inner:
            await self._outer(scope, receive, send)
            return
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

    def direct_endpoint(self, path: str) -> Endpoint | None:
        """Return what serves requests for a path without ASGI in between; None if there has to be.

        A server of this package asks for each request whose head it does not know. What `__call__` does for the
        endpoint is done here, so one that a subclass has, or that has replaced it, is called; if it is replaced
        while the server runs, a connection in use may go past it until it is idle for a second.
        """
        if path != self.settings.path or self._outer is not None or not self._lifespan.belongs_here():
            return None
        if type(self).__call__ is not _call:
            return None
        return self._endpoint or self.endpoint

    async def _wrap(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the ASGI middleware around the app, at the first call."""
        self._outer = _asgi_middleware.wrapped(partial(self.__call__, _is_inner=True), self._asgi_factories)
        await self._outer(scope, receive, send)

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
                _other_paths.origin_headers(_assembly.host_origin_policy(self.settings), exchange),
            )
            return False
        return True

    @named_in_errors("app.host_route")
    def host_route(self) -> Route:
        """Return the route by which a host in Starlette or FastAPI serves the endpoint, at the app's own path.

        With a slash at the end or without: `api.router.routes.append(app.host_route())`, or
        `Starlette(routes=[app.host_route()])`. With `auth=`, the host needs `metadata_route()` as well.

        Raises:
            ModuleNotFoundError: there is no Starlette.
        """
        from starlette.routing import Route

        path = self.settings.path.rstrip("/")
        route = Route(path or "/", self)
        route.path_regex = re.compile(rf"^{re.escape(path)}/?$")
        return route

    @named_in_errors("app.metadata_route")
    def metadata_route(self) -> Route:
        """Return the route by which a host serves the protected resource metadata (RFC 9728), at its own root.

        It is needed beside `host_route()`, and it is welcome beside a mount: clients that do not read the
        challenge look for the document at the root of the host.

        Raises:
            ModuleNotFoundError: there is no Starlette.
        """
        from starlette.routing import Route

        from enfilade.auth.metadata import WELL_KNOWN

        return Route(f"{WELL_KNOWN}{{path:path}}", self)

    @named_in_errors("app.login_route")
    def login_route(self) -> Route:
        """Return the route by which a host serves the login of `auth=OAuthProxy(...)`, at its own root.

        It is needed beside `host_route()`. Beside a mount it has the metadata of the authorization server at the
        root of the host, where clients look for it.

        Raises:
            ModuleNotFoundError: there is no Starlette.
        """
        from starlette.routing import Route

        from enfilade.auth.oauth_proxy.paths import LOGIN_PATHS

        route = Route("/oauth/{path:path}", self, methods=None)
        route.path_regex = re.compile(LOGIN_PATHS)
        return route

    @named_in_errors("app.consent_route")
    def consent_route(self) -> Route:
        """Return the route by which a host serves the pages on which users consent to tools, at its own root.

        It is needed beside `host_route()`; a mount has them below it. `public_url` says where they are.

        Raises:
            ModuleNotFoundError: there is no Starlette.
        """
        from starlette.routing import Route

        return Route("/auth/{path:path}", self, methods=None)

    @named_in_errors("app.metrics_route")
    def metrics_route(self) -> Route:
        """Return the route by which a host serves the metrics at its own root, beside `host_route()` or a mount.

        Raises:
            ModuleNotFoundError: there is no Starlette.
        """
        from starlette.routing import Route

        return Route(self.settings.metrics_path, self)

    @named_in_errors("app.server_card_route")
    def server_card_route(self) -> Route:
        """Return the route by which a host serves the server card and the AI catalog (experimental).

        It is needed beside `host_route()`. Beside a mount it serves the catalog at the root of the host.

        Raises:
            ModuleNotFoundError: there is no Starlette.
        """
        from starlette.routing import Route

        card = re.escape(self.settings.path.rstrip("/") + _publishing.CARD_SUFFIX)
        route = Route(_publishing.CATALOG_PATH, self)
        route.path_regex = re.compile(rf"^(?:{re.escape(_publishing.CATALOG_PATH)}|{card})$")
        return route

    @property
    def endpoint(self) -> Endpoint:
        """The HTTP endpoint, built on first use."""
        if self._endpoint is None:
            self._observe()
            self._endpoint = _assembly.build_endpoint(
                self.settings,
                self.dispatcher,
                self.store,
                self._event_store,
                self._seal,
                self._timings,
                self.authenticator,
            )
            if (proxy := self._login_endpoints) is not None:
                proxy.listen()
        return self._endpoint

    @property
    def has_auth(self) -> bool:
        """Whether callers over HTTP need credentials, as the code or the settings say."""
        return _assembly.has_auth(self._auth, self.settings)

    @property
    def authenticator(self) -> ResourceAuthenticator | None:
        """What checks the credentials of requests, built on first use; None without `auth`."""
        if self._authenticator is None and self.has_auth:
            self._authenticator = _assembly.build_authenticator(
                self._auth, self.settings, self.title or self.name, self._seal
            )
        return self._authenticator

    @property
    def _login_endpoints(self) -> ProxyEndpoints | None:
        """What makes this server its own authorization server, built on first use; None if it is none."""
        if self._proxy is None and self.has_auth:
            name = self.title or self.name
            self._proxy = _assembly.build_proxy(
                self.authenticator, self.settings, name, self._seal, lambda: self.store, self.required_scopes
            )
        return self._proxy

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

    async def _beside_endpoint(self, exchange: AsgiExchange, inner: str) -> None:
        """Answer metadata, probes, routes, preflights of browsers, and that there is nothing else."""
        policy = _assembly.host_origin_policy(self.settings)
        authenticator = self.authenticator
        if authenticator is not None and authenticator.metadata.is_at(inner):
            await authenticator.serve_metadata(exchange, self.required_scopes())
        elif (proxy := self._login_endpoints) is not None and proxy.serves(inner):
            if self._lifespan.belongs_here() or await self._started_late(exchange):
                await proxy.serve(exchange, inner, self.endpoint.start)
        elif inner == self.settings.metrics_path and self.settings.serves_metrics:
            self._observe()
            if self._metrics is not None and not await _other_paths.serve_preflight(exchange, policy):
                await self._metrics.serve(exchange)
        elif not inner or inner not in (self.settings.health_path, self.settings.ready_path):
            if (document := self._document_at(exchange, inner)) is not None:
                await _publishing.serve_document(exchange, document)
                return
            if inner.startswith("/auth/") and await self._serve_authorization(exchange, inner):
                return
            if self._routes is not None and (match := self._routes.match(inner, exchange.method)) is not None:
                if self._lifespan.belongs_here() or await self._started_late(exchange):
                    await self._served_routes.serve(_serve_routes.exchange_of(exchange), match, inner)
                return
            login = {} if authenticator is None else {"login": authenticator.metadata.advice}
            self._record_other_path(exchange, inner)
            await _other_paths.serve_other_path(exchange, policy, inner, self.settings.path, **login)
        elif not await _other_paths.serve_preflight(exchange, policy):
            parts = {} if inner == self.settings.health_path else await self._parts()
            unready = next((reason for reason in parts.values() if reason is not None), None)
            told = None
            if parts and _other_paths.is_verbose(exchange):
                told = parts if authenticator is None else {**parts, "authorization": authenticator.problem}
            headers = _other_paths.origin_headers(policy, exchange)
            await _other_paths.serve_probe(exchange, unready, headers, told)

    async def _serve_authorization(self, exchange: AsgiExchange, path: str) -> bool:
        """Answer a request for a page of tool authorization; return False if the path is none of these."""
        if self._tool_auth is None and not self.needs_tool_auth:
            return False
        pages = self.tool_authorization.pages
        if not pages.is_at(path):
            return False
        host = next((value for name, value in exchange.headers if name == b"host"), None)
        refusal = _assembly.host_origin_policy(self.settings).verdict(host, None)  # why no Origin, pages.py says
        if refusal is not None:
            await _other_paths.refuse(exchange, refusal)
        elif self._lifespan.belongs_here() or await self._started_late(exchange):
            await pages.serve(exchange, path)
        return True

    def _document_at(self, exchange: AsgiExchange, path: str) -> _publishing.Document | None:
        """Return the server card or the catalog at a path, unless a route of the author has exactly this path."""
        if not self.settings.registry_name or not self.settings.server_card:
            return None
        if self._routes is not None and self._routes.has(path):
            return None
        if self._documents is None:
            self._documents = _publishing.documents_of(self)
        return self._documents.at(path, is_mounted=bool(exchange.scope.get("root_path")))

    def _record_other_path(self, exchange: HttpExchange, path: str) -> None:
        """Record that a message was POSTed to a path at which nothing is served."""
        observation = self.dispatcher.observation
        if observation is not None and exchange.method == "POST":
            observation.refuse_path(exchange, path, f"nothing here; the MCP endpoint is {self.settings.path}")

    @property
    def _served_routes(self) -> _serve_routes.RouteServer:
        """What answers requests for routes, built on first use."""
        if self._route_server is None:
            self.dispatcher  # noqa: B018 - it makes the threads
            handlers = self._handlers
            assert handlers is not None
            self._route_server = _serve_routes.RouteServer(
                _assembly.host_origin_policy(self.settings),
                self.authenticator,
                lambda: handlers.threads,
                lambda: self._lifespan.value,
                self.settings,
            )
        return self._route_server

    async def _parts(self) -> dict[str, str | None]:
        """Return why each part is not ready for requests, None for one that is."""
        try:
            await self._lifespan.start()  # for a host that told us nothing of its own
        except BaseException as error:
            if _failures.stops(error):
                raise
            _failures.masked(error, "the lifespan could not be started")
            return {"lifespan": "the lifespan could not be started"}
        return {"lifespan": None, **await self.endpoint.parts()}

    def drain(self) -> None:
        """Prepare for the end: say to probes that this is not ready, and end the streams that wait for changes.

        `run()` does this by itself. It is for hosts that know of their end before they wait for open responses.
        """
        self.endpoint.drain()

    async def _open_early(self) -> None:
        """Build the endpoint and hear other workers before the first request, so mistakes show at the start."""
        try:
            await self.endpoint.start()
            if self._metrics is not None:
                self._metrics.sampler.start()
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

        Cancel the task that awaits this to stop the server. Over http it ends as on a signal, within
        `drain_delay` + `shutdown_timeout` + 4 seconds and what the lifespan takes; `lifespan_timeout` does not
        limit that here.
        Then `CancelledError` is raised. A second cancellation ends it at once.

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
                    from enfilade.transports.stdio import serve_stdio_embedded

                    with launch.metrics_port(self.settings):
                        await serve_stdio_embedded(self.running, _assembly.stdio_options(self.settings))
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

    def serve(
        self,
        *,
        reload: bool = False,
        bound: Callable[[str], object] | None = None,
        host: tuple[Launched, Host] | None = None,
    ) -> None:
        """Serve until stopped by the settings as they are: for command lines, whose options outrank `run()`.

        Args:
            reload: as in `run()`.
            bound: is called with the URL of the endpoint once its port is bound, over http.
            host: what is served over http in place of this app, with the host that it was made of.

        Raises:
            SettingsError: there is no such store.
            LoadError, RuntimeError: as in `run()`.
        """
        from enfilade import launch
        from enfilade.startup import gc_pause

        launch.refuse_running_loop()
        self._prepare()
        try:
            if self.settings.transport == "http":
                served, origin = (self, None) if host is None else host
                launch.launch(served, reload=reload, on_bound=bound, host=origin)
            else:
                from enfilade.transports.stdio import serve_stdio

                with launch.metrics_port(self.settings):
                    serve_stdio(self.running, _assembly.stdio_options(self.settings))
        finally:
            gc_pause.resume()

    def _prepare(self) -> None:
        """Do what every start begins with; whoever calls this calls `gc_pause.resume()` in the end."""
        from enfilade.launch import configure_log
        from enfilade.startup import gc_pause

        configure_log(self.settings)
        self.settings = _assembly.with_telemetry(self.settings)
        if self._routes is not None:
            from enfilade.settings import SettingsError

            try:
                self._routes.check(self._reserved_paths())
            except ValueError as error:
                raise SettingsError(f"Invalid settings: {error}") from None
        _sources.warn_of_unknown_variables()
        if self.extensions is not None and not self.has_lifespan:  # which may add what is missing
            _assembly.check_views(self.extensions)
        _assembly.check_metrics(self.settings)
        _assembly.warn_of_nothing(self, MCPApp, has_lifespan=self.has_lifespan)
        _assembly.warn_of_short_memory(self, self.settings, self._store)
        if self.settings.registry_name and self.settings.server_card and self.settings.transport == "http":
            _publishing.warn_of_fault(self)
        if self.has_auth:
            if self.settings.transport == "http":
                _assembly.warn_of_other_path(self.authenticator, self.settings)
            else:
                log.warning("auth= is for HTTP: over stdio the client is a user of this machine, without a token")
        else:
            _assembly.warn_of_open_secrets(self, self.settings)
        if self.needs_tool_auth:
            is_memory = self._store is None and self.settings.store.startswith("memory:")
            self.tool_authorization.check_start(is_memory=is_memory)
        if self._store is None:
            _assembly.opened(self.settings, starting=True)  # what is wrong with it is said before anybody calls
        gc_pause.pause()


#: What may be gone past; a subclass, or whoever replaces it later, has another.
_call: Final = MCPApp.__call__
