"""One request for a route and its response, with the messages of ASGI for those that want them."""

from collections.abc import MutableMapping
from typing import Any

from enfilade.transports.asgi import AsgiExchange, Receive
from enfilade.transports.exchange import Headers


class RouteExchange(AsgiExchange):
    """An exchange that knows whether its response has begun.

    Attributes:
        has_started: after that, an error can only break the response off.
    """

    has_started: bool = False

    @classmethod
    def of(cls, exchange: AsgiExchange) -> "RouteExchange":
        """Return the same exchange for a route."""
        return cls(exchange.method, exchange.headers, exchange.scope, exchange._receive, exchange._send)

    @property
    def receive(self) -> Receive:
        """ASGI's `receive`."""
        return self._receive

    async def send_message(self, message: MutableMapping[str, Any]) -> None:
        """Send a message of ASGI."""
        self.has_started = True
        await self._send(message)

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        self.has_started = True
        await super().send(status, headers, body)

    async def start(self, status: int, headers: Headers) -> None:
        self.has_started = True
        await super().start(status, headers)
