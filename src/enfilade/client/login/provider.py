"""The OAuth client of the official SDK, with logins that are kept, and with grants for programs and devices.

What it adds to the official client:
- Tokens of an earlier command, with their expiry and the metadata of their issuer, so that they can be refreshed.
- A request is sent at once while its token is valid; the official client sends one after another.
- A token that is refused before its time is refreshed before anybody is asked to log in.
- One of several commands refreshes a login, and the others use what it gets: a refresh token may be for one use.
- The device grant (RFC 8628) and client credentials, and scopes of the user's choice.
- Authorization servers by http on other machines, and those without PKCE, are refused (R-617).
- Endpoints are those of the issuer's own metadata, and responses have a limit.

Easy to get wrong: errors. Those of the official client quote responses, which may hold tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthFlowError, OAuthRegistrationError, TokenStorage
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from enfilade.auth.urls import normalized
from enfilade.client.login import token_file
from enfilade.client.login.browser import BrowserLogin
from enfilade.client.login.device_grant import DEVICE_GRANT, DeviceGrant
from enfilade.client.login.official_state import (
    choose_client_authentication,
    is_newer,
    is_of_same_client,
    load_into,
    login_from,
    scope_form,
    token_request,
)
from enfilade.client.login.options import Grant, LoginError, LoginOptions
from enfilade.client.login.request_checks import check_request, is_metadata_of, metadata_of
from enfilade.client.login.responses import (
    add_scopes,
    is_header_value,
    json_object,
    lacks_scopes,
    leave_body,
    one_line,
    read_limited,
    reason_of,
)
from enfilade.client.login.token_file import Login
from enfilade.state.file_lock import file_lock

_GRANTS: Final = {
    "code": ["authorization_code", "refresh_token"],
    "device": [DEVICE_GRANT, "refresh_token"],
    "credentials": ["client_credentials"],
}
_PAST: Final = 1.0


class LoginProvider(OAuthClientProvider):
    """Adds the tokens of a login to requests, and logs in where there is none.

    Args:
        url: the server.
        options: how to log in.
        login: the stored login, if there is one.
    """

    def __init__(self, url: str, options: LoginOptions, login: Login | None) -> None:
        self._options = options
        self._url = url
        self._login = login or Login(server=normalized(url), grant=options.grant)
        self._is_stored = login is not None
        self._grant: Grant = self._login.grant
        self._browser = BrowserLogin(url, options)
        self._device = DeviceGrant(options)
        #: Why the last login has failed; empty if none has.
        self.failure = ""
        #: Whether there was a login since the stored one.
        self.has_logged_in = False
        super().__init__(url, self._client_metadata(), _Storage(self), self._browser.open, self._browser.returned)

    def _client_metadata(self) -> OAuthClientMetadata:
        """Return what this client says of itself when it registers."""
        grant, uri = self._options.grant, self._login.redirect_uri if self._login.client else ""
        return OAuthClientMetadata(
            client_name="Enfilade",
            redirect_uris=[AnyUrl(uri)] if uri else None,
            grant_types=list(_GRANTS[grant]),
            response_types=["code"] if grant == "code" else [],
            token_endpoint_auth_method="none",
        )

    def close(self) -> None:
        """Release the port of the browser."""
        self._browser.close()

    # -- The stored login ---
    async def _load_once(self) -> None:
        if not self._initialized:
            await self._initialize()

    async def _initialize(self) -> None:
        """Load the stored login, with what the official client does not store."""
        load_into(self.context, self._login, self._options)
        self._initialized = True

    def store(self, client: OAuthClientInformationFull | None, tokens: OAuthToken | None) -> None:
        """Store the login as it is now. That of a program is not: a later command would be that program unasked.

        Raises:
            LoginError: it cannot be stored, or no header can carry the token; then there is none.
        """
        if tokens is not None and not is_header_value(tokens.access_token):
            self.context.clear_tokens()
            raise LoginError("the authorization server gave a token that no header can carry, so it is not used")
        self._login = login_from(self.context, self._grant, self._options, client, tokens)
        if self._grant != "credentials":
            token_file.save(self._url, self._login)
            self._is_stored = True

    @asynccontextmanager
    async def _only_refresh(self) -> AsyncIterator[None]:
        """Let no other command refresh this login meanwhile, and take over what one has stored before.

        Raises:
            LoginError: the login was ended meanwhile, or another one has taken its place.
        """
        async with file_lock(token_file.lock_of(self._url), self._options.request_timeout):
            stored = await asyncio.to_thread(token_file.load, self._url)
            if stored is not None and is_newer(stored, self._login, self.context):
                self._login = stored
                await self._initialize()
            elif self._is_stored and (stored is None or not is_of_same_client(stored, self._login)):
                self.context.clear_tokens()
                what = "was ended" if stored is None else "was replaced by another one"
                raise LoginError(f"the login {what} meanwhile; start the command again")
            yield

    # -- Requests ---
    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send a request with the token there is, and log in or refresh the token if it is refused.

        All requests of a login pass here, also those after a redirect: their responses are read within limits.
        """
        flow = super().async_auth_flow(request)
        try:
            outgoing = await anext(flow)
            while True:
                if outgoing is not request:
                    outgoing.headers["Accept-Encoding"] = "identity"
                response = yield outgoing
                if outgoing is not request:  # whose response may be a stream
                    await read_limited(response, self._options.request_timeout)
                following = await flow.asend(response)
                if outgoing is request:
                    leave_body(response)
                outgoing = following
        except StopAsyncIteration:
            return
        except (LoginError, OAuthFlowError) as error:
            # The transport of the official client reports its own errors instead, so the reason is kept here.
            self.failure = str(error) if isinstance(error, LoginError) else self._reason(error)
            raise
        finally:
            await flow.aclose()

    async def _auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send a request at once if that is possible; what follows is the flow of the official client."""
        await self._load_once()
        if self.context.is_token_valid() or not self.context.can_refresh_token():
            if self.context.is_token_valid():
                self._add_auth_header(request)
            response = yield request
            if not self._can_help(response):
                return
            self._note_refusal(request, response)
        flow, refresh = super()._auth_flow(request), AsyncExitStack()
        try:
            if not self.context.is_token_valid() and self.context.can_refresh_token():
                await refresh.enter_async_context(self._only_refresh())
            outgoing = await anext(flow)
            while True:
                if outgoing is request:
                    await refresh.aclose()
                else:
                    check_request(outgoing, self.context, self._expected_issuer())
                response = yield outgoing
                while outgoing is self._device.token_request and await self._device.is_pending(response):
                    response = yield outgoing
                self._note_metadata(outgoing, response)
                if outgoing is request and self._can_help(response):
                    self._prepare_login(response)
                outgoing = await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            await refresh.aclose()
            await flow.aclose()

    def _can_help(self, response: httpx2.Response) -> bool:
        """Whether a response asks for a token, or for one with more scopes, and there is a way to get it."""
        if response.status_code == 403:
            can_ask = self._options.interactive or self._options.grant == "credentials"
            return can_ask and lacks_scopes(response)
        return response.status_code == 401

    def _note_refusal(self, request: httpx2.Request, response: httpx2.Response) -> None:
        """Take note that the token of a request was refused before its time."""
        tokens = self.context.current_tokens
        is_current = tokens and request.headers.get("Authorization") == f"Bearer {tokens.access_token}"
        if is_current and response.status_code == 401 and self.context.can_refresh_token():
            self.context.token_expiry_time = _PAST

    def _note_metadata(self, request: httpx2.Request, response: httpx2.Response) -> None:
        """Take note of what the official client leaves out of the metadata of the issuer."""
        if response.status_code == 200 and request.method == "GET" and response.is_closed:
            document, issuer = json_object(response), self._expected_issuer()
            if is_metadata_of(request, document, self.context, issuer):
                self._device.note(issuer, document)

    # -- Logins ---
    def _reason(self, error: OAuthFlowError) -> str:
        """Return the reason of a failed login, with what to do where clients cannot register."""
        reason = reason_of(error)
        if not isinstance(error, OAuthRegistrationError):
            return reason
        if self.context.oauth_metadata is None and self.context.auth_server_url is None:
            return (
                "it names no authorization server, so there is nowhere to log in; "
                "give a token by --token-env NAME, or a key by --header"
            )
        return f"{reason}; use --client-id, --client-credentials or --token-env"

    def _prepare_login(self, refusal: httpx2.Response) -> None:
        """Prepare a login that follows a refusal: its scopes, and the browser or device, if there is one."""
        if self._options.scopes:
            add_scopes(refusal, self._options.scopes)
        if self._options.grant == "device" and not self._device.knows(self._expected_issuer()):
            self.context.oauth_metadata = None  # those of a stored login lack the device endpoint
        if self._options.grant == "code" and self._options.interactive:
            self._browser.prepare(self.context)

    def _select_authorization_server(self, advertised: list[str]) -> str:
        """Return the server at which to log in: that of the options, or the first.

        Raises:
            LoginError: that of the options is not among them.
        """
        wanted = self._options.issuer
        if wanted is None:
            return advertised[0]
        for issuer in advertised:
            if _is_same_issuer(issuer, wanted):
                return issuer
        raise LoginError(f"the server is protected by {one_line(advertised[0])}, not by {wanted}")

    async def _perform_authorization(self) -> httpx2.Request:
        """Log in, and return the request for tokens.

        Raises:
            LoginError: that is not possible.
        """
        issuer, wanted = self._expected_issuer(), self._options.issuer
        if wanted is not None and not _is_same_issuer(issuer, wanted):
            raise LoginError(f"the server is protected by {issuer}, not by {wanted}")
        metadata = metadata_of(self.context, issuer)
        if self._options.client_secret is not None:
            choose_client_authentication(self.context, metadata)
        self._grant, self.has_logged_in = self._options.grant, True
        if self._options.grant == "credentials":
            form = {"grant_type": "client_credentials", **scope_form(self.context)}
            return token_request(self.context, self._get_token_endpoint(), form)
        if not self._options.interactive:
            raise LoginError(
                "the login has ended, and there is no terminal for another one: log in at a terminal, or give a "
                "token by --token-env NAME"
            )
        if self._options.grant == "device":
            return await self._device_request(issuer)
        if metadata is not None and "S256" not in (metadata.code_challenge_methods_supported or ()):
            raise LoginError(f"{issuer} does not say that it supports PKCE (S256), as a safe login needs")
        return await super()._perform_authorization()

    async def _device_request(self, issuer: str) -> httpx2.Request:
        """Show a code, and return the request for the tokens of who enters it."""
        endpoint, scope = self._get_token_endpoint(), scope_form(self.context)
        code = await self._device.code(issuer, token_request(self.context, endpoint, scope), self._url)
        form = {"grant_type": DEVICE_GRANT, "device_code": code}
        self._device.token_request = token_request(self.context, endpoint, form)
        return self._device.token_request


class _Storage(TokenStorage):
    """Stores what the official client gets; it loads nothing, as the provider does."""

    def __init__(self, provider: LoginProvider) -> None:
        self._provider = provider

    async def get_tokens(self) -> OAuthToken | None:
        return None

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        await asyncio.to_thread(self._provider.store, self._provider.context.client_info, tokens)

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        await asyncio.to_thread(self._provider.store, client_info, None)


def _is_same_issuer(one: str, other: str) -> bool:
    """Whether two issuers are the same, as people write them: with or without a slash at the end."""
    return one.rstrip("/") == other.rstrip("/")
