"""The pages of tool authorization: the link, the button, the way to the provider, and the callback.

```text
  GET /auth/start/ID           a page that says what for, with a button; sets a cookie
  POST /auth/start/ID          303 to a login at the issuer, if callers log in there, or else to the provider
  GET /auth/login/callback     ends the login, 303 to the provider
  GET /auth/callback[/ID]      redeems the code and keeps the tokens; ID is the provider's, if there are several
```

The cookie binds all three to one browser, so nobody can have somebody else end what they have begun (CSRF of the
callback, and a foreign browser). `state` is good for one redirect.

Easy to get wrong: `Origin`. Pages with `Referrer-Policy: no-referrer` send forms with `Origin: null`, so the form
is protected by a token that is bound to the cookie and the link.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from typing import Any, Final
from urllib.parse import urlsplit

from enfilade.auth.oauth_providers.client import ProviderClient, new_verifier
from enfilade.auth.oauth_providers.responses import ProviderError
from enfilade.auth.pages.page import plain, send_message, send_page, send_redirect
from enfilade.auth.pages.requests import (
    OAuthError,
    Parameters,
    cookie_name,
    cookies_of,
    query_of,
    read_form,
    set_cookie,
)
from enfilade.auth.tool_auth.clients import ToolClients
from enfilade.auth.tool_auth.pending import LIFETIME, START, Pending, PendingAuthorizations, Phase
from enfilade.auth.tool_auth.redemption import Redemptions, logged
from enfilade.auth.tool_auth.sealed_rows import Row
from enfilade.auth.tool_auth.user import LOCAL_USER
from enfilade.auth.tool_auth.visitor import Logins, VisitorLogin
from enfilade.serving.callers.local import is_local_http
from enfilade.serving.failures import log_safely
from enfilade.state.store import StoreError
from enfilade.state.tokens import Seal
from enfilade.transports.asgi import host_principal
from enfilade.transports.exchange import DisconnectedError, HttpExchange

log = logging.getLogger("enfilade.auth")

CALLBACK: Final = "/auth/callback"
_COOKIE: Final = "enfilade-auth"
#: Most characters of the name of a server or a provider within a sentence.
_LONGEST_NAME: Final = 60
_COOKIE_TIME: Final = 3600
#: Where visitors come back to from a login at their issuer. It is no place for codes of providers, so that a
#: provider cannot pass on the code of another server as its own (RFC 9700 §4.4).
LOGIN_CALLBACK: Final = "/auth/login/callback"
_STATE: Final = b"tool authorization state"
_FORM: Final = b"tool authorization form"
_RANDOM: Final = re.compile(r"[A-Za-z0-9_-]{20,64}")

_USED: Final = (
    "This link cannot be used",
    "It has been used before, or it is older than 10 minutes. Go back to the conversation and ask again for what "
    "you wanted: you will get a new link.",
)
_OTHER: Final = (
    "This page was not opened here",
    "It belongs to another browser, or to a page that is not open any more. Open the link from the conversation "
    "again, in the browser in which you want to give consent.",
)


class PageError(Exception):
    """The response is a page with an error.

    Args:
        status: the HTTP status.
        title: what is wrong, in a few words.
        text: what to do.
        reference: by which the log has more about it.
    """

    def __init__(self, status: int, title: str, text: str, reference: str | None = None) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.text = text
        self.reference = reference


class AuthorizationPages:
    """Answers the requests of browsers.

    Args:
        server: the name of the server, for people.
        seal: the keys of the server, shared by all workers.
        clients: the providers.
        redemptions: make tokens of codes.
        pending: the authorizations.
        logins: by which visitors prove who they are.
    """

    def __init__(
        self,
        server: str,
        seal: Seal,
        clients: ToolClients,
        redemptions: Redemptions,
        pending: PendingAuthorizations,
        logins: Logins,
    ) -> None:
        self._server = server
        self._seal = seal
        self._clients = clients
        self._redemptions = redemptions
        self._pending = pending
        self._logins = logins

    def is_at(self, path: str) -> bool:
        """Whether a path, without that of a mount, is one of these pages."""
        return path.startswith((START, CALLBACK + "/")) or path in (CALLBACK, LOGIN_CALLBACK)

    async def serve(self, exchange: HttpExchange, path: str) -> None:
        """Answer a request."""
        try:
            if not path.startswith(START):
                _check_method(exchange, "GET")
                await self._callback(exchange, path)
            else:
                id = path.removeprefix(START)
                if exchange.method == "POST":
                    await self._go_on(exchange, id)
                else:
                    _check_method(exchange, "GET", "HEAD", "POST")
                    await self._start(exchange, id)
        except PageError as error:
            await send_message(exchange, error.status, error.title, error.text, reference=error.reference)
        except StoreError as error:
            reference = logged(error, "a page of authorization failed")
            title, text = "Not available at present", "The server cannot reach its store. Try again in a moment."
            await send_message(exchange, 503, title, text, reference=reference)
        except DisconnectedError:
            return

    # -- the link ------------------------------------------------------------------------------------------------

    async def _start(self, exchange: HttpExchange, id: str) -> None:
        row = await self._open(id)
        pending = row.value
        self._check_place(exchange, pending)
        client = self._client_of(pending)
        login = self._login_of(exchange, pending)
        cookie = _cookie_of(exchange, pending) or secrets.token_urlsafe(32)
        provider = client.provider
        await send_page(
            exchange,
            200,
            "tool_access",
            [_set_cookie(cookie, pending)],
            server=self._server,
            tool=pending.tool,
            provider=provider.title,
            scopes=[{"name": scope, "text": provider.scope_text(scope)} for scope in pending.scopes],
            login=None if login is None else login.title,
            token=self._form_token(cookie, id),
        )

    async def _go_on(self, exchange: HttpExchange, id: str) -> None:
        """Send the browser on, since the button was pressed."""
        row = await self._open(id)
        self._check_place(exchange, row.value)
        try:
            form = await read_form(exchange)
        except OAuthError as error:
            raise PageError(403 if error.status == 400 else error.status, *_OTHER) from None
        token, cookie = form.get("token") or "", _cookie_of(exchange, row.value)
        if cookie is None or not hmac.compare_digest(token.encode(), self._form_token(cookie, id).encode()):
            raise PageError(403, *_OTHER)
        login = self._login_of(exchange, row.value)
        await self._leave(exchange, id, row, _digest(cookie), login)

    async def _leave(
        self,
        exchange: HttpExchange,
        id: str,
        row: Row[Pending],
        browser: bytes,
        login: VisitorLogin | None,
    ) -> None:
        """Send the browser to the login of the visitor, or to the provider."""
        pending = row.value
        secret, verifier, nonce = secrets.token_urlsafe(32), new_verifier(), ""
        state = self._seal.seal(f"{id} {secret}".encode(), _STATE)
        callback = LOGIN_CALLBACK if login is not None else self._callback_of(pending)
        redirect_uri = pending.base + callback
        try:
            if login is not None:
                nonce = secrets.token_urlsafe(32)
                url = await login.url(redirect_uri=redirect_uri, state=state, verifier=verifier, nonce=nonce)
            else:
                client = self._client_of(pending)
                url = await client.authorization_url(
                    redirect_uri=redirect_uri, state=state, verifier=verifier, scopes=pending.scopes
                )
        except ProviderError as error:
            raise _unreachable(error) from None
        changes: dict[str, Any] = {
            "state": _digest(state),
            "verifier": verifier,
            "nonce": nonce,
            "browser": browser,
            "callback": callback,
        }
        if login is None:  # until then the link can be opened again
            changes |= {"phase": Phase.OPENED.value, "expires_at": time.time() + LIFETIME}
        if await self._pending.change(id, row, **changes) is None:
            raise PageError(410, *_USED)
        await send_redirect(exchange, url)

    # -- the way back --------------------------------------------------------------------------------------------

    def _callback_of(self, pending: Pending) -> str:
        """Return the path of a provider's callback: each that gives codes has its own (RFC 9700 §4.4.2)."""
        return f"{CALLBACK}/{pending.provider}" if self._clients.has_several else CALLBACK

    async def _callback(self, exchange: HttpExchange, path: str) -> None:
        try:
            query = query_of(exchange)
        except OAuthError:
            raise PageError(400, *_USED) from None
        state = query.get("state") or ""
        opened = self._seal.open(state, _STATE)
        id = "" if opened is None else opened.decode().partition(" ")[0]
        row = await self._pending.read(id)
        if row is None or not row.value.is_open or row.value.state != _digest(state):
            raise PageError(400, *_USED)
        cookie = _cookie_of(exchange, row.value)
        if cookie is None or row.value.browser != _digest(cookie):
            await self._give_up(id, row)
            raise PageError(400, *_OTHER)
        self._check_place(exchange, row.value)
        if path != row.value.callback:
            raise PageError(400, *_USED)
        if row.value.phase == Phase.NEW.value:
            await self._end_login(exchange, id, row, query)
        else:
            await self._end_consent(exchange, id, row, query)

    async def _give_up(self, id: str, row: Row[Pending]) -> None:
        """Make a redirect useless that has come back in another browser than it left from.

        Somebody was led to the provider by the link of somebody else. Its code, which is still good, is in that
        browser, and whoever is shown it must not get its tokens by opening the URL where it left from.
        """
        changes: dict[str, Any] = {"state": b"", "verifier": "", "nonce": ""}
        if row.value.phase != Phase.NEW.value:  # a login can be begun once more
            changes |= {"phase": Phase.ENDED.value, "reason": "the provider has answered to another browser"}
        await self._pending.change(id, row, **changes)

    async def _end_login(self, exchange: HttpExchange, id: str, row: Row[Pending], query: Parameters) -> None:
        """End the login of a visitor, and send them to the provider if they are who they should be."""
        pending = row.value
        login = self._logins.of(pending.issuer)
        # `state` is used up, whatever comes of it.
        taken = await self._pending.change(id, row, state=b"", verifier="", nonce="")
        if taken is None or login is None:
            raise PageError(400, *_USED)
        code = query.get("code")
        if query.get("error") is not None or code is None:
            text = "You were not logged in. Open the link from the conversation again to try once more."
            raise PageError(403, "The login has failed", text)
        try:
            key = await login.principal_key(
                code=code,
                issuer=query.given("iss"),
                redirect_uri=pending.base + pending.callback,
                verifier=pending.verifier,
                nonce=pending.nonce,
            )
        except ProviderError as error:
            reference = logged(error, "the login of a visitor failed")
            text = "Open the link from the conversation again to try once more."
            raise PageError(400, "The login has failed", text, reference) from None
        if key != pending.principal:
            raise PageError(
                403,
                "This link is for somebody else",
                "You are logged in as another user than the one who asked for this. Nothing was granted.",
            )
        await self._leave(exchange, id, taken, pending.browser, None)

    async def _end_consent(self, exchange: HttpExchange, id: str, row: Row[Pending], query: Parameters) -> None:
        client = self._client_of(row.value)
        server, title = plain(self._server, _LONGEST_NAME), plain(client.provider.title, _LONGEST_NAME)
        try:
            await client.check_issuer(query.given("iss"))
        except ProviderError as error:
            reference = logged(error, "a response of a provider was refused")
            text = "The response is not that of the service that you were sent to. Nothing was granted."
            raise PageError(400, "The response is refused", text, reference) from None
        error_code = query.get("error")
        if error_code is not None:
            code = error_code if re.fullmatch(r"[a-z_]{1,40}", error_code) else "an error"
            log_safely(log, logging.INFO, "%s has answered a request for consent with %s", title, code)
            refused = code == "access_denied"
            reason = "the user has refused" if refused else f"{title} answered with {code}"
            await self._pending.change(id, row, phase=Phase.ENDED.value, reason=reason, state=b"")
            text = (
                f"{server} has got no access to {title}. You can close this page."
                if refused
                else f"{title} has not granted access ({code}). Go back to the conversation to try again."
            )
            await send_message(exchange, 200, "No access was given", text)
            return
        if (code := query.get("code") or "") == "":
            raise PageError(400, *_USED)
        begun = await self._pending.change(id, row, phase=Phase.REDEEMING.value, state=b"", begun_at=time.time())
        if begun is None:  # two callbacks at once: the other one was faster
            raise PageError(400, *_USED)
        if (failure := await self._redemptions.redeem(id, begun, client, code)) is not None:
            text = "Go back to the conversation and ask again for what you wanted."
            await send_message(exchange, 502, f"{title} has given no access", text, reference=failure)
            return
        text = f"{server} can now act for you at {title}. You can close this page and go back."
        await send_message(exchange, 200, "Done", text, kind="done")

    # -- checks --------------------------------------------------------------------------------------------------

    async def _open(self, id: str) -> Row[Pending]:
        """Return an authorization whose link can still be used.

        Raises:
            PageError: 410, it was used or is too old.
        """
        row = await self._pending.read(id)
        if row is None or row.value.phase != Phase.NEW.value or not row.value.is_open:
            raise PageError(410, *_USED)
        return row

    def _check_place(self, exchange: HttpExchange, pending: Pending) -> None:
        """Refuse visitors from elsewhere, where the user of this machine is the only one (A9)."""
        if pending.principal == LOCAL_USER.key and not is_local_http(exchange.client, exchange.headers):
            text = "This page is for the user of the machine that the server runs on. Open it in a browser there."
            raise PageError(403, "This page is for another machine", text)

    def _login_of(self, exchange: HttpExchange, pending: Pending) -> VisitorLogin | None:
        """Return the login by which a visitor proves who they are; None if that is clear.

        Raises:
            PageError: there is no way to prove it.
        """
        if pending.principal == LOCAL_USER.key:
            return None
        stated = host_principal(exchange.scope)
        if stated is not None and stated.key == pending.principal:
            return None
        login = self._logins.of(pending.issuer)
        if login is None:
            raise PageError(
                403,
                "Nobody can prove who you are",
                "This server has no login for the user who asked for this, so it cannot know that you are that "
                "user. Its operator has to give it a client at the authorization server (client_id).",
            )
        return login

    def _client_of(self, pending: Pending) -> ProviderClient:
        client = self._clients.by_id(pending.provider)
        if client is None or client.client_id != pending.client_id:
            raise PageError(410, *_USED)
        return client

    def _form_token(self, cookie: str, id: str) -> str:
        return self._seal.sign(f"{cookie} {id}".encode(), _FORM).hex()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _unreachable(error: ProviderError) -> PageError:
    reference = logged(error, "a provider cannot be asked")
    text = "The service that you would be sent to does not answer. Reload this page in a minute."
    return PageError(502, "The service cannot be reached", text, reference)


def _check_method(exchange: HttpExchange, *methods: str) -> None:
    if exchange.method not in methods:
        raise PageError(405, "This is a page for browsers", "Open the link in a browser.")


def _is_secure(pending: Pending) -> bool:
    return urlsplit(pending.base).scheme == "https"


def _cookie_of(exchange: HttpExchange, pending: Pending) -> str | None:
    """Return the cookie of a browser; None if it has none, or one that was not set here."""
    value = cookies_of(exchange).get(cookie_name(_COOKIE, is_secure=_is_secure(pending)), "")
    return value if _RANDOM.fullmatch(value) else None


def _set_cookie(value: str, pending: Pending) -> tuple[bytes, bytes]:
    """Return the header that gives a browser its cookie."""
    is_secure = _is_secure(pending)
    return set_cookie(cookie_name(_COOKIE, is_secure=is_secure), value, _COOKIE_TIME, is_secure=is_secure)
