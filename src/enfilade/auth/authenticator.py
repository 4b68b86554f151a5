"""Checks the credentials of each request: who verifies a token, what was verified before, and refusals.

The issuer that an unverified token names chooses who verifies it; nothing is tried in turn, so a token cannot
look for the weakest verifier. What was verified is remembered by a digest of the header until the token expires,
or the keys of its server change. What must come with a bound token is checked for every request.

Easy to get wrong: a server that cannot be asked. That is 503 and never 401, because a 401 makes clients start a
login in a browser (X-AUTH-4).
"""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from enfilade.auth.api_keys import APIKeys
from enfilade.auth.bound_tokens import BoundTokens, Credentials
from enfilade.auth.challenges import Challenges
from enfilade.auth.claims import check_expiry
from enfilade.auth.compact_token import unverified_claims
from enfilade.auth.dpop import InvalidProofError, Proof
from enfilade.auth.errors import InvalidTokenError, ServerUnavailableError
from enfilade.auth.foreign_tokens import ask_verifier, limits_of_calls
from enfilade.auth.jwt import JwtVerifier
from enfilade.auth.limits.known_tokens import KeyedVerifier, KnownToken, KnownTokens
from enfilade.auth.limits.request_limit import LoopLimits
from enfilade.auth.metadata import Metadata, serve_metadata
from enfilade.auth.resource_server import ResourceServer
from enfilade.serving.callers.access import with_included
from enfilade.serving.callers.http_request import CREDENTIALS_KEY
from enfilade.serving.failures import LimitedLog, log_safely
from enfilade.serving.principal import Principal
from enfilade.state.tokens import Seal
from enfilade.transports.asgi import stated_principal
from enfilade.transports.exchange import HttpExchange, HttpRequest
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError

log = logging.getLogger("enfilade.auth")
_unavailable_log: Final = LimitedLog(log)

#: A scheme and one token: visible ASCII, since API keys have more characters than RFC 6750 §2.1 gives tokens.
_CREDENTIALS: Final = re.compile(rb"([A-Za-z]+) +([!-~]+)")
_LONGEST_HEADER: Final = 17 * 1024

_LONGEST_QUERY: Final = 8 * 1024
_SPACES: Final = rb"(?:[ \t\n\r\v\f+]|%(?:20|0[9abcd]))*+"
#: The parameter of RFC 6750 §2.3, in any spelling that some reader understands. One search: to split a query and
#: to decode its parts takes milliseconds, if somebody means it to.
_TOKEN_PARAMETER: Final = re.compile(
    rb"(?:\A|[&;?])%b(?:%b)%b(?:[=&;?]|\Z)"
    % (_SPACES, b"".join(b"(?:%c|%%%02x|%%%02x)" % (c, c, c & 0xDF) for c in b"access_token"), _SPACES),
    re.IGNORECASE,
)


class ResourceAuthenticator:
    """Checks the credentials of requests for one endpoint, as an `Authenticator` of the transport.

    Args:
        seal: makes nonces, which all workers with its secret accept.

    Attributes:
        auth: as it was configured.
        own_tokens: verifies tokens that this server itself has issued; None if it issues none.
        metadata: where clients find out how to log in.
    """

    def __init__(self, auth: ResourceServer, metadata: Metadata, seal: Seal) -> None:
        self.auth = self._auth = auth
        self._bound_tokens = BoundTokens(auth, seal)
        self.metadata = metadata
        self.own_tokens = auth.own_tokens(seal)
        self._verifiers: dict[str, KeyedVerifier] = {
            server.issuer: JwtVerifier(server, auth.resource, leeway=auth.leeway, jwks_stale=auth.jwks_stale)
            for server in (auth.authorization_servers if self.own_tokens is None else ())
        }
        self._own: list[Any] = []  # verifiers that were made here, for this resource
        self._others: list[tuple[str, Any, LoopLimits | None]] = []
        for name, verifier in zip(_names(auth.verifiers), auth.verifiers, strict=True):
            asked: Any = verifier
            limits = None if isinstance(verifier, APIKeys) else limits_of_calls()
            if hasattr(verifier, "for_resource"):
                asked = verifier.for_resource(auth.resource, auth.leeway)
                self._own.append(asked)
                limits = None
            self._others.append((name, asked, limits))
        self._key_headers = [
            (verifier.header.lower().encode(), name, verifier)
            for name, verifier, _ in self._others
            if isinstance(verifier, APIKeys) and verifier.header
        ]
        self._key_names = tuple(header.decode() for header, _, _ in self._key_headers)
        self._required = frozenset(auth.scopes)
        self._challenges = Challenges(auth.scopes, self._bound_tokens, metadata)
        self._known = KnownTokens()

    # -- requests ----------------------------------------------------------------------------------------------

    def known(self, request: HttpRequest, fields: Mapping[bytes, bytes]) -> Principal | None:
        """Return the principal of a token that was verified before, has the server's scopes, and still holds."""
        if self._key_headers:
            _hide(request, self._key_names)
        header = fields.get(b"authorization")
        if header is None or request.query:
            return None
        known = self._known.current(header)
        return known.principal if known is not None and known.is_free else None

    async def authenticate(self, exchange: HttpExchange, fields: Mapping[bytes, bytes]) -> Principal:
        """Check the credentials of a request.

        Raises:
            AccessRefusedError: HTTP 401 without credentials or with bad ones, 403 without the server's scopes,
                503 if they cannot be checked at present.
        """
        try:
            principal = await self._principal(exchange, fields)
        except InvalidTokenError as error:
            raise self._challenges.unauthorized(exchange, error.reason, fields) from None
        except InvalidProofError as error:
            raise self._challenges.refused_proof(exchange, error) from None
        except ServerUnavailableError as error:
            _unavailable_log.write(logging.WARNING, "a token could not be checked: %s", error)
            raise self._challenges.unavailable(error) from None
        if not self._required <= self.granted(principal):
            raise self.lacks_scopes(exchange, self._auth.scopes)
        return principal

    async def _principal(self, exchange: HttpExchange, fields: Mapping[bytes, bytes]) -> Principal:
        """Return who sends a request, after checks of the token and of what must come with it.

        Raises:
            InvalidTokenError: what is there is no credential of a known form (R-608), or a bad one.
            InvalidProofError: the token is bound, and its proof is bad.
            ServerUnavailableError: it cannot be checked at present.
        """
        header = fields.get(b"authorization")
        query = exchange.query
        if query:
            _check_query(query)
        if header is None:
            return await self._without_token(exchange, fields)
        match = _CREDENTIALS.fullmatch(header.strip())
        if match is None or len(header) > _LONGEST_HEADER:
            raise InvalidTokenError("the Authorization header is not one Bearer token")
        credentials = Credentials(match[1].decode("ascii").lower(), match[2].decode("ascii"))
        self._bound_tokens.check_scheme(credentials.scheme)
        known = self._known.current(header)
        principal = await self._verified(header, credentials) if known is None else known.principal
        proof = self._bound_tokens.check(credentials, principal.claims, exchange, fields)
        if proof is not None:
            self._require_body(exchange, proof)
            if nonce := self._bound_tokens.renewed_nonce(proof):
                exchange.add_headers([(b"dpop-nonce", nonce)])
        return principal

    def _require_body(self, exchange: HttpExchange, proof: Proof) -> None:
        """Have the body compared with the digest in a proof, if there is one (X-AUTH-51)."""
        if proof.body is None:
            return
        other = InvalidProofError("its content_digest is not that of the body")
        if exchange.method == "POST":
            exchange.expect_body(proof.body, self._challenges.refused_proof(exchange, other))
        elif proof.body != hashlib.sha256().digest():  # of other methods no body is read
            raise other

    async def _verified(self, header: bytes, credentials: Credentials) -> Principal:
        token = credentials.token
        claims: dict[str, Any] = {}
        verifier: KeyedVerifier | None
        if self.own_tokens is not None and token.startswith(self.own_tokens.prefix):
            verifier = self.own_tokens
        else:
            claims = unverified_claims(token, self._verifiers)
            verifier = self._verifiers.get(claims.get("iss", ""))
        if verifier is None:
            return await self._by_others(token)
        generation = verifier.generation
        principal = await verifier.verify(token, claims)
        if principal.expires_at is not None and self._required <= self.granted(principal):
            until = principal.expires_at + self._auth.leeway
            is_free = self._bound_tokens.is_free(credentials, principal.claims)
            known = KnownToken(principal, until, verifier, generation, len(header), is_free)
            self._known.add(header, known)
        return principal

    async def _without_token(self, request: HttpRequest, fields: Mapping[bytes, bytes]) -> Principal:
        """Return who sends a request without `Authorization`: by an API key, or as a host's middleware says."""
        for header, name, keys in self._key_headers:
            if header in fields:
                key = fields[header].strip().decode("latin-1")
                principal = await ask_verifier(keys, key, self._auth.resource, self._auth.leeway)
                if principal is None:
                    raise InvalidTokenError("the API key is unknown")
                return principal.of(name)
        principal = stated_principal(request.scope)
        if principal is not None:
            check_expiry(principal.expires_at, self._auth.leeway)
            return principal
        raise self._challenges.unauthorized(request, None, fields)

    async def _by_others(self, token: str) -> Principal:
        """Ask the verifiers in order for a token of no known issuer."""
        for name, verifier, limits in self._others:
            principal = await ask_verifier(verifier, token, self._auth.resource, self._auth.leeway, limits)
            if principal is not None:
                return principal.of(name)
        raise InvalidTokenError("the token is none that this server accepts")

    async def serve_metadata(self, exchange: HttpExchange, scopes: Iterable[str] = ()) -> None:
        """Answer a request for the protected resource metadata, for which no credentials are needed (R-615).

        Args:
            scopes: what operations need besides the scopes that every caller needs.
        """
        needed = dict.fromkeys((*self._auth.scopes, *scopes))
        await serve_metadata(exchange, self.metadata.document(list(needed)))

    @property
    def problem(self) -> str | None:
        """Why some tokens cannot be verified at present, for a probe; None if nothing is known against it."""
        is_away = any(verifier.is_without_keys for verifier in self._verifiers.values())
        return "an authorization server is out of reach" if is_away else None

    # -- scopes ------------------------------------------------------------------------------------------------

    def granted(self, principal: Principal) -> frozenset[str]:
        """Return the scopes of a principal, with those that they include (R-607)."""
        return with_included(principal.scopes, self._auth.scope_hierarchy)

    def lacks_scopes(self, request: HttpRequest | None, scopes: Sequence[str]) -> RpcError:
        """Return HTTP 403 with all scopes of an operation in one challenge (R-605)."""
        return self._challenges.lacks_scopes(request, scopes)

    async def close(self) -> None:
        """Close the connections to authorization servers; verifiers of users are theirs to close."""
        for verifier in (*self._verifiers.values(), *self._own):
            try:
                await verifier.aclose()
            except Exception as error:  # one that cannot be closed keeps none of the others open
                log_safely(log, logging.WARNING, "a connection could not be closed: %r", error)


def _names(verifiers: Sequence[object]) -> list[str]:
    """Return a name for each verifier: that of its class, with a number from the second one on."""
    counted: Counter[str] = Counter()
    names = []
    for verifier in verifiers:
        kind = type(verifier).__name__
        counted[kind] += 1
        names.append(kind if counted[kind] == 1 else f"{kind} {counted[kind]}")
    return names


def _check_query(query: bytes) -> None:
    """Refuse a query with a token in it, and one that is longer than anybody needs: it is read for everybody.

    Raises:
        InvalidTokenError: it has a token.
        RpcError: HTTP 414.
    """
    if len(query) > _LONGEST_QUERY:
        raise RpcError(INVALID_REQUEST, f"The query of a URL has at most {_LONGEST_QUERY} bytes", status=414)
    if _TOKEN_PARAMETER.search(query) is not None:
        raise InvalidTokenError("a token in the query is not accepted; send it in the Authorization header")


def _hide(request: HttpRequest, names: tuple[str, ...]) -> None:
    """Keep headers with API keys from handlers: `ctx.http` leaves out what the state of the scope names."""
    request.scope["state"] = {**(request.scope.get("state") or {}), CREDENTIALS_KEY: names}
