"""What a session's client hears that no call of its own caused: over the GET stream, and over stdio."""

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from enfilade import Settings
from enfilade.state.memory import MemoryKeys, MemoryStore
from enfilade.state.store import LogLimits
from enfilade.timings import Timings
from enfilade.transports.http import standalone_stream
from support.authorization.header_users import HeaderUsers
from support.exchanges import Message
from support.harness import Serving, eventually
from support.http_client.asgi_calls import AsgiClient, PausableRequest
from support.http_client.connection import CLIENT, Http, HttpSession, request_of
from support.servers.changing_server import (
    FILE,
    ChangingServer,
    OpenStream,
    change_name,
    get,
    listen,
    start_get,
)
from support.servers.processes import ServerProcess, python_command
from support.stdio_client.connection import Stdio

SESSIONS = ("2025-03-26", "2025-06-18", "2025-11-25")
INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32600, -32601, -32602
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


@pytest.fixture(scope="module")
def app() -> ChangingServer:
    """Its streams end soon after their client has gone; `test_resumption.py` is about those that do not."""
    app = ChangingServer()
    app._timings = Timings(stream_retention=0.05)
    return app


@pytest.fixture(scope="module")
def serving(app: ChangingServer) -> Iterator[Serving]:
    with Serving(app) as serving:
        yield serving


@pytest.fixture(autouse=True)
def nobody_is_left(app: ChangingServer) -> Iterator[None]:
    """Whatever a test did, when its clients have gone nobody listens any more."""
    yield
    eventually(lambda: (len(app.changes), len(app.endpoint.get_endpoint.locks)) == (0, 0), "a stream was left")


@pytest.mark.parametrize("revision", SESSIONS)
class TestStream:
    def test_brings_what_changes(self, app: ChangingServer, http: Http, revision: str) -> None:
        """S7, D11, R-369: lists to everybody, and of the resources those that it watches."""
        session = http.initialize(revision)
        with get(session) as heard:
            session.ask("resources/subscribe", {"uri": "note://a"})
            app.change(["tools", "note://b", "prompts", "note://a", "resources"])
            assert heard.until("resources") == ["tools", "prompts", "note://a"]

    def test_has_no_trace_of_the_stateless_era(self, app: ChangingServer, http: Http, revision: str) -> None:
        """Trap 19, R-2C3: no subscription id; the schema of the revision is checked for every message."""
        session = http.initialize(revision)
        session.ask("resources/subscribe", {"uri": "note://a"})
        with get(session) as heard:
            app.change(["tools", "note://a"])
            assert heard.next() == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
            assert heard.next() == {
                "jsonrpc": "2.0",
                "method": "notifications/resources/updated",
                "params": {"uri": "note://a"},
            }

    def test_a_call_has_nothing_on_it(self, app: ChangingServer, http: Http, revision: str) -> None:
        """R-330, R-332: and no change comes on the stream of a call."""
        session = http.initialize(revision)
        with get(session) as heard:
            reply = session.call("change", what=["tools", "prompts"])
            assert [message.get("id") for message in reply.messages] == [1]
            assert heard.until("prompts") == ["tools"]


class TestLingering:
    def test_few_streams_go_on_without_their_clients(
        self, app: ChangingServer, http: Http, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Sessions are free, so whoever opens many and leaves must not take the streams of others."""
        monkeypatch.setattr(app.endpoint.services.event_log, "timings", Timings(stream_retention=3600.0))
        monkeypatch.setattr(standalone_stream, "MOST_RETAINED", 2)
        sessions = [http.initialize() for _ in range(6)]
        for session in sessions:
            with get(session):
                pass
            eventually(lambda: not app.endpoint.get_endpoint.open_responses, "the client has gone")
        eventually(lambda: len(app.changes) == 2, "as many as may go on")
        for session in sessions:
            session.delete()


class TestPlace:
    def test_each_session_has_its_own(self, app: ChangingServer, http: Http) -> None:
        """R-330, R-368: one copy for each session, and what is watched is the session's own."""
        one, other = http.initialize(), http.initialize()
        one.ask("resources/subscribe", {"uri": "note://a"})
        with get(one) as first, get(other) as second:
            other.ask("resources/subscribe", {"uri": "note://b"})
            app.change(["note://a", "note://b", "tools"])
            assert (first.until("tools"), second.until("tools")) == (["note://a"], ["note://b"])

    @pytest.mark.parametrize("revision", SESSIONS)
    def test_is_one_and_the_newest(self, app: ChangingServer, http: Http, revision: str) -> None:
        """S7, D8, R-330, R-333: a new GET takes the stream over, and the old one ends in order."""
        session = http.initialize(revision)
        older = get(session)
        for _ in range(2):
            newer = get(session)
            assert older.read_to_end() == []
            older = newer
        with older as heard:
            heard.until("resources")  # what a client that comes back may have missed
            app.change(["tools"])
            assert heard.until("tools") == []
            assert len(app.changes) == 1

    def test_of_several_at_once_one_has_it(self, app: ChangingServer, http: Http) -> None:
        """D8, S39: none looks open and is dead; what comes is heard on the one that has it."""
        session = http.initialize()
        waiting = [start_get(session) for _ in range(6)]
        heard = [OpenStream(each) for each in waiting]
        eventually(lambda: len(app.changes) == 1)
        session.ask("resources/subscribe", {"uri": "note://last"})
        app.change(["note://last"])

        def hears(each: OpenStream) -> bool:
            return any(change_name(message) == "note://last" for message in each._events)

        with ThreadPoolExecutor(6) as threads:  # five of them end, and one goes on
            assert sorted(threads.map(hears, heard)) == [*[False] * 5, True]
        for each in waiting:
            each.close()

    @pytest.mark.parametrize("way", ["cut", "reset"])
    def test_is_free_at_once_when_its_client_has_gone(self, app: ChangingServer, http: Http, way: str) -> None:
        """S7: also if the connection broke without a goodbye. Ten times, since it is a race."""
        session = http.initialize()
        for _ in range(10):
            heard = get(session)
            getattr(heard.reply, way)()
        with get(session) as heard:
            app.change(["tools"])
            assert heard.until("tools") == []

    def test_leaves_no_task(self, app: ChangingServer, serving: Serving) -> None:
        """D12."""

        async def tasks() -> int:
            return len(asyncio.all_tasks())

        before = serving.run(tasks)
        streams = [get(serving.http.initialize()) for _ in range(10)]
        assert len(app.changes) == 10
        for heard in streams:
            heard.reply.cut()
        eventually(lambda: len(app.endpoint.get_endpoint.locks) == 0)
        eventually(lambda: serving.run(tasks) <= before, "a task was left")

    def test_there_is_a_limit(self, app: ChangingServer, http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
        """R-2C9: refused in plain words, and the place of the session is not lost by it."""
        monkeypatch.setattr(app.changes, "limit", 1)
        session = http.initialize()
        with listen(http, toolsListChanged=True):
            assert start_get(session).read().status == 503
        eventually(lambda: len(app.changes) == 0)
        with get(session) as heard:
            app.change(["tools"])
            assert heard.until("tools") == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("accept", "status"),
        [
            (None, 200),
            ("*/*", 200),
            ("text/*", 200),
            ("application/json, text/event-stream", 200),
            ("application/json", 406),
            ("text/html", 406),
            ("text/event-stream;q=0", 406),
        ],
    )
    def test_a_client_that_takes_no_stream(self, http: Http, accept: str | None, status: int) -> None:
        """R-328, S39."""
        with start_get(http.initialize(), accept) as waiting:
            assert waiting.status == status

    @pytest.mark.parametrize(
        ("token", "version", "status", "code"),
        [
            (None, "2025-11-25", 400, INVALID_REQUEST),
            ("unknown", "2025-11-25", 404, INVALID_REQUEST),
            ("unknown", "1999-01-01", 400, INVALID_REQUEST),
            ("live", "2026-07-28", 405, INVALID_REQUEST),
            (None, "2026-07-28", 405, INVALID_REQUEST),
        ],
    )
    def test_no_session(self, http: Http, token: str | None, version: str, status: int, code: int) -> None:
        """E-19, E-22, E-23, R-313, R-315, R-114: the same statuses as of a POST."""
        token = http.initialize().token if token == "live" else token
        fields: dict[str, Any] = {"mcp-session-id": token, "mcp-protocol-version": version}
        reply = http.request("GET", b"", {**fields, "accept": "text/event-stream"})
        assert (reply.status, reply.error["code"]) == (status, code)
        assert (reply.header("allow") == "POST") == (status == 405)

    def test_a_stranger(self, app: ChangingServer, http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
        """R-317: for another user the session does not exist."""
        session = http.initialize()
        monkeypatch.setattr(app.endpoint, "_authenticator", HeaderUsers("somebody else"))
        assert start_get(session).read().status == 404


class TestEnd:
    def test_with_the_session(self, app: ChangingServer, http: Http) -> None:
        """R-315, R-316: DELETE ends the stream in order, and it cannot be opened again."""
        session, other = http.initialize(), http.initialize()
        with get(session) as heard, get(other) as others:
            assert session.delete().status == 204
            app.change(["tools"])
            assert heard.read_to_end() == []
            assert others.until("tools") == []
        assert start_get(session).read().status == 404

    @pytest.mark.anyio
    async def test_an_end_in_the_middle_of_opening(self) -> None:
        """D8: a DELETE that comes while the GET looks into the store leaves no stream behind."""
        app = ChangingServer(store=SlowStore())
        asgi = AsgiClient(app)
        token = (await asgi.initialize()).headers["mcp-session-id"]
        opening = PausableRequest(app, asgi.scope({"mcp-session-id": token}, "GET"))
        ending = PausableRequest(app, asgi.scope({"mcp-session-id": token}, "DELETE"))
        await ending.task
        await opening.task
        assert ending.status == 204
        assert opening.status in (200, 404)
        assert (len(app.changes), len(app.endpoint.get_endpoint.locks)) == (0, 0)

    def test_with_the_server(self, app: ChangingServer, http: Http) -> None:
        """R-332: there is no response on it, only its end."""
        with get(http.initialize()) as heard:
            app.changes.end()
            assert heard.read_to_end() == []

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that can be caught")
    def test_a_server_that_is_stopped_does_not_wait_for_it(self) -> None:
        with ServerProcess(python_command(str(FILE), "http", "{port}")) as server:
            with get(Http(server.port).initialize()) as heard:
                server.process.send_signal(signal.SIGTERM)
                assert heard.read_to_end() == []
            server.process.wait(30)
            assert "timeout" not in server.output.lower()


class SlowKeys(MemoryKeys):
    """Keys that take some turns of the event loop for everything, as distant ones do."""

    async def get(self, key: str) -> bytes | None:
        value = await super().get(key)
        await asyncio.sleep(0.005)
        return value

    async def swap(self, key: str, old: bytes | None, new: bytes | None, ttl: float | None) -> bool:
        await asyncio.sleep(0.005)
        return await super().swap(key, old, new, ttl)


class SlowStore(MemoryStore):
    """A store whose keys are slow."""

    def __init__(self) -> None:
        super().__init__(LogLimits())
        self.keys = SlowKeys()


class TestWatching:
    """`resources/subscribe` and `resources/unsubscribe` (R-368, D16)."""

    def subscribe(self, session: HttpSession, uri: str, verb: str = "subscribe") -> None:
        assert session.ask(f"resources/{verb}", {"uri": uri}).result == {}

    def test_ends_when_it_is_asked_to(self, app: ChangingServer, http: Http) -> None:
        session = http.initialize()
        with get(session) as heard:
            for uri in ("note://a", "note://b", "note://a"):
                self.subscribe(session, uri)
            self.subscribe(session, "note://a", "unsubscribe")
            self.subscribe(session, "note://never", "unsubscribe")
            app.change(["note://a", "note://b", "tools"])
            assert heard.until("tools") == ["note://b"]

    def test_outlasts_the_stream(self, app: ChangingServer, http: Http) -> None:
        """What was watched before the stream was opened, or while it was not."""
        session = http.initialize()
        self.subscribe(session, "note://before")
        with get(session) as heard:
            app.change(["note://before", "tools"])
            assert heard.until("tools") == ["note://before"]
        self.subscribe(session, "note://between")
        with get(session) as heard:
            app.change(["note://between", "note://before", "tools"])
            assert heard.until("tools") == ["note://between", "note://before"]

    def test_a_resource_that_is_not_there_may_come(self, app: ChangingServer, http: Http) -> None:
        """C-23: what does not exist yet can be watched."""
        session = http.initialize()
        self.subscribe(session, "note://later")
        with get(session) as heard:
            app.change(["note://later"])
            assert heard.until("note://later") == []

    def test_a_uri_keeps_the_clients_spelling(self, app: ChangingServer, http: Http) -> None:
        session = http.initialize()
        self.subscribe(session, "note://Z%c3%bcrich")
        with get(session) as heard:
            app.notify_resource_updated("note://Zürich")
            assert heard.until("note://Z%c3%bcrich") == []

    @pytest.mark.parametrize(
        "params", [{}, {"uri": 5}, {"uri": "note://" + "x" * 9000}], ids=["none", "5", "long"]
    )
    def test_what_is_no_uri(self, http: Http, params: dict[str, Any]) -> None:
        assert http.initialize().ask("resources/subscribe", params).error["code"] == INVALID_PARAMS

    @pytest.mark.anyio
    async def test_requests_side_by_side_lose_nothing(self) -> None:
        """R-367, R-368: each changes what the session remembers, and none what another has changed."""
        app = ChangingServer(store=SlowStore())
        asgi = AsgiClient(app)
        token = (await asgi.initialize()).headers["mcp-session-id"]
        uris = [f"note://{number}" for number in range(5)]
        asked = [request_of("resources/subscribe", {"uri": uri}, uri, None) for uri in uris]
        asked.append(request_of("logging/setLevel", {"level": "error"}, 1, None))
        replies = await asyncio.gather(*(asgi.post(each, mcp_session_id=token) for each in asked))
        assert [each.result for each in replies] == [{}] * 6
        held = PausableRequest(app, asgi.scope({"mcp-session-id": token}, "GET"))
        late = asyncio.ensure_future(asgi.ask(token, "resources/subscribe", {"uri": "note://late"}))
        await held.until(lambda: held.status == 200)
        await late
        app.change([*uris, "note://late"])
        await held.until(lambda: len(list(held.messages)) == 6)
        assert [change_name(each) for each in held.messages] == [*uris, "note://late"]
        kept = [value for value, _ in app.store.keys._entries.values()]  # type: ignore[attr-defined]
        assert [b'"error"' in value for value in kept] == [True]
        held.leave()
        await held.task

    @pytest.mark.anyio
    async def test_an_ended_session_stays_ended(self) -> None:
        """R-315: a request that came in before the DELETE does not bring it back."""
        app = ChangingServer(store=SlowStore())
        asgi = AsgiClient(app)
        token = (await asgi.initialize()).headers["mcp-session-id"]
        ending = PausableRequest(app, asgi.scope({"mcp-session-id": token}, "DELETE"))
        await asyncio.gather(asgi.ask(token, "resources/subscribe", {"uri": "note://a"}), ending.task)
        assert (await asgi.ask(token, "ping")).status == 404

    def test_is_not_there_without_resources(self) -> None:
        """P20, D16: what is not advertised is not served."""
        app = ChangingServer()
        app.remove_resource("note://a")
        with Serving(app) as serving:
            reply = serving.http.initialize().ask("resources/subscribe", {"uri": "note://a"})
            assert reply.error["code"] == METHOD_NOT_FOUND


class TestWithoutSessions:
    """`sessions=False`: R-310, there is no stream, and so nothing is promised."""

    @pytest.fixture
    def sessionless(self) -> AsgiClient:
        return AsgiClient(ChangingServer(settings=Settings(sessions=False)))

    @pytest.mark.anyio
    async def test_changes_are_not_advertised(self, sessionless: AsgiClient) -> None:
        """P20, R-2CB: but they are to the stateless era, which can listen."""
        assert (await sessionless.initialize()).result["capabilities"] == {
            "tools": {},
            "prompts": {},
            "resources": {},
            "logging": {},
        }
        discovered = (await sessionless.modern("server/discover")).result["capabilities"]
        assert discovered["tools"] == {"listChanged": True}
        assert discovered["resources"] == {"listChanged": True, "subscribe": True}

    @pytest.mark.anyio
    @pytest.mark.parametrize("method", ["resources/subscribe", "resources/unsubscribe"])
    async def test_nothing_can_be_watched(self, sessionless: AsgiClient, method: str) -> None:
        answered = await sessionless.ask("none", method, {"uri": "note://a"})
        assert answered.response["error"]["code"] == METHOD_NOT_FOUND

    @pytest.mark.anyio
    async def test_get_is_not_there(self, sessionless: AsgiClient) -> None:
        """R-331."""
        held = PausableRequest(sessionless.app, sessionless.scope({}, "GET"))
        await held.task
        assert held.status == 405


class TestOverStdio:
    """R-409: the connection is the session, and there is one stream for everything."""

    @pytest.fixture
    def stdio(self) -> Iterator[Stdio]:
        with Stdio([sys.executable, str(FILE), "stdio"]) as stdio:
            yield stdio

    def change(self, stdio: Stdio, *what: str) -> list[str]:
        """Let something change, and return what is told of up to the answer to a later request."""
        stdio.ask("tools/call", {"name": "change", "arguments": {"what": what}}, id="change")
        found: list[Message] = []
        while not found or change_name(found[-1]) != what[-1]:
            found.append(stdio.read())
        return [change_name(message) for message in found]

    @pytest.mark.parametrize("revision", ["2024-11-05", *SESSIONS])
    def test_begins_when_the_client_is_ready(self, stdio: Stdio, revision: str) -> None:
        """R-304, R-369: nothing before `notifications/initialized`, and it may come twice."""
        stdio.ask("initialize", {"protocolVersion": revision, "capabilities": {}, "clientInfo": CLIENT})
        stdio.ask("tools/call", {"name": "change", "arguments": {"what": ["tools"]}}, id=1)
        stdio.ask("resources/subscribe", {"uri": "note://a"}, id=2)
        stdio.send(INITIALIZED)
        stdio.send(INITIALIZED)
        assert self.change(stdio, "prompts", "note://b", "note://a") == ["prompts", "note://a"]
        stdio.ask("resources/unsubscribe", {"uri": "note://a"}, id=3)
        assert self.change(stdio, "note://a", "tools") == ["tools"]

    def test_ends_with_the_connection(self, stdio: Stdio) -> None:
        stdio.initialize()
        assert self.change(stdio, "tools") == ["tools"]
        assert stdio.end() == 0


@pytest.mark.anyio
async def test_a_pipe_that_is_not_read_loses_no_change() -> None:
    """S9: it waits until there is room, and is then told once."""
    from enfilade.transports.message_connection import Connection

    app = ChangingServer()
    pipe = Pipe()
    connection = Connection(app.dispatcher, pipe, pipe.write, timings=Timings(change_retry=0.001))
    connection.feed(
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
        b'"capabilities":{},"clientInfo":{"name":"c","version":"1"}}}'
    )
    connection.feed(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    async with asyncio.timeout(30):
        while not pipe.written:
            await asyncio.sleep(0.001)
        pipe.is_congested = True
        for _ in range(3):
            app.change(["tools"])
            await asyncio.sleep(0.06)
        assert len(pipe.written) == 1
        pipe.is_congested = False
        while len(pipe.written) < 2:
            await asyncio.sleep(0.001)
    await connection.close()
    app.change(["tools"])
    assert pipe.written[1:] == [b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}']
    assert len(app.changes) == 0


class Pipe:
    """Takes what a connection sends."""

    def __init__(self) -> None:
        self.is_congested = False
        self.written: list[bytes] = []

    def push(self, message: bytes) -> bool:
        self.written.append(message)
        return True

    send = push

    async def wait_for_room(self) -> None:
        return

    async def write(self, message: bytes) -> None:
        self.written.append(message)


def test_from_any_thread(app: ChangingServer, http: Http) -> None:
    """R-369."""
    with get(http.initialize()) as heard:
        threads = [threading.Thread(target=app.change, args=(["tools"],)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        app.change(["prompts"])
        assert set(heard.until("prompts")) <= {"tools"}
