"""The log in this process: never more than there is room for, and nothing kept beyond its time."""

import pytest

from enfilade.state.memory import MemoryLog
from enfilade.state.store import LogLimits, StoreError
from support.stores.kinds import MemoryClock

pytestmark = pytest.mark.anyio


async def written(log: MemoryLog, stream: str, entries: int, size: int) -> None:
    await log.open(stream, b"head")
    for position in range(1, entries + 1):
        await log.append(stream, [(position, bytes(size))])


async def test_what_has_expired_goes_when_another_is_written_to(clock: MemoryClock) -> None:
    log = MemoryLog(LogLimits(age=100))
    for number in range(50):
        await written(log, f"s {number}", 3, 1000)
    clock.now += 60
    await log.touch("s 20")
    await log.append("s 30", [(4, b"")])
    clock.now += 40
    assert await log.read("s 0", 0) is None
    assert len(log) == 50, "reading costs nothing"
    await log.open("new", b"")
    assert len(log) == 3
    assert await log.read("s 20", 0) is not None
    assert await log.read("s 30", 0) is not None


async def test_without_room_the_streams_that_were_written_to_least_recently_go() -> None:
    log = MemoryLog(LogLimits(size=100_000))
    for number in range(20):
        await written(log, f"s {number}", 1, 10_000)
        await log.append("s 0", [(number + 2, b"written to again and again")])
    assert log.size <= 100_000
    assert 5 < len(log) < 11
    there = [number for number in range(20) if await log.read(f"s {number}", 0) is not None]
    assert there == [0, *range(20 - len(log) + 1, 20)]
    with pytest.raises(StoreError, match="raise the age or the size"):
        await log.append("s 1", [(2, b"")])


async def test_much_larger_streams_go_before_those_of_others() -> None:
    """One client with large results does not push out a stream that runs for another one."""
    log = MemoryLog(LogLimits(size=100_000))
    await written(log, "running", 5, 200)
    for number in range(30):
        await written(log, f"large {number}", 1, 30_000)
        await written(log, f"long {number}", 10, 5_000)
    assert log.size <= 100_000
    events = await log.read("running", 0)
    assert events is not None
    assert [position for position, _ in events.entries] == [1, 2, 3, 4, 5]
    assert await log.read("large 0", 0) is None
    newest = await log.read("long 29", 0)
    assert newest is not None
    assert newest.entries[-1][0] == 10, "what was written last stays"


async def test_a_stream_that_is_too_big_by_itself_loses_its_beginning() -> None:
    log = MemoryLog(LogLimits(size=100_000))
    await written(log, "s", 1000, 1000)
    assert log.size <= 100_000
    events = await log.read("s", 0)
    assert events is not None
    assert events.entries[-1][0] == 1000
    assert events.first == events.entries[0][0]
    assert [position for position, _ in events.entries] == list(range(1000 - len(events.entries) + 1, 1001))
    assert len(events.entries) > 40


async def test_an_entry_that_is_too_big_by_itself_is_kept_alone() -> None:
    log = MemoryLog(LogLimits(size=100_000))
    await written(log, "small", 10, 100)
    await written(log, "s", 3, 1_000_000)
    assert len(log) == 1
    events = await log.read("s", 0)
    assert events is not None
    assert [position for position, _ in events.entries] == [3]


async def test_an_empty_log_has_no_size(clock: MemoryClock) -> None:
    log = MemoryLog(LogLimits(entries=10, age=100, size=20_000))
    for number in range(30):
        await written(log, f"s {number}", 25, 100)
        await log.append(f"s {number}", [(3, b"left out"), (26, b"added")])
    for number in range(30):
        await log.drop(f"s {number}")
    assert (len(log), log.size) == (0, 0)
    await written(log, "s", 25, 100)
    clock.now += 101
    await log.open("s", b"again")
    await log.drop("s")
    assert (len(log), log.size) == (0, 0)
