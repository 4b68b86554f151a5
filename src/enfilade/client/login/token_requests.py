"""Requests to the token endpoint for the grants that the official client does not have."""

from __future__ import annotations

import httpx2
from mcp.client.auth.oauth2 import OAuthContext
from mcp.shared.auth import OAuthMetadata


def token_request(context: OAuthContext, endpoint: str, form: dict[str, str]) -> httpx2.Request:
    """Return a request to a token endpoint, with the client's authentication.

    Args:
        context: the state of the official client.
        endpoint: the URL, which the caller has checked.
        form: the members of the request besides the client and the resource.
    """
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    form = dict(form)
    if context.client_info is not None:
        form["client_id"] = context.client_info.client_id
    if context.should_include_resource_param(context.protocol_version):
        form["resource"] = context.get_resource_url()  # RFC 8707
    form, headers = context.prepare_token_auth(form, headers)
    return httpx2.Request("POST", endpoint, data=form, headers=headers)


def scope_form(context: OAuthContext) -> dict[str, str]:
    """Return the member with the scopes that are asked for; none if the server does not say which it needs."""
    scope = context.client_metadata.scope
    return {"scope": scope} if scope else {}


def choose_client_authentication(context: OAuthContext, metadata: OAuthMetadata | None) -> None:
    """Send the client's secret in the body where the server takes none in the header."""
    client = context.client_info
    if client is None or metadata is None:
        return
    methods = metadata.token_endpoint_auth_methods_supported or ["client_secret_basic"]
    if "client_secret_basic" not in methods and "client_secret_post" in methods:
        client.token_endpoint_auth_method = "client_secret_post"
