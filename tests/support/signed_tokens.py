"""Keys and tokens for tests: good ones, and any that a library for tokens would refuse to make."""

import json
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64encode

PrivateKey = RSAKey | ECKey | OKPKey
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


@lru_cache
def private_key(algorithm: str = "ES256", kid: str | None = "one", number: int = 0) -> PrivateKey:
    """Return a new key for an algorithm; for the same arguments the same one, since RSA keys take their time."""
    del number
    parameters: Any = {} if kid is None else {"kid": kid}
    if algorithm[:2] in ("RS", "PS"):
        return RSAKey.generate_key(2048, parameters)
    if algorithm in _CURVES:
        return ECKey.generate_key(_CURVES[algorithm], parameters)
    return OKPKey.generate_key("Ed25519", parameters)


def jwk(key: PrivateKey, **fields: Any) -> dict[str, Any]:
    """Return the public JWK of a key."""
    return {**key.as_dict(private=False), **fields}


def jwks(*keys: PrivateKey) -> dict[str, Any]:
    """Return the JWKS of some keys."""
    return {"keys": [jwk(key) for key in keys]}


def claims_for(issuer: str, audience: str, **changes: Any) -> dict[str, Any]:
    """Return the claims of a good token with some changes; a claim that is `...` is left out."""
    now = int(time.time())
    claims = {"iss": issuer, "aud": audience, "sub": "anna", "client_id": "editor", "iat": now, "exp": now + 600}
    return {name: value for name, value in {**claims, **changes}.items() if value is not ...}


def sign(claims: Mapping[str, Any] | bytes, key: PrivateKey, algorithm: str = "ES256", **header: Any) -> str:
    """Return a signed token; a field of the header that is `...` is left out."""
    head = {"alg": algorithm, "typ": "at+jwt", "kid": key.kid, **header}
    head = {name: value for name, value in head.items() if value is not ... and value is not None}
    return sign_bytes(json.dumps(head).encode(), claims, key, algorithm)


def sign_bytes(head: bytes, claims: Mapping[str, Any] | bytes, key: PrivateKey, algorithm: str = "ES256") -> str:
    """Return a signed token with a header that is written as it is."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = urlsafe_b64encode(head) + b"." + urlsafe_b64encode(payload)
    signature = JWSRegistry.algorithms[algorithm].sign(signed, key)
    return (signed + b"." + urlsafe_b64encode(signature)).decode()
