"""Builds what serves an app from what was registered and from the settings: dispatcher, HTTP endpoint, store.

It is loaded when an app is first used. What only one transport needs is imported by the function that needs it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from enfilade.registration import Registration
from enfilade.serving.context import Context
from enfilade.serving.dependencies import Overrides
from enfilade.serving.lifespan import Lifespan
from enfilade.settings import Settings, SettingsError
from enfilade.startup.main_module import copy_of
from enfilade.state.open import check_location, open_store
from enfilade.state.store import LogLimits, Store
from enfilade.state.tokens import Seal
from enfilade.wire.lifecycle import (
    Implementation,
    PromptsCapability,
    ResourcesCapability,
    ServerCapabilities,
    ToolsCapability,
)
from enfilade.wire.revisions import LATEST_STATELESS

if TYPE_CHECKING:
    from enfilade.primitives.metadata import Caching
    from enfilade.serving.dispatcher import Dispatcher, Middleware
    from enfilade.serving.execution import HandlerRunner
    from enfilade.serving.secrets import Lookup
    from enfilade.state.event_store import EventStore
    from enfilade.timings import Timings
    from enfilade.transports.http.endpoint import Endpoint
    from enfilade.transports.http.origin_checks import Guard
    from enfilade.transports.stdio import StdioOptions

log = logging.getLogger("enfilade")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an app has besides its registries and settings, for its dispatcher.

    Attributes:
        server_info: who the server says it is.
        instructions: how to use it, for the client's model.
        middleware: outermost first.
        seal: seals the state of requests.
        overrides: stand in for dependencies.
        lifespan: has the value that handlers see.
        secrets: where tools get their secrets.
        dotenv: finds the `.env` file that has those without another source.
        caching: hints for clients, by list method.
    """

    server_info: Implementation
    instructions: str | None
    middleware: Sequence[Middleware]
    seal: Seal
    overrides: Overrides
    lifespan: Lifespan
    secrets: Mapping[str, str] | Lookup | None
    dotenv: Callable[[], Path | None]
    caching: Mapping[str, Caching]


def build_dispatcher(
    registered: Registration, settings: Settings, parts: Parts
) -> tuple[Dispatcher, HandlerRunner]:
    """Return a dispatcher with a handler for every method, and what runs the functions of authors."""
    from enfilade.serving.chaining import ServerAccess
    from enfilade.serving.client_requests.request_state import RequestStateCodec
    from enfilade.serving.completion import Completions
    from enfilade.serving.dispatcher import Dispatcher
    from enfilade.serving.execution import HandlerRunner
    from enfilade.serving.handshake import Handshake
    from enfilade.serving.notifications import set_level
    from enfilade.serving.prompts import Prompts
    from enfilade.serving.resources import Resources
    from enfilade.serving.secrets import SecretSource
    from enfilade.serving.subscriptions import Subscriptions
    from enfilade.serving.tools import Tools

    lifespan = parts.lifespan
    dispatcher = Dispatcher(
        parts.server_info,
        parts.middleware,
        state_codec=RequestStateCodec(parts.seal, registered.name),
        changes=registered.changes,
    )

    def capabilities() -> ServerCapabilities:
        return _capabilities(registered, dispatcher)

    handshake = Handshake(parts.server_info, capabilities, parts.instructions)
    handlers = HandlerRunner(
        settings.tool_threads,
        parts.overrides,
        lambda request, secrets: Context(request, lifespan.value, server, secrets),
    )
    secrets = SecretSource(parts.secrets, parts.dotenv, lambda: handlers.threads)
    lists: dict[str, Any] = {"page_size": settings.page_size, "caching": parts.caching}
    tools = Tools(registered.tools, handlers, secrets, dispatcher.render, **lists)
    resources = Resources(registered.resources, registered.templates, handlers, dispatcher.render, **lists)
    prompts = Prompts(registered.prompts, handlers, dispatcher.render, **lists)
    completions = Completions(registered.prompts, registered.templates, handlers)
    lists_of = tools.definitions, resources.definitions, prompts.definitions
    server = ServerAccess(dispatcher, registered.tools.get, *lists_of)
    dispatcher.register("initialize", handshake.initialize)
    dispatcher.register("server/discover", handshake.discover)
    dispatcher.register("ping", handshake.ping)
    subscriptions = Subscriptions(registered.changes, capabilities)
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
        dispatcher.register(method, handler, ready, is_offered=resources.is_offered)
    dispatcher.register("prompts/list", prompts.pages.list, prompts.pages.ready, is_offered=prompts.is_offered)
    dispatcher.register("prompts/get", prompts.get, is_offered=prompts.is_offered)
    dispatcher.register("completion/complete", completions.complete, is_offered=completions.is_offered)
    return dispatcher, handlers


def _capabilities(registered: Registration, dispatcher: Dispatcher) -> ServerCapabilities:
    """Return what is served at present, and nothing that is not (R-284, R-510, R-520)."""
    readable = len(registered.resources) > 0 or len(registered.templates) > 0
    return ServerCapabilities(
        tools=ToolsCapability(list_changed=True),
        resources=ResourcesCapability(subscribe=True, list_changed=True) if readable else UNSET,
        prompts=PromptsCapability(list_changed=True) if len(registered.prompts) > 0 else UNSET,
        completions={} if dispatcher.offers("completion/complete", LATEST_STATELESS) else UNSET,
        logging={},  # log messages are sent, so this is declared (R-2B6)
    )


def build_endpoint(
    settings: Settings,
    dispatcher: Dispatcher,
    store: Store,
    event_store: EventStore | None,
    seal: Seal,
    timings: Timings | None = None,
) -> Endpoint:
    """Return the HTTP endpoint.

    Args:
        settings: those in force.
        dispatcher: answers the requests.
        store: what workers share.
        event_store: keeps the events of streams, in place of the store.
        seal: seals the ids of sessions.
        timings: time limits; None for those of `Timings()`.
    """
    from enfilade.serving.cluster import WorkerChannel
    from enfilade.timings import Timings
    from enfilade.transports.http.endpoint import Endpoint
    from enfilade.transports.http.response import ResponseOptions
    from enfilade.transports.http.services import HttpOptions

    responses = ResponseOptions(
        json_response=settings.json_response,
        grace=settings.stream_grace,
        keep_alive=settings.keep_alive,
        request_timeout=settings.request_timeout,
        capacity=settings.stream_buffer,
        retry=settings.stream_retry,
        write_timeout=settings.write_timeout,
        timings=timings or Timings(),
    )
    events = store.log
    if event_store is not None:
        from enfilade.state.event_store import EventStoreLog

        events = EventStoreLog(event_store)
    return Endpoint(
        dispatcher,
        guard_of(settings),
        WorkerChannel(store, responses.timings),
        seal,
        events if settings.resumable else None,
        HttpOptions(
            responses=responses,
            body_limit=settings.body_limit,
            body_memory=settings.body_memory,
            max_requests=settings.max_requests,
            max_streams=settings.max_streams,
            max_questions=settings.max_questions,
            sessions=settings.sessions,
            session_ttl=settings.session_ttl,
            stream_age=settings.stream_age,
        ),
    )


def guard_of(settings: Settings) -> Guard:
    """Return what checks Host and Origin."""
    from enfilade.transports.http.origin_checks import Guard, is_loopback, own_name

    own = () if not settings.allow_localhost and is_loopback(settings.host) else own_name(settings.host)
    return Guard((*settings.allowed_hosts, *own), settings.allowed_origins, localhost=settings.allow_localhost)


def stdio_options(settings: Settings) -> StdioOptions:
    """Return how a client is served over stdio."""
    from enfilade.transports.stdio import StdioOptions

    return StdioOptions(
        line_limit=settings.body_limit,
        request_timeout=settings.request_timeout,
        max_requests=settings.max_requests,
        shutdown_timeout=settings.shutdown_timeout,
        lifespan_timeout=settings.lifespan_timeout,
    )


def opened(settings: Settings, *, starting: bool = False) -> Store:
    """Return the store that the settings name.

    Args:
        settings: those in force.
        starting: look whether there can be such a store, also if it is opened later.

    Raises:
        SettingsError: there is no such store.
    """
    try:
        if starting:
            check_location(settings.store)
        return open_store(settings.store, LogLimits(age=settings.stream_age))
    except ValueError as error:
        raise SettingsError(f"Invalid settings: {error}") from None


def store_of(settings: Settings, seal: Seal) -> Store:
    """Return the store that the settings name, and warn if workers share nothing.

    Raises:
        SettingsError: there is no such store.
    """
    store = opened(settings)
    if not store.shared and not seal.shared and _has_siblings():
        log.warning(
            "this process is one of several workers, but they share neither a store nor a secret, so a "
            "session works at one of them only; set ENFILADE_STORE, such as sqlite:///state.db, or use "
            "run(workers=...)"
        )
    return store


def _has_siblings() -> bool:
    """Whether this process was started by a server that runs several of its kind."""
    process = sys.modules.get("multiprocessing.process")  # which is there in whatever it has started
    spawned = process is not None and process.parent_process() is not None
    return spawned or "gunicorn" in os.environ.get("SERVER_SOFTWARE", "")


def warn_of_nothing(app: Registration, kind: type, *, has_lifespan: bool) -> None:
    """Warn if an app has nothing to serve, or if some of it was added to a copy of this app.

    Args:
        app: the app.
        kind: the class of apps.
        has_lifespan: it has a lifespan, which may add something.
    """
    names, copy = app.offered_names(), copy_of(app, kind)
    missing = [] if copy is None else [name for name in copy[1].offered_names() if name not in names]
    if copy is not None and missing:
        log.warning(
            "the file of this app was imported a second time, as %r, and made a second app there, which has "
            "%s and is not served: make the app before the modules are imported that add to it, or in a "
            "module of its own",
            copy[0],
            ", ".join(missing),
        )
    elif not names and not has_lifespan:
        log.warning(
            "%r offers nothing: add a tool with @app.tool, a resource or a prompt, or import the modules "
            "that add them",
            app.name,
        )
