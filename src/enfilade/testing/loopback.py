"""An app behind a real socket of 127.0.0.1, served by uvicorn in the running event loop.

Easy to get wrong: uvicorn's own loop takes over signals, and looks for its end ten times a second. So its start
and its stop are called here, with nothing in between, and a test costs milliseconds.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from enfilade.transports import lean_uvicorn
from enfilade.transports.http_server import http_protocol

lean_uvicorn.enter()
import uvicorn  # noqa: E402 - as lean as that has made it

if TYPE_CHECKING:
    from enfilade.app import MCPApp


@asynccontextmanager
async def served(app: MCPApp) -> AsyncIterator[str]:
    """Serve an app on a free port, and yield the URL of its endpoint."""
    config = uvicorn.Config(
        _asgi(app),
        http=http_protocol(),
        ws="none",
        lifespan="off",  # `running` has it, and lets what it raises arrive
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        async with app.running():
            await server.startup(sockets=[listener])
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}{app.settings.path}"
            finally:
                app.drain()
                await server.shutdown(sockets=[listener])


def _asgi(app: Any) -> Any:
    """Return the app for uvicorn, whose types know more than ASGI says."""
    return app
