"""The room for whole results, in every kind of store: by caller and for all, in bytes."""

import asyncio

import pytest

from enfilade.state.outcomes.decisions import MOST_RESULTS, OVERHEAD, Results, StoredResult, results_of
from enfilade.state.store import Store
from support.stores.kinds import MemoryClock, Open

pytestmark = pytest.mark.anyio

SIZE = 1000 + OVERHEAD


def result(owner: str, number: int, *, own: int = 3, every: int = 5, ttl: float = 1000.0) -> StoredResult:
    """Return a result of a caller, where that may have some results, and all together may have others."""
    return StoredResult(
        key=f"tool_result:{owner}{number}",
        value=b"x" * 1000,
        ttl=ttl,
        owner=f"result_owner:{owner}",
        room="result_room:all",
        own_size=own * SIZE,
        size=every * SIZE,
    )


@pytest.fixture
def results(store: Store) -> Results:
    results = results_of(store)
    assert results is not None
    return results


async def kept(store: Store, owner: str, count: int) -> list[int]:
    keys = [(number, await store.keys.get(f"tool_result:{owner}{number}")) for number in range(count)]
    return [number for number, value in keys if value is not None]


async def test_the_oldest_of_the_same_caller_makes_room(store: Store, results: Results) -> None:
    assert await results.put(result("bob", 0))
    assert all([await results.put(result("ada", number)) for number in range(10)])
    assert await kept(store, "ada", 10) == [7, 8, 9]
    assert await kept(store, "bob", 1) == [0]


async def test_what_all_may_have_is_not_taken_from_others(store: Store, results: Results) -> None:
    for owner in ("ada", "bob"):
        for number in range(3):
            assert await results.put(result(owner, number))
    assert await kept(store, "ada", 3) == [0, 1, 2], "all have five, so the second caller has two"
    assert await kept(store, "bob", 3) == [1, 2]
    assert not await results.put(result("eve", 0)), "who has nothing has nothing to give"
    assert await results.put(result("ada", 3))
    assert await kept(store, "ada", 4) == [1, 2, 3]
    assert await kept(store, "bob", 3) == [1, 2]


async def test_a_result_that_never_fits_evicts_nothing(store: Store, results: Results) -> None:
    assert await results.put(result("ada", 0))
    assert not await results.put(result("ada", 1, own=0))
    assert not await results.put(result("ada", 1, every=0))
    assert await kept(store, "ada", 2) == [0]


async def test_a_result_that_is_sent_again_counts_once(store: Store, results: Results) -> None:
    for _ in range(5):
        assert await results.put(result("ada", 0))
    assert await results.put(result("ada", 1))
    assert await results.put(result("ada", 2))
    assert await kept(store, "ada", 3) == [0, 1, 2]


async def test_small_results_are_counted_too(store: Store, results: Results) -> None:
    for number in range(MOST_RESULTS + 2):
        assert await results.put(result("ada", number, own=10**6, every=10**6))
    assert len(await kept(store, "ada", MOST_RESULTS + 2)) == MOST_RESULTS


async def test_workers_keep_to_it_together(shared_url: str, opened: Open) -> None:
    stores = [await opened(shared_url) for _ in range(3)]
    rooms = [results_of(store) for store in stores]
    puts = [
        rooms[number % 3].put(result(owner, number))  # type: ignore[union-attr]
        for number in range(30)
        for owner in ("ada", "bob", "eve")
    ]
    await asyncio.gather(*puts)
    counts = [len(await kept(stores[0], owner, 30)) for owner in ("ada", "bob", "eve")]
    assert max(counts) <= 3
    assert sum(counts) == 5


async def test_what_has_expired_gives_its_room_back(opened: Open, clock: MemoryClock) -> None:
    store = await opened("memory://")
    results = results_of(store)
    assert results is not None
    for owner in ("ada", "bob"):
        for number in range(3):
            await results.put(result(owner, number))
    clock.now += 1000 + 60
    assert await results.put(result("eve", 0))
    assert all([await results.put(result("ada", number)) for number in range(3, 6)])
    assert await kept(store, "ada", 6) == [3, 4, 5]
