"""An ASGI application behind a real socket of 127.0.0.1, served by uvicorn in the running event loop.

Easy to get wrong: uvicorn's own loop takes over signals, and looks for its end ten times a second. So its start
and its stop are called here, with nothing in between, and a test costs milliseconds.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from enfilade.app import MCPApp
from enfilade.startup import uvicorn_import
from enfilade.transports.http11.server import http_protocol

uvicorn_import.import_uvicorn()
import uvicorn  # noqa: E402 - as lean as that has made it


@asynccontextmanager
async def served(target: Any, principal: str | None = None) -> AsyncIterator[str]:
    """Serve an app, or a host that holds apps, on a free port, and yield the URL of its root.

    Args:
        target: an `MCPApp`, or any ASGI application.
        principal: who each request comes from, as if a host had authenticated them; None for nobody.
    """
    async with AsyncExitStack() as stack:
        state: dict[str, Any] = {}
        apps = [target] if isinstance(target, MCPApp) else []
        if not apps:
            from enfilade.client.hosts import apps_of, lifespan_of

            state = await stack.enter_async_context(lifespan_of(target))
            apps = apps_of(target)
        for app in apps:  # whose lifespans a host does not run; one that is up already is left as it is
            await stack.enter_async_context(app.running())
        server = _server(target if principal is None else _as_user(target, principal))
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
        lifespan="off",  # ours has it, and lets what it raises arrive
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server


class _User:
    """A user as Starlette's authentication leaves one in the scope."""

    is_authenticated = True

    def __init__(self, name: str) -> None:
        self.identity = self.display_name = name


def _as_user(asgi: Any, name: str) -> Callable[..., Any]:
    user = _User(name)

    async def authenticated(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await asgi({**scope, "user": user}, receive, send)

    return authenticated
