"""The state of the official client, from a stored login and back, and requests for tokens that are made of it.

The client stores less itself than a refresh needs. And it does not have all grants: for the others, requests to
the token endpoint are made here.
"""

from __future__ import annotations

import time
from typing import Any, Final

import httpx2
from mcp.client.auth.oauth2 import OAuthContext
from mcp.shared.auth import (
    OAuthClientInformationFull,
    OAuthMetadata,
    OAuthToken,
    ProtectedResourceMetadata,
)

from enfilade.auth.urls import normalized
from enfilade.client.login.options import Grant, LoginOptions
from enfilade.client.login.token_file import Login

#: Seconds before its expiry at which a token is refreshed.
_MARGIN: Final = 10.0


def load_into(context: OAuthContext, login: Login, options: LoginOptions) -> None:
    """Give the official client a stored login, and the client that the options name."""
    context.current_tokens = _parsed(OAuthToken, login.tokens or None)
    context.token_expiry_time = login.expires_at
    context.client_info = _registered_client(options) or _parsed(OAuthClientInformationFull, login.client)
    context.oauth_metadata = _parsed(OAuthMetadata, login.metadata)
    context.protected_resource_metadata = _parsed(ProtectedResourceMetadata, login.resource_metadata)
    context.auth_server_url = login.issuer or None


def login_from(
    context: OAuthContext,
    grant: Grant,
    options: LoginOptions,
    client: OAuthClientInformationFull | None,
    tokens: OAuthToken | None,
) -> Login:
    """Return the login of the official client, to store it. A secret of the options is left out.

    Args:
        context: the state of the official client.
        grant: how the login was made.
        options: how to log in.
        client: the client that has logged in.
        tokens: what it has got; None if the login has not ended.
    """
    record = _dumped(client)
    if record is not None and options.client_id is not None:
        record = {"client_id": record["client_id"], "token_endpoint_auth_method": "none"}
    uris = context.client_metadata.redirect_uris
    lifetime = None if tokens is None else tokens.expires_in
    return Login(
        server=normalized(context.server_url),
        grant=grant,
        issuer=context.auth_server_url or "",
        redirect_uri=str(uris[0]) if uris else "",
        client=record,
        tokens=_dumped(tokens),
        expires_at=None if lifetime is None else time.time() + lifetime - _MARGIN,
        metadata=_dumped(context.oauth_metadata),
        resource_metadata=_dumped(context.protected_resource_metadata),
    )


def granted_scopes(context: OAuthContext) -> frozenset[str] | None:
    """Return the scopes of the token in use, as the authorization server has said; None if nobody knows."""
    tokens = context.current_tokens
    return None if tokens is None or tokens.scope is None else frozenset(tokens.scope.split())


def is_of_same_client(stored: Login, login: Login) -> bool:
    """Whether two logins are of one client at one authorization server."""
    names = [(each.issuer, each.grant, (each.client or {}).get("client_id")) for each in (stored, login)]
    return names[0] == names[1]


def is_newer(stored: Login, login: Login, context: OAuthContext) -> bool:
    """Whether a stored login is the one that is in use, with other tokens."""
    if stored.tokens is None or context.current_tokens is None or context.client_info is None:
        return False
    is_same = stored.issuer == (context.auth_server_url or "") and stored.grant == login.grant
    is_same = is_same and (stored.client or {}).get("client_id") == context.client_info.client_id
    return is_same and stored.tokens.get("access_token") != context.current_tokens.access_token


def _registered_client(options: LoginOptions) -> OAuthClientInformationFull | None:
    """Return the client that the options name."""
    if options.client_id is None:
        return None
    secret = options.client_secret
    return OAuthClientInformationFull(
        client_id=options.client_id,
        client_secret=None if secret is None else secret.get_secret_value(),
        token_endpoint_auth_method="none" if secret is None else "client_secret_basic",
    )


def _parsed(model: Any, document: dict[str, Any] | None) -> Any:
    """Return a document as a model of the official client; None if it is none."""
    return None if document is None else model.model_validate(document)


def _dumped(model: Any) -> dict[str, Any] | None:
    if model is None:
        return None
    document: dict[str, Any] = model.model_dump(mode="json", exclude_none=True)
    return document


# -- requests to the token endpoint ---------------------------------------------------------------------------


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
