"""Settings: what the host decides rather than the author, from the environment, `.env`, code and defaults.

Strongest first: an `ENFILADE_*` environment variable, the same name in a `.env` file, an argument of `MCPApp`, a
`Settings` object, the default. The easy thing to get wrong is which `.env`: the one in the working directory, or
else in the nearest directory above that holds a `pyproject.toml`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from enfilade.state.seal import check_secret

PREFIX: Final = "ENFILADE_"

Transport = Literal["stdio", "http"]
_MAY_BE_EMPTY: Final = {"health_path", "ready_path"}  # otherwise an empty variable is one that is not set
_TRANSPORT_ALIASES: Final = {"streamable-http": "http", "streamable": "http", "streamable_http": "http"}


class SettingsError(ValueError):
    """A setting has a value it cannot have; the text says which, where from, and what is allowed."""


class Settings(BaseModel):
    """Everything that can be set, with its default. Times are in seconds, sizes in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    transport: Transport = Field("stdio", description="how `run()` serves: stdio or http")
    host: str = Field("127.0.0.1", description="address that `run()` binds")
    port: int = Field(8000, ge=0, le=65535, description="port that `run()` binds; 0 for a free one")
    path: str = Field("/mcp", pattern="^/", description="path of the endpoint")
    health_path: str = Field(
        "/healthz", pattern="^(/.*)?$", description="where probes ask whether the server lives; empty for nowhere"
    )
    ready_path: str = Field(
        "/readyz", pattern="^(/.*)?$", description="where probes ask whether to send requests; empty for nowhere"
    )
    workers: int = Field(1, ge=1, description="processes that `run()` serves http with")
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        "info", description="what the server logs to stderr when it is started by `run()`"
    )
    tool_names: Literal["plain", "qualified"] = Field(
        "plain", description="list tools as written, or as Server_Tool"
    )
    secret: tuple[SecretStr, ...] = Field(
        (), description="seals sessions; share it between workers, newest first, at least 32 bytes each"
    )
    store: str = Field("memory://", description="where state lives that clients cannot carry")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Host names served besides loopback, `*.example.com` and `*` included"
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="browser origins served besides loopback and the server's own"
    )
    sessions: bool = Field(True, description="give session-era clients sessions; off: each request alone")
    session_ttl: float = Field(86_400.0, gt=0, description="lifetime of a session")
    json_response: bool = Field(False, description="never stream to clients that take JSON")
    stream_grace: float = Field(1.0, ge=0, description="silence after which an answer becomes a stream")
    resumable: bool = Field(
        True, description="keep the events of streams, so that a client that was cut off can resume"
    )
    stream_age: float = Field(3600.0, gt=0, description="how long a stream can be resumed after its last event")
    stream_retry: float = Field(
        1.0, ge=0, description="after how long a client that was cut off should come back"
    )
    keep_alive: float = Field(15.0, gt=0, description="silence on a stream after which a comment is sent")
    stream_buffer: int = Field(
        1024 * 1024, ge=1024, description="what may wait for a slow reader before notifications are dropped"
    )
    request_timeout: float = Field(0.0, ge=0, description="longest a request may take; 0 for no limit")
    drain_delay: float = Field(
        0.25, ge=0, description="how long http goes on taking requests once it is told to stop"
    )
    shutdown_timeout: float = Field(10.0, ge=0, description="what requests get to finish when http stops")
    body_limit: int = Field(4 * 1024 * 1024, ge=1024, description="largest message")
    page_size: int = Field(100, ge=1, description="entries per page of a list")
    tool_threads: int = Field(40, ge=1, description="plain `def` tools that may run at once")

    @field_validator("transport", mode="before")
    @classmethod
    def _known_transport(cls, value: Any) -> Any:
        return _TRANSPORT_ALIASES.get(value, value) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("secret", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | SecretStr) else value

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            check_secret(secret.get_secret_value().encode())
        return value


def load(given: Mapping[str, Any], base: Settings | None = None) -> Settings:
    """Return the settings in force.

    Args:
        given: arguments by name; None means "not given".
        base: what `given` is laid over.

    Raises:
        SettingsError: a value that cannot be.
    """
    values = {} if base is None else {name: getattr(base, name) for name in base.model_fields_set}
    values.update({name: value for name, value in given.items() if value is not None})
    source = dict.fromkeys(values, "argument")
    for name, (text, origin) in _from_environment().items():
        values[name] = _parsed(name, text)
        source[name] = origin
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(error, source)) from None


def _from_environment() -> dict[str, tuple[str, str]]:
    """Return what is set outside of the code: by setting, the text and where it stands."""
    in_file = {} if (file := find_dotenv()) is None else _in_file(file)
    found: dict[str, tuple[str, str]] = {}
    for name in Settings.model_fields:
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
    annotation = Settings.model_fields[name].annotation
    if get_origin(annotation) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text.strip()


def _explain(error: ValidationError, source: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0])
        origin = source.get(name, "setting")
        lines.append(f"{name} ({origin}): {problem['msg'].removeprefix('Value error, ')}")
    return "Invalid settings: " + "; ".join(lines)
