"""Tools that call tools: what comes back, what it goes past, and what the caller may rely on (P7 to P10, D35)."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import Raw

from enfilade import Context, Image, MCPApp, PromptError, Request, ToolError, ToolResult
from enfilade.primitives.values.results import explicit_result
from enfilade.serving.arcade_compat import RawResult
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError
from enfilade.wire.message import Message
from enfilade.wire.tools import CallToolResult
from support.servers.calls_in_process import messages, result, text

pytestmark = pytest.mark.anyio

PIXEL = b"\x89PNG\r\n\x1a\n"


@dataclass
class Place:
    city: str
    height: float


@dataclass
class Holder:
    result: int


def shelf() -> MCPApp:
    """A server with a tool for each kind of result, and one that calls them."""
    app = MCPApp("Shelf", tool_names="plain")

    @app.tool
    def number() -> int:
        return 5

    @app.tool
    def nothing_annotated() -> None:
        return None

    @app.tool
    def place() -> Place:
        return Place("Riga", 7.5)

    @app.tool
    def places() -> list[Place]:
        return [Place("Riga", 7.5)]

    @app.tool
    def own_result() -> Holder:
        return Holder(3)

    @app.tool
    def untyped():  # type: ignore[no-untyped-def]
        return {"result": 1}

    @app.tool(structured_output=False)
    def only_text() -> str:
        return "text"

    @app.tool(structured_output=False)
    def two_texts() -> list[str | Image]:
        return ["one", Image(data=PIXEL, format="png"), "two"]

    @app.tool
    def picture() -> Image:
        return Image(data=PIXEL, format="png")

    @app.tool(output_schema={"type": "object", "properties": {"result": {"type": "integer"}}})
    def told() -> ToolResult:
        return ToolResult(structured_content={"result": 4}, content="four")

    @app.tool
    def optional() -> int | None:
        return None

    @app.tool
    async def ask(name: str, ctx: Context) -> dict[str, Any]:
        return {"it": await ctx.tools.call(name)}

    return app


@pytest.mark.parametrize(
    ("tool", "value"),
    [
        ("number", 5),
        ("nothing_annotated", None),
        ("place", {"city": "Riga", "height": 7.5}),
        ("places", [{"city": "Riga", "height": 7.5}]),
        ("own_result", {"result": 3}),
        ("untyped", {"result": 1}),
        ("only_text", "text"),
        ("two_texts", "one\ntwo"),
        ("picture", None),
        ("told", {"result": 4}),
        ("optional", None),
        ("Shelf_Number", 5),
    ],
)
async def test_a_tool_gives_what_it_returned(tool: str, value: Any) -> None:
    """P7: data as JSON has it; unwrapped where the server wrapped it, and only there."""
    assert (await result(shelf(), "ask", name=tool))["structuredContent"] == {"it": value}


async def test_a_tool_that_fails_raises() -> None:
    app = MCPApp()

    @app.tool
    def fail() -> str:
        raise ToolError("not today", meta={"example.org/retry": 5})

    @app.tool
    async def ask(ctx: Context) -> str:
        with pytest.raises(ToolError) as caught:
            await ctx.tools.call("fail")
        return f"{caught.value.message} {caught.value.meta}"

    @app.tool
    async def pass_on(ctx: Context) -> Any:
        return await ctx.tools.call("fail")

    assert text(await result(app, "ask")) == "not today {'example.org/retry': 5}"
    passed_on = await result(app, "pass_on")
    assert (passed_on["isError"], text(passed_on)) == (True, "not today")


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("nobody", {}, "Unknown tool: nobody"),
        ("add", {"a": 1}, '"b" is missing'),
        ("add", {"a": 1, "b": "two"}, '"b" should be integer'),
        ("forbidden", {}, "you may not"),
    ],
    ids=["unknown", "missing argument", "wrong argument", "refused by middleware"],
)
async def test_what_cannot_be_called_is_an_error_to_read(
    tool: str, arguments: dict[str, Any], words: str
) -> None:
    """P7: a protocol error of the called tool is a result with `is_error`, and none of the caller."""

    async def guard(request: Request, call_next: Any) -> Message:
        if request.method == "tools/call" and request.params.name == "forbidden":
            raise RpcError(-32001, "you may not")
        found: Message = await call_next(request)
        return found

    app = MCPApp(middleware=[guard])

    @app.tool
    def add(a: int, b: int) -> int:
        return a + b

    @app.tool
    async def ask(ctx: Context) -> str:
        raw = await ctx.tools.call_raw(tool, arguments)
        assert raw.is_error is True
        assert words in raw.content[0].text  # type: ignore[union-attr]
        with pytest.raises(ToolError) as caught:
            await ctx.tools.call(tool, arguments)
        return caught.value.message

    assert words in text(await result(app, "ask"))


@pytest.mark.parametrize("arguments", [[1], "a", 5, {"a"}, object()], ids=lambda it: type(it).__name__)
async def test_arguments_that_are_no_dict_are_an_error_like_any_other(arguments: Any) -> None:
    app = MCPApp(tool_names="plain")
    words = f'Invalid arguments for {{}} "add": they should be a dict, got {type(arguments).__name__}'

    @app.tool
    def add(a: int = 1) -> int:
        return a

    @app.prompt(name="add")
    def added() -> str:
        return "add"

    @app.tool
    async def ask(ctx: Context) -> str:
        raw = await ctx.tools.call_raw("add", arguments)
        assert (raw.is_error, raw.structured_content) == (True, None)
        with pytest.raises(ToolError) as caught:
            await ctx.tools.call("add", arguments)
        assert caught.value.message == words.format("tool")
        with pytest.raises(PromptError) as refused:
            await ctx.prompts.get("add", arguments)
        return refused.value.message

    assert text(await result(app, "ask")) == words.format("prompt")


async def test_arguments_as_keywords_are_explained() -> None:
    app = MCPApp()

    @app.tool
    async def ask(ctx: Context) -> str:
        calls: list[Any] = [ctx.tools.call, ctx.tools.call_raw, ctx.prompts.get]
        for call in calls:
            with pytest.raises(TypeError, match="unexpected keyword argument 'a'; arguments are a dict: await"):
                call("add", a=1)
        elicit: Any = ctx.elicit_url
        with pytest.raises(TypeError, match=r"'url'$"):
            elicit("?")
        return "explained"

    assert text(await result(app, "ask")) == "explained"


@pytest.mark.parametrize("structured", [True, False])
async def test_a_raw_result_without_data_has_none_and_is_passed_on_without(structured: bool) -> None:
    app = MCPApp(tool_names="plain")

    @app.tool(structured_output=structured)
    def one() -> int:
        return 1

    @app.tool
    async def ask(ctx: Context) -> Any:
        raw = await ctx.tools.call_raw("one")
        expected = {"result": 1} if structured else None
        assert (raw.structured_content, raw.structuredContent) == (expected, expected)
        assert raw.meta is None
        return raw

    assert await result(app, "ask") == await result(app, "one")


async def test_the_meta_of_a_raw_result_is_a_dict_and_is_passed_on() -> None:
    app = MCPApp(tool_names="plain")

    @app.tool
    def one() -> ToolResult:
        return ToolResult(content="a", meta={"a/b": {"c": 1}})

    @app.tool
    async def ask(ctx: Context) -> Any:
        raw = await ctx.tools.call_raw("one")
        assert raw.meta == {"a/b": {"c": 1}}
        return raw

    assert (await result(app, "ask"))["_meta"]["a/b"] == {"c": 1}


def test_a_raw_result_may_hold_null() -> None:
    """Which only revisions since 2026-07-28 can be told."""
    raw = RawResult.of(CallToolResult(content=[], structured_content=Raw(b"null")))
    assert raw.structured_content is None
    passed_on = explicit_result(raw, None)
    assert passed_on is not None
    assert passed_on.structured_content == Raw(b"null")
    raw.structured_content = 5
    assert raw.structuredContent == 5


async def test_a_failure_of_the_server_ends_the_whole_call() -> None:
    """An internal error is nothing that a caller should work around."""

    async def broken(request: Request, call_next: Any) -> Message:
        if request.parent is not None:
            raise RpcError(INTERNAL_ERROR, "Internal error (id 1)")
        found: Message = await call_next(request)
        return found

    app = MCPApp(middleware=[broken])

    @app.tool
    async def ask(ctx: Context) -> str:
        await ctx.tools.call_raw("ask")
        return "never"

    assert (await messages(app, "ask"))[-1]["error"]["code"] == INTERNAL_ERROR


async def test_calls_side_by_side_do_not_meet() -> None:
    """D34: arguments, context and results are each call's own."""
    app = MCPApp()

    @app.tool
    async def slowly(number: int, ctx: Context) -> int:
        for _ in range(number % 4):
            await asyncio.sleep(0)
        await ctx.log.info(number)
        return number * 2

    @app.tool
    async def fan_out(ctx: Context) -> list[int]:
        return await asyncio.gather(*(ctx.tools.call("slowly", {"number": each}) for each in range(20)))

    found = await messages(app, "fan_out")
    assert found[-1]["result"]["structuredContent"] == {"result": [each * 2 for each in range(20)]}
    assert sorted(each["params"]["data"] for each in found[:-1]) == list(range(20))


async def test_arguments_may_be_any_python() -> None:
    """They go through JSON, as a client's would: the called tool reads them by its own types."""
    app = MCPApp()

    @app.tool
    def describe(place: Place, many: list[int]) -> str:
        return f"{type(place).__name__} {place.city} {many}"

    @app.tool
    async def ask(ctx: Context) -> str:
        return str(await ctx.tools.call("describe", {"place": Place("Riga", 7), "many": (1, 2)}))

    assert text(await result(app, "ask")) == "Place Riga [1, 2]"


async def test_the_callers_own_request_shows_through() -> None:
    """D52: ids and peer are those of the client's request, in every called tool."""
    app = MCPApp()

    @app.tool
    def who(ctx: Context) -> str:
        return f"{ctx.request_id} {ctx.peer.revision} {ctx.user_id}"

    @app.tool
    async def ask(ctx: Context) -> str:
        return str(await ctx.tools.call("who"))

    assert text(await result(app, "ask")) == "call 2026-07-28 None"


async def test_a_raw_result_has_its_data_as_python_has_it() -> None:
    """And under the names of other frameworks; whoever returns it passes the whole on."""
    app = shelf()

    @app.tool
    async def look(ctx: Context) -> str:
        raw = await ctx.tools.call_raw("place")
        assert raw.structured_content == raw.structuredContent == {"city": "Riga", "height": 7.5}
        assert raw.is_error is raw.isError is False
        failed = await ctx.tools.call_raw("there is none")
        assert failed.is_error is failed.isError is True
        assert failed.structuredContent is None
        return str(raw.structured_content["city"])

    @app.tool
    async def pass_on(name: str, ctx: Context) -> Any:
        return await ctx.tools.call_raw(name)

    assert text(await result(app, "look")) == "Riga"
    for name in ("place", "places", "number", "nothing_annotated"):
        assert await result(app, "pass_on", name=name) == await result(app, name)
    assert (await result(app, "pass_on", name="there is none"))["isError"] is True
