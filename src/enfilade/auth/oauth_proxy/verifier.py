"""Access tokens of the proxy itself: opened with the secret of the server, without asking anybody.

A grant that is revoked ends its access tokens in every worker that hears of it, which is nearly always at once;
one that does not hear of it takes them until they expire. What was verified before is checked anew after that:
the `generation` changes.
"""

import time
from collections import OrderedDict
from typing import Any, Final

from pydantic import SecretStr

from enfilade.auth.claims import check_expiry
from enfilade.auth.errors import InvalidTokenError
from enfilade.auth.oauth_proxy.sealed import ACCESS_PREFIX, AccessToken, Codec
from enfilade.serving.principal import Principal
from enfilade.state.tokens import Seal

#: Revoked grants that a worker remembers; the oldest are forgotten.
_MOST_REVOKED: Final = 10_000
_LONGEST_TOKEN: Final = 16 * 1024


class OwnTokens:
    """Verifies access tokens of the proxy, in the place of a `JwtVerifier`.

    Args:
        seal: the keys of the server.
        issuer: of the proxy.
        resource: that the tokens are for.
        leeway: seconds by which clocks of workers may differ.

    Attributes:
        generation: grows when a grant was revoked: kept verdicts are void then.
        is_without_keys: never; for a probe.
    """

    is_without_keys: Final = False
    prefix: Final = ACCESS_PREFIX

    def __init__(self, seal: Seal, issuer: str, resource: str, leeway: float) -> None:
        self._codec = Codec(seal, issuer, resource)
        self._issuer, self._resource, self._leeway = issuer, resource, leeway
        self._revoked: OrderedDict[bytes, None] = OrderedDict()
        self.generation = 0

    def is_current(self, generation: int) -> bool:
        """Whether a verdict of a generation holds still."""
        return generation == self.generation

    def revoke(self, grant_id: bytes) -> None:
        """Take no access token of a grant any more."""
        self._revoked[grant_id] = None
        self.generation += 1
        while len(self._revoked) > _MOST_REVOKED:
            self._revoked.popitem(last=False)

    async def verify(self, token: str, claims: dict[str, Any] | None = None) -> Principal:
        """Return who presents a token.

        Raises:
            InvalidTokenError: it is none of this server for this resource, has expired, or its grant was revoked.
        """
        opened = None
        if len(token) <= _LONGEST_TOKEN:
            opened = self._codec.open(token.removeprefix(ACCESS_PREFIX), AccessToken)
        if opened is None:
            raise InvalidTokenError("it is no access token of this server for this resource")
        check_expiry(opened.expires_at, self._leeway)
        if opened.grant and opened.grant in self._revoked:
            raise InvalidTokenError("its grant was revoked")
        return Principal(
            subject=opened.subject,
            issuer=self._issuer,
            client_id=opened.client_id,
            scopes=frozenset(opened.scopes),
            claims={
                **opened.claims,
                "iss": self._issuer,
                "sub": opened.subject,
                "aud": self._resource,
                "client_id": opened.client_id,
                "scope": " ".join(opened.scopes),
                "iat": opened.issued_at,
                "exp": opened.expires_at,
                **({"grant_id": opened.grant.hex()} if opened.grant else {}),
            },
            expires_at=float(opened.expires_at),
            access_token=SecretStr(token),
        )

    async def aclose(self) -> None:
        """Do nothing: there are no connections."""


def new_access_token(
    codec: Codec,
    subject: str,
    client_id: str,
    scopes: list[str],
    seconds: int,
    grant: bytes,
    claims: dict[str, Any],
) -> str:
    """Return an access token.

    Args:
        seconds: for which it is valid.
        grant: its id; empty for none.
        claims: more of the user.
    """
    now = int(time.time())
    token = AccessToken(grant, subject, client_id, scopes, now, now + seconds, claims)
    return ACCESS_PREFIX + codec.seal(token)
