"""Both kinds of revisions side by side: the rules that no transport's own tests show.

Rules that say what a client owes, or what a server of one era alone does, have no test: this one serves
both. Easy to get wrong: "never remembered" is shown only by a request that would be answered differently if
something had been, so each such test first sends what could be remembered.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from enfilade import Caching, Context, MCPApp, Settings
from enfilade.wire.revisions import HANDSHAKE, LATEST_STATELESS, STATELESS
from support.every_revision import CONTENT_SERVER, open_revision
from support.harness import PROBE_SERVER, Http, HttpMcpClient, McpClient, Serving, Stdio, open_client
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import CLIENT, HttpSession, request_of, stateless_meta
from support.rounds import Call, server, text_of, value
from support.servers.changing_server import ACKNOWLEDGED, ChangingServer, get, listen, start_listen
from support.servers.content_server import SECRET
from support.servers.processes import python_command

PREFIX = "io.modelcontextprotocol/"
INVALID, NO_METHOD, BAD_PARAMS = -32600, -32601, -32602
FORMS = {PREFIX + "clientCapabilities": {"elicitation": {}}}
INFO = {PREFIX + "logLevel": "info"}


# -- both eras on one endpoint -------------------------------------------------------------------------------


def test_101_102_both_eras_at_once(http: Http) -> None:
    """R-101, R-102: on one endpoint, within and beside a session; the claim decides, whatever else is sent."""
    session = http.initialize()
    assert "resultType" not in session.call("add", a=1, b=2).result
    stateless = http.modern(
        "tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}, mcp_session_id=session.token
    )
    assert stateless.result["resultType"] == "complete"
    assert stateless.header("mcp-session-id") is None
    assert "resultType" not in session.call("add", a=1, b=2).result


@pytest.mark.parametrize("line_kind", ["http-stateless", "stdio-stateless"])
def test_103_nothing_is_inferred_from_before(content_http: Http, line_kind: str) -> None:
    """R-103, R-408: what one request declares is not known of the next."""
    with open_client(line_kind, content_http, CONTENT_SERVER) as client:
        asked = client.call("ask", meta=FORMS).result
        assert asked["resultType"] == "input_required"
        assert client.call("ask").error["code"] == -32021
        assert len(client.call("report", meta=INFO).sent("notifications/message")) == 1
        assert client.call("report").sent("notifications/message") == []


@pytest.mark.parametrize("kind", ["http-stateless", "stdio-stateless"])
def test_107_117_118_283_285_discover(content_http: Http, kind: str) -> None:
    """R-107, R-117, R-118, R-283, R-285: its whole shape, over both transports."""
    with open_client(kind, content_http, CONTENT_SERVER) as client:
        result = client.ask("server/discover").result
    assert set(result) == {"resultType", "supportedVersions", "capabilities", "ttlMs", "cacheScope", "_meta"}
    assert result["supportedVersions"] == list(STATELESS)
    assert result["_meta"][PREFIX + "serverInfo"]["name"] == "gallery"


# -- the stateless era over HTTP -------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "status"), [("POST", 200), ("GET", 405), ("DELETE", 405), ("PUT", 405)])
def test_201_202_post_is_all_there_is(http: Http, verb: str, status: int) -> None:
    """R-201, R-202: of a client that says which revision it speaks."""
    body = json.dumps(request_of("tools/list", {}, 1, stateless_meta())).encode()
    headers: dict[str, Any] = {"content-type": "application/json", "mcp-method": "tools/list"}
    reply = http.request(verb, body, {**headers, "mcp-protocol-version": LATEST_STATELESS})
    assert (reply.status, reply.header("allow")) == (status, None if status == 200 else "POST")


@pytest.mark.parametrize(
    "body", [[request_of("tools/list", {}, 1, stateless_meta())], {"jsonrpc": "2.0", "id": 1, "result": {}}]
)
def test_207_one_request_or_notification(http: Http, body: Any) -> None:
    """R-207: neither an array nor an answer."""
    reply = http.post(body, mcp_protocol_version=LATEST_STATELESS, mcp_method="tools/list")
    assert (reply.status, reply.error["code"]) == (400, INVALID)


def test_211_a_notification_that_is_not_accepted(http: Http) -> None:
    """R-211: taken, it is 202 with nothing in it; refused, it is an HTTP error."""
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    assert http.post(message, mcp_protocol_version=LATEST_STATELESS).status == 202
    assert http.post(message, mcp_protocol_version="1999-01-01").status == 400


REMOVED = ("initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe")


@pytest.mark.parametrize("method", [*REMOVED, "tasks/get", "tasks/list", "tasks/result", "tasks/cancel"])
def test_214_what_is_gone(content_http: Http, method: str) -> None:
    """R-214: 404, with the id."""
    reply = content_http.modern(method, {"uri": "gallery://hall", "level": "info"}, id="gone")
    assert (reply.status, reply.error["code"], reply.response["id"]) == (404, NO_METHOD, "gone")


def test_266_267_268_the_stream_of_a_call(content_http: Http) -> None:
    """R-266, R-267, R-268: its own notifications, then its response, then the end; and no request."""
    meta = {**INFO, **FORMS, "progressToken": 1}
    messages = content_http.modern("tools/call", {"name": "report"}, meta=meta).messages
    assert [message.get("method") for message in messages] == [
        "notifications/progress",
        "notifications/message",
        "notifications/progress",
        None,
    ]
    assert all("id" not in message for message in messages[:-1])


@pytest.mark.parametrize("early", [True, False], ids=["before-the-head", "after-the-head"])
def test_273_an_error_has_its_status_until_the_head_is_out(early: bool) -> None:
    """R-273: 400 for what the client lacks; once a notification has gone out, the error is in the band."""
    app = MCPApp("late")

    @app.tool
    async def need(ctx: Context) -> str:
        if not early:
            await ctx.log.info("first")
        ctx.require_capability("roots")
        return "never"

    with Serving(app) as serving:
        reply = serving.http.modern("tools/call", {"name": "need"}, meta=INFO)
    assert (reply.status, reply.error["code"]) == (400 if early else 200, -32021)


def test_274_275_29b_every_result_says_what_it_is(content_http: Http) -> None:
    """R-274, R-275: one that asks, too, as a body of its own or at the end of a stream."""
    reply = content_http.modern("tools/call", {"name": "ask_in_two_rounds"}, meta={**FORMS, **INFO})
    assert reply.result["resultType"] == "input_required"
    assert reply.result["_meta"][PREFIX + "serverInfo"]["name"] == "gallery"
    assert reply.header("content-type") == "application/json"
    (key,) = reply.result["inputRequests"]
    params = {
        "name": "ask_in_two_rounds",
        "requestState": reply.result["requestState"],
        "inputResponses": {key: value(True)},
    }
    reply = content_http.modern("tools/call", params, meta={**FORMS, **INFO}, id=2)
    assert reply.header("content-type") == "text/event-stream"
    assert [message.get("method") for message in reply.messages] == ["notifications/message", None]
    assert reply.result["resultType"] == "input_required"


def test_279_280_a_cancelled_request_hears_nothing(content_http: Http) -> None:
    """R-277, R-279, R-280: over stdio, where it could; neither a response nor a cancellation of the server's."""
    with Stdio(python_command(CONTENT_SERVER)) as stdio:
        params = {"name": "linger", "arguments": {}}
        stdio.request("tools/call", params, id=1, meta={**INFO, "progressToken": 1}, claim=LATEST_STATELESS)
        assert [stdio.read()["method"] for _ in range(2)] == ["notifications/progress", "notifications/message"]
        stdio.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        call = {"name": "stopped", "arguments": {}}
        while stdio.ask("tools/call", call, id=2, claim=LATEST_STATELESS)["result"]["structuredContent"] != {
            "result": 1
        }:
            assert stdio.take_notifications() == []
        stdio.close_input()
        assert stdio.read_to_end() == []


@pytest.mark.anyio
async def test_292_299_a_client_need_not_come_back() -> None:
    """R-292, R-299, R-2D1, R-2D0: nothing waits for it, and its answers may reach other processes."""

    async def both(ctx: Context) -> str:
        return f"{(await ctx.elicit('First?', bool)).data} {(await ctx.elicit('Second?', bool)).data}"

    workers = [server(both, secret="0123456789abcdef0123456789abcdef") for _ in range(3)]
    call = Call(workers[0], "both")
    await call.round()  # and of this one nobody ever hears again
    call = Call(workers[0], "both")
    await call.round()
    for number, worker in enumerate(workers[1:], 1):
        (key,) = call.asked
        refused = await call.round({key: {"error": {"code": -1, "message": "no"}}}, app=worker)
        assert refused.response["error"]["code"] == BAD_PARAMS, (
            "there is no form for a refusal but the user's own"
        )
        answered = await call.round({key: value(number == 1)}, app=worker)
    assert text_of(answered) == "True False"


@pytest.mark.anyio
async def test_2a2_what_was_asked_for_is_not_kept() -> None:
    """R-2A2: a read that took an answer is private and stale at once, whatever the resource's own hints are."""
    app = MCPApp("asking")

    @app.resource("note://mine", ttl=60, cache_scope="public")
    async def mine(ctx: Context) -> str:
        return str((await ctx.elicit("Whose?", str)).data)

    call = Call(app, method="resources/read", params={"uri": "note://mine"})
    asked = await call.round()
    assert {"ttlMs", "cacheScope"}.isdisjoint(asked.result)
    (key,) = call.asked
    result = (await call.round({key: value("Ada")})).result
    assert (result["ttlMs"], result["cacheScope"]) == (0, "private")


@pytest.mark.anyio
async def test_2a4_715_lists_depend_on_nobody() -> None:
    """R-2A4, R-715: the same for each client and after each call; private unless the author says otherwise."""
    app = MCPApp("lists", caching={"tools/list": Caching(ttl=60, scope="public")})
    app.add_text_resource("note://a", "a")
    app.tool(lambda: "x", name="x")
    asgi = AsgiClient(app)
    first = (await asgi.modern("tools/list")).result
    await asgi.modern("tools/call", {"name": "x"})
    await asgi.initialize()
    assert (await asgi.modern("tools/list")).result == first
    assert (first["ttlMs"], first["cacheScope"]) == (60_000, "public")
    private = (await asgi.modern("resources/list")).result
    assert (private["ttlMs"], private["cacheScope"]) == (0, "private")


def test_2b1_progress_is_limited(client: McpClient) -> None:
    """R-2B1: of many reports a few are sent, and the last is one of them."""
    steps = client.call("report", steps=4000, meta={"progressToken": 1}).sent("notifications/progress")
    assert len(steps) < 2000
    assert steps[-1]["progress"] == 4000


def test_2b3_2b6_2ca_what_a_listen_never_hears() -> None:
    """R-2B3, R-2B6: no log of anybody's call, nothing from before; and logging is declared."""
    app = ChangingServer()

    @app.tool
    async def shout(ctx: Context) -> str:
        await ctx.log.error("help")
        return "shouted"

    with Serving(app) as serving:
        http = serving.http
        assert "logging" in http.modern("server/discover").result["capabilities"]
        with listen(http, "early", toolsListChanged=True) as early:
            app.change(["tools"])
            assert early.until("tools") == []
            with listen(http, "s", toolsListChanged=True, promptsListChanged=True) as heard:
                assert len(HttpMcpClient(http, None).call("shout", meta=INFO).sent("notifications/message")) == 1
                app.change(["prompts"])
                assert heard.until("prompts") == []


def test_2c5_any_uri_may_be_watched() -> None:
    """R-2C5: also one that the server does not know; the notification names it as it was asked for."""
    app = ChangingServer()
    with (
        Serving(app) as serving,
        start_listen(serving.http, 1, resourceSubscriptions=["note://nobody"]) as waiting,
    ):
        events = waiting.events()
        assert next(events)["method"] == ACKNOWLEDGED
        app.change(["note://else", "note://nobody"])
        assert next(events)["params"]["uri"] == "note://nobody"


# -- the session era over HTTP ---------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_301_302_the_handshake(content_http: Http, revision: str) -> None:
    """R-301, R-302: it answers in the revision that was agreed on, and so does everything after it."""
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": CLIENT}
    result = content_http.post(request_of("initialize", params, 1, None)).result
    assert set(result) == {"protocolVersion", "capabilities", "serverInfo"}
    assert result["protocolVersion"] == revision
    session = content_http.initialize(revision)
    tool = session.ask("tools/list").result["tools"][0]
    assert ("title" in tool, "icons" in tool) == (revision >= "2025-06-18", revision >= "2025-11-25")


@pytest.mark.parametrize("token", ["live", "dead"])
def test_306_a_second_handshake(http: Http, token: str) -> None:
    """R-306, E-14, E-15: it opens another session, and one that lives is as it was."""
    session = http.initialize()
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": CLIENT}
    named = session.token if token == "live" else "gone"
    reply = http.post(request_of("initialize", params, 1, None), mcp_session_id=named)
    assert (reply.status, reply.result["protocolVersion"]) == (200, "2025-06-18")
    other = reply.header("mcp-session-id")
    assert other not in (None, session.token)
    assert session.call("add", a=1, b=2).status == 200
    assert HttpSession(http, str(other), "2025-06-18").call("add", a=1, b=2).status == 200


@pytest.mark.parametrize("agreed", HANDSHAKE)
@pytest.mark.parametrize("said", [None, *HANDSHAKE])
def test_114_a_session_keeps_its_revision(content_http: Http, agreed: str, said: str | None) -> None:
    """E-19, R-302: the header of another revision is taken, and what is sent is of the one agreed on."""
    session = content_http.initialize(agreed)
    message = request_of("tools/list", {}, 1, None)
    tool = content_http.post(message, mcp_session_id=session.token, mcp_protocol_version=said).result["tools"][0]
    assert ("title" in tool, "icons" in tool) == (agreed >= "2025-06-18", agreed >= "2025-11-25")
    assert ("annotations" in tool) == (agreed >= "2025-03-26")


def test_320_322_323_324_the_verbs_and_the_answers(content_http: Http) -> None:
    """R-320, R-322, R-323, R-324: POST and GET; one object, or a stream that ends with the response."""
    session = content_http.initialize()
    assert session.ask("tools/list").header("content-type") == "application/json"
    reply = session.ask("tools/call", {"name": "report"}, meta={"progressToken": 1})
    assert reply.header("content-type") == "text/event-stream"
    assert [message.get("id") for message in reply.messages][-1] == 1
    with get(session):
        pass


def test_326_json_has_no_way_back() -> None:
    """R-326, R-272: the handler that asks fails at once and in words, and notifications are dropped."""

    async def ask(ctx: Context) -> str:
        await ctx.log.error("dropped")
        return str((await ctx.elicit("Sure?", bool)).data)

    with Serving(server(ask, settings=Settings(json_response=True))) as serving:
        reply = serving.http.initialize(capabilities={"elicitation": {}}).call("ask")
    assert reply.header("content-type") == "application/json"
    assert reply.result["isError"] is True


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [("zzz/zzz", {}, NO_METHOD), ("tools/call", {"name": "zzz"}, BAD_PARAMS), ("tools/call", {}, BAD_PARAMS)],
)
def test_327_errors_are_in_the_band(http: Http, method: str, params: dict[str, Any], code: int) -> None:
    """R-327: HTTP 200, unlike the other era."""
    reply = http.initialize().ask(method, params)
    assert (reply.status, reply.error["code"]) == (200, code)


@pytest.mark.parametrize("resumable", [True, False])
def test_355_36b_what_a_stream_carries(resumable: bool) -> None:
    """R-355, R-269: no ids and no `retry` unless it can be resumed; and what proxies must be told."""

    async def tell(ctx: Context) -> str:
        await ctx.log.error("told")
        return "done"

    with Serving(server(tell, settings=Settings(resumable=resumable))) as serving:
        with serving.http.initialize().start("tools/call", {"name": "tell"}) as waiting:
            assert waiting.header("x-accel-buffering") == "no"
            fields = {line.partition(b":")[0] for line in waiting.lines() if line}
    assert fields == {b"event", b"data"} | ({b"id", b"retry"} if resumable else set())


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_366_ping(content_http: Http, revision: str) -> None:
    """R-366: nothing but an empty result."""
    with open_revision(revision, content_http) as client:
        assert client.ask("ping").result == {}


# -- stdio ----------------------------------------------------------------------------------------------------


def test_404_no_requests_in_the_stateless_era() -> None:
    """R-404: a question is part of the result, and what came out is that alone."""
    with open_client("stdio-stateless", script=CONTENT_SERVER) as client:
        outcome = client.call("ask", meta=FORMS)
    assert outcome.result["resultType"] == "input_required"
    assert outcome.notifications == []


def test_405_407_questions_and_cancellation_in_the_session_era() -> None:
    """R-405, R-407, R-361: both directions on one pipe; what is cancelled is not answered."""
    with Stdio(python_command(CONTENT_SERVER)) as stdio:
        params = {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": CLIENT}
        stdio.ask("initialize", params, id=0)
        stdio.request("tools/call", {"name": "ask"}, id=1)
        question = stdio.read()
        assert question["method"] == "elicitation/create"
        stdio.send({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}})
        assert stdio.answer(1)["result"]["content"][0]["text"] == "decline"
        stdio.request("tools/call", {"name": "linger"}, id=2, meta={"progressToken": 1})
        assert [stdio.read()["method"] for _ in range(2)] == ["notifications/progress", "notifications/message"]
        stdio.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}})
        while stdio.ask("tools/call", {"name": "stopped"}, id=3)["result"]["structuredContent"] != {"result": 1}:
            pass
        stdio.close_input()
        assert [message for message in stdio.read_to_end() if message.get("id") == 2] == []


def test_416_the_oldest_revision() -> None:
    """R-416, E-59: the same lines, and its own vocabulary."""
    with Stdio(python_command(CONTENT_SERVER)) as stdio:
        result = stdio.initialize("2024-11-05")["result"]
        assert result["protocolVersion"] == "2024-11-05"
        assert result["serverInfo"] == {"name": "gallery", "version": "1.0.0"}
        (tool, *_) = stdio.ask("tools/list")["result"]["tools"]
        assert set(tool) == {"name", "description", "inputSchema"}


def test_417_no_headers_no_rules_for_them() -> None:
    """R-417: `x-mcp-header` is published, and has no effect on a call."""
    with open_client("stdio-stateless", script=PROBE_SERVER) as client:
        tool = next(each for each in client.ask("tools/list").result["tools"] if each["name"] == "region")
        assert tool["inputSchema"]["properties"]["region"]["x-mcp-header"] == "Region"
        assert client.call("region", region="eu").text == "eu 0 False"


# -- security -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reference", ["https://example.org/s.json", "http://169.254.169.254/", "file:///etc/passwd"]
)
def test_709_562_no_reference_is_fetched(reference: str) -> None:
    """R-709, R-562: a schema that points elsewhere is refused when it is given, so nothing is fetched, ever."""
    app = MCPApp("pointing")
    schema = {"type": "object", "properties": {"a": {"$ref": reference}}}
    with pytest.raises(ValueError, match="ref"):
        app.add_tool(lambda **given: "x", name="pointing", input_schema=schema)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path", ["../secret", "%2e%2e/secret", "..%2fsecret", "/etc/passwd", "a/../../secret", "link"]
)
async def test_710_paths_stay_inside(tmp_path: Path, path: str) -> None:
    """R-710, R-520: out of the directory there is nothing, by whatever way."""
    (tmp_path / "shelf").mkdir()
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "shelf" / "book").write_text("a book")
    with contextlib.suppress(OSError):  # where links need a privilege there is no such way either
        (tmp_path / "shelf" / "link").symlink_to(tmp_path / "secret")
    app = MCPApp("shelf")
    app.add_directory("shelf://", tmp_path / "shelf")
    asgi = AsgiClient(app)
    assert (await asgi.modern("resources/read", {"uri": "shelf://book"})).result["contents"][0][
        "text"
    ] == "a book"
    answered = await asgi.modern("resources/read", {"uri": f"shelf://{path}"})
    assert answered.response["error"]["code"] == BAD_PARAMS
    assert SECRET.encode() not in answered.body


def test_712_the_log_tells_no_secrets(each_client: McpClient) -> None:
    """R-712, R-719: what breaks is not logged to the client, whatever level it asked for."""
    meta = {PREFIX + "logLevel": "debug"} if each_client.stateless else None
    if not each_client.stateless:
        each_client.ask("logging/setLevel", {"level": "debug"})
    outcome = each_client.call("crash", meta=meta)
    assert SECRET not in json.dumps([outcome.response, outcome.notifications])
    if not each_client.stateless:
        each_client.ask("logging/setLevel", {"level": "info"})
