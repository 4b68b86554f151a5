"""What every store must do with keys and streams, whatever is behind it."""

import asyncio
import itertools

import pytest

from enfilade.state.store import Store, StoreError, StreamSlice
from support.stores.kinds import Open, all_entries, numbered_entries
from support.waiting import until

pytestmark = pytest.mark.anyio

_numbers = itertools.count(1)


# -- keys ------------------------------------------------------------------------------------------------------


async def test_a_key_is_what_was_put_last_until_it_is_deleted(store: Store) -> None:
    assert await store.keys.get("a") is None
    await store.keys.put("a", b"1", 100)
    await store.keys.put("a", b"2", None)
    await store.keys.put("b", b"", 100)
    assert (await store.keys.get("a"), await store.keys.get("b")) == (b"2", b"")
    await store.keys.delete("a")
    await store.keys.delete("a")
    assert (await store.keys.get("a"), await store.keys.get("b")) == (None, b"")


@pytest.mark.parametrize(
    "key", ["a b", "ключ", "\N{CLOWN FACE}", "a:b{c}*", "'; DROP TABLE keys; --", "k" * 2000]
)
async def test_keys_and_values_are_any_text_and_any_bytes(store: Store, key: str) -> None:
    value = bytes(range(256)) * 100
    await store.keys.put(key, value, 100)
    assert await store.keys.get(key) == value
    assert await store.keys.get(key + " ") is None


async def test_a_key_is_gone_when_its_time_is_over(store: Store) -> None:
    await store.keys.put("short", b"1", 0.05)
    await store.keys.put("long", b"2", 1000)
    await store.keys.put("for ever", b"3", None)
    await store.keys.put("prolonged", b"4", 0.05)
    await store.keys.put("prolonged", b"4", 1000)

    async def is_gone() -> bool:
        return await store.keys.get("short") is None

    await until(is_gone)
    assert [await store.keys.get(key) for key in ("long", "for ever", "prolonged")] == [b"2", b"3", b"4"]
    assert await store.keys.swap("short", None, b"new", 1000), "what is over is not there"


@pytest.mark.parametrize(
    ("there", "old", "new", "done"),
    [
        (None, None, b"1", True),
        (None, None, None, True),
        (None, b"1", b"2", False),
        (None, b"1", None, True),  # as if it had been done before
        (b"1", b"1", b"2", True),
        (b"1", b"1", b"1", True),
        (b"1", b"1", None, True),
        (b"1", None, b"2", False),
        (b"1", None, b"1", True),
        (b"1", None, None, False),
        (b"1", b"2", b"3", False),
        (b"1", b"2", b"1", True),
        (b"1", b"2", None, False),
        (b"", None, b"2", False),
        (b"", b"", b"2", True),
        (b"1", b"1", b"", True),
    ],
)
async def test_a_swap_is_done_if_the_old_value_is_there(
    store: Store, there: bytes | None, old: bytes | None, new: bytes | None, done: bool
) -> None:
    if there is not None:
        await store.keys.put("a", there, 100)
    assert await store.keys.swap("a", old, new, 100) is done
    assert await store.keys.get("a") == (new if done else there)
    if done:
        assert await store.keys.swap("a", old, new, 100), "a second time it has the effect of one"


async def test_a_swap_sets_how_long_the_value_lives(store: Store) -> None:
    await store.keys.put("a", b"1", None)
    await store.keys.put("b", b"1", 0.2)
    assert await store.keys.swap("a", b"1", b"1", 0.05)
    assert await store.keys.swap("b", b"1", b"1", 1000), "this is how a lease is renewed"
    await store.keys.put("probe", b"", 0.3)

    async def are_gone() -> bool:
        return await store.keys.get("a") is None and await store.keys.get("probe") is None

    await until(are_gone)
    assert await store.keys.get("b") == b"1"


async def test_of_many_that_swap_one_is_the_first(store_url: str, store: Store, opened: Open) -> None:
    stores = [store, await opened(store_url), await opened(store_url)] if store.shared else [store]
    claims = [
        (number, each.keys.swap("who", None, b"%d" % number, 100))
        for number, each in enumerate(itertools.islice(itertools.cycle(stores), 90))
    ]
    done = await asyncio.gather(*(claim for _, claim in claims))
    assert done.count(True) == 1
    assert await store.keys.get("who") == b"%d" % done.index(True)


async def test_nobody_counts_over_anybody_else(store_url: str, store: Store, opened: Open) -> None:
    stores = [store, await opened(store_url)] if store.shared else [store]
    await store.keys.put("count", b"0", None)

    async def count_up(keys: Store, times: int) -> None:
        done = 0
        while done < times:
            found = await keys.keys.get("count")
            assert found is not None
            # What is new must be unlike what others make, or a swap could pass for one that was done before.
            number = int(found.split(b" ")[0])
            done += await keys.keys.swap("count", found, b"%d %d" % (number + 1, next(_numbers)), None)

    await asyncio.gather(*(count_up(each, 20) for each in stores for _ in range(4)))
    found = await store.keys.get("count")
    assert found is not None
    assert int(found.split(b" ")[0]) == 80 * len(stores)


# -- log -------------------------------------------------------------------------------------------------------


async def test_a_stream_has_what_was_appended_in_its_order(store: Store) -> None:
    await store.log.open("s", b"head")
    assert await store.log.read("s", 0) == StreamSlice(b"head", [], None)
    await store.log.append("s", [(1, b"a"), (2, b"b")])
    await store.log.append("s", [])
    await store.log.append("s", [(5, b""), (10**12, bytes(range(256)))])
    assert await store.log.read("s", 0) == StreamSlice(
        b"head", [(1, b"a"), (2, b"b"), (5, b""), (10**12, bytes(range(256)))], 1
    )
    assert await store.log.read("s", 2) == StreamSlice(b"head", [(5, b""), (10**12, bytes(range(256)))], 1)
    assert await store.log.read("s", 3) == await store.log.read("s", 2)
    assert await store.log.read("s", 10**12) == StreamSlice(b"head", [], 1)


async def test_a_stream_begins_with_its_first_entry_in_one_step(store: Store) -> None:
    """Done twice, it changes nothing; and what follows is appended to it."""
    for _ in range(2):
        await store.log.begin("a", b"head", (2, b"first"))
    await store.log.append("a", [(3, b"second")])
    assert await store.log.read("a", 0) == StreamSlice(b"head", [(2, b"first"), (3, b"second")], 2)
    await store.log.drop("a")
    assert await store.log.read("a", 0) is None
    await store.log.begin("a", b"new", (1, b"again"))
    assert await store.log.read("a", 0) == StreamSlice(b"new", [(1, b"again")], 1)


async def test_a_stream_that_is_open_may_begin_again(store: Store) -> None:
    await store.log.open("a", b"head")
    await store.log.begin("a", b"head", (1, b"first"))
    assert await store.log.read("a", 0) == StreamSlice(b"head", [(1, b"first")], 1)


async def test_an_entry_is_appended_to_each_of_many_streams(store: Store) -> None:
    """Done twice, it changes nothing; a stream that nobody opened is told from those that have their entry."""
    names = [f"stream {number}" for number in range(300)]
    for name in names:
        await store.log.open(name, b"head")
    entries = [(name, 3, name.encode() * 3) for name in names]
    for _ in range(2):
        results = await store.log.append_each([*entries[:100], ("unknown", 1, b"lost"), *entries[100:]])
        assert results == [True] * 100 + [False] + [True] * 200
    for name in names:
        assert await store.log.read(name, 0) == StreamSlice(b"head", [(3, name.encode() * 3)], 3)
    assert await store.log.read("unknown", 0) is None


async def test_what_is_written_twice_is_there_once(store: Store) -> None:
    await store.log.open("s", b"head")
    await store.log.append("s", [(3, b"three"), (4, b"four")])
    await store.log.open("s", b"another head")
    await store.log.append("s", [(3, b"three"), (4, b"four")])
    await store.log.append("s", [(2, b"late"), (4, b"again"), (5, b"five"), (5, b"again"), (1, b"late")])
    assert await store.log.read("s", 0) == StreamSlice(b"head", [(3, b"three"), (4, b"four"), (5, b"five")], 3)


async def test_a_stream_that_nobody_opened_is_none(store: Store) -> None:
    assert await store.log.read("unknown", 0) is None
    await store.log.touch("unknown")
    await store.log.drop("unknown")
    with pytest.raises(StoreError):
        await store.log.append("unknown", [(1, b"")])
    assert await store.log.read("unknown", 0) is None


async def test_a_dropped_stream_may_begin_again_and_has_nothing_of_the_old_one(store: Store) -> None:
    await store.log.open("s", b"old")
    await store.log.append("s", numbered_entries(1, 100))
    await store.log.drop("s")
    assert await store.log.read("s", 0) is None
    with pytest.raises(StoreError):
        await store.log.append("s", [(101, b"")])
    await store.log.open("s", b"new")
    assert await store.log.read("s", 0) == StreamSlice(b"new", [], None)
    await store.log.append("s", [(1, b"new")])
    assert await store.log.read("s", 0) == StreamSlice(b"new", [(1, b"new")], 1)


async def test_a_long_stream_comes_in_pages(store: Store) -> None:
    await store.log.open("s", b"head")
    for first in range(1, 5001, 250):
        await store.log.append("s", numbered_entries(first, first + 249))
    assert await all_entries(store, "s") == numbered_entries(1, 5000)
    assert await all_entries(store, "s", 4990) == numbered_entries(4991, 5000)


async def test_big_entries_come_whole(store: Store) -> None:
    big = [(number, bytes([number]) * 1_500_000) for number in range(1, 5)]
    await store.log.open("s", b"head")
    for entry in big:
        await store.log.append("s", [entry])
    assert await all_entries(store, "s") == big


async def test_of_a_stream_that_is_too_long_the_beginning_goes(store_url: str, opened: Open) -> None:
    store = await opened(store_url, entries=100)
    await store.log.open("s", b"head")
    for number in range(1, 1001):
        await store.log.append("s", [(number, b"entry %d" % number)])
    await store.log.append("s", numbered_entries(990, 1100))
    events = await store.log.read("s", 0)
    assert events is not None
    assert events.first is not None
    assert 1100 - 300 < events.first <= 1001, "at least what was promised, and not much more"
    assert await all_entries(store, "s") == numbered_entries(events.first, 1100)


async def test_what_is_appended_at_once_to_many_streams_stays_apart(store: Store) -> None:
    names = [f"stream {number}" for number in range(40)]

    async def write(name: str) -> None:
        await store.log.open(name, name.encode())
        for number in range(1, 26):
            await store.log.append(name, [(number, b"%s: %d" % (name.encode(), number))])

    await asyncio.gather(*map(write, names))
    for name in names:
        assert await all_entries(store, name) == [(n, b"%s: %d" % (name.encode(), n)) for n in range(1, 26)]


async def test_what_is_appended_without_waiting_is_in_order(store: Store) -> None:
    await store.log.open("s", b"head")
    await asyncio.gather(*(store.log.append("s", [entry]) for entry in numbered_entries(1, 500)))
    assert await all_entries(store, "s") == numbered_entries(1, 500)


async def test_a_stream_expires_unless_it_is_written_to_or_touched(store_url: str, opened: Open) -> None:
    store = await opened(store_url, age=1.0)
    for name in ("left alone", "touched", "written to"):
        await store.log.open(name, b"head")
    number = 0

    async def is_gone() -> bool:
        nonlocal number
        number += 1
        await store.log.append("written to", [(number, b"")])
        await store.log.touch("touched")
        return await store.log.read("left alone", 0) is None

    await until(is_gone)
    assert await store.log.read("touched", 0) == StreamSlice(b"head", [], None)
    events = await store.log.read("written to", number - 1)
    assert events is not None
    assert events.entries == [(number, b"")]
    with pytest.raises(StoreError):
        await store.log.append("left alone", [(1, b"")])
    await store.log.touch("left alone")
    assert await store.log.read("left alone", 0) is None, "a touch wakes no dead"
    await store.log.open("left alone", b"new")
    assert await store.log.read("left alone", 0) == StreamSlice(b"new", [], None)
