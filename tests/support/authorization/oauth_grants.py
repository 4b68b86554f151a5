"""What an OAuth 2.0 provider of tests remembers: codes, tokens, and what they were given for."""

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field


class GrantError(Exception):
    """A token request is refused (RFC 6749 §5.2); the text is the member `error`."""


@dataclass
class Grant:
    """What a user has allowed a client, and the tokens of that."""

    user: str
    client_id: str
    scopes: list[str]
    resource: str | None = None
    nonce: str | None = None
    tokens: set[str] = field(default_factory=set)


@dataclass
class _Code:
    grant: Grant
    redirect_uri: str
    challenge: str
    is_redeemed: bool = False


@dataclass
class _Access:
    grant: Grant
    expires_at: float


class Grants:
    """Codes and tokens; a code is good for once, and so is a refresh token where these rotate.

    Attributes:
        rotates: whether a refresh token is replaced when it is used. One that is used again then ends the grant,
            as RFC 9700 §4.14 has it.
        replayed_codes: how often a code came that had been redeemed.
        replayed_refresh_tokens: how often a refresh token came that had been replaced.
        issued: every code and token there ever was.
    """

    def __init__(self) -> None:
        self.rotates = True
        self.replayed_codes = self.replayed_refresh_tokens = 0
        self.issued: set[str] = set()
        self._codes: dict[str, _Code] = {}
        self._access: dict[str, _Access] = {}
        self._refresh: dict[str, Grant] = {}
        self._replaced: dict[str, Grant] = {}

    def new_code(self, grant: Grant, redirect_uri: str, challenge: str) -> str:
        """Return a code for a grant."""
        code = self._new("code")
        self._codes[code] = _Code(grant, redirect_uri, challenge)
        return code

    def redeem(self, code: str, client_id: str, redirect_uri: str, verifier: str) -> Grant:
        """Return the grant of a code.

        Raises:
            GrantError: it is not known, was redeemed, or the client, the redirect URI or the verifier is another.
        """
        known = self._codes.get(code)
        if known is None:
            raise GrantError("invalid_grant")
        if known.is_redeemed:
            self.replayed_codes += 1
            self._end(known.grant)
            raise GrantError("invalid_grant")
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (known.grant.client_id, known.redirect_uri, known.challenge) != (client_id, redirect_uri, challenge):
            raise GrantError("invalid_grant")
        known.is_redeemed = True
        return known.grant

    def new_access_token(self, grant: Grant, expires_in: float | None) -> str:
        """Return an access token that is valid for so many seconds; None for ever."""
        token = self._new("access")
        grant.tokens.add(token)
        self._access[token] = _Access(grant, float("inf") if expires_in is None else time.time() + expires_in)
        return token

    def new_refresh_token(self, grant: Grant) -> str:
        token = self._new("refresh")
        grant.tokens.add(token)
        self._refresh[token] = grant
        return token

    def use_refresh_token(self, token: str, client_id: str) -> tuple[Grant, str | None]:
        """Return the grant of a refresh token, and the refresh token that replaces it, if one does.

        Raises:
            GrantError: it is not known, was replaced, or is that of another client.
        """
        if token in self._replaced:
            self.replayed_refresh_tokens += 1
            self._end(self._replaced[token])
        grant = self._refresh.get(token)
        if grant is None or grant.client_id != client_id:
            raise GrantError("invalid_grant")
        if not self.rotates:
            return grant, None
        self._replaced[token] = self._refresh.pop(token)
        return grant, self.new_refresh_token(grant)

    def revoke(self, token: str) -> None:
        """End a token; with a refresh token, the grant as a whole (RFC 7009 §2.1)."""
        if token in self._refresh:
            self._end(self._refresh[token])
        self._access.pop(token, None)

    def end_access_tokens(self) -> None:
        """End all access tokens, before they expire; refresh tokens stay."""
        self._access.clear()

    def end(self) -> None:
        """End everything that was ever granted."""
        self._access.clear()
        self._refresh.clear()

    def grant_of(self, access_token: str) -> Grant | None:
        """Return the grant of a valid access token."""
        access = self._access.get(access_token)
        return access.grant if access is not None and access.expires_at > time.time() else None

    def _end(self, grant: Grant) -> None:
        for token in grant.tokens:
            self._access.pop(token, None)
            self._refresh.pop(token, None)

    def _new(self, kind: str) -> str:
        token = f"{kind}-{secrets.token_urlsafe(24)}"
        self.issued.add(token)
        return token
