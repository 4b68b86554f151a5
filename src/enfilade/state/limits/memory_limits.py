"""Limits of one process, in a dict."""

import time
from collections.abc import Sequence
from typing import Protocol

from enfilade.state.limits.claims import Claim, Decision, Slots
from enfilade.state.limits.decisions import decide, release, renew


class Values(Protocol):
    """Values by key in this process: `MemoryKeys`, which bounds their number."""

    def value_of(self, key: str) -> bytes | None:
        """Return the value; None if there is none, or it has expired."""
        ...

    def put_now(self, key: str, value: bytes, ttl: float | None) -> None:
        """Store a value for some seconds."""
        ...

    def put_owned(self, key: str, value: bytes, ttl: float, owner: str, evicts: bool) -> None:
        """Store a value in the share of its owner."""
        ...

    def delete_now(self, key: str) -> None:
        """Delete a value, if there is one."""
        ...


class MemoryLimits:
    """`Limits` in this process. Nothing is awaited, so a decision is one step."""

    is_local = True

    def __init__(self, values: Values) -> None:
        self.values = values
        self._table = MemoryTable(values)

    async def admit(self, claim: Claim) -> Decision:
        return decide(self._table, claim, time.monotonic())

    async def release(self, ticket: str, slots: Sequence[Slots]) -> list[str]:
        return release(self._table, ticket, slots)

    async def renew(self, worker: str, lease: float) -> None:
        renew(self._table, worker, lease)


class MemoryTable:
    """`Table` on values in memory."""

    def __init__(self, values: Values) -> None:
        self.get = values.value_of
        self.put = values.put_now
        self.put_owned = values.put_owned
        self.delete = values.delete_now
