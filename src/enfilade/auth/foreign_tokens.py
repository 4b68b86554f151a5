"""Verifiers of users are asked here: what they return becomes a `Principal`, what they raise an error.

The official SDK and FastMCP have a class `AccessToken` each. They are known by their attributes, so that neither
needs to be installed.

Easy to get wrong: the token in what they raise (R-712). Libraries put what they could not read into the texts of
their exceptions, and tools that watch errors read the variables of each frame. So the log has the traceback as a
text without the token, and never the exception itself.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

import httpx
from pydantic import SecretStr

from enfilade.auth.claims import check_expiry, is_same_url
from enfilade.auth.errors import InvalidTokenError, ServerUnavailableError
from enfilade.auth.limits.request_limit import LoopLimits
from enfilade.serving.failures import LimitedLog, masked, stops
from enfilade.serving.principal import Principal, is_finite
from enfilade.serving.secrets import Redaction, token_values

#: Seconds that a verifier may take, and for which a token waits until it can be asked.
_LIMIT: Final = 10.0
_TURN_TIME: Final = 2.0

#: Calls of a verifier that run at a time in one event loop, and tokens that may wait.
_AT_ONCE, _MOST_WAITING = 20, 500

_excess_log: Final = LimitedLog(logging.getLogger("enfilade.auth"))

#: Characters of a verifier's own reason that a client reads; what a header can hold is up to `challenges.py`.
_LONGEST_REASON: Final = 300


def limits_of_calls() -> LoopLimits:
    """Return the limits for one verifier: what anybody can make it do at a time (R-714).

    Whoever invents tokens can have it called as often as it likes. The newest token is next, and waits for two
    seconds at most, so a token that is good is answered by the verifier or with 503, and soon.
    """
    return LoopLimits(_AT_ONCE, _MOST_WAITING)


async def ask_verifier(
    verifier: Any, token: str, resource: str, leeway: float, limits: LoopLimits | None = None
) -> Principal | None:
    """Return who presents a token, as a verifier of a user says; None if it does not know the token.

    Args:
        limits: of its calls; None for verifiers of our own, which need none or have some themselves.

    Raises:
        InvalidTokenError: the verifier refuses the token. Its reason has no part of the token.
        ServerUnavailableError: the verifier cannot be asked, or takes too long.
        RpcError: HTTP 500 with an id under which the log has the traceback: it has failed.
    """
    name = type(verifier).__name__
    try:
        verified = await _verified(verifier, token, limits)
        return principal_of(verified, resource, leeway, token=token, verifier=verifier)
    except InvalidTokenError as error:
        raise InvalidTokenError(without_token(token).text(error.reason)[:_LONGEST_REASON]) from None
    except ServerUnavailableError as error:
        raise ServerUnavailableError(without_token(token).text(str(error)), error.retry_after) from None
    except (OSError, httpx.TransportError) as error:  # its own way to whoever knows is cut off
        raise ServerUnavailableError(f"{name} cannot be asked ({type(error).__name__})") from None
    except BaseException as error:
        if stops(error):
            raise
        failure = masked(error, f"verify_token of {name} failed", without_token(token), as_text=True)
        failure.status = failure.status or 500
        raise failure from None


async def _verified(verifier: Any, token: str, limits: LoopLimits | None) -> object:
    """Return what a verifier returns for a token, when it is the token's turn.

    Raises:
        ServerUnavailableError: its turn has not come in time, or the verifier takes too long.
    """
    name = type(verifier).__name__
    limit = None if limits is None else limits.current()
    if limit is not None and not await limit.take(_TURN_TIME):
        _excess_log.write(logging.WARNING, "more tokens are presented than %s can verify in time", name)
        raise ServerUnavailableError(f"{name} is busy", _TURN_TIME)
    try:
        async with asyncio.timeout(_LIMIT):
            return await verifier.verify_token(token)
    except TimeoutError:
        raise ServerUnavailableError(f"{name} did not answer in time") from None
    finally:
        if limit is not None:
            limit.release()


def without_token(token: str) -> Redaction:
    """Return what masks a token and its parts."""
    return Redaction(token_values(token))


def principal_of(
    verified: object, resource: str, leeway: float, *, token: str, verifier: object
) -> Principal | None:
    """Return who presents a token, as a verifier says.

    Args:
        verified: what `verify_token` has returned.
        resource: the URL of this endpoint.
        leeway: seconds by which the clock of whoever has set `expires_at` may differ.
        token: the token that was verified.
        verifier: whose `verify_token` it was, for errors.

    Raises:
        InvalidTokenError: what it says has expired, or is meant for another endpoint.
        TypeError: it is nothing that a verifier may return.
    """
    if verified is None:
        return None
    if isinstance(verified, Principal):
        principal = verified
    elif all(hasattr(verified, name) for name in ("token", "client_id", "scopes")):
        principal = _from_access_token(verified, resource, token, type(verifier).__name__)
    else:
        raise TypeError(
            f"verify_token of {type(verifier).__name__} has returned {type(verified).__name__}: a verifier "
            "returns a Principal, an AccessToken of the official SDK or of FastMCP, or None"
        )
    check_expiry(principal.expires_at, leeway)
    return principal


def _from_access_token(access: Any, resource: str, token: str, verifier: str) -> Principal:
    scopes, claims = access.scopes, getattr(access, "claims", None)
    if scopes is None:
        scopes = ()
    if not isinstance(scopes, list | tuple | set | frozenset) or not all(isinstance(s, str) for s in scopes):
        raise _wrong(verifier, "scopes", "a list of texts")
    if not isinstance(claims, Mapping | None):
        raise _wrong(verifier, "claims", "a mapping")
    claims = dict(claims or {})
    audience = _text(access, "resource", verifier)
    if audience is not None and not is_same_url(audience, resource):
        raise InvalidTokenError("its audience is another one")
    subject = _text(access, "subject", verifier) or claims.get("sub")
    client_id = _text(access, "client_id", verifier)
    if subject is not None:
        claims["sub"] = subject  # there is a user, even one with the id of a client
    issuer = claims.get("iss")
    return Principal(
        subject=_subject(subject or client_id, verifier),
        issuer=issuer if isinstance(issuer, str) else None,
        client_id=client_id,
        scopes=frozenset(scopes),
        claims=claims,
        expires_at=_expires_at(access, verifier),
        access_token=SecretStr(token),
    )


def _subject(subject: object, verifier: str) -> str:
    if not isinstance(subject, str) or not subject:
        raise _wrong(verifier, "subject or client_id", "a text with something in it")
    return subject


def _text(access: Any, name: str, verifier: str) -> str | None:
    value = getattr(access, name, None)
    if not isinstance(value, str | None):
        raise _wrong(verifier, name, "a text or None")
    return value or None


def _expires_at(access: Any, verifier: str) -> float | None:
    value = getattr(access, "expires_at", None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(verifier, "expires_at", "a number of seconds since 1970, or None")
    if not is_finite(value):
        raise _wrong(verifier, "expires_at", "a finite number; None is for a token that does not expire")
    return float(value)


def _wrong(verifier: str, name: str, needed: str) -> TypeError:
    return TypeError(f"verify_token of {verifier} has returned an AccessToken whose {name} is not {needed}")
