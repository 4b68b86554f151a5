"""Clients of the proxy: by the id that they present, whether registered, described by a document, or configured.

A registration is sealed into the id of the client, so that nothing is kept of it, any worker knows it, and a
restart loses none (X-AUTH-22). The secret of a client is sealed as well, and says no more than whose it is.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_plus

from pydantic import SecretStr

from enfilade.auth.oauth_proxy.client_assertions import ClientAssertions
from enfilade.auth.oauth_proxy.documents import ClientDocuments
from enfilade.auth.oauth_proxy.redirects import fault_of_redirect
from enfilade.auth.oauth_proxy.sealed import CLIENT_PREFIX, ClientSecret, Codec, Registration, digest
from enfilade.auth.pages.requests import OAuthError, Parameters

#: Characters of a client id, of which a URL has room.
MOST_CHARACTERS: Final = 6000
#: How clients authenticate at the token endpoint.
METHODS: Final = ("none", "client_secret_basic", "client_secret_post")
#: The same for clients with a document, by keys of their own.
BY_KEY: Final = "private_key_jwt"


@dataclass(frozen=True)
class ProxyClient:
    """A client that is configured, for those that neither register nor have a document.

    Args:
        client_id: its id.
        client_secret: its secret; None for a public client.
        redirect_uris: where its logins may lead; none for a client that only exchanges assertions.
        name: for people; by default the id.

    Raises:
        TypeError, ValueError: the id is empty or has spaces, or a redirect URI is none that is safe.
    """

    client_id: str
    client_secret: SecretStr | str | None = field(default=None, repr=False)
    redirect_uris: Sequence[str] = ()
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.client_id, str):
            raise TypeError(f"client_id= of a ProxyClient is a text, not {type(self.client_id).__name__}")
        if not self.client_id.isascii() or not self.client_id.isprintable() or " " in self.client_id:
            raise ValueError("client_id= of a ProxyClient is visible ASCII without spaces")
        if not self.client_id:
            raise ValueError("client_id= of a ProxyClient is empty")
        if isinstance(self.redirect_uris, str):
            raise TypeError(f"redirect_uris= takes a list: [{self.redirect_uris!r}]")
        object.__setattr__(self, "redirect_uris", tuple(self.redirect_uris))
        for uri in self.redirect_uris:
            if fault := fault_of_redirect(uri):
                raise ValueError(f"a redirect URI of {self.client_id} {fault}: {uri!r}")
        if isinstance(self.client_secret, str):
            object.__setattr__(self, "client_secret", SecretStr(self.client_secret))
        object.__setattr__(self, "name", self.name or self.client_id)


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks for a login, or for a token.

    Args:
        client_id: as it was presented.
        name: as the client calls itself; nobody has checked it unless it is configured.
        redirect_uris: those that are registered.
        method: how it authenticates.
        document_host: the host of its document; None for a client without one.
        is_configured: whether whoever runs the server has named it.
        needs_assertion: whether it must prove who it is at the token endpoint, by a key of its document.
    """

    client_id: str
    name: str
    redirect_uris: tuple[str, ...]
    method: str
    document_host: str | None = None
    is_configured: bool = False
    needs_assertion: bool = False

    @property
    def is_authenticated(self) -> bool:
        """Whether whoever has presented its id at the token endpoint has proven to be it."""
        return self.method != "none"

    @property
    def digest(self) -> bytes:
        """What stands for it in what is sealed."""
        return digest(self.client_id)


class Clients:
    """Finds clients by their ids, and checks what they authenticate with."""

    def __init__(
        self,
        codec: Codec,
        documents: ClientDocuments,
        assertions: ClientAssertions,
        configured: Mapping[str, ProxyClient],
    ) -> None:
        self._codec = codec
        self._documents, self._assertions = documents, assertions
        self._configured = configured

    def registered(self, client_id: str) -> Client | None:
        """Return a client without asking anybody; None if it is not known here.

        One that is described by a document is known by its form alone: whoever has a code for it was at the
        authorization endpoint, which has read the document.
        """
        if len(client_id) > MOST_CHARACTERS:
            return None
        if (configured := self._configured.get(client_id)) is not None:
            method = "none" if configured.client_secret is None else METHODS[1]
            uris = tuple(configured.redirect_uris)
            return Client(client_id, configured.name, uris, method, is_configured=True)
        if client_id.startswith(CLIENT_PREFIX):
            found = self._codec.open(client_id.removeprefix(CLIENT_PREFIX), Registration)
            if found is None:
                return None
            return Client(client_id, found.name, tuple(found.redirect_uris), found.method)
        if self._documents.is_document(client_id):
            return Client(client_id, "", (), "none")
        return None

    async def find(self, client_id: str) -> Client | None:
        """Return a client with all that is known of it; its document is fetched if it has one.

        Raises:
            UnsafeURLError: it has a document that cannot be used; the text says why.
        """
        client = self.registered(client_id)
        if client is None or client.is_configured or not self._documents.is_document(client_id):
            return client
        document = await self._documents.get(client_id)
        return Client(
            client_id,
            document.name,
            document.redirect_uris,
            "none",
            document.host,
            needs_assertion=document.needs_assertion,
        )

    def secret_of(self, client_id: str) -> str:
        """Return the secret of a client that registers."""
        return self._codec.seal(ClientSecret(digest(client_id)))

    async def authenticate(self, parameters: Parameters, authorization: bytes | None) -> Client:
        """Return the client of a request to the token endpoint.

        Args:
            authorization: the header.

        Raises:
            OAuthError: `invalid_client` with HTTP 401, after which hosts register anew (X-AUTH-24), or
                `invalid_request`.
            StoreError: the store does not answer.
        """
        if parameters.get("client_assertion") is not None and authorization is None:
            return Client(await self._assertions.client_id(parameters), "", (), BY_KEY)
        client_id, secret = _credentials(parameters, authorization)
        client = None if client_id is None else self.registered(client_id)
        challenge = [] if authorization is None else [(b"www-authenticate", b'Basic realm="token"')]
        if client is None:
            raise OAuthError("invalid_client", "this client is not registered here", 401, challenge)
        if not self._has_authenticated(client, secret):
            raise OAuthError("invalid_client", "the client has not authenticated as it must", 401, challenge)
        return client

    def _has_authenticated(self, client: Client, secret: str | None) -> bool:
        if client.method == "none":
            return secret is None
        if secret is None:
            return False
        if client.is_configured:
            expected = self._configured[client.client_id].client_secret
            assert isinstance(expected, SecretStr)
            return hmac.compare_digest(expected.get_secret_value().encode(), secret.encode())
        found = self._codec.open(secret, ClientSecret)
        return found is not None and hmac.compare_digest(found.client, client.digest)


def _credentials(parameters: Parameters, authorization: bytes | None) -> tuple[str | None, str | None]:
    """Return id and secret of a client, from the header or from the form (RFC 6749 §2.3.1).

    Raises:
        OAuthError: they are in both, or the header cannot be read.
    """
    client_id, secret = parameters.get("client_id"), parameters.get("client_secret")
    if authorization is None:
        return client_id, secret
    scheme, _, encoded = authorization.partition(b" ")
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        pair = ""
    if scheme.lower() != b"basic" or ":" not in pair:
        raise OAuthError("invalid_client", "the Authorization header is none of Basic", 401)
    name, _, password = (unquote_plus(text) for text in pair.partition(":"))
    if secret is not None or (client_id is not None and client_id != name):
        raise OAuthError("invalid_request", "the client authenticates twice")
    return name, password or None
