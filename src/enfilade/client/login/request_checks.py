"""To whom requests of a login may go: each endpoint is taken from its issuer's own document, and from no other.

The protected server only names its authorization server. What it says beyond that is not believed: otherwise, it
could name an issuer that the user trusts, and get the secret of the client, or the code, for itself.
"""

from __future__ import annotations

from typing import Any

import httpx2
from mcp.client.auth.oauth2 import OAuthContext
from mcp.client.auth.utils import build_oauth_authorization_server_metadata_discovery_urls, issuers_match
from mcp.shared.auth import OAuthMetadata

from enfilade.auth.urls import check_url
from enfilade.client.login.options import LoginError
from enfilade.client.login.responses import one_line


def safe_url(url: object, name: str) -> str:
    """Return a URL that is safe for a login: by https, or to this machine (R-617).

    Raises:
        LoginError: it is none; the text says why.
    """
    try:
        return check_url(url, name)
    except (TypeError, ValueError) as error:
        raise LoginError(one_line(str(error))) from None


def metadata_of(context: OAuthContext, issuer: str) -> OAuthMetadata | None:
    """Return the metadata of an issuer; None for servers of 2025-03-26 that have none and are their own issuer.

    Without metadata, the official client sends what it has for the authorization server to the protected server.
    It also goes on with metadata that it has, if it cannot get those of another issuer.

    Raises:
        LoginError: what is there is of another issuer, or the server has named an issuer without metadata.
    """
    metadata = context.oauth_metadata
    if metadata is None and context.auth_server_url is None:
        return None
    if metadata is None or not issuers_match(str(metadata.issuer), issuer):
        raise LoginError(f"the authorization server {issuer} gives no metadata of its own, so no login is safe")
    return metadata


def check_request(request: httpx2.Request, context: OAuthContext, issuer: str) -> None:
    """Check that a request of a login is safe, and goes to the issuer; documents may be read anywhere.

    Raises:
        LoginError: it is not.
    """
    safe_url(str(request.url), "an endpoint of the login")
    if request.method == "GET":
        return
    metadata = metadata_of(context, issuer)
    if metadata is None:
        is_right = _origin(request.url) == _origin(httpx2.URL(context.server_url))
    elif metadata.registration_endpoint is None and request.headers.get("content-type") == "application/json":
        raise LoginError(
            f"clients cannot register at {issuer} by themselves: register one there, and give --client-id, "
            "or use --client-credentials or --token-env"
        )
    else:
        endpoints = (metadata.token_endpoint, metadata.registration_endpoint)
        is_right = any(request.url == httpx2.URL(str(endpoint)) for endpoint in endpoints if endpoint is not None)
    if not is_right:
        raise LoginError(f"{request.url.host} is no endpoint that the authorization server {issuer} names")


def is_metadata_of(request: httpx2.Request, document: dict[str, Any], context: OAuthContext, issuer: str) -> bool:
    """Whether a document is the metadata of an issuer: it is at its place, and names it (RFC 8414 §3.3)."""
    places = build_oauth_authorization_server_metadata_discovery_urls(context.auth_server_url, context.server_url)
    named = document.get("issuer")
    is_there = any(request.url == httpx2.URL(place) for place in places)
    return is_there and isinstance(named, str) and issuers_match(named, issuer)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
