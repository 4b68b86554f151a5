"""Clients that prove who they are with a key of their document: `private_key_jwt` (RFC 7523 §2.2, RFC 7521).

A client that is described by a document has no secret here, but may have keys: in the document, or at a URL
that it names. ChatGPT is one of these. The keys are fetched as the document is, from public addresses alone,
and kept for a while; a key that is not known is looked for again, but not often.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec

from enfilade.auth.claims import check_times, seconds_claim, text_claim
from enfilade.auth.compact_token import read_token, unverified_claims
from enfilade.auth.errors import InvalidTokenError
from enfilade.auth.jwks import SigningKey, read_keys
from enfilade.auth.oauth_proxy.documents import ClientDocument, ClientDocuments
from enfilade.auth.oauth_proxy.grants import Grants
from enfilade.auth.oauth_proxy.sealed import digest
from enfilade.auth.pages.requests import OAuthError, Parameters
from enfilade.auth.safe_fetch.fetch import SafeFetcher, UnsafeURLError
from enfilade.auth.servers import ALGORITHMS

TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#: What an assertion may call itself; others are tokens of another kind.
_TYPES: Final = ("jwt", "client-authentication+jwt")
_MOST_KEY_BYTES: Final = 64 * 1024
_MOST_KEPT: Final = 200
#: Seconds for which keys are kept, and after which a key that is not among them is looked for again.
_KEYS_AGE, _KEYS_PAUSE = 600.0, 30.0
_LONGEST_LIFE: Final = 3600.0
_LONGEST_ID: Final = 512
_LEEWAY: Final = 30.0


class ClientAssertions:
    """Checks assertions of clients.

    Args:
        documents: of the clients.
        fetcher: fetches their keys.
        grants: remember which assertions were used.
        audiences: what an assertion may be meant for: the issuer, and the URL of the token endpoint.
        clock: seconds of a clock that only goes forward; tests replace it.
    """

    def __init__(
        self,
        documents: ClientDocuments,
        fetcher: SafeFetcher,
        grants: Grants,
        audiences: tuple[str, ...],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._documents, self._fetcher, self._grants = documents, fetcher, grants
        self._audiences, self._clock = audiences, clock
        self._keys: OrderedDict[str, tuple[float, list[SigningKey]]] = OrderedDict()

    async def client_id(self, form: Parameters) -> str:
        """Return the id of the client that a request comes from, as its assertion proves.

        Raises:
            OAuthError: `invalid_client`, it proves nothing.
            StoreError: the store does not answer.
        """
        assertion = form.required("client_assertion")
        if form.get("client_assertion_type") != TYPE or form.get("client_secret") is not None:
            raise _refused("client_assertion_type is another one, or the client authenticates twice")
        try:
            claims = unverified_claims(assertion)
            client_id = self._check_claims(claims, form.get("client_id"))
            document = await self._documents.get(client_id)
            await self._check_signature(assertion, claims, document)
        except InvalidTokenError as error:
            raise _refused(error.reason) from None
        except UnsafeURLError as error:
            raise _refused(f"its document or its keys could not be used: {error}") from None
        await self._use(claims)
        return client_id

    def _check_claims(self, claims: dict[str, Any], named: str | None) -> str:
        """Return the id of the client in the claims of an assertion (RFC 7523 §3)."""
        client_id = text_claim(claims, "iss")
        if client_id is None or text_claim(claims, "sub") != client_id or named not in (None, client_id):
            raise InvalidTokenError("its iss, its sub and client_id are not the same")
        if not self._documents.is_document(client_id):
            raise InvalidTokenError("its client has no document")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if len(audiences) != 1 or audiences[0] not in self._audiences:
            raise InvalidTokenError("its aud is another one")
        expires_at, identity = seconds_claim(claims, "exp"), text_claim(claims, "jti")
        if expires_at is None or identity is None or len(identity) > _LONGEST_ID:
            raise InvalidTokenError("it has no exp or no jti")
        check_times(claims, _LEEWAY)
        if expires_at - time.time() > _LONGEST_LIFE:
            raise InvalidTokenError("it ends more than an hour from now")
        return client_id

    async def _check_signature(self, assertion: str, claims: dict[str, Any], document: ClientDocument) -> None:
        parts = read_token(assertion, claims)
        algorithm, kid, kind = (parts.header.get(name) for name in ("alg", "kid", "typ"))
        if not isinstance(kind, str | None) or (kind or "jwt").lower().removeprefix("application/") not in _TYPES:
            raise InvalidTokenError("its typ is not that of an assertion")
        if algorithm not in ALGORITHMS or "crit" in parts.header or not isinstance(kid, str | None):
            raise InvalidTokenError("its algorithm is none of those that are accepted, or its header is not")
        if document.algorithm not in (None, algorithm):
            raise InvalidTokenError("its algorithm is not that of its document")
        keys = await self._keys_of(document, kid)
        if not any(key.verifies(str(algorithm), parts.signed, parts.signature) for key in keys):
            raise InvalidTokenError("its signature is wrong")

    async def _keys_of(self, document: ClientDocument, kid: str | None) -> list[SigningKey]:
        """Return the keys of a client that may have signed.

        Raises:
            InvalidTokenError: it has none.
            UnsafeURLError: they cannot be fetched.
        """
        if document.keys is not None:
            keys = read_keys(document.keys, "the document of a client") or []
        elif document.keys_url is not None:
            keys = await self._fetched(document.keys_url, kid)
        else:
            raise InvalidTokenError("its client has no keys")
        return [key for key in keys if kid is None or key.kid in (None, kid)]

    async def _fetched(self, url: str, kid: str | None) -> list[SigningKey]:
        fetched_at, keys = self._keys.get(url, (float("-inf"), list[SigningKey]()))
        age = self._clock() - fetched_at
        is_known = any(kid is None or key.kid in (None, kid) for key in keys)
        if age <= _KEYS_PAUSE or (age <= _KEYS_AGE and is_known):
            return keys
        self._keys[url] = self._clock(), keys  # also if they cannot be fetched now: not again at once
        self._keys.move_to_end(url)
        while len(self._keys) > _MOST_KEPT:
            self._keys.popitem(last=False)
        document = await self._fetcher.get(url, _MOST_KEY_BYTES)
        try:
            value = msgspec.json.decode(document.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UnsafeURLError("the keys are no JSON") from None
        keys = read_keys(value, "the keys of a client") or []
        self._keys[url] = self._clock(), keys
        return keys

    async def _use(self, claims: dict[str, Any]) -> None:
        """Use an assertion up, in all workers."""
        seconds = max(float(claims["exp"]) - time.time() + _LEEWAY + 1, 1)
        identity = digest(f"{claims['iss']}\n{claims['jti']}")
        if not await self._grants.claim("client-assertion", identity, seconds):
            raise _refused("it was used before")


def _refused(reason: str) -> OAuthError:
    return OAuthError("invalid_client", f"the assertion of the client is not accepted: {reason}", 401)
