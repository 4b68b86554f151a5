"""Keys in this process: each until its end, and never more than there is room for."""

from types import SimpleNamespace

import pytest

from enfilade.state import memory
from enfilade.state.memory import MemoryKeys, MemoryStore
from enfilade.state.store import open_store

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_put_get_delete() -> None:
    keys = MemoryKeys()
    assert await keys.get("a") is None
    await keys.put("a", b"1", 10)
    await keys.put("a", b"2", 10)
    assert await keys.get("a") == b"2"
    await keys.delete("a")
    await keys.delete("a")
    assert await keys.get("a") is None


async def test_each_ends_when_it_was_said(clock: Clock) -> None:
    keys = MemoryKeys()
    await keys.put("short", b"", 10)
    await keys.put("long", b"", 20)
    clock.now += 10
    assert await keys.get("short") is None
    assert await keys.get("long") == b""
    await keys.put("long", b"", 20)
    clock.now += 15
    assert await keys.get("long") == b"", "a put begins anew"


async def test_what_has_ended_is_swept_away_unasked(clock: Clock) -> None:
    """D12: nobody need ask for a key for it to go."""
    keys = MemoryKeys()
    for number in range(1000):
        await keys.put(f"old {number}", b"", 10)
    clock.now += 11
    for number in range(300):
        await keys.put(f"new {number}", b"", 10)
    assert len(keys) < 700


async def test_there_is_a_limit(clock: Clock) -> None:
    """R-714: the oldest go first."""
    keys = MemoryKeys(capacity=10)
    for number in range(25):
        await keys.put(str(number), b"", 1000)
    assert len(keys) == 10
    assert await keys.get("24") == b""
    assert await keys.get("14") is None


async def test_a_key_that_is_put_again_is_young_again() -> None:
    keys = MemoryKeys(capacity=3)
    for name in ("a", "b", "c", "a", "d"):
        await keys.put(name, name.encode(), 1000)
    assert [await keys.get(name) for name in "abcd"] == [b"a", None, b"c", b"d"]


def test_it_is_the_default_store() -> None:
    assert isinstance(open_store("memory://"), MemoryStore)


async def test_what_is_for_ever_is_not_among_the_oldest(clock: Clock) -> None:
    keys = MemoryKeys(capacity=3)
    await keys.put("for ever", b"here", None)
    for number in range(10):
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
        await keys.put(f"passing {number}", b"", 1000)
    assert len(keys) == 50 + capacity
    for number in range(50):
        assert await keys.swap(f"lasting {number}", b"", b"", 1000)
    assert len(keys) == capacity


@pytest.mark.parametrize("url", ["", "nothing://x", "file:///etc/passwd"])
def test_an_unknown_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="memory://"):
        open_store(url)
