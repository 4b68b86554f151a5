"""The browser of a user: a cookie that tells it from others, and one with what its user has agreed to.

A login goes on in the browser in which it has begun, and in no other: otherwise somebody could begin one and let
another user end it (R-708). Both cookies are `Lax`: the way back from a provider is a navigation from elsewhere.
"""

import re
import secrets
from typing import Final

from enfilade.auth.oauth_proxy.messages import header
from enfilade.auth.oauth_proxy.sealed import Codec, Consents, digest
from enfilade.transports.exchange import Headers, HttpExchange

#: Seconds for which a browser is known after a login has begun, and for which a consent is remembered.
_BROWSER_TIME, _CONSENT_TIME = 3600, 30 * 86_400
_MOST_CONSENTS: Final = 24
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LONGEST_COOKIES: Final = 16 * 1024


class Browsers:
    """Reads and makes the cookies.

    Args:
        is_secure: whether the server is called by https. The cookies are then of this host and of no other.
    """

    def __init__(self, codec: Codec, *, is_secure: bool) -> None:
        self._codec = codec
        prefix, self._flags = ("__Host-", "; Secure") if is_secure else ("", "")
        self._browser_name = f"{prefix}enfilade-browser"
        self._consents_name = f"{prefix}enfilade-consents"

    def known(self, exchange: HttpExchange) -> bytes | None:
        """Return the digest of a browser's cookie; None if it has none."""
        value = _cookies(exchange).get(self._browser_name, "")
        return digest(value) if _VALUE.fullmatch(value) else None

    def recognize(self, exchange: HttpExchange) -> tuple[bytes, Headers]:
        """Return the digest of a browser's cookie, and the header that gives it one, or prolongs it."""
        value = _cookies(exchange).get(self._browser_name, "")
        if not _VALUE.fullmatch(value):
            value = secrets.token_urlsafe(32)
        return digest(value), [self._cookie(self._browser_name, value, _BROWSER_TIME)]

    def has_agreed(self, exchange: HttpExchange, consent: bytes) -> bool:
        """Whether the user of this browser has agreed to the same before."""
        return consent in self._consents(exchange)

    def remember(self, exchange: HttpExchange, consent: bytes) -> Headers:
        """Return the headers that make a browser remember what its user agrees to."""
        value = _cookies(exchange).get(self._browser_name, "")
        digests = [each for each in self._consents(exchange) if each != consent]
        sealed = self._codec.seal(Consents(digest(value), [*digests, consent][-_MOST_CONSENTS:]))
        return [
            self._cookie(self._browser_name, value, _CONSENT_TIME),
            self._cookie(self._consents_name, sealed, _CONSENT_TIME),
        ]

    def _consents(self, exchange: HttpExchange) -> list[bytes]:
        sealed = _cookies(exchange).get(self._consents_name)
        consents = None if sealed is None else self._codec.open(sealed, Consents)
        return [] if consents is None or consents.browser != self.known(exchange) else consents.digests

    def _cookie(self, name: str, value: str, seconds: int) -> tuple[bytes, bytes]:
        text = f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{self._flags}"
        return b"set-cookie", text.encode()


def _cookies(exchange: HttpExchange) -> dict[str, str]:
    """Return the cookies of a request; of several with one name, the first, which is of the nearest path."""
    sent = header(exchange, b"cookie") or b"; ".join(v for n, v in exchange.headers if n.lower() == b"cookie")
    cookies: dict[str, str] = {}
    for pair in sent[:_LONGEST_COOKIES].decode("latin-1").split(";"):
        name, _, value = pair.strip().partition("=")
        cookies.setdefault(name, value)
    return cookies
