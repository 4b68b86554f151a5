"""Gives tools the tokens of their callers: one that is there, a refreshed one, or one after consent."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from enfilade.auth.oauth_providers.client import ProviderClient
from enfilade.auth.tool_auth.asking import Consent, ConsentAsker
from enfilade.auth.tool_auth.clients import ToolClients, how_to_configure
from enfilade.auth.tool_auth.pending import LIFETIME, PendingAuthorizations
from enfilade.auth.tool_auth.refresh import Refresher, RefreshUnavailableError
from enfilade.auth.tool_auth.sealed_rows import Row
from enfilade.auth.tool_auth.upstream_errors import adapted
from enfilade.auth.tool_auth.user import LOCAL_USER, User
from enfilade.auth.tool_auth.vault import Entry, Vault
from enfilade.primitives.errors import ToolError
from enfilade.serving.callers.access import with_included
from enfilade.serving.callers.local import is_local
from enfilade.serving.callers.tool_auth import AuthError, CallAuth, RejectedTokenError, ToolToken, given_tokens
from enfilade.serving.failures import masked, single_error
from enfilade.serving.request import Request
from enfilade.state.store import StoreError

if TYPE_CHECKING:
    from enfilade.primitives.access import AuthRequirement

#: Links of one user within their lifetime at one worker, and users that are counted.
_MOST_LINKS: Final = 60
_MOST_USERS: Final = 10_000


class Exchange(Protocol):
    """Exchanges the token of a caller for one of another service."""

    async def token(self, request: Request, audience: str, scopes: Sequence[str]) -> str:
        """Return a token."""
        ...


class Links(Protocol):
    """Where pages of authorization are."""

    async def base(self, request: Request) -> str:
        """Return the URL of this server as the user of a request reaches it, without `/auth/…`."""
        ...


class Authorizer:
    """The `ToolAuthorizer` of an app.

    Args:
        server: the name of the server, for people.
        clients: the providers.
        vault: what users have granted.
        refresher: refreshes it.
        pending: what they are about to grant.
        asker: asks them.
        links: where the pages are.
        exchange: for `ctx.token_for`.
        allows_local: whether a caller whom nobody knows may be the user of this machine.
    """

    def __init__(
        self,
        server: str,
        clients: ToolClients,
        vault: Vault,
        refresher: Refresher,
        pending: PendingAuthorizations,
        asker: ConsentAsker,
        links: Links,
        exchange: Exchange,
        allows_local: bool = True,
    ) -> None:
        self._allows_local = allows_local
        self._server = server
        self.clients = clients
        self.vault = vault
        self._refresher = refresher
        self._pending = pending
        self._asker = asker
        self._links = links
        self._exchange = exchange
        self._links_made: dict[str, list[float]] = {}

    async def authorize(
        self, request: Request, tool: str, requirements: Sequence[AuthRequirement]
    ) -> Sequence[ToolToken]:
        """Return a token for each requirement of a tool; see `ToolAuthorizer`."""
        given = given_tokens(request.root.channel)
        try:
            return [await self._token(request, tool, each, given) for each in requirements]
        except StoreError as error:
            masked(error, "tokens of other services cannot be read")
            raise AuthError("The server cannot read its store at present; try again in a moment") from None

    async def _token(
        self, request: Request, tool: str, requirement: AuthRequirement, given: Mapping[str, str] | None
    ) -> ToolToken:
        provider, title = requirement.provider, requirement.title
        if given is not None:
            if provider not in given:
                raise AuthError(f'The test has no token of {title}: connect(app, auth={{"{provider}": "…"}})')
            return ToolToken(provider, title, given[provider], requirement.scopes)
        if self.clients.has_static(provider):
            return self._static_token(request, requirement)
        client = self.clients.by_id(provider)
        if client is None:
            raise AuthError(
                f"Tool {tool!r} needs a token of {title}, and the server has no client there. Its operator "
                f"has to do this: {how_to_configure(requirement)}"
            )
        user = self.user_of(request)
        waiting, has_asked = await self._asker.earlier(request, f"authorization-{provider}")
        while True:
            row = await self._fresh(user, client)
            lacking = requirement.scopes if row is None else _lacking(row.value, requirement, client)
            if row is not None and not lacking:
                entry = row.value
                return ToolToken(provider, title, entry.access_token, entry.scopes, entry.user_info)
            if has_asked:
                missing = f"it has not granted {', '.join(lacking)}" if row else "it is gone again"
                raise AuthError(f"There is no token of {title} that this tool can use: {missing}")
            consent = waiting or await self._consent(request, tool, requirement, client, user, row)
            await self._asker.ask(request, consent, partial(self._is_granted, user, requirement, client))
            has_asked = True

    def _static_token(self, request: Request, requirement: AuthRequirement) -> ToolToken:
        """Return the token that is there already, for the user of this machine alone."""
        if request.principal is not None or not self._allows_local_user(request):
            raise AuthError(
                f"The token of {requirement.title} on this server is for its own user, who calls from the same "
                "machine; others need tool_auth=[...client(...)]"
            )
        token = self.clients.static_token(requirement.provider)
        if token is None:
            raise AuthError(f"The variable that has the token of {requirement.title} is not set")
        return ToolToken(requirement.provider, requirement.title, token, requirement.scopes)

    async def _fresh(self, user: User, client: ProviderClient) -> Row[Entry] | None:
        row = await self.vault.read(user.key, client)
        if row is None:
            return None
        try:
            return await self._refresher.fresh(row, client)
        except RefreshUnavailableError:
            raise _try_again(client) from None

    async def _consent(
        self,
        request: Request,
        tool: str,
        requirement: AuthRequirement,
        client: ProviderClient,
        user: User,
        row: Row[Entry] | None,
    ) -> Consent:
        """Return a new authorization, for the union of what is granted and what the tool needs (A3)."""
        self._count_link(user)
        base = await self._links.base(request)
        granted = () if row is None else row.value.scopes
        scopes = tuple(dict.fromkeys((*granted, *requirement.scopes)))
        id, link = await self._pending.begin(user, client, scopes, tool, base)
        title = requirement.title
        allows = f" with the scopes {', '.join(scopes)}" if scopes else ""
        message = f"{tool} needs your consent to act for you at {title}{allows}; {self._server} asks for it."
        return Consent(id, link, message, requirement.provider, title, scopes)

    async def _is_granted(self, user: User, requirement: AuthRequirement, client: ProviderClient) -> bool:
        """Whether there is what a tool needs by now."""
        row = await self.vault.read(user.key, client)
        return row is not None and not _lacking(row.value, requirement, client)

    def _count_link(self, user: User) -> None:
        """Count a link of a user, so that nobody fills the store with links that are not used (R-714).

        Raises:
            AuthError: there are too many.
        """
        now = time.monotonic()
        made = [at for at in self._links_made.pop(user.key, ()) if at > now - LIFETIME]
        if len(made) >= _MOST_LINKS:
            self._links_made[user.key] = made
            raise AuthError("The user was asked for consent too often; use an earlier link, or wait 10 minutes")
        self._links_made[user.key] = [*made, now]  # at the end: who has waited longest is forgotten first
        while len(self._links_made) > _MOST_USERS:
            del self._links_made[next(iter(self._links_made))]

    def user_of(self, request: Request) -> User:
        """Return for whom a call needs tokens.

        Raises:
            AuthError: nobody knows who calls.
        """
        principal = request.principal
        if principal is not None:
            return User(principal.key, principal.subject, principal.issuer)
        if self._allows_local_user(request):
            return LOCAL_USER
        raise AuthError(
            "The server does not know who calls, so it cannot act for anybody: it needs MCPApp(auth=...), or a "
            "client on its own machine"
        )

    def _allows_local_user(self, request: Request) -> bool:
        channel = request.root.channel
        return is_local(channel) and (self._allows_local or channel.http is None)

    # -- what else a call can do ---------------------------------------------------------------------------------

    def meaning_of(self, error: BaseException, auth: CallAuth) -> ToolError | None:
        """Return what an exception of a tool means; see `ToolAuthorizer`."""
        cause = single_error(error)
        return cause if isinstance(cause, RejectedTokenError) else adapted(error, auth)

    async def renew(self, request: Request, token: ToolToken) -> None:
        """Replace a token that the service has refused, or forget it; see `ToolAuthorizer`."""
        client = None if given_tokens(request.root.channel) is not None else self.clients.by_id(token.provider)
        if client is None:
            raise AuthError(f"{token.title} has refused the token")
        row = await self.vault.read(self.user_of(request).key, client)
        if row is None:
            return
        try:
            await self._refresher.fresh(row, client, rejected=token.token)
        except RefreshUnavailableError:
            raise _try_again(client) from None

    async def revoke(self, request: Request, provider: str) -> None:
        """Revoke the tokens of the caller at a provider, and forget them; see `ToolAuthorizer`."""
        client = self.clients.by_id(provider)
        if client is None or given_tokens(request.root.channel) is not None:
            return
        user = self.user_of(request)
        entry = await self.vault.take(self.vault.name_of(user.key, provider, client.client_id))
        if entry is not None:
            await client.end(entry.access_token, entry.refresh_token)

    async def exchange(self, request: Request, audience: str, scopes: Sequence[str]) -> str:
        """Return a token of the caller for another service (RFC 8693)."""
        given = given_tokens(request.root.channel)
        if given is not None:
            if audience not in given:
                raise AuthError(f'The test has no token for {audience}: connect(app, auth={{"{audience}": "…"}})')
            return given[audience]
        return await self._exchange.token(request, audience, scopes)


def _lacking(entry: Entry, requirement: AuthRequirement, client: ProviderClient) -> tuple[str, ...]:
    """Return the scopes of a requirement that were not granted (A16)."""
    granted = with_included(frozenset(entry.scopes), client.provider.scope_includes)
    return tuple(scope for scope in requirement.scopes if scope not in granted)


def _try_again(client: ProviderClient) -> AuthError:
    return AuthError(f"{client.provider.title} gives no new token at present; try again in a minute")
