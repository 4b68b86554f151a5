"""What every store must decide about limits of calls, whatever is behind it."""

import asyncio

import pytest

from enfilade.state.limits.claims import (
    Claim,
    Decision,
    Granted,
    Limits,
    Queued,
    Refused,
    SharedRate,
    Slots,
    limits_of,
)
from enfilade.state.store import Store, StoreError

pytestmark = pytest.mark.anyio

TWO = (Slots("limit_slots:two", 2),)
ONE = (Slots("limit_slots:one", 1),)

#: Three calls an hour: nothing comes back during a test.
SLOW = SharedRate("limit_rate:slow", 1200.0, 3600.0)


@pytest.fixture
async def limits(store: Store) -> Limits:
    """The limits of each kind of store in turn, with two workers that are alive."""
    limits = limits_of(store)
    await limits.renew("a", 1000)
    await limits.renew("b", 1000)
    return limits


async def admit(
    limits: Limits, ticket: str, slots: tuple[Slots, ...] = (), *rates: SharedRate, delay: float = 0.0
) -> Decision:
    claim = Claim(ticket=ticket, slots=slots, rates=rates, may_queue=True, longest_delay=delay)
    return await limits.admit(claim)


async def test_slots_go_to_whoever_waits_longest(limits: Limits) -> None:
    decisions = [await admit(limits, ticket, TWO) for ticket in ("a.1", "b.1", "b.2", "a.2", "a.3")]
    assert decisions == [Granted(), Granted(), Queued(0), Queued(0), Queued(0)]
    assert await limits.release("b.1", TWO) == ["b.2"]
    assert await limits.release("a.2", TWO) == [], "it left the queue"
    assert await limits.release("a.1", TWO) == ["a.3"]
    assert await admit(limits, "b.3", TWO) == Queued(0)


async def test_a_claim_that_is_sent_again_counts_once(limits: Limits) -> None:
    for _ in range(3):
        assert await admit(limits, "a.1", TWO) == Granted()
    assert await admit(limits, "b.1", TWO) == Granted()
    for _ in range(3):
        assert await admit(limits, "b.2", TWO) == Queued(0)
    assert await limits.release("a.1", TWO) == ["b.2"]
    assert await limits.release("a.1", TWO) == []
    assert await admit(limits, "b.2", TWO) == Granted(), "it asks whether it has them"


async def test_nobody_passes_those_who_wait(limits: Limits) -> None:
    assert await admit(limits, "a.1", ONE) == Granted()
    assert await admit(limits, "b.1", ONE) == Queued(0)
    await limits.renew("a", 0)
    assert await admit(limits, "b.2", ONE) == Queued(0), "the slot is free, and b.1 was here before"
    assert await admit(limits, "b.1", ONE) == Granted()


async def test_whoever_may_not_wait_is_refused_and_has_nothing(limits: Limits) -> None:
    assert await admit(limits, "a.1", ONE) == Granted()
    both = (*TWO, *ONE)
    assert await limits.admit(Claim(ticket="b.1", slots=both)) == Refused(1)
    assert [await admit(limits, ticket, TWO) for ticket in ("b.2", "b.3")] == [Granted(), Granted()]


async def test_each_limit_says_for_itself_whether_calls_wait(limits: Limits) -> None:
    refusing = Slots("limit_slots:refusing", 1, waits=False)
    assert await admit(limits, "a.1", (refusing, *ONE)) == Granted()
    assert await admit(limits, "b.1", (refusing,)) == Refused(0)
    assert await admit(limits, "b.2", ONE) == Queued(0)
    soon = SharedRate("limit_rate:soon", 5.0, 5.0)
    later = SharedRate("limit_rate:later", 50.0, 50.0, waits=False)
    assert await admit(limits, "a.2", (), soon, later, delay=60.0) == Granted()
    refused = await admit(limits, "a.3", (), soon, later, delay=60.0)
    assert isinstance(refused, Refused)
    assert (refused.index, round(refused.retry_after)) == (1, 50)
    decision = await admit(limits, "a.4", (), soon, delay=60.0)
    assert isinstance(decision, Granted)
    assert 4 < decision.delay <= 5, "the refused call has taken no share"


async def test_slots_are_taken_one_after_the_other(limits: Limits) -> None:
    assert await admit(limits, "a.1", ONE) == Granted()
    both = (*TWO, *ONE)
    assert await admit(limits, "b.1", both) == Queued(1)
    assert await admit(limits, "b.2", TWO) == Granted()
    assert await admit(limits, "b.3", TWO) == Queued(0), "b.1 holds one of them while it waits for the other"
    assert await limits.release("a.1", ONE) == ["b.1"]
    assert await admit(limits, "b.1", both) == Granted()
    assert await limits.release("b.1", both) == ["b.3"]


async def test_slots_of_a_worker_without_a_lease_are_free(limits: Limits) -> None:
    assert [await admit(limits, ticket, TWO) for ticket in ("a.1", "a.2", "a.3", "b.1")] == [
        Granted(),
        Granted(),
        Queued(0),
        Queued(0),
    ]
    await limits.renew("a", 0)
    assert await admit(limits, "b.1", TWO) == Granted()


async def test_a_claim_renews_the_lease(limits: Limits) -> None:
    assert await limits.admit(Claim(ticket="c.1", slots=ONE, lease=1000)) == Granted()
    assert await admit(limits, "b.1", ONE) == Queued(0)


async def test_a_dead_worker_is_not_granted_anything(limits: Limits) -> None:
    for ticket in ("b.1", "a.1", "b.2"):
        await admit(limits, ticket, ONE)
    await limits.renew("a", 0)
    assert await limits.release("b.1", ONE) == ["b.2"]


async def test_a_rate_lets_its_whole_count_through_at_once(limits: Limits) -> None:
    assert [await admit(limits, f"a.{number}", (), SLOW) for number in range(3)] == [Granted()] * 3
    refused = await admit(limits, "a.4", (), SLOW)
    assert isinstance(refused, Refused)
    assert refused.index == 0
    assert 1190 < refused.retry_after <= 1200
    assert isinstance(await admit(limits, "b.1", (), SLOW), Refused), "it is one rate for all workers"


async def test_who_waits_for_a_rate_gets_the_next_share(limits: Limits) -> None:
    for number in range(3):
        await admit(limits, f"a.{number}", (), SLOW)
    delays = []
    for number in range(3):
        granted = await admit(limits, f"b.{number}", (), SLOW, delay=2500)
        delays.append(granted.delay if isinstance(granted, Granted) else None)
    assert delays[2] is None
    assert delays[0] == pytest.approx(1200, abs=20)
    assert delays[1] == pytest.approx(2400, abs=20)


async def test_a_rate_comes_back(limits: Limits) -> None:
    quick = SharedRate("limit_rate:quick", 0.01, 0.02)
    assert [await admit(limits, f"a.{number}", (), quick) for number in range(2)] == [Granted()] * 2
    await asyncio.sleep(0.02)
    assert await admit(limits, "a.3", (), quick) == Granted()


async def test_of_two_rates_the_slower_one_counts_and_a_refusal_takes_neither(limits: Limits) -> None:
    more = SharedRate("limit_rate:more", 600.0, 3600.0)
    for number in range(3):
        assert await admit(limits, f"a.{number}", (), more, SLOW) == Granted()
    for number in range(3):
        refused = await admit(limits, f"b.{number}", ONE, more, SLOW)
        assert isinstance(refused, Refused)
        assert refused.index == 2, "of the slots and the rates"
    assert [await admit(limits, f"b.{number}", (), more) for number in range(3)] == [Granted()] * 3
    assert await admit(limits, "b.4", ONE) == Granted()


async def test_a_rate_goes_on_at_its_pace_after_the_clock_was_set_back(limits: Limits) -> None:
    """A time that is an hour ahead is what a clock leaves behind that was set back by an hour."""
    for waits, longest_wait in ((False, 0.0), (True, 30.0)):
        key = f"limit_rate:set{longest_wait}"
        assert await admit(limits, "a.1", (), SharedRate(key, 3600.0, 3600.0)) == Granted()
        rate = SharedRate(key, 5.0, 10.0, waits, longest_wait)
        assert await admit(limits, "a.2", (), rate, delay=longest_wait) == Granted()
        next_one = await admit(limits, "a.3", (), rate, delay=longest_wait)
        if isinstance(next_one, Refused):
            assert 4 < next_one.retry_after <= 5
        else:
            assert isinstance(next_one, Granted)
            assert 4 < next_one.delay <= 5


async def test_a_queue_of_a_rate_is_no_clock_that_was_set_back(limits: Limits) -> None:
    rate = SharedRate("limit_rate:queue", 5.0, 5.0, longest_wait=10.0)
    decisions = [await admit(limits, f"a.{number}", (), rate, delay=10.0) for number in range(6)]
    delays = [decision.delay for decision in decisions if isinstance(decision, Granted)]
    assert [round(delay) for delay in delays] == [0, 5, 10]
    assert [isinstance(decision, Refused) for decision in decisions] == [False] * 3 + [True] * 3


async def test_whoever_claims_or_releases_is_alive(limits: Limits) -> None:
    """A clock that was set forwards has ended its lease."""
    for ticket in ("a.1", "a.2"):
        await admit(limits, ticket, ONE)
    await limits.renew("a", 0)
    assert await admit(limits, "a.3", ONE) == Queued(0)
    assert await limits.release("a.1", ONE) == ["a.2"]
    assert await admit(limits, "b.1", ONE) == Granted(), "to others, a is dead"


async def test_claims_at_the_same_time_are_decided_one_by_one(limits: Limits) -> None:
    many = SharedRate("limit_rate:many", 3600 / 50, 3600.0)
    decisions = await asyncio.gather(*(admit(limits, f"a.{number}", TWO, many) for number in range(100)))
    assert decisions.count(Granted()) == 2
    decisions = await asyncio.gather(*(admit(limits, f"b.{number}", (), many) for number in range(100)))
    assert decisions.count(Granted()) == 48


class _OwnStore:
    """A store of an author's."""


async def test_a_store_without_limits_says_so() -> None:
    with pytest.raises(StoreError, match="_OwnStore keeps no limits of calls"):
        limits_of(_OwnStore())  # type: ignore[arg-type]
