"""A login by the browser on this machine: where it returns, what it opens, and what it brings back."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

from mcp.client.auth.oauth2 import OAuthContext
from mcp.shared.auth import AuthorizationCodeResult
from pydantic import AnyUrl

from enfilade.client.login.options import LoginError, LoginOptions
from enfilade.client.login.redirect_listener import PortInUseError, RedirectListener
from enfilade.client.login.request_checks import safe_url
from enfilade.client.login.responses import one_line


class BrowserLogin:
    """One login at a time.

    Args:
        url: the server that wants the login, for the user.
        options: how to log in.
    """

    def __init__(self, url: str, options: LoginOptions) -> None:
        self._url = url
        self._options = options
        self._listener: RedirectListener | None = None

    def close(self) -> None:
        """Release the port."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def prepare(self, context: OAuthContext) -> None:
        """Take the port to which the browser returns, before the client registers with it.

        It is that of the client's registration, if it is free. For another port the client registers anew, unless
        the user has registered it: authorization servers let the port vary (RFC 8252 §7.3), but not all do.

        Raises:
            LoginError: the port that the options name is in use.
        """
        uris = context.client_metadata.redirect_uris
        registered = str(uris[0]) if uris else ""
        self.close()
        if self._options.redirect_port:
            self._listener = RedirectListener(self._options.redirect_port)
        else:
            self._listener = _listener_for((registered and urlsplit(registered).port) or 0)
        uri = self._listener.redirect_uri
        if uri != registered:
            context.client_metadata.redirect_uris = [AnyUrl(uri)]
            if self._options.client_id is None:
                context.client_info = None

    async def open(self, url: str) -> None:
        """Show where to log in, and open it in the browser.

        Raises:
            LoginError: it is no safe URL.
        """
        assert self._listener is not None, "prepare() comes first"
        safe_url(url.partition("?")[0], "the page to log in at")
        await self._listener.start(parse_qs(urlsplit(url).query)["state"][-1])
        opened = await asyncio.to_thread(self._options.open_browser, url)
        self._options.show(
            f"{self._url} wants a login. "
            + (
                "It opens in your browser; if it does not, open:"
                if opened
                else "Open in a browser on this machine:"
            )
            + f"\n{url}"
        )

    async def returned(self) -> AuthorizationCodeResult:
        """Return what the browser brings back.

        Raises:
            LoginError: a refusal, or nothing in time.
        """
        assert self._listener is not None, "open() comes first"
        try:
            response = await self._listener.response(self._options.timeout)
        finally:
            self.close()
        if "code" not in response:
            reason = response.get("error_description") or response.get("error") or "no code"
            raise LoginError(f"the authorization server refused the login: {one_line(reason)}")
        return AuthorizationCodeResult(
            code=response["code"], state=response.get("state"), iss=response.get("iss")
        )


def _listener_for(port: int) -> RedirectListener:
    """Return a listener at a port, or at one that is free if another program has that port."""
    try:
        return RedirectListener(port)
    except PortInUseError:
        return RedirectListener()
