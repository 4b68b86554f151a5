"""The last response of a server that refused a message: the official client tells its status to nobody.

Easy to get wrong: a challenge is a text of a stranger, so what is shown of it is on one line and not too long.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

_SEND_TOKEN: Final = (
    """--header 'Authorization: Bearer ...', or in Python headers={"Authorization": "Bearer ..."}"""
)
#: Statuses of a server that does not serve a request, though it understands it.
_REFUSALS: Final = frozenset({401, 403, 429, 503})
#: What to do about the status of a response.
_ADVICE_ON_STATUS: Final = {
    400: f"if it needs a token, send one by {_SEND_TOKEN}",
    401: f"send a token that it accepts by {_SEND_TOKEN}",
    403: f"it may need another token, by {_SEND_TOKEN}; or it does not accept this host name",
    **dict.fromkeys((404, 405), "is the path of its endpoint in the URL, such as /mcp?"),
    **dict.fromkeys((502, 503, 504), "the server behind this address may not run, or may not be ready"),
}
_ADVICE_ON_SCOPES: Final = f"send a token with these scopes by {_SEND_TOKEN}"


class RefusedPost:
    """The last HTTP response to a message, if it was an error.

    Attributes:
        status: its status; 0 if it was no error.
        reason: why the token or key was refused, as the challenge says; empty if it does not (RFC 6750 §3).
        lacks_scopes: whether the challenge has `error="insufficient_scope"`.
        scopes: the scopes that the request needs, as the challenge says, in its order.
    """

    def __init__(self) -> None:
        self.status = 0
        self.reason = ""
        self.lacks_scopes = False
        self.scopes: tuple[str, ...] = ()
        self._scheme = ""

    async def record(self, response: Any) -> None:
        """Take note of a response; a hook of the HTTP client."""
        if response.request.method != "POST":
            return
        self.status = response.status_code if response.status_code >= 400 else 0
        self._scheme = response.headers.get("www-authenticate", "").partition(" ")[0]
        self.reason, self.lacks_scopes, self.scopes = "", False, ()
        if self.status and self._scheme:
            from enfilade.client.login.responses import lacks_scopes, needed_scopes, refusal_of

            self.reason = refusal_of(response)
            self.lacks_scopes = self.status == 403 and lacks_scopes(response)
            self.scopes = needed_scopes(response) if self.lacks_scopes else ()

    @property
    def is_refusal(self) -> bool:
        """Whether the server was reached, and does not serve this request."""
        return self.status in _REFUSALS

    @property
    def is_of_credentials(self) -> bool:
        """Whether another token or key would help."""
        return self.status == 401 or self.lacks_scopes

    def describe(self, message: str = "") -> str:
        """Return the status in words, the reason that the challenge has, and what to do.

        Args:
            message: that of the server, beside which the reason is not repeated.
        """
        name = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else "an error"
        scheme = f" (WWW-Authenticate: {self._scheme})" if self._scheme else ""
        advice = _ADVICE_ON_STATUS.get(self.status, "its log may say why" if self.status >= 500 else "")
        if self.scopes:
            advice = _ADVICE_ON_SCOPES
        reason = f": {self.reason}" if self.reason and self.reason not in message else ""
        return f"it answers {self.status} {name}{scheme}{reason}" + (f"; {advice}" if advice else "")


def scopes_in(headers: Mapping[str, str]) -> frozenset[str] | None:
    """Return the scopes of the token in the header `Authorization`; None if it does not say them.

    The token is read, not verified: it is the user's own.
    """
    from enfilade.auth.claims import scopes_of
    from enfilade.auth.compact_token import read_token
    from enfilade.auth.errors import InvalidTokenError

    value = next((text for name, text in headers.items() if name.lower() == "authorization"), "")
    try:
        return scopes_of(read_token(value.partition(" ")[2].strip()).claims)
    except InvalidTokenError:
        return None
