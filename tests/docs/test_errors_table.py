"""The table of HTTP statuses in `docs/errors.md`: each of its rows is provoked, and no other answer comes."""

import asyncio
from typing import Any

import httpx
import pytest

from enfilade import Context, MCPApp
from enfilade.state.memory import MemoryKeys
from enfilade.state.store import StoreError
from support.docs.pages import ROOT, table
from support.http_client.connection import INITIALIZE

NEW = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": NEW, "io.modelcontextprotocol/clientCapabilities": {}}


class FailingKeys(MemoryKeys):
    """What a store has that is not there when it is needed."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def get(self, key: str) -> bytes | None:
        raise self._error


VERBS = ("GET", "DELETE", "OPTIONS", "PUT")

#: What the store does where a case has one of these words.
FAILURES = {"BROKEN": OSError("no such thing"), "AWAY": StoreError("the store is gone")}


def served() -> MCPApp:
    app = MCPApp(secret="known to all workers, so that each serves every session")

    @app.tool
    def needs_sampling(ctx: Context) -> str:
        ctx.require_capability("sampling")
        return "done"

    return app


def request(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, **({} if params is None else {"params": params})}


def stateless(method: str, claim: str = NEW, **params: Any) -> dict[str, Any]:
    meta = {**META, "io.modelcontextprotocol/protocolVersion": claim}
    headers = {"MCP-Protocol-Version": claim, "Mcp-Method": method}
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    return {"json": request(method, {**params, "_meta": meta}), "headers": headers}


CASES: list[tuple[int, int | None, str, dict[str, Any]]] = [
    (200, None, "POST", stateless("tools/list")),
    (200, -32601, "SESSION", {"json": request("nothing")}),
    (202, None, "SESSION", {"json": {"jsonrpc": "2.0", "method": "notifications/initialized"}}),
    (204, None, "DELETE SESSION", {}),
    (204, None, "OPTIONS", {"headers": {"Origin": "http://localhost"}}),
    (400, -32700, "POST", {"content": "{", "headers": {"Content-Type": "application/json"}}),
    (400, -32600, "POST", {"json": {"jsonrpc": "2.0"}}),
    (400, -32600, "POST", {"json": request("tools/list")}),
    (400, -32600, "POST", {"json": request("tools/list"), "headers": {"MCP-Protocol-Version": "1999-01-01"}}),
    (400, -32602, "POST", {"json": request("tools/list"), "headers": {"MCP-Protocol-Version": NEW}}),
    (400, -32020, "POST", {**stateless("tools/list"), "headers": {"MCP-Protocol-Version": NEW}}),
    (400, -32021, "POST", stateless("tools/call", name="needs_sampling", arguments={})),
    (400, -32022, "POST", stateless("tools/list", claim="2099-01-01")),
    (400, -32600, "GET SESSION", {"headers": {"Last-Event-ID": "unknown"}}),
    (403, -32600, "POST", {**stateless("tools/list"), "headers": {"Origin": "https://evil.example"}}),
    (404, -32600, "POST", {"json": request("tools/list"), "headers": {"Mcp-Session-Id": "unknown"}}),
    (404, -32600, "ELSEWHERE", {"json": request("ping")}),
    (404, -32601, "POST", stateless("nothing")),
    (405, -32600, "PUT", {}),
    (406, -32600, "POST", {"json": request("ping"), "headers": {"Accept": "text/html"}}),
    (413, -32600, "POST", {"content": b" " * 5_000_000, "headers": {"Content-Type": "application/json"}}),
    (415, -32600, "POST", {"content": "{}", "headers": {"Content-Type": "text/plain"}}),
    (421, -32600, "POST", {**stateless("tools/list"), "headers": {"Host": "evil.example"}}),
    (500, -32603, "SESSION BROKEN", {"json": request("tools/list")}),
    (503, -32603, "SESSION AWAY", {"json": request("tools/list")}),
]


async def opened_elsewhere() -> str:
    """Return a session of which the server that is asked has not heard."""
    transport = httpx.ASGITransport(served())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        accept = {"Accept": "application/json, text/event-stream"}
        opened = await client.post("/mcp", json=INITIALIZE, headers=accept)
        return opened.headers["mcp-session-id"]


async def answered(kind: str, options: dict[str, Any]) -> httpx.Response:
    """Send a request; words that are no verb say what else is done for it."""
    words = kind.split()
    app = served()
    url = "/elsewhere" if "ELSEWHERE" in words else "/mcp"
    headers = {"Accept": "application/json, text/event-stream", **options.get("headers", {})}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        if "SESSION" in words:
            headers["Mcp-Session-Id"] = await opened_elsewhere()
        for word in FAILURES.keys() & set(words):
            app.store.keys = FailingKeys(FAILURES[word])
        verb = next((word for word in words if word in VERBS), "POST")
        return await client.request(verb, url, **{**options, "headers": headers})


@pytest.mark.parametrize(
    ("status", "code", "kind", "options"), CASES, ids=[f"{case[0]} {case[1]} {case[2]}" for case in CASES]
)
def test_an_answer_of_the_table(status: int, code: int | None, kind: str, options: dict[str, Any]) -> None:
    response = asyncio.run(answered(kind, options))
    body = response.json() if response.content else {}
    assert (response.status_code, body.get("error", {}).get("code")) == (status, code), body


def test_the_table_has_these_rows_and_no_others() -> None:
    """JSON-RPC errors on 200 belong to the first row, which says so."""
    rows = {
        (int(row[0]), int(row[1]) if row[1] else None) for row in table(ROOT / "docs" / "errors.md", "status")
    }
    assert rows == {(status, None if status == 200 else code) for status, code, _, _ in CASES}
