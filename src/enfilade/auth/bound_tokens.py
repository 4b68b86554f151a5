"""Sender-constrained tokens: of what the claim `cnf` says, what must come with the request (RFC 7800).

cnf of the token        Authorization: Bearer           Authorization: DPoP
none                    accepted, unless DPoP is        refused: a proof without a bound token
                        required                        proves nothing
jkt (RFC 9449)          refused: whoever has stolen     accepted with a proof of the key
                        it has no key
x5t#S256 (RFC 8705)     accepted with the certificate   refused
both, or anything else  refused                         refused
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from enfilade.auth.dpop import Nonces, Proof, ProofVerifier
from enfilade.auth.errors import InvalidTokenError
from enfilade.auth.mtls import certificate_thumbprint
from enfilade.auth.resource_server import ResourceServer
from enfilade.state.tokens import Seal
from enfilade.transports.exchange import HttpRequest

_LONGEST_THUMBPRINT: Final = 43  # SHA-256 in base64url; no shorter one is equal to a digest of ours


class Credentials(NamedTuple):
    """The header `Authorization`: a scheme, in lower case, and a token."""

    scheme: str
    token: str


class BoundTokens:
    """Checks that requests come from whom their tokens are bound to.

    Args:
        seal: makes the nonces of proofs.
    """

    def __init__(self, auth: ResourceServer, seal: Seal) -> None:
        self._mode = auth.dpop
        self._proofs = ProofVerifier(auth.resource, Nonces(seal) if auth.dpop_nonce else None)

    def uses_dpop(self, fields: Mapping[bytes, bytes]) -> bool:
        """Whether a request without good credentials should be told of DPoP, in place of Bearer."""
        if self._mode == "off":
            return False
        return self._mode == "required" or fields.get(b"authorization", b"")[:5].lower() == b"dpop "

    def is_free(self, credentials: Credentials, claims: Mapping[str, Any]) -> bool:
        """Whether a token that was accepted once is accepted with nothing else beside it."""
        return self._mode != "required" and credentials.scheme == "bearer" and "cnf" not in claims

    def check_scheme(self, scheme: str) -> None:
        """Refuse schemes of no use here, before a token is looked at.

        Raises:
            InvalidTokenError: it is neither Bearer nor a DPoP that is on.
        """
        if scheme == "dpop" and self._mode == "off":
            raise InvalidTokenError("DPoP is not used here; send a token that is not bound, as Bearer")
        if scheme not in ("bearer", "dpop"):
            raise InvalidTokenError("the Authorization header has another scheme than Bearer or DPoP")

    def check(
        self,
        credentials: Credentials,
        claims: Mapping[str, Any],
        request: HttpRequest,
        fields: Mapping[bytes, bytes],
    ) -> Proof | None:
        """Check what must come with a token that is verified.

        Args:
            claims: of the token.

        Returns:
            The proof; None for a token that needs none.

        Raises:
            InvalidTokenError: the token may not be presented like this.
            InvalidProofError: its proof is not accepted.
        """
        jkt, certificate = _confirmation(claims)
        if credentials.scheme == "dpop":
            if jkt is None:
                raise InvalidTokenError("it is bound to no key; send it as Bearer, or get one that is bound")
            proof = fields.get(b"dpop")
            return self._proofs.check(
                None if proof is None else proof.decode("latin-1").strip(),
                method=request.method,
                token=credentials.token,
                thumbprint=jkt,
            )
        if jkt is not None:
            raise InvalidTokenError(
                "it is bound to a key, and DPoP is not used here"
                if self._mode == "off"
                else "it is bound to a key; send it as DPoP, with a proof"
            )
        if self._mode == "required":
            raise InvalidTokenError("tokens must be bound to a key here; send one as DPoP, with a proof")
        if certificate is not None and certificate_thumbprint(request.scope) != certificate:
            raise InvalidTokenError("it is bound to a certificate that is not the one of this connection")
        return None

    def renewed_nonce(self, proof: Proof) -> bytes | None:
        """Return a nonce for the response to an accepted proof; None if its own is good for long."""
        return self._proofs.renewed_nonce(proof)

    def new_nonce(self) -> bytes | None:
        """Return a nonce for a challenge; None if proofs need none."""
        return self._proofs.new_nonce()


def _confirmation(claims: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return what a token is bound to: (the thumbprint of a key, the thumbprint of a certificate).

    Raises:
        InvalidTokenError: it is bound to both, or to something else, which nobody here would check.
    """
    if "cnf" not in claims:
        return None, None
    confirmation = claims["cnf"]
    if not isinstance(confirmation, Mapping) or len(confirmation) != 1:
        raise InvalidTokenError("its cnf does not name one key or one certificate")
    ((name, thumbprint),) = confirmation.items()
    if name not in ("jkt", "x5t#S256"):
        raise InvalidTokenError("its cnf has a member that is not understood here; jkt and x5t#S256 are")
    if not isinstance(thumbprint, str) or len(thumbprint) != _LONGEST_THUMBPRINT:
        raise InvalidTokenError(f"its cnf has no SHA-256 thumbprint in {name}")
    return (thumbprint, None) if name == "jkt" else (None, thumbprint)
