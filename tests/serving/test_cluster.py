"""What workers tell each other, and what happens all the same when they cannot."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from enfilade.serving.cluster import WorkerChannel, process_namespace
from enfilade.state.store import StoreError
from enfilade.timings import Timings
from support.cluster.in_process_workers import InProcessCluster, SharedMemory, running_cluster
from support.http_client.connection import modern_headers, request_of, stateless_meta
from support.stores.kinds import MemoryClock
from support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def store() -> SharedMemory:
    return SharedMemory()


class TestMessages:
    async def test_go_to_one_or_to_all_others_in_order(self, store: SharedMemory) -> None:
        worker_channels = [WorkerChannel(store) for _ in range(3)]
        heard: list[list[Any]] = [[] for _ in worker_channels]
        for each, told in zip(worker_channels, heard, strict=True):
            each.on("x", told.append)
            await each.start()
        for number in range(20):
            worker_channels[0].send("x", number)
        worker_channels[0].send("x", "only you", worker_channels[2].worker)
        worker_channels[0].send("x", "I", worker_channels[0].worker)
        assert heard[0] == ["I"], "what it tells itself it hears at once"
        await until(lambda: (len(heard[1]), len(heard[2])) == (20, 21))
        assert heard == [["I"], [*range(20)], [*range(20), "only you"]]
        for each in worker_channels:
            await each.stop()

    async def test_an_odd_one_does_not_end_the_hearing(
        self, store: SharedMemory, caplog: pytest.LogCaptureFixture
    ) -> None:
        one, other = WorkerChannel(store), WorkerChannel(store)
        heard: list[Any] = []

        def told(body: Any) -> None:
            heard.append(body["number"])

        other.on("x", told)
        await one.start()
        await other.start()
        for letter in (b"", b"\xff\xff", msgspec.msgpack.encode(["a", "b"]), msgspec.msgpack.encode({"a": 1})):
            await store.bus.publish("workers", letter)
        one.send("of another version", 1)
        one.send("x", "no mapping")
        one.send("x", {"number": 5})
        await until(lambda: heard)
        assert heard == [5]
        assert caplog.text.count("could not be handled") == 1
        await one.stop()
        await other.stop()

    async def test_a_bus_that_fails_costs_nobody_anything(
        self, store: SharedMemory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def publish(topic: str, message: bytes) -> None:
            raise StoreError("out of reach")

        monkeypatch.setattr(store.bus, "publish", publish)
        one = WorkerChannel(store)
        await one.start()
        one.send("x", 1)
        await one.send_and_wait("x", 2)
        await until(lambda: "could not be told of 'x': out of reach" in caplog.text)
        await one.stop()


#: A worker without a lease is gone at once.
WITHOUT_GRACE = Timings(lease_grace=0)


class TestLeases:
    async def test_a_store_that_was_emptied_makes_nobody_gone(self, store: SharedMemory) -> None:
        """Until the others have had the time to say again that they are there."""
        one, other = WorkerChannel(store, Timings(lease_grace=3600)), WorkerChannel(store)
        await other.start()
        assert await one.is_alive(other.worker)
        await store.keys.delete(f"worker:{other.worker}")
        assert await one.is_alive(other.worker)
        one.timings = WITHOUT_GRACE
        assert not await one.is_alive(other.worker)
        await other.stop()

    async def test_a_worker_is_there_from_start_to_stop(self, store: SharedMemory) -> None:
        one, other = WorkerChannel(store, WITHOUT_GRACE), WorkerChannel(store)
        assert not await one.is_alive(other.worker)
        assert await one.is_alive(one.worker)
        await other.start()
        assert await one.is_alive(other.worker)
        await other.stop()
        assert not await one.is_alive(other.worker)

    async def test_who_says_nothing_more_is_gone_when_the_lease_is_over(
        self, store: SharedMemory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = MemoryClock(monkeypatch)
        timings = Timings(lease=10.0, lease_renewal=0.01, lease_grace=0)
        one, other = WorkerChannel(store, timings), WorkerChannel(store, timings)
        await other.start()
        first = await store.keys.get(f"worker:{other.worker}")
        assert first is not None
        renewals: list[float] = []
        other.on_renewal(lambda: renewals.append(clock.now))
        for _ in range(4):
            clock.now += 6
            await until(lambda: renewals[-1:] == [clock.now])
            assert await one.is_alive(other.worker), "as long as it renews its lease"
        assert other._renewing is not None
        other._renewing.cancel()
        clock.now += 9
        assert await one.is_alive(other.worker)
        clock.now += 1
        assert not await one.is_alive(other.worker)

    async def test_a_dead_process_is_noticed_at_once(self, store: SharedMemory) -> None:
        """Its lease has not ended, but whoever shares its machine can see that it is gone."""
        process = await asyncio.create_subprocess_exec("true" if os.name != "nt" else "hostname")
        await process.wait()
        one = WorkerChannel(store, WITHOUT_GRACE)
        for where, pid, alive in (
            (process_namespace(), process.pid, False),
            ("another machine", process.pid, True),
            (process_namespace(), os.getppid(), True),
        ):
            await store.keys.put("worker:other", msgspec.msgpack.encode([where, pid]), 60)
            assert await one.is_alive("other") == alive

    async def test_a_worker_that_had_our_process_id_before_is_gone(self, store: SharedMemory) -> None:
        """As in a container that was started anew; but another one of this process is there."""
        one, sibling = WorkerChannel(store, WITHOUT_GRACE), WorkerChannel(store)
        await store.keys.put("worker:before", msgspec.msgpack.encode([process_namespace(), os.getpid()]), 60)
        await sibling.start()
        assert await one.is_alive("before") == (process_namespace() == "")
        assert await one.is_alive(sibling.worker)
        await sibling.stop()

    async def test_alone_there_is_nobody_else(self) -> None:
        from enfilade.state.open import open_store

        one = WorkerChannel(open_store("memory://"))
        await one.start()
        assert not await one.is_alive("other")
        one.send("x", 1)
        await one.send_and_wait("x", 1)
        await one.stop()


@pytest.fixture(params=["together", "sqlite"])
async def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, store: SharedMemory
) -> AsyncIterator[InProcessCluster]:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    async with running_cluster([store] * 3 if request.param == "together" else [url] * 3) as cluster:
        yield cluster


class TestWorkers:
    """What arrives at one worker and is meant for another, and the other way round."""

    async def test_a_change_is_told_by_all(self, cluster: InProcessCluster) -> None:
        """R-369: to each session once."""
        streams = []
        for worker in range(3):
            client = await cluster.client(worker=worker)
            await client.start("resources/subscribe", {"uri": "note://a"}, worker).finish()
            streams.append(await client.open(worker))
        cluster.apps[1].change(["note://b", "note://a", "tools"])
        for stream in streams:
            await stream.wait_for(2)
            assert sorted(stream.texts) == ["note://a", "notifications/tools/list_changed"]

    async def test_an_answer_finds_its_question(self, cluster: InProcessCluster) -> None:
        """R-334."""
        client = await cluster.client()
        cluster.release("a")
        call = client.call("ask", name="a")
        await call.wait_for(2)
        await client.answer(call.received[1], 1)
        await call.finish()
        assert call.texts[-1] == "a accept"

    async def test_an_answer_to_anothers_question_counts_for_nothing(self, cluster: InProcessCluster) -> None:
        """R-334, D3: an id is of no use in another session, wherever it is said."""
        client, stranger = await cluster.client(), await cluster.client()
        cluster.release("a")
        call = client.call("ask", name="a")
        await call.wait_for(2)
        question = call.received[1]
        for worker in range(3):
            await stranger.answer(question, worker, "decline")
            nearly = question["id"][:-1] + ("1" if question["id"].endswith("0") else "0")
            for id in ("ask", "ask-x-y-z", "", 5, nearly, question["id"] + "00"):
                await client.answer({"id": id} if id != "" else {"id": "none"}, worker, "decline")
        await client.answer(question, 2)
        await call.finish()
        assert call.texts[-1] == "a accept"
        for app in cluster.apps:
            assert len(app.endpoint.services.asker) == 0

    async def test_a_cancellation_finds_its_request(self, cluster: InProcessCluster) -> None:
        """R-361, R-363, R-364: of its own session, and with an id of its type."""
        client, stranger = await cluster.client(), await cluster.client()
        call = client.call("say", name="a", count=2, hold=1)
        await call.wait_for(1)
        await stranger.notify("notifications/cancelled", {"requestId": 1}, 2)
        for id in ("1", 2):
            await client.notify("notifications/cancelled", {"requestId": id}, 2)
        await client.notify("notifications/cancelled", {"requestId": 1}, 1)
        await call.finish()
        assert (call.texts, cluster.apps[0].ended) == (["a 0"], ["a cancelled"])

    async def test_an_ended_session_is_ended_everywhere(self, cluster: InProcessCluster) -> None:
        """R-315, R-316: from the next request on, although each worker knew it as alive."""
        client = await cluster.client()
        call = client.call("say", name="a", count=2, hold=1)
        await call.wait_for(1)
        stream = await client.open(1)
        for worker in range(3):
            assert (await client.start("ping", {}, worker).finish()).status == 200
        assert await client.delete(2) == 204
        statuses = [(await client.start("ping", {}, worker).finish()).status for worker in range(3)]
        assert statuses == [404] * 3
        await call.finish()
        await stream.finish()
        assert cluster.apps[0].ended == ["a cancelled"]

    async def test_a_log_level_holds_everywhere(self, cluster: InProcessCluster) -> None:
        """R-367."""
        client = await cluster.client()
        for worker in range(3):
            assert len((await client.call("say", worker, name="a", count=1).finish()).received) == 2
        await client.start("logging/setLevel", {"level": "error"}, 1).finish()
        for worker in range(3):
            assert b'"info"' not in (await client.call("say", worker, name="a", count=1).finish()).body

    async def test_what_is_watched_is_watched_everywhere(self, cluster: InProcessCluster) -> None:
        """R-368: while the stream is open at another worker."""
        client = await cluster.client()
        stream = await client.open(0)
        await client.start("resources/subscribe", {"uri": "note://a"}, 1).finish()
        streaming = cluster.apps[0].endpoint.services.sessions.streaming
        await stream.until(lambda: any(streaming.values()))
        cluster.apps[2].change(["note://a"])
        await stream.wait_for(1)
        await client.start("resources/unsubscribe", {"uri": "note://a"}, 2).finish()
        await stream.until(lambda: not any(streaming.values()))
        cluster.apps[1].change(["note://a", "tools"])
        await stream.wait_for(2)
        assert stream.texts == ["note://a", "notifications/tools/list_changed"]


class TestLostMessages:
    """A bus that loses everything: what is in the store is found all the same."""

    async def test_an_answer_is_found_by_looking(self, store: SharedMemory) -> None:
        """R-334."""
        async with running_cluster([store, store], timings=Timings(poll_interval=0.05)) as cluster:
            client = await cluster.client()
            cluster.release("a")
            call = client.call("ask", name="a")
            await call.wait_for(2)
            store.bus.deaf = True
            await client.answer(call.received[1], 1)
            await call.finish()
            assert call.texts[-1] == "a accept"

    async def test_a_stream_is_resumed_by_looking(self, store: SharedMemory) -> None:
        """R-351: nothing depends on being woken."""
        async with running_cluster([store, store]) as cluster:
            client = await cluster.client()
            call = client.call("say", name="a", count=3, hold=1)
            await call.wait_for(1)
            store.bus.deaf = True
            await call.cut()
            again = await client.resume(call.ids[0], 1)
            await again.wait_for(1)
            cluster.release("a")
            await again.finish()
            assert again.texts == ["a 0", "a 1", "a 2", "a done"]

    async def test_who_listens_is_told_of_all_that_may_have_changed(self, store: SharedMemory) -> None:
        """R-331, R-369, R-2C1: of no more than it asked for."""
        async with running_cluster([store, store]) as cluster:
            client = await cluster.client()
            await client.start("resources/subscribe", {"uri": "note://a"}, 1).finish()
            stream = await client.open(1)
            wanted = {"toolsListChanged": True, "resourceSubscriptions": ["note://b"]}
            listening = request_of("subscriptions/listen", {"notifications": wanted}, 1, stateless_meta())
            listens = client.post(listening, 1, mcp_session_id=None, **modern_headers(listening))
            await listens.until(lambda: listens.body)
            store.bus.deaf = True
            cluster.apps[0].change(["tools", "note://a", "note://b"])
            store.bus.say_so()
            await stream.until(lambda: "note://a" in stream.texts)
            await listens.until(lambda: b"note://b" in listens.body)
            lists = [f"notifications/{each}/list_changed" for each in ("tools", "resources")]
            assert stream.texts == [*lists, "note://a"]
            told = [each["method"] for each in listens.messages]
            assert sorted(told[1:]) == ["notifications/resources/updated", lists[0]]

    async def test_after_a_gap_nothing_is_relied_on(self, store: SharedMemory) -> None:
        """R-315, R-367, R-368: what was missed is looked up at the next request, and for open streams at once."""
        async with running_cluster([store, store]) as cluster:
            client = await cluster.client()
            ended = await cluster.client()
            stream = await client.open(1)
            for each in (client, ended):
                assert (await each.start("ping", {}, 1).finish()).status == 200
            store.bus.deaf = True
            assert await ended.delete(0) == 204
            await client.start("resources/subscribe", {"uri": "note://a"}, 0).finish()
            await client.start("logging/setLevel", {"level": "error"}, 0).finish()
            assert (await ended.start("ping", {}, 1).finish()).status == 200, "nobody has told it"
            store.bus.deaf = False
            store.bus.say_so()
            assert (await ended.start("ping", {}, 1).finish()).status == 404
            assert b'"info"' not in (await client.call("say", 1, name="a", count=1).finish()).body
            cluster.apps[1].change(["note://a"])
            await stream.until(lambda: stream.texts[-1:] == ["note://a"])
