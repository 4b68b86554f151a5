"""Public keys of an authorization server, as its JWKS has them (RFC 7517).

A key is usable if it is public, asymmetric and for signatures, and if it is strong enough. All others are left
out with a line in the log: one broken key must not make tokens of the others invalid.
"""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

log = logging.getLogger("enfilade.auth")

#: Keys of a JWKS at most; the others are left out.
MOST_KEYS: Final = 100
#: Bits of an RSA key: RFC 7518 §3.3 wants 2048, and a check with more than 8192 costs milliseconds.
_RSA_BITS: Final = range(2048, 8192 + 1)
#: Bits of its public exponent, which is 65537 nearly everywhere: a check takes longer with each of them.
_EXPONENT_BITS: Final = 32
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
#: The algorithms of a key by its type and its curve. A token that names any other one is refused.
_ALGORITHMS: Final[dict[tuple[str, str | None], frozenset[str]]] = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
    ("OKP", "Ed448"): frozenset({"EdDSA"}),
}
#: The fields of a public key by its type, and the type itself. Nothing else of a JWK is handed on.
_TYPES: Final[dict[str, tuple[type[RSAKey] | type[ECKey] | type[OKPKey], tuple[str, ...]]]] = {
    "RSA": (RSAKey, ("kty", "n", "e")),
    "EC": (ECKey, ("kty", "crv", "x", "y")),
    "OKP": (OKPKey, ("kty", "crv", "x")),
}
#: Members of a JWK that only the owner of the key may know.
PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_LONGEST_VALUE: Final = 2048  # RSA of 8192 bits has 1,366 characters


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key by which signatures are checked.

    Args:
        kid: its id in the JWKS, or None.
        algorithms: the algorithms that it may be used with.
        fields: its public fields: two keys are the same if these are.
        public_key: the key itself.
    """

    kid: str | None
    algorithms: frozenset[str]
    fields: tuple[str, ...]
    public_key: RSAKey | ECKey | OKPKey

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether a signature is of this key."""
        if algorithm not in self.algorithms:
            return False
        try:
            # Directly by the algorithm: joserfc's own reading of a token allows what is refused here.
            return JWSRegistry.algorithms[algorithm].verify(signed, signature, self.public_key)
        except (JoseError, ValueError):
            return False


class UnusableKeyError(Exception):
    """A JWK is not used; the text says why."""


def read_keys(document: object, source: str, warned: set[bytes] | None = None) -> list[SigningKey] | None:
    """Return the usable keys of a JWKS, or None if it is no JWKS.

    Args:
        source: where it came from, for the log.
        warned: what was warned of when this JWKS was read before, which is not logged again. It is brought up to
            date, and has no part of a key.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return None
    earlier = frozenset(warned or ())
    current = set()
    if len(entries) > MOST_KEYS:
        current.add(b"too many")
        if b"too many" not in earlier:
            log.warning("%s has %d keys; those after the first %d are not used", source, len(entries), MOST_KEYS)
    keys = []
    for position, entry in enumerate(entries[:MOST_KEYS]):
        try:
            key = read_key(entry)
        except UnusableKeyError as error:
            digest = hashlib.sha256(ascii(entry).encode("ascii")).digest()
            if digest not in earlier:
                log.warning("key %d of %s is not used: %s", position, source, error)
            current.add(digest)
            continue
        if key is not None:
            keys.append(key)
    if warned is not None:
        warned.clear()
        warned.update(current)
    return keys


def read_key(entry: object) -> SigningKey | None:
    """Return a key, or None for one that serves another purpose.

    Raises:
        UnusableKeyError: it would be for signatures, but is broken or unsafe.
    """
    if not isinstance(entry, dict):
        raise UnusableKeyError("it is no JSON object")
    operations = entry.get("key_ops")
    if entry.get("use", "sig") != "sig":
        return None
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return None
    kid = entry.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise UnusableKeyError("its kid is no text")
    algorithms = _algorithms_of(entry)
    return SigningKey(kid, algorithms, *_import(entry)) if algorithms else None


def _algorithms_of(entry: dict[str, Any]) -> frozenset[str]:
    """Return what a key may be used with: nothing if it is for other algorithms than those of access tokens."""
    kind, curve = entry.get("kty"), entry.get("crv")
    if kind == "oct":
        raise UnusableKeyError("it is a shared secret, which has no place in public keys")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        raise UnusableKeyError("its kty or crv is no text")
    algorithms = _ALGORITHMS.get((kind, curve if kind != "RSA" else None), frozenset())
    designed = entry.get("alg")
    if designed is None or (designed in ("EdDSA", "Ed25519") and designed in algorithms):
        return algorithms  # the two names of RFC 8037 and RFC 9864 mean the same for a key of Ed25519
    return frozenset({designed}) & algorithms if isinstance(designed, str) else frozenset()


def _import(entry: dict[str, Any]) -> tuple[tuple[str, ...], RSAKey | ECKey | OKPKey]:
    if "d" in entry:
        raise UnusableKeyError("it is a private key: whoever reads the JWKS could sign tokens with it")
    key_class, names = _TYPES[entry["kty"]]
    values = [entry.get(name) for name in names]
    fields = tuple(value for value in values if isinstance(value, str) and len(value) <= _LONGEST_VALUE)
    if len(fields) < len(names):
        raise UnusableKeyError(f"it needs {', '.join(names)} as texts")
    try:
        # Before joserfc reads it, which warns of short keys and takes time for long ones.
        bits = _bits_of(fields[1]) if key_class is RSAKey else None
        if bits is not None and bits not in _RSA_BITS:
            raise UnusableKeyError(f"RSA keys need {_RSA_BITS[0]} to {_RSA_BITS[-1]} bits; it has {bits}")
        if key_class is RSAKey and _bits_of(fields[2]) > _EXPONENT_BITS:
            raise UnusableKeyError(f"the exponent of an RSA key has at most {_EXPONENT_BITS} bits")
        key = key_class.import_key(dict(zip(names, fields, strict=True)))
        key.public_key  # noqa: B018  # read here, so that a point on no curve is found
    except (JoseError, ValueError, TypeError, ArithmeticError):
        raise UnusableKeyError("its values are no key") from None
    return fields, key


def _bits_of(number: str) -> int:
    return int.from_bytes(urlsafe_b64decode(number.encode("ascii"))).bit_length()
