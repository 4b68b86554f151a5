"""How long a session lives: as long as it is used, by whatever means and at whatever worker (R-314, R-315).

What is counted and what depends on hours runs in this process, with a clock that is set; that the parts work
together is shown by real servers whose sessions may idle for two seconds.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from enfilade import MCPApp, Settings
from enfilade.state.store import StoreError
from enfilade.timings import Timings
from enfilade.transports.http import sessions as sessions_module
from support.cluster.in_process_workers import FaultyBus, SharedMemory
from support.http_client.asgi_calls import AsgiClient, PausableRequest
from support.http_client.connection import Http, HttpSession
from support.servers.changing_server import get
from support.servers.processes import ServerProcess, enfilade_command

HOUR = 3600.0
SECRET = "a secret that all workers share and by which each serves every session"


class Clock:
    """The clocks of sessions, which can be set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sessions_module, "time", clock)
    return clock


class Counting:
    """Counts what a store's keys are asked.

    Attributes:
        away: whether it refuses everything.
        written: how often something was changed.
        kept_for: for how many seconds what was changed is to be kept.
    """

    def __init__(self, keys: Any) -> None:
        self._keys = keys
        self.asked: list[str] = []
        self.away = False
        self.written = 0
        self.kept_for: list[float] = []

    def __getattr__(self, verb: str) -> Any:
        async def counted(key: str, *more: Any) -> Any:
            if key.startswith("session:"):
                self.asked.append(verb)
                if self.away:
                    raise StoreError("out of reach")
            result = await getattr(self._keys, verb)(key, *more)
            if key.startswith("session:") and verb == "swap":
                self.kept_for.append(more[-1])
            self.written += key.startswith("session:") and verb == "swap" and result
            return result

        return counted

    def taken(self) -> list[str]:
        asked, self.asked = self.asked, []
        return asked


class Worker:
    """One worker, and what it asks a store that others may share."""

    def __init__(self, store: SharedMemory, idle: float = 8 * HOUR) -> None:
        self.app = MCPApp(secret=SECRET, store=store, settings=Settings(session_ttl=idle))
        self.app.tool(self.hold)
        self.asgi = AsgiClient(self.app)
        self.held = asyncio.Event()
        self.keys = Counting(self.app.endpoint.worker_channel.store.keys)
        self.app.endpoint.worker_channel.store = SimpleNamespace(  # type: ignore[assignment]  # the same, counted
            **{name: getattr(store, name) for name in ("log", "bus", "shared", "start", "close")}, keys=self.keys
        )

    async def hold(self) -> str:
        """Wait until it is let go."""
        await self.held.wait()
        return "done"

    async def opened(self) -> str:
        return (await self.asgi.initialize()).headers["mcp-session-id"]

    async def status(self, token: str) -> int:
        self.asgi.sessions[token] = "2025-11-25"
        return (await self.asgi.ask(token, "ping")).status

    def look(self) -> None:
        """Look after the sessions that are in use, as its timer would."""
        self.app.endpoint._session_use._look()


@pytest.fixture
def store() -> SharedMemory:
    return SharedMemory()


@pytest.mark.anyio
class TestRequests:
    async def test_a_session_lives_as_long_as_it_is_used(self, store: SharedMemory, clock: Clock) -> None:
        """For days, by requests that come seldom; and it ends when they do not come any more."""
        one = Worker(store)
        token = await one.opened()
        for _ in range(40):
            clock.ahead += 7.9 * HOUR
            assert await one.status(token) == 200
        clock.ahead += 12.1 * HOUR
        assert await one.status(token) == 404

    @pytest.mark.parametrize("step", [0.3, 1.0, 3.9, 4.1, 7.9])
    async def test_whenever_it_was_used_last_it_may_idle_for_so_long(
        self, store: SharedMemory, clock: Clock, step: float
    ) -> None:
        """At least the idle time and at most half as much again, whatever the rhythm, also at another worker."""
        one, other = Worker(store), Worker(store)
        for count in range(1, 12):
            token = await one.opened()
            for _ in range(count):
                clock.ahead += step * HOUR
                assert await one.status(token) == 200
            clock.ahead += 7.99 * HOUR
            assert await other.status(token) == 200
            clock.ahead += 12.01 * HOUR
            assert (await one.status(token), await other.status(token)) == (404, 404)

    async def test_what_it_costs(self, store: SharedMemory, clock: Clock) -> None:
        """Nothing while the session is young; then one write for each half of the idle time, by all workers."""
        workers = [Worker(store) for _ in range(3)]
        token = await workers[0].opened()
        for worker in workers:
            assert await worker.status(token) == 200
            worker.keys.taken()
        for _ in range(39):  # of 0.1 hours, which are less than a half of the idle time
            clock.ahead += 0.1 * HOUR
            for worker in workers:
                assert await worker.status(token) == 200
        assert {verb for worker in workers for verb in worker.keys.taken()} == {"get"}
        writes = 0
        for _ in range(400):
            clock.ahead += 0.1 * HOUR
            for worker in workers:
                assert await worker.status(token) == 200
                writes += worker.keys.taken().count("swap")
        assert writes == 10, "forty hours are ten halves"
        kept = {ttl for worker in workers for ttl in worker.keys.kept_for}
        assert kept == {12 * HOUR}, "the store knows of it for as long as the session may live"

    async def test_of_many_at_once_one_writes(self, store: SharedMemory, clock: Clock) -> None:
        workers = [Worker(store) for _ in range(3)]
        token = await workers[0].opened()
        clock.ahead += 5 * HOUR
        assert set(await asyncio.gather(*(each.status(token) for each in workers * 5))) == {200}
        assert sum(worker.keys.written for worker in workers) == 1
        clock.ahead += 1
        for worker in workers:
            worker.keys.taken()
            assert await worker.status(token) == 200
            assert "swap" not in worker.keys.taken()

    async def test_calls_in_a_row_ask_nobody(self, store: SharedMemory, clock: Clock) -> None:
        """Also those of a session that is older than its idle time."""
        one = Worker(store)
        token = await one.opened()
        for _ in range(3):
            clock.ahead += 7 * HOUR
            await one.status(token)
        one.keys.taken()
        for _ in range(100):
            assert await one.status(token) == 200
        assert one.keys.taken() == []

    async def test_nothing_is_kept_of_it_but_what_is_bounded(self, clock: Clock) -> None:
        """Sessions that are renewed: a worker keeps some in mind, and the store one record each."""
        store = SharedMemory()
        one = Worker(store)
        sessions = one.app.endpoint.services.sessions
        sessions._cache_size = 50
        tokens = [await one.opened() for _ in range(200)]
        clock.ahead += 5 * HOUR
        for token in tokens:
            assert await one.status(token) == 200
        assert 0 < len(sessions._cached) <= 50
        assert len(sessions._by_id) <= 50 + sessions_module._NEWCOMERS
        assert len([key for key in store.keys._entries if key.startswith("session:")]) == len(tokens)
        clock.ahead += 12.1 * HOUR
        await store.keys.put("another", b"", 1)  # which looks whether anything has expired
        assert await one.status(tokens[0]) == 404

    async def test_a_change_in_the_session_is_a_use(self, store: SharedMemory, clock: Clock) -> None:
        """What is written anyway carries it; and what was set is not forgotten while the session lives."""
        one = Worker(store)
        token = await one.opened()
        await one.asgi.ask(token, "logging/setLevel", {"level": "error"})
        one.keys.taken()
        for _ in range(20):
            clock.ahead += 3.9 * HOUR
            assert await one.status(token) == 200
        assert one.keys.taken().count("swap") == 10
        assert one.app.endpoint.services.sessions._cached[token.encode()].log_level == "error"

    async def test_an_ended_session_stays_ended(self, store: SharedMemory, clock: Clock) -> None:
        """For as long as its token could count, at every worker."""
        one, other = Worker(store), Worker(store)
        token = await one.opened()
        clock.ahead += 5 * HOUR
        assert await other.status(token) == 200
        session = await one.app.endpoint.services.sessions.find(token.encode(), None)
        assert session is not None
        await session.end()
        for _ in range(6):
            assert (await one.status(token), await other.status(token)) == (404, 404)
            clock.ahead += 3 * HOUR
        store.keys.clear()  # the store has lost it; whoever knew still knows
        clock.ahead -= 18 * HOUR
        assert await one.status(token) == 404


@pytest.mark.anyio
class TestStoreAway:
    async def test_a_session_in_use_does_not_end(self, store: SharedMemory, clock: Clock) -> None:
        """It is served on what is known, and when the store is back, all workers learn that it was in use."""
        one, other = Worker(store), Worker(store)
        token = await one.opened()
        assert await one.status(token) == 200
        one.keys.away = other.keys.away = True
        for _ in range(10):
            clock.ahead += 7 * HOUR
            assert await one.status(token) == 200
        assert await other.status(token) == 503, "it does not know whether it was ended"
        one.keys.away = other.keys.away = False
        assert await one.status(token) == 200
        assert await other.status(token) == 200

    async def test_one_that_is_not_used_ends(self, store: SharedMemory, clock: Clock) -> None:
        one = Worker(store)
        token = await one.opened()
        assert await one.status(token) == 200
        one.keys.away = True
        clock.ahead += 12.1 * HOUR
        assert await one.status(token) == 404

    async def test_a_store_that_comes_back_empty_is_told(self, store: SharedMemory, clock: Clock) -> None:
        one, other = Worker(store), Worker(store)
        token = await one.opened()
        for _ in range(4):
            clock.ahead += 7 * HOUR
            assert await one.status(token) == 200
        store.keys.clear()
        assert await other.status(token) == 404, "the token is too old to count alone"
        clock.ahead += 10
        assert await one.status(token) == 200
        assert await other.status(token) == 200


@pytest.mark.anyio
class TestInUse:
    """What has no requests is in use all the same: a stream that is open, a call that runs."""

    async def settled(self, worker: Worker) -> None:
        task = worker.app.endpoint._session_use._task
        if task is not None:
            await task

    @pytest.mark.parametrize("kind", ["stream", "call"])
    async def test_it_lives_and_its_idle_time_begins_with_the_end(
        self, store: SharedMemory, clock: Clock, kind: str
    ) -> None:
        one, other = Worker(store), Worker(store)
        token = await one.opened()
        fields: Any = {"mcp-session-id": token, "content-type": "application/json", "accept": "*/*"}
        call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hold","arguments":{}}}'
        verb, body = ("GET", b"") if kind == "stream" else ("POST", call)
        held = PausableRequest(one.app, one.asgi.scope(fields, verb), body)
        await held.until(lambda: len(one.app.endpoint.services.in_flight) or held.status)
        one.keys.taken()
        for _ in range(100):
            clock.ahead += 0.5 * HOUR
            one.look()
            await self.settled(one)
        assert one.keys.taken().count("swap") in (12, 13), "fifty hours have twelve and a half halves of eight"
        assert await other.status(token) == 200
        one.held.set()
        held.leave()
        await held.task
        clock.ahead += 0.4 * HOUR  # it ended after the last look
        one.look()
        await self.settled(one)
        clock.ahead += 7.9 * HOUR
        assert await other.status(token) == 200
        clock.ahead += 12.1 * HOUR
        one.look()
        await self.settled(one)
        assert (await one.status(token), await other.status(token)) == (404, 404)

    async def test_what_ends_between_two_looks_was_in_use_until_then(
        self, store: SharedMemory, clock: Clock
    ) -> None:
        """At the last look the use was not due to be written down; at the next one it is over, and is."""
        one, other = Worker(store), Worker(store)
        token = await one.opened()
        held = PausableRequest(one.app, one.asgi.scope({"mcp-session-id": token}, "GET"))
        await held.until(lambda: held.status)
        clock.ahead = 3.9 * HOUR
        one.look()
        await self.settled(one)
        clock.ahead = 4.3 * HOUR
        held.leave()
        await held.task
        clock.ahead = 4.4 * HOUR
        one.look()
        await self.settled(one)
        clock.ahead = (
            12.2 * HOUR
        )  # less than the idle time after the end, more than the handshake alone is good for
        assert await other.status(token) == 200

    async def test_the_end_of_a_session_is_noticed_also_if_nobody_heard_of_it(
        self, store: SharedMemory, clock: Clock
    ) -> None:
        """R-316: its stream ends, though the message of the worker that ended it was lost."""
        one, other = Worker(store), Worker(store)
        await other.app.endpoint.start()
        token = await one.opened()
        held = PausableRequest(one.app, one.asgi.scope({"mcp-session-id": token}, "GET"))
        await held.until(lambda: held.status)
        bus: FaultyBus = store.bus
        bus.deaf = True
        ended = await other.asgi.send(other.asgi.scope({"mcp-session-id": token}, "DELETE"), b"")
        assert ended.status == 204
        clock.ahead += Timings().session_freshness + 1
        one.look()
        async with asyncio.timeout(30):
            await held.task

    async def test_a_store_that_is_away_ends_no_stream(self, store: SharedMemory, clock: Clock) -> None:
        one = Worker(store)
        token = await one.opened()
        held = PausableRequest(one.app, one.asgi.scope({"mcp-session-id": token}, "GET"))
        await held.until(lambda: held.status)
        one.keys.away = True
        for _ in range(10):
            clock.ahead += 7 * HOUR
            one.look()
            await self.settled(one)
        assert not held.task.done()
        one.keys.away = False
        assert await one.status(token) == 200
        held.leave()
        await held.task

    async def test_its_own_timer_looks(self, store: SharedMemory) -> None:
        """Sixteen times in the idle time; and no more once the worker has stopped."""
        one = Worker(store, idle=0.8)
        token = await one.opened()
        held = PausableRequest(one.app, one.asgi.scope({"mcp-session-id": token}, "GET"))
        await held.until(lambda: held.status)
        await held.until(lambda: "swap" in one.keys.asked)
        assert one.app.endpoint._session_use._timer is not None
        held.leave()
        await held.task
        await one.app.endpoint.stop(0.1)
        assert one.app.endpoint._session_use._timer is None


FILE = """
import asyncio
from enfilade import MCPApp
app = MCPApp(name="Idle")

@app.tool
async def busy(seconds: float) -> str:
    "Wait."
    await asyncio.sleep(seconds)
    return "done"
"""

IDLE = 2.0


@pytest.fixture
def start_server(tmp_path: Path) -> Callable[..., ServerProcess]:
    """Return what makes a server; they share a store and a secret."""
    file = tmp_path / "idle.py"
    file.write_text(FILE)

    def made(*options: str) -> ServerProcess:
        command = enfilade_command("run", str(file), "--transport", "http", "--port", "{port}", *options)
        env = {
            "ENFILADE_SESSION_TTL": str(IDLE),
            "ENFILADE_STORE": f"sqlite:///{tmp_path / 'state.db'}",
            "ENFILADE_SECRET": SECRET,
        }
        return ServerProcess(command, env=env)

    return made


def alive(session: HttpSession) -> bool:
    return session.ask("ping").status == 200


class Pinged:
    """A session that is used by pings alone.

    Attributes:
        last: when the last of them was sent; the server has seen it later.
    """

    def __init__(self, http: Http) -> None:
        self.last = time.monotonic()
        self.session = http.initialize()

    def check(self) -> None:
        """Ping: it lives, unless this machine was so slow that it was not used for its idle time."""
        last, self.last = self.last, time.monotonic()
        if not alive(self.session):
            assert time.monotonic() - last >= IDLE
            pytest.skip("this machine is too slow to use a session within its idle time")


class TestServers:
    def test_sessions_in_use_outlive_their_idle_time_and_others_do_not(
        self, start_server: Callable[..., ServerProcess]
    ) -> None:
        """By pings, by an open stream, by one long call; at two workers; and after a restart of all of them."""
        with start_server("--workers", "2") as server:
            http = Http(server.port)
            streamed, called, idle = (http.initialize() for _ in range(3))
            stream = get(streamed)
            call = called.start("tools/call", {"name": "busy", "arguments": {"seconds": 4 * IDLE}})
            pinged = Pinged(http)
            end = time.monotonic() + 3.5 * IDLE
            while time.monotonic() < end:
                pinged.check()
                time.sleep(0.2)
            assert idle.ask("ping").status == 404
            assert alive(streamed)
            pinged.check()
            assert call.read().result["content"][0]["text"] == "done"
            used = time.monotonic()
            assert alive(called)
            pinged.check()
            stream.reply.close()
            assert alive(streamed)
        with start_server() as server:
            again = [
                HttpSession(Http(server.port), each.token, each.revision) for each in (pinged.session, called)
            ]
            living = list(map(alive, again))
            assert all(living) or time.monotonic() - used >= IDLE  # a machine that is slower shows nothing
            assert HttpSession(Http(server.port), idle.token, idle.revision).ask("ping").status == 404
