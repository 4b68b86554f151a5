"""Queues of slots decide what a plain list would, whatever happens in which order, and length costs nothing."""

import random
import re
from collections.abc import Awaitable, Callable

import pytest

from enfilade.state.limits.claims import Claim, Decision, Granted, Limits, Queued, Slots, limits_of, worker_of
from enfilade.state.limits.decisions import decide, release, renew
from enfilade.state.limits.redis_limits import RedisLimits
from enfilade.state.store import Store
from support.stores.kinds import Open

pytestmark = pytest.mark.anyio

WORKERS = "abc"


class ListLimits:
    """Slots with a queue that is a list, as short as it can be said."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.holders: list[str] = []
        self.queue: list[str] = []
        self.living = set(WORKERS)

    def admit(self, ticket: str) -> Decision:
        if ticket in self.holders:
            return Granted()
        self.queue = self._alive(self.queue)
        if self.queue or len(self.holders) >= self.limit:
            self.holders = self._alive(self.holders)
        if ticket not in self.queue:
            self.queue.append(ticket)
        if len(self.holders) + self.queue.index(ticket) >= self.limit:
            return Queued(0)
        self.queue.remove(ticket)
        self.holders.append(ticket)
        return Granted()

    def release(self, ticket: str) -> list[str]:
        self.holders = [holder for holder in self.holders if holder != ticket]
        self.queue = [waiting for waiting in self._alive(self.queue) if waiting != ticket]
        granted = self.queue[: max(0, self.limit - len(self.holders))]
        self.queue = self.queue[len(granted) :]
        self.holders += granted
        return granted

    def _alive(self, tickets: list[str]) -> list[str]:
        return [ticket for ticket in tickets if worker_of(ticket) in self.living]


class Table:
    """A table in a dict, which counts its steps and the bytes that are written and read."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.steps = 0
        self.bytes = 0

    def get(self, key: str) -> bytes | None:
        value = self.values.get(key)
        self.steps += 1
        self.bytes += len(value or b"")
        return value

    def put(self, key: str, value: bytes, _ttl: float) -> None:
        self.steps += 1
        self.bytes += len(value)
        self.values[key] = value

    def delete(self, key: str) -> None:
        self.steps += 1
        self.values.pop(key, None)


class TableLimits:
    """`Limits` in such a table."""

    is_local = True

    def __init__(self) -> None:
        self.table = Table()

    async def admit(self, claim: Claim) -> Decision:
        return decide(self.table, claim, 0.0)

    async def release(self, ticket: str, slots: tuple[Slots, ...]) -> list[str]:
        return release(self.table, ticket, slots)

    async def renew(self, worker: str, lease: float) -> None:
        renew(self.table, worker, lease)


async def compare(limits: Limits, seed: int, events: int) -> None:
    """Let the same random events happen to a queue and to a list."""
    chance = random.Random(seed)
    limit = chance.randint(1, 4)
    slots = (Slots(f"limit_slots:random{seed}", limit),)
    plain = ListLimits(limit)
    for worker in WORKERS:
        await limits.renew(worker, 1000)
    tickets: list[str] = []
    for number in range(events):
        event = chance.random()
        living = [ticket for ticket in tickets if worker_of(ticket) in plain.living]
        if event < 0.4 or not living:
            tickets.append(f"{chance.choice(sorted(plain.living))}.{number}")
            asking = tickets[-1]
        elif event < 0.98 or len(plain.living) == 1:
            asking = chance.choice(living)
        else:
            worker = chance.choice(sorted(plain.living))
            plain.living.discard(worker)
            await limits.renew(worker, 0)
            continue
        if event < 0.65:
            assert await limits.admit(Claim(ticket=asking, slots=slots, may_queue=True)) == plain.admit(asking)
        else:
            tickets.remove(asking)
            assert await limits.release(asking, slots) == plain.release(asking)
    for ticket in tickets:
        if worker_of(ticket) in plain.living:
            assert await limits.release(ticket, slots) == plain.release(ticket)
    last = f"{min(plain.living)}.last"
    assert await limits.admit(Claim(ticket=last, slots=slots, may_queue=True)) == Granted()
    await limits.release(last, slots)


async def test_a_queue_decides_as_a_list_would() -> None:
    for seed in range(400):
        limits = TableLimits()
        await compare(limits, seed, 120)
        places = [key for key in limits.table.values if re.match("limit_slots:.*:", key)]
        assert not places, "nobody waits any more"


async def test_a_queue_of_each_store_decides_as_a_list_would(store: Store) -> None:
    limits = limits_of(store)
    for seed in range(1000, 1006):
        await compare(limits, seed, 120)


# -- the cost of a long queue ------------------------------------------------------------------------------------

ONE = (Slots("limit_slots:long", 1),)


async def costs(limits: Limits, cost: Callable[[], Awaitable[int]], length: int) -> list[int]:
    """Return what it costs to join, to ask, to leave from the middle and to release, while so many wait."""

    def claim(number: int) -> Claim:
        return Claim(ticket=f"a.{number}", slots=ONE, may_queue=True)

    await limits.renew("a", 1000)
    for number in range(1000, 1000 + length):
        await limits.admit(claim(number))
    found = []
    for event in (
        lambda: limits.admit(claim(9000)),
        lambda: limits.admit(claim(1001)),
        lambda: limits.release(f"a.{1000 + length // 2}", ONE),
        lambda: limits.release("a.1000", ONE),
    ):
        before = await cost()
        await event()
        found.append(await cost() - before)
    return found


async def test_the_length_of_a_queue_costs_no_steps_and_no_bytes() -> None:
    for count in ("steps", "bytes"):
        found = []
        for length in (10, 3000):
            limits = TableLimits()

            async def cost(table: Table = limits.table, name: str = count) -> int:
                return int(getattr(table, name))

            found.append(await costs(limits, cost, length))
        assert found[0] == found[1]
        assert max(found[1]) <= (12 if count == "steps" else 300)


async def test_the_length_of_a_queue_costs_redis_no_commands(valkey_url: str, opened: Open) -> None:
    found = []
    for length in (10, 3000):
        limits = limits_of(await opened(f"{valkey_url}{length}:"))
        assert isinstance(limits, RedisLimits)
        commands = limits._connections.commands

        async def cost(commands: object = commands) -> int:
            [reply] = await commands.execute((b"INFO", b"commandstats"))  # type: ignore[attr-defined]
            calls = re.findall(rb"cmdstat_(?:get|set|del|exists):calls=(\d+)", reply)
            return sum(map(int, calls))

        found.append(await costs(limits, cost, length))
    assert found[0] == found[1]
    assert max(found[1]) <= 12
