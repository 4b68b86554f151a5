"""`connect`: the official client at the other end of any transport, in either era.

Easy to get wrong: an era that is merely preferred. A test of one era must not pass because the other was spoken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from enfilade.client.errors import ConnectError, innermost, require_client
from enfilade.client.held import held
from enfilade.client.scripted_answers import Given, Script
from enfilade.client.targets import Approach, Command, Opened, Target, Transport, opened, transport_to
from enfilade.wire.revisions import STATELESS

if TYPE_CHECKING:
    from enfilade.client.recording_client import Connected

Era: TypeAlias = Literal["stateless", "session", "auto"]

#: By era, the mode of `mcp.Client`. It asks a server what it speaks where a pinned revision would ask nothing.
_MODES: Final = {"stateless": "auto", "session": "legacy", "auto": "auto"}


class Connect(Protocol):
    """The type of the fixture `mcp_connect`: `connect` for the app, the era and the transport of a test."""

    def __call__(
        self,
        *,
        answers: Given | None = None,
        sampling: Given | None = None,
        roots: Sequence[str | Path] | None = None,
        **options: Any,
    ) -> AbstractAsyncContextManager[Connected]:
        """Connect the official client; all options are those of `connect`."""


@asynccontextmanager
async def connect(
    target: Target,
    *,
    era: Era = "auto",
    transport: Transport | None = None,
    answers: Given | None = None,
    sampling: Given | None = None,
    roots: Sequence[str | Path] | None = None,
    log_level: str | None = "debug",
    timeout: float | None = 30.0,
    headers: Mapping[str, str] | None = None,
    principal: str | None = None,
    path: str | None = None,
    **options: Any,
) -> AsyncIterator[Connected]:
    """Connect the official client to a server.

    Args:
        target: an `MCPApp`; a host that holds one, which is any ASGI application, such as FastAPI's; a `Command`
            that starts a server on its pipes; or the URL of one.
        era: `stateless` (2026-07-28), `session` (`initialize`), or `auto` for what the server prefers.
        transport: how to reach an app: `memory` (default), `http` on a free port, or `stdio` in another process.
            A host is reached over http, with its own middleware and lifespan.
        answers: to elicitation, in order: `accept({…})`, `decline()`, `cancel()` or the fields of a form; or a
            function of the `Question`, `async` or not. None for a client that cannot be asked.
        sampling: texts that the client's model says, in order, or a function. None for a client without a model.
        roots: the directories that the user has opened.
        log_level: the least level of log messages that the server is asked for; None to ask for none.
        timeout: seconds that each answer may take, and the whole handshake with a command or a URL; None for no
            limit.
        headers: of each HTTP request; with them, an app is reached over http.
        principal: who the client is, as if a host had authenticated them: `ctx.peer.principal`.
        path: of the endpoint in a host, where its routes do not say it.
        options: passed to `mcp.Client` as they are.

    Yields:
        The client, with `logs`, `progress`, `questions` and `answers_left`. What is raised while it is connected
        arrives as it was raised. It may be left in another task than it was entered in, of the same event loop.

    Raises:
        ConnectError: the server cannot be reached, or does not speak that era.
        LoadError: over stdio, the app is made where no other process could find it.
        ModuleNotFoundError: the official client is not installed.
        TypeError: the target is none of these.
        ValueError: there is no such era or transport, or it does not lead there; or a host holds no app that can
            be found, or several.
    """
    require_client()
    if era not in _MODES:
        raise ValueError(f"there is no era {era!r}; use 'stateless', 'session' or 'auto'")
    from enfilade.client.recording_client import Connected

    approach = Approach(headers, principal, path)
    way = transport_to(target, transport, approach)
    script = Script(answers, sampling, roots)

    @asynccontextmanager
    async def connected() -> AsyncIterator[tuple[Connected, str]]:
        async with opened(target, way, approach) as found:
            client = Connected(
                found.streams,
                script,
                **{"mode": _MODES[era], "log_level": log_level, "read_timeout_seconds": timeout, **options},
            )
            ours = not isinstance(target, str | Command) and way != "stdio"
            async with _Reached(client, found, ours, timeout):
                yield client, found.name

    async with held(connected()) as (client, name):
        await _agree(client, era, log_level, name)
        yield client
        client.check_answers()


class _Reached:
    """Enters a client, and says what is wrong with the server if that fails; what an app here raises says it.

    Args:
        client: to be entered.
        found: the way to the server.
        ours: whether it is an app in this process, whose lifespan may take as long as it takes.
        timeout: seconds for the handshake with any other; None for no limit. The official client asks twice, and
            has a longer limit of its own for the first question (`server/discover`).
    """

    def __init__(self, client: Connected, found: Opened, ours: bool, timeout: float | None) -> None:
        self._client = client
        self._found = found
        self._ours = ours
        self._timeout = None if ours else timeout

    async def __aenter__(self) -> Connected:
        # No cancel scope of anyio's: those that the client enters here stay open beyond this block.
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                await self._client.__aenter__()
        except Exception as error:
            if self._ours:
                raise innermost(error) from None
            late = TimeoutError(f"it has not answered within {self._timeout:g} s") if limit.expired() else None
            raise ConnectError(self._why(late or innermost(error))) from error
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    def _why(self, error: BaseException) -> str:
        text = f"{self._found.name} cannot be reached: {str(error) or type(error).__name__}"
        if self._client.noise:
            text += "; it prints to its standard output, where only messages belong"
        words = self._found.last_words()
        return f"{text}\n\nIt said:\n{words}" if words else text


async def _agree(client: Connected, era: Era, log_level: str | None, name: str) -> None:
    """See to it that the era is spoken that was asked for, and that log messages come in it."""
    stateless = client.protocol_version in STATELESS
    if era == "stateless" and not stateless:
        raise ConnectError(f"{name} does not speak {STATELESS[0]}; it speaks {client.protocol_version}")
    if log_level is not None and not stateless and client.server_capabilities.logging is not None:
        from mcp_types import EmptyResult, SetLevelRequest, SetLevelRequestParams

        params = SetLevelRequestParams.model_validate({"level": log_level})
        await client.session.send_request(SetLevelRequest(params=params), EmptyResult)
