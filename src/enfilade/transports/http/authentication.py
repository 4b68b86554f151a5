"""Who sends a request: what the endpoint asks, before it reads a body, of whoever checks credentials."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from enfilade.serving.principal import Principal
from enfilade.transports.exchange import HttpExchange, HttpRequest
from enfilade.wire.jsonrpc import RpcError


class Authenticator(Protocol):
    """Checks the credentials of each HTTP request (R-609)."""

    def known(self, request: HttpRequest, fields: Mapping[bytes, bytes]) -> Principal | None:
        """Return the principal of credentials that were verified before; None to ask `authenticate`.

        It waits for nothing, as nearly all requests end here.

        Args:
            fields: the headers of the request, by lower-case name.
        """
        ...

    async def authenticate(self, exchange: HttpExchange, fields: Mapping[bytes, bytes]) -> Principal:
        """Check the credentials of a request.

        What they say of its body, and what its response must carry, is set at the exchange.

        Raises:
            RpcError: HTTP 401, 403 or 503, with the headers of a challenge.
        """
        ...

    def lacks_scopes(self, request: HttpRequest | None, scopes: Sequence[str]) -> RpcError:
        """Return the error of a principal without the scopes of an operation (R-605).

        It is HTTP 403 with one challenge.

        Args:
            request: the HTTP request; None for one over stdio or in memory.
            scopes: all that the operation needs (R-606).
        """
        ...

    async def close(self) -> None:
        """Close the connections to authorization servers."""
        ...
