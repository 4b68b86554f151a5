"""`Principal`: who calls, as a token, an API key or the host's authentication says."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic import SecretStr

#: Claims that name the client of a token: that of RFC 9068, and those of OpenID Connect and of Okta.
CLIENT_CLAIMS: Final = ("client_id", "azp", "cid")


@dataclass(frozen=True, slots=True, repr=False)
class Principal:
    """Who calls: a user, or a client that acts for itself.

    Args:
        subject: the user's id at its issuer (the claim `sub`), or the client's id where there is no user.
        issuer: the URL of the authorization server that says so; None for API keys and for users of a host.
        client_id: the OAuth client that the user calls with.
        scopes: what the caller may do.
        claims: what the token says beyond that; read-only, and what is in it is a copy.
        expires_at: seconds since the epoch at which the token expires; None if it does not.
        access_token: the token itself, hidden in texts. It is meant for this server alone and is never sent to
            another one (R-610); only a token exchange may use it.

    Raises:
        TypeError, ValueError: the subject is no text or is empty, issuer or client id are no texts, `scopes` are
            one text or not all texts, `expires_at` is no finite number, or `claims` are no mapping of names or
            are nested too deeply to be copied.
    """

    subject: str
    issuer: str | None = None
    client_id: str | None = None
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict)
    expires_at: float | None = None
    access_token: SecretStr | None = None
    key: str = field(init=False, compare=False)
    """What no other principal has: the same subject of another issuer has another key, and so has a client that
    acts for itself with the subject of a user. A user whom a token calls by the id of its client is that client:
    nothing in it tells them apart (RFC 9068 §5)."""

    def __post_init__(self) -> None:
        if not isinstance(self.subject, str):
            raise TypeError(f"the subject of a Principal is a text, not {type(self.subject).__name__}")
        if not self.subject:
            raise ValueError("the subject of a Principal is empty; leave the principal out for nobody")
        for name, value in (("issuer", self.issuer), ("client_id", self.client_id)):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} of a Principal is a text or None, not {type(value).__name__}")
        if not isinstance(self.claims, Mapping):
            raise TypeError(f"claims of a Principal are a mapping of names, not {type(self.claims).__name__}")
        if self.expires_at is not None and not is_finite(self.expires_at):
            raise ValueError(f"expires_at of a Principal is a finite number or None, not {self.expires_at!r}")
        object.__setattr__(self, "scopes", _scopes(self.scopes))
        object.__setattr__(self, "claims", Claims(self.claims))
        object.__setattr__(self, "key", self._key())

    def _key(self) -> str:
        # A user of a host has the bare subject, unless that looks like a key of the other form.
        if self.issuer is None and not self._kind() and not self.subject.startswith("["):
            return self.subject
        return _joined(self.issuer, self.subject, *self._kind())

    def _kind(self) -> tuple[str, ...]:
        """Return what tells a client from a user: the two may have the same id.

        A token that a client got for itself has no `sub`, or the client's own id (RFC 9068 §2.2). A `sub` that a
        host or a verifier gives is a user's, unless the claims name the client as well.
        """
        if self.client_id != self.subject:
            return ()
        claims = self.claims
        is_client = "sub" not in claims or any(claims.get(name) == self.subject for name in CLIENT_CLAIMS)
        return ("client",) if is_client else ()

    def of(self, verifier: str) -> Principal:
        """Return this principal with a key that no other verifier gives, if no issuer makes it unique."""
        if self.issuer is not None:
            return self
        named = replace(self)
        object.__setattr__(named, "key", _joined(None, self.subject, *self._kind(), verifier))
        return named

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        """Return who it is, without claims and token: this may be written to a log."""
        issuer = "" if self.issuer is None else f", issuer={self.issuer!r}"
        return f"Principal({self.subject!r}{issuer}, scopes={sorted(self.scopes)!r})"


def is_finite(number: float) -> bool:
    """Whether a number is neither infinite nor none.

    Raises:
        TypeError: it is no number.
    """
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"a number of seconds is needed, not {type(number).__name__}")
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer of 309 digits and more
        return False


def _joined(*parts: str | None) -> str:
    """Return parts as one text that no other parts give."""
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))


class Claims(Mapping[str, Any]):
    """The claims of a token. Requests with one token share them, so lists and dicts are handed out as copies."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        try:
            copied = values._values if isinstance(values, Claims) else copy.deepcopy(dict(values))
        except RecursionError:
            raise ValueError("claims are nested too deeply") from None
        self._values: dict[str, Any] = copied

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        return copy.deepcopy(value) if isinstance(value, list | dict) else value

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        """Return the names alone: values may be private."""
        return f"<claims {', '.join(self._values)}>"


def _scopes(scopes: Iterable[str]) -> frozenset[str]:
    if isinstance(scopes, str):
        raise TypeError(f"scopes are a list of texts: scopes=[{scopes!r}]")
    if not isinstance(scopes, Iterable):
        raise TypeError(f"scopes of a Principal are a list of texts, not {type(scopes).__name__}")
    checked: list[str] = []
    for scope in scopes:  # before the set is made, as a list has no hash
        if not isinstance(scope, str):
            raise TypeError(f"scopes of a Principal are texts, and one of them is {type(scope).__name__}")
        checked.append(scope)
    return frozenset(checked)
