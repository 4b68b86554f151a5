"""Defects of an earlier system, each as the situation in which it showed, and what has to happen instead.

A test is named by the id of its defect: D1–D13, D16, D26, D27, D33–D35, D41–D43. Where another test goes
deeper, the one here is short. Easy to get wrong: most of these defects were silence, so each test waits for
something that must come, and never for nothing to come.
"""

import asyncio
import json
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from enfilade import Context, MCPApp, Request, Settings
from support.harness import Http, HttpMcpClient, McpClient, Serving, eventually
from support.http_client.connection import request_of
from support.http_client.resuming_client import get_stream
from support.servers.changing_server import ChangingServer, OpenStream, get, start_get
from support.servers.probe_server import ProbeServer

INVALID, BAD_PARAMS, NO_METHOD = -32600, -32602, -32601


async def ask(ctx: Context) -> str:
    """Ask the user."""
    return str((await ctx.elicit("Sure?", bool)).data)


async def write(ctx: Context) -> str:
    """Let the client's model write."""
    return str((await ctx.sample("Write")).content)


@pytest.fixture(scope="module")
def asking() -> Iterator[Http]:
    """A server that asks its clients."""
    app = MCPApp("asking")
    app.add_tool(ask)
    app.add_tool(write)
    with Serving(app) as serving:
        yield serving.http


def test_d1_what_a_call_causes_comes_with_it(http: Http, asking: Http) -> None:
    """Progress, logs and questions are on the stream of the call; no other stream is open."""
    reply = http.initialize().ask(
        "tools/call", {"name": "report", "arguments": {"steps": 3}}, meta={"progressToken": 1}
    )
    methods = [message.get("method") for message in reply.messages]
    assert methods.count("notifications/progress") >= 1
    assert methods.count("notifications/message") == 3
    session = asking.initialize(capabilities={"elicitation": {}})
    with session.start("tools/call", {"name": "ask"}) as waiting:
        events = waiting.events()
        question = next(events)
        session.post(
            {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"value": True}}}
        )
        assert next(events)["result"]["content"][0]["text"] == "True"


def test_d2_a_last_event_id_is_no_server_error(changing: tuple[ChangingServer, Http]) -> None:
    """An EventSource that reconnects with an old id is refused in words; without, it gets a live stream."""
    app, http = changing
    session = http.initialize()
    with get_stream(session, "7") as refused:
        assert (refused.status, refused.read().error["code"]) == (400, -32600)
    with OpenStream(get_stream(session, None)) as heard:
        app.change(["tools"])
        assert heard.until("tools") == []


def test_d3_nobody_hears_of_another_session(changing: tuple[ChangingServer, Http]) -> None:
    """Whatever event id it names, a session has no more than its own."""
    app, http = changing
    mine, other = http.initialize(), http.initialize()
    other.ask("resources/subscribe", {"uri": "note://other"})
    with get(other) as heard:
        lines = heard.reply.lines()
        id = next(line for line in lines if line.startswith(b"id: ")).removeprefix(b"id: ").decode()
        app.change(["note://other", "tools"])
        assert heard.until("tools") == ["note://other"]
    for last in ("1", "2", "_GET_stream", other.token, id, f"{id[:-1]}1"):
        with get_stream(mine, last) as refused:
            assert (refused.status, refused.read().error["code"]) == (400, -32600)
    with OpenStream(get_stream(mine, None)) as heard:
        app.change(["note://other", "prompts"])
        assert heard.until("prompts") == []


def test_d4_no_id_takes_the_place_of_a_stream(changing: tuple[ChangingServer, Http]) -> None:
    """A request with an odd id is answered, and the GET stream goes on."""
    app, http = changing
    session = http.initialize()
    with get(session) as heard:
        for id in ("_GET_stream", "GET", "", session.token):
            assert session.ask("ping", id=id).response["id"] == id
        app.change(["tools"])
        assert heard.until("tools") == []


def test_d5_a_number_is_not_its_text(http: Http) -> None:
    """Both callers get their answer, and so does a second request with the same id (D5b, R-307)."""
    client = HttpMcpClient(http, http.initialize())
    number, text = (client.starts("wait", id=id, name=f"d5-{type(id).__name__}") for id in (1001, "1001"))
    for kind in ("int", "str"):
        client.until(f"d5-{kind}", "entered")
    assert client.call("echo", id=1001, text="again").text == "again"
    for kind in ("int", "str"):
        client.call("release", id=f"release {kind}", name=f"d5-{kind}")
    assert (number().text, text().text) == ("d5-int released", "d5-str released")


def test_d6_a_reader_that_does_not_read_holds_up_nobody() -> None:
    """Its GET stream is full, and every other request of the same session is answered."""
    app = ChangingServer(settings=Settings(stream_buffer=2048))
    with Serving(app) as serving:
        session = serving.http.initialize()
        with start_get(session) as waiting:
            assert waiting.status == 200
            uris = [f"note://{number}-{'x' * 2000}" for number in range(50)]
            for uri in uris:
                session.ask("resources/subscribe", {"uri": uri})
            for _ in range(20):
                app.change(uris)
                assert session.ask("ping").result == {}


@pytest.mark.parametrize("id", ["", 0, "0", "null"])
def test_d7_every_id_is_answered(client: McpClient, id: Any) -> None:
    """With a result and with an error, and with its own type."""
    for outcome in (client.call("echo", id=id, text="here"), client.ask("zzz/zzz", id=id)):
        assert outcome.response is not None
        assert (type(outcome.response["id"]), outcome.response["id"]) == (type(id), id)


def test_d8_of_two_streams_none_is_dead(changing: tuple[ChangingServer, Http]) -> None:
    """Of several the newest hears everything; the others end in order."""
    app, http = changing
    session = http.initialize()
    *older, newest = (get(session) for _ in range(3))
    for heard in older:
        heard.read_to_end()
    with newest as heard:
        heard.until("resources")  # the last of what may have been missed
        app.change(["tools"])
        assert heard.until("tools") == []


def test_d8b_a_stalled_opening_holds_up_nobody(http: Http) -> None:
    """Others open sessions while one client keeps its body to itself."""
    head = (
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
    )
    stalled = http.raw(head)
    try:
        assert http.initialize().call("echo", text="here").status == 200
    finally:
        stalled.close()


def test_d9_an_unknown_session_is_404(http: Http) -> None:
    """On every verb, so that the client begins anew."""
    headers = {"mcp-session-id": "from-before-the-restart", "accept": "text/event-stream"}
    assert http.request("GET", b"", headers).status == 404
    assert http.request("DELETE", b"", headers).status == 404
    assert http.post(request_of("ping", None, 1, None), mcp_session_id="from-before-the-restart").status == 404


def test_d10_delete_ends_a_session_and_its_calls(http: Http) -> None:
    """The work is cancelled, its stream ends without a server error, and others go on."""
    session, line = http.initialize(), HttpMcpClient(http, None)
    with session.start("tools/call", {"name": "wait", "arguments": {"name": "d10"}}) as waiting:
        line.until("d10", "entered")
        assert session.delete().status == 204
        line.until("d10", "cancelled")
        assert waiting.status < 500
    assert session.ask("ping").status == 404
    assert line.call("echo", text="here").text == "here"


def test_d11_changes_reach_http(changing: tuple[ChangingServer, Http]) -> None:
    """What is advertised as `listChanged` comes, also when a tool is really added."""
    app, http = changing
    session = http.initialize()
    with get(session) as heard:
        app.add_tool(ask, name="d11")
        assert heard.next()["method"] == "notifications/tools/list_changed"
        app.remove_tool("d11")
        assert heard.next()["method"] == "notifications/tools/list_changed"


def test_d12_what_is_refused_leaves_nothing() -> None:
    """No session, no stream, no task: neither of rejected requests nor of an ended session."""
    app = ChangingServer()
    with Serving(app) as serving:
        http = serving.http
        session = http.initialize()
        tasks = serving.run(_tasks)
        for _ in range(50):
            assert http.request("GET").status == 400
            assert http.post(request_of("ping", None, 1, None)).header("mcp-session-id") is None
        with get(session):
            session.delete()
        eventually(
            lambda: (len(app.changes), len(app.endpoint.get_endpoint.locks)) == (0, 0), "a stream was left"
        )
        eventually(lambda: serving.run(_tasks) <= tasks, "tasks were left")


async def _tasks() -> int:
    return len(asyncio.all_tasks())


def test_d13_progress_goes_to_its_own_call(http: Http) -> None:
    """Of two calls at once each has its own token, and one goes on when the other ends."""
    session = http.initialize()
    params = {"name": "report", "arguments": {"steps": 5}}
    calls = {
        token: session.start("tools/call", params, id=token, meta={"progressToken": token})
        for token in ("A", "B")
    }
    for token, waiting in calls.items():
        steps = [
            message["params"]
            for message in waiting.read().messages
            if message.get("method", "")[-8:] == "progress"
        ]
        assert {step["progressToken"] for step in steps} == {token}
        assert steps[-1]["progress"] == 5


def test_d16_what_is_advertised_is_served(changing: tuple[ChangingServer, Http]) -> None:
    """Each capability has its method, and a server without something does not advertise it."""
    app, http = changing
    session = http.initialize()
    with get(session) as heard:
        assert session.ask("resources/subscribe", {"uri": "note://a"}).result == {}
        app.change(["note://a", "prompts"])
        assert heard.until("prompts") == ["note://a"]
    declared = http.modern("server/discover").result["capabilities"]
    assert "completions" not in declared
    assert http.modern("completion/complete", {}).error["code"] == NO_METHOD
    for capability in ("tools", "prompts", "resources"):
        assert declared[capability]["listChanged"] is True
        assert http.modern(f"{capability}/list").status == 200


@pytest.mark.parametrize("tool", ["ask", "write"])
def test_d26_who_cannot_answer_is_not_asked(asking: Http, tool: str) -> None:
    """The tool fails at once and in words."""
    reply = asking.initialize().call(tool)
    assert [message.get("method") for message in reply.messages] == [None]
    assert reply.result["isError"] is True


def test_d27_a_level_is_the_clients_own(http: Http) -> None:
    """It counts for its session, not for another's, and never for the operator's log."""
    levels = {name: logging.getLogger(name).level for name in (None, "enfilade")}
    quiet, loud = http.initialize(), http.initialize()
    assert quiet.ask("logging/setLevel", {"level": "error"}).result == {}
    for session, count in ((quiet, 0), (loud, 2)):
        messages = session.call("report", steps=2).messages
        assert [message.get("method") for message in messages].count("notifications/message") == count
    assert levels == {name: logging.getLogger(name).level for name in levels}


def test_d33_errors_tell_no_internals(client: McpClient) -> None:
    """Neither a path nor a trace, nor what the exception said."""
    for outcome in (
        client.call("crash"),
        client.call("add", a=1),
        client.ask("tools/call", {"name": "add", "arguments": 5}),
    ):
        text = json.dumps(outcome.response)
        assert not any(
            word in text for word in ("swordfish", "Traceback", ".py", "site-packages", "RuntimeError(")
        )


def chained() -> MCPApp:
    """A server whose tools call each other, with a secret each."""
    app = MCPApp("chained", secrets={"B_KEY": "of b", "C_KEY": "of c"})
    seen: list[str] = []

    @app.add_middleware
    async def watch(request: Request, call_next: Any) -> Any:
        if request.method == "tools/call":
            seen.append(request.params.name)
        return await call_next(request)

    async def own(ctx: Context, name: str) -> str:
        await ctx.progress.report(1)
        return ctx.secret(name)

    @app.tool(requires_secrets=["B_KEY"])
    async def b(ctx: Context) -> str:
        return await own(ctx, "B_KEY")

    @app.tool(requires_secrets=["C_KEY"])
    async def c(ctx: Context) -> str:
        return await own(ctx, "C_KEY")

    @app.tool
    async def both(ctx: Context) -> list[str]:
        found = await asyncio.gather(*(ctx.tools.call(name) for name in ("b", "c", "b", "c")))
        for name in ("B_KEY", "C_KEY"):
            with pytest.raises(ValueError):
                ctx.secret(name)
        return found

    @app.tool
    async def dig(depth: int, ctx: Context) -> int:
        return 1 + int(await ctx.tools.call("dig", {"depth": depth - 1})) if depth else 0

    @app.tool
    async def watched() -> list[str]:
        return seen.copy()

    return app


@pytest.fixture(scope="module")
def chain() -> Iterator[Http]:
    with Serving(chained()) as serving:
        yield serving.http


def test_d34_secrets_stay_with_their_tool(chain: Http) -> None:
    """Of calls side by side each has its own, and the caller has none of them."""
    result = chain.modern_call("both").result
    assert result["structuredContent"] == {"result": ["of b", "of c", "of b", "of c"]}


def test_d35_chained_calls_take_the_same_way(chain: Http) -> None:
    """Each passes the middleware, and a chain that is too deep is an error and never a wrong number."""
    assert chain.modern_call("dig", depth=3).result["structuredContent"] == {"result": 3}
    names = chain.modern_call("watched").result["structuredContent"]["result"]
    assert names.count("dig") == 4
    result = chain.modern_call("dig", depth=2000).result
    assert result["isError"] is True
    assert "structuredContent" not in result


MISTAKES = [None, {}, {"name": 5}, {"arguments": {}}, []]


@pytest.mark.parametrize("params", MISTAKES, ids=["null", "empty", "name-5", "no-name", "array"])
def test_d41_a_clients_mistake_is_no_internal_error(http: Http, params: Any) -> None:
    """So that it can tell its own fault from the server's."""
    reply = http.initialize().post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    assert reply.error["code"] in (BAD_PARAMS, INVALID)
    assert reply.error["code"] == BAD_PARAMS or params == []


def test_d42_stop_means_stop(client: McpClient) -> None:
    """A cancelled call ends; over HTTP without a session, the end of the connection is the cancellation."""
    name = f"d42-{type(client).__name__}-{client.stateless}"
    params = {"name": "wait", "arguments": {"name": name}}
    if isinstance(client, HttpMcpClient) and client.stateless:
        stop = client.http.start_modern("tools/call", params).cut
    else:
        client.start("tools/call", params, id=name)
        stop = partial(client.notify, "notifications/cancelled", {"requestId": name})
    client.until(name, "entered")
    stop()
    client.until(name, "cancelled")


def test_d42_a_question_that_is_given_up_is_taken_back() -> None:
    """The client is told when nobody waits for its answer any more."""

    async def hasty(ctx: Context) -> str:
        return str(await ctx.elicit("Sure?", bool, timeout=0.01))

    app = MCPApp("hasty")
    app.add_tool(hasty)
    with Serving(app) as serving:
        session = serving.http.initialize(capabilities={"elicitation": {}})
        question, taken_back, response = session.call("hasty").messages
    assert taken_back["method"] == "notifications/cancelled"
    assert taken_back["params"]["requestId"] == question["id"]
    assert response["result"]["isError"] is True


@pytest.mark.parametrize("stateless", [True, False], ids=["stateless", "session"])
def test_d43_a_long_call_has_its_head_early(stateless: bool) -> None:
    """It is read while the tool still waits to be released."""
    app = ProbeServer(settings=Settings(stream_grace=0.01))
    with Serving(app) as serving:
        start = serving.http.start_modern if stateless else serving.http.initialize().start
        with start("tools/call", {"name": "wait", "arguments": {"name": "d43"}}) as waiting:
            assert (waiting.status, waiting.header("content-type")) == (200, "text/event-stream")
            assert "d43 finished" not in app.calls.journal
            app.calls.gate("d43").set()
            (message,) = waiting.events()
    assert message["result"]["content"][0]["text"] == "d43 released"
