"""Encrypted and signed tokens: state that clients carry but can neither read nor change.

AES-256-GCM (through `cryptography`, loaded on first use) encrypts; HMAC-SHA256 signs what may be read but not
forged. Each token has a purpose, which is authenticated but not sent, so that a token made for one use never
opens in another. The easy thing to get wrong is rotation: the first secret encrypts and all of them decrypt, so a
new secret is put in front, and the old one is removed after the longest lifetime of a token (R-706).

Workers without a configured secret share those in their store, see `Seal.agree`. The store has a list of secrets,
and merging two lists gives the same result in any order, so workers converge, whoever writes first.
"""

import base64
import binascii
import hmac
import os
import secrets as random_secrets
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from enfilade.state.store import Keys, StoreError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12
_KEY_ID: Final = 4
_CONTEXT: Final = b"enfilade seal 1"
_SIGNATURE: Final = 12
_SIGNING: Final = b"enfilade signature 1"

#: Fewest bytes of a secret.
MINIMUM_SECRET: Final = 32

_STORE_KEY: Final = "secret"

#: Most secrets in a store: the oldest, which encrypts, and the newest of the others.
_MOST_SECRETS: Final = 8

#: Attempts of `agree` while other workers write at the same time.
_ATTEMPTS: Final = 50


class Agreement(NamedTuple):
    """The outcome of `Seal.agree`.

    Attributes:
        created: neither the store nor this worker had a secret, so this worker has created one.
        restored: the store lacked some of this worker's secrets, and has them now.
        learned: this worker lacked some of the store's secrets, and has them now.
    """

    created: bool = False
    restored: bool = False
    learned: bool = False


class _Keyring(NamedTuple):
    """The keys derived from the secrets; replaced as one object, since other threads may be using it."""

    keys: "dict[bytes, AESGCM]"
    current: bytes
    signing: list[hmac.HMAC]


class Seal:
    """A ring of keys that encrypts, decrypts and signs short byte strings.

    `seal` and `open` are `encrypt` and `decrypt` with the result as text, for headers, URLs and JSON.

    Args:
        secrets: one or more secrets of at least 32 bytes, newest first. Workers that share them open each
            other's tokens. Empty means a random secret: tokens are then lost with this process, unless it agrees
            with a store.

    Attributes:
        is_configured: whether secrets were passed in; they take precedence over those of a store.
        shared: whether other workers can have the same secrets.

    Raises:
        ValueError: a secret is too short.
    """

    def __init__(self, secrets: Sequence[str | bytes] = ()) -> None:
        self._secrets = [s.encode() if isinstance(s, str) else bytes(s) for s in secrets] or [os.urandom(32)]
        self.is_configured = self.shared = bool(secrets)
        for secret in self._secrets:
            check_secret(secret)
        self._ring: _Keyring | None = None

    async def agree(self, keys: Keys) -> Agreement:
        """Merge the secrets with those in the store; configured secrets are not changed.

        A store without secrets, because it is new or has lost its data, gets those of this worker. If both have
        some, both have all of them afterwards. The oldest secret encrypts, so that the one that most workers have
        wins over one created while the store was empty; the others only decrypt.

        Raises:
            StoreError: the store cannot be read or written.
        """
        if self.is_configured:
            return Agreement()
        own = self._secrets if self.shared else []
        fresh = b"%x." % int(time.time() * 1000) + random_secrets.token_urlsafe(MINIMUM_SECRET).encode()
        for _ in range(_ATTEMPTS):
            value = await keys.get(_STORE_KEY)
            stored = [] if value is None else [secret for secret in value.split(b"\n") if secret]
            merged = _merge([*stored, *own]) or [fresh]
            if merged == stored or await keys.swap(_STORE_KEY, value, b"\n".join(merged), None):
                break
        else:
            raise StoreError("the secret of this store is being changed by too many workers at once")
        if merged != self._secrets:
            self._secrets, self.shared, self._ring = merged, True, None
        return Agreement(
            created=not stored and not own,
            restored=bool(own) and merged != stored,
            learned=bool(own) and not set(merged).issubset(own),
        )

    def _derive_keys(self) -> _Keyring:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        aes_gcm = _aes_gcm()
        secrets = self._secrets
        keys: dict[bytes, AESGCM] = {}
        signing: list[hmac.HMAC] = []
        for secret in secrets:
            derived = HKDF(SHA256(), length=32 + _KEY_ID, salt=None, info=_CONTEXT).derive(secret)
            keys.setdefault(derived[32:], aes_gcm(derived[:32]))
            signing_key = HKDF(SHA256(), length=32, salt=None, info=_SIGNING).derive(secret)
            signing.append(hmac.new(signing_key, digestmod="sha256"))
        ring = _Keyring(keys, next(iter(keys)), signing)
        if secrets is self._secrets:  # otherwise another thread has replaced them
            self._ring = ring
        return ring

    def sign(self, content: bytes, purpose: bytes) -> bytes:
        """Return a signature of 12 bytes."""
        ring = self._ring or self._derive_keys()
        return _sign(ring.signing[0], content, purpose)

    def verify(self, content: bytes, signature: bytes, purpose: bytes) -> bool:
        """Whether a signature is that of `content` for this purpose."""
        ring = self._ring or self._derive_keys()
        return any(hmac.compare_digest(_sign(key, content, purpose), signature) for key in ring.signing)

    def encrypt(self, content: bytes, purpose: bytes) -> bytes:
        """Return `content` encrypted, with key id and nonce in front."""
        ring = self._ring or self._derive_keys()
        nonce = os.urandom(_NONCE)
        return ring.current + nonce + ring.keys[ring.current].encrypt(nonce, content, purpose)

    def decrypt(self, sealed: bytes, purpose: bytes) -> bytes | None:
        """Return what was encrypted for `purpose`, or None for anything else, without a reason."""
        ring = self._ring or self._derive_keys()
        key = ring.keys.get(sealed[:_KEY_ID])
        if key is None or len(sealed) < _KEY_ID + _NONCE + 16:
            return None
        from cryptography.exceptions import InvalidTag

        try:
            return key.decrypt(sealed[_KEY_ID : _KEY_ID + _NONCE], sealed[_KEY_ID + _NONCE :], purpose)
        except InvalidTag:
            return None

    def seal(self, content: bytes, purpose: bytes) -> str:
        """Return `content` encrypted, as a token of visible ASCII (base64url without padding)."""
        return base64.urlsafe_b64encode(self.encrypt(content, purpose)).rstrip(b"=").decode()

    def open(self, token: str | bytes, purpose: bytes) -> bytes | None:
        """Return what was sealed for `purpose`, or None for anything else, without a reason."""
        encoded = token.encode("ascii", "replace") if isinstance(token, str) else token
        try:
            sealed = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if base64.urlsafe_b64encode(sealed).rstrip(b"=") != encoded:
            return None  # another encoding of the same bytes, which `seal` never returns
        return self.decrypt(sealed, purpose)


def _merge(secrets: Iterable[bytes]) -> list[bytes]:
    """Return the distinct secrets, oldest first, at most `_MOST_SECRETS`; independent of their order."""
    ordered = sorted(set(secrets), key=lambda secret: (_created_at(secret), secret))
    return ordered if len(ordered) <= _MOST_SECRETS else [ordered[0], *ordered[1 - _MOST_SECRETS :]]


def _created_at(secret: bytes) -> int:
    """Return when a secret was created, in milliseconds since 1970; 0 for one without a time."""
    stamp, dot, _ = secret.partition(b".")
    try:
        return int(stamp, 16) if dot else 0
    except ValueError:
        return 0


def _sign(key: hmac.HMAC, content: bytes, purpose: bytes) -> bytes:
    signing = key.copy()  # half the work of starting with the key
    signing.update(b"%d:%s:%s" % (len(purpose), purpose, content))
    return signing.digest()[:_SIGNATURE]


def _aes_gcm() -> "type[AESGCM]":
    try:  # the source of the public module, whose package loads every other cipher as well
        from cryptography.hazmat.bindings._rust import openssl

        return openssl.aead.AESGCM
    except (ImportError, AttributeError):
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM


def check_secret(secret: bytes) -> None:
    """Refuse a secret that is too short.

    Raises:
        ValueError: the text says how to create one.
    """
    if len(secret) < MINIMUM_SECRET:
        raise ValueError(
            f"a secret must have at least {MINIMUM_SECRET} bytes; "
            'make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
