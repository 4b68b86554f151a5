"""The end of a login at its authorization server: its tokens are revoked there (RFC 7009)."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import quote

import httpx2

from enfilade.client.login.options import LoginError
from enfilade.client.login.request_checks import safe_url
from enfilade.client.login.responses import error_of, read_limited
from enfilade.client.login.token_file import Login

#: The refresh token first: with it, most servers revoke the access tokens that it has brought.
_KINDS: Final = ("refresh_token", "access_token")


async def revoke(login: Login, timeout: float) -> bool:
    """Revoke the tokens of a login, and return whether it has any and its server has an endpoint for that.

    The endpoint is that of the stored metadata, which were those of the issuer when the tokens came.

    Args:
        login: the stored login.
        timeout: limit in seconds.

    Raises:
        LoginError: a token may be valid still; the text says why, and has nothing of it.
    """
    endpoint = (login.metadata or {}).get("revocation_endpoint")
    tokens = [(kind, token) for kind in _KINDS if isinstance(token := (login.tokens or {}).get(kind), str)]
    if endpoint is None or not tokens:
        return False
    safe_url(endpoint, "revocation_endpoint")
    auth, form = _authentication(login.client or {})
    headers = {"Accept-Encoding": "identity"}
    try:
        async with asyncio.timeout(timeout), httpx2.AsyncClient(timeout=timeout, headers=headers) as client:
            for kind, token in tokens:
                values = {"token": token, "token_type_hint": kind, **form}
                async with client.stream("POST", endpoint, data=values, auth=auth) as response:
                    await read_limited(response, timeout)
                if response.status_code != 200:
                    raise LoginError(
                        f"its authorization server refuses to revoke the tokens: {error_of(response)}"
                    )
    except (httpx2.HTTPError, TimeoutError) as error:
        raise LoginError(
            f"its authorization server cannot be reached to revoke the tokens ({type(error).__name__})"
        ) from None
    return True


def _authentication(client: dict[str, Any]) -> tuple[httpx2.BasicAuth | None, dict[str, str]]:
    """Return how a client authenticates: by a header or by members of the form (RFC 6749 §2.3.1)."""
    client_id, secret = str(client.get("client_id", "")), client.get("client_secret")
    method = client.get("token_endpoint_auth_method")
    if isinstance(secret, str) and method == "client_secret_basic":
        return httpx2.BasicAuth(quote(client_id, safe=""), quote(secret, safe="")), {}
    if isinstance(secret, str) and method == "client_secret_post":
        return None, {"client_id": client_id, "client_secret": secret}
    return None, {"client_id": client_id}
