"""`Settings`: what the operator of a server decides rather than its author, with defaults and allowed values.

Where the values come from, and which source wins, is in `setting_sources.py`. A value may be given as text, as
environment variables have it; the error messages are those of pydantic for the same mistakes.

Easy to get wrong: every server needs its settings at start-up, so they are no pydantic model. Importing pydantic
takes longer than everything else that a server does before its first response.
"""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, NoReturn, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, StructMeta
from msgspec.structs import force_setattr

from enfilade.state.tokens import check_secret

__all__ = [
    "PREFIX",
    "LogLevel",
    "Secret",
    "SettingField",
    "Settings",
    "SettingsError",
    "Transport",
    "describe_problems",
    "fields",
]

#: Begins the names of the environment variables: the setting `port` is `ENFILADE_PORT`.
PREFIX: Final = "ENFILADE_"

Transport = Literal["stdio", "http"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]

if TYPE_CHECKING:
    Texts = Sequence[str]  # callers may pass any sequence
else:
    Texts = tuple[str, ...]

#: Loopback addresses by which a server is reached that is bound to all addresses of its machine.
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
_ALIASES: Final = {"streamable-http": "http", "streamable": "http", "streamable_http": "http"}
_FLAGS: Final = {
    **dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True),
    **dict.fromkeys(("0", "off", "f", "false", "n", "no"), False),
}


class Secret:
    """A string that is masked in logs and tracebacks."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """Return the string."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('**********')"

    __str__ = __repr__


class SettingsError(ValueError):
    """A setting has an invalid value; the text names the setting, the source and the allowed values.

    Args:
        message: the text.
        problems: the problem of each setting, where it is known.
    """

    def __init__(self, message: str, problems: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.problems = dict(problems or {})


def closest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is most similar to a misspelled one; None if none is similar."""
    import difflib  # only needed for an error

    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.7)), None)


class _NamesChecked(StructMeta):
    """Metaclass of `Settings`: an unknown keyword argument is refused with the most similar setting."""

    def __call__(self, *values: Any, **options: Any) -> Any:
        names: tuple[str, ...] = self.__struct_fields__
        for name in options:
            if name not in names:
                near = closest(name, names)
                raise TypeError(f"there is no setting {name!r}" + (f"; did you mean {near!r}?" if near else ""))
        return super().__call__(*values, **options)


class Settings(Struct, frozen=True, kw_only=True, metaclass=_NamesChecked):
    """All settings, with their defaults. Times are in seconds, sizes in bytes.

    Numbers and flags may be given as text, as environment variables have them. None stands for what `auth=` says.

    Raises:
        SettingsError: a value is invalid.
        TypeError: there is no such setting.
    """

    transport: Annotated[Transport, Meta(description="how `run()` serves: stdio or http")] = "stdio"
    host: Annotated[str, Meta(description="address that `run()` binds")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="port that `run()` binds; 0 for a free one")] = 8000
    path: Annotated[str, Meta(pattern="^/", description="path of the endpoint")] = "/mcp"
    health_path: Annotated[
        str, Meta(pattern="^(/.*)?$", description="path of the liveness probe; empty for none")
    ] = "/healthz"
    ready_path: Annotated[
        str, Meta(pattern="^(/.*)?$", description="path of the readiness probe; empty for none")
    ] = "/readyz"
    uds: Annotated[str, Meta(description="path of a Unix socket to bind in place of host and port")] = ""
    uds_mode: Annotated[
        str, Meta(pattern="^0?[0-7]{3}$", description="permissions of the Unix socket, in octal")
    ] = "660"
    fd: Annotated[
        int, Meta(ge=-1, description="descriptor of an inherited socket to listen on; -1 for none")
    ] = -1
    tls_cert: Annotated[str, Meta(description="file of the certificate chain in PEM, to serve over https")] = ""
    tls_key: Annotated[
        str, Meta(description="file of the private key in PEM, unless that of the certificate has it")
    ] = ""
    tls_key_password: Annotated[Secret, Meta(description="password of the private key")] = Secret("")
    root_path: Annotated[
        str, Meta(pattern="^(/.*[^/])?$", description="prefix of the path that a proxy strips, such as /tools")
    ] = ""
    forwarded_allow_ips: Annotated[
        Texts,
        Meta(
            description="proxies whose X-Forwarded-For and -Proto are believed, besides this machine; `*` for any"
        ),
    ] = ()
    registry_name: Annotated[
        str,
        Meta(
            description="name in registries and server cards, such as `io.github.ada/notes`",
            extra={"entries": "registry name"},
        ),
    ] = ""
    public_url: Annotated[
        str,
        Meta(
            description="URL by which clients reach the endpoint; with `auth=` it is that of the resource",
            extra={"entries": "public URL"},
        ),
    ] = ""
    repository: Annotated[
        str, Meta(description="URL of the source code, for registries and server cards", extra={"entries": "URL"})
    ] = ""
    server_card: Annotated[
        bool,
        Meta(
            description="serve a server card and a catalog (experimental), given a registry name and a public URL"
        ),
    ] = True
    workers: Annotated[int, Meta(ge=1, description="worker processes of `run()` over http")] = 1
    log_level: Annotated[
        LogLevel, Meta(description="level of the log on stderr when `run()` starts the server")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Meta(description="text for people, or JSON with a line for each record")
    ] = "text"
    log_config: Annotated[
        str, Meta(description="file with a logging configuration of your own: JSON, YAML or INI")
    ] = ""
    log_limit: Annotated[
        int, Meta(ge=0, description="lines of requests a second in a worker's log; 0 for all of them")
    ] = 1000
    metrics: Annotated[bool, Meta(description="serve metrics for Prometheus")] = False
    metrics_path: Annotated[str, Meta(pattern="^/.", description="path of the metrics")] = "/metrics"
    metrics_port: Annotated[
        int, Meta(ge=0, le=65535, description="port for the metrics alone; 0 for that of the server")
    ] = 0
    metrics_token: Annotated[Secret, Meta(description="token that a scrape has to send; none if it is empty")] = (
        Secret("")
    )
    otel: Annotated[
        Literal["auto", "on", "off"],
        Meta(description="OpenTelemetry: as its variables and the program say (auto), on, or off"),
    ] = "auto"
    tool_names: Annotated[
        Literal["plain", "qualified"], Meta(description="list tools as written, or as Server_Tool")
    ] = "plain"
    secret: Annotated[
        tuple[Secret, ...],
        Meta(description="encrypts sessions; the same in all workers, newest first, at least 32 bytes each"),
    ] = ()
    store: Annotated[str, Meta(description="URL of the store for state that clients cannot carry")] = "memory://"
    allowed_hosts: Annotated[
        Texts,
        Meta(
            description="accepted Host names besides loopback; `*.example.com` and `*` are possible",
            extra={"entries": "host"},
        ),
    ] = ()
    allowed_origins: Annotated[
        Texts,
        Meta(
            description="accepted browser origins besides loopback and the server's own",
            extra={"entries": "origin"},
        ),
    ] = ()
    sessions: Annotated[
        bool, Meta(description="sessions for clients up to 2025-11-25; off: each request is independent")
    ] = True
    session_ttl: Annotated[float, Meta(gt=0, description="idle time after which a session may end")] = 86_400.0
    json_response: Annotated[bool, Meta(description="never send a stream to clients that accept JSON")] = False
    stream_grace: Annotated[
        float, Meta(ge=0, description="time without a response after which a stream is opened")
    ] = 1.0
    resumable: Annotated[
        bool, Meta(description="store the events of streams, so that a disconnected client can resume")
    ] = True
    stream_age: Annotated[
        float, Meta(gt=0, description="how long a stream can be resumed after its last event")
    ] = 3600.0
    stream_retry: Annotated[
        float, Meta(ge=0, description="time after which a disconnected client should reconnect")
    ] = 1.0
    keep_alive: Annotated[
        float, Meta(gt=0, description="idle time on a stream after which a keep-alive comment is sent")
    ] = 15.0
    stream_buffer: Annotated[
        int, Meta(ge=1024, description="bytes that may wait for a slow client before notifications are dropped")
    ] = 1024 * 1024
    request_timeout: Annotated[float, Meta(ge=0, description="longest duration of a request; 0 for no limit")] = (
        0.0
    )
    drain_delay: Annotated[
        float, Meta(ge=0, description="how long http accepts requests after a stop signal")
    ] = 0.25
    shutdown_timeout: Annotated[
        float, Meta(ge=0, description="time for requests in flight to finish when the server stops")
    ] = 10.0
    lifespan_timeout: Annotated[
        float, Meta(ge=0, description="time for the lifespan to clean up when the server stops")
    ] = 5.0
    body_limit: Annotated[int, Meta(ge=1024, description="largest message")] = 4 * 1024 * 1024
    header_timeout: Annotated[
        float,
        Meta(gt=0, description="longest time for the head of an HTTP request, from accept or its first byte"),
    ] = 10.0
    body_timeout: Annotated[
        float, Meta(gt=0, description="longest time without progress in the body of an HTTP request")
    ] = 30.0
    body_rate: Annotated[
        int, Meta(ge=0, description="bytes per second below which the body of a request is too slow; 0 for any")
    ] = 256
    idle_timeout: Annotated[
        float, Meta(gt=0, description="longest idle time of an HTTP connection between requests")
    ] = 75.0
    write_timeout: Annotated[
        float, Meta(gt=0, description="longest time for which a client may leave its response unread")
    ] = 30.0
    max_connections: Annotated[
        int,
        Meta(ge=0, description="HTTP connections per worker; 0 for as many as the limit of descriptors allows"),
    ] = 0
    max_requests: Annotated[int, Meta(ge=1, description="HTTP requests in flight per worker")] = 1000
    max_streams: Annotated[
        int,
        Meta(
            ge=1, description="open streams per principal or session; one address has half of `max_total_streams`"
        ),
    ] = 64
    max_total_streams: Annotated[int, Meta(ge=1, description="open streams per worker, of all clients")] = 10_000
    max_questions: Annotated[
        int, Meta(ge=1, description="unanswered questions per principal, or per session where there is none")
    ] = 64
    body_memory: Annotated[
        int, Meta(ge=1024, description="bytes of unfinished bodies in a worker, and of large arguments in flight")
    ] = 64 * 1024 * 1024
    response_memory: Annotated[
        int, Meta(ge=1024, description="bytes of responses in a worker that wait for slow clients")
    ] = 256 * 1024 * 1024
    discard_limit: Annotated[
        int, Meta(ge=0, description="bytes read from a client after its request was refused")
    ] = 64 * 1024
    worker_timeout: Annotated[
        float, Meta(ge=0, description="time after which a worker that answers no ping is replaced; 0 for never")
    ] = 60.0
    allow_localhost: Annotated[
        bool, Meta(description="accept Host and Origin of loopback besides the allowed ones")
    ] = True
    auth_resource: Annotated[
        str, Meta(description="public URL of the endpoint as a resource of OAuth; in place of that of `auth=`")
    ] = ""
    auth_servers: Annotated[
        Secret,
        Meta(
            description="authorization servers as JSON: a list of issuers, or of objects with `issuer` and more"
        ),
    ] = Secret("")
    auth_scopes: Annotated[Texts, Meta(description="scopes that every caller needs")] = ()
    auth_scope_hierarchy: Annotated[
        str, Meta(description="for a scope those that it includes, as JSON; in place of that of `auth=`")
    ] = ""
    auth_list_by_scope: Annotated[
        bool | None, Meta(description="leave out of lists what the caller lacks the scopes for")
    ] = None
    auth_leeway: Annotated[
        float | None, Meta(ge=0, le=60, description="time by which clocks of authorization servers may differ")
    ] = None
    auth_jwks_stale: Annotated[
        float | None,
        Meta(ge=0, le=604_800, description="how long known keys are used while their server does not answer"),
    ] = None
    auth_dpop: Annotated[
        Literal["off", "allowed", "required"] | None,
        Meta(description="tokens that are bound to a key: off, allowed or required"),
    ] = None
    auth_dpop_nonce: Annotated[
        bool | None, Meta(description="proofs for bound tokens need a nonce of this server")
    ] = None
    stdio_scopes: Annotated[
        Texts,
        Meta(
            description="scopes of the client over stdio, which has no token; `*` for all",
            extra={"entries": "scope"},
        ),
    ] = ()
    auth_certificate_header: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]*\Z",
            description="header in which a trusted proxy says the client's certificate, such as `Client-Cert`",
        ),
    ] = ""
    auth_prompt: Annotated[
        Literal["ask", "error"],
        Meta(
            description="how clients are asked for a user's consent: by a question (`ask`), or for 2025-11-25 by "
            "an error that holds the page (`error`)"
        ),
    ] = "ask"
    auth_timeout: Annotated[
        float, Meta(ge=1, le=3600, description="seconds that a call waits for a user's consent")
    ] = 300.0
    max_concurrency: Annotated[
        int, Meta(ge=0, description="calls of all workers at the same time; 0 for any number")
    ] = 0
    rate_limit: Annotated[
        str,
        Meta(
            description="calls in a period, of all workers, such as `600/minute`; empty for any number",
            extra={"entries": "rate"},
        ),
    ] = ""
    limit_per: Annotated[
        Literal["principal", "session", "client", "all"],
        Meta(description="whose calls count together for `max_concurrency` and `rate_limit`"),
    ] = "all"
    on_limit: Annotated[Literal["wait", "refuse"], Meta(description="what a call beyond these limits does")] = (
        "wait"
    )
    max_wait: Annotated[float, Meta(gt=0, le=3600, description="longest wait of a call for these limits")] = 30.0
    max_result: Annotated[
        str,
        Meta(
            description="largest result of tools that do not say, such as `8000` or `2000 tokens`; empty for any",
            extra={"entries": "size"},
        ),
    ] = ""
    on_overflow: Annotated[
        Literal["error", "truncate", "link"], Meta(description="what becomes of a result that is larger")
    ] = "error"
    whole_results_size: Annotated[
        int, Meta(ge=0, description="bytes of whole results that links lead to, of all callers with one store")
    ] = 256 * 1024 * 1024
    whole_results_per_caller: Annotated[
        int, Meta(ge=0, description="bytes of whole results that links lead to, of one caller")
    ] = 8 * 1024 * 1024
    page_size: Annotated[int, Meta(ge=1, description="entries per page of a list")] = 100
    tool_threads: Annotated[int, Meta(ge=1, description="most threads for plain `def` tools")] = 200

    if not TYPE_CHECKING:  # type checkers would take every name for one that there is

        def __getattr__(self, name: str) -> NoReturn:
            """Refuse an attribute that there is not, with what to write for one that is known from elsewhere."""
            text = f"Settings has no {name!r}"
            if not name.startswith("_"):
                from enfilade.primitives.foreign_names import OPTIONS, PAGE

                if advice := OPTIONS["server"].get(name):
                    text += f": {advice} (see {PAGE})"
            raise AttributeError(text, name=name, obj=None if "(see" in text else self)

    @property
    def url(self) -> str:
        """The URL by which a client on this machine reaches the endpoint, if it is served over HTTP."""
        host = _LOOPBACK.get(self.host, self.host)
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{self.path}"

    @property
    def scheme(self) -> str:
        """The scheme of that URL: http, or https with a certificate."""
        return "https" if self.tls_cert else "http"

    @property
    def serves_metrics(self) -> bool:
        """Whether metrics have a path beside the endpoint."""
        return self.metrics and not self.metrics_port

    def __post_init__(self) -> None:
        problems: dict[str, str] = {}
        for name, field in fields().items():
            if (value := getattr(self, name)) is field.default:
                continue
            try:
                force_setattr(self, name, read_value(value, field.kind, field.allowed))
            except ValueError as error:
                problems[name] = str(error)
        if problems:
            raise SettingsError(describe_problems(problems), problems)


class SettingField(NamedTuple):
    """One setting.

    Attributes:
        kind: the type of its values, without the None of one that is not set.
        allowed: constraints on the value, and its description.
        default: its value unless another one is set.
    """

    kind: Any
    allowed: Meta
    default: Any


@cache
def fields() -> Mapping[str, SettingField]:
    """Return all settings by name, in the order of the class."""
    annotations = Settings.__annotations__  # of the class: since Python 3.14 instances do not have it
    defaults = zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True)
    described = [(name, get_args(annotations[name]), default) for name, default in defaults]
    return {
        name: SettingField(_without_none(kind), allowed, default) for name, (kind, allowed), default in described
    }


def _without_none(kind: Any) -> Any:
    return get_args(kind)[0] if NoneType in get_args(kind) else kind


def describe_problems(problems: Mapping[str, str], source: Mapping[str, str] | None = None) -> str:
    """Return the text of an error: the problem of each setting, and the source of its value."""
    lines = [
        f"{name}: {problem}" if source is None else f"{name} ({source.get(name, 'setting')}): {problem}"
        for name, problem in problems.items()
    ]
    return "Invalid settings: " + "; ".join(lines)


def read_value(value: Any, kind: Any, allowed: Meta) -> Any:
    """Return the value of a setting in its own type; it may be given as text.

    Raises:
        ValueError: the value is invalid; the text says what is allowed.
    """
    if get_origin(kind) is Literal:
        return _one_of(value, get_args(kind))
    if get_origin(kind) is tuple:
        return (
            _secrets(value) if kind == tuple[Secret, ...] else _texts(value, (allowed.extra or {}).get("entries"))
        )
    if kind is bool:
        return _flag(value)
    if kind is Secret:
        return Secret(_text(_revealed(value), allowed.pattern))
    if kind is not str:
        return _number(value, kind, allowed)
    entries = (allowed.extra or {}).get("entries")
    if entries == "size" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = _text(value, allowed.pattern)
    if text and entries is not None:
        _check_entry(text, entries)
    return text


def _check_entry(text: str, entries: str) -> None:
    """Check a text that has a form. Few servers have such settings, so what checks them is imported here.

    Raises:
        ValueError: it has another form.
    """
    if entries == "rate":
        from enfilade.primitives.limits.call_limits import read_rate

        read_rate(text)
    elif entries == "size":
        from enfilade.primitives.limits.result_budget import read_size

        read_size(text)
    elif entries == "registry name":
        from enfilade.primitives.names import check_registry_name

        check_registry_name(text)
    else:
        from enfilade.primitives.public_urls import check_public_url, check_web_url

        (check_public_url if entries == "public URL" else check_web_url)(text)


def _one_of(value: Any, choices: tuple[str, ...]) -> str:
    word = value.lower() if isinstance(value, str) else value
    word = _ALIASES.get(word, word) if isinstance(word, str) else word
    if word == "sse" and "http" in choices:
        raise ValueError(
            "Input should be 'http': HTTP+SSE of 2024 is not served, and Streamable HTTP replaces it"
        )
    if word not in choices:
        *most, last = map(repr, choices)
        raise ValueError(f"Input should be {', '.join(most)} or {last}")
    return str(word)


def _flag(value: Any) -> bool:
    flag = _FLAGS.get(str(value).lower()) if isinstance(value, bool | int | str) else None
    if flag is None:
        raise ValueError("Input should be a valid boolean, such as true or false")
    return flag


def _text(value: Any, pattern: str | None) -> str:
    if not isinstance(value, str):
        raise ValueError("Input should be a valid string")
    if pattern is not None and re.search(pattern, value) is None:
        raise ValueError(f"String should match pattern {pattern!r}")
    return value


def _number(value: Any, kind: type[int | float], allowed: Meta) -> int | float:
    try:
        number = msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        noun = "integer" if kind is int else "number"
        raise ValueError(f"Input should be a valid {noun}") from None
    for holds, bound, relation in (
        (operator.gt, allowed.gt, "greater than"),
        (operator.ge, allowed.ge, "greater than or equal to"),
        (operator.le, allowed.le, "less than or equal to"),
    ):
        if bound is not None and not holds(number, bound):
            raise ValueError(f"Input should be {relation} {bound}")
    return number


def _texts(value: Any, entries: str | None) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError("Input should be a list of strings")
    texts = tuple(_text(entry, None) for entry in value)
    if entries == "scope":
        from enfilade.primitives.access import check_scopes  # few servers over stdio have operations with scopes

        return check_scopes((text.strip() for text in texts), "stdio_scopes")
    if entries is not None:
        from enfilade.transports.http.origin_checks import (  # most servers over stdio set no host names
            check_host,
            check_origin,
        )

        check = check_host if entries == "host" else check_origin
        return tuple(check(text.strip()) for text in texts)
    return texts


def _secrets(value: Any) -> tuple[Secret, ...]:
    candidates = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else value
    secrets = tuple(Secret(_text(_revealed(secret), None)) for secret in candidates)
    for secret in secrets:
        check_secret(secret.get_secret_value().encode())
    return secrets


def _revealed(secret: Any) -> Any:
    """Return the string in a secret of ours or of pydantic; any other value unchanged."""
    return secret.get_secret_value() if hasattr(secret, "get_secret_value") else secret
