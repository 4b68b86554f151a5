"""Serving HTTP requests with a record of each: opened when one arrives, closed when its response was sent."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from enfilade.serving.observation.current import current_record
from enfilade.serving.observation.observer import Observation
from enfilade.transports.exchange import HttpExchange

_REQUEST_ID: Final = b"x-request-id"


def observed(
    observation: Observation, serve: Callable[[HttpExchange], Awaitable[None]]
) -> Callable[[HttpExchange], Awaitable[None]]:
    """Return what serves an HTTP request as `serve` does, with a record of it."""

    async def serve_and_record(exchange: HttpExchange) -> None:
        record = observation.open_http("http", exchange, exchange.method)
        token = current_record.set(record)
        id_header = (_REQUEST_ID, record.request_id.encode())
        try:
            record.http = recorded = exchange.recorded(record, id_header)
            await serve(recorded)
        except asyncio.CancelledError:
            record.settle(None)
            raise
        finally:
            current_record.reset(token)
            if record.request is None:
                record.path = exchange.path
            observation.end(record)

    return serve_and_record
