"""Who calls, by a header that is believed: for tests of what belongs to a principal."""

from collections.abc import Mapping, Sequence

from enfilade.serving.principal import Principal
from enfilade.transports.exchange import HttpRequest
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError


class HeaderUsers:
    """An authenticator that believes `X-User`.

    Args:
        everybody: who calls without the header.
    """

    def __init__(self, everybody: str = "somebody") -> None:
        self._everybody = everybody

    def known(self, request: HttpRequest, fields: Mapping[bytes, bytes]) -> Principal:
        return Principal(fields.get(b"x-user", self._everybody.encode()).decode())

    async def authenticate(self, request: HttpRequest, fields: Mapping[bytes, bytes]) -> Principal:
        return self.known(request, fields)

    def lacks_scopes(self, request: HttpRequest | None, scopes: Sequence[str]) -> RpcError:
        return RpcError(INVALID_REQUEST, "lacks scopes", status=403)

    async def close(self) -> None:
        return
