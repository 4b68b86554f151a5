"""Sealing: state that the client carries for us, which it can neither read nor change.

AES-256-GCM (through `cryptography`, loaded on first use), and HMAC-SHA256 for what may be read but not made up.
Every seal names its purpose, which is authenticated but not sent, so that a token made for one use never opens in
another. The easy thing to get wrong is rotation: the first secret seals, all of them open, so a new secret is put
in front and the old one removed after the longest lifetime of a token.
"""

import base64
import binascii
import hmac
import os
import secrets as random_secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from enfilade.state.store import Keys, StoreError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12
_KEY_ID: Final = 4
_CONTEXT: Final = b"enfilade seal 1"
_SIGNATURE: Final = 12
_SIGNING: Final = b"enfilade signature 1"

#: Bytes that a secret must have at least.
MINIMUM_SECRET: Final = 32

_KEPT_AS: Final = "secret"


class Seal:
    """A ring of keys that seals and opens short byte strings.

    Args:
        secrets: one or more secrets of at least 32 bytes, newest first. Workers that share them open each
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
        self._signing: list[hmac.HMAC] = []

    async def share(self, keys: Keys) -> None:
        """Use the secret that a store keeps for all its workers, making one if need be; a given one outranks it.

        Raises:
            StoreError: the store does not say.
        """
        if self.shared:
            return
        made = random_secrets.token_urlsafe(MINIMUM_SECRET).encode()
        kept = await keys.get(_KEPT_AS)
        if kept is None:
            kept = made if await keys.swap(_KEPT_AS, None, made, None) else await keys.get(_KEPT_AS)
        if kept is None:
            raise StoreError("the secret of this store has vanished just now; try again")
        self._secrets, self.shared = [kept], True
        self._keys, self._current, self._signing = {}, b"", []

    def _unlock(self) -> None:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        aes_gcm = _aes_gcm()
        for secret in self._secrets:
            derived = HKDF(SHA256(), length=32 + _KEY_ID, salt=None, info=_CONTEXT).derive(secret)
            self._keys.setdefault(derived[32:], aes_gcm(derived[:32]))
            self._current = self._current or derived[32:]
            signing = HKDF(SHA256(), length=32, salt=None, info=_SIGNING).derive(secret)
            self._signing.append(hmac.new(signing, digestmod="sha256"))

    def sign(self, content: bytes, purpose: bytes) -> bytes:
        """Return 12 bytes that show to whoever has the secret that `content` came from here."""
        if not self._keys:
            self._unlock()
        return _signature(self._signing[0], content, purpose)

    def signed(self, content: bytes, signature: bytes, purpose: bytes) -> bool:
        """Whether a signature for this purpose is one of ours."""
        if not self._keys:
            self._unlock()
        return any(hmac.compare_digest(_signature(key, content, purpose), signature) for key in self._signing)

    def wrap(self, content: bytes, purpose: bytes) -> bytes:
        """Return `content` sealed, as bytes of any value."""
        if not self._keys:
            self._unlock()
        nonce = os.urandom(_NONCE)
        return self._current + nonce + self._keys[self._current].encrypt(nonce, content, purpose)

    def unwrap(self, sealed: bytes, purpose: bytes) -> bytes | None:
        """Return what was wrapped for `purpose`, or None for anything else, without saying why."""
        if not self._keys:
            self._unlock()
        key = self._keys.get(sealed[:_KEY_ID])
        if key is None or len(sealed) < _KEY_ID + _NONCE + 16:
            return None
        from cryptography.exceptions import InvalidTag

        try:
            return key.decrypt(sealed[_KEY_ID : _KEY_ID + _NONCE], sealed[_KEY_ID + _NONCE :], purpose)
        except InvalidTag:
            return None

    def seal(self, content: bytes, purpose: bytes) -> str:
        """Return `content` as a token of visible ASCII (base64url without padding)."""
        return base64.urlsafe_b64encode(self.wrap(content, purpose)).rstrip(b"=").decode()

    def open(self, token: str | bytes, purpose: bytes) -> bytes | None:
        """Return what was sealed for `purpose`, or None for anything else, without saying why."""
        raw = token.encode("ascii", "replace") if isinstance(token, str) else token
        try:
            whole = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if base64.urlsafe_b64encode(whole).rstrip(b"=") != raw:
            return None  # another spelling of the same bytes, which we never wrote
        return self.unwrap(whole, purpose)


def _signature(key: hmac.HMAC, content: bytes, purpose: bytes) -> bytes:
    signing = key.copy()  # which is half the work of beginning with the key
    signing.update(b"%d:%s:%s" % (len(purpose), purpose, content))
    return signing.digest()[:_SIGNATURE]


def _aes_gcm() -> "type[AESGCM]":
    try:  # where the public module has it from, as that module's package loads every other cipher as well
        from cryptography.hazmat.bindings._rust import openssl

        return openssl.aead.AESGCM
    except (ImportError, AttributeError):
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM


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
