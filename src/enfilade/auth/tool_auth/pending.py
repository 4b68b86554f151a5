"""Authorizations that users have not ended yet: one record each, in the store that all workers share.

```text
        page, button          redirect of the provider       tokens are kept
  NEW ───────────────▶ OPENED ───────────────────────▶ REDEEMING ─────────────▶ DONE
   │                     │                                  │
   └─────────────────────┴──── declined, refused, failed ───┴─────────────────▶ ENDED
```

Each step is a compare and swap of the record, so of two workers, or two browsers, one makes it.

Easy to get wrong: a worker that dies while it redeems a code. The code may have reached the provider, so nobody
sends it again; the record then counts as interrupted after a while, and nobody waits for it any longer.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from enfilade.auth.oauth_providers.client import ProviderClient
from enfilade.auth.tool_auth.sealed_rows import Row, SealedRows
from enfilade.auth.tool_auth.user import User
from enfilade.serving.callers.state_records import StateStore
from enfilade.state.store import StoreError

#: The path of links, before the id.
START: Final = "/auth/start/"
#: Seconds for which a link can be opened, and then for the way to the provider and back (A8).
LIFETIME: Final = 600.0
#: Seconds for which the outcome is known to calls that wait or come again.
_OUTCOME: Final = 900.0
#: Seconds between two looks into the store, at first and at most; a message of the bus comes before.
_LOOK: Final = 0.25
_LONGEST_LOOK: Final = 2.0
_TOPIC: Final = "tool-authorization"


class Phase(Enum):
    """How far an authorization has come."""

    NEW = 0
    OPENED = 1
    REDEEMING = 2
    DONE = 3
    ENDED = 4


class Pending(msgspec.Struct, array_like=True, kw_only=True, frozen=True):
    """One authorization.

    Attributes:
        principal: the key of the user who has caused it (`Principal.key`).
        user: the user for people.
        issuer: that of the user; None if that is not known.
        provider: the id of the provider.
        client_id: this server there.
        scopes: what is asked for.
        tool: the name of the tool that needs it.
        base: the URL of this server, before `/auth/…`.
        callback: the path to which the next redirect has to come, behind `base`.
        created_at: seconds since the epoch.
        expires_at: when it cannot be gone on with any more.
        phase: how far it has come.
        browser: digest of the cookie of the browser that has pressed the button.
        state: digest of the `state` that the next redirect has to bring.
        verifier: of PKCE, for the present leg.
        nonce: for the login of the visitor; empty on the way to the provider.
        begun_at: when the redemption of the code began.
        reason: why it has ended, for the call; empty if it has not.
    """

    principal: str
    user: str
    issuer: str | None
    provider: str
    client_id: str
    scopes: tuple[str, ...]
    tool: str
    base: str
    created_at: float
    expires_at: float
    phase: int = 0
    browser: bytes = b""
    state: bytes = b""
    verifier: str = ""
    nonce: str = ""
    begun_at: float = 0.0
    reason: str = ""
    callback: str = ""

    @property
    def is_open(self) -> bool:
        """Whether a user can still go on with it."""
        return self.phase in (Phase.NEW.value, Phase.OPENED.value) and self.expires_at > time.time()

    def outcome(self, redemption: float) -> str | None:
        """Return why it has ended without a token; empty if there is one, None if it goes on.

        Args:
            redemption: seconds after which the redemption of a code counts as cut off.
        """
        if self.phase == Phase.DONE.value:
            return ""
        if self.phase == Phase.ENDED.value:
            return self.reason
        if self.phase == Phase.REDEEMING.value:
            return INTERRUPTED if self.begun_at + redemption < time.time() else None
        return None if self.expires_at > time.time() else EXPIRED


#: Why a call has no token, in words for the model.
INTERRUPTED: Final = "the server was interrupted before it had the token"
EXPIRED: Final = "nobody has given consent in time"


class PendingAuthorizations:
    """Keeps the authorizations of one server.

    Args:
        server: its name.
        state: has the store and the keys of the server.
        redemption: seconds after which the redemption of a code counts as cut off.
    """

    def __init__(self, server: str, state: StateStore, redemption: float) -> None:
        self._server = server
        self._redemption = redemption
        self._state = state
        self._rows = SealedRows(state, "tool_auth", Pending)
        self._wakers: dict[str, set[asyncio.Event]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def _name(self, id: str) -> str:
        return self._rows.name_of(self._server, id)

    async def begin(
        self, user: User, client: ProviderClient, scopes: Sequence[str], tool: str, base: str
    ) -> tuple[str, str]:
        """Keep a new authorization; return its id, 256 random bits, and its link.

        Args:
            user: who has caused it.
            client: the provider.
            scopes: what is asked for.
            tool: the name of the tool that needs it.
            base: the URL of this server, before `/auth/…`.

        Raises:
            StoreError: the store does not answer.
        """
        now, id = time.time(), secrets.token_urlsafe(32)
        pending = Pending(
            principal=user.key,
            user=user.name,
            issuer=user.issuer,
            provider=client.provider.id,
            client_id=client.client_id,
            scopes=tuple(scopes),
            tool=tool,
            base=base,
            created_at=now,
            expires_at=now + LIFETIME,
        )
        await self._rows.write(self._name(id), pending, LIFETIME + _OUTCOME)
        return id, f"{base}{START}{id}"

    async def read(self, id: str) -> Row[Pending] | None:
        """Return an authorization; None if there is none, or none any more."""
        return await self._rows.read(self._name(id)) if 0 < len(id) <= 64 else None

    def outcome_of(self, pending: Pending) -> str | None:
        """Return why an authorization has ended without a token; empty if there is one, None if it goes on."""
        return pending.outcome(self._redemption)

    async def change(self, id: str, row: Row[Pending], **changes: Any) -> Row[Pending] | None:
        """Change an authorization if it still is as it was read; None if somebody else was faster."""
        value = replace(row.value, **changes)
        stored = await self._rows.replace(self._name(id), row.stored, value, LIFETIME + _OUTCOME)
        if stored is None:
            return None
        if self.outcome_of(value) is not None:
            await self._wake(id)
        return Row(value, stored)

    async def end(self, id: str, reason: str) -> None:
        """End an authorization that goes on, such as by a user who declines."""
        for _ in range(10):
            row = await self.read(id)
            if row is None or self.outcome_of(row.value) is not None:
                return
            if await self.change(id, row, phase=Phase.ENDED.value, reason=reason) is not None:
                return

    # -- waiting -------------------------------------------------------------------------------------------------

    async def _wake(self, id: str) -> None:
        """Tell the calls that wait, at whichever worker they are; they also look now and then."""
        digest = hashlib.sha256(id.encode()).hexdigest()
        self._heard(digest.encode())
        try:
            await self._state.store.bus.publish(_TOPIC, digest.encode())
        except StoreError:  # those who wait look for themselves
            return

    def _heard(self, message: bytes) -> None:
        for event in self._wakers.get(message.decode("ascii", "replace"), ()):
            event.set()

    async def wait(
        self, id: str, seconds: float, is_granted: Callable[[], Awaitable[bool]] | None = None
    ) -> str | None:
        """Wait for the outcome of an authorization.

        Args:
            seconds: how long at most.
            is_granted: whether the user has consented by another link meanwhile.

        Returns:
            As `Pending.outcome`.

        Raises:
            StoreError: the store does not answer.
        """
        await self._subscribe()
        digest, event = hashlib.sha256(id.encode()).hexdigest(), asyncio.Event()
        self._wakers.setdefault(digest, set()).add(event)
        ends_at, pause = time.monotonic() + seconds, _LOOK
        try:
            while True:
                event.clear()
                row = await self.read(id)
                outcome = EXPIRED if row is None else self.outcome_of(row.value)
                remaining = ends_at - time.monotonic()
                if outcome is None and is_granted is not None and await is_granted():
                    outcome = ""
                if outcome is not None or remaining <= 0:
                    return outcome
                try:
                    async with asyncio.timeout(min(pause, remaining)):
                        await event.wait()
                except TimeoutError:
                    pause = min(2 * pause, _LONGEST_LOOK)
        finally:
            self._wakers[digest].discard(event)
            if not self._wakers[digest]:
                del self._wakers[digest]

    async def _subscribe(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            await self._rows.keys()
            if self._loop is not loop:
                self._loop = loop
                self._state.store.bus.subscribe(_TOPIC, self._heard)
