"""Caching hints: for how long clients may keep what they were told, and whether they may share it.

Easy to get wrong: `public` allows a proxy to hand the result to anybody, under any credentials (R-2A3). So it is
never a default, and nothing that depends on who asks may have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from enfilade.wire.message import CacheableResult, CacheScope

R = TypeVar("R", bound=CacheableResult)


class Caching(Struct, frozen=True):
    """How a result may be cached by clients of 2026-07-28 and later.

    Attributes:
        ttl: seconds for which it may be reused; 0 for not at all.
        scope: `public` only for what is the same for everybody.

    Raises:
        ValueError: the time is negative, or the scope is unknown.
    """

    ttl: float = 0
    scope: CacheScope = "private"

    def __post_init__(self) -> None:
        if not 0 <= self.ttl < float("inf"):
            raise ValueError(f"ttl is a number of seconds, 0 or more, not {self.ttl}")
        if self.scope not in ("public", "private"):
            raise ValueError(f'a cache scope is "public" or "private", not {self.scope!r}')

    def on(self, result: R) -> R:
        """Return the result with these hints (R-2A0)."""
        return replace(result, ttl_ms=round(self.ttl * 1000), cache_scope=self.scope)


NEVER = Caching()

#: The lists that hints can be given for (R-2A0).
_LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")


def check_cacheable(caching: Mapping[str, Caching]) -> Mapping[str, Caching]:
    """Return hints by method.

    Raises:
        ValueError: one is for a method whose result cannot be cached.
    """
    for method in caching:
        if method not in _LISTS:
            raise ValueError(f"caching: {method!r} is none of the lists: {', '.join(_LISTS)}")
    return caching
