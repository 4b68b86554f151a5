"""The endpoints of the proxy: which path is which, and what an error of any of them looks like."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from enfilade.auth.oauth_proxy.assertions import GRANT_TYPE, PROFILE, Assertions
from enfilade.auth.oauth_proxy.authorization_request import LoginError
from enfilade.auth.oauth_proxy.browser import Browsers
from enfilade.auth.oauth_proxy.client_assertions import ClientAssertions
from enfilade.auth.oauth_proxy.clients import BY_KEY, METHODS, Clients
from enfilade.auth.oauth_proxy.documents import ClientDocuments
from enfilade.auth.oauth_proxy.grants import Grants
from enfilade.auth.oauth_proxy.login import LoginFlow, send_login_error
from enfilade.auth.oauth_proxy.messages import NO_STORE, allows_method, send_document, send_error
from enfilade.auth.oauth_proxy.paths import DOCUMENTS, ENDPOINTS, PREFIX, WELL_KNOWN
from enfilade.auth.oauth_proxy.proxy import OAuthProxy
from enfilade.auth.oauth_proxy.registration import Registrations
from enfilade.auth.oauth_proxy.sealed import Codec
from enfilade.auth.oauth_proxy.services import Services
from enfilade.auth.oauth_proxy.token_endpoint import TokenEndpoint
from enfilade.auth.oauth_proxy.upstream import Upstream
from enfilade.auth.oauth_proxy.verifier import OwnTokens
from enfilade.auth.pages.page import send_message
from enfilade.auth.pages.requests import OAuthError, header, read_body, read_form
from enfilade.auth.safe_fetch.fetch import SafeFetcher
from enfilade.auth.servers import ALGORITHMS
from enfilade.serving.failures import masked
from enfilade.state.store import Store, StoreError
from enfilade.state.tokens import Seal
from enfilade.transports.exchange import DisconnectedError, HttpExchange

_PUBLIC: Final = [(b"cache-control", b"public, max-age=3600")]
_STORE_AWAY: Final = "the store of this server does not answer"


class ProxyEndpoints:
    """Serves the metadata, the pages and the endpoints of one proxy.

    Args:
        proxy: as it was configured, for an endpoint.
        tokens: verifies its access tokens, and is told of grants that are revoked.
        seal: the keys of the server.
        store: opens its store.
        name: of the server, for people.
        path: of the MCP endpoint in the app.
        needed_scopes: returns what operations of the app need.
    """

    def __init__(
        self,
        proxy: OAuthProxy,
        tokens: OwnTokens,
        seal: Seal,
        store: Callable[[], Store],
        *,
        name: str,
        path: str,
        needed_scopes: Callable[[], Iterable[str]],
    ) -> None:
        codec = Codec(seal, proxy.issuer, proxy.resource)
        host = urlsplit(proxy.issuer).hostname or ""
        fetcher = proxy.fetcher or SafeFetcher()
        documents = ClientDocuments(fetcher, host, proxy.redirect_schemes)
        grants = Grants(codec, store, proxy.login_time)
        audiences = proxy.issuer, proxy.url("token")
        assertions = ClientAssertions(documents, fetcher, grants, audiences)
        configured = {client.client_id: client for client in proxy.clients}
        clients = Clients(codec, documents, assertions, configured)
        self._services = Services(
            proxy=proxy,
            codec=codec,
            clients=clients,
            grants=grants,
            upstream=Upstream(proxy.provider, proxy.url("callback")),
            browsers=Browsers(codec, is_secure=proxy.is_secure),
            server=name,
            needed_scopes=needed_scopes,
        )
        self._tokens = tokens
        self._login = LoginFlow(self._services)
        self._assertions = Assertions(self._services) if proxy.identity_providers else None
        others = {} if self._assertions is None else {GRANT_TYPE: self._assertions.exchange}
        self._token_endpoint = TokenEndpoint(self._services, others)
        grant_types = self._token_endpoint.grant_types
        self._registrations = Registrations(codec, clients, grant_types, proxy.redirect_schemes)
        endpoint = path.rstrip("/")
        self._places = {"", proxy.path, endpoint, proxy.path + endpoint}
        handlers: tuple[Callable[[HttpExchange], Awaitable[None]], ...] = (
            *(self._authorize, self._consent, self._callback),
            *(self._token, self._register, self._revoke),
        )
        self._handlers = {PREFIX + name: handler for name, handler in zip(ENDPOINTS, handlers, strict=True)}

    def serves(self, path: str) -> bool:
        """Whether a path, without that of a mount, is one of these."""
        return self._is_metadata(path) or path in self._handlers

    def listen(self) -> None:
        """Hear of grants that any worker revokes; once, before the store is started."""
        self._services.grants.on_revoked(self._tokens.revoke)

    async def serve(self, exchange: HttpExchange, path: str, start: Callable[[], Awaitable[None]]) -> None:
        """Answer a request for one of these paths.

        Args:
            path: without that of a mount.
            start: makes the store and the keys of the server ready; idempotent.
        """
        if self._is_metadata(path):
            await self._metadata(exchange)
            return
        try:
            await start()
        except StoreError:  # without the keys that workers share nothing can be opened
            retry = [(b"retry-after", b"2")]
            await send_error(exchange, OAuthError("temporarily_unavailable", _STORE_AWAY, 503, retry))
            return
        try:
            await self._handlers[path](exchange)
        except DisconnectedError:
            pass  # nobody reads an answer
        except Exception as error:  # as text: variables of the frames have tokens
            failure = masked(error, f"{path} failed", as_text=True)
            await send_error(exchange, OAuthError("server_error", failure.message, failure.status or 500))

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        await self._services.upstream.aclose()
        if self._assertions is not None:
            await self._assertions.aclose()

    def document(self) -> dict[str, Any]:
        """Return the metadata of the authorization server (RFC 8414, X-AUTH-20)."""
        proxy = self._services.proxy
        profiles = {} if self._assertions is None else {"authorization_grant_profiles_supported": [PROFILE]}
        return {
            "issuer": proxy.issuer,
            "authorization_endpoint": proxy.url("authorize"),
            "token_endpoint": proxy.url("token"),
            "registration_endpoint": proxy.url("register"),
            "revocation_endpoint": proxy.url("revoke"),
            # Every login has refresh tokens; clients that know the scope ask for it where it is listed.
            "scopes_supported": [*self._services.scopes(), "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": self._token_endpoint.grant_types,
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": [*METHODS, BY_KEY],
            "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
            "revocation_endpoint_auth_methods_supported": [*METHODS, BY_KEY],
            "revocation_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
            "client_id_metadata_document_supported": True,
            "authorization_response_iss_parameter_supported": True,
            **profiles,
        }

    def _is_metadata(self, path: str) -> bool:
        """Whether a path is one at which clients look: the well-known part may be before a path or after it."""
        before, well_known, rest = path.rstrip("/").partition(WELL_KNOWN)
        name, slash, after = rest.partition("/")
        if not well_known or name not in DOCUMENTS or (before and slash):
            return False
        return before in self._places and slash + after in self._places

    async def _metadata(self, exchange: HttpExchange) -> None:
        if await allows_method(exchange, ("GET", "HEAD")):
            await send_document(exchange, 200, self.document(), _PUBLIC)

    # -- pages -------------------------------------------------------------------------------------------------

    async def _authorize(self, exchange: HttpExchange) -> None:
        await self._page(exchange, "GET", self._login.authorize)

    async def _consent(self, exchange: HttpExchange) -> None:
        await self._page(exchange, "POST", self._login.consent)

    async def _callback(self, exchange: HttpExchange) -> None:
        await self._page(exchange, "GET", self._login.callback)

    async def _page(
        self, exchange: HttpExchange, method: str, serve: Callable[[HttpExchange], Awaitable[None]]
    ) -> None:
        if exchange.method != method:
            text = "Go back to the app that you came from, and log in again."
            await send_message(
                exchange, 405, "This page cannot be opened so", text, headers=[(b"allow", method.encode())]
            )
            return
        try:
            await serve(exchange)
        except LoginError as error:
            await send_login_error(exchange, error)

    # -- for clients -------------------------------------------------------------------------------------------

    async def _token(self, exchange: HttpExchange) -> None:
        async def respond() -> dict[str, Any]:
            form = await read_form(exchange)
            client = await self._services.clients.authenticate(form, header(exchange, b"authorization"))
            return await self._token_endpoint.respond(client, form)

        await self._answer(exchange, 200, respond)

    async def _revoke(self, exchange: HttpExchange) -> None:
        async def respond() -> dict[str, Any]:
            form = await read_form(exchange)
            client = await self._services.clients.authenticate(form, header(exchange, b"authorization"))
            await self._token_endpoint.revoke(client, form)
            return {}

        await self._answer(exchange, 200, respond)

    async def _register(self, exchange: HttpExchange) -> None:
        async def respond() -> dict[str, Any]:
            return self._registrations.register(await read_body(exchange))

        await self._answer(exchange, 201, respond)

    async def _answer(
        self, exchange: HttpExchange, status: int, respond: Callable[[], Awaitable[dict[str, Any]]]
    ) -> None:
        if not await allows_method(exchange, ("POST",)):
            return
        try:
            value = await respond()
        except OAuthError as error:
            await send_error(exchange, error)
        except StoreError:
            retry = [(b"retry-after", b"2")]
            await send_error(exchange, OAuthError("temporarily_unavailable", _STORE_AWAY, 503, retry))
        else:
            await send_document(exchange, status, value, NO_STORE)
