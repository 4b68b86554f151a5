"""`subscriptions/listen`: who asked hears of it, and nobody else, over HTTP and over stdio."""

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from enfilade import Settings
from support.exchanges import Message
from support.harness import Serving, eventually
from support.http_client.asgi_calls import AsgiClient, PausableRequest
from support.http_client.connection import BOTH, Http, modern_headers, request_of, stateless_meta
from support.servers.changing_server import (
    ACKNOWLEDGED,
    EVERYTHING,
    FILE,
    ChangingServer,
    OpenStream,
    change_name,
    id_of,
    listen,
    start_listen,
)
from support.servers.processes import ServerProcess, python_command
from support.stdio_client.connection import Stdio

INVALID_PARAMS, INVALID_REQUEST, INTERNAL_ERROR = -32602, -32600, -32603
IDS = [1, "1", 0, "", -7, 2**53, "s-7", "ü"]


@pytest.fixture(scope="module")
def app() -> ChangingServer:
    return ChangingServer()


@pytest.fixture(scope="module")
def serving(app: ChangingServer) -> Iterator[Serving]:
    with Serving(app) as serving:
        yield serving


@pytest.fixture(autouse=True)
def nobody_is_left(app: ChangingServer) -> Iterator[None]:
    """Whatever a test did, when its clients have gone nobody listens any more."""
    yield
    eventually(lambda: len(app.changes) == 0, "a listener was left")


class TestAck:
    @pytest.mark.parametrize("id", IDS, ids=lambda id: f"{id!r}")
    def test_comes_first_and_everything_says_whose_it_is(self, app: ChangingServer, http: Http, id: Any) -> None:
        """R-2C1, R-2C3: the id of the request, with its JSON type, on each message."""
        with OpenStream(start_listen(http, id, **EVERYTHING)) as heard:
            ack = heard.next()
            app.change(["tools", "note://a"])
            messages = [ack, heard.next(), heard.next()]
            app.changes.end()
            (result,) = heard.read_to_end()
        assert ack["method"] == ACKNOWLEDGED
        assert [(type(id_of(each)), id_of(each)) for each in [*messages, result]] == [(type(id), id)] * 4
        assert (type(result["id"]), result["id"]) == (type(id), id)

    @pytest.mark.parametrize(
        ("wanted", "honoured"),
        [
            (EVERYTHING, EVERYTHING),
            ({}, {}),
            ({"toolsListChanged": False, "promptsListChanged": True}, {"promptsListChanged": True}),
            ({"taskIds": ["t-1"], "weatherChanged": True}, {}),
            ({"resourceSubscriptions": []}, {"resourceSubscriptions": []}),
            ({"resourceSubscriptions": ["note://later"]}, {"resourceSubscriptions": ["note://later"]}),
        ],
        ids=["all", "nothing", "a no", "unknown kinds", "no uri", "unknown uri"],
    )
    def test_says_what_is_honoured(self, http: Http, wanted: dict[str, Any], honoured: dict[str, Any]) -> None:
        """R-2C0, R-2C2: never an error."""
        with OpenStream(start_listen(http, **wanted)) as heard:
            assert heard.next()["params"]["notifications"] == honoured

    @pytest.mark.parametrize(
        "params",
        [
            {},
            {"notifications": None},
            {"notifications": []},
            {"notifications": {"toolsListChanged": "yes"}},
            {"notifications": {"resourceSubscriptions": "note://a"}},
            {"notifications": {"resourceSubscriptions": [5]}},
        ],
        ids=str,
    )
    def test_a_wish_that_is_none(self, http: Http, params: dict[str, Any]) -> None:
        """R-2C0."""
        reply = http.modern("subscriptions/listen", params)
        assert reply.error["code"] == INVALID_PARAMS
        assert reply.header("content-type") == "application/json", "nothing was opened"

    def test_a_server_without_something_does_not_honour_it(self) -> None:
        """R-2C2: narrowed to what is advertised."""
        app = ChangingServer()
        app.remove_prompt("greet")
        app.remove_resource("note://a")
        with Serving(app) as serving, OpenStream(start_listen(serving.http, **EVERYTHING)) as heard:
            assert heard.next()["params"]["notifications"] == {"toolsListChanged": True}

    @pytest.mark.anyio
    async def test_what_changes_before_it_is_read_is_not_lost(self) -> None:
        """R-2C9: attached before the ack, which nevertheless comes first."""
        app = ChangingServer()
        held = open_held(app, on_head=lambda: app.change(["tools"]))
        await held.until(lambda: len(list(held.messages)) == 2)
        ack, change = held.messages
        assert (ack["method"], change_name(change)) == (ACKNOWLEDGED, "tools")
        await left(held, app)


class TestStream:
    @pytest.mark.parametrize("kind", ["tools", "prompts", "resources", "note://a"])
    def test_what_was_not_asked_for_never_comes(self, app: ChangingServer, http: Http, kind: str) -> None:
        """R-2C4."""
        everything = dict(zip(["tools", "prompts", "resources", "note://a"], EVERYTHING, strict=True))
        fence = "prompts" if kind != "prompts" else "tools"
        wanted = {everything[each]: EVERYTHING[everything[each]] for each in (kind, fence)}
        with listen(http, **wanted) as heard:
            app.change(["tools", "prompts", "resources", "note://a", "note://c"])
            app.change([fence])
            told = {change_name(heard.next()), change_name(heard.next())}
            assert told == {kind, fence}
            app.change([kind])
            assert heard.until(kind) == []

    def test_real_changes_announce_themselves(self, app: ChangingServer, http: Http) -> None:
        """R-2CB, P20: what is advertised is delivered, for each list, and once for what comes together."""
        with listen(http, **EVERYTHING) as heard:
            app.add_tool(lambda: "", name="passing")
            app.remove_tool("passing")
            app.add_text_resource("note://passing", "by")
            app.remove_resource("note://passing")
            app.add_prompt(lambda: "", name="passing")
            app.remove_prompt("passing")
            app.notify_resource_updated("note://a")
            assert heard.until("note://a") == ["tools", "resources", "prompts"]

    def test_from_any_thread(self, app: ChangingServer, http: Http) -> None:
        """R-2CB: also from the thread of a plain `def` tool."""
        with listen(http, **EVERYTHING) as heard:
            threads = [threading.Thread(target=app.change, args=([each],)) for each in ("note://a", "note://b")]
            for thread in threads:
                thread.start()
            assert sorted([change_name(heard.next()), change_name(heard.next())]) == ["note://a", "note://b"]
            http.modern_call("change", what=["prompts"])
            assert heard.until("prompts") == []

    def test_each_of_two_listens_gets_its_own_copy(self, app: ChangingServer, http: Http) -> None:
        """R-2C6: one client, three listens, two of which differ in the type of their id alone."""
        with (
            listen(http, 7, toolsListChanged=True) as number,
            listen(http, "7", toolsListChanged=True, promptsListChanged=True) as text,
            listen(http, "other", promptsListChanged=True) as other,
        ):
            app.change(["tools", "prompts"])
            found = [[number.next()], [text.next(), text.next()], [other.next()]]
        assert [[(id_of(each), change_name(each)) for each in heard] for heard in found] == [
            [(7, "tools")],
            [("7", "tools"), ("7", "prompts")],
            [("other", "prompts")],
        ]

    @pytest.mark.parametrize("accept", [BOTH, "text/event-stream", "*/*"])
    def test_is_a_stream_even_in_json_mode(self, accept: str) -> None:
        """R-272."""
        app = ChangingServer(settings=Settings(json_response=True))
        with Serving(app) as serving:
            waiting = serving.http.start_modern(
                "subscriptions/listen", {"notifications": {"toolsListChanged": True}}, accept=accept
            )
            with OpenStream(waiting) as heard:
                assert heard.next()["method"] == ACKNOWLEDGED
                app.change(["tools"])
                assert change_name(heard.next()) == "tools"

    def test_a_client_that_takes_only_json_is_told(self, http: Http, app: ChangingServer) -> None:
        """R-2C1, E-36."""
        reply = http.modern("subscriptions/listen", {"notifications": {}}, accept="application/json")
        assert (reply.status, reply.error["code"]) == (406, INVALID_REQUEST)
        assert len(app.changes) == 0

    def test_is_kept_alive_and_has_no_deadline(self) -> None:
        """R-270: silence is normal here."""
        app = ChangingServer(settings=Settings(keep_alive=0.02, request_timeout=0.05))
        with Serving(app) as serving, listen(serving.http, toolsListChanged=True) as heard:
            lines = heard.reply.lines()
            comments = [line for line, _ in zip(lines, range(12), strict=False) if line]
            assert len(comments) >= 5
            assert all(line.startswith(b":") for line in comments)
            app.change(["tools"])
            assert heard.until("tools") == []

    def test_the_session_era_has_no_such_method(self, http: Http) -> None:
        """R-214: each revision has its own methods."""
        reply = http.initialize().ask("subscriptions/listen", {"notifications": {}})
        assert (reply.status, reply.error["code"]) == (200, -32601)


class TestEnd:
    @pytest.mark.parametrize("way", ["cut", "reset"])
    def test_a_client_that_goes_leaves_nothing(self, app: ChangingServer, serving: Serving, way: str) -> None:
        """R-277, D12: no listener and no task, whether it says goodbye or not."""

        async def tasks() -> int:
            return len(asyncio.all_tasks())

        before = serving.run(tasks)
        listens = [listen(serving.http, number, **EVERYTHING) for number in range(10)]
        assert len(app.changes) == 10
        for heard in listens:
            getattr(heard.reply, way)()
        eventually(lambda: len(app.changes) == 0)
        eventually(lambda: serving.run(tasks) <= before, "a task was left")

    def test_the_servers_end_is_a_result(self, app: ChangingServer, http: Http) -> None:
        """R-2C7, C-01: the result, with the server's name, and no `notifications/cancelled`."""
        with listen(http, "s-7", **EVERYTHING) as heard:
            app.changes.end()
            (result,) = heard.read_to_end()
        meta = result["result"].pop("_meta")
        assert result == {"jsonrpc": "2.0", "id": "s-7", "result": {"resultType": "complete"}}
        assert meta["io.modelcontextprotocol/serverInfo"]["name"] == "listening"

    def test_there_is_a_limit(self, app: ChangingServer, http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
        """R-2C9: -32603 in place of the ack; who is in stays in, and a place that is left is free."""
        monkeypatch.setattr(app.changes, "limit", 2)
        with listen(http, 1, toolsListChanged=True) as first, listen(http, 2, toolsListChanged=True) as second:
            reply = start_listen(http, 3, toolsListChanged=True).read()
            assert [message.get("method") for message in reply.messages] == [None]
            assert (reply.error["code"], reply.response["id"]) == (INTERNAL_ERROR, 3)
            app.change(["tools"])
            assert (first.until("tools"), second.until("tools")) == ([], [])
        eventually(lambda: len(app.changes) == 0)
        with listen(http, 3, toolsListChanged=True) as heard:
            app.change(["tools"])
            assert heard.until("tools") == []

    @pytest.mark.anyio
    async def test_a_reader_that_is_too_slow_is_sent_off(self) -> None:
        """R-2C9: rather than miss something it hears of its end, and others hear everything."""
        app = ChangingServer(settings=Settings(stream_buffer=2048))
        uris = [f"note://{number}" for number in range(100)]
        slow, quick = open_held(app, resourceSubscriptions=uris), open_held(app, promptsListChanged=True)
        for held in (slow, quick):
            await held.until(lambda held=held: list(held.messages))
        slow.reading.clear()
        app.change(["prompts", *uris])
        await quick.until(lambda: len(list(quick.messages)) == 2)
        await slow.until(lambda: len(app.changes) == 1)
        app.change(["prompts", *uris])
        slow.reading.set()
        await slow.task
        ack, *heard, last = slow.messages
        assert ack["method"] == ACKNOWLEDGED
        assert last["result"]["resultType"] == "complete"
        told = [change_name(message) for message in heard]
        assert told == uris[: len(told)]
        assert 0 < len(told) < 100
        await quick.until(lambda: len(list(quick.messages)) == 3)
        await left(quick, app)

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that can be caught")
    def test_a_server_that_is_stopped_says_goodbye(self) -> None:
        """R-2C7: at once, and not when its patience ends."""
        with ServerProcess(python_command(str(FILE), "http", "{port}")) as server:
            with listen(Http(server.port), "s-7", **EVERYTHING) as heard:
                server.process.send_signal(signal.SIGTERM)
                (result,) = heard.read_to_end()
                assert (result["id"], id_of(result)) == ("s-7", "s-7")
            server.process.wait(30)
            assert "timeout" not in server.output.lower()


def open_held(app: ChangingServer, on_head: Any = None, **wanted: Any) -> PausableRequest:
    """Listen without a socket in between."""
    message = request_of("subscriptions/listen", {"notifications": wanted or EVERYTHING}, 1, stateless_meta())
    fields = {"content-type": "application/json", "accept": BOTH, **modern_headers(message)}
    return PausableRequest(app, AsgiClient(app).scope(fields), json.dumps(message).encode(), on_head)


async def left(held: PausableRequest, app: ChangingServer) -> None:
    """Let a client go, and see that nothing is left of it."""
    held.leave()
    await held.task
    assert len(app.changes) == 0


@pytest.fixture
def stdio() -> Iterator[Stdio]:
    with Stdio([sys.executable, str(FILE), "stdio"]) as stdio:
        yield stdio


CLAIM = "2026-07-28"


class TestOverStdio:
    def listen(self, stdio: Stdio, id: Any, **wanted: Any) -> None:
        stdio.request("subscriptions/listen", {"notifications": wanted}, id=id, claim=CLAIM)
        ack = stdio.read()
        assert (ack["method"], ack["params"]["notifications"], id_of(ack)) == (ACKNOWLEDGED, wanted, id)

    def change(self, stdio: Stdio, *what: str) -> list[Message]:
        """Let something change and return what is told of, up to the last change."""
        stdio.ask("tools/call", {"name": "change", "arguments": {"what": what}}, id="change", claim=CLAIM)
        return self.until(stdio, what[-1])

    def until(self, stdio: Stdio, last: str) -> list[Message]:
        found = [stdio.read()]
        while change_name(found[-1]) != last:
            found.append(stdio.read())
        return found

    def test_each_listen_gets_its_own_copy(self, stdio: Stdio) -> None:
        """R-410, R-411, R-2C6."""
        self.listen(stdio, 7, toolsListChanged=True)
        self.listen(stdio, "7", toolsListChanged=True, resourceSubscriptions=["note://a"])
        found = self.change(stdio, "prompts", "tools", "note://b", "note://a")
        told = sorted((str(type(id_of(each))), change_name(each)) for each in found)
        assert told == [("<class 'int'>", "tools"), ("<class 'str'>", "note://a"), ("<class 'str'>", "tools")]

    def test_without_a_listen_nothing_comes(self, stdio: Stdio) -> None:
        """R-411: stateless requests alone bring no notifications."""
        for number in range(3):
            stdio.ask("tools/call", {"name": "change", "arguments": {"what": ["tools"]}}, id=number, claim=CLAIM)
        self.listen(stdio, "late", promptsListChanged=True)
        assert [change_name(each) for each in self.change(stdio, "tools", "prompts")] == ["prompts"]
        assert stdio.stashed == []

    def test_is_cancelled_by_a_notification(self, stdio: Stdio) -> None:
        """R-406: nothing more is sent for it, not even a result; a listen of the like id goes on."""
        self.listen(stdio, 7, toolsListChanged=True)
        self.listen(stdio, "7", toolsListChanged=True)
        stdio.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}})
        assert [id_of(each) for each in self.change(stdio, "tools")] == ["7"]
        self.listen(stdio, 7, promptsListChanged=True)
        assert [id_of(each) for each in self.change(stdio, "tools", "prompts")] == ["7", 7]

    @pytest.mark.parametrize("way", ["end of input", "SIGTERM"])
    def test_ends_with_the_server(self, stdio: Stdio, way: str) -> None:
        """R-2C7, R-410, R-403: each with its result, and the server is gone without waiting for more."""
        if way == "SIGTERM" and sys.platform == "win32":
            pytest.skip("Windows has no SIGTERM that can be caught")
        self.listen(stdio, 7, toolsListChanged=True)
        self.listen(stdio, "x", **EVERYTHING)
        if way == "SIGTERM":
            stdio.process.send_signal(signal.SIGTERM)
        else:
            stdio.close_input()
        rest = stdio.read_to_end()
        assert sorted((str(each["id"]), str(id_of(each))) for each in rest) == [("7", "7"), ("x", "x")]
        assert all(each["result"]["resultType"] == "complete" for each in rest)
        assert stdio.process.wait(30) == 0

    def test_a_session_beside_it_is_told_in_its_own_way(self, stdio: Stdio) -> None:
        """R-408: the session hears without an id, each listen with its own."""
        stdio.initialize()
        self.listen(stdio, 7, promptsListChanged=True)
        stdio.ask(
            "tools/call", {"name": "change", "arguments": {"what": ["tools", "prompts"]}}, id=8, claim=CLAIM
        )
        found = [stdio.read(), stdio.read(), stdio.read()]
        tagged = sorted((change_name(each), "_meta" in each.get("params", {})) for each in found)
        assert tagged == [("prompts", False), ("prompts", True), ("tools", False)]
