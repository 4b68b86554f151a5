"""Where the pages of tool authorization are, as the user of a call reaches them.

A server with a public URL has them there. On a loopback address they are at the address by which the call came.
Over stdio there is no server, so a listener is opened on this machine, for as long as an authorization waits.

Easy to get wrong: `Host`. A link is never made of it, since whoever sends a request chooses it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from enfilade.auth.tool_auth.pending import LIFETIME
from enfilade.serving.callers.local import is_local, local_base
from enfilade.serving.callers.tool_auth import AuthError
from enfilade.serving.request import Request
from enfilade.transports.asgi import AsgiExchange

log = logging.getLogger("enfilade.auth")

#: Answers a request for a path.
Serve = Callable[[AsgiExchange, str], Awaitable[None]]
#: Seconds for which the listener stays open behind the last authorization, for the page that says so.
_LINGER: Final = 5.0
_LOOK: Final = 1.0


class PageLinks:
    """Says where the pages are.

    Args:
        public_base: the URL of the server before `/auth/…`; None where there is none.
        listener: serves the pages over stdio.
    """

    def __init__(self, public_base: str | None, listener: LocalListener) -> None:
        self._public_base = public_base
        self._listener = listener

    async def base(self, request: Request) -> str:
        """Return the URL of this server as the user of a request reaches it.

        Raises:
            AuthError: there is none.
        """
        if self._public_base is not None:
            return self._public_base
        channel = request.root.channel
        if channel.http is not None and not is_local(channel):
            raise AuthError(
                "The server does not know by which URL its pages are reached; its operator has to set "
                "public_url (ENFILADE_PUBLIC_URL)"
            )
        return local_base(channel) or await self._listener.opened()


class LocalListener:
    """Serves the pages on 127.0.0.1, on a free port, while an authorization waits (A11).

    Args:
        serve: answers a request.
    """

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._lock = asyncio.Lock()
        self._base = ""
        self._ends_at = 0.0
        self._server: Any = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    async def opened(self, port: int = 0) -> str:
        """Listen, for the lifetime of an authorization from now on; return the URL.

        Args:
            port: where to listen, if it does not listen yet; 0 for one that is free.

        Raises:
            AuthError: the port, or any, cannot be bound.
        """
        async with self._lock:
            self._ends_at = time.monotonic() + LIFETIME
            if self._server is None:
                await self._listen(port)
            return self._base

    def end_soon(self) -> None:
        """Stop listening in a moment, as no authorization waits any more."""
        self._ends_at = min(self._ends_at, time.monotonic() + _LINGER)

    async def _listen(self, port: int) -> None:
        import uvicorn

        listener = socket.socket()
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            listener.close()
            log.warning("no port for the pages of authorization can be bound: %s", error)
            where = f"port {port} of this machine, which is in use" if port else "this machine"
            raise AuthError(f"The server cannot open the page for the user's consent on {where}") from None
        options: dict[str, Any] = {"log_config": None, "lifespan": "off", "access_log": False, "ws": "none"}
        options |= {"interface": "asgi3", "proxy_headers": False, "server_header": False}
        config = uvicorn.Config(self._app, timeout_graceful_shutdown=2, **options)
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        self._base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = server
        self._closing = asyncio.create_task(self._close_in_time(server, listener))

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            exchange = AsgiExchange(scope["method"], scope["headers"], scope, receive, send)
            await self._serve(exchange, scope["path"])

    async def _close_in_time(self, server: Any, listener: socket.socket) -> None:
        try:
            while (remaining := self._ends_at - time.monotonic()) > 0:  # noqa: ASYNC110 - it may come nearer
                await asyncio.sleep(min(remaining, _LOOK))
        finally:
            self._server = None
            await server.shutdown(sockets=[listener])
            listener.close()

    async def aclose(self) -> None:
        """Stop listening."""
        if self._closing is not None:
            self._ends_at = 0.0
            await asyncio.gather(self._closing, return_exceptions=True)
            self._closing = None
