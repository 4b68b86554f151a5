"""`Issuer`: an authorization server for tests, with tokens in one line and keys that are read without a socket.

Its signatures are real: what a server accepts of it or refuses, it accepts or refuses of another one as well. It
asks nobody to log in, so it is for tests and for trying a server out on this machine, and not for use.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

try:
    import httpx
    from joserfc import jwt
    from joserfc.jwk import Key, generate_key
except ModuleNotFoundError as error:
    needed = 'enfilade.testing.Issuer needs more packages: pip install "enfilade[auth]"'
    raise ModuleNotFoundError(needed, name=error.name) from error

from enfilade.auth.servers import AuthorizationServer
from enfilade.auth.urls import check_url
from enfilade.testing.issuer_app import IssuerApp

#: The kind of key that each signature takes (RFC 7518 §3.1, RFC 9864).
_KEYS: Final[Mapping[str, tuple[str, int | str]]] = {
    **{f"{family}{size}": ("RSA", 2048) for family in ("RS", "PS") for size in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "Ed25519": ("OKP", "Ed25519"),
}


class Issuer:
    """An authorization server with a key of its own.

    Args:
        url: its issuer URL; the claim `iss` of its tokens.
        audience: whom its tokens are for where nothing else is said: the URL of an endpoint.
        algorithm: by which it signs: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or Ed25519.
        scopes: what its metadata list; if there are any, the token endpoint grants no others.
        clients: the secret of each client that gets tokens for itself at the token endpoint of `app`.

    Attributes:
        app: the server as an ASGI application: metadata (RFC 8414 and OpenID Connect), the key set, and a token
            endpoint for client credentials. `server` asks it without a socket; any ASGI server can serve it.

    Raises:
        TypeError, ValueError: the URL is not https and not on this machine, or there is no such algorithm.
    """

    def __init__(
        self,
        url: str = "https://issuer.test",
        *,
        audience: str | Sequence[str] | None = None,
        algorithm: str = "ES256",
        scopes: Iterable[str] = (),
        clients: Mapping[str, str] | None = None,
    ) -> None:
        if algorithm not in _KEYS:
            raise ValueError(f"algorithm= is one of {', '.join(_KEYS)}; not {algorithm!r}")
        self.url = check_url(url, "the URL of an issuer")
        self.audience = audience
        self.algorithm = algorithm
        self.scopes = tuple(scopes)
        self.clients = dict(clients or {})
        self._keys = [_new_key(algorithm)]
        self.app = IssuerApp(self)

    def __repr__(self) -> str:
        return f"Issuer({self.url!r})"

    def token(
        self,
        subject: str | None,
        *,
        scopes: Iterable[str] = (),
        audience: str | Sequence[str] | None = None,
        client_id: str | None = "test-client",
        expires_in: float = 3600.0,
        header: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return an access token (RFC 9068), signed with the newest key.

        Args:
            subject: the user; None for a client that acts for itself, whose id is then the subject.
            scopes: what the token allows.
            audience: whom it is for, in place of the issuer's own `audience`; without either it has no `aud`.
            client_id: the client that presents it.
            expires_in: seconds from now; a negative number makes a token that has expired.
            header: members of the header to set, such as `typ` or `kid`.
            claims: further claims, and others in place of the above; one that is None is left out.
        """
        now = int(time.time())
        every = {
            "iss": self.url,
            "sub": client_id if subject is None else subject,
            "aud": self.audience if audience is None else audience,
            "client_id": client_id,
            "scope": " ".join(_texts(scopes)),
            "iat": now,
            "exp": now + int(expires_in),
            "jti": secrets.token_urlsafe(9),
            **claims,
        }
        present = {name: _plain(value) for name, value in every.items() if value is not None}
        key = self._keys[0]
        first = {"typ": "at+jwt", "alg": self.algorithm, "kid": key.kid, **(header or {})}
        return jwt.encode(first, present, key, algorithms=[self.algorithm])

    def rotate(self, *, keep: bool = False) -> None:
        """Sign with a new key from now on.

        Args:
            keep: whether the old key stays in the key set, so that its tokens remain valid.
        """
        self._keys = [_new_key(self.algorithm), *(self._keys if keep else ())]

    def jwks(self) -> dict[str, Any]:
        """Return the key set (RFC 7517), with public keys only."""
        return {"keys": [key.as_dict(private=False) for key in self._keys]}

    def server(self, *, audiences: Sequence[str] = (), **options: Any) -> AuthorizationServer:
        """Return this issuer for `ResourceServer`, which asks it in memory: no request leaves the process.

        Args:
            audiences: audiences that are accepted besides the resource.
            options: others of `AuthorizationServer`.
        """
        return AuthorizationServer(self.url, audiences=audiences, **{"http_client": self.http_client, **options})

    def http_client(self) -> httpx.AsyncClient:
        """Return a client whose every request is answered by `app`, whatever its host."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app))


def _new_key(algorithm: str) -> Key:
    generate: Callable[..., Key] = generate_key
    return generate(*_KEYS[algorithm], {"kid": secrets.token_hex(8), "use": "sig", "alg": algorithm})


def _texts(scopes: Iterable[str]) -> list[str]:
    if isinstance(scopes, str):
        raise TypeError(f"scopes are a list of texts: scopes=[{scopes!r}]")
    return list(scopes)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | set | frozenset) else value
