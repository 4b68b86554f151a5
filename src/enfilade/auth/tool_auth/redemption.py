"""An authorization code becomes tokens in the vault, once, whatever the browser or the user does meanwhile (A10).

Easy to get wrong: what becomes of tokens that nobody wants any more. A user may decline while the provider is
asked, or the store may take nothing: then the provider is told to end them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from enfilade.auth.oauth_providers.client import ProviderClient
from enfilade.auth.oauth_providers.responses import ProviderError, TokenSet
from enfilade.auth.tool_auth.pending import Pending, PendingAuthorizations, Phase
from enfilade.auth.tool_auth.sealed_rows import Row
from enfilade.auth.tool_auth.vault import Vault
from enfilade.serving.callers.tool_auth import AuthError
from enfilade.serving.failures import log_failure, log_safely
from enfilade.state.store import StoreError

log = logging.getLogger("enfilade.auth")

#: Seconds between attempts to write to a store that is away: the code that was redeemed is good for nothing more.
_PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
#: Seconds for which the end of the server waits for codes that are being redeemed; each request has a limit.
_FAREWELL: Final = 15.0
_FAILED: Final = "the server could not keep the token"


class Redemptions:
    """Redeems codes.

    Args:
        vault: keeps what is granted.
        pending: the authorizations.
    """

    def __init__(self, vault: Vault, pending: PendingAuthorizations) -> None:
        self._vault = vault
        self._pending = pending
        self._running: set[asyncio.Task[str | None]] = set()

    async def redeem(self, id: str, row: Row[Pending], client: ProviderClient, code: str) -> str | None:
        """Redeem a code and keep the tokens, also if the browser goes away; return a reference if there are none.

        Args:
            id: of the authorization.
            row: the authorization, which nobody else redeems.
            client: its provider.
            code: is sent once.

        Returns:
            By which the log has more about it; None if the tokens are kept.

        Raises:
            StoreError: the store does not answer for longer than a few seconds.
        """
        task = asyncio.create_task(self._redeem(id, row, client, code))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.wait((task,))
        return task.result()

    async def _redeem(self, id: str, row: Row[Pending], client: ProviderClient, code: str) -> str | None:
        pending, provider = row.value, client.provider
        redirect_uri = pending.base + pending.callback
        try:
            tokens = await client.redeem(code, verifier=pending.verifier, redirect_uri=redirect_uri)
        except ProviderError as error:
            reference = logged(error, f"a code of {provider.id} was not redeemed")
            reason = f"{provider.title} has given no token (reference {reference})"
            await self._pending.change(id, row, phase=Phase.ENDED.value, reason=reason, verifier="")
            return reference
        try:
            return await self._keep(id, row, client, tokens)
        except StoreError:  # nobody knows how much of it was written
            raise
        except Exception as error:
            await client.end(tokens.access_token, tokens.refresh_token)
            reference = logged(error, f"tokens of {provider.id} were not kept")
            await self._pending.change(id, row, phase=Phase.ENDED.value, reason=_FAILED, verifier="")
            return reference

    async def _keep(self, id: str, row: Row[Pending], client: ProviderClient, tokens: TokenSet) -> str | None:
        """Keep tokens, unless the user has declined meanwhile; return a reference to the log if they are not."""
        pending, provider = row.value, client.provider
        user_info: dict[str, Any] = {}
        try:
            user_info = await client.user_info(tokens.access_token)
        except ProviderError as error:
            log_safely(log, logging.INFO, "%s does not say who the user is: %s", provider.id, error)
        current = await self._pending.read(id)
        if current is None or current.stored != row.stored:
            return await _declined(client, tokens)
        await _persistently(
            lambda: self._vault.add(
                pending.principal, pending.user, client, tokens, asked=pending.scopes, user_info=user_info
            )
        )
        await _persistently(lambda: self._pending.change(id, row, phase=Phase.DONE.value, verifier=""))
        current = await self._pending.read(id)
        if current is not None and current.value.phase == Phase.ENDED.value:  # declined in this very moment
            await self._vault.delete(self._vault.name_of(pending.principal, provider.id, client.client_id))
            return await _declined(client, tokens)
        return None

    async def aclose(self) -> None:
        """Wait for codes that are being redeemed."""
        if self._running:
            await asyncio.wait(self._running, timeout=_FAREWELL)


async def _declined(client: ProviderClient, tokens: TokenSet) -> str:
    """End tokens that nobody wants any more; return a reference to the log."""
    await client.end(tokens.access_token, tokens.refresh_token)
    error = AuthError("the user has declined while the code was redeemed")
    return logged(error, f"tokens of {client.provider.id} are given back")


async def _persistently(write: Callable[[], Awaitable[object]]) -> None:
    """Write to the store, also if it is away for a moment.

    Raises:
        StoreError: it is away for longer.
    """
    for pause in _PAUSES:
        try:
            await write()
            return
        except StoreError:
            await asyncio.sleep(pause)
    await write()


def logged(error: Exception, event: str) -> str:
    """Log a failure, and return the reference to it.

    The traceback is a text: its frames have codes, tokens and the secret of the client as variables.
    """
    return log_failure(error, event, as_text=True)
