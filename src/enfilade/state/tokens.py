"""Sealing: state that the client carries for us, which it can neither read nor change.

AES-256-GCM (through `cryptography`, loaded on first use), and HMAC-SHA256 for what may be read but not made up.
Every seal names its purpose, which is authenticated but not sent, so that a token made for one use never opens in
another. The easy thing to get wrong is rotation: the first secret seals, all of them open, so a new secret is put
in front and the old one removed after the longest lifetime of a token.

Workers without a secret of their own share those that their store keeps, see `Seal.agree`. A list of secrets is
stored, and merging two lists gives the same result in any order, so workers converge, whoever writes first.
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

#: Bytes that a secret must have at least.
MINIMUM_SECRET: Final = 32

_KEPT_AS: Final = "secret"

#: Secrets that a store keeps at most: the oldest, which seals, and the newest of the others.
_MOST: Final = 8

#: How often `agree` is tried while other workers write at the same moment.
_ATTEMPTS: Final = 50


class Agreement(NamedTuple):
    """What `Seal.agree` has found and done.

    Attributes:
        made: the store had no secret, and neither had this worker: it has made one.
        put_back: the store did not have all of this worker's secrets, and has them now.
        learned: the store had secrets that this worker did not know, beside those it had.
    """

    made: bool = False
    put_back: bool = False
    learned: bool = False


class _Keyring(NamedTuple):
    """The keys that were derived from some secrets; replaced as a whole, since other threads may be using it."""

    keys: "dict[bytes, AESGCM]"
    current: bytes
    signing: list[hmac.HMAC]


class Seal:
    """A ring of keys that seals and opens short byte strings.

    Args:
        secrets: one or more secrets of at least 32 bytes, newest first. Workers that share them open each
            other's seals. Empty means a random secret: seals then die with this process, unless it agrees with
            a store.

    Attributes:
        given: whether it was given secrets, which outrank those of a store.
        shared: whether other workers can have the same secrets.

    Raises:
        ValueError: a secret is too short to protect anything.
    """

    def __init__(self, secrets: Sequence[str | bytes] = ()) -> None:
        self._secrets = [s.encode() if isinstance(s, str) else bytes(s) for s in secrets] or [os.urandom(32)]
        self.given = self.shared = bool(secrets)
        for secret in self._secrets:
            check_secret(secret)
        self._ring: _Keyring | None = None

    async def agree(self, keys: Keys) -> Agreement:
        """Have the same secrets as the store; secrets that were given are left alone.

        A store that has none, because it is new or has lost what it had, gets those of this worker. If both have
        some, both have all of them afterwards. The oldest secret seals, so that the one which most workers know
        wins over one that was made while the store was empty; the others open what was sealed with them.

        Returns:
            What has been done.

        Raises:
            StoreError: the store does not say, or does not take them.
        """
        if self.given:
            return Agreement()
        own = self._secrets if self.shared else []
        made = b"%x." % int(time.time() * 1000) + random_secrets.token_urlsafe(MINIMUM_SECRET).encode()
        for _ in range(_ATTEMPTS):
            kept = await keys.get(_KEPT_AS)
            stored = [] if kept is None else [each for each in kept.split(b"\n") if each]
            wanted = _merged([*stored, *own]) or [made]
            if wanted == stored or await keys.swap(_KEPT_AS, kept, b"\n".join(wanted), None):
                break
        else:
            raise StoreError("the secret of this store is being changed by too many workers at once")
        if wanted != self._secrets:
            self._secrets, self.shared, self._ring = wanted, True, None
        return Agreement(
            made=not stored and not own,
            put_back=bool(own) and wanted != stored,
            learned=bool(own) and not set(wanted).issubset(own),
        )

    def _unlock(self) -> _Keyring:
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
        if secrets is self._secrets:  # else another thread has replaced them meanwhile
            self._ring = ring
        return ring

    def sign(self, content: bytes, purpose: bytes) -> bytes:
        """Return 12 bytes that show to whoever has the secret that `content` came from here."""
        ring = self._ring or self._unlock()
        return _signature(ring.signing[0], content, purpose)

    def signed(self, content: bytes, signature: bytes, purpose: bytes) -> bool:
        """Whether a signature for this purpose is one of ours."""
        ring = self._ring or self._unlock()
        return any(hmac.compare_digest(_signature(key, content, purpose), signature) for key in ring.signing)

    def wrap(self, content: bytes, purpose: bytes) -> bytes:
        """Return `content` sealed, as bytes of any value."""
        ring = self._ring or self._unlock()
        nonce = os.urandom(_NONCE)
        return ring.current + nonce + ring.keys[ring.current].encrypt(nonce, content, purpose)

    def unwrap(self, sealed: bytes, purpose: bytes) -> bytes | None:
        """Return what was wrapped for `purpose`, or None for anything else, without saying why."""
        ring = self._ring or self._unlock()
        key = ring.keys.get(sealed[:_KEY_ID])
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


def _merged(secrets: Iterable[bytes]) -> list[bytes]:
    """Return secrets in the order of their age, each once, and not more than are kept; the same for any order."""
    ordered = sorted(set(secrets), key=lambda secret: (_made_at(secret), secret))
    return ordered if len(ordered) <= _MOST else [ordered[0], *ordered[1 - _MOST :]]


def _made_at(secret: bytes) -> int:
    """Return when a secret of a store was made, in milliseconds since 1970; 0 for those that do not say."""
    stamp, dot, _ = secret.partition(b".")
    try:
        return int(stamp, 16) if dot else 0
    except ValueError:
        return 0


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
