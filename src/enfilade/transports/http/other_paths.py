"""Requests for any other path than the endpoint's and those of probes.

Two kinds of clients ask here although nothing is served: OAuth clients, which look for a way to authorize before
they send their first message, and browsers, whose pages can read a response only with CORS headers. So a refusal
on a path of OAuth has the form that OAuth clients parse, and pages of an allowed origin can read every response.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import msgspec

from enfilade.transports.asgi_types import Headers, Scope, Send
from enfilade.transports.http.origin_checks import Guard, cors, preflight
from enfilade.transports.http.response import send_empty, send_json
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError, encode_error

_WELL_KNOWN: Final = "/.well-known/"
#: Metadata documents that OAuth clients look for (RFC 9728 §3, RFC 8414 §3, OpenID Connect Discovery 1.0 §4).
_DOCUMENTS: Final = frozenset({"oauth-protected-resource", "oauth-authorization-server", "openid-configuration"})
#: Endpoints that clients assume where there is no metadata (MCP 2025-03-26, authorization, §2.3.3).
_ENDPOINTS: Final = frozenset({"/register", "/authorize", "/token"})

#: `invalid_request` is a code that RFC 6749 §5.2 registers; a client that knows the code reads the description.
_NO_OAUTH: Final = msgspec.json.encode(
    {
        "error": "invalid_request",
        "error_description": "This server has no authorization, so there is nothing to discover or to register; "
        "send requests without a token",
    }
)
_NOT_KEPT: Final = (b"cache-control", b"no-store")


def is_oauth(path: str) -> bool:
    """Whether a path, without the prefix of a mount, is one at which an OAuth client asks.

    Documents may have the issuer's or the resource's own path before or after the well-known part.
    """
    _, found, document = path.partition(_WELL_KNOWN)
    return document.partition("/")[0] in _DOCUMENTS if found else path in _ENDPOINTS


def origin_headers(guard: Guard, scope: Mapping[str, Any]) -> Headers:
    """Return the CORS headers of a response: none unless the request has an allowed Origin."""
    origin = guard.readable_by(_fields(scope))
    return [] if origin is None else cors(origin)


async def answer_other_path(
    scope: MutableMapping[str, Any], send: Send, guard: Guard, path: str, endpoint: str
) -> None:
    """Answer a request for a path at which nothing is served: HTTP 404, or 204 for a preflight.

    Args:
        scope: of the request.
        send: of the request.
        guard: says which origins may read the response.
        path: the path without the prefix of a mount.
        endpoint: path of the MCP endpoint, for the message.
    """
    if await answer_preflight(scope, send, guard):
        return
    headers = origin_headers(guard, scope)
    if is_oauth(path):
        await send_json(send, 404, _NO_OAUTH, [_NOT_KEPT, *headers])
        return
    error = RpcError(INVALID_REQUEST, f"nothing here; the MCP endpoint is {endpoint}")
    await send_json(send, 404, encode_error(None, error), headers)


async def answer_preflight(scope: MutableMapping[str, Any], send: Send, guard: Guard) -> bool:
    """PostResponse the preflight of a page of an allowed origin; return whether the request was one."""
    if scope["method"] != "OPTIONS":
        return False
    fields = _fields(scope)
    origin = guard.readable_by(fields)
    if origin is None:
        return False
    await send_empty(send, 204, preflight(origin, fields))
    return True


def _fields(scope: Mapping[str, Any]) -> dict[bytes, bytes]:
    """Return the headers of a request; none where they contradict each other, so that no page may read."""
    try:
        return http.read(scope["headers"])
    except RpcError:
        return {}


def inner_path(scope: Scope) -> str:
    """Return a request's path without that under which a host has mounted the app.

    ASGI wants the whole `root_path` at the beginning of `path`. Behind a proxy that strips a prefix, frameworks
    put the prefix into `root_path` alone (`FastAPI(root_path="/api/v1")`). Then `path` begins with the path of
    the mount, which is the end of `root_path`.
    """
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "").rstrip("/")
    while prefix:
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
            return path[len(prefix) :]
        start = prefix.find("/", 1)
        prefix = "" if start < 0 else prefix[start:]
    return path
