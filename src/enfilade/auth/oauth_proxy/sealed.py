"""What the proxy hands out and gets back: registrations, logins under way, codes and tokens, each sealed.

Whoever has one can neither read nor change it, and any worker with the secret of the server opens it. Each kind
has a purpose of its own, which also has the issuer, so that none opens as another kind, or at another server
that shares the secret. Access tokens are for one resource in the same way (RFC 8707).
"""

import hashlib
import secrets
import time
from typing import Any, Final, TypeVar

import msgspec

from enfilade.state.tokens import Seal

#: What access tokens begin with, so that they are told from those of other issuers, and found by secret scanners.
ACCESS_PREFIX: Final = "enf_at_"
REFRESH_PREFIX: Final = "enf_rt_"
CODE_PREFIX: Final = "enf_ac_"
CLIENT_PREFIX: Final = "enf_client_"

T = TypeVar("T", bound="Sealed")


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """Something that is handed out sealed."""


class Registration(Sealed, frozen=True, array_like=True):
    """A client that has registered (RFC 7591).

    Attributes:
        method: how it authenticates: `none`, `client_secret_basic` or `client_secret_post`.
        created_at: seconds since the epoch.
    """

    name: str
    redirect_uris: list[str]
    method: str
    created_at: int


class Login(Sealed, frozen=True, array_like=True):
    """A login under way: a request of a client, and how far the user is.

    It is in the form of the consent page, and after that in the `state` that the provider gets.

    Attributes:
        id: of this step; it is used once.
        client: digest of the client's id.
        redirect_uri: as the request has it.
        state: that of the client.
        challenge: of the client's PKCE.
        scopes: that it gets if the user agrees.
        browser: digest of the cookie of the browser in which it goes on.
        verifier: of our own PKCE; empty before the consent.
        expires_at: seconds since the epoch.
        attempt: how often the provider was asked for this consent.
        needs_assertion: whether the client has to prove who it is at the token endpoint.
    """

    id: bytes
    client: bytes
    redirect_uri: str
    state: str | None
    challenge: str
    scopes: list[str]
    browser: bytes
    verifier: str
    expires_at: int
    attempt: int
    needs_assertion: bool = False


class Code(Sealed, frozen=True, array_like=True):
    """An authorization code.

    Attributes:
        grant: id of the grant, which knows whether the code was used.
    """

    grant: bytes
    client: bytes
    redirect_uri: str
    challenge: str
    expires_at: int


class AccessToken(Sealed, frozen=True, array_like=True):
    """An access token for the resource.

    Attributes:
        grant: id of the grant; empty for one by an assertion, which has none.
        client_id: the whole id.
        claims: more of the user, such as `name`.
    """

    grant: bytes
    subject: str
    client_id: str
    scopes: list[str]
    issued_at: int
    expires_at: int
    claims: dict[str, Any]


class RefreshToken(Sealed, frozen=True, array_like=True):
    """A refresh token.

    Attributes:
        generation: grows with each rotation.
    """

    grant: bytes
    client: bytes
    generation: int


class Consents(Sealed, frozen=True, array_like=True):
    """What the user of a browser has agreed to: digests of client, redirect URI and scopes, the newest last."""

    browser: bytes
    digests: list[bytes]


class ClientSecret(Sealed, frozen=True, array_like=True):
    """The secret of a client: nothing but for whom it is."""

    client: bytes


class Codec:
    """Seals and opens what is handed out.

    Args:
        issuer: of the proxy.
        resource: that access tokens are for.
    """

    def __init__(self, seal: Seal, issuer: str, resource: str) -> None:
        self._seal = seal
        self._issuer, self._resource = issuer, resource

    def seal(self, value: Sealed) -> str:
        """Return something sealed, as visible ASCII."""
        return self._seal.seal(msgspec.msgpack.encode(value), self._purpose(type(value)))

    def open(self, token: str, kind: type[T]) -> T | None:
        """Return what was sealed as this kind; None for anything else, without a reason."""
        content = self._seal.open(token, self._purpose(kind))
        if content is None:
            return None
        try:
            return msgspec.msgpack.decode(content, type=kind)
        except msgspec.DecodeError:  # sealed by another version
            return None

    def seal_row(self, content: bytes, key: str) -> bytes:
        """Return the value of a row of the store, bound to its key."""
        return self._seal.encrypt(content, f"oauth row {key} {self._issuer}".encode())

    def open_row(self, sealed: bytes, key: str) -> bytes | None:
        """Return what was sealed for the row with this key."""
        return self._seal.decrypt(sealed, f"oauth row {key} {self._issuer}".encode())

    def _purpose(self, kind: type[Sealed]) -> bytes:
        party = self._resource if kind is AccessToken else self._issuer
        return f"oauth {kind.__name__} {party}".encode()


def new_id() -> bytes:
    """Return an id that cannot be guessed."""
    return secrets.token_bytes(16)


def digest(text: str) -> bytes:
    """Return what stands for a text, such as an id of a client."""
    return hashlib.sha256(text.encode()).digest()[:24]


def is_over(expires_at: float) -> bool:
    """Whether a time has come."""
    return expires_at <= time.time()
