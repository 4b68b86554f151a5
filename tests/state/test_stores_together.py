"""What every store must do besides: messages, beginning and end, and all of it against a model.

Two stores with the same behind them stand for two processes here.
"""

import asyncio
import itertools

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from enfilade.state.open import open_store
from enfilade.state.store import Store, StoreError, StreamSlice
from support.stores.kinds import Inbox, Open, all_entries, numbered_entries
from support.waiting import until

pytestmark = pytest.mark.anyio

_numbers = itertools.count(1)


# -- bus -------------------------------------------------------------------------------------------------------


async def test_a_message_comes_to_all_who_hear_its_topic(store: Store) -> None:
    one, other, elsewhere = Inbox(store, "topic"), Inbox(store, "topic", "both"), Inbox(store, "elsewhere")
    await store.bus.publish("topic", b"\x00 any \xff")
    await store.bus.publish("nobody hears this", b"")
    await store.bus.publish("both", b"")
    assert await other(2) == [b"\x00 any \xff", b""]
    assert await one(1) == [b"\x00 any \xff"]
    await store.bus.publish("elsewhere", b"last")
    assert await elsewhere(1) == [b"last"]
    assert (len(one.messages), len(other.messages)) == (1, 2), "once each"


async def test_messages_of_one_sender_come_in_order(store_url: str, store: Store, opened: Open) -> None:
    hearing = await opened(store_url) if store.shared else store
    heard = Inbox(hearing, "topic")
    messages = [b"%d" % number for number in range(2000)]
    for message in messages[:100]:
        await store.bus.publish("topic", message)
    await asyncio.gather(*(store.bus.publish("topic", message) for message in messages[100:]))
    assert await heard(2000) == messages


async def test_one_who_fails_to_take_a_message_is_in_nobodys_way(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    complaints: list[BaseException] = []
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: complaints.append(context["exception"]))

    def fail(message: bytes) -> None:
        raise ZeroDivisionError(message)

    store.bus.subscribe("topic", fail)
    heard = Inbox(store, "topic")
    await store.bus.publish("topic", b"1")
    await store.bus.publish("topic", b"2")
    assert await heard(2) == [b"1", b"2"]
    loop.set_exception_handler(handler)
    complaints += [record.exc_info[1] for record in caplog.records if record.exc_info and record.exc_info[1]]
    assert [str(complaint) for complaint in complaints] == ["b'1'", "b'2'"], "and it is said"


async def test_every_store_hears_what_comes_after_its_start_and_nothing_else(
    shared_url: str, opened: Open
) -> None:
    first = await opened(shared_url)
    heard = [Inbox(first, "topic")]
    for number in range(3):
        await first.bus.publish("topic", b"%d" % number)
        later = await opened(shared_url)
        heard.append(Inbox(later, "topic"))
        gaps: list[None] = []
        later.bus.on_gap(lambda told=gaps: told.append(None))  # type: ignore[misc]
    await later.bus.publish("topic", b"last")
    assert [await each(4 - number) for number, each in enumerate(heard)] == [
        [b"0", b"1", b"2", b"last"],
        [b"1", b"2", b"last"],
        [b"2", b"last"],
        [b"last"],
    ]
    assert gaps == [], "who has just come has missed nothing"


async def test_messages_have_come_once_they_have_settled(shared_url: str, opened: Open) -> None:
    """As seen from this process: what was heard is in the event loop, before the sender has slept."""
    one, other = await opened(shared_url), await opened(shared_url)
    heard = Inbox(other, "topic")
    assert 0 < one.bus.propagation_delay < 0.5
    in_time = 0
    for _ in range(10):
        await one.bus.publish("topic", b"")
        before = len(heard.messages)
        await asyncio.sleep(one.bus.propagation_delay)
        in_time += len(heard.messages) > before or before > 0
    assert len(await heard(10)) == 10
    assert in_time >= 5, "on a machine that is busy some may be late"


# -- both, and what is around them -----------------------------------------------------------------------------


async def test_what_one_store_writes_another_reads(shared_url: str, opened: Open) -> None:
    one, other = await opened(shared_url), await opened(shared_url)
    await one.keys.put("a", b"1", 100)
    await one.log.open("s", b"head")
    await one.log.append("s", [(1, b"one")])
    assert await other.keys.get("a") == b"1"
    await other.log.open("s", b"another head")
    await other.log.append("s", [(1, b"other"), (2, b"other")])
    assert await one.log.read("s", 0) == StreamSlice(b"head", [(1, b"one"), (2, b"other")], 1)
    await other.log.drop("s")
    await other.keys.delete("a")
    assert await one.keys.get("a") is None
    with pytest.raises(StoreError):
        await one.log.append("s", [(3, b"")])


async def test_a_shared_store_outlasts_those_who_use_it(shared_url: str) -> None:
    store = open_store(shared_url)
    heard = Inbox(store, "topic")
    for number in range(1, 4):
        await store.start()
        await store.start()
        if number == 1:
            await store.log.open("s", b"head")
        await store.log.append("s", [(number, b"")])
        await store.keys.put(f"key {number}", b"", None)
        await store.bus.publish("topic", b"%d" % number)
        await heard(number)
        await store.close()
        await store.close()
    await store.start()
    assert await all_entries(store, "s") == [(1, b""), (2, b""), (3, b"")]
    assert [await store.keys.get(f"key {number}") for number in (1, 2, 3, 4)] == [b"", b"", b"", None]
    assert heard.messages == [b"1", b"2", b"3"], "each once, although it was started three times"
    await store.close()


async def test_what_was_asked_for_before_the_end_is_done(shared_url: str, opened: Open) -> None:
    store = await opened(shared_url)
    await store.log.open("s", b"head")
    writes = [asyncio.ensure_future(store.log.append("s", [entry])) for entry in numbered_entries(1, 200)]
    await asyncio.sleep(0)
    await store.close()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    acknowledged = [n for n, outcome in enumerate(outcomes, 1) if outcome is None]
    assert all(outcome is None or isinstance(outcome, StoreError) for outcome in outcomes)
    again = await opened(shared_url)
    there = {number for number, _ in await all_entries(again, "s")}
    assert there.issuperset(acknowledged)


async def test_a_closed_store_says_so(shared_url: str) -> None:
    store = open_store(shared_url)
    with pytest.raises(StoreError):
        await store.keys.get("a")
    await store.start()
    await store.keys.put("a", b"", 1)
    await store.close()
    for doing in (
        store.keys.get("a"),
        store.keys.put("a", b"", 1),
        store.log.read("s", 0),
        store.log.open("s", b""),
        store.bus.publish("topic", b""),
    ):
        with pytest.raises(StoreError):
            await doing


def test_a_store_goes_from_one_event_loop_to_the_next(store_url: str) -> None:
    """As it does with an app that a test serves twice; the first one does not even close it."""
    store = open_store(store_url)
    messages: list[bytes] = []
    store.bus.subscribe("topic", messages.append)

    async def use(number: int, close: bool) -> bytes | None:
        await store.start()
        found = await store.keys.get("a")
        await store.keys.put("a", b"%d" % number, 100)
        await store.bus.publish("topic", b"%d" % number)

        async def has_come() -> bool:
            return len(messages) == number

        await until(has_come)
        if close:
            await store.close()
        return found

    assert asyncio.run(use(1, close=False)) is None
    assert asyncio.run(use(2, close=True)) == b"1"
    assert asyncio.run(use(3, close=True)) == b"2"
    assert messages == [b"1", b"2", b"3"]


# -- against a model -------------------------------------------------------------------------------------------

_values = st.sampled_from([None, b"", b"1", b"2"])
_keys = st.sampled_from("abc")
_streams = st.sampled_from("xyz")
_positions = st.integers(1, 12)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _keys, st.binary(max_size=3), st.sampled_from([None, 1000.0])),
        st.tuples(st.just("get"), _keys),
        st.tuples(st.just("swap"), _keys, _values, _values, st.sampled_from([None, 1000.0])),
        st.tuples(st.just("delete"), _keys),
        st.tuples(st.just("open"), _streams, st.binary(max_size=3)),
        st.tuples(
            st.just("append"), _streams, st.lists(st.tuples(_positions, st.binary(max_size=3)), max_size=4)
        ),
        st.tuples(st.just("read"), _streams, st.integers(0, 13)),
        st.tuples(st.just("last"), _streams),
        st.tuples(st.just("touch"), _streams),
        st.tuples(st.just("drop"), _streams),
    ),
    max_size=40,
)


class Model:
    """What a store is, in its simplest words."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.streams: dict[str, tuple[bytes, list[tuple[int, bytes]]]] = {}

    def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    def put(self, key: str, value: bytes, ttl: float | None) -> None:
        self.values[key] = value

    def delete(self, key: str) -> None:
        self.values.pop(key, None)

    def swap(self, key: str, old: bytes | None, new: bytes | None, ttl: float | None) -> bool:
        if self.values.get(key) == old:
            self.values.pop(key, None)
            if new is not None:
                self.values[key] = new
        return self.values.get(key) == new

    def open(self, stream: str, head: bytes) -> None:
        self.streams.setdefault(stream, (head, []))

    def append(self, stream: str, entries: list[tuple[int, bytes]]) -> None:
        events = self.streams[stream][1]
        for entry in entries:
            if not events or entry[0] > events[-1][0]:
                events.append(entry)

    def read(self, stream: str, after: int) -> StreamSlice | None:
        if stream not in self.streams:
            return None
        head, entries = self.streams[stream]
        return StreamSlice(
            head, [entry for entry in entries if entry[0] > after], entries[0][0] if entries else None
        )

    def last(self, stream: str) -> int:
        return max((position for position, _ in self.streams.get(stream, (b"", []))[1]), default=0)

    def touch(self, stream: str) -> None:
        pass

    def drop(self, stream: str) -> None:
        self.streams.pop(stream, None)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_a_store_does_what_its_model_does(store_url: str, steps: list[tuple[object, ...]]) -> None:
    """Names differ from example to example, since all of them share a file or a server."""
    mark = f"{next(_numbers)} "

    async def walk() -> None:
        store, model = open_store(store_url), Model()
        await store.start()
        for name, place, *rest in steps:
            doer = store.keys if name in ("get", "put", "swap", "delete") else store.log
            doing = getattr(doer, str(name))(mark + str(place), *rest)
            if name == "append" and rest[0] and place not in model.streams:
                with pytest.raises(StoreError):
                    await doing
            elif name == "append" and place not in model.streams:
                doing.close()  # whether nothing can be added to a stream that is not there is up to the store
            else:
                assert await doing == getattr(model, str(name))(place, *rest), (name, place, *rest)
        await store.close()

    asyncio.run(walk())
