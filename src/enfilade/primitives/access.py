"""Who may see and use a tool, a resource, a template or a prompt: `requires_scopes=` and `visible=`, checked.

What they mean for a request is decided in `serving/callers/access.py`. Tokens of other services that a tool needs
of its caller, `requires_auth=`, name a provider by its id. Who has a client there, and where its endpoints are,
is known above, in `enfilade.auth`; the provider itself is carried along unread.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct

from enfilade.primitives.schema.signature import describe, is_async

#: Of the principal, None if nobody is known, and the client (a `Peer`).
Visible = Callable[[Any, Any], bool]

#: RFC 6749 §3.3: a scope is visible ASCII without quotation mark and backslash.
_SCOPE: Final = frozenset(map(chr, (0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F))))

#: Asks for refresh tokens; it is between client and authorization server, and never that of a resource (R-604).
_NEVER: Final = "offline_access"

_USAGE: Final = "def visible(principal: Principal | None, peer: Peer) -> bool"


class Access(Struct, frozen=True, eq=False):
    """Who may see and use an item.

    Attributes:
        scopes: all that a caller needs to use it.
        visible: whether it is there for a caller, of the principal and the client (a `Peer`); None for everybody.
    """

    scopes: tuple[str, ...] = ()
    visible: Visible | None = None


def read_access(label: str, requires_scopes: Iterable[str] | None, visible: Visible | None) -> Access | None:
    """Return who may see and use an item; None for everybody.

    Args:
        label: what errors call the item.

    Raises:
        TypeError: the scopes are one text, or `visible` is no plain function of two arguments.
        ValueError: one of the scopes cannot be one.
    """
    scopes = () if requires_scopes is None else _scopes(label, requires_scopes)
    if visible is not None:
        _check_visible(label, visible)
    return Access(scopes, visible) if scopes or visible is not None else None


def _scopes(label: str, scopes: Iterable[str]) -> tuple[str, ...]:
    try:
        return check_scopes(scopes, "requires_scopes")
    except (TypeError, ValueError) as error:
        raise type(error)(f"{label}: {error}") from None


def check_scopes(scopes: Iterable[str], name: str, *, of_others: bool = False) -> tuple[str, ...]:
    """Return scopes in order, each once.

    Args:
        name: the name of the argument, for errors.
        of_others: whether they are those of another server, of which `offline_access` may be asked.

    Raises:
        TypeError: it is no list of texts.
        ValueError: one of them cannot be a scope (RFC 6749 §3.3), or is `offline_access`.
    """
    if isinstance(scopes, str):
        raise TypeError(f"{name}= takes a list of scopes: [{scopes!r}]")
    if not isinstance(scopes, Iterable):
        raise TypeError(f"{name}= takes a list of scopes, not {scopes!r}")
    made = tuple(dict.fromkeys(scopes))
    for scope in made:
        if not isinstance(scope, str):
            raise TypeError(f"{name}= takes a list of texts, and {scope!r} is none")
        if not scope or not _SCOPE.issuperset(scope):
            raise ValueError(f'{scope!r} in {name}= is no scope: one word of visible ASCII without " and \\')
        if scope == _NEVER and not of_others:
            raise ValueError(f"{_NEVER} in {name}= asks an authorization server for refresh tokens; leave it out")
    return made


def _check_visible(label: str, visible: object) -> None:
    if not callable(visible):
        raise TypeError(f"{label}: visible is a function, {_USAGE}, not {visible!r}")
    name = describe(visible)
    if is_async(visible) or inspect.isgeneratorfunction(visible) or inspect.isasyncgenfunction(visible):
        raise TypeError(
            f"{label}: {name} decides at once who sees it, so it is a plain function, {_USAGE}; look up before, "
            "in middleware or at the login, what it needs to know"
        )
    try:
        inspect.signature(visible).bind(None, None)
    except TypeError:
        raise TypeError(f"{label}: {name} takes a principal and a peer by position: {_USAGE}") from None
    except ValueError:  # written in C, without a signature
        return


# -- tokens of other services -----------------------------------------------------------------------------------

#: Ids of providers.
PROVIDER_ID: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")

_AUTH_USAGE: Final = 'requires_auth takes a provider, such as GitHub(scopes=["repo"]), or a list of them'


class AuthRequirement(Struct, frozen=True):
    """The token that a tool needs of its caller.

    Attributes:
        provider: the id of the provider.
        title: its name for people.
        scopes: what the token must allow.
        definition: the provider, as `enfilade.auth` has it.
    """

    provider: str
    title: str
    scopes: tuple[str, ...] = ()
    definition: Any = None

    def __repr__(self) -> str:
        return f"{self.title}(scopes={list(self.scopes)!r})"


def read_requirements(label: str, requires_auth: object) -> tuple[AuthRequirement, ...]:
    """Return the tokens that a tool needs, one of each provider.

    Args:
        label: the function, for errors.
        requires_auth: a provider, a requirement, a list of these, or None.

    Raises:
        TypeError: it is something else.
        ValueError: a provider is named twice.
    """
    if requires_auth is None:
        return ()
    given = [requires_auth]
    if isinstance(requires_auth, Iterable) and not isinstance(requires_auth, str | bytes):
        given = list(requires_auth)
    requirements = tuple(_requirement(label, each) for each in given)
    ids = [requirement.provider for requirement in requirements]
    for id in ids:
        if ids.count(id) > 1:
            raise ValueError(f"{label}: requires_auth names {id} twice; give all its scopes in one")
    return requirements


def _requirement(label: str, given: object) -> AuthRequirement:
    if isinstance(given, AuthRequirement):
        return given
    make = getattr(given, "as_requirement", None)
    requirement = make() if callable(make) and not isinstance(given, type) else None
    if not isinstance(requirement, AuthRequirement):
        raise TypeError(f"{label}: {_AUTH_USAGE}, not {given!r}")
    return requirement
