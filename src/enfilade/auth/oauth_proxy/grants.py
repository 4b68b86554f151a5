"""Grants: what the provider gave for a user and a client, as rows in the store of the server, sealed.

A row is the one place that knows whether a code was redeemed and which refresh token is the latest. Both change
by `Keys.swap`, so two workers can never both succeed with the same code or refresh token, and a worker that is
killed has either changed the row or not.

Easy to get wrong: a response that is lost. The client still has the refresh token that was just replaced, and
presents it once more. That is told from theft by time alone: for `GRACE` seconds after a rotation the token
before gets the same successor again; after that, whoever presents it ends the grant for everybody (RFC 9700
§4.14).
"""

import base64
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from enfilade.auth.oauth_proxy.sealed import Codec, new_id
from enfilade.state.store import Keys, Store

#: Seconds for which a refresh token that was replaced is taken once more.
GRACE: Final = 30.0
#: Seconds for which a grant waits for its code to be redeemed.
CODE_TIME: Final = 60
_LAG: Final = 30.0
#: Attempts while other workers change the same row.
_ATTEMPTS: Final = 10
_TOPIC: Final = "oauth-revoked"


class UpstreamTokens(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of a user at the provider.

    Attributes:
        expires_at: seconds since the epoch at which the access token ends; None if that is not known.
    """

    access_token: str
    refresh_token: str | None = None
    expires_at: float | None = None

    def __repr__(self) -> str:
        return f"UpstreamTokens(expires_at={self.expires_at!r})"


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a user gave a client.

    Attributes:
        subject: the user.
        client: digest of the client's id.
        scopes: of this server.
        claims: more of the user, such as `name`.
        needs_assertion: whether the client has to prove who it is.
        upstream: the tokens of the provider; None if it is not asked for anything later.
        generation: of the latest refresh token; 0 until the code is redeemed.
        rotated_at: seconds since the epoch of the latest rotation.
    """

    subject: str
    client: bytes
    scopes: list[str]
    claims: dict[str, Any]
    upstream: UpstreamTokens | None = None
    needs_assertion: bool = False
    generation: int = 0
    rotated_at: float = 0.0

    def __repr__(self) -> str:
        return f"Grant(scopes={self.scopes!r}, generation={self.generation!r})"


class Grants:
    """The grants of one proxy.

    Args:
        store: opens the store.
        lifetime: seconds that a grant lasts after its last use.
    """

    def __init__(self, codec: Codec, store: Callable[[], Store], lifetime: float) -> None:
        self._codec, self._store, self._lifetime = codec, store, lifetime

    @property
    def _keys(self) -> Keys:
        return self._store().keys

    async def add(self, grant: Grant) -> bytes:
        """Keep a grant whose code is not redeemed yet, and return its id.

        Raises:
            StoreError: it is not kept.
        """
        grant_id = new_id()
        await self._keys.put(_key(grant_id), self._sealed(grant_id, grant), CODE_TIME + _LAG)
        return grant_id

    async def get(self, grant_id: bytes) -> Grant | None:
        """Return a grant; None if it has ended.

        Raises:
            StoreError: the store does not answer.
        """
        return (await self._read(grant_id))[1]

    async def activate(self, grant_id: bytes) -> Grant | None:
        """Redeem the code of a grant, once; None if that was done before, or the grant has ended.

        Raises:
            StoreError: the store does not answer.
        """
        row, grant = await self._read(grant_id)
        if row is None or grant is None or grant.generation:
            return None
        active = msgspec.structs.replace(grant, generation=1, rotated_at=time.time())
        return active if await self._replace(grant_id, row, active) else None

    async def rotate(self, grant_id: bytes, client: bytes, generation: int) -> Grant | None:
        """Replace a refresh token by the next, and return the grant with its generation.

        Args:
            client: digest of the client that presents the token.
            generation: of the token.

        Returns:
            None if the grant has ended, also because this token was used before.

        Raises:
            StoreError: the store does not answer.
        """
        for _ in range(_ATTEMPTS):
            row, grant = await self._read(grant_id)
            if row is None or grant is None or not grant.generation or grant.client != client:
                return None
            now = time.time()
            if generation == grant.generation:
                rotated = msgspec.structs.replace(grant, generation=generation + 1, rotated_at=now)
                if await self._replace(grant_id, row, rotated):
                    return rotated
            elif generation == grant.generation - 1 and now - grant.rotated_at <= GRACE:
                return grant
            else:
                await self.revoke(grant_id)
                return None
        return None

    async def keep_upstream(self, grant_id: bytes, tokens: UpstreamTokens) -> None:
        """Keep new tokens of the provider.

        Raises:
            StoreError: the store does not answer.
        """
        for _ in range(_ATTEMPTS):
            row, grant = await self._read(grant_id)
            if row is None or grant is None:
                return
            if await self._replace(grant_id, row, msgspec.structs.replace(grant, upstream=tokens)):
                return

    async def revoke(self, grant_id: bytes) -> None:
        """End a grant: its refresh tokens at once, its access tokens as soon as workers hear of it.

        Raises:
            StoreError: the store does not answer.
        """
        await self._keys.delete(_key(grant_id))
        await self._store().bus.publish(_TOPIC, grant_id)

    def on_revoked(self, callback: Callable[[bytes], None]) -> None:
        """Call a function with the id of each grant that is revoked, in whatever worker."""
        self._store().bus.subscribe(_TOPIC, callback)

    async def claim(self, purpose: str, identity: bytes, seconds: float, claim: bytes | None = None) -> bool:
        """Claim something that may be used once; False if somebody has done so.

        Args:
            purpose: what it is, a word of ours.
            seconds: after which it can be claimed again, because it has expired itself.
            claim: by which it can be released; None for one that is not.

        Raises:
            StoreError: the store does not answer.
        """
        return await self._keys.swap(_claim_key(purpose, identity), None, claim or new_id(), seconds)

    async def release(self, purpose: str, identity: bytes, claim: bytes) -> None:
        """Give back what was claimed, unless its time is over and somebody else has claimed it.

        Raises:
            StoreError: the store does not answer.
        """
        await self._keys.swap(_claim_key(purpose, identity), claim, None, None)

    async def _read(self, grant_id: bytes) -> tuple[bytes | None, Grant | None]:
        key = _key(grant_id)
        row = await self._keys.get(key)
        content = None if row is None else self._codec.open_row(row, key)
        if content is None:
            return None, None
        try:
            return row, msgspec.msgpack.decode(content, type=Grant)
        except msgspec.DecodeError:  # of another version
            return None, None

    async def _replace(self, grant_id: bytes, row: bytes, grant: Grant) -> bool:
        seconds = self._lifetime if grant.generation else CODE_TIME + _LAG
        return await self._keys.swap(_key(grant_id), row, self._sealed(grant_id, grant), seconds)

    def _sealed(self, grant_id: bytes, grant: Grant) -> bytes:
        return self._codec.seal_row(msgspec.msgpack.encode(grant), _key(grant_id))


def _text(identity: bytes) -> str:
    return base64.urlsafe_b64encode(identity).rstrip(b"=").decode()


def _claim_key(purpose: str, identity: bytes) -> str:
    return f"oauth:{purpose}:{_text(identity)}"


def _key(grant_id: bytes) -> str:
    return f"oauth:grant:{_text(grant_id)}"
