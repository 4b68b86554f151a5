"""`Settings`: what the host of a server decides rather than its author, with defaults and allowed values.

Where the values come from, and which source wins, is in `setting_sources.py`; how one value is read and checked
is in `setting_values.py`.

Every server needs its settings before it can begin, so they are no pydantic model: to load pydantic takes longer
than all that a server does before its first answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, get_args

from msgspec import Meta, Struct, StructMeta
from msgspec.structs import force_setattr

from enfilade.setting_values import Secret, read_value

__all__ = ["PREFIX", "Field", "LogLevel", "Secret", "Settings", "SettingsError", "Transport", "fields", "invalid"]

#: Begins the names of the environment variables: the setting `port` is `ENFILADE_PORT`.
PREFIX: Final = "ENFILADE_"

Transport = Literal["stdio", "http"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]

if TYPE_CHECKING:
    Texts = Sequence[str]  # any may be given
else:
    Texts = tuple[str, ...]

#: Where addresses that stand for all of a machine are reached from itself.
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}


class SettingsError(ValueError):
    """A setting has a value it cannot have; the text says which, where from, and what is allowed.

    Args:
        message: the text.
        problems: what is wrong, by setting, where that is known.
    """

    def __init__(self, message: str, problems: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.problems = dict(problems or {})


def closest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of some names that may have been meant; None if none is like it."""
    import difflib  # only for the mistake

    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.7)), None)


class _NamesChecked(StructMeta):
    """Lets a struct say which of its names may have been meant by one that it does not have."""

    def __call__(self, *values: Any, **given: Any) -> Any:
        names: tuple[str, ...] = self.__struct_fields__
        for name in given:
            if name not in names:
                near = closest(name, names)
                raise TypeError(f"there is no setting {name!r}" + (f"; did you mean {near!r}?" if near else ""))
        return super().__call__(*values, **given)


class Settings(Struct, frozen=True, kw_only=True, metaclass=_NamesChecked):
    """Everything that can be set, with its default. Times are in seconds, sizes in bytes.

    Numbers and flags may be given as text, as variables have them.

    Raises:
        SettingsError: a value that cannot be.
        TypeError: there is no such setting.
    """

    transport: Annotated[Transport, Meta(description="how `run()` serves: stdio or http")] = "stdio"
    host: Annotated[str, Meta(description="address that `run()` binds")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="port that `run()` binds; 0 for a free one")] = 8000
    path: Annotated[str, Meta(pattern="^/", description="path of the endpoint")] = "/mcp"
    health_path: Annotated[
        str, Meta(pattern="^(/.*)?$", description="where probes ask whether the server lives; empty for nowhere")
    ] = "/healthz"
    ready_path: Annotated[
        str, Meta(pattern="^(/.*)?$", description="where probes ask whether to send requests; empty for nowhere")
    ] = "/readyz"
    workers: Annotated[int, Meta(ge=1, description="processes that `run()` serves http with")] = 1
    log_level: Annotated[
        LogLevel, Meta(description="what the server logs to stderr when it is started by `run()`")
    ] = "info"
    tool_names: Annotated[
        Literal["plain", "qualified"], Meta(description="list tools as written, or as Server_Tool")
    ] = "plain"
    secret: Annotated[
        tuple[Secret, ...],
        Meta(description="seals sessions; share it between workers, newest first, at least 32 bytes each"),
    ] = ()
    store: Annotated[str, Meta(description="where state lives that clients cannot carry")] = "memory://"
    allowed_hosts: Annotated[
        Texts,
        Meta(
            description="Host names served besides loopback, `*.example.com` and `*` included",
            extra={"entries": "host"},
        ),
    ] = ()
    allowed_origins: Annotated[
        Texts,
        Meta(
            description="browser origins served besides loopback and the server's own",
            extra={"entries": "origin"},
        ),
    ] = ()
    sessions: Annotated[bool, Meta(description="give session-era clients sessions; off: each request alone")] = (
        True
    )
    session_ttl: Annotated[float, Meta(gt=0, description="idle time after which a session may end")] = 86_400.0
    json_response: Annotated[bool, Meta(description="never stream to clients that take JSON")] = False
    stream_grace: Annotated[float, Meta(ge=0, description="silence after which an answer becomes a stream")] = 1.0
    resumable: Annotated[
        bool, Meta(description="keep the events of streams, so that a client that was cut off can resume")
    ] = True
    stream_age: Annotated[
        float, Meta(gt=0, description="how long a stream can be resumed after its last event")
    ] = 3600.0
    stream_retry: Annotated[
        float, Meta(ge=0, description="after how long a client that was cut off should come back")
    ] = 1.0
    keep_alive: Annotated[float, Meta(gt=0, description="silence on a stream after which a comment is sent")] = (
        15.0
    )
    stream_buffer: Annotated[
        int, Meta(ge=1024, description="what may wait for a slow reader before notifications are dropped")
    ] = 1024 * 1024
    request_timeout: Annotated[float, Meta(ge=0, description="longest a request may take; 0 for no limit")] = 0.0
    drain_delay: Annotated[
        float, Meta(ge=0, description="how long http goes on taking requests once it is told to stop")
    ] = 0.25
    shutdown_timeout: Annotated[
        float, Meta(ge=0, description="what requests get to finish when the server stops")
    ] = 10.0
    lifespan_timeout: Annotated[
        float, Meta(ge=0, description="what the lifespan gets to put things away when the server stops")
    ] = 5.0
    body_limit: Annotated[int, Meta(ge=1024, description="largest message")] = 4 * 1024 * 1024
    header_timeout: Annotated[
        float,
        Meta(
            gt=0, description="longest that the head of an HTTP request may take, from accept or its first byte"
        ),
    ] = 10.0
    body_timeout: Annotated[
        float, Meta(gt=0, description="longest that the body of an HTTP request may make no progress")
    ] = 30.0
    body_rate: Annotated[
        int, Meta(ge=0, description="bytes per second below which the body of a request is too slow; 0 for any")
    ] = 256
    idle_timeout: Annotated[
        float, Meta(gt=0, description="longest that an HTTP connection may be idle between requests")
    ] = 75.0
    write_timeout: Annotated[
        float, Meta(gt=0, description="longest that a client may leave a response unread")
    ] = 30.0
    max_connections: Annotated[
        int, Meta(ge=0, description="HTTP connections per worker; 0 for what the limit of descriptors allows")
    ] = 0
    max_requests: Annotated[int, Meta(ge=1, description="HTTP requests in flight per worker")] = 1000
    max_streams: Annotated[
        int,
        Meta(
            ge=1, description="open streams per principal or session; clients without either have 512 per address"
        ),
    ] = 64
    max_questions: Annotated[
        int, Meta(ge=1, description="unanswered questions per principal, or per session where there is none")
    ] = 64
    body_memory: Annotated[
        int,
        Meta(
            ge=1024,
            description="bytes of unfinished bodies in a worker, and of large arguments in flight",
        ),
    ] = 64 * 1024 * 1024
    response_memory: Annotated[
        int, Meta(ge=1024, description="bytes of responses in a worker that wait for clients which do not read")
    ] = 256 * 1024 * 1024
    discard_limit: Annotated[
        int, Meta(ge=0, description="bytes read from a client after its request was refused")
    ] = 64 * 1024
    worker_timeout: Annotated[
        float, Meta(ge=0, description="silence after which a hung worker is replaced; 0 for never")
    ] = 60.0
    allow_localhost: Annotated[
        bool, Meta(description="serve Host and Origin of loopback besides what is allowed")
    ] = True
    page_size: Annotated[int, Meta(ge=1, description="entries per page of a list")] = 100
    tool_threads: Annotated[int, Meta(ge=1, description="plain `def` tools that may run at once")] = 40

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the endpoint, if it is served over http."""
        host = _LOOPBACK.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}{self.path}"

    def __post_init__(self) -> None:
        problems: dict[str, str] = {}
        for name, field in fields().items():
            if (given := getattr(self, name)) is field.default:
                continue
            try:
                force_setattr(self, name, read_value(given, field.kind, field.allowed))
            except ValueError as error:
                problems[name] = str(error)
        if problems:
            raise SettingsError(invalid(problems), problems)


class Field(NamedTuple):
    """One setting.

    Attributes:
        kind: the type of its values.
        allowed: which values it takes, and a description.
        default: the value that it has unless another is given.
    """

    kind: Any
    allowed: Meta
    default: Any


@cache
def fields() -> Mapping[str, Field]:
    """Return every setting by its name, in the order of the class."""
    annotations = Settings.__annotations__  # of the class: since Python 3.14 instances do not have it
    defaults = zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True)
    described = [(name, get_args(annotations[name]), default) for name, default in defaults]
    return {name: Field(kind, allowed, default) for name, (kind, allowed), default in described}


def invalid(problems: Mapping[str, str], source: Mapping[str, str] | None = None) -> str:
    """Return the text of an error: what is wrong with which setting, and where its value comes from."""
    lines = [
        f"{name}: {problem}" if source is None else f"{name} ({source.get(name, 'setting')}): {problem}"
        for name, problem in problems.items()
    ]
    return "Invalid settings: " + "; ".join(lines)
