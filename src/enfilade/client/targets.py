"""Targets of `connect`: an app or a host in this process, a command over stdio, a URL.

Easy to get wrong: a server that does not start writes the reason to its standard error. So that goes to a file,
and its end is quoted when the connection fails.
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

_QUOTED_LINES: Final = 12  # of a server's standard error


@dataclass(frozen=True)
class Command:
    """A server that is started by a command and reached over stdio.

    Attributes:
        argv: the command and its arguments.
        cwd: its working directory; by default the current one.
        env: environment variables in addition to those of this process.
    """

    argv: Sequence[str]
    cwd: str | Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)


#: An ASGI application that contains an app, such as FastAPI's.
Host: TypeAlias = Callable[..., Awaitable[Any]]

Target: TypeAlias = "MCPApp | Host | Command | str"


@dataclass(frozen=True)
class ConnectionOptions:
    """Options of a connection besides the transport.

    Attributes:
        headers: additional headers of each HTTP request.
        principal: the user of the client, as if a host had authenticated them; None for none.
        path: the path of the endpoint in a host; None to search its routes.
    """

    headers: Mapping[str, str] | None = None
    principal: str | None = None
    path: str | None = None


class OpenedServer:
    """A server that is ready to be connected to.

    Attributes:
        name: its name in error messages.
        streams: the transport for `mcp.Client`.
    """

    def __init__(self, name: str, transport: Any, stderr: IO[str] | None = None) -> None:
        self.name = name
        self.streams = transport
        self._stderr = stderr

    def last_output(self) -> str:
        """Return the last lines that the server has written to its standard error; empty if there are none."""
        if self._stderr is None:
            return ""
        self._stderr.seek(0)
        lines = self._stderr.read().rstrip().splitlines()
        return "\n".join(lines[-_QUOTED_LINES:])


def choose_transport(target: Target, transport: Transport | None, options: ConnectionOptions) -> Transport:
    """Return the transport to a target: the chosen one, or its default.

    Raises:
        ValueError: the target does not support the transport or the options.
    """
    kind, transports = _transports_to(target)
    if transport not in (None, *_TRANSPORTS):
        raise ValueError(f"there is no transport {transport!r}; use 'memory', 'stdio' or 'http'")
    if transport not in (None, *transports):
        raise ValueError(f"{kind} is reached by transport={transports[0]!r}, not by {transport!r}")
    chosen = transport or ("http" if options.headers and "http" in transports else transports[0])
    if options.headers and chosen != "http":
        raise ValueError(f"headers= belong to HTTP requests; transport={chosen!r} has none")
    if options.principal is not None and (kind != _APP or chosen == "stdio"):
        subject = "over stdio" if kind == _APP else f"of {kind}"
        raise ValueError(
            f"principal= is for an MCPApp over memory or http; the users {subject} are known by its own "
            "authentication, to which headers= may speak"
        )
    if options.path is not None and kind != _HOST:
        raise ValueError(f"path= is for a host that holds an MCPApp, not for {kind}")
    return chosen


_TRANSPORTS: Final[tuple[Transport, ...]] = ("memory", "stdio", "http")
_APP, _HOST = "an MCPApp", "a host"


def _transports_to(target: Target) -> tuple[str, tuple[Transport, ...]]:
    """Return the kind of a target in words, and the transports to it, the default one first."""
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
async def opened(target: Any, transport: Transport, options: ConnectionOptions) -> AsyncIterator[OpenedServer]:
    """Prepare a target for a connection, and clean up afterwards."""
    if isinstance(target, str):
        async with _over_http(target, options.headers) as client_transport:
            yield OpenedServer(_without_credentials(target), client_transport)
    elif isinstance(target, Command):
        with _stderr_file() as stderr:
            yield OpenedServer(f"the command `{shlex.join(target.argv)}`", _over_stdio(target, stderr), stderr)
    elif transport == "memory":
        yield OpenedServer(getattr(target, "name", "the server"), streams(target, options.principal))
    elif transport == "stdio":
        with _stderr_file() as stderr:
            yield OpenedServer(target.name, _over_stdio(_child_of(target), stderr), stderr)
    else:
        from enfilade.client.loopback import served

        name, path = _in_this_process(target, options.path)
        async with (
            served(target, options.principal) as root,
            _over_http(root + path, options.headers) as client_transport,
        ):
            yield OpenedServer(name, client_transport)


def _in_this_process(target: Any, path: str | None) -> tuple[str, str]:
    """Return the name of an app, or of the app in a host, and the path of its endpoint."""
    if hasattr(target, "running"):
        return target.name, target.settings.path
    if path is not None:
        return type(target).__name__, path if path.startswith("/") else f"/{path}"
    from enfilade.client.loopback import contained_app

    app, endpoint = contained_app(target)
    return app.name, endpoint


@asynccontextmanager
async def _over_http(
    url: str, headers: Mapping[str, str] | None
) -> AsyncIterator[AbstractAsyncContextManager[Any]]:
    from mcp.client.streamable_http import streamable_http_client

    if not headers:
        yield streamable_http_client(url)
        return
    from mcp.shared._httpx_utils import (
        create_mcp_http_client,  # the official client has no public way to set headers and keep its timeouts
    )

    async with create_mcp_http_client(headers=dict(headers)) as client:
        yield streamable_http_client(url, http_client=client)


def _over_stdio(command: Command, stderr: IO[str]) -> AbstractAsyncContextManager[Any]:
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
    return stdio_client(parameters, errlog=stderr)  # type: ignore[arg-type]  # any file with a descriptor is accepted


def _stderr_file() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


def _child_of(app: MCPApp) -> Command:
    """Return the command that serves an app in a process of its own, which imports its file again.

    Raises:
        LoadError: another process could not find the app.
    """
    sources = list(sources_of(app))
    if not sources:
        raise LoadError(
            f"over stdio the app {app.name!r} is served by another process, which must find it in a file: make "
            "it at the top level of one, as in `app = MCPApp(...)`, not in a function or a fixture"
        )
    source = next((source for source in sources if _defines_app(source)), sources[0])
    names = ",".join(tool.name for tool in app.tools)
    argv = [sys.executable, "-m", "enfilade.client.stdio_child", source.module, source.file, source.name, names]
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    return Command(argv, env={"PYTHONPATH": path, "ENFILADE_TRANSPORT": "stdio"})


def _defines_app(source: Source) -> bool:
    """Return whether a file assigns the app at its top level; other files, such as tests, import it."""
    try:
        body = ast.parse(Path(source.file).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return False
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in body if isinstance(node, ast.AnnAssign)]
    return any(isinstance(target, ast.Name) and target.id == source.name for target in targets)


def _without_credentials(url: str) -> str:
    """Return a URL without user name, password and query."""
    scheme, sep, remainder = url.partition("://")
    host, slash, path = remainder.partition("/")
    return f"{scheme}{sep}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
