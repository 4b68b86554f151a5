"""A client that binds its tokens to a key (DPoP, RFC 9449): good proofs, and all others."""

import base64
import hashlib
import json
import secrets
import time
from typing import Any

from support.authorization.oidc_provider import RESOURCE
from support.signed_tokens import PrivateKey, jwk, private_key, sign, sign_bytes


def digest_of(text: str) -> str:
    """Return the digest of a token as the claim `ath` has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def content_digest(body: bytes) -> str:
    """Return the digest of a body as the claim `content_digest` has it."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


class ProofKey:
    """A key of a client.

    Args:
        algorithm: by which it signs.
        number: other numbers are other keys.
        url: what it believes the endpoint to be.
    """

    def __init__(self, algorithm: str = "ES256", number: int = 0, url: str = RESOURCE) -> None:
        self.algorithm = algorithm
        self.url = url
        self.key: PrivateKey = private_key(algorithm, f"proof {number}", number)

    @property
    def thumbprint(self) -> str:
        """What a token that is bound to it has in `cnf.jkt`."""
        return self.key.thumbprint()

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key."""
        return {name: value for name, value in jwk(self.key).items() if name != "kid"}

    def header(self, **changes: Any) -> dict[str, Any]:
        """Return the header of a proof; a member that is `...` is left out."""
        head = {"typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.jwk, **changes}
        return {name: value for name, value in head.items() if value is not ...}

    def claims(self, token: str, method: str = "POST", **changes: Any) -> dict[str, Any]:
        """Return the claims of a proof for a request; one that is `...` is left out."""
        usual = {
            "jti": secrets.token_urlsafe(12),
            "htm": method,
            "htu": self.url,
            "iat": int(time.time()),
            "ath": digest_of(token),
        }
        return {name: value for name, value in {**usual, **changes}.items() if value is not ...}

    def proof(self, token: str, method: str = "POST", header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a proof for one request.

        Args:
            header: members of the header to set.
            claims: claims to set.
        """
        head = self.header(**(header or {}))
        return sign_bytes(
            json.dumps(head).encode(), self.claims(token, method, **claims), self.key, self.algorithm
        )

    def fields(self, token: str, method: str = "POST", **claims: Any) -> dict[str, Any]:
        """Return the two headers of a request."""
        return {"authorization": f"DPoP {token}", "dpop": self.proof(token, method, **claims)}

    def token_request(self, url: str) -> str:
        """Return a proof for the token endpoint of an authorization server."""
        claims = {"jti": secrets.token_urlsafe(12), "htm": "POST", "htu": url, "iat": int(time.time())}
        return sign(claims, self.key, self.algorithm, typ="dpop+jwt", jwk=self.jwk, kid=...)
