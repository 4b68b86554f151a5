"""A resource server whose authorization server has the keys that the environment holds."""

import os

import httpx

from enfilade.auth import AuthorizationServer, ResourceServer


def _answer(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(os.environ["BENCH_KEYS"].encode()))


def resource_server() -> ResourceServer:
    """Return a resource server that fetches its keys in the way of any other, except that no socket is opened."""
    issuer = os.environ["BENCH_ISSUER"]
    server = AuthorizationServer(
        issuer,
        jwks_uri=f"{issuer}/jwks",
        http_client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(_answer)),
    )
    return ResourceServer(os.environ["BENCH_RESOURCE"], [server], scopes=["notes:read"])
