"""Everything of tool authorization for one app, and what is checked at its start."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from enfilade.auth.oauth_providers.provider import OAuth2
from enfilade.auth.pages.page import check_installed
from enfilade.auth.tool_auth.asking import ConsentAsker
from enfilade.auth.tool_auth.authorizer import Authorizer
from enfilade.auth.tool_auth.clients import StaticToken, ToolClients, Variable, how_to_configure
from enfilade.auth.tool_auth.exchange import TokenExchange
from enfilade.auth.tool_auth.links import LocalListener, PageLinks
from enfilade.auth.tool_auth.pages import AuthorizationPages
from enfilade.auth.tool_auth.pending import PendingAuthorizations
from enfilade.auth.tool_auth.redemption import Redemptions
from enfilade.auth.tool_auth.refresh import Refresher
from enfilade.auth.tool_auth.vault import Vault
from enfilade.auth.tool_auth.visitor import Logins
from enfilade.primitives.public_urls import is_loopback_host
from enfilade.serving.callers.state_records import StateStore
from enfilade.settings import Settings, SettingsError
from enfilade.timings import Timings
from enfilade.transports.http.origin_checks import is_loopback

if TYPE_CHECKING:
    from enfilade.auth.resource_server import ResourceServer
    from enfilade.primitives.access import AuthRequirement

log = logging.getLogger("enfilade.auth")


class NamedTool(Protocol):
    """What is read of a tool."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def auth(self) -> tuple[AuthRequirement, ...]:
        """The tokens that it needs."""
        ...


class ToolAuthorization:
    """Tool authorization of one app.

    Args:
        server: the name of the server.
        title: its name for people.
        providers: what `tool_auth=` has.
        settings: have the time limit, the kind of prompt, the public URL.
        state: has the store and the keys of the server.
        auth: who may call; None if nobody is asked.
        tools: returns the tools.
        variable: returns a variable of the environment, or of `.env`.
        timings: of redemptions and refreshes.

    Attributes:
        authorizer: gives tools their tokens.
        pages: answers browsers.
        clients: the providers, with the credentials of this server there.
        vault: what users have granted.
        pending: what they are about to grant.
        listener: serves the pages where there is no server.

    Raises:
        ModuleNotFoundError: `enfilade[auth]` is not installed.
    """

    def __init__(
        self,
        server: str,
        title: str,
        providers: Iterable[OAuth2 | StaticToken],
        settings: Settings,
        state: StateStore,
        auth: ResourceServer | None,
        tools: Callable[[], Iterable[NamedTool]],
        variable: Variable,
        timings: Timings,
    ) -> None:
        check_installed()
        self._settings = settings
        self._auth = auth
        self._tools = tools
        servers = () if auth is None else auth.authorization_servers
        self.clients = ToolClients(providers, self._requirements, variable)
        self.vault = Vault(server, state)
        refresher = Refresher(self.vault, state, timings.token_refresh)
        self.pending = PendingAuthorizations(server, state, timings.code_redemption)
        self._redemptions = Redemptions(self.vault, self.pending)
        self._logins = Logins(servers, None if auth is None else auth.visitor_login)
        self.pages = AuthorizationPages(
            title, state.seal, self.clients, self._redemptions, self.pending, self._logins
        )
        self.listener = LocalListener(self.pages.serve)
        self._exchange = TokenExchange(server, state, servers)
        asker = ConsentAsker(
            self.pending, settings.auth_timeout, settings.auth_prompt, self.listener.end_soon, timings
        )
        base = public_base(settings, auth)
        # A server with a public URL has other callers than the user of its machine, whatever a proxy says.
        self._allows_local = base is None or is_loopback_host(urlsplit(base).hostname or "")
        links = PageLinks(base, self.listener)
        self.authorizer = Authorizer(
            title,
            self.clients,
            self.vault,
            refresher,
            self.pending,
            asker,
            links,
            self._exchange,
            allows_local=self._allows_local,
        )

    def _requirements(self) -> Iterator[AuthRequirement]:
        """Yield what tools need."""
        for tool in self._tools():
            yield from tool.auth

    def scopes_of(self, provider: str) -> tuple[str, ...]:
        """Return the scopes that tools need at a provider."""
        needed = (each for each in self._requirements() if each.provider == provider)
        return tuple(dict.fromkeys(scope for requirement in needed for scope in requirement.scopes))

    def check_start(self, *, is_memory: bool) -> None:
        """Check what can be known at the start (A2, A9, A12).

        Args:
            is_memory: whether the store ends with this process.

        Raises:
            SettingsError: nobody could tell the users apart for whom tokens are kept.
        """
        needing = [tool for tool in self._tools() if tool.auth]
        if not needing:
            return
        self._check_users([tool.name for tool in needing])
        for tool in needing:
            for requirement in tool.auth:
                id = requirement.provider
                if not self.clients.has_static(id) and self.clients.by_id(id) is None:
                    log.warning(
                        "tool %r needs a token of %s, and nobody has configured it: %s",
                        tool.name,
                        requirement.title,
                        how_to_configure(requirement),
                    )
        if is_memory:
            log.warning(
                "tokens that users grant are kept in memory:// and are lost with this process, so they have to "
                "consent anew; set ENFILADE_STORE, such as sqlite:///state.db"
            )

    def _check_users(self, tools: Sequence[str]) -> None:
        settings, names = self._settings, ", ".join(tools)
        if settings.transport != "http":
            return
        if self._auth is None and not self._allows_local:
            raise SettingsError(
                f"Invalid settings: public_url: {names} would act for whoever reaches {settings.public_url}, "
                "since there is no auth=: tokens of one user would be those of all. Give "
                "MCPApp(auth=ResourceServer(...)) with an AuthorizationServer that has a client_id, or leave "
                "public_url out on your own machine"
            )
        if self._auth is None:
            if not is_loopback(settings.host) and not settings.uds:
                raise SettingsError(
                    f"Invalid settings: host: {names} would act for whoever reaches {settings.host}, since there "
                    "is no auth=: tokens of one user would be those of all. Give "
                    "MCPApp(auth=ResourceServer(...)) with an AuthorizationServer that has a client_id, or bind "
                    "a loopback address"
                )
        elif not self._logins.is_there:
            log.warning(
                "%s: users cannot prove in a browser who they are, so nobody can give consent, unless a host "
                "says who visits: give AuthorizationServer(issuer, client_id=..., client_secret=...), with the "
                "redirect URL .../auth/login/callback registered there",
                names,
            )

    async def aclose(self) -> None:
        """End what is under way, and close the connections of the running event loop."""
        await self._redemptions.aclose()
        await self.listener.aclose()
        await self._logins.aclose()
        await self.clients.aclose()
        await self._exchange.aclose()


def public_base(settings: Settings, auth: ResourceServer | None) -> str | None:
    """Return the public URL of a server before `/auth/…`; None if nobody has said it.

    It is that of the endpoint without the endpoint's own path; `public_url` may be without it already.
    """
    url = settings.public_url or (auth.resource if auth is not None else "")
    if not url:
        return None
    return url.rstrip("/").removesuffix(settings.path.rstrip("/")).rstrip("/")
