"""The vault: what users have granted at providers, encrypted, in the store that all workers share.

An entry belongs to a principal, a provider and the client of this server there. A list of entries for operators
is kept beside them in shards, since a store cannot be searched.
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
from enfilade.auth.oauth_providers.responses import TokenSet
from enfilade.auth.tool_auth.sealed_rows import Row, SealedRows
from enfilade.serving.callers.state_records import StateStore

log = logging.getLogger("enfilade.auth")

#: Seconds for which an entry is kept after its last use that wrote it.
RETENTION: Final = 400 * 86_400.0
#: A token that ends within so many seconds is refreshed before a tool gets it (A14).
REFRESH_BEFORE: Final = 60.0
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


class Vault:
    """Keeps the entries of one server.

    Args:
        server: the server's name; servers with one store and other names have other entries.
        state: has the store and the keys of the server.
    """

    def __init__(self, server: str, state: StateStore) -> None:
        self._server = server
        self._entries = SealedRows(state, "tool_token", Entry)
        self._shards = SealedRows(state, "tool_token_list", Shard)

    def name_of(self, principal: str, provider: str, client_id: str) -> str:
        """Return the name of the row of an entry (A12)."""
        return self._entries.name_of(self._server, principal, provider, client_id)

    async def read(self, principal: str, client: ProviderClient) -> Row[Entry] | None:
        """Return the entry of a user at a provider; None if there is none.

        Raises:
            StoreError: the store does not answer.
        """
        row = await self.row(self.name_of(principal, client.provider.id, client.client_id))
        # The name says whose it is, and the encryption is bound to it; this is a second lock.
        return row if row is not None and row.value.principal == principal else None

    async def row(self, name: str) -> Row[Entry] | None:
        """Return an entry by the name of its row; None if there is none."""
        return await self._entries.read(name)

    async def replace(self, name: str, row: Row[Entry], entry: Entry) -> Row[Entry] | None:
        """Replace an entry, and return it as it is kept; None if somebody else has replaced or deleted it."""
        stored = await self._entries.replace(name, row.stored, entry, RETENTION)
        return None if stored is None else Row(entry, stored)

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


def _is_storable(user_info: dict[str, Any]) -> bool:
    """Whether what a provider says of a user can be kept: not too large, and without integers of many digits."""
    try:
        return len(msgspec.msgpack.encode(user_info)) <= _MOST_USER_INFO
    except (OverflowError, TypeError, ValueError, RecursionError):
        return False
