"""A real token: its signature by the keys of its issuer, and what it says beside what the server's metadata say.

It is checked as a `ResourceServer` checks it, one line for each part, by the same code for tokens and keys. What
only the configuration of the server says, such as other audiences or a hierarchy of scopes, is not known here.

Easy to get wrong: showing it. Only the claims that decide about access are shown, never the token, its signature
or other claims, which may hold personal data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from enfilade.auth.compact_token import CompactToken, read_token
from enfilade.auth.errors import InvalidTokenError
from enfilade.auth.jwks import read_keys
from enfilade.auth.jwt import TYPES
from enfilade.auth.servers import ALGORITHMS
from enfilade.auth.urls import normalized
from enfilade.lint.authorization.report import Step, quoted

_MINUTE: Final = 60
#: Seconds of `leeway=` by default.
_LEEWAY: Final = 30


@dataclass
class Expected:
    """What a token should have.

    Attributes:
        url: the endpoint.
        issuers: the issuers that the metadata lists.
        scopes: the scopes of the challenge.
        keys: the keys that each issuer publishes.
    """

    url: str
    issuers: Sequence[str] = ()
    scopes: Sequence[str] = ()
    keys: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    now: Callable[[], float] = field(default=time.time)


def judge_token(step: Step, token: str, expected: Expected) -> None:
    """Judge the claims of a token, if it is a JSON Web Token."""
    try:
        parts = read_token(token)
    except InvalidTokenError:
        step.ok(
            "the token is opaque: its issuer, audience, expiry and scopes are not known here, and it has no "
            "signature; only its authorization server knows what it says"
        )
        return
    claims = parts.claims
    _judge_header(step, parts.header)
    _judge_signature(step, parts, expected)
    _judge_issuer(step, claims, expected)
    _judge_audience(step, claims, expected)
    _judge_times(step, claims, expected.now())
    _judge_scopes(step, claims, expected)
    if not any(isinstance(claims.get(name), str) for name in ("sub", "client_id")):
        step.problem("the token has neither sub nor client_id", "let the authorization server add one of them")


def _judge_header(step: Step, header: dict[str, Any]) -> None:
    algorithm, kind = header.get("alg"), header.get("typ", "JWT")
    if algorithm not in ALGORITHMS:
        step.problem(
            f"the token is signed by {quoted(algorithm)}",
            f"let the authorization server sign by one of {', '.join(ALGORITHMS)}",
        )
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in TYPES:
        step.problem(f"its typ is {quoted(kind)}, not that of an access token", "send an access token")


def _judge_signature(step: Step, token: CompactToken, expected: Expected) -> None:
    """Judge the signature by the keys of the issuer that the token names, and by no others."""
    issuer, algorithm, kid = token.claims.get("iss"), token.header.get("alg"), token.header.get("kid")
    published = expected.keys.get(issuer) if isinstance(issuer, str) else None
    if algorithm not in ALGORITHMS:
        return
    if not published:
        step.warning(
            f"signed by {algorithm}; the signature is not checked: no keys of {quoted(issuer)} are known here",
            "see above whether the server trusts this issuer, and what its keys are",
        )
        return
    keys = read_keys({"keys": list(published)}, "the JWKS") or []
    named = [key for key in keys if kid is None or key.kid == kid]
    fitting = [key for key in named if algorithm in key.algorithms]
    if not named:
        step.problem(
            f"the token's key {quoted(kid)} is not among the keys of {quoted(issuer)}",
            "get a new token; if that has the same key, the server publishes other keys than it signs with",
        )
    elif not fitting or (kid is None and len(fitting) > 1):
        step.problem(
            f"{len(fitting)} keys of {quoted(issuer)} fit the token, which names {quoted(kid)} and {algorithm}",
            "let the authorization server put the id of its key (kid) into its tokens, and its alg into the key",
        )
    elif any(key.verifies(algorithm, token.signed, token.signature) for key in fitting):
        step.ok(f"signature: good, by {algorithm} and a key of {quoted(issuer)}")
    else:
        step.problem(
            f"the signature is wrong: no key of {quoted(issuer)} has made it",
            "get a new token; this one was changed, or somebody else has made it",
        )


def _judge_issuer(step: Step, claims: dict[str, Any], expected: Expected) -> None:
    issuer = claims.get("iss")
    if issuer in expected.issuers:
        step.ok(f"issuer: {quoted(issuer)}")
    elif expected.issuers:
        step.problem(
            f"the issuer is {quoted(issuer)}, and the server trusts {quoted(', '.join(expected.issuers))}",
            "get the token from one of these",
        )


def _judge_audience(step: Step, claims: dict[str, Any], expected: Expected) -> None:
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    if normalized(expected.url) in [normalized(value) for value in audiences if isinstance(value, str)]:
        step.ok(f"audience: {quoted(audience)}")
        return
    step.problem(
        f"the audience is {quoted(audience)}, not {expected.url}" if audiences else "the token has no audience",
        f"ask for it with resource={expected.url}, or have the server accept this audience",
    )


def _judge_times(step: Step, claims: dict[str, Any], now: float) -> None:
    expiry, start = claims.get("exp"), claims.get("nbf")
    if not _is_time(expiry):
        step.problem("the token has no expiry", "let the authorization server add exp: servers want one")
    elif expiry <= now < expiry + _LEEWAY:
        step.warning(
            f"it expired {_span(now - expiry)} ago, within the {_LEEWAY} s by which clocks may differ",
            "get a new token",
        )
    elif expiry <= now:
        step.problem(f"it expired {_span(now - expiry)} ago", "get a new token")
    else:
        step.ok(f"expires in {_span(expiry - now)}")
    if _is_time(start) and start > now + _LEEWAY:
        step.problem(f"it begins to be valid in {_span(start - now)}", "compare the clocks of both servers")


def _is_time(value: Any) -> TypeGuard[float]:
    """Whether a claim is a time, in seconds since 1970."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12


def _span(seconds: float) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def _judge_scopes(step: Step, claims: dict[str, Any], expected: Expected) -> None:
    value = claims.get("scope", claims.get("scp", ""))
    names = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    scopes = [name for name in names if isinstance(name, str)]
    step.ok(f"scopes: {quoted(' '.join(scopes)) or 'none'}")
    missing = [scope for scope in expected.scopes if scope not in scopes]
    if missing:
        step.warning(
            f"the challenge asks for more: {quoted(' '.join(missing))}",
            "get a token with these scopes, unless another of its scopes implies them",
        )
