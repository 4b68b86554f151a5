"""What a worker keeps in mind of sessions: those in use, and no more than fits."""

import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from enfilade import MCPApp, Settings
from enfilade.state.memory import MemoryKeys
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import request_of

pytestmark = pytest.mark.anyio


def server(remembered: int) -> tuple[AsgiClient, Any]:
    app = MCPApp("many", settings=Settings(secret="the secret of all the sessions there are"))
    sessions = app.endpoint.services.sessions
    sessions._cache_size = remembered
    return AsgiClient(app), sessions


async def opened(asgi: AsgiClient, **capabilities: Any) -> bytes:
    """Open a session and use it, so that it is kept."""
    token = (await asgi.initialize(capabilities=capabilities)).headers["mcp-session-id"]
    await used(asgi, token.encode())
    return token.encode()


async def used(asgi: AsgiClient, token: bytes) -> None:
    assert (await asgi.post(request_of("ping", None, 1, None), mcp_session_id=token.decode())).status == 200


async def test_the_least_recently_used_session_is_forgotten() -> None:
    asgi, sessions = server(3)
    first, second, third = [await opened(asgi) for _ in range(3)]
    await used(asgi, first)
    fourth = await opened(asgi)
    assert set(sessions._cached) == {third, first, fourth}
    await used(asgi, third)
    await used(asgi, second)
    assert set(sessions._cached) == {fourth, third, second}


async def test_a_session_in_use_stays_however_many_others_come() -> None:
    asgi, sessions = server(4)
    busy = await opened(asgi)
    for _ in range(50):
        await opened(asgi)
        assert busy in sessions._cached
        await used(asgi, busy)
    assert len(sessions._cached) == 4
    assert len(sessions._by_id) <= 4 + 64


async def test_what_is_kept_is_bounded_in_bytes() -> None:
    """An id may have 3 KB: ten such sessions take the room of sixty with few capabilities."""
    asgi, sessions = server(20)
    long = {"experimental": {f"e{number}": {} for number in range(150)}}
    tokens = [await opened(asgi, **long) for _ in range(20)]
    assert len(tokens[0]) > 1800
    assert sessions._cached_bytes == sum(map(len, sessions._cached)) <= 20 * 512
    assert 0 < len(sessions._cached) < 6
    for token in tokens:
        await used(asgi, token)


async def test_the_uris_that_a_client_watches_are_bounded_together() -> None:
    """They are one record, which is written anew with each: a thousand of 3 KB took 21 ms at the last."""
    app = MCPApp("watching")
    app.resource("note://{name}")(lambda name: name)
    asgi = AsgiClient(app)
    token = (await asgi.initialize()).headers["mcp-session-id"]
    codes = []
    for number in range(100):
        params = {"uri": f"note://{number}" + "x" * 4000}
        reply = await asgi.ask(token, "resources/subscribe", params)
        codes.append(reply.response.get("error", {}).get("code"))
    assert codes.index(-32602) == 256 * 1024 // (len("note://99") + 4000)
    assert "262144 characters" in reply.response["error"]["message"]
    again = await asgi.ask(token, "resources/subscribe", {"uri": "note://0" + "x" * 4000})
    assert again.result == {}


async def test_the_uris_that_a_client_watches_are_not_kept_with_its_session() -> None:
    """The store has them; 4,096 sessions with as many as each may have would take two gigabytes."""
    app = MCPApp("watching")
    app.resource("note://{name}")(lambda name: name)
    asgi = AsgiClient(app)
    tracemalloc.start()
    try:
        for number in range(40):
            token = (await asgi.initialize()).headers["mcp-session-id"]
            for each in range(10):
                params = {"uri": f"note://{each}" + "x" * 8000}
                assert (await asgi.ask(token, "resources/subscribe", params)).result == {}
            await used(asgi, token.encode())
            if number == 9:
                before = tracemalloc.take_snapshot()
        assert isinstance(app.store.keys, MemoryKeys)
        stored = sum(len(value) for value, _ in app.store.keys._entries.values())
        grown = sum(each.size_diff for each in tracemalloc.take_snapshot().compare_to(before, "filename"))
    finally:
        tracemalloc.stop()
    assert grown < 30 / 40 * stored * 1.5, "what the store has, and little besides"


class TestFloods:
    """What one client opens, changes and ends changes nothing of the sessions of others."""

    SECRET = "the secret of all the sessions there are"

    def worker(self, **options: Any) -> tuple[AsgiClient, MemoryKeys]:
        app = MCPApp("flooded", settings=Settings(secret=self.SECRET), **options)
        app.add_text_resource("note://a", "a note")
        keys = app.store.keys
        assert isinstance(keys, MemoryKeys)
        return AsgiClient(app), keys

    async def end(self, asgi: AsgiClient, token: bytes) -> int:
        return (await asgi.send(asgi.scope({"mcp-session-id": token.decode()}, "DELETE"), b"")).status

    async def status(self, asgi: AsgiClient, token: bytes, method: str = "ping", **params: Any) -> int:
        body = request_of(method, params or None, 1, None)
        return (await asgi.post(body, mcp_session_id=token.decode())).status

    async def level(self, asgi: AsgiClient, token: bytes) -> str | None:
        """Return what a worker finds that knows nothing of the session yet."""
        session = await asgi.app.endpoint.services.sessions.find(token, None)
        assert session is not None
        return session.log_level

    async def test_of_sessions_that_are_ended(self) -> None:
        """R-315: what was ended stays ended, and what was set stays set, however many others come and go."""
        asgi, keys = self.worker()
        keys._capacity = 20
        victim, other = await opened(asgi), await opened(asgi)
        assert await self.end(asgi, victim) == 204
        assert await self.status(asgi, other, "logging/setLevel", level="debug") == 200
        assert await self.status(asgi, other, "resources/subscribe", uri="note://a") == 200
        for _ in range(100):
            assert await self.end(asgi, await opened(asgi)) == 204
        fresh, _ = self.worker(store=asgi.app.store)
        for each in (asgi, fresh):
            assert await self.status(each, victim) == 404
            assert await self.level(each, other) == "debug"
        assert await self.status(asgi, other, "logging/setLevel", level="error") == 200
        session = await fresh.app.endpoint.services.sessions.find(other, None)
        assert session is not None
        record = await fresh.app.endpoint.services.sessions.record(session.peer.session_id)
        assert list(record.watched) == ["note://a"]

    @pytest.mark.parametrize("full_of", ["records", "ended"])
    async def test_when_the_store_is_full_only_what_is_new_is_refused(self, full_of: str) -> None:
        """R-714: 503 to whoever comes last; nobody is told that a session has ended which has not."""
        asgi, keys = self.worker()
        keys._capacity, keys._ended._capacity = 10, 5
        ended = [await opened(asgi) for _ in range(5)]
        assert [await self.end(asgi, each) for each in ended] == [204] * 5
        held = [await opened(asgi) for _ in range(10)]
        for each in held:
            assert await self.status(asgi, each, "logging/setLevel", level="debug") == 200
        late = await opened(asgi)
        refused: dict[str, Callable[[], Awaitable[int]]] = {
            "records": lambda: self.status(asgi, late, "logging/setLevel", level="error"),
            "ended": lambda: self.end(asgi, late),
        }
        for _ in range(3):
            assert await refused[full_of]() == 503
        fresh, _ = self.worker(store=asgi.app.store)
        for worker in (asgi, fresh):
            assert await self.status(worker, late) == 200
            assert await self.status(worker, await opened(worker)) == 200
            assert {await self.status(worker, each) for each in ended} == {404}
            assert {await self.level(worker, each) for each in held} == {"debug"}
        assert await self.status(asgi, held[0], "logging/setLevel", level="error") == 200
        assert await self.end(asgi, held[1]) == 204
        assert await self.status(self.worker(store=asgi.app.store)[0], held[1]) == 404
