"""The vault: what users have granted at providers, encrypted, in the store that all workers share.

An entry belongs to a principal, a provider and the client of this server there. A list of entries for operators
is kept beside them in shards, since a store cannot be searched.

Easy to get wrong: a refresh token that rotates is good for one request, whichever worker makes it. So one worker
refreshes, by a lease in the store, and the others wait for what it writes. The request runs in a task of its own:
the call that caused it may be cancelled, and the new refresh token must not get lost with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from enfilade.auth.oauth_providers.client import ProviderClient
from enfilade.auth.oauth_providers.responses import ProviderError, TokenSet
from enfilade.auth.tool_auth.sealed_rows import Row, SealedRows
from enfilade.serving.callers.state_records import StateStore
from enfilade.serving.failures import log_safely

log = logging.getLogger("enfilade.auth")

#: Seconds for which an entry is kept after its last use that wrote it.
RETENTION: Final = 400 * 86_400.0
#: A token that ends within so many seconds is refreshed before a tool gets it (A14).
REFRESH_BEFORE: Final = 60.0
#: Seconds between two looks of those that wait for the worker that refreshes, at first and at most.
_LOOK: Final = 0.05
_LONGEST_LOOK: Final = 0.5
#: Error codes after which a refresh token is good for nothing more: of RFC 6749, GitHub and Slack.
_ENDED: Final = frozenset(
    ("invalid_grant", "bad_refresh_token", "invalid_refresh_token", "token_revoked", "token_expired")
)
_SHARDS: Final = 64
#: Attempts to change a row that others change as well.
_CHANGES: Final = 100
#: Most bytes of what a provider says of a user.
_MOST_USER_INFO: Final = 16 * 1024


class Entry(msgspec.Struct, array_like=True, kw_only=True):
    """What a user has granted at a provider; its repr has no token.

    Attributes:
        principal: the key of the user here (`Principal.key`).
        user: the user for people: a subject.
        provider: the id of the provider.
        client_id: this server there.
        access_token: for the API.
        refresh_token: for the next access token; None if there is none.
        expires_at: when the access token ends, in seconds since the epoch; None if that is not known.
        scopes: what was granted.
        user_info: what the provider says of the user.
        granted_at: when the user consented.
    """

    principal: str
    user: str
    provider: str
    client_id: str
    access_token: str
    refresh_token: str | None
    expires_at: float | None
    scopes: tuple[str, ...]
    user_info: dict[str, Any] = {}
    granted_at: float = 0.0

    def __repr__(self) -> str:
        return f"Entry({self.user!r}, {self.provider!r}, scopes={self.scopes!r})"

    def is_fresh(self, seconds: float = REFRESH_BEFORE) -> bool:
        """Whether the access token is good for some seconds more, as far as is known."""
        return self.expires_at is None or self.expires_at > time.time() + seconds


class Listed(msgspec.Struct, array_like=True, kw_only=True):
    """An entry in the list for operators."""

    name: str
    principal: str
    user: str
    provider: str
    client_id: str


class Shard(msgspec.Struct, array_like=True):
    """A part of the list."""

    entries: dict[str, Listed] = {}


class _Lease(msgspec.Struct, array_like=True):
    owner: str


class RefreshUnavailableError(Exception):
    """A token has ended, and its provider does not give another one at present."""


class Vault:
    """Keeps the entries of one server.

    Args:
        server: the server's name; servers with one store and other names have other entries.
        state: has the store and the keys of the server.
        lease: seconds that a worker may take to refresh a token.
    """

    def __init__(self, server: str, state: StateStore, lease: float) -> None:
        self._server = server
        self._lease = lease
        self._entries = SealedRows(state, "tool_token", Entry)
        self._shards = SealedRows(state, "tool_token_list", Shard)
        self._leases = SealedRows(state, "tool_token_lease", _Lease)
        self._refreshing: dict[tuple[str, str | None], asyncio.Task[Row[Entry] | None]] = {}

    def name_of(self, principal: str, provider: str, client_id: str) -> str:
        """Return the name of the row of an entry (A12)."""
        return self._entries.name_of(self._server, principal, provider, client_id)

    async def read(self, principal: str, client: ProviderClient) -> Row[Entry] | None:
        """Return the entry of a user at a provider; None if there is none.

        Raises:
            StoreError: the store does not answer.
        """
        name = self.name_of(principal, client.provider.id, client.client_id)
        row = await self._entries.read(name)
        # The name says whose it is, and the encryption is bound to it; this is a second lock.
        return row if row is not None and row.value.principal == principal else None

    async def add(
        self,
        principal: str,
        user: str,
        client: ProviderClient,
        tokens: TokenSet,
        *,
        asked: Sequence[str],
        user_info: dict[str, Any],
    ) -> Entry:
        """Keep what a user has granted, in place of what there was.

        Args:
            asked: the scopes that were asked for, which a response without scopes means.
            user_info: what the provider says of the user.

        Raises:
            StoreError: the store does not answer.
        """
        provider = client.provider.id
        if not _is_storable(user_info):
            user_info = {}
        entry = Entry(
            principal=principal,
            user=user,
            provider=provider,
            client_id=client.client_id,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_at=tokens.expires_at,
            scopes=tuple(asked) if tokens.scopes is None else tokens.scopes,
            user_info=user_info,
            granted_at=time.time(),
        )
        name = self.name_of(principal, provider, client.client_id)
        listed = Listed(name=name, principal=principal, user=user, provider=provider, client_id=client.client_id)
        await self._list(name, listed)  # first: an entry that is not listed could not be revoked by an operator
        await self._entries.write(name, entry, RETENTION)
        return entry

    async def delete(self, name: str) -> None:
        """Delete an entry."""
        await self._entries.delete(name)
        await self._list(name, None)

    async def take(self, name: str) -> Entry | None:
        """Delete an entry, and return what it was at that moment; None if there is none.

        Its tokens are those to be revoked: a refresh that ends at the same time changes them.
        """
        for _ in range(_CHANGES):
            row = await self._entries.read(name)
            if row is None:
                break
            if await self._entries.replace(name, row.stored, None, RETENTION) is not None:
                await self._list(name, None)
                return row.value
        await self.delete(name)
        return None

    async def delete_if(self, name: str, row: Row[Entry]) -> None:
        """Delete an entry, unless it has been replaced."""
        if await self._entries.replace(name, row.stored, None, RETENTION) is not None:
            await self._list(name, None)

    async def entries(self) -> AsyncIterator[tuple[str, Entry]]:
        """Yield all entries with the names of their rows, in no order.

        Raises:
            StoreError: the store does not answer.
        """
        for number in range(_SHARDS):
            shard = await self._shards.read(self._shard_name(number))
            for name in () if shard is None else sorted(shard.value.entries):
                row = await self._entries.read(name)
                if row is not None:
                    yield name, row.value

    # -- refresh -------------------------------------------------------------------------------------------------

    async def fresh(
        self, row: Row[Entry], client: ProviderClient, *, rejected: str | None = None
    ) -> Row[Entry] | None:
        """Return an entry whose token is good for a minute at least, refreshed if need be (A14).

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
        name = self.name_of(row.value.principal, row.value.provider, row.value.client_id)
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
            row = await self._entries.read(name)
            if row is None or not _needs_refresh(row.value, rejected):
                return row
            held = await self._leases.replace(lease, None, owner, self._lease)
            if held is not None:
                try:
                    row = await self._entries.read(name)  # another worker may have been faster
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
            await self.delete_if(name, row)
            return None
        try:
            tokens = await client.refresh(entry.refresh_token)
        except ProviderError as error:
            log_safely(log, logging.WARNING, "a token of %s could not be refreshed: %s", entry.provider, error)
            if error.code in _ENDED:
                await self.delete_if(name, row)
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
        stored = await self._entries.replace(name, row.stored, renewed, RETENTION)
        if stored is not None:
            return Row(renewed, stored)
        # The user has consented anew meanwhile, or has taken the consent back: that counts.
        current = await self._entries.read(name)
        if current is None:
            await _end_at_provider(client, tokens)
        return current

    # -- the list ------------------------------------------------------------------------------------------------

    def _shard_name(self, number: int) -> str:
        return self._shards.name_of(self._server, str(number))

    async def _list(self, name: str, listed: Listed | None) -> None:
        """Put an entry on the list, or take it off."""
        number = hashlib.sha256(name.encode()).digest()[0] % _SHARDS
        shard = self._shard_name(number)
        for _ in range(_CHANGES):
            row = await self._shards.read(shard)
            entries = {} if row is None else dict(row.value.entries)
            if (name in entries) == (listed is not None):
                return
            if listed is None:
                del entries[name]
            else:
                entries[name] = listed
            stored = None if row is None else row.stored
            if await self._shards.replace(shard, stored, Shard(entries), RETENTION) is not None:
                return
            await asyncio.sleep(secrets.randbelow(20) / 1000)
        log.warning("the list of granted tokens cannot be changed; a part of it is lost")
        await self._shards.write(shard, Shard({} if listed is None else {name: listed}), RETENTION)


async def _end_at_provider(client: ProviderClient, tokens: TokenSet) -> None:
    """Revoke tokens that nobody keeps, if the provider takes that."""
    token, hint = (tokens.refresh_token, "refresh_token") if tokens.refresh_token else (None, "access_token")
    try:
        await client.revoke(token or tokens.access_token, hint)
    except ProviderError as error:
        log_safely(log, logging.WARNING, "tokens of %s could not be revoked there: %s", client.provider.id, error)


def _is_storable(user_info: dict[str, Any]) -> bool:
    """Whether what a provider says of a user can be kept: not too large, and without integers of many digits."""
    try:
        return len(msgspec.msgpack.encode(user_info)) <= _MOST_USER_INFO
    except (OverflowError, TypeError, ValueError, RecursionError):
        return False


def _needs_refresh(entry: Entry, rejected: str | None) -> bool:
    return not entry.is_fresh() or (rejected is not None and entry.access_token == rejected)
