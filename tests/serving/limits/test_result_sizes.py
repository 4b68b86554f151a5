"""Results that are too large: what is cut, what is said of it, and the links to the whole."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, Field

from enfilade import Context, MCPApp, ToolError, connect
from enfilade.auth import Principal
from enfilade.primitives.limits.result_budget import read_size
from enfilade.serving.limits.result_sizes import cut
from enfilade.settings import SettingsError
from support.servers.calls_in_process import result, text
from support.servers.dispatched_calls import called

pytestmark = pytest.mark.anyio

LEFT = "enfilade/left"


class Row(BaseModel):
    """A row of a table."""

    id: int
    name: str = "a name of some length"


class Table(BaseModel):
    """Rows."""

    title: str
    rows: list[Row]


class LongTable(BaseModel):
    """At least a hundred rows."""

    rows: list[Row] = Field(min_length=100)


def served(size: int | str = 2000, action: Any = "truncate", **options: Any) -> MCPApp:
    app = MCPApp("results", **options)

    @app.tool(max_result=size, on_overflow=action)
    async def rows(count: int, offset: int = 0) -> list[Row]:
        return [Row(id=offset + number) for number in range(count)]

    @app.tool(max_result=size, on_overflow=action)
    async def table(count: int, page: int = 1) -> Table:
        return Table(title="a table", rows=[Row(id=number) for number in range(count)])

    @app.tool(max_result=size, on_overflow=action)
    async def long_table() -> LongTable:
        return LongTable(rows=[Row(id=number) for number in range(100)])

    @app.tool(max_result=size, on_overflow=action)
    async def document(length: int, character: str = "a") -> str:
        return character * length

    @app.tool(max_result=size, on_overflow=action)
    async def untyped(count: int) -> Any:
        return [{"id": number} for number in range(count)]

    @app.tool(max_result=size, on_overflow=action)
    async def parts(count: int) -> Any:
        return ["a part" for _ in range(count)] if count < 0 else _parts(count)

    @app.tool(max_result=size, on_overflow=action)
    async def failing() -> str:
        raise ToolError("e" * 5000)

    @app.tool(max_result=size, on_overflow=action)
    async def counting(ctx: Context) -> int:
        return len(await ctx.tools.call("rows", {"count": 1000}))

    return app


def _parts(count: int) -> Any:
    from enfilade.wire.content import TextContent

    return [TextContent(text=f"part {number}") for number in range(count)]


def bytes_of(found: dict[str, Any]) -> int:
    data = json.dumps(found.get("structuredContent"), separators=(",", ":"), ensure_ascii=False)
    content = json.dumps(found["content"], separators=(",", ":"), ensure_ascii=False)
    return max(len(data.encode()), len(content.encode()))


async def test_a_result_within_its_budget_is_left_alone() -> None:
    found = await result(served(), "rows", count=10)
    assert len(found["structuredContent"]["result"]) == 10
    assert len(found["content"]) == 1
    assert LEFT not in found["_meta"]


async def test_a_list_loses_whole_items_and_says_how_to_go_on() -> None:
    found = await result(served(), "rows", count=1000, offset=70)
    rows = found["structuredContent"]["result"]
    assert [row["id"] for row in rows] == list(range(70, 70 + len(rows)))
    assert json.loads(text(found)) == rows
    assert found["_meta"][LEFT] == 1000 - len(rows)
    statement = found["content"][-1]["text"]
    assert statement == (
        f"[{len(rows)} of 1000 items; {1000 - len(rows)} left. "
        f"Call it again with offset={70 + len(rows)} for the next ones]"
    )
    assert 1000 < bytes_of(found) <= 2000


async def test_arguments_with_a_number_that_no_float_has() -> None:
    app = MCPApp("Tables")

    @app.tool(max_result=500, on_overflow="truncate")
    async def numbers(above: Any, offset: int = 0) -> list[int]:
        return list(range(1000))

    found = await called(app.dispatcher, "numbers", b'{"above": -1e999, "offset": 7}')
    assert "offset=" in found["content"][-1]["text"]
    assert "isError" not in found


async def test_the_largest_list_of_an_object_loses_items() -> None:
    found = await result(served(), "table", count=500)
    assert found["structuredContent"]["title"] == "a table"
    rows = found["structuredContent"]["rows"]
    assert found["content"][-1]["text"] == (
        f"[{len(rows)} of 500 items; {500 - len(rows)} left. Call it again with another page]"
    )
    assert 1000 < bytes_of(found) <= 2000


async def test_what_would_not_match_its_schema_is_an_error() -> None:
    found = await result(served(), "long_table")
    assert found["isError"] is True
    assert "and may have 2000" in text(found)
    assert "structuredContent" not in found


@pytest.mark.parametrize("character", ["a", "é", "\N{CLOWN FACE}", '"', "\n"])
async def test_a_typed_text_cannot_be_cut_and_an_untyped_one_can(character: str) -> None:
    app = MCPApp()

    @app.tool(max_result=1000, on_overflow="truncate", structured_output=False)
    async def document() -> str:
        return character * 5000

    found = await result(app, "document")
    kept = text(found)
    assert kept == character * len(kept)
    assert found["content"][-1]["text"].startswith(f"[Cut after {len(kept)} of 5000 characters. ")
    assert 600 < bytes_of(found) <= 1000


async def test_a_list_without_a_schema_stays_json() -> None:
    found = await result(served(), "untyped", count=1000)
    items = json.loads(text(found))
    assert found["_meta"][LEFT] == 1000 - len(items)
    assert 1000 < bytes_of(found) <= 2000


async def test_whole_parts_are_left_out() -> None:
    found = await result(served(), "parts", count=1000)
    assert found["content"][-1]["text"].startswith(f"[{len(found['content']) - 1} of 1000 parts; ")
    assert 1000 < bytes_of(found) <= 2000


async def test_errors_and_results_between_tools_are_left_alone() -> None:
    assert len(text(await result(served(), "failing"))) == 5000
    assert (await result(served(), "counting"))["structuredContent"] == {"result": 1000}


async def test_a_result_that_is_too_large_is_an_error_by_default() -> None:
    app = MCPApp(max_result="100 tokens")

    @app.tool
    async def document(limit: int) -> str:
        return "a" * limit

    assert (await result(app, "document", limit=100))["structuredContent"] == {"result": "a" * 100}
    found = await result(app, "document", limit=500)
    assert found["isError"] is True
    assert text(found) == (
        "The result of tool 'document' has 527 bytes, and may have 400. Call it again with another limit"
    )


@pytest.mark.parametrize("length", [0, 1, 7, 100])
def test_a_text_ends_at_a_character(length: int) -> None:
    whole = 'a"é\n\N{CLOWN FACE}' * 20
    kept = cut(whole, length)
    assert whole.startswith(kept)
    assert len(json.dumps(kept, ensure_ascii=False).encode()) - 2 <= length


# -- links -------------------------------------------------------------------------------------------------------


async def test_a_link_leads_its_principal_to_the_whole(shared_url: str) -> None:
    app, other = (served(action="link", store=shared_url, secret="s" * 32) for _ in range(2))
    async with connect(app, principal=Principal("ada")) as client:
        found = await client.call_tool("rows", {"count": 1000})
        link = found.content[-1]
        assert link.type == "resource_link"
        assert len(found.structured_content["result"]) < 100
        whole = (await client.read_resource(str(link.uri))).contents[0].text
        assert len(json.loads(whole)["result"]) == 1000
    async with connect(other, principal=Principal("ada")) as client:
        assert (await client.read_resource(str(link.uri))).contents[0].text == whole
    for principal in (Principal("bob"), None):
        async with connect(other, principal=principal) as client:
            with pytest.raises(Exception, match="Resource not found"):
                await client.read_resource(str(link.uri))


async def test_links_of_all_tools_of_an_app() -> None:
    app = MCPApp(max_result=1000, on_overflow="link")

    @app.tool(structured_output=False)
    async def document() -> str:
        return "a" * 5000

    async with connect(app) as client:
        found = await client.call_tool("document")
        assert found.content[1].text.startswith("[Cut after")
        assert (await client.read_resource(str(found.content[2].uri))).contents[0].text == "a" * 5000
        with pytest.raises(Exception, match="Resource not found"):
            await client.read_resource("tool-result://" + "0" * 32)


# -- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"on_overflow": "link"}, ValueError, "on_overflow without a limit"),
        ({"max_result": 10}, ValueError, "the least is 200 bytes or 50 tokens"),
        ({"max_result": "many"}, ValueError, "a size is written 8000"),
        ({"max_result": 1.5}, TypeError, "max_result is a number of bytes"),
        ({"max_result": True}, TypeError, "max_result is a number of bytes"),
        ({"max_result": 1000, "on_overflow": "cut"}, ValueError, "'error', 'truncate' or 'link', not 'cut'"),
    ],
)
def test_wrong_budgets_are_refused_at_registration(
    options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    app = MCPApp()
    with pytest.raises(kind) as raised:
        app.tool(**options)(_parts)
    assert words in str(raised.value)
    assert len(app.tools) == 0


def test_sizes_are_bytes_or_tokens() -> None:
    assert [read_size(size) for size in (8000, "8000", "8000 bytes", " 2000 tokens ")] == [8000] * 4
    assert MCPApp(max_result=8000).settings.max_result == "8000"
    with pytest.raises(SettingsError, match="max_result"):
        MCPApp(max_result="8 KB")
