"""Streams on their way into the log: gathered, sealed, tried again, given up, and named."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from enfilade.serving.cluster import Relay
from enfilade.state.store import LogLimits, StoreError
from enfilade.state.tokens import Seal
from enfilade.transports.http import event_recorder as module
from enfilade.transports.http.event_log import Recordings
from enfilade.transports.http.event_recorder import CAPACITY, CONCLUDED, GOES_ON, LET_GO, Head, Recording
from enfilade.wire.jsonrpc import RpcError
from support.cluster.in_process_workers import SharedMemory

pytestmark = pytest.mark.anyio

SECRET = "a secret that is long enough for this"


@pytest.fixture
def store() -> SharedMemory:
    return SharedMemory()


def of(store: SharedMemory, secret: str = SECRET) -> Recordings:
    return Recordings(store.log, Seal([secret]), Relay(store), 3600)


@pytest.fixture
async def recordings(store: SharedMemory) -> AsyncIterator[Recordings]:
    recordings = of(store)
    yield recordings
    await recordings.stop()


async def written(recording: Recording) -> None:
    async with asyncio.timeout(20):
        while recording.stream in recording._owner and recording.unwritten:
            await recording.drained()


async def name_of(recording: Recording) -> str:
    name = await recording.named()
    assert name is not None
    return name.decode()


async def test_what_was_said_is_read_again_in_order(recordings: Recordings) -> None:
    recording = recordings.begin("session", request_id=7, answers=True)
    said = [(recording.record(b"%d" % number, droppable=False), b"%d" % number) for number in range(500)]
    assert [position for position, _ in said] == list(range(1, 501))
    recording.end(CONCLUDED)
    await written(recording)
    assert recording.stream not in recordings, "what has ended is forgotten"
    for after in (0, 1, 250, 499, 500):
        page = await recordings.read(recording.stream, after)
        assert page.messages == said[after:]
        assert (page.end, page.head) == (CONCLUDED, Head(recordings.relay.worker, True, 7))


async def test_what_goes_on_has_no_end(recordings: Recordings) -> None:
    recording = recordings.begin("session", answers=False)
    recording.record(b"one", droppable=True)
    await written(recording)
    assert (await recordings.read(recording.stream, 0)).end == GOES_ON
    recording.end(LET_GO)
    recording.end(CONCLUDED)
    await written(recording)
    page = await recordings.read(recording.stream, 1)
    assert (page.messages, page.end) == ([], LET_GO)


async def test_many_events_are_few_writes(
    recordings: Recordings, store: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand events in a row do not go to the store one by one."""
    sizes: list[int] = []
    append = store.log.append

    async def counted(stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        sizes.append(sum(len(data) for _, data in entries))
        await append(stream, entries)

    monkeypatch.setattr(store.log, "append", counted)
    recording = recordings.begin("session", answers=True)
    for number in range(1000):
        recording.record(b"%1000d" % number, droppable=False)
    recording.end(CONCLUDED)
    await written(recording)
    assert sum(sizes) > 1_000_000
    assert len(sizes) <= 12, sizes


class TestNames:
    async def test_are_signed_for_their_session(self, recordings: Recordings) -> None:
        """R-350, R-352."""
        name = await name_of(recordings.begin("mine", answers=True))
        assert re.fullmatch(r"[0-9a-f]{24}-[A-Za-z0-9_-]{16}\.", name)
        assert recordings.place(f"{name}5".encode(), "mine").position == 5
        for session in ("yours", "min", "", "mine "):
            with pytest.raises(RpcError) as refused:
                recordings.place(f"{name}5".encode(), session)
            assert refused.value.status == 400

    async def test_hold_at_each_worker_with_the_secret(self, recordings: Recordings, store: SharedMemory) -> None:
        name = await name_of(recordings.begin("mine", answers=True))
        assert of(store).place(f"{name}0".encode(), "mine").name == name.encode()
        with pytest.raises(RpcError):
            of(store, "another secret that is long enough").place(f"{name}0".encode(), "mine")

    @pytest.mark.parametrize("change", range(42))
    async def test_no_character_can_be_changed(self, recordings: Recordings, change: int) -> None:
        """R-706."""
        name = await name_of(recordings.begin("mine", answers=True))
        other = "0" if name[change] != "0" else "1"
        with pytest.raises(RpcError):
            recordings.place(f"{name[:change]}{other}{name[change + 1 :]}3".encode(), "mine")

    @pytest.mark.parametrize("position", ["", "-1", "1.0", "1e3", " 1", "1" * 16, "\u0661"])
    async def test_a_position_is_a_number(self, recordings: Recordings, position: str) -> None:
        name = await name_of(recordings.begin("mine", answers=True))
        with pytest.raises(RpcError):
            recordings.place(f"{name}{position}".encode(), "mine")

    async def test_no_id_is_given_before_the_stream_is_known(
        self, recordings: Recordings, store: SharedMemory
    ) -> None:
        """Idea 2: if this worker dies now, who comes back with the id is told what became of its request."""
        recording = recordings.begin("session", answers=True)
        assert await store.log.read(recording.stream, 0) is None
        await recording.named()
        assert await store.log.read(recording.stream, 0) is not None


class TestSeals:
    """R-352, D3: whatever a store mixes up."""

    async def two(self, recordings: Recordings, store: SharedMemory) -> tuple[str, str]:
        streams = []
        for session, said in (("one", b"ones words"), ("other", b"others words")):
            recording = recordings.begin(session, answers=True)
            recording.record(said, droppable=False)
            recording.end(CONCLUDED)
            await written(recording)
            streams.append(recording.stream)
        for stream in store.log._streams.values():
            assert b"words" not in stream.head + b"".join(data for _, data in stream.entries)
        return streams[0], streams[1]

    async def test_what_was_written_for_another_stream_is_not_read(
        self, recordings: Recordings, store: SharedMemory
    ) -> None:
        one, other = await self.two(recordings, store)
        kept = store.log._streams
        kept[one].entries[:] = kept[other].entries
        with pytest.raises(StoreError, match="not written for this stream"):
            await recordings.read(one, 0)

    async def test_nor_its_head(self, recordings: Recordings, store: SharedMemory) -> None:
        one, other = await self.two(recordings, store)
        store.log._streams[one].head = store.log._streams[other].head
        with pytest.raises(StoreError, match="not written for this stream"):
            await recordings.read(one, 0)

    async def test_nor_what_was_written_elsewhere_on_it(
        self, recordings: Recordings, store: SharedMemory
    ) -> None:
        one, _ = await self.two(recordings, store)
        ((position, data),) = store.log._streams[one].entries
        store.log._streams[one].entries.append((position + 1, data))
        with pytest.raises(StoreError, match=f"at {position + 1}"):
            await recordings.read(one, position)

    async def test_in_this_process_nothing_is_sealed(self, store: SharedMemory) -> None:
        """A log that nobody else can see costs no cipher."""
        store.log.private = True
        recordings = of(store)
        recording = recordings.begin("one", answers=True)
        recording.record(b"in plain words", droppable=False)
        recording.end(CONCLUDED)
        await written(recording)
        assert b"in plain words" in store.log._streams[recording.stream].entries[0][1]


class Failing:
    """A log that fails as often as it is told to; a write that failed may have been done."""

    def __init__(self, store: SharedMemory, times: int, *, after: bool) -> None:
        self.left = times
        self._append, self._after = store.log.append, after

    async def __call__(self, stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        if self._after:
            await self._append(stream, entries)
        if self.left:
            self.left -= 1
            raise StoreError("nobody knows")
        if not self._after:
            await self._append(stream, entries)


class TestFailures:
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    async def test_a_write_is_tried_again_and_done_once(
        self, recordings: Recordings, store: SharedMemory, monkeypatch: pytest.MonkeyPatch, after: bool
    ) -> None:
        """Also if it was done although it failed."""
        failing = Failing(store, 3, after=after)
        monkeypatch.setattr(store.log, "append", failing)
        recording = recordings.begin("session", answers=True)
        recording.record(b"one", droppable=False)
        await recording.named()
        recording.record(b"two", droppable=False)
        recording.end(CONCLUDED)
        await written(recording)
        page = await recordings.read(recording.stream, 0)
        assert (page.messages, page.end, failing.left) == ([(1, b"one"), (2, b"two")], CONCLUDED, 0)

    async def test_what_comes_before_a_write_is_tried_again(
        self, recordings: Recordings, store: SharedMemory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """R-351: it goes with the second try, while the log has the first; no reader gets anything twice."""
        failing = Failing(store, 1, after=True)
        monkeypatch.setattr(store.log, "append", failing)
        recording = recordings.begin("session", answers=True)
        for number in (1, 2):
            recording.record(b"%d" % number, droppable=False)
        recording.write()
        async with asyncio.timeout(20):
            while failing.left:
                await asyncio.sleep(0)
        recording.record(b"3", droppable=False)
        recording.end(CONCLUDED)
        await written(recording)
        for after in range(4):
            page = await recordings.read(recording.stream, after)
            assert page.messages == [(at, b"%d" % at) for at in range(after + 1, 4)]
            assert page.end == CONCLUDED

    async def test_what_cannot_be_written_is_given_up(
        self,
        recordings: Recordings,
        store: SharedMemory,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(module, "GIVE_UP", 0.1)
        monkeypatch.setattr(store.log, "append", Failing(store, 10**9, after=False))
        recording = recordings.begin("session", answers=True)
        recording.record(b"one", droppable=False)
        recording.end(CONCLUDED)
        async with asyncio.timeout(20):
            while recording.stream in recordings:
                await asyncio.sleep(0.01)
        assert "; events lost: 1" in caplog.text

    async def test_a_log_that_stalls_costs_notifications_and_nothing_else(
        self, recordings: Recordings, store: SharedMemory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Memory is bounded; what must not be lost is kept all the same."""
        go, append = asyncio.Event(), store.log.append

        async def stalled(stream: str, entries: Any) -> None:
            await go.wait()
            await append(stream, entries)

        monkeypatch.setattr(store.log, "append", stalled)
        recording = recordings.begin("session", answers=True)
        big = b"x" * (CAPACITY // 8)
        for _ in range(20):
            recording.record(big, droppable=True)
        outcome = recording.record(b"outcome", droppable=False)
        assert recording.crowded
        assert 0 < recording.lost < 20
        go.set()
        recording.end(CONCLUDED)
        await written(recording)
        seen, at = 0, 0
        while True:
            page = await recordings.read(recording.stream, at)
            seen += len(page.messages)
            at = page.messages[-1][0]
            if page.end:
                break
        assert (at, seen) == (outcome, 21 - recording.lost)


async def test_a_quiet_stream_does_not_expire_while_it_is_open(store: SharedMemory) -> None:
    """R-356: it is kept for as long as it is served, whatever the log's age is."""
    store = SharedMemory(LogLimits(age=0.4))
    recordings = Recordings(store.log, Seal([SECRET]), Relay(store), 0.4)
    recording = recordings.begin("session", answers=True)
    recording.record(b"one", droppable=False)
    await written(recording)
    touched: list[str] = []
    touch = store.log.touch

    async def counted(stream: str) -> None:
        touched.append(stream)
        await touch(stream)

    store.log.touch = counted  # type: ignore[method-assign]
    async with asyncio.timeout(20):
        while len(touched) < 8:
            await asyncio.sleep(0.01)
    assert (await recordings.read(recording.stream, 0)).messages == [(1, b"one")]
    recording.end(CONCLUDED)
    await written(recording)
    await recordings.stop()


async def test_who_is_there_already_gives_way_to_whoever_came_later(recordings: Recordings) -> None:
    """A message that says so may have been lost: then it is said again, and the later one reads on."""
    told: list[Any] = []
    recordings.relay.on("superseded", told.append)
    worker = recordings.relay.worker
    recording = recordings.begin("session", answers=True)
    recording.taken(worker, "first")
    recording.taken(worker, "second")
    recording.taken(worker, "first", anew=False)
    recording.taken(worker, "second", anew=False)
    assert (told, recording.reader) == (["first", "first"], (worker, "second"))
