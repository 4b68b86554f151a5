"""Sealing: state that the client carries for us, which it can neither read nor change.

AES-256-GCM (through `cryptography`, loaded on first use). Every seal names its purpose, which is authenticated
but not sent, so that a token made for one use never opens in another. The easy thing to get wrong is rotation:
the first secret seals, all of them open, so a new secret is put in front and the old one removed after the
longest lifetime of a token.
"""

import base64
import binascii
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12
_KEY_ID: Final = 4
_CONTEXT: Final = b"enfilade seal 1"
MINIMUM_SECRET: Final = 16


class Seal:
    """A ring of keys that seals and opens short byte strings.

    Args:
        secrets: one or more secrets of at least 16 bytes, newest first. Workers that share them open each
            other's seals. Empty means a random secret: seals then die with this process.

    Raises:
        ValueError: a secret is too short to protect anything.
    """

    def __init__(self, secrets: Sequence[str | bytes] = ()) -> None:
        self._secrets = [s.encode() if isinstance(s, str) else bytes(s) for s in secrets] or [os.urandom(32)]
        self.shared = bool(secrets)
        for secret in self._secrets:
            check_secret(secret)
        self._keys: dict[bytes, AESGCM] = {}
        self._current = b""

    def _unlock(self) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        for secret in self._secrets:
            derived = HKDF(SHA256(), length=32 + _KEY_ID, salt=None, info=_CONTEXT).derive(secret)
            self._keys.setdefault(derived[32:], AESGCM(derived[:32]))
            self._current = self._current or derived[32:]

    def seal(self, content: bytes, purpose: bytes) -> str:
        """Return `content` as a token of visible ASCII (base64url without padding)."""
        if not self._keys:
            self._unlock()
        nonce = os.urandom(_NONCE)
        sealed = self._keys[self._current].encrypt(nonce, content, purpose)
        return base64.urlsafe_b64encode(self._current + nonce + sealed).rstrip(b"=").decode()

    def open(self, token: str | bytes, purpose: bytes) -> bytes | None:
        """Return what was sealed for `purpose`, or None for anything else, without saying why."""
        if not self._keys:
            self._unlock()
        raw = token.encode("ascii", "replace") if isinstance(token, str) else token
        try:
            whole = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if base64.urlsafe_b64encode(whole).rstrip(b"=") != raw:
            return None  # another spelling of the same bytes, which we never wrote
        key = self._keys.get(whole[:_KEY_ID])
        if key is None or len(whole) < _KEY_ID + _NONCE + 16:
            return None
        from cryptography.exceptions import InvalidTag

        try:
            return key.decrypt(whole[_KEY_ID : _KEY_ID + _NONCE], whole[_KEY_ID + _NONCE :], purpose)
        except InvalidTag:
            return None


def check_secret(secret: bytes) -> None:
    """Refuse a secret that is too short to protect anything.

    Raises:
        ValueError: says how to make a good one.
    """
    if len(secret) < MINIMUM_SECRET:
        raise ValueError(
            f"a secret must have at least {MINIMUM_SECRET} bytes; "
            'make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
