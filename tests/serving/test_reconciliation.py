"""What workers put back into a store that has lost it, when they look, and what a probe is told meanwhile."""

import asyncio
import logging
from typing import Any

import pytest

from enfilade.state.memory import MemoryKeys
from enfilade.state.store import ENDED, StoreError
from enfilade.timings import Timings
from support.cluster.in_process_workers import ClusterClient, InProcessCluster, SharedMemory, running_cluster
from support.waiting import until

pytestmark = pytest.mark.anyio

EMPTIED = "the store was emptied"


@pytest.fixture
def store() -> SharedMemory:
    return SharedMemory()


def lose_everything(store: SharedMemory) -> None:
    """Empty the store, of which nobody is told."""
    keys = store.keys
    assert isinstance(keys, MemoryKeys)
    keys.clear()


def counted_gets(store: SharedMemory, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each key that is read from now on is added."""
    asked: list[str] = []
    get = store.keys.get

    async def counted(key: str) -> bytes | None:
        asked.append(key)
        return await get(key)

    monkeypatch.setattr(store.keys, "get", counted)
    return asked


async def status(client: ClusterClient, worker: int) -> int:
    return (await client.start("ping", {}, worker).finish()).status


async def ready(cluster: InProcessCluster) -> list[str | None]:
    return [await app.endpoint.ready() for app in cluster.apps]


async def started(store: SharedMemory, timings: Timings | None = None) -> InProcessCluster:
    cluster = InProcessCluster([store], timings)
    await cluster.apps[0].endpoint.start()
    return cluster


async def test_a_probe_puts_back_what_is_missing_and_says_so_once(
    store: SharedMemory, caplog: pytest.LogCaptureFixture
) -> None:
    """R-315: each worker restores the ends that it knows, also those that were lost before another had looked."""
    async with running_cluster([store, store]) as cluster:
        ended = await cluster.client(worker=0)
        assert await ended.delete(0) == 204
        secret = await store.keys.get("secret")
        lose_everything(store)
        for _ in range(3):
            assert await ready(cluster) == [None, None]
        assert await store.keys.get("secret") == secret
        late = await started(store)
        late_ended = ClusterClient(late, ended.token, ended.revision)
        assert await status(late_ended, 0) == 404, "a new worker finds its end in the store"
        await late.stop()
    assert [record.message.startswith(EMPTIED) for record in caplog.records] == [True, True], (
        "once for each worker"
    )


async def test_a_worker_that_starts_while_the_store_is_empty_waits_for_the_secret(store: SharedMemory) -> None:
    """R-310: so that no session is given out that others do not know; and none is refused that they gave out."""
    async with running_cluster([store]) as cluster:
        old = await cluster.client()
        lose_everything(store)
        late = await started(store)
        fresh = await late.client()
        assert await status(ClusterClient(late, old.token, old.revision), 0) == 200
        assert await status(ClusterClient(cluster, fresh.token, fresh.revision), 0) == 200
        await late.stop()


async def test_sessions_of_both_are_served_although_no_message_arrives(store: SharedMemory) -> None:
    """R-310: a secret that is not known is looked for in the store."""
    async with running_cluster([store], timings=Timings(secret_wait=0.0)) as cluster:
        old = await cluster.client()
        lose_everything(store)
        store.bus.deaf = True
        late = await started(store, Timings(secret_wait=0.0))
        fresh = await late.client()
        assert await status(ClusterClient(late, old.token, old.revision), 0) == 404, "nobody has put it back yet"
        assert await status(ClusterClient(cluster, fresh.token, fresh.revision), 0) == 200, (
            "it was found in the store"
        )
        late.apps[0].endpoint._reconciler._next_poll = 0.0
        assert await status(ClusterClient(late, old.token, old.revision), 0) == 200, (
            "the first has put it back by that"
        )
        await late.stop()


async def test_a_worker_that_made_a_secret_expects_the_others(
    store: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-315: whoever calls before the others are back at the store waits, and is refused only after that."""
    async with running_cluster([store], timings=Timings(secret_wait=3600.0)) as cluster:
        old = await cluster.client()
        lose_everything(store)
        store.bus.deaf = True  # as after an outage in which the first worker has lost its connection
        late = await started(store, Timings(secret_wait=3600.0))
        asked = counted_gets(store, monkeypatch)
        calls = [asyncio.create_task(status(ClusterClient(late, old.token, old.revision), 0)) for _ in range(5)]
        stranger = asyncio.create_task(status(ClusterClient(late, "c3RyYW5nZXI", old.revision), 0))
        await asyncio.sleep(0.3)
        assert not any(each.done() for each in calls)
        assert await ready(cluster) == [None]  # which puts the secret back
        assert await asyncio.gather(*calls) == [200] * 5
        assert not stranger.done()
        assert asked.count("secret") < 10, "all that wait ask together"
        late.apps[0].endpoint._reconciler._expects_until = 0.0
        assert await stranger == 404
        await late.stop()


async def test_whoever_comes_while_a_look_is_under_way_waits_for_it(
    store: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-315: two requests with a secret that is not known here; neither is refused because the other one asks."""
    async with running_cluster([store], timings=Timings(secret_wait=0.0)) as cluster:
        lose_everything(store)
        store.bus.deaf = True
        late = await started(store, Timings(secret_wait=0.0))
        fresh = await late.client()
        plain = store.keys.get

        async def slow(key: str) -> bytes | None:
            await asyncio.sleep(0.05)
            return await plain(key)

        monkeypatch.setattr(store.keys, "get", slow)
        calls = [status(ClusterClient(cluster, fresh.token, fresh.revision), 0) for _ in range(5)]
        assert await asyncio.gather(*calls) == [200] * 5
        await late.stop()


async def test_ends_are_put_back_before_the_secret(store: SharedMemory) -> None:
    """R-315: with the secret alone, another worker would take a session for live that was ended."""
    async with running_cluster([store]) as cluster:
        ended = await cluster.client()
        assert await ended.delete(0) == 204
        lose_everything(store)
        reconciler = cluster.apps[0].endpoint._reconciler
        plain, seen = reconciler.restore, []
        assert plain is not None

        async def restore() -> int:
            seen.append(await store.keys.get("secret"))
            return await plain()

        reconciler.restore = restore
        assert await ready(cluster) == [None]
        assert seen == [None]
        assert await store.keys.get("secret") is not None


async def test_who_puts_a_secret_back_tells_the_others(store: SharedMemory) -> None:
    """So that they accept it at once, and not only at their next look."""
    async with running_cluster([store], timings=Timings(lease_renewal=3600.0)) as cluster:
        old = await cluster.client()
        lose_everything(store)
        store.bus.deaf = True
        late = await started(store, Timings(lease_renewal=3600.0))
        store.bus.deaf = False
        seal = late.apps[0]._seal
        assert seal.open(old.token, b"session") is None
        assert await ready(cluster) == [None]
        await until(lambda: seal.open(old.token, b"session") is not None)
        await late.stop()


async def test_strangers_do_not_make_a_worker_ask_the_store_each_time(
    store: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_cluster([store], timings=Timings(secret_wait=0.0)) as cluster:
        asked = counted_gets(store, monkeypatch)
        for number in range(20):
            assert await status(ClusterClient(cluster, f"forged{number}", "2025-11-25"), 0) == 404
        assert asked.count("secret") == 1


async def test_it_is_looked_after_at_each_renewal_and_after_each_gap(store: SharedMemory) -> None:
    async with running_cluster([store], timings=Timings(lease_renewal=0.02)):
        secret = await store.keys.get("secret")
        lose_everything(store)

        async def is_back() -> None:
            while await store.keys.get("secret") != secret:
                await asyncio.sleep(0.005)

        await asyncio.wait_for(is_back(), 20)
    async with running_cluster([store], timings=Timings(lease_renewal=3600.0)):
        lose_everything(store)
        store.bus.say_so()
        await asyncio.wait_for(is_back(), 20)


async def test_not_ready_while_the_store_does_not_take_the_secret(
    store: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_cluster([store]) as cluster:
        lose_everything(store)
        with monkeypatch.context() as patch:

            async def refuse(*_: Any) -> bool:
                raise StoreError("it is full")

            patch.setattr(store.keys, "swap", refuse)
            assert await ready(cluster) == ["the store has not got the secret of this server"]
            assert await ready(cluster) == ["the store has not got the secret of this server"]
        assert await ready(cluster) == [None]


async def test_an_outage_within_is_made_up_for(
    store: SharedMemory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The ends of sessions are restored although the store failed after it had taken the secret."""
    caplog.set_level(logging.DEBUG, "enfilade.serving")
    async with running_cluster([store], timings=Timings(agreement_retries=(0.0, 0.0, 0.0, 0.0))) as cluster:
        client = await cluster.client()
        assert await client.delete() == 204
        session_key = f"session:{next(iter(cluster.apps[0].endpoint.services.sessions._ended))}"
        assert await store.keys.get(session_key) == ENDED
        lose_everything(store)
        swap, failures = store.keys.swap, [1, 1]

        async def fail_twice(key: str, *rest: Any) -> bool:
            if key == session_key and failures:
                failures.pop()
                raise StoreError("away")
            return await swap(key, *rest)

        monkeypatch.setattr(store.keys, "swap", fail_twice)
        store.bus.say_so()
        await until(lambda: store.keys.value_of(session_key) == ENDED)  # type: ignore[attr-defined]
        assert failures == []


async def test_what_is_remembered_of_ended_sessions_is_bounded(
    store: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from enfilade.transports.http import sessions

    monkeypatch.setattr(sessions, "_ENDED", 3)
    async with running_cluster([store]) as cluster:
        for _ in range(5):
            assert await (await cluster.client()).delete() == 204
        known = cluster.apps[0].endpoint.services.sessions
        assert len(known._ended) == 3
        lose_everything(store)
        assert await known.restore_ended() == 3


async def test_a_given_secret_is_not_put_into_the_store_but_ended_sessions_are(store: SharedMemory) -> None:
    async with running_cluster([store], secret="a secret of thirty-two characters") as cluster:
        client = await cluster.client()
        assert await client.delete() == 204
        lose_everything(store)
        assert await ready(cluster) == [None]
        assert await store.keys.get("secret") is None
        (session_id,) = cluster.apps[0].endpoint.services.sessions._ended
        assert await store.keys.get(f"session:{session_id}") == ENDED


async def test_a_resource_watched_while_the_bus_was_lost_is_told_of_afterwards(store: SharedMemory) -> None:
    """R-367: a change of it may have been missed, and one notification too many does no harm."""
    async with running_cluster([store, store]) as cluster:
        client = await cluster.client()
        stream = await client.open(1)
        store.bus.deaf = True
        await client.start("resources/subscribe", {"uri": "note://a"}, 0).finish()
        await client.call("change", 0, what=["note://a"]).finish()
        await asyncio.sleep(4 * Timings().change_debounce)  # until the message about the change is lost as well
        assert "note://a" not in stream.texts
        store.bus.deaf = False
        store.bus.say_so()
        await stream.until(lambda: "note://a" in stream.texts)
