"""Somebody's own event store, end to end: whatever it does, nobody reads another's events, and nobody hangs.

Most stores here do one thing wrong. What a session may hear of is its own words, in order, each once, or a clear
refusal. A store that does nothing wrong is among them.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enfilade.state.event_store import EventCallback, EventMessage, EventStore, EventStoreLog
from enfilade.state.store import StoreError
from enfilade.timings import Timings
from enfilade.transports.http import resumption
from support.cluster.in_process_workers import ClusterClient, InProcessCluster, WorkerResponse, running_cluster

pytestmark = pytest.mark.anyio


class Plain(EventStore):
    """Does what it should.

    Attributes:
        events: all of them, each with its stream.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    async def store_event(self, stream_id: str, message: str) -> str:
        self.events.append((stream_id, message))
        return str(len(self.events) - 1)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        position = int(last_event_id)
        stream = self.events[position][0]
        for at, (of, message) in enumerate(self.events):
            if at > position and of == stream:
                await send_callback(EventMessage(message, str(at)))
        return stream


class Mixing(Plain):
    """Replays what came after, of whatever stream and session."""

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        position = int(last_event_id)
        for at, (_, message) in enumerate(list(self.events)):
            if at > position:
                await send_callback(EventMessage(message, str(at)))
        return self.events[position][0]


class Mistaking(Plain):
    """Replays another stream in place of the one that was asked for, under its name or the other's."""

    def __init__(self, *, lies: bool) -> None:
        super().__init__()
        self._lies = lies

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        asked = self.events[int(last_event_id)][0]
        others = [stream for stream, _ in self.events if stream != asked]
        taken = others[0] if others else asked
        for at, (of, message) in enumerate(list(self.events)):
            if of == taken:
                await send_callback(EventMessage(message, str(at)))
        return asked if self._lies else taken


class Losing(Plain):
    """Loses each fourth message."""

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        async def some(event: EventMessage) -> None:
            if int(event.event_id or 0) % 4 != 3:
                await send_callback(event)

        return await super().replay_events_after(last_event_id, some)


class Repeating(Plain):
    """Returns everything twice, the latest first."""

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        found: list[EventMessage] = []

        async def keep(event: EventMessage) -> None:
            found.append(event)

        stream = await super().replay_events_after(last_event_id, keep)
        for event in [*found[::-1], *found]:
            await send_callback(event)
        return stream


class Forging(Plain):
    """Returns what it was never given."""

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        for message in ('{"jsonrpc":"2.0","method":"notifications/message"}', "", "AAAA", "\xff", None):
            await send_callback(EventMessage(message))  # type: ignore[arg-type]
        return self.events[int(last_event_id)][0]


class Refusing(Plain):
    """Keeps, but replays nothing."""

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        raise RuntimeError("secret-password: no route to host")


class Broken(Plain):
    """Keeps nothing."""

    async def store_event(self, stream_id: str, message: str) -> str:
        raise RuntimeError("secret-password: no route to host")


class Wordless(Plain):
    """Returns ids that are no text."""

    async def store_event(self, stream_id: str, message: str) -> str:
        return 7  # type: ignore[return-value]


class Forgetful(Plain):
    """Has forgotten by the time that it is asked."""

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        return None


class Slow(Plain):
    """Takes its time."""

    async def store_event(self, stream_id: str, message: str) -> str:
        await asyncio.sleep(0.05)
        return await super().store_event(stream_id, message)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        await asyncio.sleep(0.05)
        return await super().replay_events_after(last_event_id, send_callback)


GOOD: dict[str, Callable[[], Plain]] = {"plain": Plain, "slow": Slow, "repeating": Repeating}
BAD: dict[str, Callable[[], Plain]] = {
    "mixing": Mixing,
    "mistaking": lambda: Mistaking(lies=False),
    "lying": lambda: Mistaking(lies=True),
    "losing": Losing,
    "forging": Forging,
    "refusing": Refusing,
    "broken": Broken,
    "wordless": Wordless,
    "forgetful": Forgetful,
}


@pytest.fixture(params=["memory", "sqlite"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> list[Any]:
    """One worker alone, or two that share everything else."""
    return ["memory://"] if request.param == "memory" else [f"sqlite:///{tmp_path / 'state.db'}"] * 2


async def whole(client: ClusterClient, name: str) -> WorkerResponse:
    return await client.call("say", name=name, count=5).finish()


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
async def test_it_is_all_that_is_needed(stores: list[Any], make: Callable[[], Plain]) -> None:
    """S15, S16, S17, S46, R-351: from every position, at any worker, into the present, to the end."""
    async with running_cluster(stores, event_store=make()) as cluster:
        client = await cluster.client()
        call = await whole(client, "a")
        assert [event.id is not None for event in call.events] == [True] * 7
        for at, id in enumerate(call.ids):
            again = await client.get(id, len(stores) - 1).finish()
            assert again.events == call.events[at + 1 :]
        call = client.call("say", name="b", count=4, hold=2)
        await call.wait_for(2)
        await call.cut()
        again = await client.resume(call.ids[0], len(stores) - 1)
        await again.wait_for(2)
        cluster.release("b")
        await again.finish()
        assert again.texts == ["b 0", "b 1", "b 2", "b 3", "b done"]


@pytest.mark.parametrize("make", [*GOOD.values(), *BAD.values()], ids=[*GOOD, *BAD])
async def test_nobody_hears_anothers_words_and_nobody_hangs(stores: list[Any], make: Callable[[], Plain]) -> None:
    """R-352, R-717, D3: with every id of every session, at every worker."""
    timings = Timings(log_retries=0.2, reader_poll=0.02)
    async with running_cluster(stores, timings, event_store=make()) as cluster:
        clients = [await cluster.client() for _ in range(3)]
        names = ["alice", "bob", "carol"]
        calls = [await whole(client, name) for client, name in zip(clients, names, strict=True)]
        for name, call in zip(names, calls, strict=True):
            assert call.texts == [*(f"{name} {number}" for number in range(5)), f"{name} done"]
        for client, name in zip(clients, names, strict=True):
            for of, call in zip(names, calls, strict=True):
                for id in call.ids[::2]:
                    again = await client.get(id, len(stores) - 1).finish()
                    check(again, name, own=of == name)


def check(again: WorkerResponse, name: str, *, own: bool) -> None:
    """Check what somebody came back to: its own words, in order, or a refusal that tells nothing."""
    assert b"secret-password" not in again.body
    if not own:
        assert again.status == 400, again.body
    if again.status != 200:
        assert again.status in (400, 503), again.body
        assert "message" in again.error
        return
    log_lines = [each for each in again.texts if each != "error -32603"]
    assert all(each.startswith(f"{name} ") for each in log_lines), again.body
    rising = [f"{name} {number}" for number in range(5)] + [f"{name} done"]
    assert log_lines == [each for each in rising if each in log_lines]


@pytest.mark.parametrize("make", [Broken, Wordless], ids=["broken", "wordless"])
async def test_a_store_that_keeps_nothing_costs_only_resumption(
    make: Callable[[], Plain],
) -> None:
    """R-350: no ids are given that would lead nowhere."""
    async with running_cluster(["memory://"], Timings(log_retries=0.1), event_store=make()) as cluster:
        client = await cluster.client()
        call = await whole(client, "a")
        assert call.texts == [*(f"a {number}" for number in range(5)), "a done"]
        assert call.ids == []


async def test_what_it_is_given_says_nothing() -> None:
    """R-703: it is sealed, and printable, and streams of sessions have names unlike each other."""
    store = Plain()
    async with running_cluster(["memory://"], event_store=store) as cluster:
        clients = [await cluster.client() for _ in range(2)]
        for client in clients:
            for _ in range(2):
                await whole(client, "in plain words")
        event_log = cluster.apps[0].endpoint.services.event_log
        assert event_log is not None
        await event_log.flush(10)
        assert len({stream for stream, _ in store.events}) == 4
        for stream, message in store.events:
            assert all(0x20 < ord(character) < 0x7F for character in stream + message)
            assert len(stream) <= 60
            assert "plain" not in message
            for client in clients:
                assert client.token not in stream + message


class TestLog:
    """`EventStoreLog`: the same as an event log."""

    @pytest.fixture
    def log(self) -> EventStoreLog:
        return EventStoreLog(Plain())

    async def test_a_stream_has_a_head_and_entries(self, log: EventStoreLog) -> None:
        await log.open("s", b"head")
        await log.append("s", [(1, b"one"), (4, b"four")])
        await log.open("s", b"another")
        for after, entries in ((0, [(1, b"one"), (4, b"four")]), (1, [(4, b"four")]), (4, []), (9, [])):
            events = await log.read("s", after)
            assert events is not None
            assert (events.head, events.entries, events.first) == (b"head", entries, 1)

    async def test_what_is_kept_twice_counts_once(self, log: EventStoreLog) -> None:
        """A write whose answer was lost is tried again."""
        await log.open("s", b"head")
        for _ in range(2):
            await log.append("s", [(1, b"one"), (2, b"two")])
        events = await log.read("s", 0)
        assert events is not None
        assert events.entries == [(1, b"one"), (2, b"two")]

    async def test_a_stream_that_was_begun_elsewhere_needs_its_anchor(self) -> None:
        store = Plain()
        one, other = EventStoreLog(store), EventStoreLog(store)
        await one.open("s", b"head")
        await one.append("s", [(1, b"one")])
        assert await other.read("s", 0) is None
        anchor = one.anchor("s")
        assert anchor is not None
        other.remember_anchor("s", anchor)
        events = await other.read("s", 0)
        assert events is not None
        assert events.entries == [(1, b"one")]
        await one.drop("s")
        assert await one.read("s", 0) is None

    @pytest.mark.parametrize("make", [Broken, Wordless], ids=["broken", "wordless"])
    async def test_what_was_not_kept_is_said(self, make: Callable[[], Plain]) -> None:
        with pytest.raises(StoreError):
            await EventStoreLog(make()).open("s", b"head")

    @pytest.mark.parametrize("make", [Forging, Refusing, lambda: Mistaking(lies=False)])
    async def test_what_cannot_be_is_said(self, make: Callable[[], Plain]) -> None:
        log = EventStoreLog(make())
        await log.open("s", b"head")
        await log.open("t", b"head")
        with pytest.raises(StoreError):
            await log.read("s", 0)


async def test_the_base_class_does_nothing() -> None:
    with pytest.raises(NotImplementedError):
        await EventStore().store_event("s", "m")
    with pytest.raises(NotImplementedError):
        await EventStore().replay_events_after("1", print)  # type: ignore[arg-type]


def test_it_is_offered_to_authors() -> None:
    """S15, S17: under the names of the reference."""
    import enfilade

    assert (enfilade.EventStore, enfilade.EventMessage) == (EventStore, EventMessage)


async def test_workers_that_share_a_store_object(tmp_path: Path) -> None:
    """A store object that two workers share, as one of a database would be."""
    url = f"sqlite:///{tmp_path / 'state.db'}"
    store = Plain()
    cluster: InProcessCluster
    async with running_cluster([url, url], event_store=store) as cluster:
        client = await cluster.client()
        call = await client.call_and_cut()
        again = await client.resume(call.ids[0], 1)
        await cluster.lose(0)
        await again.finish()
        assert again.received[-1]["error"]["message"] == resumption.GONE_TEXT
