"""Tokens that were verified, by a digest of their header: bounded in number and in bytes (R-714).

A token is known until it expires, or until the keys of its server change.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from enfilade.serving.principal import Principal

_MOST: Final = 4096
_MOST_BYTES: Final = 8 * 1024 * 1024


def _digest_function() -> Callable[[bytes], "hashlib.blake2b | hashlib._Hash"]:
    """Return the function whose digests stand for headers in memory.

    BLAKE2b is a part of Python. SHA-256 goes through OpenSSL, which costs twice as much for a text as short as a
    header; it is for systems that allow no other (FIPS mode).
    """
    try:
        hashlib.blake2b(b"")
    except ValueError:
        return hashlib.sha256
    return hashlib.blake2b


_digest: Final = _digest_function()


class KeyedVerifier(Protocol):
    """Verifies tokens of one issuer, by keys that may change."""

    @property
    def generation(self) -> int:
        """Grows when verdicts that were kept are void."""
        ...

    @property
    def is_without_keys(self) -> bool:
        """Whether it can verify nothing at present."""
        ...

    def is_current(self, generation: int) -> bool:
        """Whether a verdict of a generation holds still; it costs no I/O."""
        ...

    async def verify(self, token: str, claims: dict[str, Any] | None = None) -> Principal:
        """Return who presents a token.

        Raises:
            InvalidTokenError: the token is not accepted.
            ServerUnavailableError: it cannot be verified at present.
        """
        ...

    async def aclose(self) -> None:
        """Close its connections."""
        ...


class OwnTokens(KeyedVerifier, Protocol):
    """Verifies tokens that this server itself has issued, which are no JWTs."""

    @property
    def prefix(self) -> str:
        """What all of them begin with."""
        ...


class KnownToken(msgspec.Struct, frozen=True, gc=False):
    """A token that was verified.

    Attributes:
        until: seconds since the epoch at which it expires.
        verifier: by whose keys, those of a `generation`, it was verified.
        is_free: whether nothing else must come with it.
    """

    principal: Principal
    until: float
    verifier: KeyedVerifier
    generation: int
    size: int
    is_free: bool


class KnownTokens:
    """The tokens that one endpoint has verified."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[bytes, KnownToken] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._tokens)

    def current(self, header: bytes) -> KnownToken | None:
        """Return what is known of the token in a header, if it holds still."""
        digest = _digest(header).digest()
        known = self._tokens.get(digest)
        if known is None:
            return None
        if known.until <= time.time() or not known.verifier.is_current(known.generation):
            self._forget(digest)
            return None
        self._tokens.move_to_end(digest)
        return known

    def add(self, header: bytes, token: KnownToken) -> None:
        """Remember a token; those that were not used for the longest time give way."""
        digest = _digest(header).digest()
        self._forget(digest)
        self._tokens[digest] = token
        self._bytes += token.size
        while len(self._tokens) > _MOST or self._bytes > _MOST_BYTES:
            _, oldest = self._tokens.popitem(last=False)
            self._bytes -= oldest.size

    def _forget(self, digest: bytes) -> None:
        if (known := self._tokens.pop(digest, None)) is not None:
            self._bytes -= known.size
