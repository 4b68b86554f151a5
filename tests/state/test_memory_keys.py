"""Keys in this process: each until its end, and never more than there is room for."""

import pytest

from enfilade.state.memory import EndedIds, MemoryKeys, MemoryStore
from enfilade.state.open import open_store
from enfilade.state.store import ENDED, StoreError
from support.stores.kinds import MemoryClock

pytestmark = pytest.mark.anyio


async def test_put_get_delete() -> None:
    keys = MemoryKeys()
    assert await keys.get("a") is None
    await keys.put("a", b"1", 10)
    await keys.put("a", b"2", 10)
    assert await keys.get("a") == b"2"
    await keys.delete("a")
    await keys.delete("a")
    assert await keys.get("a") is None


async def test_each_ends_when_it_was_said(clock: MemoryClock) -> None:
    keys = MemoryKeys()
    await keys.put("short", b"", 10)
    await keys.put("long", b"", 20)
    clock.now += 10
    assert await keys.get("short") is None
    assert await keys.get("long") == b""
    await keys.put("long", b"", 20)
    clock.now += 15
    assert await keys.get("long") == b"", "a put begins anew"


async def test_what_has_ended_is_swept_away_unasked(clock: MemoryClock) -> None:
    """D12: nobody need ask for a key for it to go."""
    keys = MemoryKeys()
    for number in range(1000):
        await keys.put(f"old {number}", b"", 10)
    clock.now += 11
    for number in range(300):
        await keys.put(f"new {number}", b"", 10)
    assert len(keys) < 700


async def test_there_is_a_limit(clock: MemoryClock) -> None:
    """R-714: what is there stays, and can be changed; what is new has to wait until something expires."""
    keys = MemoryKeys(capacity=10)
    for number in range(10):
        await keys.put(str(number), b"", 1000 + number)
    for _ in range(20):
        with pytest.raises(StoreError, match=r"full.*10 keys.*session_ttl"):
            await keys.put("new", b"", 1000)
        with pytest.raises(StoreError, match="full"):
            await keys.swap("new", None, b"", 1000)
    assert await keys.swap("3", b"", b"changed", 1000)
    assert [await keys.get(str(number)) for number in range(10)] == [b""] * 3 + [b"changed"] + [b""] * 6
    assert (len(keys), await keys.get("new")) == (10, None)
    await keys.delete("5")
    await keys.put("new", b"", 1)
    clock.now += 2
    await keys.put("newer", b"", 1000)
    assert await keys.get("new") is None


async def test_what_has_expired_makes_room_at_once_wherever_it_is(clock: MemoryClock) -> None:
    keys = MemoryKeys(capacity=1000)
    for number in range(1000):
        await keys.put(str(number), b"", 10 if number == 997 else 1000)
    clock.now += 11
    await keys.put("new", b"", 1000)
    with pytest.raises(StoreError):
        await keys.put("newer", b"", 1000)


async def test_each_kind_has_a_limit_of_its_own() -> None:
    """What clients put never keeps the server's own from being put."""
    keys = MemoryKeys(capacity=2)
    for id in "ab":
        await keys.put(f"session:{id}", b"", 1000)
    with pytest.raises(StoreError):
        await keys.put("session:c", b"", 1000)
    await keys.put("worker:c", b"", 1000)
    await keys.put("secret", b"", None)


async def test_the_values_have_a_limit_together() -> None:
    keys = MemoryKeys(size=10 * 1024)
    for number in range(10):
        await keys.put(str(number), bytes(900), 1000)
    with pytest.raises(StoreError, match="10240 bytes"):
        await keys.put("new", b"", 1000)
    with pytest.raises(StoreError):
        await keys.put("3", bytes(1100), 1000)
    await keys.put("3", bytes(1000), 1000)  # a use that is noted makes it no larger
    await keys.put("3", bytes(10), 1000)
    await keys.put("new", bytes(700), 1000)
    assert await keys.get("9") == bytes(900)


class TestEnded:
    """Sessions that were ended: none lives again before its time, whatever others do."""

    IDS = [f"{number:032x}" for number in range(100)]

    async def test_as_any_value(self, clock: MemoryClock) -> None:
        keys = MemoryKeys()
        key = f"session:{self.IDS[10]}"
        assert await keys.swap(key, None, ENDED, 1000)
        assert await keys.swap(key, None, ENDED, 1000), "it had been done before"
        assert not await keys.swap(key, b"other", b"", 1000)
        assert (await keys.get(key), len(keys)) == (ENDED, 1)
        assert await keys.get(f"get:{self.IDS[10]}") is None
        assert await keys.swap(key, ENDED, b"lives", 1000)
        assert (await keys.get(key), len(keys)) == (b"lives", 1)
        await keys.put(key, ENDED, 1000)
        assert (await keys.get(key), len(keys)) == (ENDED, 1)
        await keys.delete(key)
        assert (await keys.get(key), len(keys)) == (None, 0)
        await keys.put("session:another id", ENDED, 10)
        assert await keys.get("session:another id") == ENDED
        assert await keys.get("session:an other id") is None

    async def test_they_take_no_room_of_those_that_live(self) -> None:
        keys = MemoryKeys(capacity=2)
        await keys.put("session:lives", b"debug", 1000)
        for id in self.IDS:
            await keys.swap(f"session:{id}", None, ENDED, 1000)
        await keys.put("session:lives, too", b"", 1000)
        assert await keys.get("session:lives") == b"debug"
        assert {await keys.get(f"session:{id}") for id in self.IDS} == {ENDED}

    async def test_when_there_is_no_room_nothing_is_forgotten(self, clock: MemoryClock) -> None:
        """One that has a key of its own can still be ended, and keeps it."""
        keys = MemoryKeys(capacity=1, most_ended=50)
        await keys.put("session:lives", b"debug", 1000)
        for id in self.IDS[:50]:
            assert await keys.swap(f"session:{id}", None, ENDED, 1000)
        for id in self.IDS[50:]:
            with pytest.raises(StoreError):
                await keys.swap(f"session:{id}", None, ENDED, 1000)
        assert await keys.swap("session:lives", b"debug", ENDED, 1000)
        assert {await keys.get(f"session:{id}") for id in [*self.IDS[:50], "lives"]} == {ENDED}
        assert {await keys.get(f"session:{id}") for id in self.IDS[50:]} == {None}
        clock.now += 1126
        assert await keys.swap(f"session:{self.IDS[60]}", None, ENDED, 1000)
        assert len(keys) <= 2

    @pytest.mark.parametrize("ttl", [0.5, 3.0, 100.0, 43200.0])
    def test_how_long(self, clock: MemoryClock, ttl: float) -> None:
        """Not shorter than was said, and a second or an eighth of it longer at most; the sets are few."""
        ids = EndedIds(1000)
        for number in range(400):
            assert ids.add(f"{number:032x}", ttl)
            clock.now += ttl / 200
            assert f"{max(0, number - 198):032x}" in ids
        assert len(ids._ids_by_expiry) < 25
        clock.now += ttl - ttl / 100
        assert f"{399:032x}" in ids
        clock.now += ttl / 100 + max(1.0, ttl / 8)
        assert f"{399:032x}" not in ids
        assert ids.add("f" * 32, ttl)
        assert len(ids) == 1


def test_it_is_the_default_store() -> None:
    assert isinstance(open_store("memory://"), MemoryStore)


async def test_what_is_for_ever_is_not_among_the_oldest(clock: MemoryClock) -> None:
    keys = MemoryKeys(capacity=3)
    await keys.put("for ever", b"here", None)
    for number in range(3):
        await keys.put(str(number), b"", 1000)
    clock.now += 1e9
    assert await keys.get("for ever") == b"here"
    await keys.put("for ever", b"", 10)
    clock.now += 10
    assert await keys.get("for ever") is None, "a put with an end puts an end to it"


@pytest.mark.parametrize("capacity", [1, 7])
async def test_the_limit_holds_whatever_else_is_for_ever(capacity: int) -> None:
    keys = MemoryKeys(capacity)
    for number in range(50):
        await keys.put(f"lasting {number}", b"", None)
    for number in range(capacity):
        await keys.put(f"passing {number}", b"", 1000)
    with pytest.raises(StoreError):
        await keys.swap("lasting 0", b"", b"", 1000)
    for number in range(capacity):
        assert await keys.swap(f"passing {number}", b"", b"", None)
    assert await keys.swap("lasting 0", b"", b"", 1000)
    assert len(keys) == 50 + capacity


@pytest.mark.parametrize("url", ["", "nothing://x", "file:///etc/passwd"])
def test_an_unknown_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="memory://"):
        open_store(url)


async def test_an_owner_has_a_part_of_the_room() -> None:
    """R-714: whoever floods the store takes its own room, and what is refused changes nothing."""
    keys = MemoryKeys(capacity=80, size=8 * 10 * 256)
    for number in range(10):
        keys.put_owned(f"idempotent:a{number}", b"", 1000, "ada", False)
    for _ in range(3):
        with pytest.raises(StoreError, match="no more room for this caller"):
            keys.put_owned("idempotent:a10", b"", 1000, "ada", False)
    keys.put_owned("idempotent:a3", b"x", 1000, "ada", False)
    keys.put_owned("idempotent:b", b"", 1000, "bob", False)
    keys.put_owned("cached:a", b"", 1000, "ada", True)
    assert keys.value_of("idempotent:a0") == b"", "another kind has another part"
    await keys.delete("idempotent:a5")
    keys.put_owned("idempotent:a10", b"", 1000, "ada", False)
    with pytest.raises(StoreError, match="no more room for this caller"):
        keys.put_owned("idempotent:a10", bytes(300), 1000, "ada", False)


async def test_an_owner_gives_up_its_oldest(clock: MemoryClock) -> None:
    keys = MemoryKeys(capacity=80, size=8 * 10 * 256)
    for number in range(30):
        keys.put_owned(f"cached:{number}", b"", 1000, "ada", True)
        keys.put_owned(f"cached:bob{number % 10}", b"", 1000, "bob", True)
    assert [number for number in range(30) if keys.value_of(f"cached:{number}") is not None] == [*range(20, 30)]
    assert all(keys.value_of(f"cached:bob{number}") is not None for number in range(10))
    for number in range(60):
        keys.put_now(f"cached:{number}.", b"", 1000)
    keys.put_owned("cached:new", b"", 1000, "ada", True)
    assert keys.value_of("cached:20") is None, "in a full store too"
    with pytest.raises(StoreError, match="full"):
        keys.put_owned("cached:eve", b"", 1000, "eve", True)
    clock.now += 1001
    for number in range(10):
        keys.put_owned(f"cached:{number}", b"", 1000, "ada", False)
    assert all(keys.value_of(f"cached:{number}") is not None for number in range(10))
    for _ in range(30):
        await keys.put("cached:other", b"", 1000)
    keys.clear()
    assert (keys._owned, keys._owners) == ({}, {})
