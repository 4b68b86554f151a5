"""`serving/pagination.py`: one mechanism for four lists (R-532, R-2A1, R-2A5)."""

import base64
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from enfilade import Caching, MCPApp, connect
from enfilade.serving.channel import Peer
from enfilade.serving.pagination import decode_cursor, encode_cursor
from enfilade.serving.request import Request
from enfilade.wire.jsonrpc import RpcError
from enfilade.wire.message import PaginatedRequestParams
from support.harness import McpClient
from support.http_client.asgi_calls import AsgiClient

LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}


def make(monkeypatch: pytest.MonkeyPatch, entries: int = 7, **options: Any) -> MCPApp:
    """Return a server with so many entries in each list, and three on a page."""
    monkeypatch.setenv("ENFILADE_PAGE_SIZE", "3")
    app = MCPApp(caching={method: Caching(ttl=9, scope="public") for method in LISTS}, **options)
    for number in range(entries):
        app.add_tool(lambda: "", name=f"t{number}")
        app.add_prompt(lambda: "", name=f"t{number}")
        app.add_text_resource(f"a://t{number}", "")
        app.add_resource(lambda x: x, f"a://t{number}/{{x}}", name=f"t{number}")
    return app


async def pages(app: MCPApp, method: str) -> list[dict[str, Any]]:
    """Return every page of a list, one after the other."""
    client = AsgiClient(app)
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    while not found or "nextCursor" in found[-1]:
        found.append((await client.modern(method, params)).result)
        params = {"cursor": found[-1].get("nextCursor")}
    return found


@pytest.mark.parametrize(("method", "member"), LISTS.items())
@pytest.mark.parametrize("middleware", [False, True], ids=["ready", "through middleware"])
@pytest.mark.anyio
async def test_every_entry_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, method: str, member: str, middleware: bool
) -> None:
    """R-2A1: on every page the same hints for caching."""

    async def pass_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    app = make(monkeypatch, middleware=[pass_on] if middleware else [])
    for _ in range(2):  # the second time from what was kept
        found = await pages(app, method)
        assert [[each["name"] for each in page[member]] for page in found] == [
            ["t0", "t1", "t2"],
            ["t3", "t4", "t5"],
            ["t6"],
        ]
        assert {(page["ttlMs"], page["cacheScope"]) for page in found} == {(9000, "public")}


@pytest.mark.parametrize(("method", "member"), LISTS.items())
@pytest.mark.anyio
async def test_a_change_is_seen_at_once(monkeypatch: pytest.MonkeyPatch, method: str, member: str) -> None:
    app = make(monkeypatch, entries=4)
    assert len((await pages(app, method))[0][member]) == 3
    for number in range(3):
        app.remove_tool(f"t{number}")
        app.remove_prompt(f"t{number}")
        app.remove_resource(f"a://t{number}")
        app.remove_resource(f"a://t{number}/{{x}}")
    assert [each["name"] for page in await pages(app, method) for each in page[member]] == ["t3"]


@pytest.mark.anyio
async def test_many_tools_are_listed_from_ready_bytes_of_which_each_page_costs_itself_alone() -> None:
    app = MCPApp()

    def work(text: str, count: int = 1) -> str:
        return text * count

    for number in range(2_000):
        app.add_tool(work, name=f"tool_{number}")

    async def page(cursor: Any = UNSET) -> bytes:
        peer = Peer(revision="2026-07-28")
        return await app.dispatcher.dispatch(
            Request(1, "tools/list", PaginatedRequestParams(cursor=cursor), peer)
        )

    first = await page()
    assert sum(tool._define.cache_info().currsize for tool in app.tools) == 100  # type: ignore[attr-defined]
    assert await page() is first
    seen, cursor = 0, UNSET
    while seen < 2_000:
        body = await page(cursor)
        assert await page(cursor) is body
        read = msgspec.json.decode(body)
        seen, cursor = seen + len(read["tools"]), read.get("nextCursor")
    assert cursor is None
    assert seen == 2_000


@pytest.mark.anyio
async def test_a_cursor_is_good_for_another_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-532: it holds the position and nothing of the process, also where pages have another size."""
    cursor = (await pages(make(monkeypatch), "tools/list"))[0]["nextCursor"]
    other = make(monkeypatch)
    monkeypatch.setenv("ENFILADE_PAGE_SIZE", "2")
    other = MCPApp()
    for number in range(7):
        other.add_tool(lambda: "", name=f"t{number}")
    found = await AsgiClient(other).modern("tools/list", {"cursor": cursor})
    assert [each["name"] for each in found.result["tools"]] == ["t3", "t4"]


BAD_CURSORS = {
    "garbage": "!!!",
    "no base64": "a",
    "other text": base64.urlsafe_b64encode(b"x3").decode(),
    "padded": base64.urlsafe_b64encode(b"p3").decode(),
    "first page": "cDA",
    "leading zero": base64.urlsafe_b64encode(b"p03").decode().rstrip("="),
    "negative": base64.urlsafe_b64encode(b"p-3").decode().rstrip("="),
    "digits of another script": base64.urlsafe_b64encode("p٣".encode()).decode().rstrip("="),
    "past the end": encode_cursor(1000),
    "huge": base64.urlsafe_b64encode(b"p" + b"9" * 5000).decode().rstrip("="),
    "a letter outside ASCII": "é",
    "half a surrogate": "\ud800",
}


@pytest.mark.parametrize("cursor", [each for key, each in BAD_CURSORS.items() if key != "past the end"])
def test_only_our_own_cursors_decode(cursor: str) -> None:
    with pytest.raises(RpcError):
        decode_cursor(cursor)


@pytest.mark.parametrize("position", [1, 3, 100, 10**9])
def test_cursors_come_back(position: int) -> None:
    assert decode_cursor(encode_cursor(position)) == position


@pytest.mark.parametrize("method", LISTS)
@pytest.mark.parametrize("cursor", [c for k, c in BAD_CURSORS.items() if k != "half a surrogate"])
def test_a_cursor_that_was_never_given_out(resource_client: McpClient, method: str, cursor: str) -> None:
    """R-532: -32602; what an empty one means is in `test_leniency.py`."""
    error = resource_client.ask(method, {"cursor": cursor}).error
    assert (error["code"], error["message"]) == (-32602, "Invalid params: unknown cursor")


def test_only_lists_can_have_hints() -> None:
    """R-2A0."""
    with pytest.raises(ValueError, match="'tools/call' is none of the lists"):
        MCPApp(caching={"tools/call": Caching(ttl=1)})


@pytest.mark.parametrize(
    ("ttl", "scope"), [(-1, "private"), (float("inf"), "private"), (float("nan"), "private"), (1, "all")]
)
def test_hints_that_cannot_be(ttl: float, scope: Any) -> None:
    with pytest.raises(ValueError):
        Caching(ttl=ttl, scope=scope)


@pytest.mark.anyio
async def test_the_official_client_reads_all_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connect(make(monkeypatch)) as client:
        first = await client.list_prompts()
        assert first.next_cursor is not None
        second = await client.list_prompts(cursor=first.next_cursor)
        assert [each.name for each in (*first.prompts, *second.prompts)] == [f"t{number}" for number in range(6)]
