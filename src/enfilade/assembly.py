"""Builds what serves an app from what was registered and from the settings: dispatcher, HTTP endpoint, store.

It is loaded when an app is first used. What only one transport needs is imported by the function that needs it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from msgspec import UNSET
from msgspec.structs import replace

from enfilade.primitives.other_frameworks import refuse_auth
from enfilade.registration import Registration
from enfilade.serving.context import Context
from enfilade.serving.dependencies import Overrides
from enfilade.serving.lifespan import Lifespan
from enfilade.settings import Settings, SettingsError, fields
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

if TYPE_CHECKING:
    from enfilade.auth.authenticator import ResourceAuthenticator
    from enfilade.auth.oauth_providers.provider import OAuth2
    from enfilade.auth.oauth_proxy.endpoints import ProxyEndpoints
    from enfilade.auth.resource_server import ResourceServer
    from enfilade.auth.tool_auth.clients import StaticToken
    from enfilade.auth.tool_auth.service import ToolAuthorization
    from enfilade.primitives.limits.result_budget import ResultBudget
    from enfilade.primitives.metadata import Caching
    from enfilade.serving.callers.state_records import StateStore
    from enfilade.serving.callers.tool_auth import ToolAuthorizer
    from enfilade.serving.dispatcher import Dispatcher, Handshake, MethodHandler, Middleware
    from enfilade.serving.execution import HandlerRunner
    from enfilade.serving.extensions.contract import Extensions
    from enfilade.serving.limits.admission import Limiter
    from enfilade.serving.limits.result_sizes import ResultSizes
    from enfilade.serving.limits.stored_results import StoredResults
    from enfilade.serving.observation.audit import Audit
    from enfilade.serving.observation.observer import Observer
    from enfilade.serving.outcomes.kept_outcomes import KeptOutcomes
    from enfilade.serving.prompts import Completions, Prompts
    from enfilade.serving.request import Request
    from enfilade.serving.resources import Resources
    from enfilade.serving.secrets import Lookup
    from enfilade.serving.subscriptions import Subscriptions
    from enfilade.serving.tools import Governing, Tools
    from enfilade.state.event_store import EventStore
    from enfilade.telemetry.prometheus.endpoint import Metrics
    from enfilade.timings import Timings
    from enfilade.transports.exchange import HttpRequest
    from enfilade.transports.http.authentication import Authenticator
    from enfilade.transports.http.endpoint import Endpoint
    from enfilade.transports.http.origin_checks import HostOriginPolicy
    from enfilade.transports.stdio import StdioOptions
    from enfilade.wire.jsonrpc import RpcError

log = logging.getLogger("enfilade")


def build_dispatcher(
    registered: Registration,
    settings: Settings,
    *,
    server_info: Implementation,
    instructions: str | None,
    middleware: Sequence[Middleware],
    seal: Seal,
    overrides: Overrides,
    lifespan: Lifespan,
    secrets: Mapping[str, str] | Lookup | None,
    dotenv: Callable[[], Path | None],
    caching: Mapping[str, Caching],
    state: Callable[[], StateStore],
    auth: ResourceServer | None,
    lacks_scopes: Callable[[HttpRequest, Sequence[str]], RpcError | None],
    governing: Governing,
) -> tuple[Dispatcher, HandlerRunner]:
    """Return a dispatcher with a handler for every method, and what runs the functions of authors.

    Secrets come from where the app says, or else from the `.env` file that `dotenv` finds. `state` makes what
    keeps state of callers. `lacks_scopes` makes the errors for callers over HTTP, if anything authenticates them.
    `governing` keeps calls and results within limits.
    """
    from enfilade.primitives.resource_index import ResourceIndex
    from enfilade.serving.callers.access import AccessPolicy, caller_of
    from enfilade.serving.chaining import ServerAccess
    from enfilade.serving.client_requests.request_state import RequestStateCodec
    from enfilade.serving.dispatcher import Dispatcher, Handshake, chained
    from enfilade.serving.execution import HandlerRunner
    from enfilade.serving.pagination import PageOptions
    from enfilade.serving.prompts import Completions, Prompts
    from enfilade.serving.resources import Resources
    from enfilade.serving.secrets import SecretSource
    from enfilade.serving.subscriptions import Subscriptions
    from enfilade.serving.tools import Tools

    index = ResourceIndex(registered.resources, registered.templates)
    access = AccessPolicy(
        None if auth is None else auth.scope_hierarchy,
        list_by_scope=auth is not None and auth.list_by_scope,
        resources=index,
        lacks_scopes=lacks_scopes,
        leeway=30.0 if auth is None else auth.leeway,
    )
    dispatcher = Dispatcher(
        server_info,
        middleware,
        state_codec=RequestStateCodec(seal, registered.name),
        changes=registered.changes,
        access=access,
    )

    def capabilities(request: Request) -> ServerCapabilities:
        """Return what is there for a caller at present, and nothing that is not (R-284, R-510, R-520)."""
        caller = caller_of(request)
        offered = ServerCapabilities(
            tools=ToolsCapability(list_changed=True),
            resources=ResourcesCapability(subscribe=True, list_changed=True)
            if resources.is_offered_to(caller)
            else UNSET,
            prompts=PromptsCapability(list_changed=True) if prompts.is_offered_to(caller) else UNSET,
            completions={} if completions.is_offered_to(caller) else UNSET,
            logging={},  # log messages are sent, so this is declared (R-2B6)
        )
        for extension in extensions:
            extension.declare(request, offered)
        return offered

    extensions = [] if registered.extensions is None else registered.extensions.all()

    handshake = Handshake(server_info, capabilities, instructions)
    handlers = HandlerRunner(
        settings.tool_threads,
        overrides,
        lambda request, secrets: Context(request, lifespan.value, server, secrets),
    )
    secret_source = SecretSource(secrets, dotenv, lambda: handlers.threads)
    lists = PageOptions(render=dispatcher.render, size=settings.page_size, caching=caching, access=access)
    tools = Tools(registered.tools, handlers, secret_source, lists, governing)
    resources = Resources(index, handlers, lists)
    prompts = Prompts(registered.prompts, handlers, lists)
    completions = Completions(registered.prompts, registered.templates, handlers, access)
    lists_of = tools.definitions, resources.definitions, prompts.definitions
    server = ServerAccess(dispatcher, registered.tools.get, *lists_of, state, governing.tool_auth)
    topics = {member: topic for extension in extensions for member, topic in extension.topics.items()}
    subscriptions = Subscriptions(registered.changes, capabilities, access, topics)
    around = governing.limiter().around if governing.limits_app else None
    call = chained([around for extension in extensions for around in extension.interceptors], tools.call)
    _register(dispatcher, handshake, subscriptions, tools, call, resources, prompts, completions, around)
    for extension in extensions:
        dispatcher.extend(extension.bound_methods(handlers), extension.notifications)
    return dispatcher, handlers


def observe(
    dispatcher: Dispatcher,
    registered: Registration,
    version: str,
    settings: Settings,
    observers: Sequence[Observer],
    audit: Audit | None,
) -> None:
    """Have a dispatcher's requests observed by what was given, and by what the settings and the log ask for.

    Args:
        registered: what the app has, and its name.
        version: of the app.
    """
    # Telemetry comes before the log, whose lines have the ids of its traces.
    in_effect = [*observers, *_telemetry_of(registered, version, settings), *observers_of(settings)]
    if in_effect or audit is not None:
        from enfilade.serving.observation.observer import Observation

        dispatcher.observe(Observation(in_effect, audit))


#: Target, whether it is required, and how much of the arguments is recorded.
AuditOptions = tuple[object, bool, str]


def check_audit(target: object, required: bool, arguments: str) -> AuditOptions | None:
    """Return the options of an audit; None for no audit.

    Raises:
        TypeError, ValueError: they make no sense; the text says what to write.
    """
    if arguments not in ("all", "names", "none"):
        raise ValueError(f"audit_arguments is 'all', 'names' or 'none', not {arguments!r}")
    if target is None:
        if required:
            raise ValueError("audit_required=True needs audit=: the path of a file, or a function")
        return None
    if not callable(target) and not isinstance(target, str | os.PathLike):
        raise TypeError(f"audit= takes the path of a file or a function, not {type(target).__name__}")
    return target, required, arguments


def audit_of(registered: Registration, options: AuditOptions | None) -> Audit | None:
    """Return the audit of an app; None without one.

    Raises:
        SettingsError: its file cannot be written.
    """
    if options is None:
        return None
    from enfilade.serving.observation.audit import Audit

    audit = Audit(*options, tool=registered.tools.get)
    try:
        audit.check()
    except OSError as error:
        advice = "create its folder, or name another file"
        raise SettingsError(f"audit={str(options[0])!r} cannot be written: {error}; {advice}") from None
    return audit


def observers_of(settings: Settings) -> list[Observer]:
    """Return the observers that the settings and the log ask for; none costs nothing."""
    observers: list[Observer] = []
    if logging.getLogger("enfilade.requests").isEnabledFor(logging.INFO):
        from enfilade.serving.observation.request_log import RequestLog

        observers.append(RequestLog(settings.log_limit))
    return observers


def check_views(extensions: Extensions) -> None:
    """Check the views of MCP Apps, if there are any, before anything is served (X-APP-9).

    Raises:
        SettingsError: one cannot be shown; the text says what to do.
    """
    apps = sys.modules.get("enfilade.extensions.apps")
    extension = None if apps is None else extensions.get(apps.APPS)
    if apps is not None and isinstance(extension, apps.Apps):
        try:
            extension.check()
        except apps.ViewError as error:
            raise SettingsError(str(error)) from None


def check_metrics(settings: Settings) -> None:
    """Check that metrics can be served, if they are asked for.

    Raises:
        SettingsError: there is no `prometheus-client`.
    """
    if settings.metrics and find_spec("prometheus_client") is None:
        raise SettingsError('Invalid settings: metrics needs more packages: pip install "enfilade[prometheus]"')


def metrics_of(registered: Registration, settings: Settings, version: str) -> Metrics | None:
    """Return the metrics of an app; None if they are off.

    Raises:
        SettingsError: there is no `prometheus-client`.
    """
    if not settings.metrics:
        return None
    check_metrics(settings)
    from enfilade.telemetry.prometheus.endpoint import Metrics

    def known_target(method: str, name: str) -> str | None:
        """Return the name of a tool or prompt that may also have been called by an alias."""
        if method == "tools/call":
            tool = registered.tools.get(name)
            return None if tool is None else tool.name
        if method == "prompts/get":
            prompt = registered.prompts.get(name)
            return None if prompt is None else prompt.name
        return None

    metrics = Metrics(host_origin_policy(settings), settings.metrics_token.get_secret_value(), known_target)
    metrics.describe(registered.name, version)
    return metrics


def _telemetry_of(registered: Registration, version: str, settings: Settings) -> list[Observer]:
    """Return the observers for OpenTelemetry; none unless the settings or the program have turned it on.

    Raises:
        SettingsError: `otel` is on, and a package is missing.
    """
    if settings.otel == "off" or (settings.otel == "auto" and not _has_trace_provider()):
        return []
    try:
        from enfilade.telemetry.otel.start import observers_by_opentelemetry
    except ImportError as error:
        if settings.otel == "auto":  # a provider without the SDK
            return []
        raise _missing_telemetry(error) from None
    find = registered.tools.get, registered.prompts.get
    library = sys.modules["enfilade"].__version__
    return observers_by_opentelemetry(registered.name, version, *find, library, is_on=settings.otel == "on")


def _has_trace_provider() -> bool:
    """Whether the program has set a provider of traces, found out without importing OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    return trace is not None and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def _missing_telemetry(error: ImportError) -> SettingsError:
    from enfilade.telemetry.otel.variables import MORE_PACKAGES

    return SettingsError(f"Invalid settings: otel='on' needs more packages ({error.name}): {MORE_PACKAGES}")


def with_telemetry(settings: Settings) -> Settings:
    """Return the settings of a server that `run()` serves: `otel` is on if the variables `OTEL_*` ask for it.

    Raises:
        SettingsError: `otel` is on, and a package is missing.
    """
    if settings.otel == "off" or not (
        settings.otel == "on" or any(name.startswith("OTEL_") for name in os.environ)
    ):
        return settings
    from enfilade.telemetry.otel.variables import MORE_PACKAGES, wanted

    if settings.otel == "auto" and not any(wanted(os.environ)):
        return settings
    try:
        import_module("opentelemetry.sdk")
    except ImportError as error:
        if settings.otel == "on":
            raise _missing_telemetry(error) from None
        log.warning("variables OTEL_* ask for telemetry, and nothing is exported: %s", MORE_PACKAGES)
        return replace(settings, otel="off")
    return replace(settings, otel="on")


def _register(
    dispatcher: Dispatcher,
    handshake: Handshake,
    subscriptions: Subscriptions,
    tools: Tools,
    call: MethodHandler,
    resources: Resources,
    prompts: Prompts,
    completions: Completions,
    around: Callable[[MethodHandler], MethodHandler] | None,
) -> None:
    """Give a dispatcher what handles each method.

    `call` is what calls tools; `around` puts a handler within the limits of the app.
    """
    from enfilade.serving.notifications import set_level

    def limited(handler: MethodHandler) -> MethodHandler:
        return handler if around is None else around(handler)

    dispatcher.register("initialize", handshake.initialize)
    dispatcher.register("server/discover", handshake.discover)
    dispatcher.register("ping", handshake.ping)
    dispatcher.register("subscriptions/listen", subscriptions.listen, check=subscriptions.check_listen)
    dispatcher.register("logging/setLevel", set_level)
    dispatcher.register("tools/list", tools.pages.list, tools.pages.ready)
    dispatcher.register("tools/call", call, check=tools.check_access)
    templates = resources.template_pages
    for part, method, handler, ready, check in (
        (resources, "resources/list", resources.list, resources.pages.ready, None),
        (resources, "resources/templates/list", templates.list, templates.ready, None),
        (resources, "resources/read", limited(resources.read), None, resources.check_access),
        (resources, "resources/subscribe", subscriptions.subscribe, None, subscriptions.check_subscribe),
        (resources, "resources/unsubscribe", subscriptions.unsubscribe, None, None),
        (prompts, "prompts/list", prompts.pages.list, prompts.pages.ready, None),
        (prompts, "prompts/get", limited(prompts.get), None, prompts.check_access),
        (completions, "completion/complete", limited(completions.complete), None, completions.check_access),
    ):
        offered: Resources | Prompts | Completions = part
        dispatcher.register(
            method,
            handler,
            ready,
            is_offered=offered.is_offered,
            is_offered_to=offered.is_offered_to,
            check=check,
        )


def governing_of(
    settings: Settings,
    limiter: Callable[[], Limiter],
    results: Callable[[], StoredResults],
    outcomes: Callable[[], KeptOutcomes],
    tool_auth: Callable[[], ToolAuthorizer],
) -> Governing:
    """Return what keeps calls and results within limits, those of all tools as the settings say.

    Args:
        settings: have the limits and the budget of the app.
        limiter: makes what runs calls within limits.
        results: makes what keeps whole results.
        outcomes: makes what gives calls the outcomes of earlier ones.
        tool_auth: makes what gives tools tokens of other services.
    """
    from enfilade.serving.tools import Governing

    budget = app_budget(settings)

    def sizes() -> ResultSizes:
        from enfilade.serving.limits.result_sizes import ResultSizes

        return ResultSizes(budget, results)

    return Governing(
        limiter=limiter,
        sizes=cache(sizes),
        outcomes=outcomes,
        tool_auth=tool_auth,
        limits_app=has_app_limits(settings),
        budget=budget,
    )


def app_budget(settings: Settings) -> ResultBudget | None:
    """Return the budget of results of tools that do not say; None if they have none."""
    if not settings.max_result:
        return None
    from enfilade.primitives.limits.result_budget import ResultBudget, read_size

    return ResultBudget(read_size(settings.max_result), settings.on_overflow)


def has_app_limits(settings: Settings) -> bool:
    """Whether there are limits for all calls together."""
    return bool(settings.max_concurrency or settings.rate_limit)


def build_limiter(name: str, settings: Settings, store: Callable[[], Store], timings: Timings | None) -> Limiter:
    """Return what runs calls within the limits of their tools and of the app.

    Args:
        name: of the server.
        settings: have the limits of the app.
        store: opens the store.
        timings: of leases; None for the usual.
    """
    from enfilade.primitives.limits.call_limits import CallLimits, read_rate
    from enfilade.serving.limits.admission import Limiter
    from enfilade.timings import Timings

    app_limits = CallLimits(
        max_concurrency=settings.max_concurrency or None,
        rate=read_rate(settings.rate_limit) if settings.rate_limit else None,
        per=settings.limit_per,
        waits=settings.on_limit == "wait",
        max_wait=settings.max_wait,
    )
    return Limiter(name, app_limits if has_app_limits(settings) else None, store, timings or Timings())


def build_endpoint(
    settings: Settings,
    dispatcher: Dispatcher,
    store: Store,
    event_store: EventStore | None,
    seal: Seal,
    timings: Timings | None = None,
    authenticator: Authenticator | None = None,
) -> Endpoint:
    """Return the HTTP endpoint; an event store keeps the events of streams in place of the store."""
    from enfilade.serving.cluster import WorkerChannel
    from enfilade.timings import Timings
    from enfilade.transports.http.endpoint import Endpoint
    from enfilade.transports.http.limits import HttpOptions
    from enfilade.transports.http.response import ResponseOptions

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
        host_origin_policy(settings),
        WorkerChannel(store, responses.timings),
        seal,
        events if settings.resumable else None,
        HttpOptions(
            responses=responses,
            body_limit=settings.body_limit,
            body_memory=settings.body_memory,
            max_requests=settings.max_requests,
            max_streams=settings.max_streams,
            max_total_streams=settings.max_total_streams,
            max_questions=settings.max_questions,
            sessions=settings.sessions,
            session_ttl=settings.session_ttl,
            stream_age=settings.stream_age,
        ),
        authenticator,
    )


def check_auth(auth: object) -> ResourceServer:
    """Return what was given as `auth=`.

    Raises:
        TypeError: it is no `ResourceServer`; the text says what to write.
    """
    from enfilade.auth.resource_server import ResourceServer

    if isinstance(auth, ResourceServer):
        return auth
    refuse_auth(auth)
    kind = type(auth).__name__
    usage = 'auth= takes a ResourceServer("https://mcp.example.com/mcp", ["https://idp.example.com"])'
    if callable(getattr(auth, "verify_token", None)):
        usage += f", and a {kind} goes into its verifiers=[...]"
    raise TypeError(f"{usage}, not a {kind}" if "goes" not in usage else usage)


def check_tool_auth(tool_auth: object) -> tuple[OAuth2 | StaticToken, ...]:
    """Return what was given as `tool_auth=`.

    Raises:
        TypeError, ValueError: these are no providers; the text says what to write.
        ModuleNotFoundError: `enfilade[auth]` is not installed.
    """
    from enfilade.auth.tool_auth.clients import read_tool_auth

    return read_tool_auth(tool_auth)


def build_tool_auth(
    app: Registration,
    title: str,
    providers: tuple[OAuth2 | StaticToken, ...],
    settings: Settings,
    state: StateStore,
    auth: ResourceServer | None,
    dotenv: Callable[[], Path | None],
    timings: Timings,
) -> ToolAuthorization:
    """Return what gives tools tokens of other services.

    Args:
        app: has the tools.
        title: of the server, for people.
        providers: those that the code names.
        state: has the store and the keys.
        auth: who may call; the settings outrank it.
        dotenv: returns the `.env` file, or None.
        timings: of redemptions and refreshes.

    Raises:
        SettingsError: a setting of authorization has a value that it cannot have.
    """
    from enfilade.auth.from_settings import configured
    from enfilade.auth.tool_auth.service import ToolAuthorization
    from enfilade.serving.channel import Peer
    from enfilade.serving.secrets import Environment

    in_force = configured(auth, settings) if has_auth(auth, settings) else None
    environment, peer = Environment(dotenv), Peer(revision="")
    return ToolAuthorization(
        app.name,
        title,
        providers,
        settings,
        state,
        in_force,
        lambda: list(app.tools),
        lambda name: environment(name, peer),
        timings,
    )


def has_auth(auth: ResourceServer | None, settings: Settings) -> bool:
    """Whether callers over HTTP need credentials, as the code or a setting of authorization says.

    One setting is enough. If others are missing the server does not start: it would let everybody in.
    """
    return auth is not None or any(
        getattr(settings, name) != field.default for name, field in fields().items() if _is_of_auth(name)
    )


#: Settings whose names begin as those of authorization: of hosts that say who calls, and of tokens for tools.
_OTHER_AUTH: Final = ("auth_certificate_header", "auth_prompt", "auth_timeout")


def _is_of_auth(setting: str) -> bool:
    """Whether a setting asks for authorization."""
    return setting.startswith("auth_") and setting not in _OTHER_AUTH


def warn_of_other_path(authenticator: ResourceAuthenticator | None, settings: Settings) -> None:
    """Warn if the resource is not where the endpoint is, so that clients would compare other URLs."""
    if authenticator is None:
        return
    resource, path = authenticator.metadata.resource, settings.path.rstrip("/")
    if not urlsplit(resource).path.rstrip("/").endswith(path):
        log.warning(
            "the resource %s does not end in the path of the endpoint, %s: clients compare it with the URL that "
            "they call; set it to that URL (auth_resource), or ENFILADE_PATH to its path",
            resource,
            path,
        )


def build_authenticator(
    auth: ResourceServer | None, settings: Settings, name: str, seal: Seal
) -> ResourceAuthenticator:
    """Return what checks the credentials of requests for the endpoint.

    Args:
        auth: what the code says; the settings outrank it.
        name: of the server, for people.

    Raises:
        SettingsError: a setting of authorization has a value that it cannot have.
    """
    from enfilade.auth.authenticator import ResourceAuthenticator
    from enfilade.auth.from_settings import configured
    from enfilade.auth.metadata import Metadata
    from enfilade.auth.urls import normalized

    in_force = configured(auth, settings)
    base = in_force.resource.removesuffix(settings.path.rstrip("/"))
    if settings.public_url and normalized(settings.public_url) not in (in_force.resource, normalized(base)):
        raise SettingsError(
            f"Invalid settings: public_url: it is {settings.public_url!r}, but tokens are for "
            f"{in_force.resource!r}; leave it out, or give both the URL that clients call (auth_resource)",
            {"public_url": "it is another one than auth_resource"},
        )
    has_certificates = bool(settings.auth_certificate_header)
    metadata = Metadata(in_force, name, settings.path, has_certificates=has_certificates)
    return ResourceAuthenticator(in_force, metadata, seal)


def build_proxy(
    authenticator: ResourceAuthenticator | None,
    settings: Settings,
    name: str,
    seal: Seal,
    store: Callable[[], Store],
    needed_scopes: Callable[[], Iterable[str]],
) -> ProxyEndpoints | None:
    """Return the endpoints by which clients log in here; None if the server is no authorization server.

    Args:
        name: of the server, for people.
        store: opens the store.
        needed_scopes: returns what operations need.
    """
    if authenticator is None or authenticator.own_tokens is None:
        return None
    from enfilade.auth.oauth_proxy.endpoints import ProxyEndpoints
    from enfilade.auth.oauth_proxy.proxy import OAuthProxy
    from enfilade.auth.oauth_proxy.verifier import OwnTokens

    proxy, tokens = authenticator.auth, authenticator.own_tokens
    assert isinstance(proxy, OAuthProxy)
    assert isinstance(tokens, OwnTokens)
    return ProxyEndpoints(proxy, tokens, seal, store, name=name, path=settings.path, needed_scopes=needed_scopes)


def host_origin_policy(settings: Settings) -> HostOriginPolicy:
    """Return what checks Host and Origin."""
    from enfilade.transports.http.origin_checks import HostOriginPolicy, is_loopback, own_name

    own = () if not settings.allow_localhost and is_loopback(settings.host) else own_name(settings.host)
    return HostOriginPolicy(
        (*settings.allowed_hosts, *own), settings.allowed_origins, localhost=settings.allow_localhost
    )


def stdio_options(settings: Settings) -> StdioOptions:
    """Return how a client is served over stdio."""
    from enfilade.transports.stdio import StdioOptions

    return StdioOptions(
        line_limit=settings.body_limit,
        request_timeout=settings.request_timeout,
        max_requests=settings.max_requests,
        shutdown_timeout=settings.shutdown_timeout,
        lifespan_timeout=settings.lifespan_timeout,
        scopes=frozenset(settings.stdio_scopes),
    )


def opened(settings: Settings, *, starting: bool = False) -> Store:
    """Return the store that the settings name; at the start, check one that is opened later as well.

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


def measured_store(store: Store) -> Store:
    """Return a store whose operations are timed."""
    from enfilade.state.measured import measured

    return measured(store)


def _has_siblings() -> bool:
    """Whether this process was started by a server that runs several of its kind."""
    process = sys.modules.get("multiprocessing.process")  # which is there in whatever it has started
    spawned = process is not None and process.parent_process() is not None
    return spawned or "gunicorn" in os.environ.get("SERVER_SOFTWARE", "")


def warn_of_nothing(app: Registration, kind: type, *, has_lifespan: bool) -> None:
    """Warn if an app has nothing to serve and no lifespan to add it, or if some of it was added to a copy."""
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


def warn_of_short_memory(app: Registration, settings: Settings, store: Store | None) -> None:
    """Warn if tools are durable and what they keep ends with the process."""
    durable = [tool.name for tool in app.tools if tool.task is not None and tool.task.durable]
    if durable and store is None and settings.store.startswith("memory:"):
        log.warning(
            "%s: durable, but the store memory:// ends with this process; set ENFILADE_STORE, such as "
            "sqlite:///state.db, so that tasks survive it",
            ", ".join(durable),
        )


def warn_of_open_secrets(app: Registration, settings: Settings) -> None:
    """Warn if tools use secrets for whoever reaches the port, on an address that other machines reach (B9)."""
    from enfilade.transports.http.origin_checks import is_loopback

    tools = [tool.name for tool in app.tools if tool.secrets]
    if tools and settings.transport == "http" and not is_loopback(settings.host):
        log.warning(
            "%s: with the secrets of this server, for whoever reaches %s, since there is no auth=; give "
            "MCPApp(auth=ResourceServer(...)), or bind a loopback address behind a host that checks its callers",
            ", ".join(tools),
            settings.host,
        )
