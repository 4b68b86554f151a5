"""Responses on all other paths than the endpoint's: health probes, OAuth discovery, preflights, 404.

OAuth clients look for a way to authorize before they send their first message, so a refusal on a path of OAuth
has the form that they parse. Pages in browsers can read a response only with CORS headers, so pages of an allowed
origin get them with every response.

Probes call by IP address and without credentials, so neither is checked, and the response has nothing but a short
reason. Alive and ready are two questions: a process that drains, or whose store is unavailable, is not ready, but
restarting it would help nobody.
"""

from typing import Final

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
_NO_STORE: Final = (b"cache-control", b"no-store")


def is_oauth(path: str) -> bool:
    """Whether a path, without the prefix of a mount, is one at which an OAuth client asks.

    Documents may have the issuer's or the resource's own path before or after the well-known part.
    """
    _, well_known, document = path.partition(_WELL_KNOWN)
    return document.partition("/")[0] in _DOCUMENTS if well_known else path in _ENDPOINTS


def origin_headers(guard: Guard, scope: Scope) -> Headers:
    """Return the CORS headers of a response: none unless the request has an allowed Origin."""
    origin = guard.readable_by(_fields(scope))
    return [] if origin is None else cors(origin)


async def answer_other_path(scope: Scope, send: Send, guard: Guard, path: str, endpoint: str) -> None:
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
        await send_json(send, 404, _NO_OAUTH, [_NO_STORE, *headers])
        return
    error = RpcError(INVALID_REQUEST, f"nothing here; the MCP endpoint is {endpoint}")
    await send_json(send, 404, encode_error(None, error), headers)


async def answer_preflight(scope: Scope, send: Send, guard: Guard) -> bool:
    """PostResponse the preflight of a page of an allowed origin; return whether the request was one."""
    if scope["method"] != "OPTIONS":
        return False
    fields = _fields(scope)
    origin = guard.readable_by(fields)
    if origin is None:
        return False
    await send_empty(send, 204, preflight(origin, fields))
    return True


def _fields(scope: Scope) -> dict[bytes, bytes]:
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


# -- probes ----------------------------------------------------------------------------------------------------


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """The response to a probe.

    Attributes:
        status: `ok` or `unavailable`.
        reason: why it is unavailable.
    """

    status: str
    reason: str | None = None


async def answer_probe(scope: Scope, send: Send, reason: str | None, headers: Headers) -> None:
    """Answer a probe.

    Args:
        scope: of its request.
        send: of its request.
        reason: why the answer is no; None for yes.
        headers: what the response carries besides.
    """
    headers = [_NO_STORE, *headers]
    if scope["method"] not in ("GET", "HEAD"):
        body = msgspec.json.encode(Health("unavailable", "probes use GET or HEAD"))
        await send_json(send, 405, body, [*headers, (b"allow", b"GET, HEAD")])
        return
    health = Health("ok") if reason is None else Health("unavailable", reason)
    await send_json(send, 200 if reason is None else 503, msgspec.json.encode(health), headers)
