"""The request with which a client begins a login, read and checked (RFC 6749 §4.1.1, RFC 7636, RFC 8707).

First the client and its redirect URI: what is wrong with these is told to the user alone. What is wrong with
anything else, the client is told.
"""

import re
import time
from typing import Final

from enfilade.auth.oauth_proxy.clients import Client
from enfilade.auth.oauth_proxy.redirects import fault_of_redirect, is_registered
from enfilade.auth.oauth_proxy.sealed import Login, new_id
from enfilade.auth.oauth_proxy.services import Services
from enfilade.auth.pages.requests import OAuthError, Parameters
from enfilade.auth.safe_fetch.fetch import UnsafeURLError

#: Seconds that each step of a login may take: to read the consent page, and to log in at the provider.
STEP_TIME: Final = 600
#: Characters of a client's `state`; it goes into ours, of which a URL has room.
_LONGEST_STATE: Final = 2048
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class LoginError(Exception):
    """A login cannot go on, and nobody but the user can be told.

    Args:
        title: what it is, in a few words.
        text: what it means, and what to do.
        status: of the response.
    """

    def __init__(self, title: str, text: str, status: int = 400) -> None:
        super().__init__(title)
        self.title, self.text, self.status = title, text, status


class AuthorizationRequests:
    """Reads requests for logins."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def client(self, query: Parameters) -> tuple[Client, str]:
        """Return the client of a request and its redirect URI.

        Raises:
            LoginError: there is no such client, or its redirect URI is another one.
        """
        client_id, redirect_uri = query.get("client_id"), query.get("redirect_uri")
        try:
            client = None if client_id is None else await self._services.clients.find(client_id)
        except UnsafeURLError as error:
            raise LoginError(
                "The app that asks for this login is not known",
                f"Its description could not be used: {error}. Its makers can correct that.",
            ) from None
        if client is None:
            raise LoginError(
                "The app that asks for this login is not known",
                "Its registration is none of this server. Remove the server in the app and add it again.",
            )
        if redirect_uri is None or not is_registered(redirect_uri, client.redirect_uris):
            raise LoginError(
                "This login would lead elsewhere",
                "The app has asked to send you to an address that it has not registered (redirect_uri).",
            )
        if fault_of_redirect(redirect_uri, self._services.proxy.redirect_schemes):
            raise LoginError("This login would lead elsewhere", "The address to send you to is not safe.")
        return client, redirect_uri

    def login(self, query: Parameters, client: Client, redirect_uri: str, browser: bytes) -> Login:
        """Return the login that a request begins.

        Raises:
            OAuthError: the request is not valid; the client is told.
        """
        if query.get("request") is not None:
            raise OAuthError("request_not_supported", "request objects are not supported")
        if query.get("request_uri") is not None:
            raise OAuthError("request_uri_not_supported", "request objects are not supported")
        if query.required("response_type") != "code":
            raise OAuthError("unsupported_response_type", "response_type must be code")
        if query.get("response_mode") not in (None, "query"):
            raise OAuthError("invalid_request", "response_mode must be query")
        if query.get("code_challenge_method") != "S256":
            raise OAuthError("invalid_request", "code_challenge_method must be S256")
        challenge = query.required("code_challenge")
        if not _CHALLENGE.fullmatch(challenge):
            raise OAuthError("invalid_request", "code_challenge is none of S256")
        state = query.get("state")
        if state is not None and len(state) > _LONGEST_STATE:
            raise OAuthError("invalid_request", f"state has more than {_LONGEST_STATE} characters")
        self._services.check_resource(query)
        scopes = self._services.granted_scopes(query)
        ends_at = int(time.time()) + STEP_TIME
        return Login(
            id=new_id(),
            client=client.digest,
            redirect_uri=redirect_uri,
            state=state,
            challenge=challenge,
            scopes=scopes,
            browser=browser,
            verifier="",
            expires_at=ends_at,
            attempt=0,
            needs_assertion=client.needs_assertion,
        )
