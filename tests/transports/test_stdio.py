"""The cases E-50 to E-59 over real pipes: what comes in as a line, and what is answered, row by row.

Each row is a whole conversation with a process of its own, because on stdio the process is the conversation.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from enfilade.wire.revisions import STATELESS
from support.harness import PROBE_SERVER, Stdio
from support.http_client.connection import CLIENT, request_of, stateless_meta

MODERN = "2026-07-28"
PARSE, INVALID, NO_METHOD, BAD_PARAMS, BAD_VERSION = -32700, -32600, -32601, -32602, -32022


def asked(method: str = "tools/list", id: Any = 1, **meta: Any) -> dict[str, Any]:
    """Return a request that makes a claim."""
    return request_of(method, None, id, stateless_meta(**meta))


def plain(method: str = "tools/list", id: Any = 1) -> dict[str, Any]:
    """Return a request that makes none."""
    return request_of(method, None, id, None)


def opening(version: str = "2025-11-25", id: Any = 1, meta: dict[str, Any] | None = None) -> dict[str, Any]:
    return request_of(
        "initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": CLIENT}, id, meta
    )


@dataclass(frozen=True)
class Error:
    """An error that is expected as an answer."""

    code: int
    id: Any = 1
    data: Any = None


OK = 0
"""Stands for: a result."""

BAD = Error(BAD_VERSION, data={"supported": list(STATELESS), "requested": "2099-01-01"})
ONLY_MODERN = Error(BAD_VERSION, data={"supported": list(STATELESS), "requested": "2025-11-25"})

Row = tuple[Any, int | Error]

CONVERSATIONS: dict[str, list[Row]] = {
    "E-50": [(asked(), OK), (asked("server/discover"), OK)],
    "E-50 removed method": [(asked("ping"), Error(NO_METHOD)), (asked(), OK)],
    "E-51": [(opening(), OK), (plain(), OK), (plain("ping"), OK)],
    "E-51 R-409 discover is unknown to a session": [
        (opening(), OK),
        (plain("server/discover"), Error(NO_METHOD)),
    ],
    "E-52": [(asked(protocolVersion="2099-01-01"), BAD), (asked(), OK)],
    "E-52 then initialize": [(asked(protocolVersion="2099-01-01"), BAD), (opening(), OK)],
    "E-53": [(plain("server/discover"), Error(BAD_PARAMS)), (opening(), OK)],
    "E-54 after discover": [(asked("server/discover"), OK), (opening(), OK), (plain(), OK)],
    "E-54 after more": [(asked(), OK), (opening(), ONLY_MODERN), (asked(), OK)],
    "E-55": [(opening(), OK), (asked(), OK), (plain(), OK)],
    "E-56": [(plain(), Error(BAD_PARAMS)), (opening(), OK), (plain(), OK)],
    "E-56 ping is allowed before (R-304)": [(plain("ping"), OK), (opening(), OK)],
    "E-57 S50": [(b'{"jsonrpc"', Error(PARSE, None)), (b"\xff\xfe", Error(PARSE, None)), (opening(), OK)],
    "E-58 before initialize": [([plain()], Error(INVALID, None)), (opening(), OK)],
    "E-58 2025-03-26": [(opening("2025-03-26"), OK), ([plain(id=5)], OK)],
    "E-58 2025-06-18": [(opening("2025-06-18"), OK), ([plain()], Error(INVALID, None))],
    "E-58 2024-11-05": [(opening("2024-11-05"), OK), ([plain()], Error(INVALID, None))],
    "E-58 modern": [([asked()], Error(INVALID, None)), (asked(), OK)],
    "E-59": [(opening("2024-11-05"), OK), (plain(), OK)],
    "E-14 a second initialize": [(opening(), OK), (opening(), Error(INVALID)), (plain(), OK)],
    "E-10 initialize with a claim": [(opening(meta=stateless_meta()), Error(NO_METHOD)), (opening(), OK)],
    "E-02 no capabilities": [(asked(clientCapabilities=5), Error(BAD_PARAMS)), (opening(), OK)],
    "R-319 a failed initialize": [
        (request_of("initialize", {}, 1, None), Error(BAD_PARAMS)),
        (plain(), Error(BAD_PARAMS)),
        (opening(), OK),
    ],
}


@pytest.mark.parametrize("rows", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_conversation(rows: list[Row]) -> None:
    with Stdio([sys.executable, str(PROBE_SERVER), "stdio"]) as stdio:
        for body, expected in rows:
            stdio.send(body)
            answer = stdio.read()
            if expected == OK:
                assert "result" in answer, answer
            else:
                assert isinstance(expected, Error)
                error = answer["error"]
                assert (error["code"], answer["id"], error.get("data")) == (
                    expected.code,
                    expected.id,
                    expected.data,
                )
        assert stdio.end() == 0, "R-403"
        assert stdio.read_to_end() == []


@pytest.fixture(scope="module")
def pipe() -> Iterator[Stdio]:
    with Stdio([sys.executable, str(PROBE_SERVER), "stdio"]) as stdio:
        yield stdio


@pytest.mark.parametrize(
    ("requested", "answered"),
    [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ],
)
def test_negotiation(requested: str, answered: str) -> None:
    """R-109, R-110, E-59: the client's own revision if it has a handshake that is known, else the newest."""
    with Stdio([sys.executable, str(PROBE_SERVER), "stdio"]) as stdio:
        assert stdio.initialize(requested)["result"]["protocolVersion"] == answered
        assert "result" in stdio.ask("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}, id=2)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param({"jsonrpc": "2.0", "method": "no/such"}, id="unknown notification"),
        pytest.param(
            {"jsonrpc": "2.0", "method": "notifications/cancelled"}, id="malformed cancellation (R-363)"
        ),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": {}}, id="answer to nothing (R-334)"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "m"}}, id="error to nothing"),
        pytest.param(b"", id="empty line"),
        pytest.param(b" \r", id="blank line with a carriage return"),
    ],
)
def test_what_gets_no_answer(pipe: Stdio, line: Any) -> None:
    """The next thing that comes is the answer to the next request."""
    pipe.send(line)
    pipe.send(asked(id="next"))
    assert pipe.read()["id"] == "next"


SLOW_HANDSHAKE = """
import asyncio
from enfilade import MCPApp

async def slow(request, call_next):
    await asyncio.sleep(0.2)
    return await call_next(request)

app = MCPApp("slow", middleware=[slow])
app.run(transport="stdio")
"""


def test_initialize_is_never_cancelled() -> None:
    """R-305: or its client would wait for ever."""
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    with Stdio([sys.executable, "-c", SLOW_HANDSHAKE]) as stdio:
        stdio.send(opening())
        stdio.send(cancel)
        stdio.send(plain("ping", id=2))
        assert [stdio.read()["id"] for _ in range(2)] == [1, 2]
