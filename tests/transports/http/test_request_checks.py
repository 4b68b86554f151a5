"""Headers that must agree with the body, over real sockets: routing headers and mirrored arguments."""

import base64
import json
from typing import Any

import pytest

from support.harness import Http
from support.http_client.connection import HeaderValue, Reply, modern_headers, request_of, stateless_meta

MISMATCH, BAD_PARAMS = -32020, -32602


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
    """R-230…R-238, R-261: what routes a request must equal its body, which is what counts."""

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
            ("R-238 version twice", {"mcp_protocol_version": ["2026-07-28", "2025-11-25"]}),
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
            ("R-259 a param header nobody defined", {"mcp_param_nothing": "x"}),
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

    def test_beside_a_number_that_no_float_has(self, http: Http) -> None:
        arguments = {"region": "eu", "count": 12345}
        message = request_of("tools/call", {"name": "region", "arguments": arguments}, 1, stateless_meta())
        body = json.dumps(message).replace("12345", "1e999").encode()
        assert refused(http.post(body, **{**modern_headers(message), "mcp_param_region": "us"}))

    def test_a_refusal_shows_no_value(self, http: Http) -> None:
        """R-254: headers are logged and shown; what was in the argument is not repeated."""
        reply = call(http, "region", {"region": "hush-hush"}, mcp_param_region="psst")
        assert b"hush" not in reply.body
        assert b"psst" not in reply.body

    def test_the_session_era_does_not_look(self, http: Http) -> None:
        reply = http.initialize().call("region", region="eu")
        assert "isError" not in reply.result
