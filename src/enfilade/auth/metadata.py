"""What OAuth clients read about the endpoint before they log in: protected resource metadata (RFC 9728).

The URL of the document is the origin of the configured resource, then what stands before the endpoint's own path
(a mount, or a prefix that a proxy strips), then the well-known part. So the request for it comes where requests
for the endpoint come. Nothing of it is taken from `Host`: a client must not be sent elsewhere by a header.
"""

from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from enfilade.auth.dpop import PROOF_ALGORITHMS
from enfilade.auth.resource_server import ResourceServer
from enfilade.transports.exchange import Headers, HttpExchange
from enfilade.transports.http.response import send_empty, send_json

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"

#: The document is the same for everybody, and pages of any origin may read it (R-615).
_HEADERS: Final[Headers] = [
    (b"access-control-allow-origin", b"*"),
    (b"cache-control", b"public, max-age=3600"),
]
_PREFLIGHT: Final[Headers] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, HEAD, OPTIONS"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-max-age", b"86400"),
]


class Metadata:
    """The document, and where it is (R-601, X-AUTH-2).

    Args:
        name: of the server, for people.
        path: of the endpoint in the app.
        has_certificates: whether a proxy says which certificate a client has, so that tokens may be bound to it.
    """

    def __init__(self, auth: ResourceServer, name: str, path: str, *, has_certificates: bool = False) -> None:
        self._auth = auth
        self.resource = auth.resource
        self._has_certificates = has_certificates
        self._name = name
        self._endpoint = path.rstrip("/")
        parts = urlsplit(auth.resource)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path.rstrip("/")

    @property
    def is_there(self) -> bool:
        """Whether there is a document: not for a server that no authorization server gives tokens for."""
        return bool(self._auth.authorization_servers)

    @property
    def advice(self) -> str:
        """What a client reads that looks for an authorization server here."""
        if not self.is_there:
            return "This server has no login: send an API key, as Authorization: Bearer, or as its operator says"
        issuers = " or ".join(server.issuer for server in self._auth.authorization_servers)
        if self._auth.reserved_paths():  # it is one itself
            return f"There is no such endpoint: {issuers}/.well-known/oauth-authorization-server names them"
        return f"This is no authorization server: register and log in at {issuers}, which {self.url()} names"

    @property
    def callers(self) -> str:
        """What callers need, for whoever runs the server."""
        issuers = " or ".join(server.issuer for server in self._auth.authorization_servers)
        kinds = [f"a token of {issuers}"] if issuers else []
        kinds += ["an API key or a token that a verifier knows"] if self._auth.verifiers else []
        scopes = f" (scope {' '.join(self._auth.scopes)})" if self._auth.scopes else ""
        return f"{', or '.join(kinds)}{scopes}"

    def url(self, inner_path: str | None = None, mount: str = "") -> str:
        """Return the URL of the document, which the challenge of a 401 names (R-602).

        Args:
            inner_path: the path of the request without that of a mount; None for the app's own.
            mount: the path of that mount.
        """
        if inner_path is not None and self._path.endswith(f"{mount.rstrip('/')}{self._endpoint}") and mount:
            inner_path = None  # the mount is above the endpoint, so that its documents are there
        inner = self._endpoint if inner_path is None else inner_path.rstrip("/")
        if inner and self._path.endswith(inner):
            return f"{self._origin}{self._path[: -len(inner)]}{WELL_KNOWN}{inner}"
        if not inner:  # mounted at the path itself
            return f"{self._origin}{self._path}{WELL_KNOWN}"
        return f"{self._origin}{WELL_KNOWN}{self._path}"

    def document(self, scopes: list[str]) -> bytes:
        """Return the document as JSON.

        Args:
            scopes: all that operations need.
        """
        content: dict[str, Any] = {
            "resource": self._auth.resource,
            "authorization_servers": [server.issuer for server in self._auth.authorization_servers],
            "scopes_supported": scopes,
            "bearer_methods_supported": ["header"],
            "resource_name": self._name,
        }
        if self._auth.dpop != "off":
            content["dpop_signing_alg_values_supported"] = PROOF_ALGORITHMS
        if self._auth.dpop == "required":
            content["dpop_bound_access_tokens_required"] = True
        if self._has_certificates:
            content["tls_client_certificate_bound_access_tokens"] = True
        return msgspec.json.encode(content)

    def is_at(self, path: str) -> bool:
        """Whether a path, without that of a mount, is one of the document's."""
        path = path.rstrip("/")
        if not self.is_there:
            return False
        return path.startswith(WELL_KNOWN) and path[len(WELL_KNOWN) :] in ("", self._path, self._endpoint)


async def serve_metadata(exchange: HttpExchange, body: bytes) -> None:
    """Answer a request for the document (R-615): no credentials are needed."""
    if exchange.method == "OPTIONS":
        await send_empty(exchange, 204, _PREFLIGHT)
    elif exchange.method in ("GET", "HEAD"):
        await send_json(exchange, 200, body, _HEADERS)
    else:
        await send_empty(exchange, 405, [*_HEADERS, (b"allow", b"GET, HEAD, OPTIONS")])
