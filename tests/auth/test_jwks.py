"""Which keys of a JWKS are used (B3, X-AUTH-3)."""

import base64
import logging
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey

from enfilade.auth.jwks import MOST_KEYS, read_keys
from support.signed_tokens import jwk, private_key

RSA = jwk(private_key("RS256", "rsa"))
EC = jwk(private_key("ES256", "ec"))
ED = jwk(private_key("EdDSA", "ed"))
_RSA = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def number(value: int) -> str:
    """Return a number as a JWK has it."""
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


USABLE: dict[str, tuple[dict[str, Any], set[str]]] = {
    "RSA": (RSA, _RSA),
    "RSA with an algorithm": ({**RSA, "alg": "PS256"}, {"PS256"}),
    "P-256": (EC, {"ES256"}),
    "P-384": (jwk(private_key("ES384")), {"ES384"}),
    "P-521": (jwk(private_key("ES512")), {"ES512"}),
    "Ed25519": (ED, {"EdDSA", "Ed25519"}),
    "Ed25519 as EdDSA": ({**ED, "alg": "EdDSA"}, {"EdDSA", "Ed25519"}),
    "Ed25519 as Ed25519": ({**ED, "alg": "Ed25519"}, {"EdDSA", "Ed25519"}),
    "Ed448": (OKPKey.generate_key("Ed448").as_dict(private=False), {"EdDSA"}),
    "use sig": ({**EC, "use": "sig"}, {"ES256"}),
    "key_ops verify": ({**EC, "key_ops": ["verify"]}, {"ES256"}),
    "with what nobody knows": ({**EC, "x5c": 7, "x5t": "?", "more": {}}, {"ES256"}),
}


@pytest.mark.parametrize("case", USABLE)
def test_usable(case: str) -> None:
    entry, algorithms = USABLE[case]
    keys = read_keys({"keys": [entry]}, "the JWKS")
    assert keys is not None
    assert [key.algorithms for key in keys] == [algorithms]
    assert keys[0].kid == entry.get("kid")


OF_ANOTHER_PURPOSE: dict[str, dict[str, Any]] = {
    "use enc": {**RSA, "use": "enc"},
    "key_ops encrypt": {**RSA, "key_ops": ["encrypt"]},
    "key_ops is a text": {**RSA, "key_ops": "verify"},
    "an algorithm of encryption": {**RSA, "alg": "RSA-OAEP"},
    "an algorithm of another type": {**EC, "alg": "RS256"},
    "alg is a number": {**EC, "alg": 7},
    "secp256k1": ECKey.generate_key("secp256k1").as_dict(private=False),
    "X25519": OKPKey.generate_key("X25519").as_dict(private=False),
    "another type": {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
}
UNSAFE: dict[str, tuple[Any, str]] = {
    "a secret": (OctKey.generate_key(256).as_dict(), "shared secret"),
    "a private key": (private_key("ES256", "ec").as_dict(private=True), "private key"),
    "RSA of 1024 bits": ({**RSA, "n": number(2**1023 + 1)}, "2048 to 8192 bits; it has 1024"),
    "RSA of 8200 bits": ({**RSA, "n": number(2**8199 + 1)}, "8192 bits"),
    "RSA with an exponent of 33 bits": ({**RSA, "e": number(2**32 + 1)}, "exponent of an RSA key has at most 32"),
    "RSA of 100000 bits": ({**RSA, "n": number(2**99_999 + 1)}, "as texts"),
    "RSA with an exponent of 1": ({**RSA, "e": number(1)}, "no key"),
    "RSA without n": ({"kty": "RSA", "e": "AQAB"}, "kty, n, e as texts"),
    "n is no base64": ({**RSA, "n": "!"}, "no key"),
    "a point that is on no curve": ({**EC, "x": EC["y"]}, "no key"),
    "x is a number": ({**EC, "x": 7}, "as texts"),
    "x is short": ({**ED, "x": "AAAA"}, "no key"),
    "kid is a number": ({**EC, "kid": 7}, "kid is no text"),
    "kty is missing": ({"kid": "a"}, "kty or crv is no text"),
    "crv is a list": ({**EC, "crv": ["P-256"]}, "kty or crv is no text"),
    "no object": ("key", "no JSON object"),
}


@pytest.mark.parametrize("case", OF_ANOTHER_PURPOSE)
def test_keys_of_another_purpose_are_left_out_silently(case: str, caplog: pytest.LogCaptureFixture) -> None:
    keys = read_keys({"keys": [OF_ANOTHER_PURPOSE[case], EC]}, "the JWKS")
    assert keys is not None
    assert [key.kid for key in keys] == ["ec"]
    assert caplog.text == ""


@pytest.mark.parametrize("case", UNSAFE)
def test_unsafe_keys_are_left_out_with_a_line_in_the_log(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """B3: and the other keys are used."""
    entry, reason = UNSAFE[case]
    keys = read_keys({"keys": [entry, EC]}, "the JWKS of https://idp.example.com")
    assert keys is not None
    assert [key.kid for key in keys] == ["ec"]
    assert "key 0 of the JWKS of https://idp.example.com is not used" in caplog.text
    assert reason in caplog.text
    if isinstance(entry, dict):
        assert not any(str(entry[name]) in caplog.text for name in ("k", "d", "n") if name in entry)


def test_each_unusable_key_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """B3: a JWKS is fetched every five minutes; a key that comes anew, or again, has a line."""
    warned: set[bytes] = set()
    weak, broken = UNSAFE["RSA of 1024 bits"][0], UNSAFE["x is short"][0]
    many = [{**EC, "kid": str(number)} for number in range(MOST_KEYS)]
    for entries, lines in (
        ([weak, EC], 1),
        ([EC, weak], 0),
        ([weak, broken, EC], 1),
        ([EC], 0),
        ([weak, EC, weak], 2),
        ([weak, *many], 1),
        ([weak, *many], 0),
    ):
        caplog.clear()
        assert read_keys({"keys": entries}, "it", warned)
        assert len(caplog.records) == lines


def test_keys_have_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        keys = read_keys({"keys": [{**EC, "kid": str(position)} for position in range(MOST_KEYS + 50)]}, "it")
    assert keys is not None
    assert len(keys) == MOST_KEYS
    assert f"it has {MOST_KEYS + 50} keys" in caplog.text


@pytest.mark.parametrize("document", [None, [], "keys", {}, {"keys": None}, {"keys": {"a": EC}}])
def test_what_is_no_jwks(document: object) -> None:
    assert read_keys(document, "it") is None


def test_a_key_checks_by_its_own_algorithms_alone() -> None:
    """B2: an algorithm of another key type is a wrong signature."""
    keys = read_keys({"keys": [EC]}, "it")
    assert keys is not None
    for algorithm in ("RS256", "HS256", "none", "ES384"):
        assert not keys[0].verifies(algorithm, b"a.b", b"")
    for signature in (b"", b"\0" * 64, b"\xff" * 64, b"\0" * 63):
        assert not keys[0].verifies("ES256", b"a.b", signature)
