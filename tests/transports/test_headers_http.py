"""HTTP headers over real sockets: agreement with the body, media types, who may knock, CORS, and sizes."""

import base64
import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from enfilade import Settings
from harness import Http, Serving
from over_http import BOTH, HeaderValue, Reply, modern_headers, request_of, stateless_meta
from workbench import Workbench

MISMATCH, INVALID, BAD_PARAMS = -32020, -32600, -32602


def sentinel(text: str | bytes) -> str:
    """Return a value in its `=?base64?…?=` form."""
    data = text.encode() if isinstance(text, str) else text
    return f"=?base64?{base64.b64encode(data).decode()}?="


def call(http: Http, tool: str, arguments: dict[str, Any] | None = None, **headers: HeaderValue) -> Reply:
    params: dict[str, Any] = {"name": tool} if arguments is None else {"name": tool, "arguments": arguments}
    return http.modern("tools/call", params, **headers)


def refused(reply: Reply) -> bool:
    """Whether it is the refusal of a header: status, code and the id of the request (R-237)."""
    return (reply.status, reply.error["code"], reply.response["id"]) == (400, MISMATCH, 1)


class TestRouting:
    """R-230…R-238: what routes a request must equal its body."""

    @pytest.mark.parametrize(
        ("rule", "headers"),
        [
            ("R-230 another version", {"mcp_protocol_version": "2025-11-25"}),
            ("R-231 no version", {"mcp_protocol_version": None}),
            ("R-231 no method", {"mcp_method": None}),
            ("R-231 no name", {"mcp_name": None}),
            ("R-232 another method", {"mcp_method": "tools/list"}),
            ("R-232 case of the method", {"mcp_method": "Tools/Call"}),
            ("R-232 empty method", {"mcp_method": ""}),
            ("R-233 another name", {"mcp_name": "echo"}),
            ("R-236 case of the name", {"mcp_name": "ADD"}),
            ("R-233 empty name", {"mcp_name": ""}),
            ("R-238 version twice", {"mcp_protocol_version": ["2026-07-28", "2026-07-28"]}),
            ("R-238 method twice", {"mcp_method": ["tools/call", "tools/call"]}),
            ("R-238 name twice", {"mcp_name": ["add", "sub"]}),
            ("R-240 method in base64", {"mcp_method": sentinel("tools/call")}),
            ("R-240 version in base64", {"mcp_protocol_version": sentinel("2026-07-28")}),
            ("R-243 no base64 inside", {"mcp_name": "=?base64?YWR*?="}),
            ("R-243 bad padding", {"mcp_name": "=?base64?YWRk=?="}),
            ("R-243 more padding", {"mcp_name": "=?base64?YWRk====?="}),
            ("R-243 no padding", {"mcp_name": "=?base64?YWRkYQ?="}),
            ("R-243 URL alphabet", {"mcp_name": "=?base64?YW-_?="}),
            ("R-243 spaces inside", {"mcp_name": "=?base64?YW Rk?="}),
            ("R-243 bad UTF-8 inside", {"mcp_name": sentinel(b"\xff\xfe")}),
            ("R-244 upper-case marker", {"mcp_name": "=?BASE64?YWRk?="}),
            ("R-244 no suffix", {"mcp_name": "=?base64?YWRk"}),
            ("R-244 no prefix", {"mcp_name": "base64?YWRk?="}),
            ("R-244 nothing but the markers overlapping", {"mcp_name": "=?base64?="}),
            ("R-258 not ASCII", {"mcp_name": "ädd".encode()}),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_is_refused(self, http: Http, rule: str, headers: dict[str, HeaderValue]) -> None:
        reply = call(http, "add", {"a": 1, "b": 2}, **headers)
        if "twice" in rule:
            assert (reply.status, reply.error["code"]) == (400, MISMATCH)
        else:
            assert refused(reply), rule

    @pytest.mark.parametrize(
        ("rule", "headers"),
        [
            ("R-236 spaces around", {"mcp_protocol_version": " 2026-07-28\t", "mcp_method": "\ttools/call  "}),
            ("R-236 spaces around the name", {"mcp_name": "  add\t"}),
            ("R-236 case of header names", {"mcp_method": None, "MCP-METHOD": "tools/call"}),
            ("R-241 base64", {"mcp_name": sentinel("add")}),
            ("R-235 a param header nobody defined", {"mcp_param_nothing": "x"}),
            ("R-259 with bytes in it", {"mcp_param_nothing": b"\xff"}),
            ("R-203 a session id", {"mcp_session_id": "é"}),
            ("R-204 an event id", {"last_event_id": "7"}),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_is_served(self, http: Http, rule: str, headers: dict[str, HeaderValue]) -> None:
        assert call(http, "add", {"a": 1, "b": 2}, **headers).result["structuredContent"] == {"result": 3}, rule

    def test_a_name_where_none_is_defined(self, http: Http) -> None:
        """R-235: ignored."""
        assert http.modern("tools/list", mcp_name="anything").status == 200

    @pytest.mark.parametrize("tool", ["größer", " padded ", "=?base64?x?=", "tab\there", "🌍"])
    def test_a_name_that_must_be_encoded(self, http: Http, tool: str) -> None:
        """R-242: it agrees, so the tool is looked for, and there is none."""
        reply = call(http, tool, {}, mcp_name=sentinel(tool))
        assert reply.error["code"] == BAD_PARAMS
        assert "Unknown tool" in reply.error["message"]

    def test_the_session_era_does_not_look(self, http: Http) -> None:
        """The headers came with 2026-07-28."""
        session = http.initialize()
        reply = session.ask("tools/list", mcp_method="something/else", mcp_name="?")
        assert reply.status == 200


class TestParameters:
    """R-250…R-260: arguments that a tool's schema asks clients to mirror."""

    def test_the_schema_says_so(self, http: Http) -> None:
        """R-250."""
        tools = {tool["name"]: tool for tool in http.modern("tools/list").result["tools"]}
        properties = tools["region"]["inputSchema"]["properties"]
        assert [part["x-mcp-header"] for part in properties.values()] == ["Region", "Count", "Dry-Run"]

    @pytest.mark.parametrize(
        ("rule", "arguments", "headers"),
        [
            ("R-255 text", {"region": "eu"}, {"mcp_param_region": "eu"}),
            ("R-236 case of the name", {"region": "eu"}, {"MCP-PARAM-REGION": "eu"}),
            ("R-241 base64", {"region": "ü"}, {"mcp_param_region": sentinel("ü")}),
            ("R-241 base64 of what needs none", {"region": "eu"}, {"mcp_param_region": sentinel("eu")}),
            ("R-244 a literal", {"region": "=?BASE64?x?="}, {"mcp_param_region": "=?BASE64?x?="}),
            ("empty text", {"region": ""}, {"mcp_param_region": ""}),
            ("R-236 spaces around", {"region": "eu"}, {"mcp_param_region": " eu\t"}),
            ("R-257 integer", {"count": 42}, {"mcp_param_count": "42"}),
            ("R-257 numerically", {"count": 42}, {"mcp_param_count": "42.0"}),
            ("R-257 negative", {"count": -7}, {"mcp_param_count": "-7"}),
            ("R-257 large", {"count": 2**53 - 1}, {"mcp_param_count": str(2**53 - 1)}),
            ("R-257 true", {"dry": True}, {"mcp_param_dry_run": "true"}),
            ("R-257 false", {"dry": False}, {"mcp_param_dry_run": "false"}),
            ("R-256 absent", {}, {}),
            ("R-259 another's header", {}, {"mcp_param_zone": "x"}),
            ("all of them", {"region": "eu", "count": 0, "dry": False},
             {"mcp_param_region": "eu", "mcp_param_count": "0", "mcp_param_dry_run": "false"}),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )  # fmt: skip
    def test_agree(
        self, http: Http, rule: str, arguments: dict[str, Any], headers: dict[str, HeaderValue]
    ) -> None:
        assert "isError" not in call(http, "region", arguments, **headers).result, rule

    @pytest.mark.parametrize(
        ("rule", "arguments", "headers"),
        [
            ("R-255 missing", {"region": "eu"}, {}),
            ("R-255 another", {"region": "eu"}, {"mcp_param_region": "us"}),
            ("R-255 another case", {"region": "eu"}, {"mcp_param_region": "EU"}),
            ("R-256 sent for nothing", {}, {"mcp_param_region": "eu"}),
            ("R-256 sent for null", {"region": None}, {"mcp_param_region": "null"}),
            ("R-243 bad base64", {"region": "eu"}, {"mcp_param_region": "=?base64?e?="}),
            ("R-258 bytes", {"region": "ü"}, {"mcp_param_region": "ü".encode()}),
            ("R-257 another number", {"count": 42}, {"mcp_param_count": "43"}),
            ("R-257 nearly", {"count": 42}, {"mcp_param_count": "42.5"}),
            ("R-257 no number", {"count": 42}, {"mcp_param_count": "forty-two"}),
            ("R-257 hexadecimal", {"count": 42}, {"mcp_param_count": "0x2a"}),
            ("R-257 nan", {"count": 42}, {"mcp_param_count": "nan"}),
            ("R-257 a number that takes for ever", {"count": 42}, {"mcp_param_count": "1e999999999"}),
            ("R-257 digits of another script", {"count": 42}, {"mcp_param_count": "٤٢".encode()}),
            ("R-257 case of a boolean", {"dry": True}, {"mcp_param_dry_run": "True"}),
            ("R-257 a boolean is no number", {"dry": True}, {"mcp_param_dry_run": "1"}),
            ("R-238 twice", {"region": "eu"}, {"mcp_param_region": ["eu", "eu"]}),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_disagree(
        self, http: Http, rule: str, arguments: dict[str, Any], headers: dict[str, HeaderValue]
    ) -> None:
        reply = call(http, "region", arguments, **headers)
        assert (reply.status, reply.error["code"]) == (400, MISMATCH), rule

    def test_no_arguments_at_all(self, http: Http) -> None:
        assert "isError" not in call(http, "region").result
        assert refused(call(http, "region", mcp_param_region="eu"))

    def test_a_refusal_shows_no_value(self, http: Http) -> None:
        """R-254: headers are logged and shown; what was in the argument is not repeated."""
        reply = call(http, "region", {"region": "hush-hush"}, mcp_param_region="psst")
        assert b"hush" not in reply.body
        assert b"psst" not in reply.body

    def test_the_session_era_does_not_look(self, http: Http) -> None:
        reply = http.initialize().call("region", region="eu")
        assert "isError" not in reply.result


JSON, SSE, NEITHER = "application/json", "text/event-stream", None

ACCEPT: list[tuple[HeaderValue, str | None, str | None]] = [
    # what is sent; what comes at once; what comes when the tool streams
    (BOTH, JSON, SSE),
    ("text/event-stream, application/json", JSON, SSE),
    ("application/json", JSON, JSON),
    ("text/event-stream", SSE, SSE),
    ("*/*", JSON, SSE),
    ("application/*", JSON, JSON),
    ("text/*", SSE, SSE),
    ("application/*, text/*", JSON, SSE),
    ("Application/JSON, Text/Event-Stream", JSON, SSE),
    ("application/json;q=0.5, text/event-stream;q=0.9", JSON, SSE),
    ("application/json; charset=utf-8,text/event-stream", JSON, SSE),
    ("*/*;q=0.1", JSON, SSE),
    ("text/html, */*;q=0.8", JSON, SSE),
    ("application/json;q=0, */*", SSE, SSE),
    ("text/event-stream;q=0, */*", JSON, JSON),
    (["application/json", "text/event-stream"], JSON, SSE),
    (None, JSON, SSE),
    ("", NEITHER, NEITHER),
    ("application/jsonlines", NEITHER, NEITHER),
    ("application/json-seq, text/event-stream-2", NEITHER, NEITHER),
    ("text/html", NEITHER, NEITHER),
    ("*/*;q=0", NEITHER, NEITHER),
    ("application/json;q=0", NEITHER, NEITHER),
    ("json", NEITHER, NEITHER),
    ("application/json;q=high", NEITHER, NEITHER),
    (b"\xff\xfe", NEITHER, NEITHER),
]


class TestMediaTypes:
    """R-208, R-265, R-328, trap 7, D19, S27…S30."""

    @pytest.mark.parametrize("era", ["session", "stateless"])
    @pytest.mark.parametrize(("accept", "at_once", "streaming"), ACCEPT, ids=str)
    def test_accept(
        self, http: Http, era: str, accept: HeaderValue, at_once: str | None, streaming: str | None
    ) -> None:
        for tool, arguments, expected in (("echo", {"text": "x"}, at_once), ("report", {"steps": 1}, streaming)):
            params = {"name": tool, "arguments": arguments}
            if era == "stateless":
                log_level = {"io.modelcontextprotocol/logLevel": "info"}
                reply = http.modern("tools/call", params, meta=log_level, accept=accept)
            else:
                reply = http.initialize().ask("tools/call", params, accept=accept)
            if expected is NEITHER:
                assert (reply.status, reply.error["code"]) == (406, INVALID)
                assert "Accept must allow application/json or text/event-stream" in reply.error["message"]
            else:
                assert (reply.status, reply.header("content-type")) == (200, expected)
                assert reply.result["content"][0]["type"] == "text"
                assert len(reply.messages) == (2 if tool == "report" and expected == SSE else 1)

    @pytest.mark.parametrize(
        ("content_type", "allowed"),
        [
            ("application/json", True),
            ("Application/JSON; charset=utf-8", True),
            ('application/json;charset="UTF-8"', True),
            ("application/json ; foo=bar", True),
            ("application/json; charset=latin-1", False),
            ("application/jsonlines", False),
            ("application/json-rpc", False),
            ("text/plain", False),
            ("text/plain; application/json", False),
            ("multipart/form-data", False),
            ("", False),
            (None, False),
        ],
    )
    @pytest.mark.parametrize("accept", [JSON, SSE, BOTH])
    def test_content_type(self, http: Http, content_type: str | None, allowed: bool, accept: str) -> None:
        """E-37, S28, S30: the same whatever form the answer would have."""
        reply = http.modern("tools/list", content_type=content_type, accept=accept)
        assert reply.status == (200 if allowed else 415)
        if not allowed:
            assert "application/json" in reply.error["message"]

    def test_two_content_types(self, http: Http) -> None:
        """R-238: what a proxy sees first must not differ from what is read."""
        reply = http.modern("tools/list", content_type=["application/json", "text/plain"])
        assert reply.status == 400

    def test_the_head_of_a_stream(self, http: Http) -> None:
        """R-269, S37, R-204: nothing buffers it, and no event has an id."""
        log_level = {"io.modelcontextprotocol/logLevel": "info"}
        call = {"name": "report", "arguments": {"steps": 1}}
        reply = http.modern("tools/call", call, meta=log_level)
        assert reply.header("x-accel-buffering") == "no"
        assert reply.header("cache-control") == "no-cache, no-transform"
        assert reply.header("content-length") is None
        assert all(line.split(b":")[0] in (b"event", b"data", b"") for line in reply.body.split(b"\n"))


LOOPBACK = [
    "localhost",
    "localhost:{port}",
    "127.0.0.1:{port}",
    "127.1.2.3",
    "[::1]:{port}",
    "[::1]",
    "LocalHost:1",
    "a.localhost",
]
FOREIGN = [
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "10.0.0.1",
    "0.0.0.0",
    "",
    "[::2]",
    "localhost@evil.example",
]


class TestHostAndOrigin:
    """R-205, R-701, E-34, E-35, D15, S44: on every method."""

    VERBS = ("POST", "DELETE", "GET", "OPTIONS")

    @pytest.mark.parametrize("host", LOOPBACK)
    def test_loopback_hosts(self, http: Http, host: str) -> None:
        assert http.modern("tools/list", host=host.format(port=http.port)).status == 200

    @pytest.mark.parametrize("verb", VERBS)
    @pytest.mark.parametrize("host", FOREIGN)
    def test_foreign_hosts(self, http: Http, verb: str, host: str) -> None:
        host = host.format(port=http.port)
        reply = http.request(verb, b"", {"host": host, "origin": "http://localhost"})
        assert (reply.status, reply.error["code"]) == (421, INVALID)
        for way_out in ("allowed_hosts", "ENFILADE_ALLOWED_HOSTS", repr(host)):
            assert way_out in reply.error["message"]

    @pytest.mark.parametrize(
        "origin",
        [
            "http://localhost",
            "http://localhost:6274",
            "https://127.0.0.1:1",
            "http://[::1]:80",
            "HTTP://LOCALHOST",
        ],
    )
    def test_loopback_origins(self, http: Http, origin: str) -> None:
        """R-720: and the browser is told that it may read the answer."""
        reply = http.modern("tools/list", origin=origin)
        assert reply.status == 200
        assert reply.header("access-control-allow-origin") == origin
        assert "mcp-session-id" in (reply.header("access-control-expose-headers") or "").lower()
        assert reply.header("vary") == "Origin"

    @pytest.mark.parametrize("verb", VERBS)
    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "file://",
            "localhost",
            "http://",
            "http://[::1",
            "chrome-extension://localhost",
            "",
            b"\xff",
        ],
    )
    def test_foreign_origins(self, http: Http, verb: str, origin: str | bytes) -> None:
        reply = http.request(verb, b"", {"origin": origin})
        assert (reply.status, reply.error["code"]) == (403, INVALID)
        assert reply.header("access-control-allow-origin") is None
        for way_out in ("allowed_origins", "ENFILADE_ALLOWED_ORIGINS"):
            assert way_out in reply.error["message"]

    @pytest.mark.parametrize("header", ["host", "origin"])
    def test_twice(self, http: Http, header: str) -> None:
        """R-238: whichever is looked at, another one may be meant."""
        value = "localhost" if header == "host" else "http://localhost"
        assert http.modern("tools/list", **{header: [value, value]}).status == 400

    def test_no_origin_and_no_cors(self, http: Http) -> None:
        reply = http.modern("tools/list")
        assert [name for name, _ in reply.headers if name.startswith("access-control")] == []


@pytest.fixture(scope="module")
def public() -> Iterator[Http]:
    """A server that is told its names, and speaks JSON only."""
    settings = Settings(
        allowed_hosts=("api.example", "*.wild.example"),
        allowed_origins=("https://app.example",),
        json_response=True,
        body_limit=2048,
    )
    with Serving(Workbench(settings=settings)) as serving:
        yield serving.http


class TestNamedHosts:
    @pytest.mark.parametrize(
        ("host", "origin", "status"),
        [
            ("api.example", None, 200),
            ("API.example:8443", None, 200),
            ("sub.wild.example", None, 200),
            ("wild.example", None, 421),
            ("notwild.example", None, 421),
            ("api.example.evil", None, 421),
            ("api.example", "https://app.example", 200),
            ("api.example", "https://APP.example/", 200),
            ("api.example", "http://app.example", 403),
            ("api.example", "https://app.example:444", 403),
            ("api.example", "https://api.example", 200),
            ("api.example", "https://sub.wild.example", 403),
        ],
    )
    def test_what_is_named_is_served(self, public: Http, host: str, origin: str | None, status: int) -> None:
        """R-205: names as told; a page served under the server's own name is its own."""
        assert public.modern("tools/list", host=host, origin=origin).status == status

    def test_any(self) -> None:
        settings = Settings(allowed_hosts=("*",), allowed_origins=("*",))
        with Serving(Workbench(settings=settings)) as serving:
            reply = serving.http.modern("tools/list", host="any.example", origin="https://other.example")
            assert reply.status == 200
            assert reply.header("access-control-allow-origin") == "https://other.example", "R-720: never * "


class TestPreflight:
    """R-720, S43."""

    def ask(self, http: Http, origin: str) -> Reply:
        wanted = "content-type, mcp-session-id, mcp-protocol-version, last-event-id, authorization"
        return http.request(
            "OPTIONS",
            b"",
            {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": wanted},
        )

    def test_an_allowed_origin(self, http: Http) -> None:
        reply = self.ask(http, "http://localhost:6274")
        assert (reply.status, reply.body) == (204, b"")
        assert reply.header("access-control-allow-origin") == "http://localhost:6274"
        assert "POST" in (reply.header("access-control-allow-methods") or "")
        allowed = (reply.header("access-control-allow-headers") or "").lower()
        assert "*" in allowed or "last-event-id" in allowed

    def test_a_foreign_origin(self, http: Http) -> None:
        assert self.ask(http, "https://evil.example").status == 403

    def test_a_text_post_without_preflight(self, http: Http) -> None:
        """D15: what a page may send unasked is refused by origin, and would be by its type."""
        simple: dict[str, HeaderValue] = {"content_type": "text/plain"}
        assert http.modern("tools/list", origin="https://evil.example", **simple).status == 403
        assert http.modern("tools/list", **simple).status == 415


class TestSizes:
    """E-38, S31, D20, R-714."""

    def body(self, size: int) -> bytes:
        body = b'{"jsonrpc":"2.0","id":1,"method":"nothing","params":{"x":""}}'
        return body.replace(b'"x":""', b'"x":"' + b"x" * (size - len(body)) + b'"')

    @pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
    @pytest.mark.parametrize(("size", "status"), [(2048, 400), (2049, 413), (100_000, 413)])
    def test_the_limit(self, public: Http, chunked: bool, size: int, status: int) -> None:
        """400: the body was read, and no session was named in it."""
        body = self.body(size)
        head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        if chunked:
            parts = [body[at : at + 500] for at in range(0, size, 500)]
            whole = head + b"Transfer-Encoding: chunked\r\n\r\n"
            whole += b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        else:
            whole = head + b"Content-Length: %d\r\n\r\n" % size + body
        with public.raw(whole) as connection:
            answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert (b"2048" in answer) == (status == 413), "it says what the limit is"

    @pytest.mark.parametrize("length", [b"-5", b"abc", b"1e3"])
    def test_a_length_that_is_none(self, public: Http, length: bytes) -> None:
        head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
        with public.raw(head + length + b"\r\n\r\n") as connection:
            assert received(connection).startswith(b"HTTP/1.1 400 ")
        assert public.modern("tools/list").status == 200


def received(connection: socket.socket) -> bytes:
    """Return everything up to the end; a reset counts as one."""
    chunks = []
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks)


class TestJsonOnly:
    """`json_response=True`: R-272, S5."""

    @pytest.mark.parametrize("era", ["session", "stateless"])
    @pytest.mark.parametrize(("accept", "expected"), [(BOTH, JSON), (JSON, JSON), ("*/*", JSON), (SSE, SSE)])
    def test_never_a_stream_for_who_takes_json(self, public: Http, era: str, accept: str, expected: str) -> None:
        params = {"name": "report", "arguments": {"steps": 2}}
        if era == "stateless":
            meta = {"progressToken": 1, "io.modelcontextprotocol/logLevel": "debug"}
            reply = public.modern("tools/call", params, meta=meta, accept=accept)
        else:
            reply = public.initialize().ask("tools/call", params, meta={"progressToken": 1}, accept=accept)
        assert (reply.status, reply.header("content-type")) == (200, expected)
        assert reply.result["content"][0]["text"] == "2 steps"
        assert (len(reply.messages) == 1) == (expected == JSON), "there is no room for notifications in JSON"


def test_other_paths_say_where_the_endpoint_is(http: Http) -> None:
    """S51: also a wrong path has a JSON-RPC body."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    for path in ("/", "/mcp/x", "/mcps", "/MCP"):
        reply = http.request("POST", body, {"content-type": "application/json"}, path=path)
        assert reply.status == 404
        assert "/mcp" in reply.error["message"]


def test_the_whole_request_by_hand(http: Http) -> None:
    """The bytes as a client writes them."""
    message = request_of("tools/list", None, "a", stateless_meta())
    headers = {
        name.replace("_", "-").encode(): str(value).encode() for name, value in modern_headers(message).items()
    }
    head = b"".join(b"%s: %s\r\n" % pair for pair in headers.items())
    body = json.dumps(message).encode()
    start = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with http.raw(start + head + b"Content-Length: %d\r\n\r\n" % len(body) + body) as connection:
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'{"jsonrpc":"2.0","id":"a","result":' in answer
