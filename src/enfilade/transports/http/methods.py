"""The methods of an endpoint besides POST: GET, DELETE, a CORS preflight, and 405 for the rest (E-22, E-23,
E-24).

The endpoint of a server and the bridge (`transports/bridge`) share these decisions. Easy to get wrong: revision
2026-07-28 has POST only, so a request that names it gets 405 with `Allow: POST`, also for methods that the
endpoint serves to others.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from enfilade.transports.asgi_types import Headers, Send
from enfilade.transports.http.origin_checks import preflight
from enfilade.transports.http.response import send_empty, send_json
from enfilade.transports.request_parsing import check_version, version_of
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError, encode_error
from enfilade.wire.revisions import STATELESS

T = TypeVar("T")

#: By HTTP method, what serves it.
MethodTable = Mapping[str, Callable[[], Awaitable[T]]]

_POST_ONLY: Final = b"POST"


async def serve_method(
    method: str,
    fields: Mapping[bytes, bytes],
    table: MethodTable[T],
    headers: Headers,
    send: Send,
    *,
    allow: bytes,
) -> T | None:
    """Serve a request that is not a POST.

    Args:
        method: of the request.
        fields: headers of the request.
        table: what serves each method.
        headers: of every response to this request.
        send: of ASGI.
        allow: value of the `Allow` header of a 405; `POST` if the table is empty.

    Returns:
        What the entry of the table returns; None if there is no entry.

    Raises:
        RpcError: the revision is unknown, or the entry raises it.
    """
    version = version_of(fields)
    if version in STATELESS:
        reason, allow = f"{method} is not part of revision {version}", _POST_ONLY
    elif method == "OPTIONS" and b"origin" in fields:
        await send_empty(send, 204, preflight(fields[b"origin"], fields))
        return None
    elif (serve := table.get(method)) is not None:
        check_version(version)
        return await serve()
    else:
        reason, allow = f"{method} is not offered here; messages are POSTed", allow if table else _POST_ONLY
    error = RpcError(INVALID_REQUEST, reason)
    await send_json(send, 405, encode_error(None, error), [*headers, (b"allow", allow)])
    return None
