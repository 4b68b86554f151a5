"""The cases E-01 to E-38 over real sockets: what comes in over HTTP, and what is answered, row by row.

E-39 (a session of another principal) is in `test_sessions.py`, where there are principals. What the
server does not offer (prompts, resources, subscriptions) is not in E-11: its answer depends on what a server has,
not on the transport.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest

from enfilade.wire.revisions import STATELESS
from support.exchanges import Message
from support.harness import Http
from support.http_client.connection import CLIENT, HttpSession, Reply, request_of, stateless_meta

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
BATCHING = "2025-03-26"
SESSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")

PARSE, INVALID, NO_METHOD, BAD_PARAMS = -32700, -32600, -32601, -32602
MISMATCH, BAD_VERSION = -32020, -32022

POST_ONLY = "POST"
OFFERED = "GET, POST, DELETE, OPTIONS"


@dataclass(frozen=True)
class Row:
    """One row: what is sent, and all that is to be seen of the answer.

    Attributes:
        name: id of the rule, and the variant.
        status: HTTP status.
        code: JSON-RPC error code; None where there is no error.
        body: message or raw bytes.
        headers: besides Content-Type and Accept; `session` as the session id stands for a live one.
        id: id of the response.
        data: `data` of the error.
        says: words of the error's message.
        allow: the Allow header.
        mints: whether a session id comes with it.
        session: revision of the live session.
    """

    name: str
    status: int
    code: int | None = None
    body: Any = b""
    headers: dict[str, Any] = field(default_factory=dict)
    id: Any = None
    data: Any = None
    says: str = ""
    allow: str | None = None
    mints: bool = False
    session: str = LEGACY
    verb: str = "POST"


def asked(
    method: str = "tools/list", *, id: Any = 7, params: dict[str, Any] | None = None, **meta: Any
) -> Message:
    """Return a request that makes a claim."""
    return request_of(method, params, id, stateless_meta(**meta))


def plain(method: str = "tools/list", *, id: Any = 7, params: dict[str, Any] | None = None) -> Message:
    """Return a request that makes none."""
    return request_of(method, params, id, None)


NEVER = "1999-01-01"
LATER = "2099-01-01"
UNKNOWN_SAYS = "Unsupported protocol version"


def opening(version: str = LEGACY, *, id: Any = 7, meta: dict[str, Any] | None = None) -> Message:
    return request_of(
        "initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": CLIENT}, id, meta
    )


def without(*keys: str, **wrong: Any) -> Message:
    """Return a request with a claim whose metadata lacks keys or has wrong ones."""
    prefix = "io.modelcontextprotocol/"
    meta = {
        name: value for name, value in stateless_meta(**wrong).items() if name.removeprefix(prefix) not in keys
    }
    return request_of("tools/list", None, 7, meta)


def named(version: str | None = MODERN, method: str | None = "tools/list", **more: Any) -> dict[str, Any]:
    """Return the headers of a stateless request."""
    return {"mcp_protocol_version": version, "mcp_method": method, **more}


def unsupported(requested: str) -> dict[str, Any]:
    return {"supported": list(STATELESS), "requested": requested}


LIVE = {"mcp_session_id": "session", "mcp_protocol_version": LEGACY}
DEAD = {"mcp_session_id": "dead-or-never-born", "mcp_protocol_version": LEGACY}
OLD_HEADER = {"mcp_protocol_version": SESSIONS[0]}
LATER_HEADER = {"mcp_protocol_version": LATER}
MODERN_HEADER = {"mcp_protocol_version": MODERN}
IN_SESSION = {"mcp_session_id": "session"}
CANCELLED = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}}
UNHEARD_OF = {"jsonrpc": "2.0", "method": "no/such"}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
RESPONSE = {"jsonrpc": "2.0", "id": 1, "result": {}}
REMOVED = ("ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/list", "no/such")

ROWS = [
    Row("E-01", 200, body=asked(), headers=named(), id=7),
    Row("E-01 text id", 200, body=asked(id="7"), headers=named(), id="7"),
    Row("E-01 without clientInfo (R-105)", 200, body=without("clientInfo"), headers=named(), id=7),
    Row("E-02 R-104", 400, BAD_PARAMS, without("clientCapabilities"), named(), 7, says="clientCapabilities"),
    Row("E-02 capabilities of wrong type", 400, BAD_PARAMS, without(clientCapabilities=5), named(), 7),
    Row("E-02 version of wrong type", 400, BAD_PARAMS, without(protocolVersion=5), named(), 7),
    Row("E-02 null version", 400, BAD_PARAMS, without(protocolVersion=None), named(), 7),
    Row("E-02 outranks E-03", 400, BAD_PARAMS, without("clientCapabilities"), named("2025-11-25"), 7),
    Row("E-02 outranks E-05", 400, BAD_PARAMS, without("clientCapabilities"), named(None, None), 7),
    Row("E-03", 400, MISMATCH, asked(), named("2026-07-29"), 7),
    Row("E-03 outranks E-04", 400, MISMATCH, asked(protocolVersion=LATER), named(), 7),
    Row("E-04", 400, BAD_VERSION, asked(protocolVersion=LATER), named(LATER), 7, unsupported(LATER)),
    Row("E-05", 400, MISMATCH, asked(), named(None), 7),
    Row("E-05 empty header", 400, MISMATCH, asked(), named(""), 7),
    Row("E-06", 400, MISMATCH, asked(), named(LEGACY), 7),
    Row("E-07", 400, BAD_VERSION, asked(protocolVersion=LEGACY), named(LEGACY), 7, unsupported(LEGACY)),
    Row("E-08", 400, BAD_PARAMS, plain(), named(), 7, says="protocolVersion"),
    Row("E-08 ping", 400, BAD_PARAMS, plain("ping"), named(method="ping"), 7, says="clientCapabilities"),
    Row("E-08 foreign meta", 400, BAD_PARAMS, plain(params={"_meta": {"progressToken": 1}}), named(), 7),
    Row("E-09", 400, BAD_PARAMS, opening(), named(method="initialize"), 7, says=LEGACY),
    Row("E-09 R-108 the modern ones too", 400, BAD_PARAMS, opening(), named(method="initialize"), 7, says=MODERN),
    Row("E-10", 404, NO_METHOD, opening(meta=stateless_meta()), named(method="initialize"), 7),
    *(Row(f"E-11 {it}", 404, NO_METHOD, asked(it, id="x"), named(method=it), "x") for it in REMOVED),
    *(Row(f"E-12 {it}", 200, body=opening(it), id=7, mints=True) for it in SESSIONS),
    Row("E-12 R-360 one header", 200, body=opening(), headers={"mcp_protocol_version": LEGACY}, id=7, mints=True),
    Row("E-12 R-360 with the header of another", 200, body=opening(), headers=OLD_HEADER, id=7, mints=True),
    Row("E-12 R-319", 200, BAD_PARAMS, plain("initialize", params={}), {}, 7),
    Row("E-13", 200, body=opening(MODERN), id=7, mints=True),
    Row("R-116", 200, body=opening("2024-11-05"), id=7, mints=True),
    Row("E-13 R-109", 200, body=opening(NEVER), id=7, mints=True),
    Row("E-14", 200, body=opening(), headers=LIVE, id=7, mints=True),
    Row("E-15", 200, body=opening(), headers=DEAD, id=7, mints=True),
    Row("E-15 with the header of another", 200, body=opening(), headers=DEAD | OLD_HEADER, id=7, mints=True),
    Row("E-16", 400, INVALID, plain(), {"mcp_protocol_version": LEGACY}, 7, says="Missing session"),
    Row("E-16 no header", 400, INVALID, plain(), {}, 7),
    Row("E-16 notification", 400, INVALID, CANCELLED, {}),
    Row("E-17 D9", 404, INVALID, plain(), DEAD, 7, says="Session not found"),
    Row("E-17 notification", 404, INVALID, CANCELLED, DEAD),
    Row("E-18", 400, INVALID, plain(), {"mcp_protocol_version": NEVER}, 7, says=UNKNOWN_SAYS),
    Row("E-18 in a session", 400, INVALID, plain(), {**LIVE, "mcp_protocol_version": "x"}, 7, says=UNKNOWN_SAYS),
    Row("E-18 R-360 initialize", 200, body=opening(), headers={"mcp_protocol_version": "x"}, id=7, mints=True),
    Row("E-18 initialize later", 200, body=opening(LATER), headers=LATER_HEADER, id=7, mints=True),
    *(Row(f"E-19 {it}", 200, body=plain(), headers={**LIVE, "mcp_protocol_version": it}, id=7)
      for it in SESSIONS),
    Row("E-19 notification", 202, body=INITIALIZED, headers={**LIVE, **OLD_HEADER}),
    Row("E-20 live", 200, body=asked(), headers=named(mcp_session_id="session"), id=7),
    Row("E-20 dead", 200, body=asked(), headers=named(mcp_session_id="dead"), id=7),
    Row("E-21", 200, body=asked(), headers=named(last_event_id="5"), id=7),
    *(Row(f"E-22 {it}", 405, INVALID, b"", MODERN_HEADER, allow=POST_ONLY, verb=it) for it in ("GET", "DELETE")),
    Row("E-22 in a session", 405, INVALID, b"", {**LIVE, **MODERN_HEADER}, allow=POST_ONLY, verb="DELETE"),
    Row("E-23 GET", 400, INVALID, b"", {}, verb="GET"),
    Row("E-23 GET unknown", 404, INVALID, b"", DEAD, verb="GET"),
    Row("E-23 DELETE", 400, INVALID, b"", {}, verb="DELETE"),
    Row("E-23 DELETE unknown", 404, INVALID, b"", DEAD, verb="DELETE"),
    *(Row(f"E-24 {it}", 405, INVALID, b"", {}, allow=OFFERED, verb=it) for it in ("PUT", "PATCH", "TRACE")),
    Row("E-25 empty", 400, INVALID, [], {}),
    Row("E-25 empty in a batching session", 400, INVALID, [], IN_SESSION, session=BATCHING),
    Row("E-25 a claim", 400, INVALID, [plain(), asked()], IN_SESSION, session=BATCHING),
    Row("E-25 modern header", 400, INVALID, [plain()], MODERN_HEADER),
    Row("E-26", 200, body=[plain()], headers=IN_SESSION, id=7, session=BATCHING),
    *(Row(f"E-27 {it}", 400, INVALID, [plain()], {**IN_SESSION, "mcp_protocol_version": it}, session=it)
      for it in SESSIONS if it != BATCHING),
    Row("E-28", 400, INVALID, RESPONSE, MODERN_HEADER),
    Row("E-29", 202, body=RESPONSE, headers=LIVE),
    Row("E-29 error", 202, body={"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "m"}}, headers=LIVE),
    Row("E-29 no session", 400, INVALID, RESPONSE, {}),
    Row("E-30", 202, body=CANCELLED, headers=MODERN_HEADER),
    Row("E-30 no such", 202, body=UNHEARD_OF, headers=MODERN_HEADER),
    Row("E-30 in a session", 202, body=INITIALIZED, headers=LIVE),
    Row("E-31", 400, PARSE, b'{"jsonrpc":'),
    Row("E-31 empty", 400, PARSE, b""),
    Row("E-31 modern", 400, PARSE, b"[1,", named()),
    Row("E-31 in a session", 400, PARSE, b"nonsense", LIVE),
    Row("E-32 no jsonrpc", 400, INVALID, {"id": 7, "method": "ping"}, LIVE, 7),
    Row("E-32 jsonrpc 1.0", 400, INVALID, {"jsonrpc": "1.0", "id": 7, "method": "ping"}, LIVE, 7),
    Row("E-32 array params", 400, INVALID, {**plain("ping"), "params": []}, LIVE, 7),
    Row("E-32 text params", 400, INVALID, {**plain("ping"), "params": "x"}, named(), 7),
    Row("E-32 method 5", 400, INVALID, {"jsonrpc": "2.0", "id": 7, "method": 5}, named(), 7),
    Row("E-32 method and result", 400, INVALID, {**plain("ping"), "result": {}}, LIVE, 7),
    Row("E-32 result and error", 400, INVALID, {**RESPONSE, "error": {}}, LIVE, 1),
    Row("E-32 empty object", 400, INVALID, {}),
    *(Row(f"E-32 scalar {it.decode()}", 400, INVALID, it, named()) for it in (b"5", b'"x"', b"null", b"true")),
    *(Row(f"E-33 {it} legacy", 400, INVALID, plain("ping", id=it), LIVE) for it in (None, True, 1.5)),
    *(Row(f"E-33 {it} modern", 400, INVALID, asked(id=it), named()) for it in (None, False, 1.5, [], {})),
    Row("E-34", 403, INVALID, asked(), named(origin="https://evil.example")),
    Row("E-34 null", 403, INVALID, asked(), named(origin="null")),
    Row("E-34 GET", 403, INVALID, b"", {"origin": "https://evil.example"}, verb="GET"),
    Row("E-35", 421, INVALID, asked(), named(host="evil.example")),
    Row("E-36", 406, INVALID, asked(), named(accept="text/html")),
    Row("E-37", 415, INVALID, asked(), named(content_type="text/plain")),
    Row("E-38", 413, INVALID, b" " * (4 * 1024 * 1024 + 1), named()),
]  # fmt: skip


@pytest.fixture(scope="module")
def live_sessions(serving: Any) -> dict[str, HttpSession]:
    """A session of each revision."""
    return {revision: serving.http.initialize(revision) for revision in SESSIONS}


def send(row: Row, http: Http, live_sessions: dict[str, HttpSession]) -> Reply:
    headers = dict(row.headers)
    if headers.get("mcp_session_id") == "session":
        headers["mcp_session_id"] = live_sessions[row.session].token
    if row.verb == "POST":
        return http.post(row.body, **headers)
    return http.request(row.verb, row.body, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_decision(row: Row, http: Http, live_sessions: dict[str, HttpSession]) -> None:
    reply = send(row, http, live_sessions)
    assert reply.status == row.status, reply.body
    assert reply.header("allow") == row.allow
    assert (reply.header("mcp-session-id") is not None) == row.mints, "R-310, R-318, R-203"
    if row.status == 202:
        assert reply.body == b"", "R-211"
        assert reply.header("content-type") is None
        return
    if row.code is None:
        assert "result" in reply.response
    else:
        error = reply.error
        assert error["code"] == row.code, error
        assert error.get("data") == row.data
        assert row.says in error["message"]
    assert (type(reply.response["id"]), reply.response["id"]) == (type(row.id), row.id)


@pytest.mark.parametrize("row", [row for row in ROWS if row.name.startswith("E-13")], ids=lambda row: row.name)
def test_the_newest_handshake_revision_is_offered(row: Row, http: Http) -> None:
    """E-13, R-109, R-110."""
    assert http.post(row.body).result["protocolVersion"] == LEGACY


def test_the_order_of_checks(http: Http) -> None:
    """A request with every fault is told the first one; with that put right, it is told the next."""
    request = asked("tools/call", params={"name": "add", "arguments": {"a": 1}})
    meta = request["params"]["_meta"]
    fields: dict[str, Any] = {
        **named(NEVER, "tools/list", mcp_name="sub"),
        "host": "evil.example",
        "origin": "https://evil.example",
        "content_type": "text/plain",
        "accept": "text/html",
    }
    request["id"] = 1.5
    request["params"]["_meta"] = {**meta, "io.modelcontextprotocol/clientCapabilities": 1}
    unknown = {**meta, "io.modelcontextprotocol/protocolVersion": LATER}
    broken, whole = b"{", request
    steps: list[tuple[Any, dict[str, Any], int, int]] = [
        (broken, {}, 421, INVALID),
        (broken, {"host": f"127.0.0.1:{http.port}"}, 403, INVALID),
        (broken, {"origin": None}, 415, INVALID),
        (broken, {"content_type": "application/json"}, 406, INVALID),
        (broken, {"accept": "application/json"}, 400, PARSE),
        (whole, {}, 400, INVALID),
        (whole := {**whole, "id": 7}, {}, 400, BAD_PARAMS),
        (whole := {**whole, "params": {**whole["params"], "_meta": unknown}}, {}, 400, MISMATCH),
        (whole, {"mcp_protocol_version": LATER}, 400, BAD_VERSION),
        (whole := {**whole, "params": {**whole["params"], "_meta": meta}}, MODERN_HEADER, 400, MISMATCH),
        ({**whole, "method": "no/such"}, {"mcp_method": "no/such"}, 404, NO_METHOD),
        (whole, {"mcp_method": "tools/call"}, 400, MISMATCH),
    ]  # fmt: skip
    for number, (body, repair, status, code) in enumerate(steps):
        fields.update(repair)
        reply = http.post(body, **fields)
        assert (number, reply.status, reply.error["code"]) == (number, status, code), reply.error
    fields["mcp_name"] = "add"
    assert http.post(whole, **fields).result["isError"] is True, "the missing argument is the tool's (SEP-1303)"


def test_notifications_cancelled_of_the_stateless_era_cancels_nothing(http: Http) -> None:
    """R-212, R-716: ids are everybody's; another client's request must not be cancelled by its id."""
    waiting = http.start_modern("tools/call", {"name": "wait", "arguments": {"name": "E-30"}}, id=99)
    assert http.post(CANCELLED, mcp_protocol_version=MODERN).status == 202
    http.modern_call("release", name="E-30")
    assert waiting.read().result["content"][0]["text"] == "E-30 released"
