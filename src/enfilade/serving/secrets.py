"""Secrets that a tool declares, looked up for one call and visible to that call alone.

The values of a call are in an immutable object of its own; a call that it makes gets another one (P9, P10, D34).
So concurrent and chained calls share nothing.

Easy to get wrong: what leaves the process. Libraries put API keys into the texts of exceptions, so a `Redaction`
replaces the values in every text that is sent or logged for the call: errors, logs, progress.
"""

import json
import logging
import os
import re
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from enfilade.primitives.errors import ToolError
from enfilade.primitives.names import is_reserved_secret
from enfilade.primitives.schema.signature import is_async
from enfilade.serving.channel import Peer
from enfilade.serving.thread_pool import ThreadPool

if TYPE_CHECKING:
    from enfilade.primitives.tool import Tool

log = logging.getLogger("enfilade.serving")

#: Replaces a value.
MASK: Final = "[secret]"

#: Returns the value of a secret for a client, or None if there is none.
Lookup = Callable[[str, Peer], str | Awaitable[str | None] | None]


class MissingSecretError(ToolError):
    """A tool needs a secret that is not set."""

    _kind = "secret"


class Secrets:
    """The secrets and tokens of one call, immutable; its repr has their names and not their values.

    Attributes:
        auth: the tokens of other services; None for a tool that has not declared any.
    """

    __slots__ = ("_values", "auth")
    _values: Mapping[str, tuple[str, str]]
    auth: Any  # a CallAuth, whose module knows requests, and so this one

    def __init__(self, values: Mapping[str, str], auth: Any = None) -> None:
        held = {name.casefold(): (name, value) for name, value in values.items()}
        object.__setattr__(self, "_values", MappingProxyType(held))
        object.__setattr__(self, "auth", auth)

    def get(self, name: str) -> str:
        """Return the value of a secret, by its name in any case.

        Raises:
            ValueError: the tool has not declared it.
        """
        try:
            return self._values[name.casefold()][1]
        except KeyError:
            raise ValueError(
                f"the secret {name!r} is not among those that this tool declares; "
                f"add it: @app.tool(requires_secrets=[{name!r}])"
            ) from None

    @property
    def values(self) -> tuple[str, ...]:
        """The values alone."""
        return tuple(value for _, value in self._values.values())

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("the secrets of a call cannot be changed")

    def __reduce__(self) -> NoReturn:
        raise TypeError("the secrets of a call stay in its process")

    def __repr__(self) -> str:
        return f"Secrets({', '.join(name for name, _ in self._values.values())})"


NO_SECRETS: Final = Secrets({})


class Redaction:
    """Replaces the values of secrets in texts that leave the process.

    A value is also found as it looks in a Python repr, in JSON, and in a URL.

    Args:
        values: of the secrets of a call, and of the calls that made it.
    """

    __slots__ = ("_pattern", "_values")

    def __init__(self, values: Iterable[str]) -> None:
        self._values = frozenset(filter(None, values))
        self._pattern: re.Pattern[str] | None = None

    def with_values(self, values: Iterable[str]) -> "Redaction":
        """Return a redaction of more values."""
        return Redaction({*self._values, *values})

    def text(self, text: str) -> str:
        """Return a text without the values."""
        if not self._values:  # an empty pattern is found everywhere
            return text
        if self._pattern is None:
            spellings = {spelling for value in self._values for spelling in _spellings(value)}
            longest_first = sorted(spellings, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        return self._pattern.sub(MASK, text)

    def inside(self, value: Any) -> Any:
        """Return JSON data with the secret values in its strings masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.inside(item) for item in value]
        if isinstance(value, dict):
            return {self.inside(key): self.inside(item) for key, item in value.items()}
        return value

    def json(self, data: bytes) -> bytes:
        """Return JSON with the secret values in its strings masked."""
        return msgspec.json.encode(self.inside(msgspec.json.decode(data)))

    def __repr__(self) -> str:
        return f"<Redaction of {len(self._values)} values>"


#: Parts of a token that are masked by themselves have at least so many characters.
_SHORTEST_PART: Final = 16


def token_values(token: str) -> list[str]:
    """Return what to mask of a token: the whole, and its parts, of which a JSON Web Token has three."""
    return [token, *(part for part in token.split(".") if len(part) >= _SHORTEST_PART)]


def _spellings(value: str) -> Iterable[str]:
    yield value
    yield repr(value)[1:-1]
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield urllib.parse.quote(value, safe="", errors="replace")
    yield urllib.parse.quote(value, errors="replace")
    yield urllib.parse.quote_plus(value, errors="replace")


class Environment:
    """Looks secrets up in the environment of the process, and then in a `.env` file.

    The file is searched until there is one, and read again after it has changed, so that a secret can be added
    while the server runs.
    """

    def __init__(self, dotenv: Callable[[], Path | None]) -> None:
        self._find = dotenv
        self._dotenv: Path | None = None
        self._read_at: tuple[int, int] | None = None
        self._in_file: Mapping[str, str | None] = {}

    def __call__(self, name: str, peer: Peer) -> str | None:
        """Return a value, or None."""
        return os.environ.get(name) or self._from_file().get(name)

    def _from_file(self) -> Mapping[str, str | None]:
        self._dotenv = self._dotenv or self._find()
        if self._dotenv is None:
            return {}
        try:
            stat = self._dotenv.stat()
        except OSError:
            return {}
        if self._read_at != (stat.st_mtime_ns, stat.st_size):
            from enfilade.dotenv_file import read_dotenv

            self._read_at = (stat.st_mtime_ns, stat.st_size)
            try:
                self._in_file = read_dotenv(self._dotenv)
            except (OSError, ValueError) as error:  # the values that were read before stay in force
                from enfilade.serving.failures import log_safely

                log_safely(log, logging.WARNING, "secrets cannot be read: %s", error)
        return self._in_file


class SecretSource:
    """Where secrets come from.

    Args:
        source: a mapping, or a function of a name and the client: `async def`, or `def`, which runs in a thread.
            None for the environment.
        dotenv: returns the `.env` file, or None.
        threads: returns what runs a plain `def`.
    """

    def __init__(
        self,
        source: Mapping[str, str] | Lookup | None,
        dotenv: Callable[[], Path | None],
        threads: Callable[[], ThreadPool],
    ) -> None:
        self._threads = threads
        self._in_thread = False
        self._complaint = (
            "nobody has set" if source is None else "the server's own source of secrets does not have"
        )
        self._location = "in the environment of the server, or in its .env file" if source is None else "there"
        if source is None:
            self._lookup: Lookup = Environment(dotenv)
        elif isinstance(source, Mapping):
            self._lookup = lambda name, peer: source.get(name)
        else:
            self._lookup, self._in_thread = source, not is_async(source)

    async def resolve(self, tool: "Tool", peer: Peer, auth: Any = None) -> Secrets:
        """Return the secrets of one call of a tool, with its tokens of other services.

        Raises:
            MissingSecretError: names the secrets that are not set, and says where to set them.
            TypeError: the lookup returned something other than a text.
        """
        results = {name: await self._value(name, peer) for name in tool.secrets}
        values = {name: value for name, value in results.items() if value}
        if missing := [name for name in results if name not in values]:
            noun, pronoun = ("secret", "it") if len(missing) == 1 else ("secrets", "them")
            raise MissingSecretError(
                f"Tool {tool.name!r} needs the {noun} {', '.join(missing)}, which {self._complaint}. "
                f"Set {pronoun} {self._location}, and call again."
            )
        return Secrets(values, auth)

    async def _value(self, name: str, peer: Peer) -> str | None:
        if is_reserved_secret(name):
            return None
        value: Any
        if self._in_thread:
            value = await self._threads().result_of(self._lookup, name, peer)
        else:
            result = self._lookup(name, peer)
            value = await result if isinstance(result, Awaitable) else result
        if value is not None and not isinstance(value, str):
            raise TypeError(f"the secrets provider returned {type(value).__name__} for {name!r}, not a string")
        return value
