"""Log in at a server before a client is connected to it.

A login takes the time of a person, and a handshake has a limit. So a request is sent first that does nothing but
to find out whether the server wants a token.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from typing import Final

import httpx2
from mcp.client.auth import OAuthFlowError
from msgspec import structs

from enfilade.auth.urls import check_url
from enfilade.client.login import token_file
from enfilade.client.login.options import LoginError, LoginOptions
from enfilade.client.login.provider import LoginProvider
from enfilade.client.login.responses import names_metadata, one_line, reason_of, refusal_of
from enfilade.client.login.token_file import Login
from enfilade.wire.revisions import LATEST_STATELESS

#: What the official client logs of a login has tracebacks, and may have parts of responses.
_NOISY: Final = ("mcp.client.auth.oauth2", "mcp.client.auth.utils")


@contextlib.asynccontextmanager
async def logged_in(
    url: str, options: LoginOptions, headers: Mapping[str, str] | None = None
) -> AsyncIterator[LoginProvider | None]:
    """Log in at a server if it wants that, and yield what authorizes requests; None if it wants no token.

    Args:
        url: the server.
        options: how to log in.
        headers: headers of each request to the server.

    Raises:
        LoginError: it wants a token, and there is none.
    """
    unsafe = _fault_of(url)
    if unsafe and options.grant == "credentials":
        raise LoginError(unsafe)
    login = None if unsafe or not options.uses_stored else _usable(token_file.load(url), options)
    if login is not None and (missing := _missing_scopes(login, options)):
        if not options.interactive:
            raise LoginError(
                f"the stored login at {url} lacks {', '.join(missing)}: run this at a terminal to log in for that"
            )
        login, options = _for_more_scopes(login, options)
    has_tokens = login is not None and login.tokens is not None
    needs_nobody = has_tokens or options.grant == "credentials"
    with _quiet():
        if not needs_nobody:
            response = await _ask(url, options, headers, None)
            can_log_in = options.interactive and names_metadata(response)
            if response.status_code == 401 and headers and not can_log_in and (reason := refusal_of(response)):
                raise LoginError(f"{url} refused the request (401): {reason}")
            if response.status_code == 401 and unsafe:
                raise LoginError(f"a login is needed (401), and impossible: {unsafe}")
            if response.status_code == 401 and not options.interactive:
                raise LoginError(_how_to_log_in(url, options))
            if unsafe or not options.interactive:
                yield None
                return
        provider = LoginProvider(url, options, login)
        try:
            response = await _ask(url, options, headers, provider)
            if response.status_code == 401:
                raise LoginError(f"{url} does not accept the token that its authorization server gave")
            if has_tokens and not provider.has_logged_in:
                options.show(_how_to_log_out(url, login))
            yield provider
        finally:
            provider.close()


def _fault_of(url: str) -> str:
    """Return why a token must not be sent to a URL: others could read it on its way. Empty if it may be."""
    try:
        check_url(url, "the URL of the server")
    except ValueError as error:
        return str(error)
    return ""


def _usable(login: Login | None, options: LoginOptions) -> Login | None:
    """Return a stored login if it is the one that the options ask for."""
    if login is None:
        return None
    is_same_client = options.client_id is None or (login.client or {}).get("client_id") == options.client_id
    is_same_grant = login.grant != "credentials" and options.grant in ("code", login.grant)
    is_same_issuer = options.issuer is None or login.issuer.rstrip("/") == options.issuer.rstrip("/")
    return login if is_same_client and is_same_grant and is_same_issuer else None


def _missing_scopes(login: Login, options: LoginOptions) -> list[str]:
    """Return the scopes of the options that the tokens of a login do not have."""
    return [] if login.tokens is None else [name for name in options.scopes if name not in _granted(login)]


def _for_more_scopes(login: Login, options: LoginOptions) -> tuple[Login, LoginOptions]:
    """Return a login without tokens, as the same client, and options that ask for its scopes as well."""
    scopes = tuple(dict.fromkeys((*_granted(login), *options.scopes)))
    return structs.replace(login, tokens=None, expires_at=None), replace(options, scopes=scopes)


def _granted(login: Login) -> list[str]:
    """Return the scopes of a login's tokens, as far as the authorization server has said."""
    scope = (login.tokens or {}).get("scope")
    return scope.split() if isinstance(scope, str) else []


def _how_to_log_in(url: str, options: LoginOptions) -> str:
    without = "" if options.uses_stored else " without --no-login"
    return (
        f"{url} wants a login (401): run this at a terminal{without}, or give a token by --token-env NAME; "
        f"`enfilade auth check {url}` shows what it asks for"
    )


def _how_to_log_out(url: str, login: Login | None) -> str:
    issuer = one_line(login.issuer) if login is not None and login.issuer else "an earlier command"
    return f"with the stored login of {issuer}; `enfilade auth logout {url}` ends it"


async def _ask(
    url: str, options: LoginOptions, headers: Mapping[str, str] | None, auth: LoginProvider | None
) -> httpx2.Response:
    """Send `server/discover`, which changes nothing, and return the response, whatever it is.

    Raises:
        LoginError: the login that it needs has failed. What else fails, the client that connects reports better.
    """
    meta = "io.modelcontextprotocol"
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "server/discover",
        "params": {
            "_meta": {
                f"{meta}/protocolVersion": LATEST_STATELESS,
                f"{meta}/clientInfo": {"name": "enfilade", "version": "0"},
                f"{meta}/clientCapabilities": {},
            }
        },
    }
    request_headers = {
        **(headers or {}),
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": LATEST_STATELESS,
        "Mcp-Method": "server/discover",
    }
    client = httpx2.AsyncClient(timeout=options.request_timeout, auth=auth)
    async with client:
        try:
            async with client.stream(
                "POST", url, content=json.dumps(message), headers=request_headers
            ) as response:
                return response
        except OAuthFlowError as error:
            reason = auth.failure if auth is not None and auth.failure else reason_of(error)
            raise LoginError(f"the login at {url} failed: {reason}") from None
        except httpx2.HTTPError as error:
            if str(error.request.url) == str(httpx2.URL(url)):
                return httpx2.Response(503)
            raise LoginError(f"the login failed: {error.request.url.host} {_failure(error)}") from None


def _failure(error: httpx2.HTTPError) -> str:
    kind = "has not answered in time" if isinstance(error, httpx2.TimeoutException) else "cannot be reached"
    return f"{kind} ({type(error).__name__})"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log of the official client's logins."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, state in zip(loggers, before, strict=True):
            logger.disabled = state
