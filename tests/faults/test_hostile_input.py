"""Input that was made to hurt, or by somebody in a hurry: each has one clear outcome, and the server lives on.

The rows are the reference system's (D4, D5, D7, D17, D20, D41) and more of their kind. Every row is sent in both
eras over both transports; where the outcome is not the same everywhere, the row says so.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from support.harness import PROBE_SERVER, Http, McpClient, Stdio, StdioMcpClient
from support.http_client.connection import stateless_meta

PARSE, INVALID, NO_METHOD, BAD_PARAMS, MISMATCH = -32700, -32600, -32601, -32602, -32020
OK, FAILED = "result", "isError"

DEEP = 100_000


@dataclass(frozen=True)
class Row:
    """One input.

    Attributes:
        name: of the defect or rule, and the input.
        body: makes the bytes for a way in.
        expected: outcomes that are right; an error code, `OK`, or `FAILED` (a result with `isError`).
        id: of the response.
        method: header `Mcp-Method`, where there are headers.
        tool: header `Mcp-Name`.
    """

    name: str
    body: Callable[[McpClient], bytes]
    expected: tuple[int | str, ...]
    id: Any = 1
    method: str = "tools/call"
    tool: str | None = "echo"


def members(client: McpClient, *more: bytes) -> bytes:
    """Return the params of a request in the era of a line."""
    meta = b'"_meta":' + json.dumps(stateless_meta()).encode()
    return b"{" + b",".join([*more, *([meta] if client.stateless else [])]) + b"}"


Body = Callable[[McpClient], bytes]


def call(arguments: bytes = b'{"text":"x"}', *, id: bytes = b"1", tool: bytes = b'"echo"') -> Body:
    """Return what makes a `tools/call` of raw parts."""

    def make(client: McpClient) -> bytes:
        params = members(client, b'"name":' + tool, b'"arguments":' + arguments)
        return b'{"jsonrpc":"2.0","id":' + id + b',"method":"tools/call","params":' + params + b"}"

    return make


def envelope(text: bytes) -> Body:
    """Return what makes a body in which `PARAMS` stands for the params of the era."""
    return lambda line: text.replace(b"PARAMS", members(line))


def listing(name: str, text: bytes, *expected: int | str, id: Any = 1) -> Row:
    """Return a row for a `tools/list` written out."""
    return Row(name, envelope(text), expected, id, "tools/list", None)


def nested(before: bytes, after: bytes = b"") -> bytes:
    return before + b"[" * DEEP + b"]" * DEEP + after


MANY = b"{" + b",".join(b'"k%d":1' % n for n in range(10_000)) + b"}"
LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":PARAMS}'
LONG = b'"' + b"n" * 100_000 + b'"'

IDS = [
    Row("D7 id 0", call(id=b"0"), (OK,), 0),
    Row("D7 id empty", call(id=b'""'), (OK,), ""),
    Row("id -1", call(id=b"-1"), (OK,), -1),
    Row("id 2^53", call(id=b"9007199254740992"), (OK,), 2**53),
    Row("id 2^63-1", call(id=b"9223372036854775807"), (OK,), 2**63 - 1),
    Row("id of 400 digits", call(id=b"9" * 400), (OK,), 10**400 - 1),
    Row("id of 5000 digits", call(id=b"9" * 5000), (PARSE,), None),
    Row("id with NUL", call(id=b'"a\\u0000b"'), (OK,), "a\0b"),
    Row("id not ASCII", call(id='"né\u2028"'.encode()), (OK,), "né\u2028"),
    Row("id _GET_stream (D4)", call(id=b'"_GET_stream"'), (OK,), "_GET_stream"),
    Row("E-33 id null", call(id=b"null"), (INVALID,), None),
    Row("E-33 id 1.5", call(id=b"1.5"), (INVALID,), None),
    Row("E-33 id 1.0", call(id=b"1.0"), (INVALID,), None),
    Row("E-33 id true", call(id=b"true"), (INVALID,), None),
    Row("E-33 id []", call(id=b"[]"), (INVALID,), None),
    Row("id half a character", call(id=b'"\\ud800"'), (PARSE, INVALID), None),
]

ENVELOPES = [
    listing("D17 {}", b"{}", INVALID, id=None),
    listing("D17 []", b"[]", INVALID, id=None),
    listing("D17 foo", b'{"foo":1}', INVALID, id=None),
    listing("D17 jsonrpc 1.0", LIST.replace(b"2.0", b"1.0"), INVALID),
    listing("D17 jsonrpc 2.0 as a number", LIST.replace(b'"2.0"', b"2.0"), INVALID),
    listing("D17 no jsonrpc", LIST.replace(b'"jsonrpc":"2.0",', b""), INVALID),
    listing("D17 method 5", b'{"jsonrpc":"2.0","id":1,"method":5}', INVALID),
    listing("D17 method null", b'{"jsonrpc":"2.0","id":1,"method":null}', INVALID),
    listing("id alone", b'{"jsonrpc":"2.0","id":1}', INVALID),
    listing("twice the same key", LIST.replace(b'"id":1', b'"id":2,"id":1'), OK),
    listing("members nobody knows", LIST.replace(b'"id":1', b'"id":1,"x":[]'), OK),
    listing("something after it", LIST + b"{}", PARSE, id=None),
    listing("cut short", LIST[:-1], PARSE, id=None),
    listing("BOM", b"\xef\xbb\xbf" + LIST, OK),
    listing("BOM twice", 2 * b"\xef\xbb\xbf" + LIST, PARSE, id=None),
    listing(
        "UTF-16", b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'.decode().encode("utf-16"), PARSE, id=None
    ),
    listing("D20 bad UTF-8", b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe","params":PARAMS}', PARSE, id=None),
    listing("D20 bad UTF-8 in a key", b'{"\xff":1,"jsonrpc":"2.0","id":1,"method":"tools/list"}', PARSE, id=None),
    listing("NUL bytes", b"\0\0\0\0", PARSE, id=None),
    listing("D20 deep body", nested(b""), PARSE, id=None),
    listing("D20 deep unfinished body", b"[" * DEEP, PARSE, id=None),
    listing("D20 deep objects", b'{"a":' * DEEP, PARSE, id=None),
    listing("D20 deep unknown member", nested(b'{"jsonrpc":"2.0","id":1,"x":', b"}"), PARSE, id=None),
    listing("long method", LIST.replace(b'"tools/list"', LONG), NO_METHOD, MISMATCH),
    listing("empty method", LIST.replace(b"tools/list", b""), NO_METHOD, MISMATCH),
    listing("R-711 method with a line break", LIST.replace(b"/list", b"/list\\r\\nX: 1"), NO_METHOD, MISMATCH),
]

PARAMS = [
    listing("D41 null params", b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}', OK, BAD_PARAMS),
    listing("D41 no params", b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', OK, BAD_PARAMS),
    listing("D41 [] params", b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}', INVALID),
    listing("D41 no name", LIST.replace(b"tools/list", b"tools/call"), BAD_PARAMS, MISMATCH),
    listing("_meta 5", b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":5}}', BAD_PARAMS),
    listing("_meta []", b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":[]}}', BAD_PARAMS),
    Row("name 5", call(tool=b"5"), (BAD_PARAMS, MISMATCH)),
    Row("name null", call(tool=b"null"), (BAD_PARAMS, MISMATCH)),
    Row("name half a character", call(tool=b'"\\ud800"'), (BAD_PARAMS, MISMATCH, PARSE)),
    Row("long name", call(tool=LONG), (BAD_PARAMS, MISMATCH)),
    Row("no such tool", call(tool=b'"nobody"'), (BAD_PARAMS,), tool="nobody"),
    listing("cursor 5", b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":5}}', BAD_PARAMS),
    listing("D20 deep params", LIST.replace(b"PARAMS", nested(b'{"x":', b"}")), INVALID),
    Row("D20 bad UTF-8 in params", call(b'{"text":"x"},"x":"\xff"'), (PARSE,), None),
]

ARGUMENTS = [
    Row("D20 bad UTF-8 in arguments", call(b'{"text":"\xc3\x28"}'), (PARSE,), None),
    Row("D20 an overlong character", call(b'{"text":"\xc0\xaf"}'), (PARSE,), None),
    Row("D20 deep arguments", call(nested(b'{"text":', b"}")), (INVALID, FAILED)),
    Row("arguments []", call(b"[]"), (FAILED, BAD_PARAMS)),
    Row("arguments 5", call(b"5"), (FAILED, BAD_PARAMS)),
    Row("arguments null", call(b"null"), (FAILED,)),
    Row("NaN", call(b'{"a":NaN,"b":1}', tool=b'"add"'), (PARSE, FAILED), tool="add"),
    Row("Infinity", call(b'{"a":Infinity,"b":1}', tool=b'"add"'), (PARSE, FAILED), tool="add"),
    Row("1e999", call(b'{"a":1e999,"b":1}', tool=b'"add"'), (PARSE, FAILED), tool="add"),
    Row("5000 digits", call(b'{"a":' + b"9" * 5000 + b',"b":1}', tool=b'"add"'), (FAILED, PARSE), tool="add"),
    Row("30 digits", call(b'{"a":' + b"9" * 30 + b',"b":1}', tool=b'"add"'), (OK, FAILED), tool="add"),
    Row("half a character", call(b'{"text":"\\ud800"}'), (FAILED, PARSE)),
    Row("a pair the wrong way round", call(b'{"text":"\\udc00\\ud800"}'), (FAILED, PARSE)),
    Row("NUL", call(b'{"text":"a\\u0000b"}'), (OK,)),
    Row("a raw control character", call(b'{"text":"a\tb"}'), (FAILED, PARSE)),
    Row("10,000 keys", call(MANY, tool=b'"anything"'), (OK,), tool="anything"),
    Row("10,000 unknown keys (D40)", call(MANY), (FAILED,)),
    Row("D47 names of ours", call(b'{"text":"x","self":1,"context":1,"func":1}'), (FAILED,)),
]

ROWS = [*IDS, *ENVELOPES, *PARAMS, *ARGUMENTS]


def outcome(message: dict[str, Any]) -> int | str:
    if "error" in message:
        code: int = message["error"]["code"]
        return code
    return FAILED if message["result"].get("isError") else OK


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_one_clear_outcome(client: McpClient, row: Row) -> None:
    message = client.raw(row.body(client), method=row.method, name=row.tool)
    assert outcome(message) in row.expected, message
    if outcome(message) == PARSE:
        assert message["id"] is None, "C-18: what cannot be parsed has no readable id"
    else:
        assert (type(message["id"]), message["id"]) == (type(row.id), row.id)
    text = json.dumps(message)
    assert len(text) < 300_000, "an error does not repeat everything that was sent"
    assert "Traceback" not in text
    assert "/" + "site-packages" not in text
    assert "tools" in client.ask("tools/list").result


def test_what_cannot_be_said_in_the_other_era(client: McpClient) -> None:
    """D41: null params are no params; only the stateless era misses the metadata that would be in them."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}'
    if client.stateless and not client.over_http:
        pytest.skip("on stdio the metadata is what makes the era")
    assert outcome(client.raw(body, method="tools/list")) == (BAD_PARAMS if client.stateless else OK)


def test_one_and_its_text_are_two_ids(client: McpClient) -> None:
    """D5: `1` and `"1"` in flight together, answered in the other order."""
    number, text = client.starts("wait", id=1, name="number"), client.starts("wait", id="1", name="text")
    client.until("number", "entered")
    client.until("text", "entered")
    client.call("release", name="text")
    client.until("text", "finished")
    client.call("release", name="number")
    assert (number().text, text().text) == ("number released", "text released")


def test_the_same_id_twice_in_flight(client: McpClient) -> None:
    """D5b, R-307, R-210, R-413: both are served, and neither disturbs the other.

    Clients must not do so, but some that people have do: each conversation of a shared session counts from 1.
    """
    name = f"twice-{client.revision}-{client.over_http}"
    first = client.starts("wait", id="same", name=name)
    client.until(name, "entered")
    second = client.call("echo", id="same", text="me too")
    assert second.text == "me too"
    client.call("release", name=name)
    assert first().text == f"{name} released"
    assert client.call("echo", id="same", text="again").text == "again", "a finished id may come again"


def test_80_megabytes_over_http(http: Http) -> None:
    """D20, E-38: refused by its announced length, before it has arrived."""
    with http.raw(
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 83886080\r\n\r\n" + b" " * 65536
    ) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert http.modern("tools/list").status == 200


def test_80_megabytes_over_stdio(client: McpClient) -> None:
    """D20: a line that is too long is skipped, not collected."""
    if not isinstance(client, StdioMcpClient):
        pytest.skip("a line is of stdio")
    process = psutil.Process(client.stdio.process.pid)
    before = process.memory_info().rss
    message = client.raw(b" " * (80 * 1024 * 1024) + b"{}")
    assert (outcome(message), message["id"]) == (INVALID, None)
    assert process.memory_info().rss - before < 40 * 1024 * 1024
    assert "tools" in client.ask("tools/list").result


def test_lines_around_the_limit() -> None:
    """A line of exactly the limit is served, one byte more is not, and neither eats its neighbours."""
    limit = 2048

    def padded(size: int) -> bytes:
        body = b'{"jsonrpc":"2.0","id":"long","method":"ping"}'
        return body[:-1] + b" " * (size - len(body)) + b"}"

    env = {"ENFILADE_BODY_LIMIT": str(limit)}
    with Stdio([sys.executable, str(PROBE_SERVER), "stdio"], env) as stdio:
        stdio.send(padded(limit))
        assert stdio.read() == {"jsonrpc": "2.0", "id": "long", "result": {}}
        for size in (limit + 1, 10 * limit, 200_000):
            stdio.send({"jsonrpc": "2.0", "id": 1, "method": "ping"})
            stdio.send(padded(size))
            answers = {answer["id"]: answer for answer in (stdio.read(), stdio.read())}
            assert set(answers) == {1, None}
            assert answers[None]["error"]["code"] == INVALID
            assert str(limit) in answers[None]["error"]["message"]


@pytest.mark.parametrize(
    "head",
    [
        b"Mcp-Session-Id: a\r\nX-Evil: 1",
        b"Mcp-Session-Id: a\rX-Evil: 1",
        b"Mcp-Protocol-Version: 2025-11-25\nX-Evil: 1",
        b"Mcp-Name: =?base64?DQpYLUV2aWw6IDE=?=",
        b"Origin: http://localhost\r\nOrigin: http://localhost\r\n X-Evil: 1",
        b"Access-Control-Request-Headers: x\r\n\tX-Evil: 1",
    ],
)
@pytest.mark.parametrize("verb", [b"POST", b"OPTIONS", b"DELETE"])
def test_header_injection(http: Http, head: bytes, verb: bytes) -> None:
    """R-711: nothing that a client sends becomes a header of the response."""
    request = b" /mcp HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nConnection: close\r\n"
    with http.raw(verb + request + head + b"\r\nContent-Length: 0\r\n\r\n") as connection:
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"\nx-evil" not in answer.lower().partition(b"\r\n\r\n")[0].replace(b"\r", b"\n")
    assert http.modern("tools/list").status == 200
