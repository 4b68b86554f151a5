"""What can be connected to, and how: an app or a host in this process, a command over its pipes, a URL.

Easy to get wrong: a server that does not start says why on its standard error, which nobody reads. So that is
kept in a file, and quoted when the connection fails.
"""

from __future__ import annotations

import ast
import os
import shlex
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, TypeAlias

from enfilade.loading import LoadError, Source, sources_of
from enfilade.transports.in_process import streams

if TYPE_CHECKING:
    from enfilade.app import MCPApp

Transport = Literal["memory", "stdio", "http"]

_QUOTED = 12  # lines of a server's standard error


@dataclass(frozen=True)
class Command:
    """A server that is started by a command, and spoken to over its pipes.

    Attributes:
        argv: the command and its arguments.
        cwd: the directory it works in; by default the current one.
        env: variables on top of this process's own.
    """

    argv: Sequence[str]
    cwd: str | Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)


#: An ASGI application that holds an app, such as FastAPI's.
Host: TypeAlias = Callable[..., Awaitable[Any]]

Target: TypeAlias = "MCPApp | Host | Command | str"


@dataclass(frozen=True)
class Approach:
    """What is said of the way to a server, beside the transport.

    Attributes:
        headers: of each HTTP request; None for those of the client alone.
        principal: who the client is, as if a host had authenticated them; None for nobody.
        path: of the endpoint in a host; None to look for it.
    """

    headers: Mapping[str, str] | None = None
    principal: str | None = None
    path: str | None = None


class Opened:
    """A way to a server, before anybody goes it.

    Attributes:
        name: what the server is called when the connection fails.
        streams: the transport, for `mcp.Client`.
    """

    def __init__(self, name: str, transport: Any, said: IO[str] | None = None) -> None:
        self.name = name
        self.streams = transport
        self._said = said

    def last_words(self) -> str:
        """Return the end of what the server has printed to its standard error; empty if there is none."""
        if self._said is None:
            return ""
        self._said.seek(0)
        lines = self._said.read().rstrip().splitlines()
        return "\n".join(lines[-_QUOTED:])


def transport_to(target: Target, transport: Transport | None, approach: Approach) -> Transport:
    """Return the transport that leads to a target; an app in this process has three.

    Raises:
        ValueError: the target cannot be reached that way.
    """
    what, ways = _ways(target)
    if transport not in (None, *_TRANSPORTS):
        raise ValueError(f"there is no transport {transport!r}; use 'memory', 'stdio' or 'http'")
    if transport not in (None, *ways):
        raise ValueError(f"{what} is reached by transport={ways[0]!r}, not by {transport!r}")
    way = transport or ("http" if approach.headers and "http" in ways else ways[0])
    if approach.headers and way != "http":
        raise ValueError(f"headers= belong to HTTP requests; transport={way!r} has none")
    if approach.principal is not None and (what != _APP or way == "stdio"):
        over = "over stdio" if what == _APP else f"of {what}"
        raise ValueError(
            f"principal= is for an MCPApp over memory or http; the users {over} are known by its own "
            "authentication, to which headers= may speak"
        )
    if approach.path is not None and what != _HOST:
        raise ValueError(f"path= is for a host that holds an MCPApp, not for {what}")
    return way


_TRANSPORTS: Final[tuple[Transport, ...]] = ("memory", "stdio", "http")
_APP, _HOST = "an MCPApp", "a host"


def _ways(target: Target) -> tuple[str, tuple[Transport, ...]]:
    """Return what a target is called, and the transports that lead to it, the usual one first."""
    if isinstance(target, str):
        return "a URL", ("http",)
    if isinstance(target, Command):
        return "a command", ("stdio",)
    if hasattr(target, "running"):
        return _APP, _TRANSPORTS
    if callable(target):
        return _HOST, ("http",)
    raise TypeError(
        f"a {type(target).__name__} cannot be connected to; give an MCPApp, an ASGI application that holds one, "
        "a Command or a URL"
    )


@asynccontextmanager
async def opened(target: Any, transport: Transport, approach: Approach) -> AsyncIterator[Opened]:
    """Make a target ready to be connected to, and put everything away afterwards."""
    if isinstance(target, str):
        async with _over_http(target, approach.headers) as way:
            yield Opened(_without_secrets(target), way)
    elif isinstance(target, Command):
        with _kept() as said:
            yield Opened(f"the command `{shlex.join(target.argv)}`", _over_stdio(target, said), said)
    elif transport == "memory":
        yield Opened(getattr(target, "name", "the server"), streams(target, approach.principal))
    elif transport == "stdio":
        with _kept() as said:
            yield Opened(target.name, _over_stdio(_child_of(target), said), said)
    else:
        from enfilade.client.loopback import served

        name, path = _in_this_process(target, approach.path)
        async with (
            served(target, approach.principal) as root,
            _over_http(root + path, approach.headers) as way,
        ):
            yield Opened(name, way)


def _in_this_process(target: Any, path: str | None) -> tuple[str, str]:
    """Return the name of an app, or of the one that a host holds, and the path of its endpoint."""
    if hasattr(target, "running"):
        return target.name, target.settings.path
    if path is not None:
        return type(target).__name__, path if path.startswith("/") else f"/{path}"
    from enfilade.client.hosts import held_app

    app, found = held_app(target)
    return app.name, found


@asynccontextmanager
async def _over_http(
    url: str, headers: Mapping[str, str] | None
) -> AsyncIterator[AbstractAsyncContextManager[Any]]:
    from mcp.client.streamable_http import streamable_http_client

    if not headers:
        yield streamable_http_client(url)
        return
    from mcp.shared._httpx_utils import create_mcp_http_client  # the only way to its timeouts, with headers

    async with create_mcp_http_client(headers=dict(headers)) as client:
        yield streamable_http_client(url, http_client=client)


def _over_stdio(command: Command, said: IO[str]) -> AbstractAsyncContextManager[Any]:
    from mcp import StdioServerParameters
    from mcp.client.stdio import stdio_client

    program, *arguments = command.argv
    parameters = StdioServerParameters(
        command=program,
        args=arguments,
        cwd=command.cwd,
        env={**os.environ, **command.env},
        encoding_error_handler="replace",
    )
    return stdio_client(parameters, errlog=said)  # type: ignore[arg-type]  # any file with a descriptor will do


def _kept() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


def _child_of(app: MCPApp) -> Command:
    """Return the command that serves an app in a process of its own, which finds it in its file again.

    Raises:
        LoadError: the app is made where no other process could find it.
    """
    found = list(sources_of(app))
    if not found:
        raise LoadError(
            f"over stdio the app {app.name!r} is served by another process, which must find it in a file: make "
            "it at the top level of one, as in `app = MCPApp(...)`, not in a function or a fixture"
        )
    source = next((each for each in found if _makes(each)), found[0])
    names = ",".join(tool.name for tool in app.tools)
    words = [sys.executable, "-m", "enfilade.client.stdio_child", source.module, source.file, source.name, names]
    path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
    return Command(words, env={"PYTHONPATH": path, "ENFILADE_TRANSPORT": "stdio"})


def _makes(source: Source) -> bool:
    """Whether a file assigns the app at its top level; others, such as tests, import it from there."""
    try:
        body = ast.parse(Path(source.file).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return False
    targets = [each for node in body if isinstance(node, ast.Assign) for each in node.targets]
    targets += [node.target for node in body if isinstance(node, ast.AnnAssign)]
    return any(isinstance(each, ast.Name) and each.id == source.name for each in targets)


def _without_secrets(url: str) -> str:
    """Return a URL without the user's name and password."""
    scheme, sep, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{sep}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
