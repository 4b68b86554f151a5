"""The one GET stream of a session, among all workers: the newest GET has it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from enfilade.serving.cluster import WorkerChannel
from enfilade.state.open import open_store
from enfilade.state.store import Store, StoreError
from enfilade.transports.http.sse_stream import EventStream, StreamOptions
from enfilade.transports.http.stream_lock import StreamLock, StreamLocks
from support.cluster.in_process_workers import FaultyBus, SharedMemory, running_cluster
from support.http_client.memory_exchange import MemoryExchange
from support.waiting import until

pytestmark = pytest.mark.anyio


class LockingWorker:
    """A worker's locks."""

    def __init__(self, store: Store) -> None:
        self.worker_channel = WorkerChannel(store)
        self.locks = StreamLocks(self.worker_channel)


@pytest.fixture(params=["together", "sqlite"])
async def workers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[LockingWorker]]:
    """Three workers."""
    if request.param == "together":
        stores: list[Store] = [SharedMemory()] * 3
    else:
        stores = [open_store(f"sqlite:///{tmp_path / 'state.db'}") for _ in range(3)]
    for store in stores:
        await store.start()
    workers = [LockingWorker(store) for store in stores]
    for worker in workers:
        await worker.worker_channel.start()
    yield workers
    for worker in workers:
        await worker.worker_channel.stop()
    for store in stores:
        await store.close()


async def holder(workers: list[LockingWorker], session_id: str = "session") -> bytes | None:
    return await workers[0].worker_channel.store.keys.get(f"get:{session_id}")


async def test_the_newest_has_it(workers: list[LockingWorker]) -> None:
    """R-330, R-333: wherever it is asked for, all others have lost it, and leaving takes nothing from it."""
    other = await workers[1].locks.steal("another session", 60)
    taken: list[StreamLock] = []
    for worker in workers * 2:
        lock = await worker.locks.steal("session", 60)
        assert lock.was_held == bool(taken), "whoever has it next may have missed something"
        taken.append(lock)
        await until(lambda: [each.revoked for each in taken] == [True] * (len(taken) - 1) + [False])
        assert await holder(workers) == lock.holder
    for worker, lock in reversed(list(zip(workers * 2, taken, strict=True))[:-1]):
        await worker.locks.release(lock)
    assert await holder(workers) == taken[-1].holder
    await workers[2].locks.release(taken[-1])
    assert await holder(workers) is None
    assert not (await workers[0].locks.steal("session", 60)).was_held
    assert not other.revoked


async def test_of_many_at_once_one_has_it(workers: list[LockingWorker]) -> None:
    """D8: between looking and taking there is nothing."""
    for number in range(10):
        name = f"session {number}"
        locks = await asyncio.gather(*(worker.locks.steal(name, 60) for worker in workers * 4))
        await until(lambda locks=locks: sum(not each.revoked for each in locks) == 1)  # type: ignore[misc]  # bound
        (living,) = (each for each in locks if not each.revoked)
        assert await holder(workers, name) == living.holder


async def test_a_stream_that_is_opened_after_its_lock_was_lost_ends_at_once(workers: list[LockingWorker]) -> None:
    exchange = MemoryExchange()
    lock = await workers[0].locks.steal("session", 60)
    await workers[0].locks.steal("session", 60)
    stream = EventStream(exchange, [], StreamOptions())
    lock.attach(stream)
    assert not stream.push(b"a change")
    await stream.finish(None)
    assert b"a change" not in exchange.body
    assert exchange.has_ended


async def test_the_lock_of_a_dead_worker_is_taken(workers: list[LockingWorker]) -> None:
    """Nobody is waited for."""
    await workers[0].worker_channel.store.keys.put("get:session", b"nobody:1", 60)
    lock = await workers[1].locks.steal("session", 60)
    assert (lock.was_held, await holder(workers)) == (True, lock.holder)


async def test_a_lock_that_the_store_has_forgotten_is_lost_all_the_same(workers: list[LockingWorker]) -> None:
    """A stream may be open for longer than the store remembers where."""
    old = await workers[0].locks.steal("session", 0.05)
    async with asyncio.timeout(20):
        while await holder(workers) is not None:
            await asyncio.sleep(0.02)
    other = await workers[0].locks.steal("another session", 60)
    new = await workers[1].locks.steal("session", 60, may_be_forgotten=True)
    await until(lambda: old.revoked)
    assert (other.revoked, new.revoked) == (False, False)


async def test_a_store_that_does_not_answer_takes_no_lock(
    workers: list[LockingWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs one request, and not the session's stream for ever."""

    async def refuse(*_: object) -> None:
        raise StoreError("out of reach")

    with monkeypatch.context() as broken:
        for verb in ("get", "put", "swap"):
            broken.setattr(workers[0].locks._keys, verb, refuse)
        with pytest.raises(StoreError):
            await workers[0].locks.steal("session", 60)
    assert len(workers[0].locks) == 0
    await workers[0].locks.steal("session", 60)


@pytest.mark.parametrize("said", [True, False], ids=["the gap is known", "the gap is not known"])
async def test_a_message_that_is_lost(said: bool) -> None:
    """The old connection lives on until the worker hears that it may have missed something."""
    store = SharedMemory()
    bus: FaultyBus = store.bus
    await store.start()
    workers = [LockingWorker(store) for _ in range(2)]
    for worker in workers:
        await worker.worker_channel.start()
    old = await workers[0].locks.steal("session", 60)
    bus.deaf = True
    new = await workers[1].locks.steal("session", 60)
    await asyncio.sleep(0.01)
    bus.deaf = False
    if said:
        bus.say_so()
        await until(lambda: old.revoked)
    assert (old.revoked, new.revoked) == (said, False)
    for worker in workers:
        await worker.worker_channel.stop()


@pytest.mark.parametrize("worker", [0, 1])
async def test_a_client_that_comes_back_is_served_at_once(tmp_path: Path, worker: int) -> None:
    """S7: its old connection, which nobody has missed, ends; what it may have missed is told (R-369)."""
    async with running_cluster([f"sqlite:///{tmp_path / 'state.db'}"] * 2) as cluster:
        client = await cluster.client("2025-06-18")
        first = await client.open(0)
        first.reading.clear()  # nobody reads there, but the connection stands
        cluster.apps[0].change(["tools"])
        second = await client.open(worker)
        await first.finish()
        await second.until(lambda: "notifications/tools/list_changed" in second.texts)
        before = len(second.received)
        cluster.apps[0].change(["tools"])
        await second.wait_for(before + 1)
        assert first.received == []
