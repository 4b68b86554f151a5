"""What lives behind a `store=` URL, as protocols that each kind of store fulfils.

A store that fails raises; whoever asked decides what that costs (one request, never the server).
"""

from typing import Protocol


class Keys(Protocol):
    """Small values by key, each with an end of life."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None if it was never put, was deleted or has expired."""
        ...

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Keep `value` for `ttl` seconds, in place of an earlier one."""
        ...

    async def delete(self, key: str) -> None:
        """Forget the key; unknown keys are fine."""
        ...


def open_store(url: str) -> Keys:
    """Return the store that a URL names.

    Args:
        url: `memory://`: kept in this process, lost with it.

    Raises:
        ValueError: no such kind of store.
    """
    scheme = url.partition("://")[0]
    if scheme == "memory":
        from enfilade.state.memory import MemoryKeys

        return MemoryKeys()
    raise ValueError(f"store={url!r}: unknown kind of store {scheme!r}; use memory://")
