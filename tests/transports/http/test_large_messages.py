"""Large messages: what will be refused is refused before its values are built, and says so in few words.

What building would cost is seen in allocated memory and not in time, which is the same whatever else runs.
"""

import asyncio
import json
import tracemalloc
from typing import Any

import pytest
from pydantic import BaseModel, Field

from enfilade import MCPApp
from enfilade.transports.message_connection import Connection
from enfilade.transports.request_parsing import check_values, decode_call, parse_message
from enfilade.wire.jsonrpc import Envelope, RpcError, decode
from support.http_client.asgi_calls import AsgiClient, AsgiReply
from support.http_client.connection import BOTH, request_of

SIZE = 4_000_000
#: Over a million empty arrays, which took 237 MB and a second of the event loop as an unknown argument.
ARRAYS = b"[" + b"[]," * (SIZE // 3) + b"[]]"
#: A million strings, which are values as well but no arrays or objects.
STRINGS = b"[" + b'"a",' * (SIZE // 4) + b'"a"]'
TEXT = b'"' + b'[{\\"' * (SIZE // 5) + b'"'


class Options(BaseModel):
    """Some."""

    depth: int = 1


app = MCPApp("large")


@app.tool
async def hello(x: int = 1) -> str:
    """Greet."""
    return "hello"


@app.tool
async def keep(data: object) -> str:
    """Take anything."""
    return type(data).__name__


@app.tool
async def length(text: str) -> int:
    """Count."""
    return len(text)


@app.tool
async def renamed(x: int = Field(default=1, alias="the x")) -> int:
    """Take it by another name."""
    return x


@app.tool(
    input_schema={"type": "object", "properties": {"x": {"type": "integer"}}, "additionalProperties": False}
)
async def by_hand(x: int = 1) -> str:
    """Greet."""
    return "hello"


@app.tool(input_schema={"type": "object", "properties": {}})
async def anything(**more: Any) -> list[str]:
    """Return the names."""
    return sorted(more)


@app.prompt
async def greet(who: str = "") -> str:
    """Greet."""
    return who


def call(tool: str, arguments: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":"mine","method":"tools/call","params":{"name":"%s","arguments":%s}}' % (
        tool.encode(),
        arguments,
    )


def mine(members: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":"mine",%s}' % (members % ARRAYS)


async def send(body: bytes, *, initialized: bool = True) -> tuple[AsgiReply, int]:
    """Return the answer, and the most bytes that were allocated at once for it beside the message."""
    asgi = AsgiClient(app)
    token = (await asgi.initialize()).headers["mcp-session-id"]
    for tool in ("hello", "keep", "length", "by_hand", "anything"):
        await asgi.ask(token, "tools/call", {"name": tool, "arguments": {}})
    session = {"mcp-session-id": token} if initialized else {}
    scope = asgi.scope({"content-type": "application/json", "accept": BOTH, **session})
    tracemalloc.start()
    try:
        answered = await asgi.send(scope, body)
        return answered, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


EVERYWHERE = {
    "argument that nobody knows": call("hello", b'{"data":%s}' % ARRAYS),
    "argument of a hand-made schema": call("by_hand", b'{"data":%s}' % ARRAYS),
    "argument that is taken": call("keep", b'{"data":%s}' % ARRAYS),
    "argument of another type": call("length", b'{"text":%s}' % ARRAYS),
    "arguments": call("hello", ARRAYS),
    "_meta": mine(b'"method":"ping","params":{"_meta":{"progressToken":[],"z":%s}}'),
    "prompt": mine(b'"method":"prompts/get","params":{"name":"greet","arguments":{"who":%s}}'),
    "answer to a question": mine(b'"result":{"action":"accept","content":{"a":%s}}'),
    "another member": mine(b'"method":"ping","more":%s'),
    "no message": mine(b'"method":1,"more":%s'),
    "capabilities": mine(
        b'"method":"initialize","params":{"protocolVersion":"2025-11-25",'
        b'"capabilities":{"experimental":{"z":{"a":%s}}},"clientInfo":{"name":"c","version":"1"}}'
    ),
}


@pytest.mark.parametrize("where", EVERYWHERE)
def test_a_million_arrays_are_built_nowhere(where: str) -> None:
    answered, memory = asyncio.run(send(EVERYWHERE[where], initialized=where != "capabilities"))
    assert answered.status == 413
    said = json.loads(answered.body)
    assert (said["id"], said["error"]["code"]) == ("mine", -32600)
    assert "arrays and objects" in said["error"]["message"]
    assert memory < 3 * SIZE


@pytest.mark.parametrize("body", [ARRAYS, b"[" + b"1," * (SIZE // 2) + b"1]"], ids=["arrays", "numbers"])
def test_nor_is_an_array_that_would_be_a_batch(body: bytes) -> None:
    answered, memory = asyncio.run(send(body))
    assert answered.status in (400, 413)
    assert json.loads(answered.body)["error"]["code"] == -32600
    assert memory < 3 * SIZE


@pytest.mark.parametrize(
    ("tool", "told"),
    [
        ("hello", '"data" is not an argument of this tool (it takes: x)'),
        ("by_hand", '"data" is not an argument of this tool'),
    ],
)
@pytest.mark.parametrize("value", [STRINGS, TEXT], ids=["strings", "text"])
def test_an_unknown_name_is_refused_for_its_name(tool: str, told: str, value: bytes) -> None:
    """However large what it stands for is: a million strings took 63 MB and a tenth of a second."""
    answered, memory = asyncio.run(send(call(tool, b'{"x":2,"data":%s}' % value)))
    assert told in json.loads(answered.body)["result"]["content"][0]["text"]
    assert memory < 4 * SIZE


def test_what_else_is_wrong_is_said_as_well() -> None:
    answered, _ = asyncio.run(send(call("hello", b'{"x":"no","data":%s}' % STRINGS)))
    text = json.loads(answered.body)["result"]["content"][0]["text"]
    assert '"data" is not an argument' in text
    assert '"x" should be integer, got string "no"' in text


def test_of_a_hundred_thousand_unknown_names_few_are_told() -> None:
    arguments = b"{%s}" % b",".join(b'"k%d":0' % number for number in range(100_000))
    answered, _ = asyncio.run(send(call("hello", arguments)))
    assert len(answered.body) < 4096


@pytest.mark.parametrize(
    ("tool", "arguments", "result"),
    [
        ("length", b'{"text":%s}' % TEXT, SIZE // 5 * 3),
        ("keep", b'{"data":%s}' % STRINGS, "list"),
        ("keep", b'{"data":[%s,%s]}' % (b",".join([b"[1.5,2.5]"] * 100_000), TEXT[:2_500_001] + b'"'), "list"),
        ("anything", b'{"a":%s,"b":1}' % TEXT, ["a", "b"]),
        ("renamed", b'{"the x":5,%s"the x":7}' % (b" " * 100_000), 7),
        ("hello", b'{"x":%s1}' % (b" " * 100_000), "hello"),
    ],
    ids=["brackets in text", "strings", "100,000 pairs", "any name", "another name", "space"],
)
def test_what_is_honest_is_served(tool: str, arguments: bytes, result: Any) -> None:
    answered, _ = asyncio.run(send(call(tool, arguments)))
    said = json.loads(answered.body)
    assert "result" in said, said
    assert said["result"].get("structuredContent") == {"result": result}, said["result"]["content"]


@pytest.mark.parametrize(
    "body",
    [
        call("h" * SIZE, b"{}"),
        b'{"jsonrpc":"2.0","id":1,"method":"%s"}' % (b"m" * SIZE),
        call("hello", b'{"%s":1}' % (b"n" * SIZE)),
        call("hello", b'{"x":"%s"}' % (b"v" * SIZE)),
        b'{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"%s"}}' % (b"l" * SIZE),
        b'{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"%s"}}' % (b"p" * SIZE),
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"%s"}}' % (b"c" * SIZE),
    ],
    ids=["tool", "method", "argument", "value", "level", "prompt", "cursor"],
)
def test_no_error_embeds_what_was_sent(body: bytes) -> None:
    answered, _ = asyncio.run(send(body))
    assert len(answered.body) < 4096
    said = json.loads(answered.body)
    assert "error" in said or said["result"]["isError"] is True


class TestCounting:
    @pytest.mark.parametrize(
        "body",
        [
            b'{"a":"' + b"[" * 200_000 + b'"}',
            b'{"a":"' + b'\\"[' * 200_000 + b'"}',
            b"[" + b",".join([b'"[{"'] * 50_000) + b"]",
            b"[" + b",".join([b"{}"] * 60_000) + b" " * 100_000 + b"]",
        ],
    )
    def test_brackets_in_strings_do_not_count(self, body: bytes) -> None:
        check_values(body)

    @pytest.mark.parametrize(
        "body",
        [
            b"[" + b",".join([b"{}"] * 70_000) + b"]",
            b'["",' + b",".join([b'["\\\\"]'] * 70_000) + b"]",
            b'["\\\\\\"",' + b",".join([b"[]"] * 70_000) + b"]",
        ],
    )
    def test_those_outside_do(self, body: bytes) -> None:
        json.loads(body)
        with pytest.raises(RpcError, match="at most 65536 arrays and objects"):
            check_values(body)

    @pytest.mark.parametrize(
        "body",
        [
            b"[" * 200_000 + b'"' + b'\\"' * 1_000_000,
            b'"' + b"[\\" * 1_000_000,
            b'{"a":"' + b"[" * 70_000 + b'\\"' * 1_000_000,
        ],
    )
    def test_a_string_without_an_end_is_searched_once(self, body: bytes) -> None:
        """Searching anew from each escaped quote would take hours."""
        with pytest.raises(RpcError) as refused:
            check_values(body)
            raise RpcError(-32700, "not counted")
        assert refused.value.code in (-32700, -32600)


def test_over_a_pipe_as_well() -> None:
    async def main() -> list[bytes]:
        written: list[bytes] = []

        async def write(message: bytes) -> None:
            written.append(message)

        class Outlet:
            is_congested = False

            def push(self, message: bytes) -> bool:
                written.append(message)
                return True

            send = push

            async def wait_for_room(self) -> None:
                return

            def close_connection(self, retry: float | None) -> bool:
                return False

        connection = Connection(app.dispatcher, Outlet(), write)
        connection.feed(call("keep", b'{"data":%s}' % ARRAYS))
        connection.feed(json.dumps(request_of("ping", None, 2, None)).encode())
        while len(written) < 2:
            await asyncio.sleep(0)
        return written

    refused, pong = map(json.loads, asyncio.run(main()))
    assert (refused["id"], refused["error"]["code"]) == ("mine", -32600)
    assert pong["result"] == {}


CALL: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
NAMED: dict[str, Any] = {"name": "length", "arguments": {"text": "é\n" * 50}}


class TestInOnePass:
    """What is read in one pass is what the usual way makes of it; all else is left to that."""

    @pytest.mark.parametrize(
        "message",
        [
            {**CALL, "params": NAMED},
            {**CALL, "id": "1", "params": {"name": "x"}, "more": [1]},
            {**CALL, "params": {**NAMED, "_meta": {"progressToken": 7, "own": None}}},
            {**CALL, "params": {**NAMED, "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}},
            {**CALL, "params": {**NAMED, "_meta": {"progressToken": []}}},
            {**CALL, "params": {**NAMED, "_meta": 1}},
            {**CALL, "params": {**NAMED, "inputResponses": {"a": {"b": 1}}, "requestState": "s"}},
        ],
        ids=["plain", "more-members", "meta", "a-claim", "wrong-meta", "meta-that-is-no-object", "a-retry"],
    )
    def test_calls(self, message: dict[str, Any]) -> None:
        body = json.dumps(message, ensure_ascii=False).encode()
        envelope = decode(body)
        assert isinstance(envelope, Envelope)
        assert decode_call(body) == parse_message(envelope)

    @pytest.mark.parametrize(
        "body",
        [
            json.dumps({**CALL, "method": "tools/list", "params": {}}),
            json.dumps({key: value for key, value in CALL.items() if key != "id"} | {"params": NAMED}),
            json.dumps({**CALL, "params": {**NAMED, "task": None}}),
            json.dumps({**CALL, "params": {"arguments": {}}}),
            json.dumps({**CALL, "params": None}),
            json.dumps({**CALL, "params": NAMED, "result": {}}),
            json.dumps({**CALL, "params": NAMED, "jsonrpc": "1.0"}),
            json.dumps([{**CALL, "params": NAMED}]),
            "\ufeff" + json.dumps({**CALL, "params": NAMED}),
            json.dumps({**CALL, "params": NAMED})[:-1],
            json.dumps({**CALL, "params": {"name": "x", "a": "a"}}).encode().replace(b'"a"}', b'"\xff"}'),
            json.dumps({**CALL, "params": {"name": "x", "a": 0}}).replace("0", "[" * 9_999 + "]" * 9_999),
        ],
        ids=[
            *("another-method", "a-notification", "null", "no-name", "no-params", "a-result", "another-version"),
            *("a-batch", "a-byte-order-mark", "cut", "no-utf-8", "too-deep"),
        ],
    )  # fmt: skip
    def test_others(self, body: str | bytes) -> None:
        assert decode_call(body if isinstance(body, bytes) else body.encode()) is None
