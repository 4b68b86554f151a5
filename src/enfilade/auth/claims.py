"""What a token says, checked: its times, whom it is meant for, who presents it, and what for.

For JWTs and for introspection responses, which have the same claims (RFC 7519 §4.1, RFC 7662 §2.2, RFC 9068).
"""

import math
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from pydantic import SecretStr

from enfilade.auth.errors import InvalidTokenError
from enfilade.auth.urls import normalized
from enfilade.primitives.values.json_encoding import is_unicode
from enfilade.serving.principal import CLIENT_CLAIMS, Principal

Claims = Mapping[str, Any]
_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:"


def principal_from(claims: Claims, issuer: str, token: str) -> Principal:
    """Return who presents a token whose claims are checked.

    Raises:
        InvalidTokenError: it says neither user nor client, or not in texts.
    """
    subject, client_id = text_claim(claims, "sub"), text_claim(claims, "client_id")
    identity = subject or client_id
    if identity is None:
        raise InvalidTokenError("it has neither sub nor client_id")
    names = [claims.get(name) for name in CLIENT_CLAIMS[1:]]
    other_name = next((name for name in names if isinstance(name, str) and name and is_unicode(name)), None)
    return Principal(
        subject=identity,
        issuer=issuer,
        # The other names (`azp`) are of the client that a token is for. They do not say who calls.
        client_id=client_id or other_name,
        scopes=scopes_of(claims),
        claims=claims,
        expires_at=seconds_claim(claims, "exp"),
        access_token=SecretStr(token),
    )


def check_times(claims: Claims, leeway: float) -> None:
    """Refuse a token that has expired or is not yet valid.

    Args:
        leeway: seconds by which the clock of the issuer may differ.

    Raises:
        InvalidTokenError: it is not valid now, or one of its times is none.
    """
    expires_at, begins_at = seconds_claim(claims, "exp"), seconds_claim(claims, "nbf")
    seconds_claim(claims, "iat")
    check_expiry(expires_at, leeway)
    if begins_at is not None and begins_at - leeway > time.time():
        raise InvalidTokenError("it is not yet valid")


def check_expiry(expires_at: float | None, leeway: float) -> None:
    """Refuse what has expired: the one rule for tokens, API keys and whatever else says `expires_at`.

    It is good for `leeway` seconds longer than it says, and so is all that is remembered of it. The streams of
    its principal end at the same moment (`Listener.end_with`).

    Raises:
        InvalidTokenError: its time is over.
    """
    if expires_at is not None and expires_at + leeway <= time.time():
        raise InvalidTokenError("it has expired")


def check_audience(claims: Claims, resource: str | None, others: Collection[str]) -> None:
    """Refuse a token that is meant for somebody else (R-609, X-AUTH-40).

    Args:
        resource: the URL of this endpoint, compared normalized (R-612).
        others: audiences that are accepted besides.

    Raises:
        InvalidTokenError: its `aud` is missing, is no text and no list of texts, or has none of these.
    """
    audience = claims.get("aud")
    names = audience if isinstance(audience, list) else [audience]
    texts = [name for name in names if isinstance(name, str)]
    if not texts or len(texts) < len(names):
        raise InvalidTokenError("it has no audience")
    if not any(name in others or is_same_url(name, resource) for name in texts):
        raise InvalidTokenError("its audience is another one")


def is_same_url(url: str, resource: str | None) -> bool:
    """Whether a URL is that of this endpoint; one with a fragment is not."""
    return resource is not None and "#" not in url and normalized(url) == normalized(resource)


#: What introspection calls access tokens in `token_type`, and JWTs of several servers as well.
_ACCESS_TOKENS: Final = {"bearer", "dpop", "pop", "n_a", "access", "access_token", "jwt", "at+jwt"}
#: Tokens of other kinds, as claims of several servers name them.
_OTHER_TOKENS: Final = {
    *("refresh", "refresh_token", "offline", "id", "id_token", "logout", "logout_token", "authorization_code"),
    *("initialaccesstoken", "registrationaccesstoken", "device_code", "user_code", "state_token", "id_jag"),
}


def check_kind(claims: Claims) -> None:
    """Refuse what says that it is a refresh, ID, logout or other token: the same for JWTs and for introspection.

    A server signs ID and logout tokens with the same keys, and its refresh tokens are active as well (RFC 7662
    §2.2). `typ` is Keycloak's name for the kind, `token_use` that of Cognito and Hydra,
    `token_usage` that of OpenIddict. Events are those of security event tokens (RFC 8417 §2.2), of which logout
    tokens are some.

    Raises:
        InvalidTokenError: it is no access token.
    """
    kind = text_claim(claims, "token_type")
    kinds = {_kind(text) for name in ("typ", "token_use", "token_usage") for text in _texts(claims.get(name))}
    if kinds & _OTHER_TOKENS or (kind is not None and _kind(kind) not in _ACCESS_TOKENS):
        raise InvalidTokenError("it is no access token")
    if isinstance(claims.get("events"), dict):
        raise InvalidTokenError("it is no access token but one of events")


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def _kind(text: str) -> str:
    return text.strip().lower().removeprefix(_TOKEN_TYPE).replace("-", "_").replace(" ", "_")


def scopes_of(claims: Claims) -> frozenset[str]:
    """Return the scopes: `scope` (RFC 9068), else `scp`, which Okta and Entra ID have; each a text or a list.

    Raises:
        InvalidTokenError: they are no texts.
    """
    name = "scope" if "scope" in claims else "scp"
    value = claims.get(name, "")
    scopes = value.split(" ") if isinstance(value, str) else value  # at no other space (RFC 6749 §3.3)
    if not isinstance(scopes, list) or not all(isinstance(scope, str) and is_unicode(scope) for scope in scopes):
        raise InvalidTokenError(f"its {name} is neither a text nor a list of texts")
    return frozenset(scope for scope in scopes if scope)


def text_claim(claims: Claims, name: str) -> str | None:
    """Return a claim that is a text with something in it, or None if it is not there.

    Raises:
        InvalidTokenError: it is anything else.
    """
    if name not in claims:
        return None
    value = claims[name]
    if not isinstance(value, str) or not value or not is_unicode(value):
        raise InvalidTokenError(f"its {name} is no text")
    return value


def seconds_claim(claims: Claims, name: str) -> float | None:
    """Return a claim that is a time, in seconds since 1970, or None if it is not there.

    Raises:
        InvalidTokenError: it is anything else.
    """
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTokenError(f"its {name} is no number")
    try:
        seconds = float(value)
    except OverflowError:  # an integer of 309 digits and more
        seconds = math.inf
    if not math.isfinite(seconds):
        raise InvalidTokenError(f"its {name} is no time")
    return seconds
