"""What a server keeps for its callers: one encrypted record per caller, in the store.

A record holds all values of one caller, with their expiries, and is replaced as a whole by compare and swap.
Rows of their own for the values would make large scopes cheaper to write, but the limit of a scope then needs a
counter beside them, which drifts when a value expires, a worker dies between two writes or a row is lost. With
one record the limits and the expiries are exact, no value is lost to a crash, and one authentication covers
keys and values: neither can be exchanged for another caller's, nor a value put back to an older one alone. The
price is that a write costs as much as the caller has: at most 1 MiB, and usually a few hundred bytes.

Easy to get wrong: a record that cannot be decrypted. To treat it as empty would let the next write destroy it
while two releases of a server run side by side, of which the older does not have the new secret. So it is an
error.
"""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import msgspec

from enfilade.serving.callers.state_values import StateError, Values
from enfilade.serving.request import Request
from enfilade.state.memory import MemoryKeys
from enfilade.state.store import Keys, Store, StoreError
from enfilade.state.tokens import Seal

T = TypeVar("T")

#: Most bytes of a record before it is encrypted, with keys and expiries, and most values in it.
MOST_BYTES: Final = 1024 * 1024
MOST_VALUES: Final = 1024

#: Attempts of a change while others change the same record, and seconds between two of them at first and at most.
#: Changes of one worker take turns, so that only workers compete.
_ATTEMPTS: Final = 100
_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05

_PURPOSE: Final = b"state of a caller "


_decoder: Final = msgspec.msgpack.Decoder(Values)


class _Row(NamedTuple):
    """Where a record is.

    Attributes:
        is_durable: whether it leaves this process, so that it is encrypted.
    """

    keys: Keys
    name: str
    is_durable: bool


class StateStore:
    """The records of one server.

    A caller is its authenticated user, by all sessions and both kinds of revisions; without a user, its
    session, or its connection where the connection is the session. State of a connection stays in this process
    and goes with it.

    Args:
        server: the server's name; servers with one store and other names have other records.
        store: opens the store.
        seal: the server's keys, shared by all workers.

    Attributes:
        seal: the same.
    """

    def __init__(self, server: str, store: Callable[[], Store], seal: Seal) -> None:
        self._server = server
        self._open_store = store
        self.seal = seal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: WeakKeyDictionary[object, Keys] = WeakKeyDictionary()
        self._locks: WeakValueDictionary[tuple[object, ...], asyncio.Lock] = WeakValueDictionary()

    @property
    def store(self) -> Store:
        """The store, which `started_keys` starts."""
        return self._open_store()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop in which the store was started here; None if it was not."""
        return self._loop

    async def read(self, request: Request) -> Values:
        """Return the values of a request's caller that have not expired.

        Raises:
            StateError: there is no caller to keep them for.
            StoreError: the store does not answer, or the record cannot be decrypted.
        """
        row = await self._row_of(request)
        return await self._opened(row, await row.keys.get(row.name))

    async def change(self, request: Request, edit: Callable[[Values], T]) -> T:
        """Change the values of a request's caller as one step, and return what `edit` returns.

        Args:
            edit: changes the values that it gets; called again if another worker was faster.

        Raises:
            StateError: as `read`, or there are too many values, or too many workers change them at once.
            StoreError: as `read`.
        """
        row = await self._row_of(request)
        async with self._lock_of(row):
            for attempt in range(_ATTEMPTS):
                stored = await row.keys.get(row.name)
                values = await self._opened(row, stored)
                result = edit(values)
                content, ttl = self._closed(row, values)
                if stored == content or await row.keys.swap(row.name, stored, content, ttl):
                    return result
                await asyncio.sleep(random.uniform(0, min(_LONGEST_PAUSE, _PAUSE * 2**attempt)))
        raise StateError("What is kept for this caller is being changed by too many calls at once; try again")

    async def clear(self, request: Request) -> None:
        """Delete all values of a request's caller, also if they cannot be decrypted."""
        row = await self._row_of(request)
        await row.keys.delete(row.name)

    async def close(self) -> None:
        """Close the store, if it was opened here in this event loop."""
        if self._loop is not None and self._loop is asyncio.get_running_loop():
            self._loop = None
            await self._open_store().close()

    async def _row_of(self, request: Request) -> _Row:
        """Return where the record of a caller is.

        Raises:
            StateError: it has no user, and no session.
        """
        root = request.root
        peer, session = root.peer, root.channel.session
        if peer.principal is not None:
            kind, caller = "state", peer.principal
        elif peer.session_id is not None:
            kind, caller = "session_state", peer.session_id  # a kind of its own, as memory:// limits each kind
        elif session is not None:
            return _Row(self._connections.setdefault(session, MemoryKeys()), "connection", False)
        else:
            raise StateError(
                "Nothing can be kept for this caller: the call has neither an authenticated user nor a session. "
                "Use explicit handles: return a handle (such as an id) from one tool, and take it as an "
                "argument of the next"
            )
        identity = json.dumps([self._server, kind, caller]).encode()
        return _Row(await self.started_keys(), f"{kind}:{hashlib.sha256(identity).hexdigest()}", True)

    async def started_keys(self) -> Keys:
        """Return the keys of the store, which is started if it was not yet.

        Raises:
            StoreError: the store does not answer.
        """
        store, loop = self._open_store(), asyncio.get_running_loop()
        if self._loop is not loop:  # over HTTP the endpoint has done both
            await store.start()
            if store.shared:
                await self.seal.agree(store.keys)
            self._loop = loop
        return store.keys

    def _lock_of(self, row: _Row) -> asyncio.Lock:
        key = asyncio.get_running_loop(), id(row.keys), row.name
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock

    async def _opened(self, row: _Row, stored: bytes | None) -> Values:
        """Return the values in a record that have not expired."""
        if stored is None:
            return {}
        content = await self._decrypted(row, stored) if row.is_durable else stored
        try:
            values = _decoder.decode(content)
        except msgspec.DecodeError:
            raise StoreError("state of a caller was written by another version of this package") from None
        now = time.time()
        return {key: value for key, value in values.items() if value.expires > now}

    async def _decrypted(self, row: _Row, stored: bytes) -> bytes:
        purpose = _PURPOSE + row.name.encode()
        content = self.seal.decrypt(stored, purpose)
        if content is None and not self.seal.is_configured:  # by a worker whose secret is not here yet
            await self.seal.agree(row.keys)
            content = self.seal.decrypt(stored, purpose)
        if content is None:
            raise StoreError(
                "state of a caller cannot be decrypted: it was encrypted with a secret that is not here, or its "
                "row was changed in the store. After a change of secrets, name the old one behind the new one "
                "(secret=[new, old]); await ctx.state.clear() drops it"
            )
        return content

    def _closed(self, row: _Row, values: Values) -> tuple[bytes | None, float]:
        """Return the record of values, and the seconds for which it is needed.

        Raises:
            StateError: there are too many values, or too many bytes.
        """
        if not values:
            return None, 0.0
        ttl = max(value.expires for value in values.values()) - time.time()
        content = _encoded(values)
        if row.is_durable:
            content = self.seal.encrypt(content, _PURPOSE + row.name.encode())
        return content, max(ttl, 0.001)


def _encoded(values: Values) -> bytes:
    """Return a record of values.

    Raises:
        StateError: there are too many values, or too many bytes.
    """
    advice = "delete what is not needed, or give values a shorter ttl"
    if len(values) > MOST_VALUES:
        raise StateError(f"At most {MOST_VALUES} values are kept for a caller; {advice}")
    content = msgspec.msgpack.encode(values)
    if len(content) > MOST_BYTES:
        raise StateError(
            f"At most {MOST_BYTES} bytes are kept for a caller, keys and values together, and this would be "
            f"{len(content)}; {advice}"
        )
    return content
