"""The limit: the least work that still answers MCP rightly, free of any HTTP server.

`limit_uvicorn.py` and `limit_protocol.py` put it behind HTTP, so what differs between those two is HTTP alone.
The easy thing to get wrong is to make it cheaper than right: a session must be known, headers must agree with
the body (2026-07-28), arguments are decoded into the tool's own types, and a result has its text and its
structure.
"""

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

Headers = Mapping[bytes, bytes]
#: Status, body, id of a new session, and the events of a stream, which then is the answer instead of the body.
Answer = tuple[int, bytes, bytes | None, Iterator[bytes] | None]

STATELESS: Final = "2026-07-28"
_HEADER_MISMATCH: Final = -32020
_ABSENT: Final = Raw()
_SESSIONS: set[bytes] = set()


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


class Call(Struct):
    name: str
    arguments: Raw = Raw(b"{}")
    meta: Meta = msgspec.field(name="_meta", default_factory=Meta)


class Text(Struct, tag_field="type", tag="text"):
    text: str


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


class EchoArguments(Struct):
    text: str


class CountArguments(Struct):
    n: int


async def echo(arguments: EchoArguments) -> str:
    return arguments.text


_message = msgspec.json.Decoder(Message).decode
_call = msgspec.json.Decoder(Call).decode
_count = msgspec.json.Decoder(CountArguments).decode
_encode = msgspec.json.Encoder().encode
_TOOLS: dict[str, tuple[Callable[[Any], Awaitable[str]], Callable[[Raw], Any]]] = {
    "echo": (echo, msgspec.json.Decoder(EchoArguments).decode)
}


async def answered(body: bytes, headers: Headers) -> Answer:
    """Return the answer to one POST; header names are in lower case."""
    try:
        message = _message(body)
        if message.method == "tools/call":
            return await _called(message, headers)
    except msgspec.MsgspecError as error:
        return _failed(None, -32600, str(error))
    if message.method == "initialize":
        session = os.urandom(16).hex().encode()
        _SESSIONS.add(session)
        return 200, _encode(Reply(message.id, _OPENING)), session, None
    if message.id is None:
        return (202 if headers.get(b"mcp-session-id") in _SESSIONS else 404), b"", None, None
    return _failed(message.id, -32601, "unknown method", 404)


_OPENING: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "limit", "version": "1"},
}


async def _called(message: Message, headers: Headers) -> Answer:
    call = _call(message.params)
    stateless = headers.get(b"mcp-protocol-version") == STATELESS.encode()
    if stateless:
        if not _agrees(call, headers):
            return _failed(message.id, _HEADER_MISMATCH, "headers and body disagree")
    elif headers.get(b"mcp-session-id") not in _SESSIONS:
        return _failed(message.id, -32600, "unknown session", 404)
    if (events := _EVENTS.get(call.name)) is not None:
        return 200, b"", None, events(message.id, call, stateless)
    if call.name not in _TOOLS:
        return _failed(message.id, -32602, "unknown tool", 400 if stateless else 200)
    tool, arguments = _TOOLS[call.name]
    text = await tool(arguments(call.arguments))
    return 200, _result(message.id, text, text, stateless), None, None


def _agrees(call: Call, headers: Headers) -> bool:
    return (
        call.meta.revision == STATELESS
        and call.meta.capabilities is not _ABSENT
        and headers.get(b"mcp-method") == b"tools/call"
        and headers.get(b"mcp-name") == call.name.encode()
    )


def _result(request: int | str | None, text: str, value: Any, stateless: bool) -> bytes:
    result = Result([Text(text)], {"result": value}, "complete" if stateless else None)
    return _encode(Reply(request, result))


def _failed(request: int | str | None, code: int, why: str, status: int = 400) -> Answer:
    error = {"jsonrpc": "2.0", "id": request, "error": {"code": code, "message": why}}
    return status, _encode(error), None, None


def _counting(request: int | str | None, call: Call, stateless: bool) -> Iterator[bytes]:
    """Yield a progress report for each number up to n, and then the result."""
    n, token = _count(call.arguments).n, call.meta.token
    if token is not None:
        for number in range(1, n + 1):
            yield _event(_encode(Notification("notifications/progress", ProgressParams(token, number, n))))
    yield _event(_result(request, str(n), n, stateless))


def _telling(request: int | str | None, call: Call, stateless: bool) -> Iterator[bytes]:
    """Yield a log message for each number up to n, and then the result."""
    n = _count(call.arguments).n
    for number in range(1, n + 1):
        yield _event(_encode(Notification("notifications/message", LogParams("info", str(number)))))
    yield _event(_result(request, str(n), n, stateless))


_EVENTS = {"count": _counting, "tell": _telling}


def _event(payload: bytes) -> bytes:
    return b"event: message\ndata: " + payload + b"\n\n"
