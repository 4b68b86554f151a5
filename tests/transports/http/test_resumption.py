"""Coming back for the rest of a stream: what followed, once, at any worker, to its end, and nobody else's.

Each test runs with one worker, and with two that share a store, where every return is to the other one.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from enfilade import Context, Settings
from enfilade.state.store import LogLimits, StoreError
from enfilade.timings import Timings
from enfilade.transports.http import resumption, sessions as session_module
from enfilade.transports.http.sse_stream import STREAM_HIGH_WATER, EventStream
from support.authorization.header_users import HeaderUsers
from support.cluster.in_process_workers import (
    ClusterClient,
    InProcessCluster,
    SharedMemory,
    WorkerResponse,
    running_cluster,
)
from support.exchanges import messages_of
from support.http_client.connection import request_of
from support.waiting import until

pytestmark = pytest.mark.anyio

SESSIONS = ("2025-03-26", "2025-06-18", "2025-11-25")
UNKNOWN = "Last-Event-ID is unknown or has expired; open a stream without it, and send what is unanswered again"


@pytest.fixture(params=["alone", "together", "sqlite"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> list[Any]:
    if request.param == "alone":
        return ["memory://"]
    if request.param == "together":
        return [SharedMemory()] * 2
    return [f"sqlite:///{tmp_path / 'state.db'}"] * 2


@pytest.fixture
async def cluster(stores: list[Any]) -> AsyncIterator[InProcessCluster]:
    async with running_cluster(stores) as cluster:
        yield cluster


@pytest.fixture
def last_worker(stores: list[Any]) -> int:
    """The worker to come back to."""
    return len(stores) - 1


async def refusing(*_: object) -> None:
    raise StoreError("it is broken")


class TestIds:
    @pytest.mark.parametrize("revision", SESSIONS)
    async def test_a_stream_is_primed_for_those_who_understand(
        self, cluster: InProcessCluster, revision: str
    ) -> None:
        """R-353, R-354: an event without data, with an id and a pause, for 2025-11-25 only."""
        client = await cluster.client(revision)
        call = await client.call("say", name="a", count=2).finish()
        stream = await client.open()
        client.cluster.apps[0].change(["tools"])
        await stream.wait_for(1)
        for each, messages in ((call, 3), (stream, 1)):
            empty = [event for event in each.events if not event.data]
            assert len(each.events) - len(empty) == messages
            assert all(event.id is not None for event in each.events)
            if revision == "2025-11-25":
                assert each.events[0] == empty[0]
                assert empty[0].id is not None
                assert (empty[0].id.endswith(".0"), empty[0].retry) == (True, 1.0)
            else:
                assert empty == []
                assert b"retry" not in each.body

    async def test_are_unlike_each_other_and_name_their_stream(self, cluster: InProcessCluster) -> None:
        """R-350: of all streams of two sessions, each id but once, and one beginning for each stream."""
        streams: list[WorkerResponse] = []
        for client in (await cluster.client(), await cluster.client()):
            streams += [await client.call("say", name="a", count=3).finish() for _ in range(3)]
            streams.append(await client.open())
        for stream in streams:
            await stream.until(lambda of=stream: of.ids)
        ids = [id for stream in streams for id in stream.ids]
        assert len(set(ids)) == len(ids)
        names = [{id.rpartition(".")[0] for id in stream.ids} for stream in streams]
        assert [len(each) for each in names] == [1] * len(streams)
        assert len(set.union(*names)) == len(streams)

    async def test_cannot_be_guessed(self, cluster: InProcessCluster, last_worker: int) -> None:
        """R-350, R-352: knowing all but the signature, or another position's id, is of no use to a stranger."""
        client = await cluster.client()
        ids = [(await client.call("say", name="a", count=1).finish()).ids[0] for _ in range(20)]
        assert len({id[:6] for id in ids}) == 20
        number, signature, position = ids[0][:24], ids[0][25:41], ids[0][41:]
        for forged in (
            f"{number}-{'A' * 16}{position}",
            f"{number}-{signature[1:]}{signature[0]}{position}",
            f"{ids[1][:24]}-{signature}{position}",
            f"{number}{position}",
            f"{number}-{signature}-{position}",
            f"{number}-{signature}-YWFh{position}",
            f"{number.upper()}-{signature}{position}" if number.upper() != number else "x.1",
        ):
            assert await client.refused(forged, last_worker) == 400

    async def test_beyond_the_end_of_a_finished_stream_there_are_none(
        self, cluster: InProcessCluster, last_worker: int
    ) -> None:
        """R-355: and the log is left alone, so that the stream reads as before."""
        client = await cluster.client()
        call = await client.call("say", name="a", count=3).finish()
        own = await client.open()
        cluster.apps[0].change(["note://a"])
        await own.cut()
        name, _, last = call.ids[-1].rpartition(".")
        for worker in {0, last_worker}:
            for position in (int(last) + 1, int(last) + 2, 99999, 999999999999999):
                assert await client.refused(f"{name}.{position}", worker) == 400
            again = await client.get(call.ids[-1], worker).finish()
            assert (again.status, again.received) == (200, [])
            assert (await client.get(call.ids[0], worker).finish()).events == call.events[1:]

    async def test_that_were_not_given_out_yet_are_refused(
        self, cluster: InProcessCluster, last_worker: int
    ) -> None:
        """R-355: on a stream that goes on; whoever has the last one that was given out is served."""
        client = await cluster.client()
        call = client.call("say", name="a", count=3, hold=2)
        await call.wait_for(2)
        name, _, last = call.ids[-1].rpartition(".")
        for worker in {0, last_worker}:
            for position in (int(last) + 1, 99999):
                assert await client.refused(f"{name}.{position}", worker) == 400
        again = await client.resume(f"{name}.{last}", last_worker)
        cluster.release("a")
        assert (await again.finish()).texts == ["a 2", "a done"]

    async def test_on_a_quiet_stream_of_a_session_are_refused(
        self, cluster: InProcessCluster, last_worker: int
    ) -> None:
        """R-355: as on the streams of requests."""
        client = await cluster.client()
        stream = await client.open()
        cluster.apps[0].change(["tools"])
        await stream.wait_for(1)
        name, _, last = stream.ids[-1].rpartition(".")
        for worker in {0, last_worker}:
            assert await client.refused(f"{name}.{int(last) + 1}", worker) == 400
        await client.resume(f"{name}.{last}", last_worker)

    async def test_that_the_log_does_not_have_yet_are_good(
        self, cluster: InProcessCluster, last_worker: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """R-351: what was sent to the client counts, also at a worker that can only ask whether it was."""
        cluster.set_event_log_timings(Timings(event_gathering=3600.0))
        client = await cluster.client()
        call = client.call("say", name="a", count=3, hold=2)
        await call.wait_for(2)
        name, _, last = call.ids[-1].rpartition(".")
        assert await client.refused(f"{name}.{int(last) + 1}", last_worker) == 400
        again = await client.resume(f"{name}.{last}", last_worker)
        cluster.release("a")
        assert (await again.finish()).texts == ["a 2", "a done"]

    async def test_of_a_stream_that_ends_while_it_is_looked_for_are_good(
        self, cluster: InProcessCluster, last_worker: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """R-351: the end comes between two looks into the log."""
        client = await cluster.client()
        call = await client.call_and_cut()
        event_log = cluster.apps[last_worker].endpoint.services.event_log
        assert event_log is not None
        last = event_log.log.last

        async def last_before_the_end(stream: str) -> int:
            monkeypatch.setattr(event_log.log, "last", last)
            position = await last(stream)
            cluster.release("a")
            await until(lambda: "a done" in cluster.apps[0].ended)
            await until(lambda: _has_ended(last, stream, position))
            return position

        monkeypatch.setattr(event_log.log, "last", last_before_the_end)
        again = await client.resume(call.ids[-1], last_worker)
        cluster.release("a")  # a worker that sends the stream itself does not look
        assert (await again.finish()).texts == ["a 1", "a done"]


async def _has_ended(last: Callable[[str], Awaitable[int]], stream: str, before: int) -> bool:
    """Whether a log has a message, the response and the end of a stream beyond a position."""
    return await last(stream) == before + 3


class TestAnswers:
    @pytest.mark.parametrize("padding", [0, 200_000], ids=["short", "long"])
    async def test_from_every_position_of_a_finished_stream(
        self, cluster: InProcessCluster, last_worker: int, padding: int
    ) -> None:
        """R-351, D22: what followed and nothing else, with the same ids, and the end after the response."""
        client = await cluster.client()
        call = await client.call("say", name="a", count=4, padding=padding).finish()
        whole = call.events
        assert [event.id is not None for event in whole] == [True] * 6
        for at, event in enumerate(whole):
            again = await client.get(str(event.id), last_worker).finish()
            assert again.status == 200
            assert again.events == whole[at + 1 :]

    async def test_from_every_position_of_one_that_goes_on(
        self, cluster: InProcessCluster, last_worker: int
    ) -> None:
        """R-351: from the past into the present without a gap or a double."""
        client = await cluster.client()
        for at in range(4):
            name = f"call-{at}"
            call = client.call("say", name=name, count=5, hold=3)
            await call.wait_for(3)
            await call.cut()
            again = await client.resume(call.ids[at], last_worker)
            await again.wait_for(3 - at)
            cluster.release(name)
            await again.finish()
            assert again.texts == [f"{name} {number}" for number in range(at, 5)] + [f"{name} done"]
            assert again.ids[-1].endswith(".6")

    async def test_twenty_cuts_lose_nothing(self, cluster: InProcessCluster, last_worker: int) -> None:
        """R-351: wherever the connection breaks, and whoever serves the return."""
        client = await cluster.client()
        connection = client.call("say", name="a", count=300, hold=250)
        said: list[str] = []
        for cut in range(20):
            arrived = 1 + cut % 7  # of what was sent when the connection broke
            await connection.until(lambda wanted=arrived, of=connection: len(of.texts) >= wanted)
            said += connection.texts[:arrived]
            at = [event.id for event in connection.events if event.data][arrived - 1]
            await connection.cut()
            connection = await client.resume(str(at), (0, last_worker)[cut % 2])
        cluster.release("a")
        await connection.finish()
        assert said + connection.texts == [*(f"a {number}" for number in range(300)), "a done"]

    async def test_work_survives_its_client(self, cluster: InProcessCluster, last_worker: int) -> None:
        """R-325, R-356: a disconnect is no cancellation, and the result waits."""
        client = await cluster.client()
        call = await client.call_and_cut()
        cluster.release("a")
        await call.until(lambda: cluster.apps[0].ended == ["a done"])
        again = await client.resume(call.ids[-1], last_worker)
        await again.finish()
        assert again.texts == ["a 1", "a done"]

    async def test_takes_over_from_a_connection_that_is_half_open(
        self, cluster: InProcessCluster, last_worker: int
    ) -> None:
        """The old connection, which nobody has missed, is ended; what follows comes on the new one only."""
        client = await cluster.client()
        call = client.call("say", name="a", count=3, hold=1)
        await call.wait_for(1)
        again = await client.resume(call.ids[0], last_worker)
        await again.wait_for(1)
        await call.finish()
        cluster.release("a")
        await again.finish()
        assert (call.texts, again.texts) == (["a 0"], ["a 0", "a 1", "a 2", "a done"])

    async def test_a_reader_that_stalls_does_not_hold_up_whoever_takes_over(
        self, cluster: InProcessCluster, last_worker: int
    ) -> None:
        """Trap of a slow reader: a half-open connection that takes nothing at all."""
        client = await cluster.client()
        call = client.call("say", name="a", count=200, hold=190, padding=4000)
        await call.wait_for(1) if call.received else await call.until(lambda: call.received)
        at = call.ids[0]
        call.reading.clear()
        again = await client.resume(at, last_worker)
        await again.until(lambda: len(again.received) >= 150)
        cluster.release("a")
        await again.finish()
        numbers = [int(each.split()[1]) for each in again.texts[:-1]]
        assert numbers == sorted(set(numbers)), "some may be dropped, none doubled"
        assert again.texts[-1] == "a done"

    async def test_a_page_is_not_piled_up_for_a_reader_that_stalls(
        self, cluster: InProcessCluster, last_worker: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody has to run the tool again to have its result replayed, by as many connections as he likes."""
        client = await cluster.client()
        call = await client.call("say", name="a", count=200, padding=4000).finish()
        sizes: list[int] = []
        plain = EventStream.replay

        def replay(out: EventStream, *event: Any) -> None:
            plain(out, *event)
            sizes.append(out._buffer.size)

        monkeypatch.setattr(EventStream, "replay", replay)
        again = await client.resume(call.ids[0], last_worker)
        again.reading.clear()
        await again.until(lambda: sizes)
        for _ in range(50):
            await asyncio.sleep(0.002)
        assert max(sizes) < STREAM_HIGH_WATER + 10_000
        again.reading.set()
        await again.finish()
        assert again.texts == call.texts

    async def test_the_second_return_supersedes_the_first(
        self, cluster: InProcessCluster, last_worker: int
    ) -> None:
        client = await cluster.client()
        call = await client.call_and_cut()
        first = await client.resume(call.ids[0], last_worker)
        await first.wait_for(1)
        event_log = cluster.apps[0].endpoint.services.event_log
        assert event_log is not None
        (written,) = event_log._open.values()
        await first.until(lambda: written.reader)
        second = await client.resume(call.ids[1], 0)
        await first.finish()
        assert first.events[-1].retry == 1.0, "a client that did not come itself shall come again"
        cluster.release("a")
        await second.finish()
        assert (first.texts, second.texts) == (["a 0"], ["a 1", "a done"])

    async def test_a_cancellation_ends_what_is_resumed(self, cluster: InProcessCluster, last_worker: int) -> None:
        """R-361, R-362: without a response."""
        client = await cluster.client()
        call = await client.call_and_cut()
        again = await client.resume(call.ids[1], last_worker)
        await client.notify("notifications/cancelled", {"requestId": 1, "reason": "enough"}, last_worker)
        await again.finish()
        assert (again.texts, cluster.apps[0].ended) == ([], ["a cancelled"])
        assert (await client.get(call.ids[1], last_worker).finish()).texts == [], "nor does it come back later"

    async def test_the_end_of_its_session_ends_it(self, cluster: InProcessCluster, last_worker: int) -> None:
        """R-315, R-316: whoever came back for the call reads what became of it."""
        client = await cluster.client()
        call = await client.call_and_cut()
        again = await client.resume(call.ids[1], last_worker)
        assert await client.delete(last_worker) == 204
        await again.finish()
        (outcome,) = again.received
        assert outcome["error"] == {"code": -32600, "message": "Session not found: send initialize again"}
        assert cluster.apps[0].ended == ["a cancelled"]
        assert await client.refused(call.ids[1], 0) == 404
        assert await client.refused(call.ids[1], last_worker) == 404

    async def test_an_expired_session_has_no_streams(
        self, cluster: InProcessCluster, last_worker: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """R-314, R-315: not even finished ones."""
        client = await cluster.client()
        call = await client.call("say", name="a", count=2).finish()
        late = SimpleNamespace(time=lambda: time.time() + 130_000, monotonic=lambda: time.monotonic() + 130_000)
        monkeypatch.setattr(session_module, "time", late)
        assert await client.refused(call.ids[0], last_worker) == 404

    async def test_a_batch_is_resumed_as_one_stream(self, cluster: InProcessCluster, last_worker: int) -> None:
        """R-342, R-343: 2025-03-26."""
        client = await cluster.client("2025-03-26")
        calls = [
            request_of(
                "tools/call", {"name": "say", "arguments": {"name": name, "count": 2, "hold": 1}}, name, None
            )
            for name in ("a", "b")
        ]
        batch = client.post(calls)
        await batch.wait_for(2)
        await batch.cut()
        again = await client.resume(batch.ids[0], last_worker)
        await again.wait_for(1)
        cluster.release("a")
        cluster.release("b")
        await again.finish()
        assert sorted(batch.texts[:1] + again.texts) == ["a 0", "a 1", "a done", "b 0", "b 1", "b done"]


class TestRefusals:
    async def test_anothers_ids_are_unknown(self, cluster: InProcessCluster, last_worker: int) -> None:
        """R-352, R-717, D3: the same words as for what never was, finished or not."""
        one, other = await cluster.client(), await cluster.client()
        finished = await one.call("say", name="a", count=2).finish()
        open_ = one.call("say", name="b", count=2, hold=1)
        await open_.wait_for(1)
        stream = await one.open()
        await stream.until(lambda: stream.ids)
        for id in (*finished.ids, *open_.ids, *stream.ids):
            refused = await other.get(id, last_worker).finish()
            assert (refused.status, refused.error) == (400, {"code": -32600, "message": UNKNOWN})
        cluster.release("b")
        await open_.finish()
        assert open_.texts[-1] == "b done", "nobody was disturbed"

    async def test_nothing_is_read_for_a_stranger(
        self, stores: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """R-352, R-317: ids of others, forged ids and other principals never reach the log."""
        async with running_cluster(stores) as cluster:
            for app in cluster.apps:
                monkeypatch.setattr(app.endpoint, "_authenticator", HeaderUsers())
            alice, bob = await cluster.client(x_user="alice"), await cluster.client(x_user="bob")
            call = await alice.call("say", name="a", count=2).finish()
            read: list[str] = []
            for app in cluster.apps:

                async def recorded(stream: str, after: int) -> None:
                    read.append(stream)

                assert app.endpoint.services.event_log is not None
                monkeypatch.setattr(app.endpoint.services.event_log.log, "read", recorded)
            worker = len(stores) - 1
            assert await bob.refused(call.ids[0], worker) == 400
            assert await bob.refused("x" * 24 + call.ids[0][24:], worker) == 400
            stolen = ClusterClient(cluster, alice.token, alice.revision, x_user="bob")
            assert await stolen.refused(call.ids[0], worker) == 404
            assert read == []
            assert await alice.refused(call.ids[0], worker) == 400
            assert read, "for its owner it is looked for"

    @pytest.mark.parametrize(
        "id",
        ["1", "-1", "_GET_stream", "0.0", "../../etc/passwd", "\xe9", "a" * 10_000, "*", "\t1", "1 2"],
    )
    async def test_what_is_no_id(self, cluster: InProcessCluster, last_worker: int, id: str) -> None:
        """R-355: never a fresh stream in silence."""
        client = await cluster.client()
        assert await client.refused(id.encode("latin-1"), last_worker) == 400

    async def test_a_position_that_never_was_harms_nobody(
        self, cluster: InProcessCluster, last_worker: int
    ) -> None:
        """Who makes one up for a stream of its own is not left waiting, and the stream is as it was."""
        client = await cluster.client()
        call = await client.call("say", name="a", count=2).finish()
        name = call.ids[0].rpartition(".")[0]
        for position in (99, 10**15 - 1):
            assert "a done" not in (await client.get(f"{name}.{position}", last_worker).finish()).texts
        assert (await client.get(call.ids[0], last_worker).finish()).events == call.events[1:]

    async def test_what_has_expired_is_refused(self, tmp_path: Path) -> None:
        """R-355: clearly, and not as a fresh stream."""
        for store in ("memory://", f"sqlite:///{tmp_path / 'state.db'}"):
            async with running_cluster([store], settings=Settings(stream_age=0.2)) as cluster:
                client = await cluster.client()
                call = await client.call("say", name="a", count=2).finish()
                again = client.get(call.ids[0])
                async with asyncio.timeout(20):
                    while (await again.finish()).status == 200:
                        await asyncio.sleep(0.05)
                        again = client.get(call.ids[0])
                assert (again.status, again.error["message"]) == (400, UNKNOWN)

    async def test_what_was_trimmed_is_refused_and_what_was_not_is_not(self) -> None:
        """R-355: never a stream with a hole in it."""
        store = SharedMemory(LogLimits(entries=10))
        async with running_cluster([store, store]) as cluster:
            client = await cluster.client()
            call = client.call("say", name="a", count=60, padding=140_000)
            await call.finish()
            assert await client.refused(call.ids[0], 1) == 400
            again = await client.get(call.ids[-3], 1).finish()
            assert again.ids == call.ids[-2:]

    async def test_what_its_worker_gave_up_is_waited_for_by_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The worker lives, but could not write the end into the log."""
        store = SharedMemory()
        async with running_cluster([store, store], Timings(log_retries=0.2, reader_renewal=0.2)) as cluster:
            client = await cluster.client()
            call = await client.call_and_cut()
            again = await client.resume(call.ids[0], 1)
            await again.wait_for(1)
            with monkeypatch.context() as broken:
                broken.setattr(store.log, "append", refusing)
                cluster.release("a")
                event_log = cluster.apps[0].endpoint.services.event_log
                await call.until(lambda: event_log is not None and len(event_log) == 0)
            await again.finish()
            assert again.received[-1]["error"]["message"] == resumption.GONE_TEXT

    async def test_a_stream_that_is_lost_under_its_reader_ends(
        self, cluster: InProcessCluster, last_worker: int
    ) -> None:
        """R-355: a store that drops what somebody reads costs a connection, not a traceback or a hang."""
        client = await cluster.client()
        call = await client.call_and_cut()
        again = await client.resume(call.ids[0], last_worker)
        await again.wait_for(1)
        endpoint = cluster.apps[last_worker].endpoint
        assert endpoint.services.event_log is not None
        assert cluster.apps[0].endpoint.services.event_log is not None
        (stream,) = cluster.apps[0].endpoint.services.event_log._open
        await endpoint.services.event_log.log.drop(stream)
        await again.finish()
        assert again.texts == ["a 0"]
        assert await client.refused(call.ids[0], last_worker) == 400


class TestWithoutIt:
    """`resumable=False`: R-355, D2."""

    async def test_there_are_no_ids(self) -> None:
        async with running_cluster(["memory://"], settings=Settings(resumable=False)) as cluster:
            client = await cluster.client()
            call = await client.call("say", name="a", count=2).finish()
            assert call.texts == ["a 0", "a 1", "a done"]
            stream = await client.open()
            cluster.apps[0].change(["tools"])
            await stream.wait_for(1)
            for each in (call, stream):
                assert b"id:" not in each.body
                assert b"retry" not in each.body

    @pytest.mark.parametrize("id", ["5", "x" * 5000, "00" * 12 + "-" + "A" * 16 + ".3"])
    async def test_a_last_id_is_ignored(self, id: str) -> None:
        """D2: it is a GET stream like any other."""
        async with running_cluster(["memory://"], settings=Settings(resumable=False)) as cluster:
            client = await cluster.client()
            stream = await client.resume(id)
            cluster.apps[0].change(["tools"])
            await stream.wait_for(1)
            assert stream.texts == ["notifications/tools/list_changed"]

    async def test_nothing_can_be_polled(self) -> None:
        async with running_cluster(["memory://"], settings=Settings(resumable=False)) as cluster:
            client = await cluster.client()
            cluster.release("a")
            call = await client.call("poll", name="a").finish()
            assert call.texts == ["a before", "a after", "a done"]
            assert cluster.apps[0].parted == [False]

    @pytest.mark.parametrize("resumable", [True, False])
    async def test_a_client_of_json_hears_of_no_stream(self, resumable: bool) -> None:
        """R-326: what takes plain JSON gets it, and nothing is recorded for it."""
        async with running_cluster(["memory://"], settings=Settings(resumable=resumable)) as cluster:
            client = await cluster.client()
            cluster.release("a")
            params = {"name": "poll", "arguments": {"name": "a"}}
            call = await client.start("tools/call", params, accept="application/json").finish()
            assert json.loads(call.body)["result"]["content"][0]["text"] == "a done"
            assert cluster.apps[0].parted == [False]
            assert len(cluster.apps[0].store.log) == 0  # type: ignore[arg-type]

    async def test_what_is_answered_at_once_is_recorded_nowhere(self, cluster: InProcessCluster) -> None:
        client = await cluster.client()
        call = await client.call("change", what=["tools"]).finish()
        (message,) = messages_of("application/json", call.body)
        assert "result" in message
        assert cluster.apps[0].endpoint.services.event_log is not None
        assert len(cluster.apps[0].endpoint.services.event_log) == 0


class TestGetStreams:
    """R-357: those that no call has opened."""

    async def test_a_change_while_cut_off_is_told_once(self, cluster: InProcessCluster, last_worker: int) -> None:
        client = await cluster.client()
        stream = await client.open()
        cluster.apps[0].change(["tools"])
        await stream.wait_for(1)
        await stream.cut()
        await stream.finish()
        cluster.apps[last_worker].change(["note://b", "tools"])
        again = await client.resume(stream.ids[-1], last_worker)
        await again.wait_for(1)
        cluster.apps[0].change(["tools"])
        await again.wait_for(2)
        assert again.texts == ["notifications/tools/list_changed"] * 2
        assert len({*stream.ids, *again.ids}) == len(stream.ids) + len(again.ids)

    async def test_a_half_open_one_is_taken_over(self, cluster: InProcessCluster, last_worker: int) -> None:
        client = await cluster.client()
        stream = await client.open()
        await stream.until(lambda: stream.ids)
        again = await client.resume(stream.ids[0], last_worker)
        await stream.finish()
        cluster.apps[0].change(["tools"])
        await again.wait_for(1)
        assert stream.received == []

    async def test_who_comes_back_too_late_is_told_of_everything(
        self, cluster: InProcessCluster, last_worker: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What it may have missed, although nobody knows whether it happened; and then it goes on."""
        cluster.set_event_log_timings(Timings(stream_retention=0.05))
        client = await cluster.client()
        await client.start("resources/subscribe", {"uri": "note://a"}).finish()
        stream = await client.open_and_cut()
        app = cluster.apps[0]
        await stream.until(lambda: len(app.changes) == 0)
        again = await client.resume(stream.ids[0], last_worker)
        await again.until(lambda: len(again.received) >= 3)
        told = {"notifications/tools/list_changed", "notifications/resources/list_changed", "note://a"}
        assert set(again.texts) == told
        cluster.apps[last_worker].change(["note://a"])
        await again.wait_for(len(told) + 1)
        assert again.texts[-1] == "note://a"
        assert again.ids[-1].rpartition(".")[0] != stream.ids[0].rpartition(".")[0]

    async def test_a_change_before_the_worker_of_the_stream_knows_of_the_watch(
        self, cluster: InProcessCluster, last_worker: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """R-368: the client was told that it watches the resource, so it hears of every change from then on.

        What the session watches is read late, and an older reading comes after a newer one.
        """
        client = await cluster.client()
        stream = await client.open()
        await stream.until(lambda: stream.ids)
        sessions, gate = cluster.apps[0].endpoint.services.sessions, asyncio.Event()
        read = sessions.record

        async def late(session_id: str | None) -> Any:
            record = await read(session_id)
            await gate.wait()
            return record

        if last_worker:  # alone, it waits for its own reading
            monkeypatch.setattr(sessions, "record", late)
        for uri in ("note://a", "note://b"):
            await client.start("resources/subscribe", {"uri": uri}, worker=last_worker).finish()
            cluster.apps[0].change([uri])
            await asyncio.sleep(0.05)
        gate.set()
        await stream.until(lambda: {"note://a", "note://b"} <= set(stream.texts))

    async def test_only_one_at_a_time(self, cluster: InProcessCluster, last_worker: int) -> None:
        """R-330, R-333: the newest, also if it resumes the one before, and also at another worker."""
        client = await cluster.client()
        first = await client.open()
        await first.until(lambda: first.ids)
        second = await client.open(last_worker)
        await first.finish()
        await second.until(lambda: "notifications/resources/list_changed" in second.texts)
        third = await client.resume(second.ids[-1], 0)
        await second.finish()
        cluster.apps[0].change(["tools"])
        await third.wait_for(1)
        fourth = await client.open(last_worker)
        await third.finish()
        await fourth.until(lambda: "notifications/resources/list_changed" in fourth.texts)
        before = len(fourth.received)
        cluster.apps[0].change(["tools"])
        await fourth.wait_for(before + 1)

    async def test_after_a_resumed_one_has_gone_the_lock_is_free(
        self, cluster: InProcessCluster, last_worker: int
    ) -> None:
        """D23."""
        client = await cluster.client()
        stream = await client.open_and_cut()
        for worker in (last_worker, 0, last_worker):
            again = await client.resume(stream.ids[0], worker)
            await again.cut()
            await again.finish()
        fresh = await client.open(0)
        cluster.apps[last_worker].change(["tools"])
        await fresh.wait_for(1)

    async def test_the_answer_of_a_call_takes_no_lock(self, cluster: InProcessCluster, last_worker: int) -> None:
        """D23, R-332: it is resumed by GET beside the session's own stream, and says nothing there."""
        client = await cluster.client()
        stream = await client.open()
        call = await client.call_and_cut()
        again = await client.resume(call.ids[0], last_worker)
        await again.wait_for(1)
        cluster.release("a")
        await again.finish()
        cluster.apps[0].change(["tools"])
        await stream.wait_for(1)
        assert stream.texts == ["notifications/tools/list_changed"]
        assert again.texts == ["a 0", "a 1", "a done"]

    async def test_a_client_that_opens_anew_each_time_leaves_no_crowd(
        self, cluster: InProcessCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What lingers for somebody who has a stream again lingers for nobody."""
        cluster.set_event_log_timings(Timings(stream_retention=3600.0))
        client = await cluster.client()
        for _ in range(10):
            stream = await client.open()
            await stream.cut()
            await stream.finish()
        await client.open()
        await stream.until(lambda: len(cluster.apps[0].changes) == 1)

    async def test_the_end_of_the_session_ends_a_resumed_one(
        self, cluster: InProcessCluster, last_worker: int
    ) -> None:
        """R-316: and what lingers."""
        client = await cluster.client()
        stream = await client.open_and_cut()
        again = await client.resume(stream.ids[0], last_worker)
        assert await client.delete(last_worker) == 204
        await again.finish()
        assert again.received == []
        await again.until(lambda: sum(len(app.changes) for app in cluster.apps) == 0)


class TestPolling:
    """`ctx.close_stream` (R-354)."""

    async def test_the_client_goes_and_comes_back(self, cluster: InProcessCluster, last_worker: int) -> None:
        client = await cluster.client()
        call = await client.call("poll", name="a", retry=2.5).finish()
        assert call.texts == ["a before"]
        assert call.events[-1].retry == 2.5
        cluster.release("a")
        again = await client.get(call.ids[-1], last_worker).finish()
        assert again.texts == ["a after", "a done"]
        assert cluster.apps[0].parted == [True]

    async def test_before_anything_was_said(self, cluster: InProcessCluster, last_worker: int) -> None:
        """R-353: the priming event is what it comes back with."""
        app = cluster.apps[0]

        @app.tool
        async def quick(ctx: Context) -> str:
            app.parted.append(ctx.close_stream())
            return "quick done"

        client = await cluster.client()
        call = await client.call("quick").finish()
        assert (call.texts, len(call.ids), call.events[-1].retry) == ([], 1, 1.0)
        assert (await client.get(call.ids[0], last_worker).finish()).texts == ["quick done"]

    async def test_in_a_tool_that_runs_in_a_thread(self, cluster: InProcessCluster, last_worker: int) -> None:
        client = await cluster.client()
        call = await client.call("poll_in_thread", name="a").finish()
        assert call.texts == ["a before"]
        assert (await client.get(call.ids[-1], last_worker).finish()).texts == ["a after", "a done"]
        assert cluster.apps[0].parted == [True]

    @pytest.mark.parametrize("revision", ["2025-03-26", "2025-06-18"])
    async def test_who_would_not_come_back_keeps_its_connection(
        self, cluster: InProcessCluster, revision: str
    ) -> None:
        client = await cluster.client(revision)
        cluster.release("a")
        call = await client.call("poll", name="a").finish()
        assert call.texts == ["a before", "a after", "a done"]
        assert cluster.apps[0].parted == [False]

    async def test_a_stateless_client_keeps_its_connection(self, cluster: InProcessCluster) -> None:
        cluster.release("a")
        answered = await cluster.asgis[0].modern("tools/call", {"name": "poll", "arguments": {"name": "a"}})
        assert answered.result["content"][0]["text"] == "a done"
        assert cluster.apps[0].parted == [False]


class TestQuestions:
    async def test_asked_while_the_client_is_away_it_is_heard_on_return(
        self, cluster: InProcessCluster, last_worker: int
    ) -> None:
        """R-334: and the answer may go to any worker."""
        client = await cluster.client()
        call = client.call("ask", name="a")
        await call.wait_for(1)
        await call.cut()
        cluster.release("a")
        again = await client.resume(call.ids[-1], last_worker)
        await again.wait_for(1)
        await client.answer(again.received[0], last_worker)
        await again.finish()
        assert again.texts[1:] == ["a accept"]

    async def test_heard_twice_it_is_answered_once(self, cluster: InProcessCluster, last_worker: int) -> None:
        """R-334: a client that resumes from before a question hears it again, with the same id."""
        client = await cluster.client()
        cluster.release("a")
        call = client.call("ask", name="a")
        await call.wait_for(2)
        await call.cut()
        again = await client.resume(call.ids[0], last_worker)
        await again.wait_for(2)
        assert again.received[1] == call.received[1]
        await client.answer(again.received[1], 0, "decline")
        await client.answer(again.received[1], last_worker)
        await again.finish()
        assert again.texts[-1] == "a decline"


class TestLostWorkers:
    @pytest.fixture
    def stores(self, tmp_path: Path) -> list[Any]:
        return [f"sqlite:///{tmp_path / 'state.db'}"] * 3

    async def test_work_dies_with_its_worker_and_everybody_hears_the_same(
        self, cluster: InProcessCluster
    ) -> None:
        """An error that says so, at once, and the same to whoever asks again."""
        client = await cluster.client()
        call = client.call("say", name="a", count=2, hold=1)
        await call.wait_for(1)
        again = await client.resume(call.ids[0], 1)
        await again.wait_for(1)
        await cluster.lose(0)
        await again.finish()
        assert again.received[-1]["error"] == {"code": -32603, "message": resumption.GONE_TEXT}
        assert again.received[-1]["id"] == 1
        for worker in (1, 2):
            later = await client.get(call.ids[1], worker).finish()
            assert later.events == again.events[-1:]

    async def test_a_streams_own_end_is_not_taken_from_it(self, cluster: InProcessCluster) -> None:
        """What was finished before its worker went is finished."""
        client = await cluster.client()
        call = await client.call("say", name="a", count=2).finish()
        endpoint = cluster.apps[0].endpoint
        assert endpoint.services.event_log is not None
        await endpoint.services.event_log.flush(5)
        await cluster.lose(0)
        assert (await client.get(call.ids[1], 1).finish()).texts == ["a 1", "a done"]

    async def test_the_sessions_own_stream_goes_on_elsewhere(self, cluster: InProcessCluster) -> None:
        """R-357: no error belongs there; what may have been missed is told."""
        client = await cluster.client()
        stream = await client.open()
        await stream.until(lambda: stream.ids)
        await cluster.lose(0)
        again = await client.resume(stream.ids[0], 1)
        await again.until(lambda: len(again.received) >= 2)
        cluster.apps[2].change(["tools"])
        await again.until(lambda: again.texts.count("notifications/tools/list_changed") == 2)

    async def test_the_lock_of_a_lost_worker_is_free(self, cluster: InProcessCluster) -> None:
        """R-333."""
        client = await cluster.client()
        await client.open()
        await cluster.lose(0)
        stream = await client.open(1)
        await stream.wait_for(2)  # what may have been missed
        cluster.apps[2].change(["tools"])
        await stream.wait_for(3)
