"""One response as a stream of events: what it costs when it is short, when it is silent, and when nobody reads.

The connection is played here, since what is counted is which writes there are and in whose task they happen.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest

from enfilade.serving.cluster import WorkerChannel
from enfilade.serving.failures import LimitedLog
from enfilade.state.memory import MemoryStore
from enfilade.state.store import LogLimits, StoreError
from enfilade.state.tokens import Seal
from enfilade.transports.exchange import Headers
from enfilade.transports.http import sse_stream as stream_module
from enfilade.transports.http.event_log import ResponseRecorder, SealedEventLog
from enfilade.transports.http.event_recorder import CONCLUDED, ENTRY_SIZE, StreamRecorder
from enfilade.transports.http.sse_stream import EventStream, StreamOptions, StreamState
from support.cluster.in_process_workers import SharedMemory
from support.waiting import until

pytestmark = pytest.mark.anyio


class Reader:
    """The server's side of a response; while it is `closed`, nothing is taken."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.ended = False
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        await self.start(status, headers)
        await self.write(body, is_last=True)

    async def start(self, status: int, headers: Headers) -> None:
        await self.open.wait()
        self.tasks.append(asyncio.current_task())

    def write_now(self, chunk: bytes) -> bool:
        return False

    async def write(self, chunk: bytes, *, is_last: bool) -> None:
        await self.open.wait()
        self.tasks.append(asyncio.current_task())
        self.sent.append(chunk)
        self.ended = is_last

    async def after(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.sent) < count:
                await asyncio.sleep(0.001)


class Gone(Reader):
    """A client that is not there any more."""

    async def start(self, status: int, headers: Headers) -> None:
        raise OSError("the client has gone")


def event(data: bytes) -> bytes:
    return b"event: message\ndata: " + data + b"\n\n"


async def test_what_is_complete_at_once_is_one_send_of_the_same_task() -> None:
    reader = Reader()
    stream = EventStream(reader, [], StreamOptions())
    assert stream.push(b"1")
    await stream.finish(b"2")
    assert (reader.sent, reader.ended) == ([event(b"1") + event(b"2")], True)
    assert set(reader.tasks) == {asyncio.current_task()}
    assert not stream.push(b"3")
    assert stream._task is None
    assert stream.closed.done()


async def test_a_connection_that_takes_its_time_gets_the_whole_all_the_same() -> None:
    reader = Reader()
    stream = EventStream(reader, [], StreamOptions())
    stream.push(b"1")
    reader.open.clear()
    ending = asyncio.ensure_future(stream.finish(b"2"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert reader.sent == []
    reader.open.set()
    await ending
    assert (reader.sent, reader.ended) == ([event(b"1") + event(b"2")], True)


class Ready(Reader):
    """A reader that takes a chunk at once, as long as there is room."""

    has_room = True

    def write_now(self, chunk: bytes) -> bool:
        if self.has_room:
            self.sent.append(chunk)
        return self.has_room


async def test_a_change_is_written_at_once_if_nothing_waits_before_it() -> None:
    """R-352: the ids go on counting, whichever way an event takes; and the log has all of them."""
    store = SharedMemory()
    event_log = SealedEventLog(
        store.log, Seal(["a secret that is long enough for this"]), WorkerChannel(store), 60
    )
    reader, recorder = Ready(), event_log.start_stream("session", is_response=False)
    stream = EventStream(reader, [], StreamOptions())
    stream.open()
    stream.record_to(recorder, priming=False)
    assert stream.push_now(b"0"), "by a task, which finds the prefix of its ids"
    await until(lambda: reader.sent[-1:] != [] and b"data: 0" in reader.sent[-1])
    for number in range(1, 6):
        reader.has_room = number != 3
        tasks = len(asyncio.all_tasks())
        assert stream.push_now(b"%d" % number)
        assert (len(asyncio.all_tasks()) > tasks) is (number == 3)
        await until(lambda number=number: b"data: %d" % number in reader.sent[-1])
    ids = [chunk.split(b"id: ")[1].split(b"\n")[0].rsplit(b".")[1] for chunk in reader.sent if b"data: " in chunk]
    assert ids == [b"1", b"2", b"3", b"4", b"5", b"6"]
    await recorder.wait_written()
    batch = await event_log.read(recorder.stream, 0)
    assert batch.messages == [(number + 1, b"%d" % number) for number in range(6)]
    stream.abandon()
    await event_log.stop()


async def test_a_lone_message_goes_out_in_the_next_turn_of_the_loop() -> None:
    reader = Reader()
    stream = EventStream(reader, [], StreamOptions())
    stream.push(b"1")
    stream.open()
    await asyncio.sleep(0)
    assert reader.sent == [event(b"1")]
    for number in range(3):  # while it sleeps, it is woken in the first and writes in the second
        stream.push(b"%d" % number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert reader.sent[-1] == event(b"%d" % number)
    await stream.finish(None)
    assert reader.ended


@pytest.mark.parametrize("begun", [False, True])
async def test_a_reader_that_takes_nothing_is_given_up(
    begun: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes: the stream's own task, or the one that ends it."""
    monkeypatch.setattr(stream_module, "_stalled_log", LimitedLog(stream_module.log))
    reader = Reader()
    stream = EventStream(reader, [], StreamOptions(write_timeout=0.025))
    reader.open.clear()
    stream.push(b"1")
    if begun:
        stream.open()
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await stream.finish(b"2")
    assert "gave up on a reader" in caplog.text
    assert not stream.connected
    assert stream.closed.done()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "who ended the stream goes on"


async def test_slow_readers_cannot_fill_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "_dropped_log", LimitedLog(stream_module.log, interval=3600))
    for _ in range(20):
        reader = Reader()
        stream = EventStream(reader, [], StreamOptions(capacity=10))
        assert [stream.push(b"12345") for _ in range(4)] == [True, True, False, False]
        await stream.finish(b"done")
    (record,) = caplog.records
    assert record.getMessage() == "notifications dropped for a slow reader: 2"


async def test_a_reader_that_takes_something_is_not() -> None:
    """However long it takes for all: here longer than it may take nothing."""

    class Slow(Reader):
        async def start(self, status: int, headers: Headers) -> None:
            await asyncio.sleep(0.6)
            await super().start(status, headers)

        async def write(self, chunk: bytes, *, is_last: bool) -> None:
            await asyncio.sleep(0.6)
            await super().write(chunk, is_last=is_last)

    reader = Slow()
    stream = EventStream(reader, [], StreamOptions(write_timeout=0.5))
    stream.push(b"1")
    stream.open()
    await asyncio.sleep(0)
    await stream.finish(b"2")
    assert reader.sent == [event(b"1") + event(b"2")]
    assert reader.ended


@pytest.mark.parametrize("begun", [False, True])
async def test_who_ends_a_stream_can_be_cancelled(begun: bool) -> None:
    reader = Reader()
    stream = EventStream(reader, [], StreamOptions())
    reader.open.clear()
    if begun:
        stream.open()
        await asyncio.sleep(0)
    ending = asyncio.ensure_future(stream.finish(b"outcome"))
    for _ in range(3):
        await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    async with asyncio.timeout(20):
        await asyncio.wait((stream.closed,))
    assert reader.sent == []


async def test_a_stream_given_up_before_it_began_is_over() -> None:
    reader = Reader()
    stream = EventStream(reader, [], StreamOptions())
    stream.abandon()
    assert (stream.connected, stream.closed.done(), stream.push(b"1")) == (False, True, False)
    stream.open()
    await asyncio.sleep(0)
    assert reader.tasks == []


async def test_silence_is_broken_by_comments_however_often_something_was_said() -> None:
    """What is said puts the next comment off."""
    reader = Reader()
    stream = EventStream(reader, [], StreamOptions(keep_alive=0.05))
    stream.open()
    await reader.after(3)
    assert reader.sent == [b":\n\n", *[b": keep-alive\n\n"] * 2]
    for number in range(100):
        stream.push(b"%d" % number)
        await asyncio.sleep(0)
    await reader.after(len(reader.sent) + 2)
    assert reader.sent[-1] == b": keep-alive\n\n"
    said = b"".join(each for each in reader.sent if not each.startswith(b":"))
    assert said == b"".join(event(b"%d" % number) for number in range(100))
    await stream.finish(None)
    assert stream not in stream._keep_alive._idle_since


async def test_what_comes_after_a_silence_is_written_by_a_new_task() -> None:
    """No task waits for it."""
    reader = Reader()
    others = asyncio.all_tasks()
    stream = EventStream(reader, [], StreamOptions())
    stream.open()
    for number in range(3):
        stream.push(b"%d" % number)
        await reader.after(number + 1)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == others
    reader.open.clear()
    stream.push(b"3")
    stream.detach()
    await asyncio.sleep(0)
    stream.send_keep_alive()  # too late: what ends the response is on its way
    reader.open.set()
    async with asyncio.timeout(20):
        await asyncio.wait((stream.closed,))
    assert (reader.sent, reader.ended) == ([event(b"%d" % number) for number in range(4)], True)


async def test_an_answer_that_the_log_does_not_take_has_no_name_that_would_lead_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stream goes on by the longer way, which tells of the failure where it tells of all others."""
    store = MemoryStore(LogLimits())

    def refuse(*_: object) -> None:
        raise StoreError("the log is closed")

    event_log = SealedEventLog(store.log, Seal(), WorkerChannel(store), 3600)
    monkeypatch.setattr(event_log.local_log, "write", refuse)
    assert event_log.write_complete("session", 1, [b"outcome"]) is None
    reader = Reader()
    stream = EventStream(reader, [], StreamOptions(), ResponseRecorder(event_log, "session", 1), priming=True)
    await stream.finish(b"outcome")
    assert b"data: outcome\n" in b"".join(reader.sent)


class Noting(SealedEventLog):
    """An event log that notes which streams were started."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.begun: list[StreamRecorder] = []

    def start_stream(self, *given: Any, **options: Any) -> StreamRecorder:
        self.begun.append(super().start_stream(*given, **options))
        return self.begun[-1]


class Elsewhere:
    """The way to a log that is not in this process, which takes nothing before its gate is open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = SharedMemory()
        self.event_log = Noting(store.log, Seal(), WorkerChannel(store), 3600)
        self.gate = asyncio.Event()
        self.refuses = False
        self.sizes: list[int] = []
        append = store.log.append

        async def later(stream: str, entries: Sequence[tuple[int, bytes]]) -> None:
            await self.gate.wait()
            if self.refuses:
                raise StoreError("the log is out of order")
            self.sizes += [len(data) for _, data in entries]
            await append(stream, entries)

        monkeypatch.setattr(store.log, "append", later)

    def stream(self, reader: Reader) -> EventStream:
        return EventStream(
            reader, [], StreamOptions(), ResponseRecorder(self.event_log, "session", 1), priming=True
        )

    async def kept(self, body: bytes) -> list[tuple[int, bytes]]:
        """Return what the log has of a stream, whose first event is the one that says where it begins."""
        page = await self.event_log.read(
            self.event_log.parse_event_id(body[4 : body.index(b"\n")], "session").stream, 0
        )
        assert page.end == CONCLUDED
        return page.messages


async def test_what_is_complete_at_once_is_in_the_log_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-350: an id leads somewhere as soon as somebody has it. It is one send all the same."""
    log, reader = Elsewhere(monkeypatch), Reader()
    stream = log.stream(reader)
    said = [b"%0*d" % (1000, number) for number in range(500)]
    for message in said:
        stream.push(message)
    ending = asyncio.ensure_future(stream.finish(b"outcome"))
    await asyncio.sleep(0.05)
    assert reader.tasks == [], "nothing is sent yet"
    log.gate.set()
    await ending
    (body,) = reader.sent
    assert (reader.ended, set(reader.tasks)) == (True, {ending})
    assert re.findall(rb"^data: (.+)$", body, re.MULTILINE) == [*said, b"outcome"]
    assert await log.kept(body) == list(enumerate([*said, b"outcome"], 1))
    assert len(log.event_log) == 0
    assert max(log.sizes) < 1.1 * ENTRY_SIZE, "no entry of the log is too large for a store"


async def test_a_client_that_leaves_before_that_is_sent_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, reader = Elsewhere(monkeypatch), Reader()
    stream = log.stream(reader)
    stream.push(b"1")
    ending = asyncio.ensure_future(stream.finish(b"2"))
    await asyncio.sleep(0.01)
    stream.abandon()
    log.gate.set()
    await ending
    assert (reader.sent, len(log.event_log)) == ([], 0)


async def test_what_was_said_is_kept_though_the_client_was_gone_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Elsewhere(monkeypatch)
    log.gate.set()
    stream = log.stream(Gone())
    stream.push(b"1")
    stream.open()
    (recorder,) = log.event_log.begun
    async with asyncio.timeout(20):
        while recorder.unwritten:
            await asyncio.sleep(0.01)
    assert (await log.event_log.read(recorder.stream, 0)).messages == [(1, b"1")]
    await log.event_log.stop()


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_a_log_out_of_order_keeps_nobody_for_long(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it takes afterwards is there for whoever comes back."""
    log, reader = Elsewhere(monkeypatch), Reader()
    log.refuses = how == "refuses"
    if log.refuses:
        log.gate.set()
    stream = log.stream(reader)
    stream.push(b"1")
    async with asyncio.timeout(20):
        await stream.finish(b"2")
        (body,) = reader.sent
        assert re.findall(rb"^data: (.+)$", body, re.MULTILINE) == [b"1", b"2"]
        log.refuses = False
        log.gate.set()
        while len(log.event_log):
            await asyncio.sleep(0.01)
    assert await log.kept(body) == [(1, b"1"), (2, b"2")]


@pytest.mark.parametrize("how", ["a few", "all at once", "one by one"])
async def test_what_a_log_in_this_process_gets_needs_no_task(how: str) -> None:
    """It is all there, in order, as soon as the stream has ended; and nothing refers to the connection."""
    store = MemoryStore(LogLimits())
    event_log = Noting(store.log, Seal(), WorkerChannel(store), 3600)
    reader = Reader()
    recorder = ResponseRecorder(event_log, "session", 1)
    stream = EventStream(reader, [], StreamOptions(), recorder, priming=True)
    said = [b"%0*d" % (1000, number) for number in range(10 if how == "a few" else 500)]
    tasks = asyncio.all_tasks()
    if how == "one by one":
        stream.open()
    for message in said:
        assert stream.push(message)
        if how == "one by one":
            await asyncio.sleep(0)
    await stream.finish(b"outcome")
    assert len(event_log) == 0
    assert len(event_log.begun) == (how != "a few"), "what one entry holds is written without further ado"
    for recorder in event_log.begun:
        assert (recorder.on_claimed, recorder._task) == (None, None)
    assert asyncio.all_tasks() == tasks
    events = b"".join(reader.sent).split(b"\n\n")
    name = events[0].removeprefix(b"id: ").partition(b"0\n")[0]
    place = event_log.parse_event_id(name + b"0", "session")
    assert events[0] == b"id: %b0\nretry: 1000\ndata: " % name
    for position, message in enumerate([*said, b"outcome"], 1):
        assert events[position] == b"id: %b%d\nevent: message\ndata: %b" % (name, position, message)
    page = await event_log.read(place.stream, 0)
    kept = page.messages
    while not page.end:
        page = await event_log.read(place.stream, kept[-1][0])
        kept += page.messages
    assert kept == list(enumerate([*said, b"outcome"], 1))
    await event_log.stop()


_finishing: set[asyncio.Future[None]] = set()


async def in_state(state: StreamState, reader: Reader) -> EventStream:
    """Return a stream in a state, with a recorder; what is written to it waits."""
    store = MemoryStore(LogLimits())
    recorder = ResponseRecorder(SealedEventLog(store.log, Seal(), WorkerChannel(store), 3600), "session", 1)
    stream = EventStream(reader, [], StreamOptions(), recorder)
    reader.open.clear()
    if state is not StreamState.NEW:
        stream.open()
    if state is StreamState.DETACHING:
        stream.detach()
    elif state is StreamState.CLOSING:
        _finishing.add(asyncio.ensure_future(stream.finish(b"outcome")))
        await asyncio.sleep(0)
    elif state is StreamState.CLOSED:
        stream.abandon()
    assert stream.state is state
    return stream


@pytest.mark.parametrize(
    ("state", "event", "after"),
    [
        ("NEW", "open", "OPEN"),
        ("NEW", "detach", "DETACHING"),
        ("NEW", "abandon", "CLOSED"),
        ("OPEN", "open", "OPEN"),
        ("OPEN", "detach", "DETACHING"),
        ("OPEN", "release", "OPEN"),
        ("OPEN", "abandon", "CLOSED"),
        ("DETACHING", "open", "DETACHING"),
        ("DETACHING", "detach", "DETACHING"),
        ("DETACHING", "abandon", "CLOSED"),
        ("CLOSING", "open", "CLOSING"),
        ("CLOSING", "detach", "CLOSING"),
        ("CLOSING", "abandon", "CLOSED"),
        ("CLOSED", "open", "CLOSED"),
        ("CLOSED", "detach", "CLOSED"),
        ("CLOSED", "release", "CLOSED"),
    ],
)
async def test_what_leads_from_one_state_to_another(state: str, event: str, after: str) -> None:
    stream = await in_state(StreamState[state], Reader())
    getattr(stream, event)()
    assert stream.state is StreamState[after]
    stream.abandon()


@pytest.mark.parametrize("state", ["NEW", "OPEN", "DETACHING", "CLOSED"])
async def test_finish_leads_to_the_end_from_any_state(state: str) -> None:
    """A stream that is not connected any more ends in the log."""
    reader = Reader()
    stream = await in_state(StreamState[state], reader)
    reader.open.set()
    await stream.finish(b"outcome")
    assert stream.state is StreamState.CLOSED
    assert (b"outcome" in b"".join(reader.sent)) == (state in ("NEW", "OPEN"))
    assert not stream.push(b"1")


@pytest.mark.parametrize(
    ("state", "taken"), [("NEW", True), ("OPEN", True), ("DETACHING", True), ("CLOSING", False), ("CLOSED", True)]
)
async def test_a_recorded_stream_takes_messages_until_it_is_finished_or_released(state: str, taken: bool) -> None:
    stream = await in_state(StreamState[state], Reader())
    assert stream.push(b"1") == taken
    stream.release()
    assert not stream.push(b"2")
    assert not stream.send(b"3")
    stream.abandon()
