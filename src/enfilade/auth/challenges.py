"""The refusals of requests: HTTP 401, 403 and 503, each with one challenge that a client can act on (R-605).

Easy to get wrong: what goes into a header. Reasons come from verifiers and from configuration, and a quotation
mark or a line break in one would add a parameter or a header.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from enfilade.auth.bound_tokens import BoundTokens
from enfilade.auth.dpop import PROOF_ALGORITHMS, InvalidProofError, NonceNeededError
from enfilade.auth.errors import ServerUnavailableError
from enfilade.auth.metadata import Metadata
from enfilade.serving.callers.access import needs
from enfilade.transports.asgi import inner_path
from enfilade.transports.exchange import HttpRequest
from enfilade.wire.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, RpcError

#: What a quoted string of a challenge cannot have (RFC 6750 §3).
_NOT_QUOTABLE: Final = re.compile(r"[^ !#-\[\]-~]")


class AccessRefusedError(RpcError):
    """A request is refused for what its sender is, or is not; its JSON-RPC code is a plain one (X-AUTH-53).

    Args:
        status: HTTP 401, 403 or 503.
        headers: of the response.
    """

    def __init__(self, status: int, message: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__(INTERNAL_ERROR if status == 503 else INVALID_REQUEST, message, status=status)
        self.headers = headers


class Challenges:
    """Makes the refusals of one endpoint.

    Args:
        scopes: what every caller needs.
        metadata: where clients find out how to log in.
    """

    def __init__(self, scopes: Sequence[str], bound_tokens: BoundTokens, metadata: Metadata) -> None:
        self._scopes = scopes
        self._bound_tokens = bound_tokens
        self._metadata = metadata

    @staticmethod
    def unavailable(error: ServerUnavailableError) -> AccessRefusedError:
        """Return HTTP 503, without a challenge: a 401 makes clients start a login (X-AUTH-4)."""
        headers = [(b"retry-after", b"%d" % min(86_400, max(1, round(error.retry_after))))]
        return AccessRefusedError(
            503, "Tokens cannot be checked at present; send the request again later", headers
        )

    def unauthorized(
        self, request: HttpRequest, reason: str | None, fields: Mapping[bytes, bytes]
    ) -> AccessRefusedError:
        """Return HTTP 401 with one challenge (R-603, R-604).

        Args:
            reason: what is wrong with the credentials; None if there are none.
        """
        parameters = {"resource_metadata": self._metadata_url(request), "scope": " ".join(self._scopes)}
        text = "Send a token: Authorization: Bearer ..."
        if reason is not None:
            parameters |= {"error": "invalid_token", "error_description": reason}
            text = f"The token is not accepted: {reason}"
        if not self._bound_tokens.uses_dpop(fields):
            return AccessRefusedError(401, text, [challenge(parameters)])
        if reason is None:
            text = "Send a token that is bound to a key, with a proof: Authorization: DPoP ... and DPoP: ..."
        return self._dpop_refusal(text, parameters)

    def refused_proof(self, request: HttpRequest, error: InvalidProofError) -> AccessRefusedError:
        """Return HTTP 401 for a proof (X-AUTH-52)."""
        code = "use_dpop_nonce" if isinstance(error, NonceNeededError) else "invalid_dpop_proof"
        parameters = {
            "error": code,
            "error_description": f"the proof: {error.reason}",
            "resource_metadata": self._metadata_url(request),
        }
        return self._dpop_refusal(f"The proof is not accepted: {error.reason}", parameters)

    def _dpop_refusal(self, text: str, parameters: Mapping[str, str]) -> AccessRefusedError:
        signed = {**parameters, "algs": " ".join(PROOF_ALGORITHMS)}
        headers = [challenge(signed, "DPoP")]
        if nonce := self._bound_tokens.new_nonce():
            headers.append((b"dpop-nonce", nonce))
        return AccessRefusedError(401, text, headers)

    def lacks_scopes(self, request: HttpRequest | None, scopes: Sequence[str]) -> AccessRefusedError:
        """Return HTTP 403 with all scopes of an operation in one challenge (R-605, R-606).

        Clients ask their authorization server for these scopes, and send the request again (X-AUTH-7).
        """
        needed = list(dict.fromkeys((*self._scopes, *scopes)))
        text = needs(needed)
        parameters = {
            "error": "insufficient_scope",
            "scope": " ".join(needed),
            "resource_metadata": "" if request is None else self._metadata_url(request),
            "error_description": text,
        }
        fields = {} if request is None else dict(request.headers)
        scheme = "DPoP" if self._bound_tokens.uses_dpop(fields) else "Bearer"
        return AccessRefusedError(403, text, [challenge(parameters, scheme)])

    def _metadata_url(self, request: HttpRequest) -> str:
        scope = request.scope
        return (
            self._metadata.url(inner_path(scope), scope.get("root_path", "")) if self._metadata.is_there else ""
        )


def challenge(parameters: Mapping[str, str], scheme: str = "Bearer") -> tuple[bytes, bytes]:
    """Return a `WWW-Authenticate` header with those parameters that are not empty (RFC 9110 §11.6.1)."""
    text = ", ".join(f'{name}="{_quotable(value)}"' for name, value in parameters.items() if value)
    return b"www-authenticate", f"{scheme} {text}".strip().encode("ascii")


def _quotable(value: str) -> str:
    """Return a text without what ends a quoted string, or a header (RFC 6750 §3)."""
    return _NOT_QUOTABLE.sub("?", value.replace('"', "'"))
