"""The 25 traps of the protocol, one test named by each number; where a trap is deep, other tests go deeper.

Traps 16 and 17 are of streams that can be resumed. None is offered here, and that is what their tests show: no
event ids, no empty event to begin with, no replay. Easy to get wrong: most traps are of messages that must *not*
come. Where one must not come, the tests read to the end of a stream, or up to a message that comes last.
"""

import base64
import json
from typing import Any

import pytest

from enfilade import Context, Settings
from enfilade.wire.revisions import ALL, HANDSHAKE, LATEST_HANDSHAKE, LATEST_STATELESS, STATELESS
from support.harness import Http, HttpMcpClient, McpClient, Serving
from support.http_client.connection import CLIENT, HttpSession, request_of, stateless_meta
from support.rounds import Call, server, text_of, value
from support.servers.changing_server import ACKNOWLEDGED, EVERYTHING, ChangingServer, get, id_of, listen
from support.servers.probe_server import ProbeServer

PREFIX = "io.modelcontextprotocol/"
PARSE, INVALID, NO_METHOD, BAD_PARAMS, MISMATCH, BAD_VERSION = -32700, -32600, -32601, -32602, -32020, -32022


def opened(name: str, client: McpClient) -> None:
    """Let a waiting call of the probe server go."""
    client.call("release", name=name)


def test_trap_1_one_is_not_its_text(client: McpClient) -> None:
    """R-276, D5: both are in flight together, and each gets its own answer."""
    name = f"trap-1-{type(client).__name__}-{client.stateless}"
    number = client.starts("wait", id=101, name=f"{name}-number")
    text = client.starts("wait", id="101", name=f"{name}-text")
    for kind in ("number", "text"):
        client.until(f"{name}-{kind}", "entered")
    opened(f"{name}-text", client)
    opened(f"{name}-number", client)
    assert (text().text, number().text) == (f"{name}-text released", f"{name}-number released")


def test_trap_2_an_id_that_is_in_flight(http: Http) -> None:
    """R-209, R-210, R-307, D5b: all are served, each on its own POST, in a session as well as stateless."""
    session = http.initialize()
    client = HttpMcpClient(http, session)
    first = client.starts("wait", id=7, name="trap-2")
    client.until("trap-2", "entered")
    assert client.call("add", id=7, a=1, b=2).text == "3"
    stateless = HttpMcpClient(http, None)
    assert stateless.call("add", id=7, a=1, b=2).text == "3"
    opened("trap-2", stateless)
    assert first().text == "trap-2 released"
    assert client.call("add", id=7, a=1, b=2).text == "3", "an id that has been answered may come again"


@pytest.mark.parametrize("id", [None, True, 1.5], ids=["null", "true", "1.5"])
def test_trap_3_an_id_that_is_none(client: McpClient, id: Any) -> None:
    """R-209, E-33, D17: an invalid request and never a notification."""
    meta = stateless_meta() if client.stateless else None
    body = json.dumps(request_of("tools/list", {}, id, meta)).encode()
    answer = client.raw(body, method="tools/list")
    assert (answer["id"], answer["error"]["code"]) == (None, INVALID)


def test_trap_4_202_has_no_body(http: Http) -> None:
    """R-211, R-321: nothing in it, and no content type that would promise something."""
    message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    for reply in (
        http.initialize().post(message),
        http.post(message, mcp_protocol_version=LATEST_STATELESS),
        http.initialize().post({"jsonrpc": "2.0", "id": "nobody asked", "result": {}}),
    ):
        assert (reply.status, reply.body, reply.header("content-type")) == (202, b"", None)


def test_trap_5_each_notification_on_its_own_stream(changing: tuple[ChangingServer, Http]) -> None:
    """R-266, R-2C4, R-330: what a call causes goes with it, what changes goes to who listens, and never both."""
    app, http = changing
    session = http.initialize()
    with get(session) as heard, listen(http, "trap-5", **EVERYTHING) as listened:
        for line, what in ((HttpMcpClient(http, session), "tools"), (HttpMcpClient(http, None), "resources")):
            assert line.call("change", what=[what]).notifications == []
        app.change(["prompts"])
        for stream in (heard, listened):
            assert stream.until("prompts") == ["tools", "resources"]


def test_trap_6_one_copy_for_each(changing: tuple[ChangingServer, Http]) -> None:
    """R-330, R-2C6: a session has it once; each listen has a copy of its own, with its own id."""
    app, http = changing
    with (
        get(http.initialize()) as heard,
        listen(http, 1, **EVERYTHING) as one,
        listen(http, "1", **EVERYTHING) as two,
    ):
        app.change(["tools", "resources"])
        assert heard.until("resources") == ["tools"]
        for listened, id in ((one, 1), (two, "1")):
            messages = [listened.next(), listened.next()]
            assert [(each["method"].rpartition("/")[0], id_of(each)) for each in messages] == [
                ("notifications/tools", id),
                ("notifications/resources", id),
            ]
            assert type(id_of(messages[0])) is type(id)


ACCEPTS = [
    ("anything", "*/*", 200),
    ("absent", None, 200),
    ("any-text", "text/*, application/*;q=0.5", 200),
    ("several-lines", ["text/html", "application/json; charset=utf-8"], 200),
    ("json-alone", "application/json", 200),
    ("stream-alone", "text/event-stream", 200),
    ("json-refused", "application/json;q=0, text/html", 406),
    ("neither", "text/html", 406),
]


@pytest.mark.parametrize(("accept", "status"), [row[1:] for row in ACCEPTS], ids=[row[0] for row in ACCEPTS])
def test_trap_7_accept(http: Http, accept: Any, status: int) -> None:
    """R-208, R-328, E-36: wildcards, weights, parameters, several lines; absent means anything (RFC 9110)."""
    assert http.modern("tools/list", accept=accept).status == status


@pytest.mark.parametrize("stateless", [True, False], ids=["stateless", "session"])
def test_trap_8_comments_keep_a_stream_alive(stateless: bool) -> None:
    """R-270, R-271: comments, and no event without data."""
    app = ProbeServer(settings=Settings(keep_alive=0.02, stream_grace=0.02, resumable=False))
    with Serving(app) as serving:
        client = HttpMcpClient(serving.http, None if stateless else serving.http.initialize())
        params = {"name": "wait", "arguments": {"name": "trap-8"}}
        start = serving.http.start_modern if client.session is None else client.session.start
        with start("tools/call", params) as waiting:
            lines = waiting.lines()
            assert next(lines).startswith(b":")
            app.calls.gate("trap-8").set()
            rest = list(lines)
    assert rest
    assert all(each == b"" or each[:1] == b":" or each.split(b": ")[1:] not in ([], [b""]) for each in rest)


UNKNOWN = "2099-01-01"
CHECKS: list[tuple[str, dict[str, Any], dict[str, Any], int, int]] = [
    ("meta-before-headers", {}, {"mcp_method": "zzz"}, 400, BAD_PARAMS),
    ("mismatch-before-version", stateless_meta(protocolVersion=UNKNOWN), {}, 400, MISMATCH),
    (
        "version-before-method",
        stateless_meta(protocolVersion=UNKNOWN),
        {"mcp_protocol_version": UNKNOWN, "mcp_method": "zzz/zzz"},
        400,
        BAD_VERSION,
    ),
    ("method-header-before-method", stateless_meta(), {"mcp_method": "other"}, 400, MISMATCH),
    ("method", stateless_meta(), {}, 404, NO_METHOD),
]


@pytest.mark.parametrize(
    ("meta", "headers", "status", "code"), [r[1:] for r in CHECKS], ids=[r[0] for r in CHECKS]
)
def test_trap_9_the_order_of_checks(
    http: Http, meta: dict[str, Any], headers: dict[str, Any], status: int, code: int
) -> None:
    """R-106, R-276: each request has several things wrong and says the first; always with its id."""
    fields = {"mcp_protocol_version": LATEST_STATELESS, "mcp_method": "zzz/zzz", **headers}
    reply = http.post(request_of("zzz/zzz", {}, "trap-9", meta), **fields)
    assert (reply.status, reply.error["code"], reply.response["id"]) == (status, code, "trap-9")


HEADERS = [
    ("spaces-around", {"mcp_name": "  add\t"}, 200),
    ("other-case-of-value", {"mcp_name": "ADD"}, 400),
    ("other-case-of-method", {"mcp_method": "Tools/Call"}, 400),
    ("twice", {"mcp_name": ["add", "add"]}, 400),
    ("twice-different", {"mcp_method": ["tools/call", "tools/list"]}, 400),
    ("other-case-of-header", {"mcp_name": None, "MCP_NAME": "add"}, 200),
]


@pytest.mark.parametrize(("headers", "status"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS])
def test_trap_10_headers_are_compared(http: Http, headers: dict[str, Any], status: int) -> None:
    """R-236, R-237, R-238: names in any case, values exactly, duplicates seen before anything joins them."""
    reply = http.modern("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}, **headers)
    assert reply.status == status
    assert status == 200 or reply.error["code"] == MISMATCH


def sentinel(data: bytes) -> str:
    return f"=?base64?{base64.b64encode(data).decode()}?="


NAMES = [
    ("encoded", "Zürich", sentinel("Zürich".encode()), 200),
    ("junk-inside", "Zürich", "=?base64?WsO8!!cmljaA==?=", 400),
    ("no-padding", "a", "=?base64?YQ?=", 400),
    ("not-utf-8", "Z", sentinel(b"Z\xfc"), 400),
    ("upper-case-is-a-literal", "=?BASE64?YQ==?=", "=?BASE64?YQ==?=", 200),
    ("no-suffix-is-a-literal", "=?base64?YQ==", "=?base64?YQ==", 200),
    ("looks-encoded", "=?base64?YQ==?=", sentinel(b"=?base64?YQ==?="), 200),
]


@pytest.mark.parametrize(("value", "header", "status"), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES])
def test_trap_11_the_base64_sentinel(http: Http, value: str, header: str, status: int) -> None:
    """R-240…R-244: strict base64, strict UTF-8, and only the exact form is one."""
    params = {"name": "region", "arguments": {"region": value}}
    reply = http.modern("tools/call", params, **{"Mcp-Param-Region": header})
    assert reply.status == status
    assert status == 200 or reply.error["code"] == MISMATCH


def test_trap_12_no_stream_before_its_status_is_known(content_http: Http) -> None:
    """R-273, R-290: a handler that needs what the client lacks can still choose the status."""
    for tool in ("write", "ask"):
        reply = content_http.modern("tools/call", {"name": tool}, accept="application/json, text/event-stream")
        assert (reply.status, reply.error["code"]) == (400, -32021)
        assert reply.header("content-type") == "application/json"


def test_trap_13_initialize_never_agrees_on_the_stateless_revision(http: Http) -> None:
    """R-110, E-10, E-13: and with an envelope of that era there is no such method."""
    params = {"protocolVersion": LATEST_STATELESS, "capabilities": {}, "clientInfo": CLIENT}
    reply = http.post(request_of("initialize", params, 1, None))
    assert (reply.status, reply.result["protocolVersion"]) == (200, LATEST_HANDSHAKE)
    reply = http.modern("initialize", params, id="trap-13")
    assert (reply.status, reply.error["code"], reply.response["id"]) == (404, NO_METHOD, "trap-13")


FAILING = {
    "no-json": b"{",
    "no-message": b"{}",
    "empty-batch": b"[]",
    "no-session": json.dumps(request_of("tools/list", None, 1, None)).encode(),
    "bad-initialize": json.dumps(request_of("initialize", {"protocolVersion": 5}, 1, None)).encode(),
}


@pytest.mark.parametrize("body", FAILING.values(), ids=FAILING)
def test_trap_14_no_session_before_the_body_is_good(http: Http, body: bytes) -> None:
    """R-318, R-319, D12: what fails mints nothing, also where the error is in the band (R-327)."""
    reply = http.post(body)
    assert "error" in reply.response
    assert reply.header("mcp-session-id") is None


def test_trap_15_a_disconnect_means_two_things(http: Http) -> None:
    """R-277, R-325: it cancels a stateless call, and a session's call goes on."""
    line, session = HttpMcpClient(http, None), http.initialize()
    params = [{"name": "wait", "arguments": {"name": f"trap-15-{era}"}} for era in ("stateless", "session")]
    stateless = http.start_modern("tools/call", params[0])
    kept = session.start("tools/call", params[1])
    for era, waiting in (("stateless", stateless), ("session", kept)):
        line.until(f"trap-15-{era}", "entered")
        waiting.cut()
    line.until("trap-15-stateless", "cancelled")
    line.call("release", name="trap-15-session")
    line.until("trap-15-session", "finished")


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_trap_16_no_event_is_empty(content_http: Http, revision: str) -> None:
    """R-353: a stream begins with an empty event for 2025-11-25 and never else, since older parsers fail."""
    session = content_http.initialize(revision)
    with session.start("tools/call", {"name": "report"}, meta={"progressToken": 1}) as waiting:
        lines = list(waiting.lines())
    fields = {each.partition(b":")[0] for each in lines if each and not each.startswith(b":")}
    primed = revision == LATEST_HANDSHAKE
    assert fields == {b"id", b"event", b"data"} | ({b"retry"} if primed else set())
    data = [each[5:].strip() for each in lines if each.startswith(b"data:")]
    assert [at for at, each in enumerate(data) if not each] == ([0] if primed else [])
    assert all(json.loads(each) for each in data if each)


@pytest.mark.parametrize("last", ["0", "1", "_GET_stream", "someone-elses"])
def test_trap_17_nothing_is_replayed(changing: tuple[ChangingServer, Http], last: str) -> None:
    """R-352, R-355, R-717, D3: whatever a client makes up, it hears nothing of before."""
    app, http = changing
    one, other = http.initialize(), http.initialize()
    one.call("change", what=["tools"])
    fields = {
        "mcp-session-id": other.token,
        "mcp-protocol-version": other.revision,
        "accept": "text/event-stream",
    }
    refused = http.request("GET", b"", {**fields, "last-event-id": last})
    assert (refused.status, refused.error["code"]) == (400, INVALID)
    with http.start("GET", b"", dict(fields)) as waiting:
        assert waiting.status == 200
        events = waiting.events()
        app.change(["prompts"])
        assert next(events)["method"] == "notifications/prompts/list_changed"


def test_trap_18_ids_of_the_server_are_its_own(content_http: Http) -> None:
    """R-334: they may equal a client's; the answer comes in another message and finds the right handler."""
    session = content_http.initialize(capabilities={"elicitation": {}})
    with session.start("tools/call", {"name": "ask_in_two_rounds"}, id=1) as waiting:
        events = waiting.events()
        first = next(events)
        same = session.call("measure", id=first["id"])
        assert same.result["structuredContent"]["width"] == 2, "the client's request with the same id is another"
        answer(session, first, True)
        assert next(events)["method"] == "notifications/message"
        second = next(events)
        assert second["id"] != first["id"]
        answer(session, first, True)  # late: ignored
        answer(session, second, False)
        (response,) = events
    assert (response["id"], response["result"]["content"][0]["text"]) == (1, "True False")


def answer(session: HttpSession, question: dict[str, Any], value: Any) -> None:
    """Answer a form with one field."""
    result = {"action": "accept", "content": {"value": value}}
    assert session.post({"jsonrpc": "2.0", "id": question["id"], "result": result}).status == 202


def test_trap_19_nothing_of_one_era_in_the_other(each_client: McpClient) -> None:
    """R-274, R-275, R-501: on every stateless result, the empty ones included, and on none of a session."""
    asked = [
        ("tools/list", None),
        ("tools/call", {"name": "show"}),
        ("resources/read", {"uri": "gallery://hall"}),
    ]
    asked += [("prompts/get", {"name": "guide", "arguments": {"visitor": "Ada"}})]
    asked += (
        [("server/discover", None)]
        if each_client.stateless
        else [("ping", None), ("logging/setLevel", {"level": "info"})]
    )
    for method, params in asked:
        result = each_client.ask(method, params).result
        assert (result.get("resultType") == "complete") == each_client.stateless, method
        assert (PREFIX + "serverInfo" in result.get("_meta", {})) == each_client.stateless, method
        if not each_client.stateless:
            assert {"resultType", "ttlMs", "cacheScope"}.isdisjoint(result), method


def test_trap_19_the_last_word_of_a_listen() -> None:
    """R-2C7: the result that ends a listen is a result like any other."""
    app = ChangingServer()
    with Serving(app) as serving, listen(serving.http, "trap-19", toolsListChanged=True) as heard:
        serving.run(_end(app))
        (last,) = heard.read_to_end()
    assert last["result"]["resultType"] == "complete"
    assert set(last["result"]["_meta"]) == {PREFIX + "subscriptionId", PREFIX + "serverInfo"}


def _end(app: ChangingServer) -> Any:
    async def end() -> None:
        app.changes.end()

    return end


def test_trap_20_null_and_absent(each_client: McpClient) -> None:
    """R-502: a null that was said is sent; what was not said is absent."""
    assert "nextCursor" not in each_client.ask("tools/list").result
    meta = {PREFIX + "logLevel": "info"} if each_client.stateless else None
    (logged,) = each_client.call("report", meta=meta).sent("notifications/message")
    assert logged["data"] is None
    result = each_client.call("nothing").result
    assert result.get("structuredContent", "absent") == (None if each_client.stateless else "absent")


@pytest.mark.parametrize("token", [7, "7", 0, ""])
def test_trap_21_progress(each_client: McpClient, token: Any) -> None:
    """R-2B0: it rises, its token keeps its type, and nothing comes after the response."""
    reported = each_client.call("report", meta={"progressToken": token}).sent("notifications/progress")
    assert [(type(step["progressToken"]), step["progressToken"]) for step in reported] == [
        (type(token), token)
    ] * 2
    assert [step["progress"] for step in reported] == [0.5, 2]
    assert each_client.call("report").sent("notifications/progress") == [], "and none without a token"


def test_trap_21_nothing_after_the_response(client: McpClient) -> None:
    """R-279: what a tool leaves behind says nothing more."""
    meta: dict[str, Any] = {"progressToken": "late"}
    if client.stateless:
        meta[PREFIX + "logLevel"] = "debug"
    outcome = client.call("outlive", meta=meta)
    assert [step["progress"] for step in outcome.sent("notifications/progress")] == [1]
    assert client.call("echo", text="after").notifications == []


@pytest.mark.parametrize("id", [5, "5"])
def test_trap_22_listen(id: Any) -> None:
    """R-2C1, R-2C3, R-2C4: a stream in JSON mode too; the acknowledgement first; only what was asked for."""
    app = ChangingServer(settings=Settings(json_response=True))
    with Serving(app) as serving:
        serving.http.modern("tools/list")
        with listen(serving.http, id, toolsListChanged=True) as heard:
            app.change(["prompts", "note://a", "tools"])
            message = heard.next()
    assert message["method"] == "notifications/tools/list_changed"
    assert (type(id_of(message)), id_of(message)) == (type(id), id)


def test_trap_22_nothing_is_lost_before_the_acknowledgement(changing: tuple[ChangingServer, Http]) -> None:
    """R-2C9: whoever has the acknowledgement has everything from then on."""
    app, http = changing
    with http.start_modern(
        "subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id=1
    ) as waiting:
        events = waiting.events()
        assert next(events)["method"] == ACKNOWLEDGED
        app.change(["tools"])
        assert next(events)["method"] == "notifications/tools/list_changed"


@pytest.mark.anyio
async def test_trap_23_a_call_runs_again_on_each_round() -> None:
    """R-29A, R-293, R-294: so effects go into `once`; a state that was changed is refused."""
    charged: list[str] = []

    async def buy(what: str, ctx: Context) -> str:
        await ctx.once("charge", lambda: charged.append(what))
        return f"{what} {(await ctx.elicit('Sure?', bool)).data}"

    app = server(buy)
    call = Call(app, "buy", {"what": "tea"})
    await call.round()
    (key,) = call.asked
    for changes in (
        {"requestState": str(call.state)[:-4] + "AAAA"},
        {"arguments": {"what": "gold"}},
        {"requestState": "v1.nonsense"},
    ):
        refused = await call.round({key: value(True)}, **changes)
        assert refused.response["error"]["code"] == BAD_PARAMS, changes
    for _ in range(2):  # a state that is replayed is good until it expires, and does nothing twice
        assert text_of(await call.round({key: value(True)})) == "tea True"
    assert charged == ["tea"]


SITUATIONS = [
    ("resource", "resources/read", {"uri": "nowhere://x"}, [-32002] * 4 + [BAD_PARAMS]),
    ("ping", "ping", None, [None] * 4 + [NO_METHOD]),
    ("discover", "server/discover", None, [NO_METHOD] * 4 + [None]),
    ("tasks", "tasks/list", None, [NO_METHOD] * 5),
]


@pytest.mark.parametrize(
    ("method", "params", "codes"), [r[1:] for r in SITUATIONS], ids=[r[0] for r in SITUATIONS]
)
def test_trap_24_one_meaning_for_each_revision(
    each_client: McpClient, method: str, params: Any, codes: list[int | None]
) -> None:
    """R-501: the same request, and what each revision makes of it; `test_features.py` has all of it."""
    response = each_client.ask(method, params).response
    assert response is not None
    assert response.get("error", {}).get("code") == codes[ALL.index(each_client.revision)]


def test_trap_24_structured_content(each_client: McpClient) -> None:
    """R-504: an array is structured content for those who know that; nobody else gets it."""
    result = each_client.call("bare").result
    assert result.get("structuredContent") == ([1, 2] if each_client.stateless else None)


def test_trap_25_lists_are_in_step(http: Http) -> None:
    """R-117, R-118: what an error says is supported is what discover says, and only what needs no handshake."""
    fields = {"mcp_protocol_version": UNKNOWN, "mcp_method": "tools/list"}
    reply = http.post(request_of("tools/list", {}, 1, stateless_meta(protocolVersion=UNKNOWN)), **fields)
    assert reply.error["data"] == {"supported": list(STATELESS), "requested": UNKNOWN}
    assert http.modern("server/discover").result["supportedVersions"] == reply.error["data"]["supported"]


def test_trap_25_a_version_that_is_none(http: Http) -> None:
    """R-114, R-115: in words that released clients look for."""
    reply = http.initialize().ask("tools/list", mcp_protocol_version="1999-01-01")
    assert reply.status == 400
    assert "Unsupported protocol version" in reply.error["message"]


REFUSED: list[tuple[str, str, bytes, dict[str, Any]]] = [
    ("400", "POST", b"{", {"content-type": "application/json"}),
    ("404-session", "POST", b'{"jsonrpc":"2.0","id":1,"method":"ping"}', {"mcp-session-id": "gone"}),
    ("403", "POST", b"{}", {"origin": "https://evil.example"}),
    ("405", "PUT", b"", {}),
    ("406", "POST", b"{}", {"accept": "text/html"}),
    ("415", "POST", b"{}", {"content-type": "text/plain"}),
    ("421", "POST", b"{}", {"host": "evil.example"}),
    ("400-get", "GET", b"", {}),
]


@pytest.mark.parametrize(
    ("verb", "body", "headers"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_trap_25_every_refusal_is_json_rpc(http: Http, verb: str, body: bytes, headers: dict[str, Any]) -> None:
    """S51: a page of text makes a client of both eras fall back to `initialize`."""
    reply = http.request(verb, body, {"content-type": "application/json", **headers})
    assert 400 <= reply.status < 500
    assert reply.header("content-type") == "application/json"
    assert "error" in reply.response
