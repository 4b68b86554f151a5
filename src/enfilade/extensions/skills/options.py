"""The options of a registration of skills."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from enfilade.extensions.skills.definition import SkillError, check_file_name
from enfilade.extensions.skills.served import Options
from enfilade.primitives.access import read_access
from enfilade.primitives.metadata import Caching

if TYPE_CHECKING:
    from enfilade.primitives.access import Visible
    from enfilade.wire.message import CacheScope

#: Segments that a prefix may have.
_MOST_SEGMENTS = 16


class SkillOptions(TypedDict, total=False):
    """What `app.add_skills`, `app.add_skill` and `@app.skill` take."""

    prefix: str
    """What comes before the name in the URI: `acme/billing`, as in `skill://acme/billing/refunds/SKILL.md`."""
    requires_scopes: Iterable[str]
    """What its readers must be allowed: scopes of OAuth, all of them."""
    visible: Visible | None
    """Whether it is there for a caller: `def visible(principal: Principal | None, peer: Peer) -> bool`."""
    ttl: float
    """Seconds for which clients may keep an entry or a file; 0 by default."""
    cache_scope: CacheScope
    """`public` only if it is the same for everybody; `private` by default."""


class GeneratedSkillOptions(SkillOptions, total=False):
    """What `@app.skill` takes."""

    name: str | None
    """Its name; by default that of the function, with hyphens."""
    description: str | None
    """What it does and when to use it; by default the docstring's text."""
    front_matter: Mapping[str, Any] | None
    """Further members of the front matter, such as `license`, as JSON has them."""


def read_options(label: str, options: SkillOptions) -> Options:
    """Return the options of a registration, checked.

    Args:
        label: what errors call it.

    Raises:
        TypeError, ValueError: one of them cannot be; the text says which.
    """
    names = SkillOptions.__optional_keys__
    if unknown := sorted(options.keys() - names):
        raise TypeError(f"{label}: there is no option {unknown[0]!r}; there are {', '.join(sorted(names))}")
    access = read_access(label, options.get("requires_scopes"), options.get("visible"))
    caching = Caching(options.get("ttl", 0), options.get("cache_scope", "private"))
    if access is not None and caching.scope == "public":
        raise ValueError(
            f'{label}: cache_scope="public" lets proxies hand it to anybody, and it has requires_scopes or '
            "visible; leave one of them out"
        )
    return Options(_read_prefix(label, options.get("prefix", "")), access, caching)


def _read_prefix(label: str, prefix: object) -> str:
    if not isinstance(prefix, str):
        raise TypeError(f"{label}: prefix is a text, not {prefix!r}")
    trimmed = prefix.strip("/")
    try:
        segments = trimmed.split("/") if trimmed else []
        if len(segments) > _MOST_SEGMENTS:
            raise SkillError("place", "too many segments")
        for segment in segments:
            check_file_name(segment)
    except SkillError:
        example = f"at most {_MOST_SEGMENTS} segments of a URI, such as acme/billing"
        raise ValueError(f"{label}: prefix is {example}, not {prefix!r}") from None
    return trimmed
