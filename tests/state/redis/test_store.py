"""The store on a real Valkey server while all is well: what is kept and where, who can see it, what it costs."""

import asyncio
import sys

import pytest

from enfilade.state.open import open_store
from enfilade.state.redis.store import RedisStore
from enfilade.state.store import LogLimits, Store, StoreError, StreamSlice
from support.stores.valkey_server import Valkey
from support.waiting import until

pytestmark = pytest.mark.anyio

STREAMS = 50
EACH = 20


async def test_entries_of_any_size_come_back_in_pages(valkey_url: str) -> None:
    store = open_store(valkey_url)
    await store.start()
    entries = [(position, bytes([position]) * 100_000) for position in range(1, 21)]
    await store.log.open("s", b"head")
    await store.log.append("s", entries[:7])
    for entry in entries[7:]:
        await store.log.append("s", [entry])

    found: list[tuple[int, bytes]] = []
    pages = 0
    while True:
        events = await store.log.read("s", found[-1][0] if found else 0)
        assert events is not None
        assert (events.head, events.first) == (b"head", 1)
        if not events.entries:
            break
        found += events.entries
        pages += 1
    assert found == entries
    assert 2 <= pages < len(entries)
    await store.close()


async def test_a_stream_that_is_written_to_lives_on_and_then_expires_with_its_head(
    valkey_url: str, shared_valkey: Valkey
) -> None:
    store = open_store(valkey_url, LogLimits(age=60.0))
    await store.start()
    await store.log.open("s", b"head")
    [head] = shared_valkey.ask("KEYS", f"{_prefix(valkey_url)}*head:s")
    [log] = shared_valkey.ask("KEYS", f"{_prefix(valkey_url)}*log:s")
    for key in (head, log):
        assert 60_000 <= shared_valkey.ask("PTTL", key) <= 64_000

    # As if a while had passed since it was opened: what may be left is at least the age.
    for key in (head, log):
        shared_valkey.ask("PEXPIRE", key, 1000)
    await store.log.touch("s")
    assert all(shared_valkey.ask("PTTL", key) >= 60_000 for key in (head, log))

    shared_valkey.ask("DEL", head)
    assert await store.log.read("s", 0) is None
    await store.close()


async def test_a_stream_that_has_expired_is_gone_and_takes_no_entries(
    valkey_url: str, shared_valkey: Valkey
) -> None:
    store = open_store(valkey_url, LogLimits(age=0.001))
    await store.start()
    await store.log.open("s", b"head")
    await until(lambda: not shared_valkey.ask("KEYS", f"{_prefix(valkey_url)}*"))
    assert await store.log.read("s", 0) is None
    for entries in ([(1, b"a")], [(1, b"a"), (2, b"b")]):
        with pytest.raises(StoreError, match="expired"):
            await store.log.append("s", entries)
    assert not shared_valkey.ask("KEYS", f"{_prefix(valkey_url)}*")
    await store.close()


async def test_a_stream_that_another_process_dropped_takes_no_entries(
    valkey_url: str, shared_valkey: Valkey
) -> None:
    store = open_store(valkey_url)
    await store.start()
    for entries in ([(2, b"b")], [(2, b"b"), (3, b"c")]):
        await store.log.open("s", b"head")
        await store.log.append("s", [(1, b"a")])
        shared_valkey.ask("DEL", f"{_prefix(valkey_url)}log:s")
        with pytest.raises(StoreError, match="dropped"):
            await store.log.append("s", entries)
        assert await store.log.read("s", 0) is None
        await store.log.drop("s")
    assert not shared_valkey.ask("KEYS", f"{_prefix(valkey_url)}*")
    await store.close()


async def test_a_thousand_events_at_once_take_a_few_round_trips(valkey_url: str, shared_valkey: Valkey) -> None:
    store = open_store(valkey_url)
    await store.start()
    await asyncio.gather(*(store.log.open(f"s{n}", b"head") for n in range(STREAMS)))
    shared_valkey.ask("CONFIG", "RESETSTAT")

    await asyncio.gather(
        *(store.log.append(f"s{n}", [(p, b"x" * 100)]) for p in range(1, EACH + 1) for n in range(STREAMS))
    )

    assert shared_valkey.calls("xadd") == STREAMS * EACH
    assert shared_valkey.calls("pexpire", "eval") == 0
    # The server reads 16 KiB at a time; a round trip each would be a thousand reads.
    assert shared_valkey.ask("INFO", "stats")["total_reads_processed"] < STREAMS * EACH / 10
    for n in range(STREAMS):
        events = await store.log.read(f"s{n}", 0)
        assert events is not None
        assert [position for position, _ in events.entries] == list(range(1, EACH + 1))
    await store.close()


async def test_who_gives_up_waiting_takes_nobody_along(valkey_url: str) -> None:
    store = open_store(valkey_url)
    await store.start()
    waiting = [asyncio.ensure_future(store.keys.put(f"k{n}", b"v", 60)) for n in range(100)]
    await asyncio.sleep(0)
    for one in waiting[::2]:
        one.cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, type(None)] * 50
    assert all([await store.keys.get(f"k{n}") == b"v" for n in range(1, 100, 2)])
    await store.close()


async def test_prefixes_keep_two_servers_apart(shared_valkey: Valkey) -> None:
    one, other = (open_store(f"{shared_valkey.url}?prefix={name}") for name in ("shop", "bank"))
    await _see_nothing_of_each_other(one, other)


async def test_databases_keep_two_servers_apart(shared_valkey: Valkey) -> None:
    one, other = (open_store(f"{shared_valkey.url.removesuffix('/0')}/{n}?prefix=same") for n in (3, 4))
    await _see_nothing_of_each_other(one, other)


async def _see_nothing_of_each_other(one: Store, other: Store) -> None:
    heard: list[bytes] = []
    for store in (one, other):
        store.bus.subscribe("topic", heard.append)
        await store.start()
    for store, content in ((one, b"1"), (other, b"2")):
        await store.keys.put("key", content, 60)
        await store.log.open("stream", content)
    assert [await store.keys.get("key") for store in (one, other)] == [b"1", b"2"]
    assert [await store.log.read("stream", 0) for store in (one, other)] != [None, None]
    await one.log.drop("stream")
    assert await other.log.read("stream", 0) is not None

    await one.bus.publish("topic", b"from one")
    await other.bus.publish("topic", b"from the other")
    await until(lambda: len(heard) >= 2)
    assert sorted(heard) == [b"from one", b"from the other"]
    for store in (one, other):
        await store.close()


async def test_what_is_published_after_hear_is_heard_by_its_sender(valkey_url: str) -> None:
    store = open_store(valkey_url)
    await store.start()
    for n in range(50):
        heard: list[bytes] = []
        store.bus.subscribe(f"topic {n}", heard.append)
        await store.bus.publish(f"topic {n}", b"%d" % n)
        await until(lambda heard=heard: heard)
        assert heard == [b"%d" % n]
    await store.close()


async def test_a_listener_that_fails_stops_nobody_from_hearing(
    valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(valkey_url)
    heard: list[bytes] = []

    def fail(message: bytes) -> None:
        raise RuntimeError("no")

    store.bus.subscribe("topic", fail)
    store.bus.subscribe("topic", heard.append)
    await store.start()
    for n in range(3):
        await store.bus.publish("topic", b"%d" % n)
    await until(lambda: len(heard) == 3)
    assert heard == [b"0", b"1", b"2"]
    assert len(caplog.records) == 3
    await store.close()


async def test_close_leaves_no_connection_and_no_task(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Valkey(tmp_path_factory.mktemp("own")) as valkey:
        store = open_store(valkey.url)
        store.bus.subscribe("topic", lambda message: None)
        before = asyncio.all_tasks()
        for _ in range(3):
            await store.start()
            await store.start()
            await store.keys.put("key", b"value", None)
            await store.log.read("stream", 0)
            assert valkey.connections() == 3
            await store.close()
            await store.close()
            assert asyncio.all_tasks() == before
            await until(lambda: valkey.connections() == 0)
        with pytest.raises(StoreError, match="not open"):
            await store.keys.get("key")
        with pytest.raises(StoreError, match="not open"):
            await store.bus.publish("topic", b"")


async def test_close_waits_for_what_is_under_way(valkey_url: str) -> None:
    store = open_store(valkey_url)
    await store.start()
    puts = [asyncio.ensure_future(store.keys.put(f"k{n}", b"v", 60)) for n in range(100)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*puts)
    await store.start()
    assert await store.keys.get("k99") == b"v"
    await store.close()


def test_another_event_loop_starts_anew(valkey_url: str) -> None:
    store = open_store(valkey_url)
    heard: list[bytes] = []
    store.bus.subscribe("topic", heard.append)

    async def visit(name: bytes) -> bytes | None:
        await store.start()
        found = await store.keys.get("key")
        await store.keys.put("key", name, 60)
        await store.bus.publish("topic", name)
        await until(lambda: name in heard)
        return found

    assert asyncio.run(visit(b"first")) is None
    assert asyncio.run(visit(b"second")) == b"first"
    assert heard == [b"first", b"second"]


def test_without_the_client_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("enfilade.state.redis.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ValueError, match=r'needs: pip install "enfilade\[redis\]"') as refused:
        RedisStore("redis://:hidden@host", LogLimits())
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:hid/den@host", "with %XX"),
        ("redis://:hidden@host:99999/0", "cannot be read"),
        ("redis://:hidden@/0", "names no host"),
        ("redis://:hidden@host/db", "cannot be read"),
        ("redis://:hidden@host/-1", "no possible database"),
        ("redis://:hidden@[::1", "cannot be read"),
        (f"redis://:hidden@{'x' * 70}/0", "cannot be read"),
        ("redis://:hidden@host?prefix=", "empty prefix"),
        (
            "redis://:hidden@host?max_connections=3",
            "unknown option 'max_connections'; known for this URL: prefix$",
        ),
        ("redis://:hidden@host?ssl_ca_certs=ca.pem", "unknown option 'ssl_ca_certs'"),
        ("rediss://:hidden@host?ssl_cert_reqs=no", "none, optional, required"),
        ("rediss://:hidden@host?ssl_check_hostname=0", "true or false"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        open_store(url)
    assert "hid" not in str(refused.value)


def _prefix(url: str) -> str:
    return url.partition("?prefix=")[2]


async def test_a_stream_that_waits_takes_little_of_the_server(valkey_url: str, shared_valkey: Valkey) -> None:
    """Thousands of sessions wait for changes, and a stream of Redis with one entry takes a page of 4 KiB."""
    store = open_store(valkey_url)
    await store.start()
    await store.log.open("s", b"head")
    [log] = shared_valkey.ask("KEYS", f"{_prefix(valkey_url)}*log:s")
    assert shared_valkey.ask("MEMORY", "USAGE", log) < 512
    assert await store.log.read("s", 0) == StreamSlice(b"head", [], None)
    await store.log.append("s", [(1, b"one")])
    await store.log.open("s", b"head")
    assert await store.log.read("s", 0) == StreamSlice(b"head", [(1, b"one")], 1), (
        "opened again, it loses nothing"
    )
    await store.close()


async def test_a_stream_that_a_former_release_has_opened_goes_on(valkey_url: str, shared_valkey: Valkey) -> None:
    """It has an entry below the first position, which is nobody's."""
    store = open_store(valkey_url)
    await store.start()
    await store.log.open("s", b"head")
    [log] = shared_valkey.ask("KEYS", f"{_prefix(valkey_url)}*log:s")
    shared_valkey.ask("DEL", log)
    shared_valkey.ask("XADD", log, "0-1", "", "")
    shared_valkey.ask("PEXPIRE", log, 60_000)
    assert await store.log.read("s", 0) == StreamSlice(b"head", [], None)
    await store.log.open("s", b"another head")
    assert await store.log.append_each([("s", 1, b"one")]) == [True]
    assert await store.log.read("s", 0) == StreamSlice(b"head", [(1, b"one")], 1)
    await store.close()


async def test_entries_of_many_streams_renew_what_is_due(valkey_url: str, shared_valkey: Valkey) -> None:
    """A renewal is two more commands, and each worker remembers what it has renewed itself."""
    opener, other = (open_store(valkey_url, LogLimits(age=60.0)) for _ in range(2))
    await opener.start()
    await other.start()
    await opener.log.open("s", b"head")
    keys = [shared_valkey.ask("KEYS", f"{_prefix(valkey_url)}*{kind}:s")[0] for kind in ("head", "log")]
    for key in keys:
        shared_valkey.ask("PEXPIRE", key, 30_000)
    assert await opener.log.append_each([("s", 1, b"a"), ("unknown", 1, b"a")]) == [True, False]
    assert all(shared_valkey.ask("PTTL", key) <= 30_000 for key in keys)
    for position in (2, 3):
        assert await other.log.append_each([("s", position, b"b"), ("unknown", 1, b"a")]) == [True, False]
        assert all(shared_valkey.ask("PTTL", key) >= 60_000 for key in keys)
    assert await opener.log.last("s") == 3
    for store in (opener, other):
        await store.close()
