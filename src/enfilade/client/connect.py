"""`connect`: the official client, connected to a server over any transport, in either era.

Easy to get wrong:
- The era must be enforced: a test of one era must not pass because the other one was negotiated.
- Plugins of pytest run the set-up and the tear-down of an asynchronous fixture in two tasks, but the cancel
  scopes of the official client must be left in the task that entered them. So the client lives in a task of its
  own, which ends before the caller goes on, however the caller ends.
- The task groups of the official client wrap exceptions in groups, sometimes twice; the innermost one is
  reported.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeVar

from enfilade.client.scripted_answers import Answers, Script
from enfilade.client.targets import (
    ClientTransport,
    Command,
    ConnectionOptions,
    OpenedServer,
    Target,
    choose_transport,
    opened,
)
from enfilade.loading import what_hides
from enfilade.primitives.errors import refuse_arguments
from enfilade.wire.notifications import SEVERITY
from enfilade.wire.revisions import STATELESS

if TYPE_CHECKING:
    import httpx2

    from enfilade.client.recording_client import Connected
    from enfilade.client.refusals import RefusedPost
    from enfilade.serving.principal import Principal

Era: TypeAlias = Literal["stateless", "session", "auto"]

#: The mode of `mcp.Client` by era. `auto` negotiates, where a pinned revision would not ask the server.
_MODES: Final = {"stateless": "auto", "session": "legacy", "auto": "auto"}

#: Texts of the official client for an HTTP response without a JSON-RPC error.
_STAND_INS: Final = frozenset({"Server returned an error response", "Not Found", "Session terminated"})

Value = TypeVar("Value")

MORE_PACKAGES: Final = 'this needs more packages: pip install "enfilade[client]"'


class ConnectError(Exception):
    """A server cannot be reached, or does not support the era; the text says which and why.

    Attributes:
        refused: the HTTP response that refused the client; None if there was none.
    """

    def __init__(self, text: str, refused: RefusedPost | None = None) -> None:
        super().__init__(text)
        self.refused = refused


class Connect(Protocol):
    """The type of the fixture `mcp_connect`: `connect` with the app, the era and the transport of a test."""

    def __call__(
        self,
        *,
        answers: Answers | None = None,
        sampling: Answers | None = None,
        roots: Sequence[str | Path] | None = None,
        **options: Any,
    ) -> AbstractAsyncContextManager[Connected]:
        """Connect the official client; the options are those of `connect`."""


@asynccontextmanager
async def connect(
    target: Target,
    *,
    era: Era = "auto",
    transport: ClientTransport | None = None,
    answers: Answers | None = None,
    sampling: Answers | None = None,
    roots: Sequence[str | Path] | None = None,
    log_level: str | None = "debug",
    timeout: float | None = 30.0,
    headers: Mapping[str, str] | None = None,
    principal: Principal | str | None = None,
    auth: Mapping[str, str] | None = None,
    path: str | None = None,
    http_auth: httpx2.Auth | None = None,
    **options: Any,
) -> AsyncIterator[Connected]:
    """Connect the official client to a server.

    Args:
        target: an `MCPApp`; a host, which is any ASGI application that contains one, such as FastAPI's; a
            `Command` that starts a server over stdio; or the URL of a server.
        era: `stateless` (2026-07-28), `session` (`initialize`), or `auto` for the one that the server prefers.
        transport: the transport to an app: `memory` (default), `http` on a free port, or `stdio` in another
            process. A host is served over HTTP, with its own middleware and lifespan.
        answers: answers to elicitation in order: `accept({…})`, `decline()`, `cancel()` or the fields of a form;
            `accept("x")` where the form has one field; or a function of the `Question`, `async` or not. None for
            a client without elicitation.
        sampling: replies of the client's model in order, or a function. None for a client without sampling.
        roots: the directories that the client offers as roots.
        log_level: the lowest level of log messages that the server is asked for; None for no log messages.
        timeout: limit in seconds for each response, and for the handshake with a command or a URL; None for no
            limit.
        headers: headers of each HTTP request; with them, an app is served over HTTP.
        principal: who calls, as if a host had authenticated them: `ctx.principal`; a text is its subject. The
            `auth=` of the app then asks for no token.
        auth: tokens that tools get (`requires_auth=`), by the id of the provider, in place of those that users
            consent to: `{"github": "token"}`. No provider is asked.
        path: the path of the endpoint in a host, if it cannot be found in its routes.
        http_auth: authorizes each HTTP request, such as an OAuth client of the official SDK.
        options: passed to `mcp.Client` unchanged; all but `mode`, which the era decides.

    Yields:
        The client, with `logs`, `progress`, `questions` and `answers_left`. Exceptions in the block are raised
        unchanged. The block may be left in another task than it was entered in, of the same event loop.

    Raises:
        ConnectError: the server cannot be reached, or refuses the client, or does not support the era.
        LoadError: over stdio, another process could not import the app.
        ModuleNotFoundError: the official client is not installed.
        TypeError: the target or an option is none of these; or `mode` is given in place of `era`.
        ValueError: there is no such era, transport or level, or the target does not support it; a text is no URL;
            or a host contains no app that can be found, or several.
    """
    require_client()
    if era not in _MODES:
        raise ValueError(f"there is no era {era!r}; use 'stateless', 'session' or 'auto'")
    if "mode" in options:
        raise TypeError("connect() takes era= in place of mode=: use 'stateless', 'session' or 'auto'")
    _check_options(options)
    async with connect_with(
        target,
        ConnectionOptions(headers, principal, path, http_auth, auth=auth),
        era=era,
        transport=transport,
        script=lambda: Script(answers, sampling, roots),
        log_level=log_level,
        timeout=timeout,
        **options,
    ) as client:
        yield client


@asynccontextmanager
async def connect_with(
    target: Target,
    connection_options: ConnectionOptions,
    *,
    era: Era,
    transport: ClientTransport | None = None,
    script: Callable[[], Script] = lambda: Script(None, None, None),
    log_level: str | None = None,
    timeout: float | None = 30.0,
    **options: Any,
) -> AsyncIterator[Connected]:
    """Connect the official client as `connect` does, which has checked the options.

    Args:
        script: makes the answers of the client, once the target and the transport are known to fit.
    """
    require_client()
    from enfilade.client.recording_client import Connected

    _check_limits(timeout, log_level)
    transport = choose_transport(target, transport, connection_options)
    client_script = script()

    @asynccontextmanager
    async def connected() -> AsyncIterator[tuple[Connected, str]]:
        async with opened(target, transport, connection_options) as server:
            client = Connected(
                server.streams,
                client_script,
                server.refused,
                **{"mode": _MODES[era], "log_level": log_level, "read_timeout_seconds": timeout, **options},
            )
            in_process = not isinstance(target, str | Command) and transport != "stdio"
            async with _EnteredClient(client, server, in_process, timeout):
                yield client, server.name

    async with in_own_task(connected()) as (client, name):
        await _check_era(client, era, log_level, name)
        yield client
        client.check_answers()


def _check_options(options: Mapping[str, Any]) -> None:
    """Check that `mcp.Client` takes the options.

    Raises:
        TypeError: names the first that it does not take.
    """
    if options:
        from mcp import Client

        names = dict.fromkeys((*inspect.signature(connect).parameters, *inspect.signature(Client).parameters))
        refuse_arguments(
            "connect", options, [name for name in names if name not in ("options", "server", "mode")]
        )


def _check_limits(timeout: object, log_level: object) -> None:
    """Check the time limit and the level of log messages.

    Raises:
        TypeError: the limit is no number.
        ValueError: the limit is negative or no number of seconds, or there is no such level.
    """
    if timeout is not None:
        if not isinstance(timeout, int | float) or isinstance(timeout, bool):
            raise TypeError(
                f"timeout= takes a number of seconds, such as 5, or None; not {type(timeout).__name__}"
            )
        if not timeout > 0:
            raise ValueError("timeout= takes a number of seconds above 0, or None for no limit")
    if log_level is not None and log_level not in list(SEVERITY):
        raise ValueError(f"there is no log level {log_level!r}; use {', '.join(SEVERITY)}, or None")


class _EnteredClient:
    """Enters a client, and turns a failure of the handshake into a `ConnectError` with the reason.

    Exceptions of an app in this process are raised unchanged, and its lifespan may take any time. For any other
    server the time limit is that of the handshake: the official client sends two requests, and has a longer limit
    of its own for the first one (`server/discover`).
    """

    def __init__(self, client: Connected, server: OpenedServer, in_process: bool, timeout: float | None) -> None:
        self._client = client
        self._server = server
        self._in_process = in_process
        self._timeout = None if in_process else timeout

    async def __aenter__(self) -> Connected:
        # No cancel scope of anyio: scopes that the client enters here stay open beyond this block.
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                await self._client.__aenter__()
        except Exception as error:
            if self._in_process and not self._server.refused.status:
                raise innermost(error) from None
            cause = innermost(error)
            if limit.expired():
                cause = TimeoutError(f"it has not answered within {self._timeout:g} s")
            refused = self._server.refused
            raise ConnectError(self._describe(cause), refused if refused.status else None) from error
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    def _describe(self, error: BaseException) -> str:
        reason = str(error) or type(error).__name__
        if (refused := self._server.refused).status and type(error).__name__ == "MCPError":
            described = refused.describe(reason)
            reason = described if reason in _STAND_INS else f"{reason} ({described})"
        failure = "refused the request" if refused.is_refusal else "cannot be reached"
        text = f"{self._server.name} {failure}: {reason}"
        if self._client.noise:
            text += "; it prints to its standard output, where only messages belong"
        output = self._server.last_output()
        return f"{text}\n\nIt said:\n{output}" if output else text


async def _check_era(client: Connected, era: Era, log_level: str | None, name: str) -> None:
    """Check the negotiated era, and ask for log messages in a session."""
    stateless = client.protocol_version in STATELESS
    if era == "stateless" and not stateless:
        raise ConnectError(f"{name} does not speak {STATELESS[0]}; it speaks {client.protocol_version}")
    if log_level is not None and not stateless and client.server_capabilities.logging is not None:
        from mcp_types import EmptyResult, SetLevelRequest, SetLevelRequestParams

        params = SetLevelRequestParams.model_validate({"level": log_level})
        await client.session.send_request(SetLevelRequest(params=params), EmptyResult)


@asynccontextmanager
async def in_own_task(manager: AbstractAsyncContextManager[Value]) -> AsyncIterator[Value]:
    """Enter a context manager in a task of its own, and leave it in that task when the caller leaves.

    Exceptions of the caller's block are not passed to it.

    Raises:
        BaseException: an exception of the manager when it is entered or left.
    """
    entered: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def run() -> None:
        async with manager as value:
            entered.set_result(value)
            await leave.wait()

    task = asyncio.create_task(run())
    futures: tuple[asyncio.Future[Any], ...] = (task, entered)
    try:
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        if not entered.done():
            entered.cancel()
            await task  # raises the exception of the manager
        yield entered.result()
    except BaseException:
        leave.set()
        if not entered.done() or entered.cancelled():
            task.cancel()  # the manager may still be waiting to be entered
        await _wait_for_end(task)
        raise
    leave.set()
    await _wait_for_end(task)
    task.result()


async def _wait_for_end(task: asyncio.Task[None]) -> None:
    """Wait until a task has ended, even if the scope of the caller was cancelled."""
    from anyio import CancelScope

    with CancelScope(shield=True):
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
    if not task.cancelled():
        task.exception()  # an exception of the caller takes precedence


def require_client() -> None:
    """Check that the official client is installed, in a version that supports both eras.

    Raises:
        ModuleNotFoundError: it is not; the text says what to install, or which file hides a package of its.
    """
    try:
        from mcp import Client  # noqa: F401 - older versions have none
    except (ImportError, AttributeError) as error:
        raise ModuleNotFoundError(what_hides(error) or MORE_PACKAGES) from error


def load_client() -> None:
    """Import the official client and what it needs, before the folder of an app is on the import path.

    A module in that folder may have the name of a package that the client imports.

    Raises:
        ModuleNotFoundError: the official client is not installed.
    """
    require_client()
    importlib.import_module("jsonschema")  # by which the client checks results
    import mcp.client.stdio
    import mcp.client.streamable_http  # noqa: F401

    import enfilade.client.recording_client  # noqa: F401


def innermost(error: BaseException) -> BaseException:
    """Return the first exception inside nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
