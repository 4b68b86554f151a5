"""The limit: the least work that still answers MCP rightly, free of any HTTP server.

`limit_uvicorn.py` and `limit_protocol.py` put it behind HTTP, so what differs between those two is HTTP alone.
A call is decoded in one pass into the types of its tool, a large text is encoded once for both places that have
it, and events go together for as long as more are ready. The easy thing to get wrong is to make it cheaper than
right: a session must be known, headers must agree with the body (2026-07-28), and a result has its text and its
structure.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Literal

import msgspec
from msgspec import Raw, Struct

Headers = Mapping[bytes, bytes]
#: Status, body, id of a new session, and the parts of a stream, which then is the answer instead of the body.
Answer = tuple[int, bytes, bytes | None, Iterator[bytes] | None]

STATELESS: Final = "2026-07-28"
_HEADER_MISMATCH: Final = -32020
_ABSENT: Final = Raw()
_SESSIONS: set[bytes] = set()
_METHOD_WITHIN: Final = 128  # bytes at the beginning of a body in which clients name the method
_LARGE_TEXT: Final = 4096  # characters from which on encoding it twice takes longer than copying it
_BATCH: Final = 65_536  # bytes of events after which a stream waits for its reader


class Message(Struct):
    jsonrpc: Literal["2.0"]
    method: str
    id: int | str | None = None
    params: Raw = Raw(b"{}")


class Meta(Struct):
    revision: str | None = msgspec.field(name="io.modelcontextprotocol/protocolVersion", default=None)
    client: Raw = msgspec.field(name="io.modelcontextprotocol/clientInfo", default=_ABSENT)
    capabilities: Raw = msgspec.field(name="io.modelcontextprotocol/clientCapabilities", default=_ABSENT)
    token: int | str | None = msgspec.field(name="progressToken", default=None)


class EchoArguments(Struct):
    text: str


class CountArguments(Struct):
    n: int


class Params(Struct, tag_field="name", kw_only=True):
    """Of a call: the name of the tool says which arguments follow."""

    tool: ClassVar[bytes]
    meta: Meta = msgspec.field(name="_meta", default_factory=Meta)


class Echo(Params, tag="echo"):
    tool = b"echo"
    arguments: EchoArguments


class Count(Params, tag="count"):
    tool = b"count"
    arguments: CountArguments


class Tell(Params, tag="tell"):
    tool = b"tell"
    arguments: CountArguments


class Call(Struct):
    jsonrpc: Literal["2.0"]
    id: int | str
    method: Literal["tools/call"]
    params: Echo | Count | Tell


class Text(Struct, tag_field="type", tag="text"):
    text: str | Raw


class Result(Struct, rename="camel", omit_defaults=True):
    content: list[Text]
    structured_content: dict[str, Any]
    result_type: str | None = None


class Reply(Struct):
    id: int | str | None
    result: Any
    jsonrpc: str = "2.0"


class Notification(Struct):
    method: str
    params: Any
    jsonrpc: str = "2.0"


class ProgressParams(Struct, rename="camel"):
    progress_token: int | str
    progress: float
    total: float


class LogParams(Struct):
    level: str
    data: str


async def echo(arguments: EchoArguments) -> str:
    return arguments.text


_message = msgspec.json.Decoder(Message).decode
_call = msgspec.json.Decoder(Call).decode
_encode = msgspec.json.Encoder().encode


async def answered(body: bytes, headers: Headers) -> Answer:
    """Return the answer to one POST; header names are in lower case."""
    try:
        if body.find(b"tools/call", 0, _METHOD_WITHIN) >= 0:
            return await _called(_call(body), headers)
    except msgspec.MsgspecError:
        pass  # another method, a call of no such tool, or with wrong arguments
    try:
        message = _message(body)
    except msgspec.MsgspecError as error:
        return _failed(None, -32600, str(error))
    if message.method == "initialize":
        session = os.urandom(16).hex().encode()
        _SESSIONS.add(session)
        return 200, _encode(Reply(message.id, _OPENING)), session, None
    if message.id is None:
        return (202 if headers.get(b"mcp-session-id") in _SESSIONS else 404), b"", None, None
    if message.method == "tools/call":
        return _failed(message.id, -32602, "unknown tool, or wrong arguments")
    return _failed(message.id, -32601, "unknown method", 404)


_OPENING: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "limit", "version": "1"},
}


async def _called(call: Call, headers: Headers) -> Answer:
    params = call.params
    stateless = headers.get(b"mcp-protocol-version") == STATELESS.encode()
    if stateless:
        if not _agrees(params, headers):
            return _failed(call.id, _HEADER_MISMATCH, "headers and body disagree")
    elif headers.get(b"mcp-session-id") not in _SESSIONS:
        return _failed(call.id, -32600, "unknown session", 404)
    if type(params) is Echo:
        text = await echo(params.arguments)
        return 200, _result(call.id, text, text, stateless), None, None
    events = _counting if type(params) is Count else _telling
    return 200, b"", None, _together(events(call.id, params, stateless))


def _agrees(params: Params, headers: Headers) -> bool:
    return (
        params.meta.revision == STATELESS
        and params.meta.capabilities is not _ABSENT
        and headers.get(b"mcp-method") == b"tools/call"
        and headers.get(b"mcp-name") == params.tool
    )


def _result(request: int | str, text: str, value: Any, stateless: bool) -> bytes:
    shown: str | Raw = text
    if len(text) > _LARGE_TEXT:
        value = shown = Raw(_encode(text))
    result = Result([Text(shown)], {"result": value}, "complete" if stateless else None)
    return _encode(Reply(request, result))


def _failed(request: int | str | None, code: int, why: str, status: int = 400) -> Answer:
    error = {"jsonrpc": "2.0", "id": request, "error": {"code": code, "message": why}}
    return status, _encode(error), None, None


def _counting(request: int | str, params: Any, stateless: bool) -> Iterator[bytes]:
    """Yield a progress report for each number up to n, and then the result."""
    n, token = params.arguments.n, params.meta.token
    if token is not None:
        for number in range(1, n + 1):
            yield _encode(Notification("notifications/progress", ProgressParams(token, number, n)))
    yield _result(request, str(n), n, stateless)


def _telling(request: int | str, params: Any, stateless: bool) -> Iterator[bytes]:
    """Yield a log message for each number up to n, and then the result."""
    n = params.arguments.n
    for number in range(1, n + 1):
        yield _encode(Notification("notifications/message", LogParams("info", str(number))))
    yield _result(request, str(n), n, stateless)


def _together(payloads: Iterator[bytes]) -> Iterator[bytes]:
    """Yield events for payloads: those that are ready together, up to about `_BATCH` bytes at a time."""
    parts: list[bytes] = []
    size = 0
    for payload in payloads:
        parts += (b"event: message\ndata: ", payload, b"\n\n")
        size += len(payload)
        if size > _BATCH:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)
