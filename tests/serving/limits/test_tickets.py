"""Calls that wait: how often they ask the store, and what they do when nobody tells them of a slot."""

import asyncio
from collections import Counter

import pytest

from enfilade.serving.limits.tickets import Tickets
from enfilade.state.limits.claims import Claim, Decision, Slots
from enfilade.state.memory import MemoryStore
from enfilade.state.store import LogLimits
from enfilade.timings import Timings
from support.waiting import until

pytestmark = pytest.mark.anyio

WAITING = 60


class Waiters:
    """Calls that wait for slots that others have.

    Attributes:
        asked: how often each ticket asked the store.
        ready: tickets that have slots.
    """

    def __init__(self, limit: int) -> None:
        self.slots = [Slots("limit_slots:x", limit, True)]
        self.limits = MemoryStore(LogLimits()).limits
        self.asked: Counter[str] = Counter()
        self.ready: list[str] = []
        self._admit = self.limits.admit
        self.limits.admit = self._counted  # type: ignore[method-assign]
        store = MemoryStore(LogLimits())
        store._call_limits = self.limits
        self.tickets = Tickets(lambda: store, Timings(poll_interval=0.01))

    async def _counted(self, claim: Claim) -> Decision:
        self.asked[claim.ticket] += 1
        return await self._admit(claim)

    async def take(self) -> None:
        ticket, refused = await self.tickets.take(self.slots, [], queues=True, max_wait=60)
        assert refused is None
        self.ready.append(ticket)


async def test_of_a_long_queue_the_first_ask() -> None:
    waiters = Waiters(1)
    await waiters.take()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(waiters.take()) for _ in range(WAITING)]
        await until(lambda: len(waiters.asked) == WAITING + 1)
        first = list(waiters.asked)[1]
        await until(lambda: waiters.asked[first] > 10)
        assert sum(times > 1 for times in waiters.asked.values()) < 10
        for task in waiting:
            task.cancel()
    assert not waiters.tickets._queues


async def test_slots_that_nobody_told_of_are_found() -> None:
    waiters = Waiters(3)
    for _ in range(3):
        await waiters.take()
    held = list(waiters.ready)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(9):
            tasks.create_task(waiters.take())
        await until(lambda: len(waiters.asked) == 12)
        while len(waiters.ready) < 12:  # as another worker does it whose messages are lost
            before = len(waiters.ready)
            for ticket in held:
                await waiters.limits.release(ticket, waiters.slots)
            await until(lambda: len(waiters.ready) == before + 3)
            held = waiters.ready[before:]
