"""Targets of `connect`: an app or a host in this process, a command over stdio, a URL.

Easy to get wrong: a server that does not start writes the reason to its standard error. So that goes to a file,
and its end is quoted when the connection fails.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shlex
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from enfilade.client.refusals import RefusedPost
from enfilade.loading import AppSource, LoadError, sources_of
from enfilade.serving.principal import Principal
from enfilade.transports.message_connection import Connection

if TYPE_CHECKING:
    import httpx2

    from enfilade.app import MCPApp

ClientTransport = Literal["memory", "stdio", "http"]

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
        http_auth: authorizes each HTTP request.
        lists_all: let the lists of an app in this process hide nothing, over memory.
        auth: tokens that tools get, by the id of the provider, in place of those that users consent to.
    """

    headers: Mapping[str, str] | None = None
    principal: Principal | str | None = None
    path: str | None = None
    http_auth: httpx2.Auth | None = None
    lists_all: bool = False
    auth: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Check the types.

        Raises:
            TypeError: an option is something else; the text says what to give.
        """
        headers: Any = self.headers
        is_mapping = headers is None or isinstance(headers, Mapping)
        if not is_mapping or not all(isinstance(word, str) for pair in (headers or {}).items() for word in pair):
            raise TypeError('headers= takes a dict of texts, such as {"Authorization": "Bearer ..."}')
        if not isinstance(self.path, str | None):
            raise TypeError(f"path= takes a text, not {type(self.path).__name__}")
        if not isinstance(self.principal, Principal | str | None):
            kind = type(self.principal).__name__
            raise TypeError(f"principal= takes a Principal, or a text for its subject, not {kind}")

        auth: Any = self.auth
        is_mapping = auth is None or isinstance(auth, Mapping)
        if not is_mapping or not all(isinstance(word, str) for pair in (auth or {}).items() for word in pair):
            raise TypeError('auth= takes tokens by provider, such as {"github": "token"}')

    @property
    def caller(self) -> Principal | None:
        """The principal of each request."""
        return Principal(self.principal) if isinstance(self.principal, str) else self.principal


class OpenedServer:
    """A server that is ready to be connected to.

    Attributes:
        name: its name in error messages.
        streams: the transport for `mcp.Client`.
        refused: its last HTTP response.
    """

    def __init__(
        self, name: str, transport: Any, stderr: IO[str] | None = None, refused: RefusedPost | None = None
    ) -> None:
        self.name = name
        self.streams = transport
        self.refused = refused or RefusedPost()
        self._stderr = stderr

    def last_output(self) -> str:
        """Return the last lines that the server has written to its standard error; empty if there are none."""
        if self._stderr is None:
            return ""
        self._stderr.seek(0)
        lines = self._stderr.read().rstrip().splitlines()
        return "\n".join(lines[-_QUOTED_LINES:])


def choose_transport(
    target: Target, transport: ClientTransport | None, options: ConnectionOptions
) -> ClientTransport:
    """Return the transport to a target: the chosen one, or its default.

    Raises:
        ValueError: the target does not support the transport or the options.
    """
    kind, transports = _transports_to(target)
    if transport not in (None, *_TRANSPORTS):
        raise ValueError(f"there is no transport {transport!r}; use 'memory', 'stdio' or 'http'")
    if transport not in (None, *transports):
        raise ValueError(f"{kind} is reached by transport={transports[0]!r}, not by {transport!r}")
    of_http = "headers" if options.headers else "http_auth" if options.http_auth else ""
    chosen = transport or ("http" if of_http and "http" in transports else transports[0])
    if of_http and chosen != "http":
        raise ValueError(f"{of_http}= belong to HTTP requests; transport={chosen!r} has none")
    if options.principal is not None and (kind != _APP or chosen == "stdio"):
        subject = "over stdio" if kind == _APP else f"of {kind}"
        raise ValueError(
            f"principal= is for an MCPApp over memory or http; the users {subject} are known by its own "
            "authentication, to which headers= may speak"
        )
    if options.auth is not None and (kind != _APP or chosen == "stdio"):
        raise ValueError("auth= is for an MCPApp over memory or http: it replaces the providers of its tools")
    if options.path is not None and kind != _HOST:
        raise ValueError(f"path= is for a host that holds an MCPApp, not for {kind}")
    return chosen


_TRANSPORTS: Final[tuple[ClientTransport, ...]] = ("memory", "stdio", "http")
_APP, _HOST = "an MCPApp", "a host"


def _transports_to(target: Target) -> tuple[str, tuple[ClientTransport, ...]]:
    """Return the kind of a target in words, and the transports to it, the default one first."""
    if isinstance(target, str):
        _check_url(target)
        return "a URL", ("http",)
    if isinstance(target, Command):
        return "a command", ("stdio",)
    if hasattr(target, "running"):
        return _APP, _TRANSPORTS
    if callable(target):
        return _HOST, ("http",)
    raise TypeError(
        f"a {type(target).__name__} cannot be connected to; give an MCPApp, an ASGI application that holds one, "
        'a URL, or a Command, such as Command(["python", "server.py"])'
    )


def _check_url(target: str) -> None:
    """Check that a text is a URL of a server.

    Raises:
        ValueError: it is not; the text says what to give in its place.
    """
    if not target.lower().startswith(("http://", "https://")):
        words = target.split() if target.strip() else ["server.py"]
        command = ["python", *words] if words[0].endswith(".py") else words
        raise ValueError(
            f"{target!r} is no URL that begins with http:// or https://; to connect to a server in a file, "
            f"import its app and give that, or start it: Command({json.dumps(command)})"
        )


@asynccontextmanager
async def opened(
    target: Any, transport: ClientTransport, options: ConnectionOptions
) -> AsyncIterator[OpenedServer]:
    """Prepare a target for a connection, and clean up afterwards."""
    if isinstance(target, str):
        refused = RefusedPost()
        async with _over_http(target, options, refused) as client_transport:
            yield OpenedServer(_without_credentials(target), client_transport, refused=refused)
    elif isinstance(target, Command):
        with _stderr_file() as stderr:
            yield OpenedServer(f"the command `{shlex.join(target.argv)}`", _over_stdio(target, stderr), stderr)
    elif transport == "memory":
        yield OpenedServer(getattr(target, "name", "the server"), _over_memory(target, options))
    elif transport == "stdio":
        with _stderr_file() as stderr:
            yield OpenedServer(target.name, _over_stdio(_child_of(target), stderr), stderr)
    else:
        from enfilade.client.loopback import served

        name, path = _in_this_process(target, options.path)
        refused = RefusedPost()
        async with (
            served(target, options.caller, options.auth) as root,
            _over_http(root + path, options, refused) as client_transport,
        ):
            yield OpenedServer(name, client_transport, refused=refused)


class _DirectOutlet:
    """Passes each message of the server to the client at once."""

    is_congested = False

    def __init__(self, deliver: Any) -> None:
        self._deliver = deliver

    def push(self, message: bytes) -> bool:
        self._deliver(message)
        return True

    def send(self, message: bytes) -> bool:
        self._deliver(message)
        return True

    def close_connection(self, retry: float | None) -> bool:
        return False

    def note_scopes(self, scopes: Iterable[str]) -> None:
        return

    async def wait_for_room(self) -> None:
        return

    async def write(self, message: bytes) -> None:
        self._deliver(message)


@asynccontextmanager
async def _over_memory(app: MCPApp, options: ConnectionOptions) -> AsyncIterator[tuple[Any, Any]]:
    """Yield the (read, write) streams of a transport to a server in this process.

    Messages are encoded and decoded as over stdio, so a test sees what a client sees.
    """
    import anyio
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    async with app.running() as dispatcher, anyio.create_task_group() as tasks:
        to_client, client_reads = anyio.create_memory_object_stream[Any](float("inf"))
        client_writes, from_client = anyio.create_memory_object_stream[Any](0)

        def deliver(message: bytes) -> None:
            try:
                readable = jsonrpc_message_adapter.validate_json(message, by_name=False)
            except ValueError as error:
                readable = _unreadable(message, error)
            to_client.send_nowait(SessionMessage(readable))

        outlet = _DirectOutlet(deliver)
        scopes = frozenset(app.settings.stdio_scopes) or None  # the client is in this process, as over stdio
        connection = Connection(
            dispatcher,
            outlet,
            outlet.write,
            principal=options.caller,
            local_scopes=scopes,
            lists_all=options.lists_all,
            tool_tokens=options.auth,
            transport="in_process",
        )

        async def serve() -> None:
            async for message in from_client:
                connection.feed(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode())

        tasks.start_soon(serve)
        try:
            yield client_reads, client_writes
        finally:
            client_writes.close()
            from_client.close()
            tasks.cancel_scope.cancel()
            await connection.close()
            to_client.close()
            client_reads.close()


def _unreadable(message: bytes, error: ValueError) -> Any:
    """Return the error that stands for a response which the official client cannot read.

    Raises:
        ValueError: it is no response, so that nobody waits for it.
    """
    from mcp_types import INTERNAL_ERROR, ErrorData, JSONRPCError

    head = msgspec.json.decode(message, type=_Head)
    if head.id is None or head.method is not None:
        raise error
    too_deep = "recursion limit" in str(error)
    reason = "it is nested too deeply for its parser" if too_deep else "it is no message of the protocol"
    text = f"the official client cannot read this response: {reason}"
    return JSONRPCError(jsonrpc="2.0", id=head.id, error=ErrorData(code=INTERNAL_ERROR, message=text))


class _Head(msgspec.Struct):
    id: int | str | None = None
    method: str | None = None


def _in_this_process(target: Any, path: str | None) -> tuple[str, str]:
    """Return the name of an app, or of the app in a host, and the path of its endpoint."""
    if hasattr(target, "running"):
        return target.name, target.settings.path
    if path is not None:
        return type(target).__name__, path if path.startswith("/") else f"/{path}"
    from enfilade.hosts import contained_app

    app, endpoint = contained_app(target)
    return app.name, endpoint


@asynccontextmanager
async def _over_http(
    url: str, options: ConnectionOptions, refused: RefusedPost
) -> AsyncIterator[AbstractAsyncContextManager[Any]]:
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import (
        create_mcp_http_client,  # the official client has no public way to set headers and keep its timeouts
    )

    async with create_mcp_http_client(headers=dict(options.headers or {}), auth=options.http_auth) as client:
        client.event_hooks = {"response": [refused.record]}
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
    argv = [sys.executable, "-m", "enfilade.client.targets", source.module, source.file, source.name, names]
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    return Command(argv, env={"PYTHONPATH": path, "ENFILADE_TRANSPORT": "stdio"})


def main() -> None:
    """Serve an app that is tested over stdio, in the process that `_child_of` describes."""
    module, file, name, tools = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):  # which carries messages only
        try:
            app: Any = AppSource(module, file, name).load()
        except LoadError as error:
            raise SystemExit(str(error)) from None
    missing = set(filter(None, tools.split(","))) - {tool.name for tool in app.tools}
    if missing:
        problem = f"{Path(file).name} makes the app without {', '.join(sorted(missing))}"
        raise SystemExit(f"{problem}: over stdio, import there what adds tools to it")
    app.run("stdio", log_level="warning")


def _defines_app(source: AppSource) -> bool:
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


if __name__ == "__main__":
    main()
