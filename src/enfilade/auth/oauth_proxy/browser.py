"""The browser of a user: a cookie that tells it from others, and one with what its user has agreed to.

A login goes on in the browser in which it has begun, and in no other: otherwise somebody could begin one and let
another user end it (R-708).
"""

import re
import secrets
from typing import Final

from enfilade.auth.oauth_proxy.sealed import Codec, Consents, digest
from enfilade.auth.pages.requests import cookie_name, cookies_of, set_cookie
from enfilade.transports.exchange import Headers, HttpExchange

#: Seconds for which a browser is known after a login has begun, and for which a consent is remembered.
_BROWSER_TIME, _CONSENT_TIME = 3600, 30 * 86_400
_MOST_CONSENTS: Final = 24
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class Browsers:
    """Reads and makes the cookies.

    Args:
        is_secure: whether the server is called by https. The cookies are then of this host and of no other.
    """

    def __init__(self, codec: Codec, *, is_secure: bool) -> None:
        self._codec = codec
        self._is_secure = is_secure
        self._browser_name = cookie_name("enfilade-browser", is_secure=is_secure)
        self._consents_name = cookie_name("enfilade-consents", is_secure=is_secure)

    def known(self, exchange: HttpExchange) -> bytes | None:
        """Return the digest of a browser's cookie; None if it has none."""
        value = cookies_of(exchange).get(self._browser_name, "")
        return digest(value) if _VALUE.fullmatch(value) else None

    def recognize(self, exchange: HttpExchange) -> tuple[bytes, Headers]:
        """Return the digest of a browser's cookie, and the header that gives it one, or prolongs it."""
        value = cookies_of(exchange).get(self._browser_name, "")
        if not _VALUE.fullmatch(value):
            value = secrets.token_urlsafe(32)
        return digest(value), [self._cookie(self._browser_name, value, _BROWSER_TIME)]

    def has_agreed(self, exchange: HttpExchange, consent: bytes) -> bool:
        """Whether the user of this browser has agreed to the same before."""
        return consent in self._consents(exchange)

    def remember(self, exchange: HttpExchange, consent: bytes) -> Headers:
        """Return the headers that make a browser remember what its user agrees to."""
        value = cookies_of(exchange).get(self._browser_name, "")
        digests = [each for each in self._consents(exchange) if each != consent]
        sealed = self._codec.seal(Consents(digest(value), [*digests, consent][-_MOST_CONSENTS:]))
        return [
            self._cookie(self._browser_name, value, _CONSENT_TIME),
            self._cookie(self._consents_name, sealed, _CONSENT_TIME),
        ]

    def _consents(self, exchange: HttpExchange) -> list[bytes]:
        sealed = cookies_of(exchange).get(self._consents_name)
        consents = None if sealed is None else self._codec.open(sealed, Consents)
        return [] if consents is None or consents.browser != self.known(exchange) else consents.digests

    def _cookie(self, name: str, value: str, seconds: int) -> tuple[bytes, bytes]:
        return set_cookie(name, value, seconds, is_secure=self._is_secure)
