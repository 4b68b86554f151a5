"""Responses on all other paths than the endpoint's: health probes, OAuth discovery, preflights, 404.

OAuth clients look for a way to authorize before they send their first message, so a refusal on a path of OAuth
has the form that they parse. Pages in browsers can read a response only with CORS headers, so pages of an allowed
origin get them with every response.

Probes call by IP address and without credentials, so neither is checked, and the response has nothing but a short
reason. Alive and ready are two questions: a process that drains, or whose store is unavailable, is not ready, but
restarting it would help nobody.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from enfilade.transports.exchange import Headers, HttpExchange, HttpRequest
from enfilade.transports.http.origin_checks import ENDPOINT_METHODS, HostOriginPolicy, cors, preflight
from enfilade.transports.http.response import send_empty, send_json
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError, encode_error

_WELL_KNOWN: Final = "/.well-known/"
#: Metadata documents that OAuth clients look for (RFC 9728 §3, RFC 8414 §3, OpenID Connect Discovery 1.0 §4).
_DOCUMENTS: Final = frozenset({"oauth-protected-resource", "oauth-authorization-server", "openid-configuration"})
#: Endpoints that clients assume where there is no metadata (MCP 2025-03-26, authorization, §2.3.3).
_ENDPOINTS: Final = frozenset({"/register", "/authorize", "/token"})

#: `invalid_request` is a code that RFC 6749 §5.2 registers; a client that knows the code reads the description.
_NO_OAUTH: Final = (
    "This server has no authorization, so there is nothing to discover or to register; "
    "send requests without a token"
)
_NO_STORE: Final = (b"cache-control", b"no-store")


async def refuse(exchange: HttpExchange, refusal: tuple[int, str]) -> None:
    """Answer a request whose Host or Origin is not allowed.

    Args:
        refusal: the HTTP status and the reason, of `HostOriginPolicy.verdict`.
    """
    status, reason = refusal
    await send_json(exchange, status, encode_error(None, RpcError(INVALID_REQUEST, reason)), [])


def is_oauth(path: str) -> bool:
    """Whether a path, without the prefix of a mount, is one at which an OAuth client asks.

    Documents may have the issuer's or the resource's own path before or after the well-known part.
    """
    _, well_known, document = path.partition(_WELL_KNOWN)
    return document.partition("/")[0] in _DOCUMENTS if well_known else path in _ENDPOINTS


def origin_headers(policy: HostOriginPolicy, request: HttpRequest) -> Headers:
    """Return the CORS headers of a response: none unless the request has an allowed Origin."""
    origin = policy.readable_by(_fields(request))
    return [] if origin is None else cors(origin)


async def serve_other_path(
    exchange: HttpExchange, policy: HostOriginPolicy, path: str, endpoint: str, *, login: str = _NO_OAUTH
) -> None:
    """Answer a request for a path at which nothing is served: HTTP 404, or 204 for a preflight.

    Args:
        policy: says which origins may read the response.
        path: the path without the prefix of a mount.
        endpoint: path of the MCP endpoint, for the message.
        login: what an OAuth client reads that looks for an authorization server here.
    """
    if await serve_preflight(exchange, policy):
        return
    headers = origin_headers(policy, exchange)
    if is_oauth(path):
        body = msgspec.json.encode({"error": "invalid_request", "error_description": login})
        await send_json(exchange, 404, body, [_NO_STORE, *headers])
        return
    error = RpcError(INVALID_REQUEST, f"nothing here; the MCP endpoint is {endpoint}")
    await send_json(exchange, 404, encode_error(None, error), headers)


async def serve_preflight(
    exchange: HttpExchange, policy: HostOriginPolicy, methods: Sequence[str] = ENDPOINT_METHODS
) -> bool:
    """Answer the preflight of a page of an allowed origin; return whether the request was one.

    Args:
        methods: those that the path has.
    """
    if exchange.method != "OPTIONS":
        return False
    fields = _fields(exchange)
    origin = policy.readable_by(fields)
    if origin is None:
        return False
    await send_empty(exchange, 204, preflight(origin, fields, methods))
    return True


def _fields(request: HttpRequest) -> dict[bytes, bytes]:
    """Return the headers of a request; none where they contradict each other, so that no page may read."""
    try:
        return http.read(request.headers)
    except RpcError:
        return {}


# -- probes ----------------------------------------------------------------------------------------------------


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """The response to a probe.

    Attributes:
        reason: why it is unavailable.
        parts: the status of each part, for a probe that asks for them.
    """

    status: str
    reason: str | None = None
    parts: dict[str, str] | None = None


def is_verbose(exchange: HttpExchange) -> bool:
    """Whether a probe asks for the status of each part: `/readyz?verbose`."""
    query = exchange.query
    return query == b"verbose" or query.startswith((b"verbose&", b"verbose="))


async def serve_probe(
    exchange: HttpExchange, reason: str | None, headers: Headers, parts: Mapping[str, str | None] | None = None
) -> None:
    """Answer a probe.

    Args:
        reason: why the answer is no; None for yes.
        headers: what the response carries besides.
        parts: why each part is not ready, for a probe that asks for them.
    """
    headers = [_NO_STORE, *headers]
    if exchange.method not in ("GET", "HEAD"):
        body = msgspec.json.encode(Health("unavailable", "probes use GET or HEAD"))
        await send_json(exchange, 405, body, [*headers, (b"allow", b"GET, HEAD")])
        return
    told = None if parts is None else {name: problem or "ok" for name, problem in parts.items()}
    health = Health("ok" if reason is None else "unavailable", reason, told)
    await send_json(exchange, 200 if reason is None else 503, msgspec.json.encode(health), headers)
