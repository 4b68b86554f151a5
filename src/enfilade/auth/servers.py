"""Who may say who calls: authorization servers, and objects that verify tokens of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import SecretStr

from enfilade.auth.urls import check_url

if TYPE_CHECKING:
    import httpx

#: Signatures with a public key (RFC 7518, RFC 8037). `none` and HS256 have no public key, so they are never here.
ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
)  # fmt: skip


@dataclass(frozen=True)
class AuthorizationServer:
    """An authorization server whose tokens are accepted.

    Args:
        issuer: its issuer, exactly as its tokens have it in `iss`.
        jwks_uri: where its keys are; by default its metadata says so (RFC 8414, then OpenID Connect discovery).
        audiences: audiences of its tokens that are accepted besides the resource, such as an API's id.
        clients_without_audience: ids of clients whose tokens are accepted although they have no `aud`, as those
            of Amazon Cognito. Every token of such a client is then accepted, whatever it was made for.
        algorithms: signatures that are accepted.
        client_id: this server's own client id there, for token exchange and introspection.
        client_secret: the secret of that client.
        http_client: makes the HTTP client by which it is asked; by default one with limits of time and size.

    Raises:
        TypeError, ValueError: a URL is not https, a text in a list is empty, or there is no such algorithm.
    """

    issuer: str
    jwks_uri: str | None = field(default=None, kw_only=True)
    audiences: Sequence[str] = field(default=(), kw_only=True)
    clients_without_audience: Sequence[str] = field(default=(), kw_only=True)
    algorithms: Sequence[str] = field(default=ALGORITHMS, kw_only=True)
    client_id: str | None = field(default=None, kw_only=True)
    client_secret: SecretStr | str | None = field(default=None, kw_only=True)
    http_client: Callable[[], httpx.AsyncClient] | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_url(self.issuer, "the issuer of an authorization server")
        if self.jwks_uri is not None:
            check_url(self.jwks_uri, "jwks_uri")
        for name in ("audiences", "clients_without_audience", "algorithms"):
            object.__setattr__(self, name, _texts(getattr(self, name), name))
        unknown = [name for name in self.algorithms if name not in ALGORITHMS]
        if unknown or not self.algorithms:
            raise ValueError(
                f"algorithms= are some of {', '.join(ALGORITHMS)}; not {', '.join(unknown) or 'none'}"
            )
        if isinstance(self.client_secret, str):
            object.__setattr__(self, "client_secret", SecretStr(self.client_secret))


def _texts(values: Sequence[str], name: str) -> tuple[str, ...]:
    """Return texts as a tuple.

    Raises:
        TypeError: it is one text, or something else than texts.
        ValueError: one of them is empty.
    """
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{name}= takes a list of texts")
    if not all(values):
        raise ValueError(f"{name}= has an empty text")
    return tuple(values)


class TokenVerifier(Protocol):
    """Verifies tokens whose issuer is none of the authorization servers.

    Objects of the official SDK and of FastMCP have this method as well, and are taken as they are.
    """

    async def verify_token(self, token: str) -> Any:
        """Return who presents a token: a `Principal`, or an `AccessToken` of the SDK or FastMCP; None for nobody.

        An `AccessToken` has `token, client_id, scopes, expires_at` and may have `resource, subject, claims`.

        Raises:
            ServerUnavailableError: whoever knows does not answer; the client gets HTTP 503.
        """
        ...
