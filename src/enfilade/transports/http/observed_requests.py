"""Serving HTTP requests with a record of each: opened when one arrives, closed when its response was sent."""

import asyncio
from collections.abc import Awaitable, Callable

from enfilade.serving.observation.current import current_record
from enfilade.serving.observation.observer import Observation
from enfilade.transports.exchange import HttpExchange


def observed(
    observation: Observation, serve: Callable[[HttpExchange], Awaitable[None]]
) -> Callable[[HttpExchange], Awaitable[None]]:
    """Return what serves an HTTP request as `serve` does, with a record of it."""

    async def serve_and_record(exchange: HttpExchange) -> None:
        exchange.record = record = observation.open_http(exchange)
        token = current_record.set(record)
        try:
            await serve(exchange)
        except asyncio.CancelledError:
            record.settle(None)
            raise
        finally:
            current_record.reset(token)
            observation.end(record)

    return serve_and_record
