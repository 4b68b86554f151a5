"""Rows of the store that are encrypted and bound to their names.

A row that was copied to another name, or changed, cannot be opened there: it counts as missing. So whoever can
write to the store can make tokens unusable, and cannot give one user's to another.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from enfilade.serving.callers.state_records import StateStore
from enfilade.serving.failures import LimitedLog
from enfilade.state.store import Keys

T = TypeVar("T", bound=msgspec.Struct)

log = logging.getLogger("enfilade.auth")
_unreadable_log: Final = LimitedLog(log)


class Row(NamedTuple, Generic[T]):
    """A row as it was read.

    Attributes:
        value: what it says.
        stored: the bytes in the store, by which it is replaced only if nobody else has done so.
    """

    value: T
    stored: bytes


class SealedRows(Generic[T]):
    """Rows of one kind.

    Args:
        state: has the store and the keys of the server.
        kind: names them in the store, and in what the encryption is bound to.
        row_type: what a row says.
    """

    def __init__(self, state: StateStore, kind: str, row_type: type[T]) -> None:
        self._state = state
        self._kind = kind
        self._decoder = msgspec.msgpack.Decoder(row_type)

    def name_of(self, *identity: str | None) -> str:
        """Return the name of the row of something, which does not show what that is."""
        text = json.dumps([self._kind, *identity]).encode()
        return f"{self._kind}:{hashlib.sha256(text).hexdigest()}"

    async def keys(self) -> Keys:
        """Return the keys of the store, which is started.

        Raises:
            StoreError: the store does not answer.
        """
        return await self._state.started_keys()

    async def read(self, name: str) -> Row[T] | None:
        """Return a row; None if there is none that can be opened.

        Raises:
            StoreError: the store does not answer.
        """
        keys = await self.keys()
        stored = await keys.get(name)
        if stored is None:
            return None
        seal, purpose = self._state.seal, self._purpose(name)
        content = seal.decrypt(stored, purpose)
        if content is None and not seal.is_configured:  # by a worker whose secret is not here yet
            await seal.agree(keys)
            content = seal.decrypt(stored, purpose)
        try:
            if content is not None:
                return Row(self._decoder.decode(content), stored)
        except msgspec.DecodeError:  # of another version of this package
            pass
        _unreadable_log.write(
            logging.WARNING,
            "a row of %s in the store cannot be opened: it was encrypted with a secret that is not here, or "
            "changed; after a change of secrets, name the old one behind the new one (secret=[new, old])",
            self._kind,
        )
        return None

    async def replace(self, name: str, stored: bytes | None, value: T | None, ttl: float) -> bytes | None:
        """Replace a row if it still is what was read.

        Args:
            stored: the bytes that were read; None for no row.
            value: what it says from now on; None to delete it.
            ttl: seconds for which it is kept.

        Returns:
            What is stored now, empty for nothing; None if somebody else was faster.

        Raises:
            StoreError: the store does not answer.
        """
        keys = await self.keys()
        content = None if value is None else self.sealed(name, value)
        return (content or b"") if await keys.swap(name, stored, content, ttl) else None

    async def write(self, name: str, value: T, ttl: float) -> None:
        """Write a row, whatever there was."""
        await (await self.keys()).put(name, self.sealed(name, value), ttl)

    async def delete(self, name: str) -> None:
        """Delete a row."""
        await (await self.keys()).delete(name)

    def sealed(self, name: str, value: T) -> bytes:
        """Return the bytes of a row."""
        return self._state.seal.encrypt(msgspec.msgpack.encode(value), self._purpose(name))

    def _purpose(self, name: str) -> bytes:
        return f"row {name}".encode()
