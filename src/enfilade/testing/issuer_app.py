"""The HTTP side of `Issuer`: metadata, key set, and a token endpoint for client credentials (RFC 6749 §4.4)."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from enfilade.transports.asgi import Receive, Scope, Send

#: Bytes of a token request that are read; they hold a handful of short parameters.
MOST_BYTES: Final = 65_536
#: Seconds for which a token of the token endpoint is valid.
LIFETIME: Final = 3600
#: Status, body and further headers of a response.
Answer = tuple[int, bytes, list[tuple[bytes, bytes]]]
JSON: Final = (b"content-type", b"application/json")


class TokenMaker(Protocol):
    """What the application serves: see `Issuer`."""

    url: str
    audience: str | Sequence[str] | None
    scopes: tuple[str, ...]
    clients: dict[str, str]

    def jwks(self) -> dict[str, Any]:
        """Return the key set."""

    def token(
        self,
        subject: str | None,
        *,
        scopes: Iterable[str],
        audience: str | Sequence[str] | None,
        client_id: str | None,
        expires_in: float,
    ) -> str:
        """Return an access token."""


class TokenRequestError(Exception):
    """A token request is refused (RFC 6749 §5.2).

    Args:
        code: the member `error` of the response.
        description: what is wrong, for the client's developer.
    """

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code, self.description = code, description


class IssuerApp:
    """The ASGI application of an issuer."""

    def __init__(self, issuer: TokenMaker) -> None:
        self._issuer = issuer
        self._base = issuer.url.rstrip("/")
        path = urlsplit(self._base).path
        metadata = [
            f"/.well-known/{name}{path}" for name in ("oauth-authorization-server", "openid-configuration")
        ]
        # RFC 8414 puts the name before the issuer's path, OpenID Connect behind it.
        self._documents = dict.fromkeys([*metadata, f"{path}/.well-known/openid-configuration"], self.metadata)
        self._documents[f"{path}/jwks"] = issuer.jwks
        self._token_path = f"{path}/token"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a lifespan has nothing to do."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            status, body, headers = await self._answer(scope, receive)
            length = (b"content-length", str(len(body)).encode())
            await send({"type": "http.response.start", "status": status, "headers": [JSON, length, *headers]})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def metadata(self) -> dict[str, Any]:
        """Return what clients and resource servers need to know (RFC 8414 §2, X-AUTH-30)."""
        return {
            "issuer": self._issuer.url,
            # Nobody logs in here, but the official clients refuse metadata without this member.
            "authorization_endpoint": f"{self._base}/authorize",
            "token_endpoint": f"{self._base}/token",
            "jwks_uri": f"{self._base}/jwks",
            "scopes_supported": list(self._issuer.scopes),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path, method = scope["path"], scope["method"]
        if path == self._token_path:
            return await self._token(scope, receive) if method == "POST" else _not_allowed(b"POST")
        if path not in self._documents:
            return 404, b"{}", []
        if method not in {"GET", "HEAD"}:
            return _not_allowed(b"GET, HEAD")
        return 200, json.dumps(self._documents[path]()).encode(), []

    async def _token(self, scope: Scope, receive: Receive) -> Answer:
        headers = [(b"cache-control", b"no-store")]
        try:
            response = self._token_response(dict(scope["headers"]), await _read(receive))
        except TokenRequestError as refusal:
            response = {"error": refusal.code, "error_description": refusal.description}
            status = 400
            if refusal.code == "invalid_client":
                status = 401
                headers.append((b"www-authenticate", b"Basic"))
        else:
            status = 200
        return status, json.dumps(response).encode(), headers

    def _token_response(self, headers: Mapping[bytes, bytes], body: bytes) -> dict[str, Any]:
        """Return the response to a token request whose client has authenticated.

        Raises:
            TokenRequestError: it is refused.
        """
        form = dict(parse_qsl(body.decode("utf-8", "replace")))
        client_id = self._client_of(headers, form)
        if form.get("grant_type") != "client_credentials":
            raise TokenRequestError("unsupported_grant_type", "The grant_type is client_credentials.")
        scopes = form.get("scope", "").split()
        known = self._issuer.scopes
        if known and not set(scopes) <= set(known):
            raise TokenRequestError("invalid_scope", f"The scopes are {' '.join(known)}.")
        audience = form.get("resource", self._issuer.audience)
        if audience is None:
            raise TokenRequestError("invalid_target", "Say whom the token is for: resource=URL.")
        token = self._issuer.token(
            None, client_id=client_id, scopes=scopes, audience=audience, expires_in=LIFETIME
        )
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": LIFETIME,
            "scope": " ".join(scopes),
        }

    def _client_of(self, headers: Mapping[bytes, bytes], form: Mapping[str, str]) -> str:
        """Return the id of the client, by HTTP Basic authentication or by members of the form.

        Raises:
            TokenRequestError: there is no such client, or its secret is another one.
        """
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"basic":
            try:
                name, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                name = password = ""
            # Both are form-encoded before they are joined (RFC 6749 §2.3.1).
            client_id, secret = unquote_plus(name), unquote_plus(password)
        expected = self._issuer.clients.get(client_id)
        if expected is None or not secrets.compare_digest(expected.encode(), secret.encode()):
            raise TokenRequestError("invalid_client", "There is no client with this id and secret.")
        return client_id


def _not_allowed(methods: bytes) -> Answer:
    return 405, b"{}", [(b"allow", methods)]


async def _read(receive: Receive) -> bytes:
    """Return the body of a request.

    Raises:
        TokenRequestError: it is too long.
    """
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MOST_BYTES:
            raise TokenRequestError("invalid_request", "The request is too long.")
    return body


async def _lifespan(receive: Receive, send: Send) -> None:
    """Complete start and end at once."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
