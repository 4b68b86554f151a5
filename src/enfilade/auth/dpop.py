"""Proofs of possession (DPoP, RFC 9449): who presents a bound token signs each request with the token's key.

A proof is a JWT in the header `DPoP`. It has the public key, the method and the URL of the request, and a digest
of the token, so that neither a stolen token nor a proof of another request is of use.

Easy to get wrong: the order. The token is verified before its proof, and the key in the proof is compared with
the one that the token is bound to before a signature is checked, so a stranger's key costs no computation.
"""

import hashlib
import re
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from enfilade.auth.claims import seconds_claim
from enfilade.auth.compact_token import CompactToken, read_token
from enfilade.auth.errors import InvalidTokenError
from enfilade.auth.jwks import PRIVATE_MEMBERS, SigningKey, UnusableKeyError, read_key
from enfilade.auth.limits.proof_memory import ProofMemory, Verdict
from enfilade.auth.urls import normalized
from enfilade.state.tokens import Seal

#: Signatures of proofs that are accepted, those that clients should prefer first.
PROOF_ALGORITHMS: Final = ("ES256", "ES384", "ES512", "Ed25519", "EdDSA", "PS256", "RS256")

#: Seconds by which the time of a proof may differ from ours (X-AUTH-50).
PROOF_WINDOW: Final = 300.0
#: Seconds for which a nonce is accepted, and after which a new one is sent along.
NONCE_AGE: Final = 300.0
_NONCE_RENEWAL: Final = 150.0
#: Seconds by which the clock of the worker that made a nonce may be ahead.
_CLOCKS: Final = 60.0
_PURPOSE: Final = b"dpop nonce"

_LONGEST_PROOF: Final = 8192
_LONGEST_JTI: Final = 256
_LONGEST_URL: Final = 2048
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]")
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


class InvalidProofError(Exception):
    """A proof is not accepted: HTTP 401 with `error="invalid_dpop_proof"` (RFC 9449 §7.1).

    Args:
        reason: one sentence for the client's developer. It holds nothing of the proof.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NonceNeededError(InvalidProofError):
    """A proof has no nonce of this server, or an old one: `error="use_dpop_nonce"` (RFC 9449 §9)."""


class Proof(NamedTuple):
    """A proof that is accepted.

    Attributes:
        seconds: for how long it could have been used again.
        body: the SHA-256 digest of the body that it is for; None if it is for any.
    """

    seconds: float
    body: bytes | None


class Nonces:
    """Nonces that are kept nowhere: each is the sealed time at which it was made (X-AUTH-52).

    Args:
        seal: workers that share its secret accept each other's nonces.
        clock: seconds since 1970; tests replace it.
    """

    def __init__(self, seal: Seal, clock: Callable[[], float] = time.time) -> None:
        self._seal, self._clock = seal, clock

    def new(self) -> bytes:
        """Return a nonce for the header `DPoP-Nonce`."""
        return self._seal.seal(b"%d" % self._clock(), _PURPOSE).encode("ascii")

    def age_of(self, nonce: str) -> float | None:
        """Return how many seconds ago a nonce was made; None for a text that is none, or is too old."""
        content = self._seal.open(nonce, _PURPOSE)
        if content is None:
            return None
        age = self._clock() - float(content)
        return age if -_CLOCKS <= age <= NONCE_AGE else None


class ProofVerifier:
    """Checks the proofs of requests for one endpoint.

    A proof is accepted once by each process (its `jti` is remembered for as long as it is valid). Processes do
    not tell each other, as that would cost a request to the store for each call.

    Args:
        resource: the URL of the endpoint as clients call it, whatever a proxy or a mount makes of it.
        nonces: nonces that proofs must have; None if they need none.
        clock: seconds since 1970; tests replace it.
        memory: which proofs were used.
    """

    def __init__(
        self,
        resource: str,
        nonces: Nonces | None = None,
        *,
        clock: Callable[[], float] = time.time,
        memory: ProofMemory | None = None,
    ) -> None:
        self._resource = _target(resource)
        self._nonces, self._clock = nonces, clock
        self._memory = memory or ProofMemory(clock)

    def check(self, proof: str | None, *, method: str, token: str, thumbprint: str) -> Proof:
        """Return the proof for a request.

        Args:
            proof: the header `DPoP`; None if there is none.
            method: of the request, in upper case.
            token: the access token, which is verified already.
            thumbprint: `cnf.jkt` of the token.

        Raises:
            NonceNeededError: the proof needs a nonce of this server.
            InvalidProofError: the proof is missing or is not accepted.
        """
        if not proof:
            raise InvalidProofError("the header DPoP is missing, with a proof for this request")
        if "," in proof:
            raise InvalidProofError("there is more than one proof; send one DPoP header")
        parts = _read(proof)
        key, algorithm = _key_of(parts.header)
        if key.public_key.thumbprint() != thumbprint:
            raise InvalidProofError("its key is another one than that of the token")
        jti = self._check_request(parts.claims, method, token)
        accepted = Proof(self._check_time(parts.claims), _body_digest(parts.claims))
        if not key.verifies(algorithm, parts.signed, parts.signature):
            raise InvalidProofError("its signature is wrong")
        used = hashlib.sha256(f"{thumbprint}{jti}".encode("utf-8", "surrogatepass")).digest()
        verdict = self._memory.accept(thumbprint, used, accepted.seconds)
        if verdict is Verdict.USED:
            raise InvalidProofError("it was used before; each request needs a proof with a jti of its own")
        if verdict is Verdict.TOO_OLD:
            raise InvalidProofError("many newer ones of its key have come since; make a proof for each request")
        return accepted

    def renewed_nonce(self, proof: Proof) -> bytes | None:
        """Return a nonce to send along if that of an accepted proof ends soon, else None."""
        if self._nonces is None:
            return None
        return self._nonces.new() if proof.seconds < NONCE_AGE - _NONCE_RENEWAL else None

    def new_nonce(self) -> bytes | None:
        """Return a nonce for the response to a proof that needs one; None if none does."""
        return None if self._nonces is None else self._nonces.new()

    def _check_request(self, claims: Mapping[str, Any], method: str, token: str) -> str:
        """Check that a proof is for this request and this token, and return its `jti`."""
        jti, url = claims.get("jti"), claims.get("htu")
        if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_JTI:
            raise InvalidProofError(f"its jti is no text of 1 to {_LONGEST_JTI} characters")
        if claims.get("htm") != method:
            raise InvalidProofError("its htm is not the method of the request")
        if not isinstance(url, str) or len(url) > _LONGEST_URL or _target(url) != self._resource:
            raise InvalidProofError("its htu is not the URL of this endpoint")
        digest = urlsafe_b64encode(hashlib.sha256(token.encode("ascii")).digest()).rstrip(b"=").decode("ascii")
        if claims.get("ath") != digest:
            raise InvalidProofError("its ath is not the digest of the token")
        return jti

    def _check_time(self, claims: Mapping[str, Any]) -> float:
        """Check that a proof is fresh, and return for how many seconds it could be used again.

        With a nonce its age decides: the clock of the client may then be wrong (RFC 9449 §11.1).
        """
        try:
            issued_at = seconds_claim(claims, "iat")
        except InvalidTokenError as error:
            raise InvalidProofError(error.reason) from None
        if issued_at is None:
            raise InvalidProofError("it has no iat")
        if self._nonces is not None:
            nonce = claims.get("nonce")
            age = self._nonces.age_of(nonce) if isinstance(nonce, str) else None
            if age is None:
                raise NonceNeededError("it needs the nonce of the header DPoP-Nonce of this response")
            return NONCE_AGE - age
        ahead = issued_at - self._clock()
        if abs(ahead) > PROOF_WINDOW:
            raise InvalidProofError(f"its iat is more than {PROOF_WINDOW:g} seconds from now")
        return PROOF_WINDOW + ahead


def _body_digest(claims: Mapping[str, Any]) -> bytes | None:
    """Return the digest of the body in a proof (RFC 9530 writes it so), or None if there is none."""
    if "content_digest" not in claims:
        return None
    text = claims["content_digest"]
    match = _DIGEST.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidProofError("its content_digest is not sha-256=:<base64>:")
    return b64decode(match[1])


def _read(proof: str) -> CompactToken:
    if len(proof) > _LONGEST_PROOF:
        raise InvalidProofError(f"it is longer than {_LONGEST_PROOF} bytes")
    try:
        return read_token(proof)
    except InvalidTokenError:
        raise InvalidProofError("it is no JWT of three parts in base64url with unambiguous JSON") from None


def _key_of(header: Mapping[str, Any]) -> tuple[SigningKey, str]:
    """Return the public key in the header of a proof, and the algorithm of its signature."""
    kind, algorithm, jwk = header.get("typ"), header.get("alg"), header.get("jwk")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") != "dpop+jwt":
        raise InvalidProofError("its typ is not dpop+jwt")
    if algorithm not in PROOF_ALGORITHMS:
        raise InvalidProofError(f"its alg is none of {' '.join(PROOF_ALGORITHMS)}")
    if "crit" in header:  # RFC 7515 §4.1.11
        raise InvalidProofError("its header has crit, and no extension is understood here")
    if not isinstance(jwk, dict):
        raise InvalidProofError("its header has no jwk")
    if not PRIVATE_MEMBERS.isdisjoint(jwk):
        raise InvalidProofError("its jwk is a private key, which nobody else may see; send the public one")
    try:
        key = read_key(jwk)
    except UnusableKeyError:
        key = None
    if key is None or algorithm not in key.algorithms:
        raise InvalidProofError("its jwk is no public key for its alg")
    return key, str(algorithm)


def _target(url: str) -> str:
    """Return a URL without query and fragment, in the form in which two are compared (RFC 3986 §6.2.2)."""
    path = normalized(url.partition("#")[0].partition("?")[0])
    return re.sub(r"%([0-9A-Fa-f]{2})", _escape, path)


def _escape(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if _UNRESERVED.fullmatch(character) else match[0].upper()
