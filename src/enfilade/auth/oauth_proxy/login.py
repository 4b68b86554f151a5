"""A login: from the request of a client by the consent of the user and the provider back to the client (R-616).

Nothing of it is kept: what one step knows is sealed into the form or the `state` that leads to the next, so any
worker goes on with it. Each step that must happen once claims its id in the store.

Easy to get wrong: where errors go. An error is sent to the redirect URI only after client and URI were checked;
before that it is a page, or this server would send browsers wherever somebody likes (RFC 9700 §4.11).
"""

import hmac
import logging
import time
from collections.abc import Iterable
from typing import Final

import msgspec

from enfilade.auth.oauth_providers.client import new_verifier
from enfilade.auth.oauth_providers.responses import ProviderError
from enfilade.auth.oauth_proxy.authorization_request import STEP_TIME, AuthorizationRequests, LoginError
from enfilade.auth.oauth_proxy.clients import Client
from enfilade.auth.oauth_proxy.grants import CODE_TIME, Grant
from enfilade.auth.oauth_proxy.messages import with_parameters
from enfilade.auth.oauth_proxy.redirects import destination, is_loopback
from enfilade.auth.oauth_proxy.sealed import CODE_PREFIX, Code, Login, digest, is_over, new_id
from enfilade.auth.oauth_proxy.services import Services
from enfilade.auth.oauth_proxy.upstream import kept
from enfilade.auth.pages.page import send_message, send_page, send_redirect
from enfilade.auth.pages.requests import OAuthError, query_of, read_form
from enfilade.serving.failures import LimitedLog
from enfilade.state.store import StoreError
from enfilade.transports.exchange import Headers, HttpExchange

log = logging.getLogger("enfilade.auth")
_provider_log: Final = LimitedLog(log)

#: How often the provider is asked for one consent, if its response was lost.
_MOST_ATTEMPTS: Final = 3
_AGAIN: Final = "Go back to the app that you came from, and log in again."
#: A host in a popup is told of the end by its opener, which would be lost.
_OPENER: Final[Headers] = [(b"cross-origin-opener-policy", b"unsafe-none")]
#: Errors of a provider that a client is told as they are (RFC 6749 §4.1.2.1).
_PASSED_ON: Final = frozenset(("access_denied", "temporarily_unavailable", "server_error"))


class LoginFlow:
    """The pages of a login (X-AUTH-23)."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._issuer = services.proxy.issuer
        self._requests = AuthorizationRequests(services)

    async def authorize(self, exchange: HttpExchange) -> None:
        """Answer the request of a client: with the consent page, or an error."""
        services = self._services
        try:
            query = query_of(exchange)
        except OAuthError as error:
            raise LoginError("This login cannot begin", f"The request is not valid: {error}.") from None
        client, redirect_uri = await self._requests.client(query)
        browser, cookie = services.browsers.recognize(exchange)
        try:
            login = self._requests.login(query, client, redirect_uri, browser)
        except OAuthError as error:
            await self._tell(exchange, client, redirect_uri, query.get("state"), error)
            return
        prompts = (query.get("prompt") or "").split(" ")
        if "consent" not in prompts and services.browsers.has_agreed(exchange, _consent_of(login)):
            await self._ask_provider(exchange, login, cookie)
        elif "none" in prompts:
            refusal = OAuthError("interaction_required", "the user has to consent")
            await self._tell(exchange, client, redirect_uri, login.state, refusal)
        else:
            await self._show_consent(exchange, client, login, cookie)

    async def consent(self, exchange: HttpExchange) -> None:
        """Take what the user has decided on the consent page."""
        services = self._services
        try:
            form = await read_form(exchange)
        except OAuthError as error:
            raise LoginError("This page was not sent completely", f"Please try again: {error}.") from None
        login = self._opened(exchange, form.get("request"))
        if form.get("decision") != "allow":
            refusal = OAuthError("access_denied", "the user has not agreed")
            await self._send_back(exchange, login.redirect_uri, login.state, refusal.members())
            return
        # A program on the user's machine, or an app, may pass for another one: its user is always asked.
        is_safe = not is_loopback(login.redirect_uri) and login.redirect_uri.startswith("https:")
        cookies = services.browsers.remember(exchange, _consent_of(login)) if is_safe else []
        await self._ask_provider(exchange, login, cookies)

    async def callback(self, exchange: HttpExchange) -> None:
        """Take what the provider says, and send the browser back to the client."""
        try:
            query = query_of(exchange)
        except OAuthError as error:
            raise LoginError("This login cannot go on", f"The response is not valid: {error}.") from None
        login = self._opened(exchange, query.get("state"))
        if not login.verifier:
            raise LoginError("This login cannot go on", "The user has not agreed to it yet.")
        services = self._services
        try:
            if not await services.grants.claim("login", login.id, STEP_TIME):
                await self._ask_again(exchange, login)
                return
            await services.upstream.check_issuer(query.get("iss"))
            if (code := query.get("code")) is None:
                await self._refuse(exchange, login, query.get("error"))
                return
            answer = {"code": await self._granted(login, code)}
        except OAuthError as error:
            answer = error.members()
        except ProviderError as error:
            _provider_log.write(logging.WARNING, "a login at %s failed: %s", services.upstream.provider.id, error)
            answer = _unavailable(error).members()
        except StoreError as error:
            _provider_log.write(logging.WARNING, "a login could not go on, for the store: %s", error)
            answer = OAuthError("temporarily_unavailable", "the server cannot keep the login").members()
        await self._send_back(exchange, login.redirect_uri, login.state, answer)

    # -- steps -------------------------------------------------------------------------------------------------

    def _opened(self, exchange: HttpExchange, sealed: str | None) -> Login:
        """Return the login that goes on, if it does so in the browser in which it began.

        Raises:
            LoginError: it is none, its time is over, or this is another browser.
        """
        login = None if sealed is None else self._services.codec.open(sealed, Login)
        if login is None:
            raise LoginError("This login is not known", _AGAIN)
        if is_over(login.expires_at):
            raise LoginError("This login took too long", _AGAIN)
        browser = self._services.browsers.known(exchange)
        if browser is None or not hmac.compare_digest(browser, login.browser):
            raise LoginError(
                "This login began in another browser",
                "If you have not begun it yourself, close this page. Otherwise allow cookies for this site, and "
                "log in again from the app that you came from.",
                403,
            )
        return login

    async def _tell(
        self, exchange: HttpExchange, client: Client, redirect_uri: str, state: str | None, error: OAuthError
    ) -> None:
        """Tell a client what is wrong with its request, before the user has decided anything.

        A browser that came by a link is sent to no other site by itself: whoever registers one could let this
        server's name lead there. The user may follow a link (RFC 9700 §4.11.2).
        """
        url = self._answer_url(redirect_uri, state, error.members())
        if client.is_configured or not redirect_uri.startswith("https:"):
            await send_redirect(exchange, url, _OPENER)
            return
        await send_page(
            exchange,
            400,
            "client_error",
            _OPENER,
            client=client.name,
            reason=error.description,
            url=url,
            destination=destination(redirect_uri),
        )

    async def _show_consent(self, exchange: HttpExchange, client: Client, login: Login, cookie: Headers) -> None:
        services = self._services
        texts = services.proxy.scope_texts
        await send_page(
            exchange,
            200,
            "client_consent",
            [*_OPENER, *cookie],
            client=client.name,
            host=client.document_host,
            is_configured=client.is_configured,
            destination=destination(login.redirect_uri),
            is_local=not login.redirect_uri.startswith("https:"),
            server=services.server,
            resource=services.proxy.resource,
            provider=services.upstream.provider.title,
            scopes=[{"name": scope, "text": texts.get(scope, "")} for scope in login.scopes],
            action=services.proxy.consent_url,
            request=services.codec.seal(login),
        )

    async def _ask_provider(self, exchange: HttpExchange, login: Login, cookies: Headers) -> None:
        """Send the browser to the provider."""
        verifier, ends_at = new_verifier(), int(time.time()) + STEP_TIME
        following = msgspec.structs.replace(
            login, id=new_id(), verifier=verifier, expires_at=ends_at, attempt=login.attempt + 1
        )
        try:
            url = await self._services.upstream.consent_url(self._services.codec.seal(following), verifier)
        except ProviderError as error:
            _provider_log.write(logging.WARNING, "no login can begin at the provider: %s", error)
            await self._send_back(exchange, login.redirect_uri, login.state, _unavailable(error).members())
            return
        await send_redirect(exchange, url, [*_OPENER, *cookies])

    async def _ask_again(self, exchange: HttpExchange, login: Login) -> None:
        """Ask the provider once more, for a response that came before: what became of it was lost.

        Raises:
            LoginError: that was done often enough.
        """
        if login.attempt >= _MOST_ATTEMPTS:
            raise LoginError("This login was used before", _AGAIN)
        await self._ask_provider(exchange, login, [])

    async def _refuse(self, exchange: HttpExchange, login: Login, error: str | None) -> None:
        """Tell the client that the provider has refused; what else the provider says is not passed on."""
        code = error if error in _PASSED_ON else "server_error"
        refusal = OAuthError(code, "the provider has not let the user in")
        await self._send_back(exchange, login.redirect_uri, login.state, refusal.members())

    async def _granted(self, login: Login, code: str) -> str:
        """Return our code for one of the provider.

        Raises:
            OAuthError: `access_denied`, the user may not use this server.
            ProviderError: the provider gives no tokens.
            StoreError: the grant is not kept.
        """
        services = self._services
        tokens, user = await services.upstream.log_in(code, login.verifier)
        try:
            scopes = await services.allowed_scopes(user, login.scopes)
        except OAuthError:
            await services.upstream.revoke(kept(tokens))
            raise
        grant = Grant(
            subject=user.subject,
            client=login.client,
            scopes=list(scopes),
            claims=dict(user.claims),
            upstream=kept(tokens),
            needs_assertion=login.needs_assertion,
        )
        grant_id = await services.grants.add(grant)
        ends_at = int(time.time()) + CODE_TIME
        sealed = services.codec.seal(Code(grant_id, login.client, login.redirect_uri, login.challenge, ends_at))
        return CODE_PREFIX + sealed

    async def _send_back(
        self, exchange: HttpExchange, redirect_uri: str, state: str | None, answer: dict[str, str]
    ) -> None:
        """Send the browser back to the client, with `state` and `iss` (RFC 9207)."""
        await send_redirect(exchange, self._answer_url(redirect_uri, state, answer), _OPENER)

    def _answer_url(self, redirect_uri: str, state: str | None, answer: dict[str, str]) -> str:
        parameters = {**answer, **({} if state is None else {"state": state}), "iss": self._issuer}
        return with_parameters(redirect_uri, parameters)


async def send_login_error(exchange: HttpExchange, error: LoginError) -> None:
    """Answer with a page that says why a login cannot go on."""
    await send_message(exchange, error.status, error.title, error.text, headers=_OPENER)


def _unavailable(error: ProviderError) -> OAuthError:
    code = "server_error" if error.is_final else "temporarily_unavailable"
    return OAuthError(code, "the provider of logins does not answer as it should")


def _consent_of(login: Login) -> bytes:
    """Return what stands for a consent: for one client, one redirect URI and these scopes."""
    return digest(_joined((login.client.hex(), login.redirect_uri, *sorted(login.scopes))))


def _joined(texts: Iterable[str]) -> str:
    return "\n".join(texts)  # which is in none of them
