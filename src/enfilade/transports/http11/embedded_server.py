"""Serving over HTTP in an event loop that the caller owns, for `run_async()`.

The caller stops the server by cancelling the task that awaits it. uvicorn does not handle that: a cancelled
`serve()` leaves the listener, the connections and the lifespan open. Here the first cancellation stops the
server in order, and is raised again when that is done.
"""

import asyncio
import contextlib
import socket
from typing import Final

from enfilade.transports.http11.flow_control import reset
from enfilade.transports.http11.server import Served, Server, ServerOptions
from enfilade.transports.processes.listeners import bind

_ABORTED_LIFESPAN: Final = 1.0  # seconds that the lifespan gets when the server is not stopped in order


class EmbeddedServer(Server):
    """A server that stops in order when its task is cancelled, and never ends the process."""

    def __init__(self, app: Served, options: ServerOptions) -> None:
        super().__init__(app, options)
        self._cancellation: asyncio.CancelledError | None = None

    async def serve_until_cancelled(self, listeners: list[socket.socket]) -> None:
        """Serve until a signal or a cancellation asks to stop, and stop in order.

        Raises:
            RuntimeError: it could not start; the log says why.
            CancelledError: the task was cancelled; the server has stopped by now.
        """
        try:
            await self.serve(listeners)
        except asyncio.CancelledError:  # while it started, or once more while it stopped
            await self._abort()
            raise
        except SystemExit:  # uvicorn cannot listen; the caller's loop goes on
            self.started = False
        if not self.started:
            raise RuntimeError("the server could not start; the log says why")
        if self._cancellation is not None:
            raise self._cancellation

    async def main_loop(self) -> None:
        """Wait until the server should stop."""
        try:
            await super().main_loop()
        except asyncio.CancelledError as error:
            self._cancellation = error

    async def _abort(self) -> None:
        """Close everything at once, and reset the connections."""
        for server in getattr(self, "servers", ()):  # which exists once it listens
            server.close()
        for task in self.server_state.tasks:
            task.cancel("the server is stopping (shutdown)")
        for connection in self.server_state.connections:
            reset(connection.transport)
        lifespan = getattr(self, "lifespan", None)
        if lifespan is not None and lifespan.startup_event.is_set():  # or it still starts
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lifespan.shutdown(), _ABORTED_LIFESPAN)


async def bind_in_thread(host: str, port: int) -> list[socket.socket]:
    """Bind as `listeners.bind` does, without blocking the event loop while a name is resolved.

    Raises:
        ListenError: the text says why it cannot be bound.
    """
    binding = asyncio.ensure_future(asyncio.to_thread(bind, host, port))
    try:
        return await asyncio.shield(binding)
    except asyncio.CancelledError:
        binding.add_done_callback(_close_bound)  # a thread cannot be cancelled
        raise


def _close_bound(binding: "asyncio.Future[list[socket.socket]]") -> None:
    if not binding.cancelled() and binding.exception() is None:
        for sock in binding.result():
            sock.close()


async def serve_http_embedded(app: Served, options: ServerOptions, listeners: list[socket.socket]) -> None:
    """Serve an ASGI app in the running event loop until a signal or a cancellation asks to stop.

    Args:
        app: what to serve.
        options: how.
        listeners: bound sockets; they are closed at the end.

    Raises:
        RuntimeError: it could not start; the log says why.
    """
    try:
        await EmbeddedServer(app, options).serve_until_cancelled(listeners)
    finally:
        for listener in listeners:
            listener.close()
