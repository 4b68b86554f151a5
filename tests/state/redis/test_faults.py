"""The store while its Valkey server stops, freezes or is killed: clear errors, and then all is well again."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from enfilade.state.open import open_store
from enfilade.state.store import Store, StoreError
from enfilade.state.tasks.records import tasks_of
from enfilade.timings import Timings
from support.servers.processes import HOST
from support.stores.kinds import opened
from support.stores.task_records import new_task
from support.stores.valkey_server import LossyProxy, Valkey
from support.waiting import until

pytestmark = pytest.mark.anyio


async def until_served(act: Callable[[], Awaitable[object]]) -> None:
    """Try again until the store does it."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(StoreError):
                await act()
                return
            await asyncio.sleep(0.02)


@pytest.fixture
async def complaints() -> list[dict[str, Any]]:
    """What the event loop complains about, such as errors that nobody has looked at."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: found.append(context))
    return found


def _operations(store: Store) -> list[Awaitable[object]]:
    return [
        store.keys.get("key"),
        store.keys.put("key", b"value", 60),
        store.keys.swap("key", None, b"value", 60),
        store.keys.delete("key"),
        store.log.open("other", b"head"),
        store.log.append("stream", [(100, b"entry")]),
        store.log.append("stream", [(101, b"entry"), (102, b"entry")]),
        store.log.read("stream", 0),
        store.log.touch("stream"),
        store.log.drop("other"),
        tasks_of(store).create(new_task("task")),
        tasks_of(store).read("task"),
        tasks_of(store).take_due(60.0, 1),
        tasks_of(store).page(None, None, 1),
        store.bus.publish("topic", b"message"),
    ]


async def _all_fail(store: Store, says: str) -> None:
    async with asyncio.timeout(Timings().store_operation):
        outcomes = await asyncio.gather(*_operations(store), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreError}
    assert all(says in str(outcome) for outcome in outcomes), outcomes


async def test_a_server_that_stops_for_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, complaints: list[dict[str, Any]]
) -> None:
    heard: list[bytes] = []
    gaps: list[bool] = []
    with Valkey(tmp_path, durable=True) as valkey:
        async with opened(valkey.url) as store:
            store.bus.subscribe("topic", heard.append)
            store.bus.on_gap(lambda: gaps.append(True))
            await store.log.open("stream", b"head")
            await store.log.append("stream", [(1, b"one")])

            valkey.stop()
            await _all_fail(store, "out of reach")
            for _ in range(20):  # at once, without a time-out for each
                await _all_fail(store, "out of reach")
            await until(lambda: any("out of reach" in record.message for record in caplog.records))
            assert not gaps

            valkey.start()
            await until_served(lambda: store.keys.put("key", b"value", 60))
            await until(lambda: gaps)
            await store.log.append("stream", [(2, b"two")])
            events = await store.log.read("stream", 0)
            assert events is not None
            assert events.entries == [(1, b"one"), (2, b"two")]
            await store.bus.publish("topic", b"again")
            await until(lambda: heard)
            assert heard == [b"again"]
            assert gaps == [True]
            log_lines = [record.message for record in caplog.records if record.name == "enfilade.state"]
            assert len(log_lines) == 2, log_lines
            assert "out of reach" in log_lines[0]
            assert "is back" in log_lines[1]
    assert not complaints


async def test_a_server_that_is_killed_keeps_what_was_acknowledged_and_each_entry_once(
    tmp_path: Path, complaints: list[dict[str, Any]]
) -> None:
    with Valkey(tmp_path, durable=True) as valkey:
        async with opened(valkey.url) as store:
            await store.log.open("stream", b"head")
            positions = iter(range(1, 100_000))
            appended: list[int] = []

            async def write() -> None:
                for position in positions:
                    entry = (position, b"%d" % position)
                    await until_served(lambda entry=entry: store.log.append("stream", [entry]))
                    appended.append(position)

            writing = asyncio.create_task(write())
            for _ in range(3):
                enough = len(appended) + 50
                await until(lambda enough=enough: len(appended) > enough)
                valkey.kill()
                valkey.start()
            enough = len(appended) + 50
            await until(lambda: len(appended) > enough)
            writing.cancel()
            await asyncio.wait([writing])

            found: list[tuple[int, bytes]] = []
            while (events := await store.log.read("stream", len(found))) and events.entries:
                found += events.entries
            assert found == [(n, b"%d" % n) for n in range(1, len(found) + 1)]
            assert len(found) >= len(appended)
    assert not complaints


async def test_a_server_that_is_frozen(tmp_path: Path, complaints: list[dict[str, Any]]) -> None:
    with Valkey(tmp_path) as valkey:
        async with opened(valkey.url) as store:
            await store.log.open("stream", b"head")
            valkey.pause()
            await _all_fail(store, "does not answer in time")
            await _all_fail(store, "does not answer in time")
            valkey.resume()
            await until_served(lambda: store.keys.put("key", b"value", 60))
            await asyncio.gather(*_operations(store))
    assert not complaints


async def test_starting_and_closing_end_although_the_server_is_frozen(tmp_path: Path) -> None:
    with Valkey(tmp_path) as valkey:
        valkey.pause()
        before = asyncio.all_tasks()
        store = open_store(valkey.url)
        async with asyncio.timeout(Timings().store_operation):
            await store.start()
        waiting = asyncio.ensure_future(store.keys.get("key"))
        await asyncio.sleep(0)
        async with asyncio.timeout(Timings().store_operation):
            await store.close()
        with pytest.raises(StoreError):
            await waiting
        assert asyncio.all_tasks() == before


async def test_starting_before_the_server_does(tmp_path: Path, complaints: list[dict[str, Any]]) -> None:
    heard: list[bytes] = []
    gaps: list[bool] = []
    valkey = Valkey(tmp_path)
    async with opened(valkey.url) as store:
        store.bus.subscribe("topic", heard.append)
        store.bus.on_gap(lambda: gaps.append(True))
        await _all_fail(store, "out of reach")
        with valkey:
            await until_served(lambda: store.keys.put("key", b"value", 60))
            await until(lambda: gaps)
            await store.bus.publish("topic", b"message")
            await until(lambda: heard)
    assert not complaints


async def test_connections_that_are_cut_cost_no_operation(tmp_path: Path) -> None:
    with Valkey(tmp_path) as valkey:
        async with opened(valkey.url) as store:
            await store.log.open("stream", b"head")
            for position in range(1, 101):
                if position % 10 == 0:
                    assert valkey.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") >= 1
                await store.log.append("stream", [(position, b"entry")])
            events = await store.log.read("stream", 0)
            assert events is not None
            assert [position for position, _ in events.entries] == list(range(1, 101))


async def test_what_was_done_although_its_answer_was_lost_is_done_once(shared_valkey: Valkey) -> None:
    heard: list[bytes] = []
    async with LossyProxy(shared_valkey) as way, opened(f"redis://{HOST}:{way.port}/0?prefix=lossy") as store:
        store.bus.subscribe("topic", heard.append)
        await store.bus.publish("topic", b"first")
        await store.log.open("stream", b"head")
        await store.log.append("stream", [(1, b"one")])

        way.lose = b"XADD"
        await store.log.append("stream", [(2, b"two")])
        assert not way.lose
        way.lose = b"XADD"
        await store.log.append("stream", [(3, b"three"), (4, b"four")])
        assert not way.lose
        events = await store.log.read("stream", 0)
        assert events is not None
        assert events.entries == [(1, b"one"), (2, b"two"), (3, b"three"), (4, b"four")]

        way.lose = b"EVAL"
        assert await store.keys.swap("key", None, b"new", 60)
        assert not way.lose

        way.lose = b"PUBLISH"
        with pytest.raises(StoreError, match="nobody knows"):
            await store.bus.publish("topic", b"second")
        assert not way.lose
        await store.bus.publish("topic", b"third")
        await until(lambda: b"third" in heard)
        assert heard == [b"first", b"second", b"third"]


async def test_a_server_that_fails_is_left_alone_for_a_moment() -> None:
    tried = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tried
        tried += 1
        writer.close()

    async with await asyncio.start_server(hang_up, HOST, 0) as server:
        async with opened(f"redis://{HOST}:{server.sockets[0].getsockname()[1]}/0") as store:
            for _ in range(300):
                with pytest.raises(StoreError):
                    await store.keys.get("key")
            assert 1 <= tried < 30


async def test_a_connection_that_was_cut_while_idle_is_noticed_before_it_is_used(tmp_path: Path) -> None:
    with Valkey(tmp_path) as valkey:
        async with opened(valkey.url, Timings(redis_idle=0)) as store:
            for _ in range(10):
                await store.bus.publish("topic", b"")
                assert valkey.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") >= 1


async def test_a_listener_that_was_cut_off_is_told_and_hears_again(tmp_path: Path) -> None:
    heard: list[bytes] = []
    gaps: list[bool] = []
    with Valkey(tmp_path) as valkey:
        async with opened(valkey.url) as store:
            store.bus.on_gap(lambda: gaps.append(True))
            store.bus.subscribe("topic", heard.append)
            await store.bus.publish("topic", b"0")
            await until(lambda: heard == [b"0"])
            for times in (1, 2):
                assert valkey.ask("CLIENT", "KILL", "TYPE", "pubsub") == 1
                await until(lambda times=times: len(gaps) == times)
                await store.bus.publish("topic", b"%d" % times)
                await until(lambda times=times: heard[-1] == b"%d" % times)
            assert heard == [b"0", b"1", b"2"]


async def test_a_listener_whose_server_says_nothing_any_more_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = asyncio.Event()
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: lost.set())
    logging.getLogger("enfilade.state").addHandler(handler)
    gaps: list[bool] = []
    with Valkey(tmp_path) as valkey:
        async with opened(valkey.url, Timings(redis_silence=0.05, redis_exchange=2.0)) as store:
            store.bus.subscribe("topic", lambda message: None)
            store.bus.on_gap(lambda: gaps.append(True))
            await until(lambda: valkey.calls("ping") >= 5)  # signs of life, and no alarm
            assert not lost.is_set()
            valkey.pause()
            async with asyncio.timeout(20):
                await lost.wait()
            valkey.resume()
            await until(lambda: gaps)
    logging.getLogger("enfilade.state").removeHandler(handler)


def test_another_event_loop_is_refused_at_once(shared_valkey: Valkey) -> None:
    """Its calls would be done in the loop of the store, which cannot wake a caller elsewhere."""

    async def use() -> None:
        async with opened(shared_valkey.url) as store:
            await store.keys.put("key", b"value", 60)
            with pytest.raises(StoreError, match="used by another event loop"):
                await asyncio.to_thread(lambda: asyncio.run(get(store)))
            assert await store.keys.get("key") == b"value"

    async def get(store: Store) -> None:
        async with asyncio.timeout(60):
            await store.keys.get("key")

    asyncio.run(use())
