"""Settings: what the host decides rather than the author, from the environment, `.env`, code and defaults.

Strongest first: an `ENFILADE_*` environment variable, the same name in a `.env` file, an argument of `MCPApp`, a
`Settings` object, the default. The easy thing to get wrong is which `.env`: the one in the working directory, or
else in the nearest directory above that holds a `pyproject.toml`.

Every server needs its settings before it can begin, so they are no pydantic model: to load pydantic takes longer
than all that a server does before its first answer.
"""

import operator
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from enfilade.state.seal import check_secret

PREFIX: Final = "ENFILADE_"

Transport = Literal["stdio", "http"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]

_MAY_BE_EMPTY: Final = {"health_path", "ready_path"}  # otherwise an empty variable is one that is not set
_ALIASES: Final = {"streamable-http": "http", "streamable": "http", "streamable_http": "http"}
#: Where addresses that stand for all of a machine are reached from itself.
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
_FLAGS: Final = {
    **dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True),
    **dict.fromkeys(("0", "off", "f", "false", "n", "no"), False),
}


class SettingsError(ValueError):
    """A setting has a value it cannot have; the text says which, where from, and what is allowed.

    Args:
        message: the text.
        problems: what is wrong, by setting, where that is known.
    """

    def __init__(self, message: str, problems: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.problems = dict(problems or {})


class Secret:
    """A string that does not show itself in logs and tracebacks."""

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


class Settings(Struct, frozen=True, kw_only=True):
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
        tuple[str, ...], Meta(description="Host names served besides loopback, `*.example.com` and `*` included")
    ] = ()
    allowed_origins: Annotated[
        tuple[str, ...], Meta(description="browser origins served besides loopback and the server's own")
    ] = ()
    sessions: Annotated[bool, Meta(description="give session-era clients sessions; off: each request alone")] = (
        True
    )
    session_ttl: Annotated[float, Meta(gt=0, description="lifetime of a session")] = 86_400.0
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
    shutdown_timeout: Annotated[float, Meta(ge=0, description="what requests get to finish when http stops")] = (
        10.0
    )
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
        int, Meta(ge=1, description="open streams per principal, or per session where there is none")
    ] = 64
    max_questions: Annotated[
        int, Meta(ge=1, description="unanswered questions per principal, or per session where there is none")
    ] = 64
    body_memory: Annotated[
        int, Meta(ge=1024, description="bytes of unfinished request bodies that a worker holds in all")
    ] = 64 * 1024 * 1024
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
        for name, default in zip(self.__struct_fields__, self.__struct_defaults__, strict=True):
            if (given := getattr(self, name)) is default:
                continue
            try:
                force_setattr(self, name, _read(given, *get_args(type(self).__annotations__[name])))
            except ValueError as error:
                problems[name] = str(error)
        if problems:
            raise SettingsError(_invalid(problems), problems)


def _read(given: Any, kind: Any, allowed: Meta) -> Any:
    """Return what is meant by a value that was given for a setting.

    Raises:
        ValueError: it cannot be meant; says what could.
    """
    if get_origin(kind) is Literal:
        return _one_of(given, get_args(kind))
    if get_origin(kind) is tuple:
        return _secrets(given) if kind == tuple[Secret, ...] else _texts(given)
    if kind is bool:
        return _flag(given)
    return _text(given, allowed.pattern) if kind is str else _number(given, kind, allowed)


def _one_of(given: Any, choices: tuple[str, ...]) -> str:
    word = given.lower() if isinstance(given, str) else given
    word = _ALIASES.get(word, word) if isinstance(word, str) else word
    if word not in choices:
        *most, last = map(repr, choices)
        raise ValueError(f"Input should be {', '.join(most)} or {last}")
    return str(word)


def _flag(given: Any) -> bool:
    flag = _FLAGS.get(str(given).lower()) if isinstance(given, bool | int | str) else None
    if flag is None:
        raise ValueError("Input should be a valid boolean, such as true or false")
    return flag


def _text(given: Any, pattern: str | None) -> str:
    if not isinstance(given, str):
        raise ValueError("Input should be a valid string")
    if pattern is not None and re.search(pattern, given) is None:
        raise ValueError(f"String should match pattern {pattern!r}")
    return given


def _number(given: Any, kind: type[int | float], allowed: Meta) -> int | float:
    try:
        number = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError:
        noun = "integer" if kind is int else "number"
        raise ValueError(f"Input should be a valid {noun}") from None
    for holds, bound, words in (
        (operator.gt, allowed.gt, "greater than"),
        (operator.ge, allowed.ge, "greater than or equal to"),
        (operator.le, allowed.le, "less than or equal to"),
    ):
        if bound is not None and not holds(number, bound):
            raise ValueError(f"Input should be {words} {bound}")
    return number


def _texts(given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError("Input should be a list of strings")
    return tuple(_text(each, None) for each in given)


def _secrets(given: Any) -> tuple[Secret, ...]:
    several = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else given
    secrets = tuple(Secret(_text(_revealed(each), None)) for each in several)
    for secret in secrets:
        check_secret(secret.get_secret_value().encode())
    return secrets


def _revealed(secret: Any) -> Any:
    """Return what a secret hides, one of ours or of pydantic; anything else as it is."""
    return secret.get_secret_value() if hasattr(secret, "get_secret_value") else secret


def load(given: Mapping[str, Any], base: Settings | None = None) -> Settings:
    """Return the settings in force.

    Args:
        given: arguments by name; None means "not given".
        base: what `given` is laid over.

    Raises:
        SettingsError: a value that cannot be.
    """
    values = {} if base is None else msgspec.structs.asdict(base)
    values.update({name: value for name, value in given.items() if value is not None})
    source = dict.fromkeys(values, "argument")
    for name, (text, origin) in _from_environment().items():
        values[name] = _parsed(name, text)
        source[name] = origin
    try:
        return Settings(**values)
    except SettingsError as error:
        raise SettingsError(_invalid(error.problems, source), error.problems) from None


def _from_environment() -> dict[str, tuple[str, str]]:
    """Return what is set outside of the code: by setting, the text and where it stands."""
    in_file = {} if (file := find_dotenv()) is None else _in_file(file)
    found: dict[str, tuple[str, str]] = {}
    for name in Settings.__struct_fields__:
        key = PREFIX + name.upper()
        text = os.environ.get(key, in_file.get(key))
        if text or (text is not None and name in _MAY_BE_EMPTY):
            found[name] = (text, key if key in os.environ else f"{key} in .env")
    return found


def _in_file(file: Path) -> dict[str, str | None]:
    from dotenv import dotenv_values  # most servers have no such file

    return dotenv_values(file, interpolate=False)


def find_dotenv(start: Path | None = None) -> Path | None:
    """Return the `.env` that counts for a directory, by default the working directory."""
    here = (start or Path.cwd()).resolve()
    if (here / ".env").is_file():
        return here / ".env"
    for directory in here.parents:
        if (directory / "pyproject.toml").is_file():
            return directory / ".env" if (directory / ".env").is_file() else None
    return None


def _parsed(name: str, text: str) -> Any:
    """Return the value of a variable; lists are separated by commas."""
    kind, _ = get_args(Settings.__annotations__[name])
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text.strip()


def _invalid(problems: Mapping[str, str], source: Mapping[str, str] | None = None) -> str:
    """Say what is wrong with which setting, and where it comes from."""
    lines = [
        f"{name}: {said}" if source is None else f"{name} ({source.get(name, 'setting')}): {said}"
        for name, said in problems.items()
    ]
    return "Invalid settings: " + "; ".join(lines)
