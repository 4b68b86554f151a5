"""`MCPApp`: the front door. It collects what a server offers, and is itself an ASGI application.

Nothing of the protocol is decided here; the rooms behind do that. They are built when the server is first used,
so everything registered before is in, and the middleware chain is made once.
"""

import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from enfilade import settings as _settings
from enfilade.primitives.caching import Caching, check_cacheable
from enfilade.primitives.signature import read_provider
from enfilade.serving.chaining import Offered
from enfilade.serving.changes import updated
from enfilade.serving.completion import Completions
from enfilade.serving.context import Context
from enfilade.serving.dependencies import Overrides
from enfilade.serving.dispatcher import Dispatcher, Middleware, masked
from enfilade.serving.handlers import Handlers
from enfilade.serving.journal import Journals
from enfilade.serving.lifecycle import Opening
from enfilade.serving.lifespan import Lifespan, Setup
from enfilade.serving.logging import set_level
from enfilade.serving.prompts import Prompts
from enfilade.serving.resources import Resources
from enfilade.serving.secrets import Lookup, SecretSource
from enfilade.serving.subscriptions import Subscriptions
from enfilade.serving.tools import Tools
from enfilade.settings import Settings
from enfilade.state.seal import Seal
from enfilade.state.store import Keys, open_store
from enfilade.tool_offer import ToolOffer
from enfilade.wire.content import Icon
from enfilade.wire.lifecycle import (
    Implementation,
    PromptsCapability,
    ResourcesCapability,
    ServerCapabilities,
    ToolsCapability,
)
from enfilade.wire.revisions import LATEST_STATELESS

if TYPE_CHECKING:
    from enfilade.transports.streamable_http import StreamableHTTP

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = logging.getLogger("enfilade")


class MCPApp(ToolOffer):
    """An MCP server.

    Every argument that is also a setting can be overridden from outside by `ENFILADE_<NAME>`.

    Args:
        name: who the server says it is.
        version: its own version.
        title: its name for people.
        instructions: how to use it, for the client's model.
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
        store: URL of the store for what clients cannot carry, or a store.
        secret: seals session ids; give the same to all workers, and one that stays to survive a restart.
        request_timeout: seconds that a request may take; 0 for no limit.
        secrets: where tools get their secrets: a mapping, or `def` or `async def` of a name and the client
            (a `Peer`). By default the environment, and then `.env`.
        caching: hints for clients, by list method: `{"tools/list": Caching(ttl=60, scope="public")}`.
        settings: further settings; arguments given here outrank it.

    Raises:
        SettingsError: a setting has a value it cannot have.
    """

    def __init__(
        self,
        name: str = "enfilade",
        version: str = "0.1.0",
        *,
        title: str | None = None,
        instructions: str | None = None,
        icons: Sequence[Icon] | None = None,
        website_url: str | None = None,
        host: str | None = None,
        port: int | None = None,
        path: str | None = None,
        transport: str | None = None,
        log_level: str | None = None,
        lifespan: Setup | None = None,
        middleware: Iterable[Middleware] = (),
        tool_names: str | None = None,
        store: str | Keys | None = None,
        secret: str | Sequence[str] | None = None,
        request_timeout: float | None = None,
        secrets: Mapping[str, str] | Lookup | None = None,
        caching: Mapping[str, Caching] | None = None,
        settings: Settings | None = None,
    ) -> None:
        given: dict[str, Any] = {
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
        self.settings = _settings.load(given, settings)
        super().__init__(name, qualified=self.settings.tool_names == "qualified")
        self.version = version
        self._instructions = instructions
        self._server_info = Implementation(
            name=name,
            version=version,
            title=UNSET if title is None else title,
            website_url=UNSET if website_url is None else website_url,
            icons=UNSET if icons is None else list(icons),
        )
        self._middleware = list(middleware)
        self._lifespan = Lifespan(lifespan, self)
        self._seal = Seal([part.get_secret_value() for part in self.settings.secret])
        self._store = _opened(self.settings.store) if store is None or isinstance(store, str) else store
        self._secrets = secrets
        self._dotenv = partial(_settings.find_dotenv, Path.cwd())
        self._overrides = Overrides()
        self._dispatcher: Dispatcher | None = None
        self._handlers: Handlers | None = None
        self._caching = check_cacheable(caching or {})
        self._endpoint: StreamableHTTP | None = None

    # -- around the handlers -----------------------------------------------------------------------------------

    def add_middleware(self, middleware: Middleware) -> Middleware:
        """Put `async def mw(request, call_next)` inside the middleware added so far; also a decorator.

        Raises:
            RuntimeError: the server has been used already.
        """
        if self._dispatcher is not None:
            raise RuntimeError("middleware must be added before the server is first used")
        self._middleware.append(middleware)
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
        return self._overrides.replaced({each: read_provider(by, Context) for each, by in pairs.items()})

    # -- the rooms behind --------------------------------------------------------------------------------------

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher, built on first use."""
        if self._dispatcher is None:
            self._dispatcher = self._build()
        return self._dispatcher

    def _build(self) -> Dispatcher:
        dispatcher = Dispatcher(
            self._server_info, self._middleware, journals=Journals(self._seal, self.name), changes=self.changes
        )
        opening = Opening(self._server_info, self._capabilities, self._instructions)
        handlers = Handlers(
            self.settings.tool_threads,
            self._overrides,
            lambda request, secrets: Context(request, self._lifespan.value, offered, secrets),
        )
        secrets = SecretSource(self._secrets, self._dotenv, lambda: handlers.threads)
        lists: dict[str, Any] = {"page_size": self.settings.page_size, "caching": self._caching}
        tools = Tools(self.tools, handlers, secrets, dispatcher.render, **lists)
        resources = Resources(self.resources, self.templates, handlers, dispatcher.render, **lists)
        prompts = Prompts(self.prompts, handlers, dispatcher.render, **lists)
        completions = Completions(self.prompts, self.templates, handlers)
        lists_of = tools.definitions, resources.definitions, prompts.definitions
        offered = Offered(dispatcher, self.tools.get, *lists_of)
        dispatcher.register("initialize", opening.initialize)
        dispatcher.register("server/discover", opening.discover)
        dispatcher.register("ping", opening.ping)
        subscriptions = Subscriptions(self.changes, self._capabilities)
        dispatcher.register("subscriptions/listen", subscriptions.listen)
        dispatcher.register("logging/setLevel", set_level)
        dispatcher.register("tools/list", tools.pages.list, tools.pages.ready)
        dispatcher.register("tools/call", tools.call)
        for method, handler, ready in (
            ("resources/list", resources.list, resources.pages.ready),
            ("resources/templates/list", resources.template_pages.list, resources.template_pages.ready),
            ("resources/read", resources.read, None),
            ("resources/subscribe", subscriptions.subscribe, None),
            ("resources/unsubscribe", subscriptions.unsubscribe, None),
        ):
            dispatcher.register(method, handler, ready, offered=resources.offered)
        dispatcher.register("prompts/list", prompts.pages.list, prompts.pages.ready, offered=prompts.offered)
        dispatcher.register("prompts/get", prompts.get, offered=prompts.offered)
        dispatcher.register("completion/complete", completions.complete, offered=completions.offered)
        self._handlers = handlers
        return dispatcher

    def _capabilities(self) -> ServerCapabilities:
        """Return what is served at present, and nothing that is not."""
        readable = len(self.resources) > 0 or len(self.templates) > 0
        return ServerCapabilities(
            tools=ToolsCapability(list_changed=True),
            resources=ResourcesCapability(subscribe=True, list_changed=True) if readable else UNSET,
            prompts=PromptsCapability(list_changed=True) if len(self.prompts) > 0 else UNSET,
            completions={} if self.dispatcher.offers("completion/complete", LATEST_STATELESS) else UNSET,
            logging={},
        )

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
            if self._handlers is not None:
                self._handlers.close()

    # -- ASGI --------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application, on its own or mounted in another."""
        kind = scope["type"]
        if kind == "http":
            if not self._lifespan.belongs_here() and not await self._started_late(send):
                return
            if self._is_endpoint(scope):
                await (self._endpoint or self.endpoint)(scope, receive, send)
            else:
                await self._not_found(send)
        elif kind == "lifespan":
            await self._serve_lifespan(receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    async def _started_late(self, send: Send) -> bool:
        """Set up at a request, for a host that told us nothing of its lifespan; False if that failed."""
        from enfilade.transports.answer import send_json
        from enfilade.wire.jsonrpc import encode_error

        try:
            await self._lifespan.start()
        except Exception as error:
            failure = masked(error, "the lifespan could not be started")
            await send_json(send, 500, encode_error(None, failure), [])
            return False
        return True

    @property
    def endpoint(self) -> "StreamableHTTP":
        """The HTTP endpoint, built on first use."""
        if self._endpoint is None:
            self._endpoint = self._open_endpoint()
        return self._endpoint

    def _open_endpoint(self) -> "StreamableHTTP":
        from enfilade.transports.answer import AnswerOptions
        from enfilade.transports.guard import Guard
        from enfilade.transports.sessions import Sessions
        from enfilade.transports.streamable_http import HttpOptions, StreamableHTTP

        of = self.settings
        if of.sessions and not self._seal.shared:
            log.info("no secret is set: sessions end with this process and cannot be shared between workers")
        answers = AnswerOptions(
            json_response=of.json_response,
            grace=of.stream_grace,
            keep_alive=of.keep_alive,
            request_timeout=of.request_timeout,
            capacity=of.stream_buffer,
        )
        return StreamableHTTP(
            self.dispatcher,
            Guard((*of.allowed_hosts, *_own_name(of.host)), of.allowed_origins),
            Sessions(self._seal, self._store, of.session_ttl),
            HttpOptions(answers=answers, body_limit=of.body_limit, sessions=of.sessions),
        )

    def _is_endpoint(self, scope: Scope) -> bool:
        """Whether a path is the endpoint's: its own path, or where a host mounted the app (no redirects)."""
        path: str = scope["path"]
        if path == self.settings.path:
            return True
        root = scope.get("root_path", "")
        inner = path[len(root) :] if root and path.startswith(root) else path
        return inner.rstrip("/") in ("" if root else "/", self.settings.path.rstrip("/"))

    async def _not_found(self, send: Send) -> None:
        from enfilade.transports.answer import send_json
        from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError, encode_error

        error = RpcError(INVALID_REQUEST, f"nothing here; the MCP endpoint is {self.settings.path}")
        await send_json(send, 404, encode_error(None, error), [])

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._lifespan.start()
        except Exception as error:
            log.exception("the lifespan could not be started")
            await send({"type": "lifespan.startup.failed", "message": repr(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.changes.end()  # for hosts that say so before they wait for open responses
        try:
            await self._close()
        except Exception as error:
            log.exception("the lifespan could not be stopped")
            await send({"type": "lifespan.shutdown.failed", "message": repr(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})

    # -- running -----------------------------------------------------------------------------------------------

    def run(
        self,
        transport: str | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        path: str | None = None,
        log_level: str | None = None,
    ) -> None:
        """Serve until stopped, by default over stdio.

        Arguments outrank those of the constructor; the environment outranks both.

        Raises:
            SettingsError: a value that cannot be.
        """
        given = {"transport": transport, "host": host, "port": port, "path": path, "log_level": log_level}
        self.settings = _settings.load(given, self.settings)
        _log_to_stderr(self.settings.log_level)
        if self.settings.transport == "http":
            self._run_http()
        else:
            self._run_stdio()

    def _run_stdio(self) -> None:
        import asyncio

        from enfilade.transports.stdio import serve_stdio

        async def serve() -> None:
            async with self.running() as dispatcher:
                await serve_stdio(
                    dispatcher,
                    line_limit=self.settings.body_limit,
                    request_timeout=self.settings.request_timeout,
                )

        asyncio.run(serve())

    def _run_http(self) -> None:
        from enfilade.transports.http_server import serve_http

        of = self.settings
        serve_http(
            self,
            host=of.host,
            port=of.port,
            log_level=of.log_level,
            shutdown_timeout=of.shutdown_timeout,
            end_streams=self.changes.end,
        )


def _opened(url: str) -> Keys:
    try:
        return open_store(url)
    except ValueError as error:
        raise _settings.SettingsError(f"Invalid settings: {error}") from None


def _own_name(host: str) -> tuple[str, ...]:
    """Return the name a server may be called by because it is bound to it; a wildcard address is no name."""
    return () if host in ("", "0.0.0.0", "::", "*") else (host,)


def _log_to_stderr(level: str) -> None:
    """Show the library's log on stderr if nobody else handles it; the root logger is left alone."""
    log.setLevel(level.upper())
    if not log.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        log.addHandler(handler)
