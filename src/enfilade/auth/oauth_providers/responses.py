"""What the token endpoint of a provider answers, read with care: it comes from another machine."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from enfilade.auth.http_client import JsonResponse

if TYPE_CHECKING:
    from enfilade.auth.oauth_providers.provider import OAuth2

#: What an error code may be (RFC 6749 §5.2), so that it can be logged and shown.
_ERROR_CODE: Final = re.compile(r"[!#-\[\]-~ ]{1,64}")
#: What a scope may be, and how many of them are read.
_SCOPE: Final = re.compile(r"[!#-\[\]-~]{1,256}")
_MOST_SCOPES: Final = 256
#: Most characters of a token that is kept.
_LONGEST_TOKEN: Final = 64 * 1024
#: Longest time for which a response is believed, in seconds; tokens without `expires_in` have no end.
_LONGEST_LIFE: Final = 400 * 86_400.0


class ProviderError(Exception):
    """A provider gave no tokens; the text is for the log, and has nothing of the response but its error code.

    Args:
        reason: what is wrong.
        code: the error code of the provider, such as `invalid_grant`; None if it gave none.
        is_final: whether the same request will fail again; otherwise it may be tried later.
    """

    def __init__(self, reason: str, *, code: str | None = None, is_final: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.is_final = is_final


class TokenSet(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one user at one provider; its repr has none of them.

    Attributes:
        access_token: for the API.
        refresh_token: for the next access token; None if there is none.
        expires_at: when the access token ends, in seconds since the epoch; None if that is not known.
        scopes: what it allows; None if the response does not say, which means what was asked for.
        id_token: who the user is, of OpenID Connect; None if there is none.
    """

    access_token: str
    refresh_token: str | None = None
    expires_at: float | None = None
    scopes: tuple[str, ...] | None = None
    id_token: str | None = None

    def __repr__(self) -> str:
        return f"TokenSet(scopes={self.scopes!r}, expires_at={self.expires_at!r})"


def read_tokens(response: JsonResponse, provider: OAuth2) -> TokenSet:
    """Return the tokens in a response of a token endpoint.

    Raises:
        ProviderError: it is an error, or has no token of a kind that can be used.
    """
    value = response.value
    if not isinstance(value, dict):
        raise ProviderError("its response is no JSON object")
    check_error(response)
    members: Any = value
    for name in provider.token_path:
        members = members.get(name) if isinstance(members, dict) else None
    if not isinstance(members, dict):
        raise ProviderError("its response has no token of a user")
    kind = members.get("token_type", value.get("token_type", "bearer"))
    if not isinstance(kind, str) or kind.lower() not in ("bearer", "user", "token"):
        raise ProviderError("its response has a token of another kind than Bearer", is_final=True)
    token = _token(members, "access_token")
    if token is None:
        raise ProviderError("its response has no access_token")
    separator = provider.granted_separator or " "
    return TokenSet(
        access_token=token,
        refresh_token=_token(members, "refresh_token"),
        expires_at=_expiry(members),
        scopes=_scopes(members.get("scope"), separator),
        id_token=_token(value, "id_token"),
    )


def check_error(response: JsonResponse) -> None:
    """Refuse a response that is an error: by its status, by `error` (RFC 6749 §5.2), or by `ok` as Slack has it.

    Raises:
        ProviderError: it is one.
    """
    value = response.value if isinstance(response.value, dict) else {}
    if response.status < 300 and "error" not in value and value.get("ok", True) is not False:
        return
    error = value.get("error")
    code = error if isinstance(error, str) and _ERROR_CODE.fullmatch(error) else None
    is_final = response.status not in (408, 425, 429) and code not in (
        "temporarily_unavailable",
        "slow_down",
        "server_error",
    )
    raise ProviderError(f"it refused with {code or 'no reason'}", code=code, is_final=is_final)


def _token(members: Mapping[str, Any], name: str) -> str | None:
    """Return a token; one that could not be put into a header counts as none."""
    value = members.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TOKEN:
        return None
    return value if value.isascii() and value.isprintable() and " " not in value else None


def _expiry(members: Mapping[str, Any]) -> float | None:
    seconds: Any = members.get("expires_in")
    if isinstance(seconds, str) and re.fullmatch(r"[0-9]{1,10}", seconds):
        seconds = int(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return None
    return time.time() + min(max(float(seconds), 0.0), _LONGEST_LIFE)


def _scopes(value: object, separator: str) -> tuple[str, ...] | None:
    """Return the scopes of a response, which are shown to users and models; None if it does not name any.

    What cannot be a scope (RFC 6749 §3.3) is left out.
    """
    if isinstance(value, str):
        named: list[Any] = value.replace(separator, " ").split()
    elif isinstance(value, list):
        named = value
    else:
        return None
    scopes = [scope for scope in named if isinstance(scope, str) and _SCOPE.fullmatch(scope)]
    return tuple(dict.fromkeys(scopes))[:_MOST_SCOPES]
