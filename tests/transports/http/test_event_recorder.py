"""Streams on their way into the log: gathered, sealed, tried again, given up, and named."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from enfilade.serving.cluster import WorkerChannel
from enfilade.state.store import LogLimits, StoreError
from enfilade.state.tokens import Seal
from enfilade.timings import Timings
from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.event_recorder import (
    CONCLUDED,
    NOT_ENDED,
    RECORDER_CAPACITY,
    RELEASED,
    StreamHead,
    StreamRecorder,
)
from enfilade.wire.jsonrpc import RpcError
from support.cluster.in_process_workers import SharedMemory
from support.stores.kinds import MemoryClock
from support.waiting import until

pytestmark = pytest.mark.anyio

SECRET = "a secret that is long enough for this"


@pytest.fixture
def store() -> SharedMemory:
    return SharedMemory()


def of(store: SharedMemory, secret: str = SECRET) -> SealedEventLog:
    return SealedEventLog(store.log, Seal([secret]), WorkerChannel(store), 3600)


@pytest.fixture
async def event_log(store: SharedMemory) -> AsyncIterator[SealedEventLog]:
    event_log = of(store)
    yield event_log
    await event_log.stop()


async def written(recorder: StreamRecorder) -> None:
    async with asyncio.timeout(20):
        while recorder.stream in recorder._log and recorder.unwritten:
            await recorder.wait_written()


async def name_of(recorder: StreamRecorder) -> str:
    name = await recorder.event_id_prefix()
    assert name is not None
    return name.decode()


async def test_what_was_said_is_read_again_in_order(event_log: SealedEventLog) -> None:
    recorder = event_log.start_stream("session", 7, is_response=True)
    said = [(recorder.record(b"%d" % number, droppable=False), b"%d" % number) for number in range(500)]
    assert [position for position, _ in said] == list(range(1, 501))
    recorder.end(CONCLUDED)
    await written(recorder)
    assert recorder.stream not in event_log, "what has ended is forgotten"
    for after in (0, 1, 250, 499, 500):
        page = await event_log.read(recorder.stream, after)
        assert page.messages == said[after:]
        assert (page.end, page.head) == (CONCLUDED, StreamHead(event_log.worker_channel.worker, True, 7))


async def test_what_goes_on_has_no_end(event_log: SealedEventLog) -> None:
    recorder = event_log.start_stream("session", is_response=False)
    recorder.record(b"one", droppable=True)
    await written(recorder)
    assert (await event_log.read(recorder.stream, 0)).end == NOT_ENDED
    recorder.end(RELEASED)
    recorder.end(CONCLUDED)
    await written(recorder)
    page = await event_log.read(recorder.stream, 1)
    assert (page.messages, page.end) == ([], RELEASED)


async def test_many_events_are_few_writes(
    event_log: SealedEventLog, store: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand events in a row do not go to the store one by one."""
    sizes: list[int] = []
    append = store.log.append

    async def counted(stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        sizes.append(sum(len(data) for _, data in entries))
        await append(stream, entries)

    monkeypatch.setattr(store.log, "append", counted)
    recorder = event_log.start_stream("session", is_response=True)
    for number in range(1000):
        recorder.record(b"%1000d" % number, droppable=False)
    recorder.end(CONCLUDED)
    await written(recorder)
    assert sum(sizes) > 1_000_000
    assert len(sizes) <= 12, sizes


async def test_streams_that_are_recorded_together_go_to_the_store_in_one_step(
    event_log: SealedEventLog, store: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-351: each has its entries all the same, also one that begins or ends meanwhile, and none twice."""
    steps: list[list[tuple[str, int]]] = []
    append_each, append = store.log.append_each, store.log.append

    async def append_all(entries: Sequence[tuple[str, int, bytes]]) -> list[bool]:
        steps.append([(stream, position) for stream, position, _ in entries])
        return await append_each(entries)

    async def append_one(stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
        steps.append([(stream, position) for position, _ in entries])
        await append(stream, entries)

    event_log.timings = Timings(event_gathering=0.05)
    recorders = [event_log.start_stream("session", is_response=False) for _ in range(50)]
    for recorder in recorders[:40]:
        await recorder.event_id_prefix()
    monkeypatch.setattr(store.log, "append_each", append_all)
    for recorder in recorders:
        recorder.record(b"one", droppable=True)
    recorders[0].end(CONCLUDED)
    await until(lambda: not any(recorder.unwritten for recorder in recorders[1:]))
    assert [len(step) for step in steps] == [39], "those that are open and go on"
    monkeypatch.setattr(store.log, "append", append_one)
    for recorder in recorders[1:]:
        recorder.record(b"two", droppable=True)
        recorder.end(RELEASED)
    await until(lambda: len(event_log) == 0)
    await asyncio.sleep(0.1)  # when what was gathered is due
    written = [entry for step in steps[1:] for entry in step if entry[0] != recorders[0].stream]
    assert len(written) == len(set(written))
    for recorder in recorders[1:]:
        batch = await event_log.read(recorder.stream, 0)
        assert (batch.messages, batch.end) == ([(1, b"one"), (2, b"two")], RELEASED)


async def test_what_cannot_be_written_together_is_written_by_itself(
    event_log: SealedEventLog, store: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorders = [event_log.start_stream("session", is_response=False) for _ in range(5)]
    for recorder in recorders:
        await recorder.event_id_prefix()

    async def fail(entries: Sequence[tuple[str, int, bytes]]) -> list[bool]:
        raise StoreError("out of order")

    monkeypatch.setattr(store.log, "append_each", fail)
    for recorder in recorders:
        recorder.record(b"one", droppable=True)
    await until(lambda: not any(recorder.unwritten for recorder in recorders))
    for recorder in recorders:
        assert (await event_log.read(recorder.stream, 0)).messages == [(1, b"one")]


async def test_others_have_their_turn_while_a_store_that_is_away_refuses(
    event_log: SealedEventLog, store: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is known to be out of reach refuses at once: many streams must not be tried in one turn."""
    recorders = [event_log.start_stream("session", is_response=False) for _ in range(640)]
    for recorder in recorders:
        await recorder.event_id_prefix()
    turn, tried = 0, Counter[int]()

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def refuse(*_: object) -> list[bool]:
        tried[turn] += 1
        raise StoreError("out of reach")

    monkeypatch.setattr(store.log, "append_each", refuse)
    for recorder in recorders:
        recorder.record(b"one", droppable=True)
    counting = asyncio.create_task(count_turns())
    await until(lambda: not any(recorder.unwritten for recorder in recorders))
    counting.cancel()
    assert list(tried.values()) == [1] * 5


class TestNames:
    async def test_are_signed_for_their_session(self, event_log: SealedEventLog) -> None:
        """R-350, R-352."""
        name = await name_of(event_log.start_stream("mine", is_response=True))
        assert re.fullmatch(r"[0-9a-f]{24}-[A-Za-z0-9_-]{16}\.", name)
        assert event_log.parse_event_id(f"{name}5".encode(), "mine").position == 5
        for session in ("yours", "min", "", "mine "):
            with pytest.raises(RpcError) as refused:
                event_log.parse_event_id(f"{name}5".encode(), session)
            assert refused.value.status == 400

    async def test_hold_at_each_worker_with_the_secret(
        self, event_log: SealedEventLog, store: SharedMemory
    ) -> None:
        name = await name_of(event_log.start_stream("mine", is_response=True))
        assert of(store).parse_event_id(f"{name}0".encode(), "mine").prefix == name.encode()
        with pytest.raises(RpcError):
            of(store, "another secret that is long enough").parse_event_id(f"{name}0".encode(), "mine")

    @pytest.mark.parametrize("change", range(42))
    async def test_no_character_can_be_changed(self, event_log: SealedEventLog, change: int) -> None:
        """R-706."""
        name = await name_of(event_log.start_stream("mine", is_response=True))
        other = "0" if name[change] != "0" else "1"
        with pytest.raises(RpcError):
            event_log.parse_event_id(f"{name[:change]}{other}{name[change + 1 :]}3".encode(), "mine")

    @pytest.mark.parametrize("position", ["", "-1", "1.0", "1e3", " 1", "1" * 16, "\u0661"])
    async def test_a_position_is_a_number(self, event_log: SealedEventLog, position: str) -> None:
        name = await name_of(event_log.start_stream("mine", is_response=True))
        with pytest.raises(RpcError):
            event_log.parse_event_id(f"{name}{position}".encode(), "mine")

    async def test_no_id_is_given_before_the_stream_is_known(
        self, event_log: SealedEventLog, store: SharedMemory
    ) -> None:
        """If this worker dies now, who comes back with the id is told what became of its request."""
        recorder = event_log.start_stream("session", is_response=True)
        assert await store.log.read(recorder.stream, 0) is None
        await recorder.event_id_prefix()
        assert await store.log.read(recorder.stream, 0) is not None


class TestSeals:
    """R-352, D3: whatever a store mixes up."""

    async def two(self, event_log: SealedEventLog, store: SharedMemory) -> tuple[str, str]:
        streams = []
        for session, said in (("one", b"ones words"), ("other", b"others words")):
            recorder = event_log.start_stream(session, is_response=True)
            recorder.record(said, droppable=False)
            recorder.end(CONCLUDED)
            await written(recorder)
            streams.append(recorder.stream)
        for stream in store.log._streams.values():
            assert b"words" not in stream.head + b"".join(data for _, data in stream.entries)
        return streams[0], streams[1]

    async def test_what_was_written_for_another_stream_is_not_read(
        self, event_log: SealedEventLog, store: SharedMemory
    ) -> None:
        one, other = await self.two(event_log, store)
        kept = store.log._streams
        kept[one].entries[:] = kept[other].entries
        with pytest.raises(StoreError, match="not written for this stream"):
            await event_log.read(one, 0)

    async def test_nor_its_head(self, event_log: SealedEventLog, store: SharedMemory) -> None:
        one, other = await self.two(event_log, store)
        store.log._streams[one].head = store.log._streams[other].head
        with pytest.raises(StoreError, match="not written for this stream"):
            await event_log.read(one, 0)

    async def test_nor_what_was_written_elsewhere_on_it(
        self, event_log: SealedEventLog, store: SharedMemory
    ) -> None:
        one, _ = await self.two(event_log, store)
        ((position, data),) = store.log._streams[one].entries
        store.log._streams[one].entries.append((position + 1, data))
        with pytest.raises(StoreError, match=f"at {position + 1}"):
            await event_log.read(one, position)

    async def test_in_this_process_nothing_is_sealed(self, store: SharedMemory) -> None:
        """A log that nobody else can see costs no cipher."""
        store.log.private = True
        event_log = of(store)
        recorder = event_log.start_stream("one", is_response=True)
        recorder.record(b"in plain words", droppable=False)
        recorder.end(CONCLUDED)
        await written(recorder)
        assert b"in plain words" in store.log._streams[recorder.stream].entries[0][1]


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
        self, event_log: SealedEventLog, store: SharedMemory, monkeypatch: pytest.MonkeyPatch, after: bool
    ) -> None:
        """Also if it was done although it failed."""
        failing = Failing(store, 3, after=after)
        monkeypatch.setattr(store.log, "append", failing)
        recorder = event_log.start_stream("session", is_response=True)
        recorder.record(b"one", droppable=False)
        await recorder.event_id_prefix()
        recorder.record(b"two", droppable=False)
        recorder.end(CONCLUDED)
        await written(recorder)
        page = await event_log.read(recorder.stream, 0)
        assert (page.messages, page.end, failing.left) == ([(1, b"one"), (2, b"two")], CONCLUDED, 0)

    async def test_what_comes_before_a_write_is_tried_again(
        self, event_log: SealedEventLog, store: SharedMemory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """R-351: it goes with the second try, while the log has the first; no reader gets anything twice."""
        failing = Failing(store, 1, after=True)
        monkeypatch.setattr(store.log, "append", failing)
        recorder = event_log.start_stream("session", is_response=True)
        for number in (1, 2):
            recorder.record(b"%d" % number, droppable=False)
        recorder.write()
        async with asyncio.timeout(20):
            while failing.left:
                await asyncio.sleep(0)
        recorder.record(b"3", droppable=False)
        recorder.end(CONCLUDED)
        await written(recorder)
        for after in range(4):
            page = await event_log.read(recorder.stream, after)
            assert page.messages == [(at, b"%d" % at) for at in range(after + 1, 4)]
            assert page.end == CONCLUDED

    async def test_what_cannot_be_written_is_given_up(
        self,
        event_log: SealedEventLog,
        store: SharedMemory,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        event_log.timings = Timings(log_retries=0.1)
        monkeypatch.setattr(store.log, "append", Failing(store, 10**9, after=False))
        recorder = event_log.start_stream("session", is_response=True)
        recorder.record(b"one", droppable=False)
        recorder.end(CONCLUDED)
        async with asyncio.timeout(20):
            while recorder.stream in event_log:
                await asyncio.sleep(0.01)
        assert "; events lost: 1" in caplog.text

    async def test_a_log_that_stalls_costs_notifications_and_nothing_else(
        self, event_log: SealedEventLog, store: SharedMemory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Memory is bounded; what must not be lost is kept all the same."""
        go, append = asyncio.Event(), store.log.append

        async def stalled(stream: str, entries: Any) -> None:
            await go.wait()
            await append(stream, entries)

        monkeypatch.setattr(store.log, "append", stalled)
        recorder = event_log.start_stream("session", is_response=True)
        big = b"x" * (RECORDER_CAPACITY // 8)
        for _ in range(20):
            recorder.record(big, droppable=True)
        outcome = recorder.record(b"outcome", droppable=False)
        assert recorder.is_congested
        assert 0 < recorder._pending.dropped < 20
        go.set()
        recorder.end(CONCLUDED)
        await written(recorder)
        seen, at = 0, 0
        while True:
            page = await event_log.read(recorder.stream, at)
            seen += len(page.messages)
            at = page.messages[-1][0]
            if page.end:
                break
        assert (at, seen) == (outcome, 21 - recorder._pending.dropped)


async def test_a_quiet_stream_does_not_expire_while_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-356: it is kept for as long as it is served, whatever the log's age is."""
    clock = MemoryClock(monkeypatch)
    store = SharedMemory(LogLimits(age=0.4))
    event_log = SealedEventLog(store.log, Seal([SECRET]), WorkerChannel(store), 0.4)
    recorder = event_log.start_stream("session", is_response=True)
    recorder.record(b"one", droppable=False)
    await written(recorder)
    touched: list[str] = []
    touch = store.log.touch

    async def counted(stream: str) -> None:
        clock.now += 0.3
        touched.append(stream)
        await touch(stream)

    store.log.touch = counted  # type: ignore[method-assign]
    async with asyncio.timeout(20):
        while len(touched) < 8:
            await asyncio.sleep(0.01)
    assert (await event_log.read(recorder.stream, 0)).messages == [(1, b"one")]
    recorder.end(CONCLUDED)
    await written(recorder)
    await event_log.stop()


async def test_who_is_there_already_gives_way_to_whoever_came_later(event_log: SealedEventLog) -> None:
    """A message that says so may have been lost: then it is said again, and the later one reads on."""
    told: list[Any] = []
    event_log.worker_channel.on("superseded", told.append)
    worker = event_log.worker_channel.worker
    recorder = event_log.start_stream("session", is_response=True)
    recorder.claim_by_reader(worker, "first")
    recorder.claim_by_reader(worker, "second")
    recorder.claim_by_reader(worker, "first", is_new=False)
    recorder.claim_by_reader(worker, "second", is_new=False)
    assert (told, recorder.reader) == (["first", "first"], (worker, "second"))
