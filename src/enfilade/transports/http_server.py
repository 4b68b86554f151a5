"""Serving over HTTP by uvicorn, for `run()`; any other ASGI server will do as well.

The easy thing to get wrong is the end: uvicorn waits for open responses, and an event stream that waits for
changes is open for as long as its client likes. So the streams are told to end before the waiting begins.
"""

import socket
from collections.abc import Callable
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_streams = end_streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._end_streams()
        await super().shutdown(sockets)


def serve_http(
    app: Any, *, host: str, port: int, log_level: str, shutdown_timeout: float, end_streams: Callable[[], None]
) -> None:
    """Serve an ASGI app until a signal asks to stop.

    Args:
        shutdown_timeout: seconds that requests in flight get to finish.
        end_streams: ends the streams that wait for changes.

    Raises:
        SystemExit: the server could not start; uvicorn has logged why.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level=log_level,
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(shutdown_timeout)),
        server_header=False,
    )
    server = _Server(config, end_streams)
    try:
        server.run()
    except KeyboardInterrupt:  # uvicorn raises it again once everything is put away
        return
    if not server.started:
        raise SystemExit(3)
