"""Serve an app, or a host that contains apps, on a port of 127.0.0.1, by uvicorn in the running event loop.

A host is any ASGI application that contains an app: FastAPI, Starlette, and middleware around them.

Easy to get wrong:
- uvicorn's main loop takes over signals, and checks for its end ten times a second. So only its start-up and its
  shutdown are called, and a test costs milliseconds.
- The lifespan of a host is run here, not by uvicorn, so that its exceptions reach the test unchanged.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from enfilade.app import MCPApp
from enfilade.hosts import apps_of
from enfilade.serving.callers.tool_auth import TOKENS_KEY
from enfilade.serving.principal import Principal
from enfilade.startup import uvicorn_import
from enfilade.transports.asgi import PRINCIPAL_KEY
from enfilade.transports.http11.server import http_protocol

uvicorn_import.import_uvicorn()
import uvicorn  # noqa: E402 - without its command line, by the call above


@asynccontextmanager
async def served(
    target: Any, principal: Principal | None = None, tool_tokens: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """Serve an app, or a host that contains apps, on a free port, and yield the URL of its root.

    Args:
        target: the app or the host.
        principal: who sends each request, as if a host had authenticated them.
        tool_tokens: tokens that tools get, by provider.
    """
    async with AsyncExitStack() as stack:
        state: dict[str, Any] = {}
        apps = [target] if isinstance(target, MCPApp) else []
        if not apps:
            state = await stack.enter_async_context(lifespan_of(target))
            apps = apps_of(target)
        for app in apps:  # a host does not run their lifespans; one that is running already is not run again
            await stack.enter_async_context(app.running())
        stated = {PRINCIPAL_KEY: principal, TOKENS_KEY: tool_tokens}
        stated = {key: value for key, value in stated.items() if value is not None}
        server = _server(_with_state(target, stated) if stated else target)
        server.lifespan.state = state
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        await server.startup(sockets=[listener])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for app in apps:
                app.drain()
            await server.shutdown(sockets=[listener])


def _server(asgi: Any) -> uvicorn.Server:
    config = uvicorn.Config(
        asgi,
        http=http_protocol(),
        ws="none",
        lifespan="off",  # it is run above, so that its exceptions reach the test
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server


def _with_state(asgi: Any, stated: Mapping[str, Any]) -> Callable[..., Any]:
    async def with_state(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await asgi({**scope, "state": {**scope.get("state", {}), **stated}}, receive, send)

    return with_state


@asynccontextmanager
async def lifespan_of(host: Any) -> AsyncIterator[dict[str, Any]]:
    """Run the lifespan of an ASGI application, if it has one, and yield its state for requests."""
    state: dict[str, Any] = {}
    to_host: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    from_host: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    task = asyncio.ensure_future(host(scope, to_host.get, from_host.put))
    has_lifespan = await _lifespan_step("startup", task, to_host, from_host)
    try:
        yield state
    finally:
        if has_lifespan:
            await _lifespan_step("shutdown", task, to_host, from_host)
        task.cancel()
        await asyncio.wait({task})


async def _lifespan_step(step: str, task: asyncio.Future[Any], to_host: Any, from_host: Any) -> bool:
    """Run a step of a lifespan; return False if the host has none.

    Raises:
        BaseException: an exception of the host in this step.
        RuntimeError: the host reports a failure without an exception.
    """
    to_host.put_nowait({"type": f"lifespan.{step}"})
    answer = asyncio.ensure_future(from_host.get())
    await asyncio.wait({task, answer}, return_when=asyncio.FIRST_COMPLETED)
    if not answer.done():
        answer.cancel()
        return False  # it has ended, or does not support lifespans and has raised
    message = answer.result()
    if not message["type"].endswith(".failed"):
        return True
    await asyncio.wait({task}, timeout=1)
    error = task.exception() if task.done() and not task.cancelled() else None
    raise error or RuntimeError(f"the host's lifespan failed: {message.get('message', '')}".rstrip())
