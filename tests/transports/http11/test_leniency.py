"""What is taken although it could be said better, and what is refused because it could mean two things.

Each row is sent by clients that people have. The rule and the table are in docs/architecture.md.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from enfilade import Context, MCPApp
from support.harness import Serving
from support.http_client.connection import BOTH, CLIENT, Http, HttpSession, request_of, stateless_meta

BAD_PARAMS, PARSE = -32602, -32700
MARK = b"\xef\xbb\xbf"


class Taking(MCPApp):
    """A server that says what has come."""

    def __init__(self) -> None:
        super().__init__("taking")
        for each in (self.echo, self.capabilities, self.sure, self.meta):
            self.tool(each)
        self.tool(self.by_schema, input_schema={"type": "object", "properties": {"a": {}}})
        self.prompt(self.greet)
        self.add_text_resource("note://a", "a note")

    def echo(self, value: Any = "nothing", other: int | None = 5) -> str:
        """Say what came."""
        return json.dumps([value, other])

    def by_schema(self, **values: Any) -> str:
        """Say what came."""
        return json.dumps(values)

    def capabilities(self, ctx: Context) -> list[str]:
        """Say what the client can do."""
        return [name for name in ("roots", "sampling", "elicitation", "experimental") if ctx.supports(name)]

    async def sure(self, ctx: Context) -> str:
        """Ask."""
        return (await ctx.elicit("Sure?", bool)).action

    def meta(self, ctx: Context) -> str:
        """Say what stands in the request's metadata."""
        return json.dumps(ctx.meta)

    def greet(self, name: str = "you") -> str:
        """Greet."""
        return f"Good morning, {name}!"


@pytest.fixture(scope="module")
def http() -> Iterator[Http]:
    with Serving(Taking()) as serving:
        yield serving.http


@pytest.fixture
def session(http: Http) -> HttpSession:
    return http.initialize()


def text(reply: Any) -> Any:
    return json.loads(reply.result["content"][0]["text"])


class TestNulls:
    """An optional member that is null counts as absent (R-502); what has a value of its own keeps it."""

    @pytest.mark.parametrize(
        ("method", "params"),
        [
            ("tools/list", {"cursor": None}),
            ("tools/list", {"cursor": None, "_meta": None}),
            ("tools/list", {"cursor": ""}),
            ("prompts/list", {"cursor": ""}),
            ("resources/list", {"cursor": ""}),
            ("resources/templates/list", {"cursor": ""}),
            ("ping", {"_meta": None}),
            ("ping", {"_meta": {"progressToken": None}}),
            ("tools/call", {"name": "echo", "arguments": None}),
            ("tools/call", {"name": "echo", "task": None, "_meta": {"progressToken": None, "other": None}}),
            ("prompts/get", {"name": "greet", "arguments": None}),
            ("resources/read", {"uri": "note://a", "_meta": None}),
        ],
    )
    def test_optional_members(self, session: HttpSession, method: str, params: dict[str, Any]) -> None:
        assert "result" in session.ask(method, params).response

    def test_in_the_stateless_era(self, http: Http) -> None:
        reply = http.modern("tools/list", {"cursor": None}, meta={"io.modelcontextprotocol/clientInfo": None})
        assert reply.status == 200
        assert reply.result["tools"]

    def test_in_the_handshake(self, http: Http) -> None:
        """A capability that is null is not declared, one that is empty is; icons of the client may have nulls."""
        params = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"experimental": None, "roots": None, "sampling": {}, "elicitation": {"form": None}},
            "clientInfo": {**CLIENT, "title": None, "icons": [{"src": "a:b", "sizes": None, "mimeType": None}]},
            "_meta": None,
        }
        reply = http.post(request_of("initialize", params, 1, None))
        session = HttpSession(http, str(reply.header("mcp-session-id")), reply.result["protocolVersion"])
        assert session.call("capabilities").result["structuredContent"]["result"] == ["sampling", "elicitation"]

    def test_a_null_that_is_a_value(self, session: HttpSession) -> None:
        """Arguments and metadata are handed on as they came, also when something else had to be left out."""
        call = {"name": "echo", "arguments": {"value": {"a": None, "b": [None]}, "other": None}, "task": None}
        assert text(session.ask("tools/call", call)) == [{"a": None, "b": [None]}, None]
        meta = {"progressToken": None, "example.com/x": None}
        assert text(session.ask("tools/call", {"name": "meta", "_meta": meta, "task": None})) == meta

    @pytest.mark.parametrize(
        ("method", "params", "where"),
        [
            ("tools/call", {"name": None}, "params.name"),
            ("tools/call", {"name": None, "task": None}, "params"),
            ("resources/read", {"uri": None}, "params.uri"),
            ("tools/call", {"name": "echo", "inputResponses": None}, "params.inputResponses"),
            ("tools/call", {"name": "echo", "requestState": None}, "params.requestState"),
            ("logging/setLevel", {"level": None}, "params.level"),
            ("prompts/get", {"name": "greet", "arguments": {"name": None}}, "params.arguments"),
            ("tools/list", {"cursor": 5}, "params.cursor"),
            ("tools/list", {"cursor": "bm9uZQ"}, "cursor"),
        ],
    )
    def test_what_stays_an_error(
        self, session: HttpSession, method: str, params: dict[str, Any], where: str
    ) -> None:
        error = session.ask(method, params).error
        assert error["code"] == BAD_PARAMS
        assert where in error["message"]

    def test_very_many_are_not_looked_for(self, http: Http) -> None:
        """Each costs another reading."""
        icons = [{"src": "a:b", "sizes": None}] * 1000
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {**CLIENT, "icons": icons}}
        assert http.post(request_of("initialize", params, 1, None)).error["code"] == BAD_PARAMS

    @pytest.mark.parametrize("content", [{"content": None}, {"_meta": None}, {}])
    def test_in_an_answer(self, http: Http, content: dict[str, Any]) -> None:
        """A user who declines has no content."""
        session = http.initialize(capabilities={"elicitation": {}})
        waiting = session.start("tools/call", {"name": "sure"})
        events = waiting.events()
        question = next(event for event in events if event.get("method") == "elicitation/create")
        answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline", **content}}
        assert session.post(answer).status == 202
        assert next(event for event in events if "id" in event)["result"]["content"][0]["text"] == "decline"
        waiting.close()


class TestArguments:
    @pytest.mark.parametrize("tool", ["echo", "by_schema"])
    @pytest.mark.parametrize(
        ("arguments", "came"),
        [
            ([], "array"),
            ([{"value": 1}], "array"),
            ("{}", "string"),
            (5, "integer"),
            (1.5, "number"),
            (True, "boolean"),
        ],
    )
    @pytest.mark.parametrize("stateless", [True, False])
    def test_that_are_no_object(
        self, http: Http, session: HttpSession, tool: str, arguments: Any, came: str, stateless: bool
    ) -> None:
        """An error of the protocol, as no model has written them."""
        call = {"name": tool, "arguments": arguments}
        reply = http.modern("tools/call", call) if stateless else session.ask("tools/call", call)
        assert (reply.status, reply.error["code"]) == (200, BAD_PARAMS)
        assert f"should be an object, got {came}" in reply.error["message"]

    def test_that_are_wrong_within_are_for_the_model(self, session: HttpSession) -> None:
        """SEP-1303."""
        assert session.call("echo", other="x").result["isError"] is True


class TestBodies:
    def test_a_byte_order_mark_is_ignored_once(self, session: HttpSession) -> None:
        """RFC 8259 §8.1."""
        ping = json.dumps(request_of("ping", {}, "é", None), ensure_ascii=False).encode()
        assert session.post(MARK + ping).response["id"] == "é"
        for bad in (MARK + MARK + ping, ping + MARK, MARK, MARK + b"{"):
            assert session.post(bad).error["code"] == PARSE

    @pytest.mark.parametrize("batch", [False, True])
    def test_a_byte_order_mark_before_a_batch(self, http: Http, batch: bool) -> None:
        session = http.initialize("2025-03-26")
        ping = request_of("ping", {}, 1, None)
        assert session.post(MARK + json.dumps([ping] if batch else ping).encode()).status == 200


class TestHeaders:
    PING = json.dumps(request_of("ping", {}, 1, None)).encode()

    @pytest.mark.parametrize(
        ("name", "values", "status"),
        [
            ("content-type", ["application/json", "application/json"], 200),
            ("content-type", ["application/json; charset=utf-8", "application/json"], 200),
            ("content-type", ["application/json, application/json"], 200),
            ("content-type", ["application/json", "text/plain"], 400),
            ("content-type", ["text/plain", "text/plain"], 415),
            ("content-type", ["application/json, text/plain"], 415),
            ("mcp-protocol-version", ["2025-11-25", "2025-11-25"], 200),
            ("mcp-protocol-version", ["2025-11-25, 2025-11-25"], 200),
            ("mcp-protocol-version", ["2025-11-25", "2025-06-18"], 400),
            ("mcp-protocol-version", ["2025-11-25, 2025-06-18"], 400),
            ("accept", ["application/json", "text/event-stream"], 200),
            ("origin", ["http://localhost", "http://localhost"], 400),
        ],
    )
    def test_that_come_twice(
        self, http: Http, session: HttpSession, name: str, values: list[Any], status: int
    ) -> None:
        """Copies that say the same are one; where they differ, nobody knows which is meant (R-238)."""
        fields: dict[str, Any] = {"content-type": "application/json", "accept": BOTH, name: values}
        reply = http.request("POST", self.PING, {"mcp-session-id": session.token, **fields})
        assert reply.status == status

    def test_a_session_that_is_named_twice(self, http: Http, session: HttpSession) -> None:
        fields: dict[str, Any] = {"content-type": "application/json", "accept": BOTH}
        same = http.request("POST", self.PING, {**fields, "mcp-session-id": [session.token] * 2})
        other = http.request("POST", self.PING, {**fields, "mcp-session-id": [session.token, "x"]})
        assert (same.status, other.status) == (200, 400)

    def test_what_routes_a_stateless_request_comes_once(self, http: Http) -> None:
        """R-238: who is on the way may have acted on either."""
        assert http.modern("tools/list", mcp_method=["tools/list", "tools/list"]).status == 400
        assert http.modern("tools/list", meta=stateless_meta()).status == 200
