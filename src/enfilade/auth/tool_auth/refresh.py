"""Refresh of what is in the vault: by one worker, for all calls that wait for it (A14).

Easy to get wrong: a refresh token that rotates is good for one request, whichever worker makes it. So one worker
refreshes, by a lease in the store, and the others wait for what it writes. The request runs in a task of its own:
the call that caused it may be cancelled, and the new refresh token must not get lost with it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Final

import msgspec

from enfilade.auth.oauth_providers.client import ProviderClient
from enfilade.auth.oauth_providers.responses import ProviderError
from enfilade.auth.tool_auth.sealed_rows import Row, SealedRows
from enfilade.auth.tool_auth.vault import Entry, Vault
from enfilade.serving.callers.state_records import StateStore
from enfilade.serving.failures import log_safely

log = logging.getLogger("enfilade.auth")

#: Seconds between two looks of those that wait for the worker that refreshes, at first and at most.
_LOOK: Final = 0.05
_LONGEST_LOOK: Final = 0.5
#: Error codes after which a refresh token is good for nothing more: of RFC 6749, GitHub and Slack.
_ENDED: Final = frozenset(
    ("invalid_grant", "bad_refresh_token", "invalid_refresh_token", "token_revoked", "token_expired")
)


class _Lease(msgspec.Struct, array_like=True):
    owner: str


class RefreshUnavailableError(Exception):
    """A token has ended, and its provider does not give another one at present."""


class Refresher:
    """Refreshes the entries of a vault.

    Args:
        vault: has them.
        state: has the store and the keys of the server.
        lease: seconds that a worker may take to refresh a token.
    """

    def __init__(self, vault: Vault, state: StateStore, lease: float) -> None:
        self._vault = vault
        self._lease = lease
        self._leases = SealedRows(state, "tool_token_lease", _Lease)
        self._refreshing: dict[tuple[str, str | None], asyncio.Task[Row[Entry] | None]] = {}

    async def fresh(
        self, row: Row[Entry], client: ProviderClient, *, rejected: str | None = None
    ) -> Row[Entry] | None:
        """Return an entry whose token is good for a minute at least, refreshed if need be.

        Args:
            row: the entry as it was read.
            client: its provider.
            rejected: an access token that the service has refused, so that it is replaced in any case.

        Returns:
            The entry; None if the user has to consent again.

        Raises:
            RefreshUnavailableError: the token has ended or was refused, and there is no other at present.
            StoreError: the store does not answer.
        """
        if not _needs_refresh(row.value, rejected):
            return row
        name = self._vault.name_of(row.value.principal, row.value.provider, row.value.client_id)
        key = name, rejected
        task = self._refreshing.get(key)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = asyncio.create_task(self._refresh_in_turn(name, client, rejected))
            self._refreshing[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def _forget(self, key: tuple[str, str | None], task: asyncio.Task[Row[Entry] | None]) -> None:
        if self._refreshing.get(key) is task:
            del self._refreshing[key]
        if not task.cancelled():
            task.exception()  # whoever waits for it has it

    async def _refresh_in_turn(
        self, name: str, client: ProviderClient, rejected: str | None
    ) -> Row[Entry] | None:
        """Refresh an entry, or wait for the worker that does."""
        lease = self._leases.name_of(name)
        owner = _Lease(secrets.token_hex(8))
        pause, ends_at = _LOOK, time.monotonic() + 2 * self._lease
        while True:
            row = await self._vault.row(name)
            if row is None or not _needs_refresh(row.value, rejected):
                return row
            held = await self._leases.replace(lease, None, owner, self._lease)
            if held is not None:
                try:
                    row = await self._vault.row(name)  # another worker may have been faster
                    if row is None or not _needs_refresh(row.value, rejected):
                        return row
                    return await self._refresh(name, row, client, rejected)
                finally:
                    await self._leases.replace(lease, held, None, self._lease)
            if time.monotonic() > ends_at:
                raise RefreshUnavailableError("other workers refresh it")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK)

    async def _refresh(
        self, name: str, row: Row[Entry], client: ProviderClient, rejected: str | None
    ) -> Row[Entry] | None:
        """Ask the provider for a new token, and keep it."""
        entry = row.value
        if entry.refresh_token is None:
            if rejected is None and entry.is_fresh(0):
                return row
            await self._vault.delete_if(name, row)
            return None
        try:
            tokens = await client.refresh(entry.refresh_token)
        except ProviderError as error:
            log_safely(log, logging.WARNING, "a token of %s could not be refreshed: %s", entry.provider, error)
            if error.code in _ENDED:
                await self._vault.delete_if(name, row)
                return None
            if rejected is None and entry.is_fresh(0):
                return row
            raise RefreshUnavailableError(str(error)) from None
        renewed = msgspec.structs.replace(
            entry,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_at=tokens.expires_at,
            scopes=entry.scopes if tokens.scopes is None else tokens.scopes,
        )
        kept = await self._vault.replace(name, row, renewed)
        if kept is not None:
            return kept
        # The user has consented anew meanwhile, or has taken the consent back: that counts.
        current = await self._vault.row(name)
        if current is None:
            await client.end(tokens.access_token, tokens.refresh_token)
        return current


def _needs_refresh(entry: Entry, rejected: str | None) -> bool:
    return not entry.is_fresh() or (rejected is not None and entry.access_token == rejected)
