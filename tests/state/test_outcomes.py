"""What every store must decide about outcomes that calls share, whatever is behind it."""

import asyncio

import msgspec
import pytest

from enfilade.state.outcomes.claims import (
    Begun,
    Bound,
    Claim,
    Decision,
    Differs,
    Finish,
    Finished,
    Full,
    Kept,
    Outcomes,
    Running,
    outcomes_of,
)
from enfilade.state.store import Store, StoreError
from support.waiting import until

pytestmark = pytest.mark.anyio

CACHE = Bound("outcome_queue:cache", 3, True)
KEYS = Bound("outcome_queue:keys", 3, False)
VERSION = "outcome_version:one"
LONG = 1000.0


@pytest.fixture
async def outcomes(store: Store) -> Outcomes:
    return outcomes_of(store)


def claim(
    ticket: str, key: str = "cached:a", bound: Bound = CACHE, lease: float = LONG, arguments: str = ""
) -> Claim:
    return Claim(
        key=key,
        ticket=ticket,
        arguments=arguments,
        versions=(VERSION, "outcome_version:two"),
        lease=lease,
        age=LONG,
        bound=bound,
    )


async def finish(outcomes: Outcomes, claim: Claim, outcome: bytes = b"done", ttl: float = LONG) -> Finished:
    return await outcomes.finish(
        Finish(
            key=claim.key,
            ticket=claim.ticket,
            versions=claim.versions,
            bound=claim.bound,
            outcome=outcome,
            ttl=ttl,
        )
    )


async def kept(outcomes: Outcomes, number: int, bound: Bound, ttl: float = LONG) -> Decision:
    """Claim and finish one of many; return the decision about the claim."""
    wanted = claim(f"a.{number}", f"cached:{number}", bound)
    decision = await outcomes.claim(wanted)
    if decision == Begun():
        assert (await finish(outcomes, wanted, b"%d" % number, ttl)).is_kept
    return decision


async def test_one_runs_and_the_others_get_what_it_came_to(outcomes: Outcomes) -> None:
    assert await outcomes.claim(claim("a.1")) == Begun()
    assert await outcomes.claim(claim("a.1")) == Begun(), "sent again"
    assert [await outcomes.claim(claim(ticket)) for ticket in ("b.1", "b.2", "c.1")] == [Running()] * 3
    outcome = bytes(range(256))
    assert await finish(outcomes, claim("a.1"), outcome) == Finished(True, ["b", "c"])
    assert await finish(outcomes, claim("a.1"), b"other") == Finished(True, []), "sent again"
    assert await outcomes.claim(claim("b.1")) == Kept(outcome)


async def test_a_claim_that_is_given_up_is_free(outcomes: Outcomes) -> None:
    assert await outcomes.claim(claim("a.1")) == Begun()
    assert await outcomes.claim(claim("b.1")) == Running()
    assert await outcomes.release("cached:a", "c.1") == [], "it is not c's"
    assert await outcomes.release("cached:a", "a.1") == ["b"]
    assert await outcomes.release("cached:a", "a.1") == []
    assert await outcomes.claim(claim("b.1")) == Begun()
    assert await finish(outcomes, claim("a.1")) == Finished(False, []), "it has given up"
    await finish(outcomes, claim("b.1"))
    assert await outcomes.release("cached:a", "b.1") == []
    assert await outcomes.claim(claim("c.1")) == Kept(b"done")


async def test_the_next_one_begins_when_a_lease_is_over(outcomes: Outcomes) -> None:
    assert await outcomes.claim(claim("a.1", lease=0.0)) == Begun()
    assert [await outcomes.claim(claim("b.1")) for _ in range(2)] == [Begun(is_again=True)] * 2
    assert not (await finish(outcomes, claim("a.1"))).is_kept
    assert await outcomes.claim(claim("c.1")) == Running()


async def test_a_lease_is_renewed(outcomes: Outcomes) -> None:
    assert await outcomes.claim(claim("a.1", lease=0.0)) == Begun()
    await outcomes.renew({"cached:a": "b.1", "cached:b": "a.2"}, LONG)
    await outcomes.renew({"cached:a": "a.1"}, LONG)
    assert await outcomes.claim(claim("b.1")) == Running()


async def test_other_arguments_under_one_key(outcomes: Outcomes) -> None:
    assert await outcomes.claim(claim("a.1", arguments="x")) == Begun()
    assert await outcomes.claim(claim("b.1", arguments="y")) == Differs()
    await finish(outcomes, claim("a.1", arguments="x"))
    assert await outcomes.claim(claim("b.1", arguments="y")) == Differs()
    assert await outcomes.claim(claim("b.1", arguments="x")) == Kept(b"done")


async def test_a_changed_version_makes_outcomes_absent(outcomes: Outcomes) -> None:
    await outcomes.claim(claim("a.1"))
    await finish(outcomes, claim("a.1"))
    await outcomes.change_version(VERSION, b"\x00\xff")
    assert await outcomes.claim(claim("b.1")) == Begun()
    await outcomes.change_version(VERSION, b"\x01\xff")
    assert await outcomes.claim(claim("c.1")) == Begun(), "what runs is of an older version"
    assert not (await finish(outcomes, claim("b.1"))).is_kept
    assert (await finish(outcomes, claim("c.1"), b"new")).is_kept
    assert await outcomes.claim(claim("d.1")) == Kept(b"new")


async def test_what_ran_while_a_version_changed_is_not_kept(outcomes: Outcomes) -> None:
    await outcomes.claim(claim("a.1"))
    assert await outcomes.claim(claim("b.1")) == Running()
    await outcomes.change_version(VERSION, b"1")
    assert await finish(outcomes, claim("a.1")) == Finished(False, ["b"])
    assert await outcomes.claim(claim("b.1")) == Begun()


async def test_the_oldest_make_room(outcomes: Outcomes) -> None:
    for number in range(8):
        assert await kept(outcomes, number, CACHE) == Begun()
    found = [await outcomes.claim(claim("z.1", f"cached:{number}")) for number in range(8)]
    assert found == [Begun()] * 5 + [Kept(b"5"), Kept(b"6"), Kept(b"7")]


async def test_the_place_of_an_outcome_that_was_replaced(outcomes: Outcomes) -> None:
    for number in (1, 2):
        await kept(outcomes, number, CACHE)
    await outcomes.change_version(VERSION, b"1")
    wanted = claim("a.9", "cached:1")
    assert await outcomes.claim(wanted) == Begun()
    await finish(outcomes, wanted, b"new")
    await kept(outcomes, 3, CACHE)
    assert await outcomes.claim(claim("z.1", "cached:1")) == Kept(b"new"), (
        "its old place went, and not the new one"
    )


async def test_nothing_begins_where_nothing_is_evicted(outcomes: Outcomes) -> None:
    decisions = [await kept(outcomes, number, KEYS) for number in range(5)]
    assert decisions == [Begun()] * 3 + [Full()] * 2
    assert await outcomes.claim(claim("z.1", "cached:0", KEYS)) == Kept(b"0")


async def test_what_has_expired_makes_room(outcomes: Outcomes) -> None:
    for number in range(3):
        await kept(outcomes, number, KEYS, ttl=0.05)
    await asyncio.sleep(0.06)
    assert [await kept(outcomes, number, KEYS) for number in range(3, 7)] == [Begun()] * 3 + [Full()]


async def test_what_would_be_kept_for_too_long_is_absent(outcomes: Outcomes) -> None:
    """A clock that was set back keeps an outcome for longer than whoever ran it said."""
    short = msgspec.structs.replace(claim("b.1"), kept_for=LONG - 100)
    assert await kept(outcomes, 1, CACHE) == Begun()
    first = msgspec.structs.replace(short, key="cached:1")
    assert await outcomes.claim(msgspec.structs.replace(first, kept_for=LONG)) == Kept(b"1")
    assert await outcomes.claim(first) == Begun()
    assert await finish(outcomes, first, b"new", LONG - 100) == Finished(True, [])
    again = msgspec.structs.replace(first, ticket="c.1")
    assert await outcomes.claim(again) == Kept(b"new")
    assert await outcomes.claim(msgspec.structs.replace(again, kept_for=None)) == Kept(b"new")


async def test_a_claim_holds_for_no_more_than_a_lease(outcomes: Outcomes) -> None:
    """A clock that was set back has made the lease of a killed worker longer."""
    assert await outcomes.claim(claim("a.1", lease=LONG)) == Begun()
    waiting = claim("b.1", lease=0.05)
    assert await outcomes.claim(waiting) == Running()
    await until(lambda: _has_begun(outcomes, waiting))


async def _has_begun(outcomes: Outcomes, claim: Claim) -> bool:
    return await outcomes.claim(claim) == Begun(is_again=True)


async def test_claims_at_the_same_time(outcomes: Outcomes) -> None:
    decisions = await asyncio.gather(*(outcomes.claim(claim(f"w{number}.1")) for number in range(50)))
    assert sorted(map(repr, decisions)) == sorted([repr(Begun())] + [repr(Running())] * 49)


async def test_a_store_without_outcomes_says_what_to_do() -> None:
    with pytest.raises(StoreError, match="keeps no outcomes of calls: it lacks the attribute `outcomes`"):
        outcomes_of(object())  # type: ignore[arg-type]
