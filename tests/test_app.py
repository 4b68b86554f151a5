"""`MCPApp` as its users meet it: what its arguments do on the wire, and how tools come and go.

Whatever can be seen by a client is looked at through the official one, in both eras.
"""

import asyncio
import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp.types
import msgspec
import pytest
from mcp import Client, MCPError

from enfilade import Context, Icon, MCPApp, Request, ToolAnnotations, ToolError, ToolResult, connect, tool
from enfilade.transports.processes.server_log import log_to_stderr
from enfilade.wire.message import Message

PIXEL = "data:image/png;base64,iVBORw0KGgo="

both_eras = pytest.mark.parametrize("era", ["session", "stateless"])


def visit(app: MCPApp, era: str, scenario: Any) -> Any:
    """Connect the official client and return what the scenario makes of it."""

    async def run() -> Any:
        async with connect(app, era=era) as client:
            return await scenario(client)

    return asyncio.run(run())


def call(app: MCPApp, name: str, era: str = "stateless", **arguments: Any) -> Any:
    return visit(app, era, lambda client: client.call_tool(name, arguments))


async def names(client: Client) -> list[str]:
    return [each.name for each in (await client.list_tools(cache_mode="bypass")).tools]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


# -- who the server says it is -------------------------------------------------------------------------------


@both_eras
def test_constructor_arguments_reach_the_client(era: str) -> None:
    app = MCPApp(
        "library",
        version="3.1.4",
        title="The Library",
        instructions="Look before you lend.",
        website_url="https://library.example",
        icons=[Icon(src=PIXEL, mime_type="image/png", sizes=["16x16"])],
    )

    async def scenario(client: Client) -> tuple[dict[str, Any], str | None]:
        assert client.server_info is not None
        return client.server_info.model_dump(by_alias=True, exclude_none=True), client.instructions

    info, instructions = visit(app, era, scenario)
    assert info == {
        "name": "library",
        "version": "3.1.4",
        "title": "The Library",
        "websiteUrl": "https://library.example",
        "icons": [{"src": PIXEL, "mimeType": "image/png", "sizes": ["16x16"]}],
    }
    assert instructions == "Look before you lend."


@both_eras
def test_what_was_not_given_is_not_sent(era: str) -> None:
    async def scenario(client: Client) -> tuple[dict[str, Any], str | None]:
        assert client.server_info is not None
        return client.server_info.model_dump(by_alias=True, exclude_unset=True), client.instructions

    assert visit(MCPApp("bare", version="1"), era, scenario) == ({"name": "bare", "version": "1"}, None)


@pytest.mark.parametrize("option", ["name", "version", "instructions", "title", "website_url", "icons"])
def test_an_option_of_another_type_is_refused(option: str) -> None:
    options: dict[str, Any] = {option: 5}
    with pytest.raises(TypeError, match=rf"MCPApp\(\): {option} is a .*, not 5"):
        MCPApp(**options)


@pytest.mark.parametrize("option", ["name", "version"])
def test_an_empty_name_or_version_is_refused(option: str) -> None:
    for value in ("", " "):
        options: dict[str, Any] = {option: value}
        with pytest.raises(ValueError, match=rf"MCPApp\(\): {option} is empty"):
            MCPApp(**options)
    nothing: dict[str, Any] = {option: None}
    with pytest.raises(TypeError, match=rf"MCPApp\(\): {option} is a string, not None"):
        MCPApp(**nothing)


def test_icons_of_the_server_are_read_as_those_of_a_tool() -> None:
    assert MCPApp(icons=[{"src": PIXEL}, PIXEL]).icons == [Icon(src=PIXEL), Icon(src=PIXEL)]
    wrongs: list[Any] = [["x"], [5], ["http://example.com/a.png"], PIXEL]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="icon"):
            MCPApp(icons=wrong)


@both_eras
def test_only_what_is_served_is_advertised(era: str) -> None:
    """P20: nothing is advertised without a handler behind it."""

    async def scenario(client: Client) -> dict[str, Any]:
        found: dict[str, Any] = client.server_capabilities.model_dump(by_alias=True, exclude_none=True)
        return found

    assert visit(MCPApp(), era, scenario) == {"tools": {"listChanged": True}, "logging": {}}


# -- tools come and go ---------------------------------------------------------------------------------------


@both_eras
def test_options_of_a_tool_reach_the_client(era: str) -> None:
    app = MCPApp()

    @app.tool(
        name="lend.book",
        title="Lend a book",
        description="Lend it.",
        annotations=ToolAnnotations(read_only_hint=False, idempotent_hint=True),
        icons=[Icon(src=PIXEL)],
        meta={"example.org/shelf": 4},
        structured_output=False,
    )
    def lend(title: str) -> str:
        """A docstring that description= outranks."""
        return title

    async def scenario(client: Client) -> dict[str, Any]:
        found = (await client.list_tools()).tools[0].model_dump(by_alias=True, exclude_none=True)
        return {key: value for key, value in found.items() if key != "inputSchema"}

    assert visit(app, era, scenario) == {
        "name": "lend.book",
        "title": "Lend a book",
        "description": "Lend it.",
        "annotations": {"readOnlyHint": False, "idempotentHint": True},
        "icons": [{"src": PIXEL}],
        "_meta": {"example.org/shelf": 4},
    }


def test_a_decorated_function_stays_what_it_was() -> None:
    app = MCPApp()
    bare = app.tool(add)
    named = app.tool(name="sum")(add)
    assert bare is add
    assert named is add
    assert add(1, 2) == 3


class Counter:
    """Methods and objects are tools as well."""

    def __init__(self) -> None:
        self.count = 0

    def increase(self, by: int = 1) -> int:
        self.count += by
        return self.count

    def __call__(self) -> int:
        return self.count


def test_methods_and_objects_are_tools() -> None:
    app, counter = MCPApp(), Counter()
    app.add_tool(counter.increase)
    app.add_tool(counter, name="count")
    assert call(app, "increase", by=5).structured_content == {"result": 5}
    assert call(app, "count").structured_content == {"result": 5}


@both_eras
def test_tools_come_and_go_while_the_server_runs(era: str) -> None:
    app = MCPApp()
    app.add_tool(add)

    async def scenario(client: Client) -> list[Any]:
        seen: list[Any] = [await names(client)]
        app.add_tool(add, name="plus")
        seen.append(await names(client))
        seen.append((await client.call_tool("plus", {"a": 1, "b": 2})).structured_content)
        app.remove_tool("add")
        seen.append(await names(client))
        with pytest.raises(MCPError, match="Unknown tool: add"):
            await client.call_tool("add", {"a": 1, "b": 2})
        return seen

    assert visit(app, era, scenario) == [["add"], ["add", "plus"], {"result": 3}, ["plus"]]


def test_a_tool_that_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(KeyError, match='there is no tool called "nothing"'):
        MCPApp().remove_tool("nothing")


def test_two_tools_of_one_name_are_refused_with_both_places() -> None:
    app = MCPApp()
    app.add_tool(add)
    with pytest.raises(
        ValueError, match=r'two tools are called "add": .*test_app.*:add \(test_app.py:\d+\) and .*'
    ):
        app.add_tool(lambda: 1, name="add")
    assert app.tools.names() == ["add"]


# -- tools from modules (P1, P5, P6) -------------------------------------------------------------------------

MODULE = """
from enfilade import Context, tool

@tool
def first(word: str) -> str:
    return word.upper()

@tool(name="second.tool", title="The second", meta={"example.org/n": 2})
async def second(ctx: Context) -> str:
    return str(ctx.request_id is not None)

def unmarked() -> None: ...
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module and a package that nobody has installed."""
    (tmp_path / "plain_shelf.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "packed_shelf" / "inner").mkdir(parents=True)
    files = {
        "__init__.py": "from packed_shelf.a import one",
        "a.py": "from enfilade import tool\n@tool\ndef one(): return 1",
        "__main__.py": "raise SystemExit('it was run')",
        "inner/__init__.py": "",
        "inner/b.py": "from enfilade import tool\n@tool\ndef two(): return 2",
    }
    for name, text in files.items():
        (tmp_path / "packed_shelf" / name).write_text(text, encoding="utf-8")
    (tmp_path / "empty_shelf.py").write_text("def unmarked(): ...", encoding="utf-8")
    (tmp_path / "odd_shelf.py").write_text(
        "from enfilade import tool\n@tool(colour='red')\ndef painted(): return 1", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if "_shelf" in name]:
        del sys.modules[name]


@both_eras
@pytest.mark.parametrize("by_name", [True, False], ids=["by-name", "by-module"])
def test_a_module_that_is_not_installed(shelf: Path, era: str, by_name: bool) -> None:
    app = MCPApp()
    added = app.add_tools_from_module("plain_shelf" if by_name else importlib.import_module("plain_shelf"))
    assert [each.name for each in added] == ["first", "second.tool"]
    assert visit(app, era, names) == ["first", "second.tool"]
    assert call(app, "first", era, word="ada").structured_content == {"result": "ADA"}
    assert call(app, "second.tool", era).structured_content == {"result": "True"}
    definition = app.tools.get("second.tool")
    assert definition is not None
    assert (definition.definition.title, definition.definition.meta) == ("The second", {"example.org/n": 2})


def test_a_package_and_all_below_it(shelf: Path) -> None:
    """A function counts once, however many modules show it; `__main__` is not run."""
    app = MCPApp()
    app.add_tools_from_module("packed_shelf")
    assert app.tools.names() == ["one", "two"]


def test_a_marked_function_stays_callable_and_serves_two_servers_p6(shelf: Path) -> None:
    module = importlib.import_module("plain_shelf")
    red, blue = MCPApp("red"), MCPApp("blue", tool_names="qualified")
    red.add_tools_from_module(module)
    blue.add_tools_from_module(module)
    assert module.first("ada") == "ADA"
    assert red.tools.names() == ["first", "second.tool"]
    assert blue.tools.names() == ["Blue_First", "Blue_SecondTool"]


def test_a_module_without_tools_is_refused(shelf: Path) -> None:
    with pytest.raises(ValueError, match="empty_shelf has no tools: mark functions with"):
        MCPApp().add_tools_from_module("empty_shelf")


def test_a_module_that_is_not_there_is_refused() -> None:
    with pytest.raises(ImportError, match="there is no module 'no_such_shelf'"):
        MCPApp().add_tools_from_module("no_such_shelf")


def test_an_option_nobody_knows_is_refused(shelf: Path) -> None:
    with pytest.raises(TypeError, match=r"@tool of painted\(\): a tool has no option 'colour'"):
        MCPApp().add_tools_from_module("odd_shelf")


def test_the_free_decorator_leaves_the_function_alone() -> None:
    assert tool(add) is add
    assert tool(name="sum")(add) is add


# -- names (P16) ---------------------------------------------------------------------------------------------


def whisper_secret() -> str:
    """Whisper."""
    return "psst"


@both_eras
@pytest.mark.parametrize("tool_names", ["plain", "qualified"])
def test_the_qualified_name_is_understood_in_both_modes(era: str, tool_names: str) -> None:
    app = MCPApp("The simple server name", tool_names=tool_names)
    app.add_tool(whisper_secret)
    qualified = "TheSimpleServerName_WhisperSecret"
    assert visit(app, era, names) == ["whisper_secret" if tool_names == "plain" else qualified]
    assert call(app, qualified, era).structured_content == {"result": "psst"}


@pytest.mark.parametrize("tool_names", ["plain", "qualified"])
def test_tools_call_each_other_by_qualified_name(tool_names: str) -> None:
    app = MCPApp("Choir", tool_names=tool_names)
    app.add_tool(whisper_secret)

    @app.tool
    async def repeat(ctx: Context) -> str:
        result = await ctx.tools.call_raw("Choir_WhisperSecret")
        return str(result.structured_content is not None) + result.content[0].text  # type: ignore[union-attr]

    assert call(app, "Choir_Repeat").structured_content == {"result": "Truepsst"}


def test_an_ambiguous_qualified_name_reaches_no_tool() -> None:
    app = MCPApp("S")
    app.add_tool(add, name="get_x")
    app.add_tool(add, name="get-x")
    with pytest.raises(MCPError, match="Unknown tool: S_GetX"):
        call(app, "S_GetX", a=1, b=2)


# -- middleware ----------------------------------------------------------------------------------------------


def noting(name: str, notes: list[str]) -> Any:
    async def middleware(request: Request, call_next: Any) -> Message:
        notes.append(f"{name} in")
        result: Message = await call_next(request)
        notes.append(f"{name} out")
        return result

    return middleware


def test_middleware_runs_in_the_order_it_was_added() -> None:
    notes: list[str] = []
    app = MCPApp(middleware=[noting("first", notes), noting("second", notes)])
    app.add_middleware(noting("third", notes))
    app.add_middleware(noting("around", notes), outermost=True)
    app.add_tool(add)

    async def scenario(client: Client) -> None:
        notes.clear()
        await client.call_tool("add", {"a": 1, "b": 2})

    visit(app, "session", scenario)
    within = ["first in", "second in", "third in", "third out", "second out", "first out"]
    assert notes[:8] == ["around in", *within, "around out"]


@both_eras
def test_middleware_sees_every_request_and_chained_calls(era: str) -> None:
    """P8: a chained call goes the way of a client's call."""
    seen: list[tuple[str, bool]] = []
    app = MCPApp()

    @app.add_middleware
    async def note(request: Request, call_next: Any) -> Message:
        seen.append((request.method, request.parent is not None))
        request.state["guest"] = "ada"
        result: Message = await call_next(request)
        return result

    @app.tool
    def guest(ctx: Context) -> str:
        return str(ctx.request_data["guest"])

    @app.tool
    async def ask(ctx: Context) -> str:
        return str(await ctx.tools.call("guest"))

    assert call(app, "ask", era).content[0].text == "ada"
    assert ("tools/call", False) in seen
    assert ("tools/call", True) in seen
    assert seen[0] == ("initialize" if era == "session" else "server/discover", False)


def around_calls(behave: Any) -> MCPApp:
    """Return an app that adds, with middleware that does something else at a call."""

    async def behaving(request: Request, call_next: Any) -> Any:
        if request.method == "tools/call":
            return await behave(request, call_next)
        return await call_next(request)

    app = MCPApp(middleware=[behaving])
    app.add_tool(add)
    return app


@both_eras
@pytest.mark.parametrize("kind", ["own", "official SDK"])
def test_middleware_may_return_a_tool_result(era: str, kind: str) -> None:
    async def answer(request: Request, call_next: Any) -> Any:
        if kind == "own":
            return ToolResult(content="closed", structured_content={"result": 0}, is_error=True)
        block = mcp.types.TextContent(type="text", text="closed")
        return mcp.types.CallToolResult(content=[block], structured_content={"result": 0}, is_error=True)

    result = call(around_calls(answer), "add", era, a=1, b=2)
    assert (result.is_error, result.content[0].text, result.structured_content) == (True, "closed", {"result": 0})


@both_eras
@pytest.mark.parametrize(("returned", "shown"), [(None, "None"), ({"content": []}, "dict")], ids=["None", "dict"])
def test_a_result_that_is_none_names_the_middleware(
    era: str, returned: Any, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def forget(request: Request, call_next: Any) -> Any:
        await call_next(request)
        return returned

    with pytest.raises(MCPError, match="Internal error"):
        call(around_calls(forget), "add", era, a=1, b=2)
    text = f"behaving() returned {shown} for tools/call where CallToolResult or ToolResult is due"
    assert text in caplog.text


@both_eras
def test_middleware_may_change_the_arguments(era: str) -> None:
    """The middleware within it, and the tool, see the arguments that it assigned."""
    app = MCPApp()
    app.add_tool(add)
    seen: list[Any] = []

    @app.add_middleware
    async def change(request: Request, call_next: Any) -> Any:
        if request.method == "tools/call":
            arguments = msgspec.json.decode(request.params.arguments or b"{}")
            request.params.arguments = {**arguments, "b": 40}
        return await call_next(request)

    @app.add_middleware
    async def look(request: Request, call_next: Any) -> Any:
        if request.method == "tools/call":
            seen.append(msgspec.json.decode(request.params.arguments))
        return await call_next(request)

    assert call(app, "add", era, a=2, b=2).structured_content == {"result": 42}
    assert seen == [{"a": 2, "b": 40}]


@both_eras
def test_arguments_that_are_no_dict_name_the_middleware(era: str, caplog: pytest.LogCaptureFixture) -> None:
    async def spoil(request: Request, call_next: Any) -> Any:
        request.params.arguments = [1, 2]
        return await call_next(request)

    with pytest.raises(MCPError, match="Internal error"):
        call(around_calls(spoil), "add", era, a=1, b=2)
    assert "behaving() set the arguments to a list; assign a dict of them" in caplog.text


def test_middleware_that_comes_too_late_is_refused() -> None:
    app = MCPApp()
    app.add_tool(add)
    call(app, "add", a=1, b=2)
    with pytest.raises(RuntimeError, match="before the server is first used"):
        app.add_middleware(noting("late", []))


@both_eras
def test_middleware_that_fails_ends_the_request_alone(era: str, caplog: pytest.LogCaptureFixture) -> None:
    """D28: the caller gets an error with an id, the log has the rest, the next request is served."""
    app = MCPApp()
    app.add_tool(add)

    @app.add_middleware
    async def fail_on_one(request: Request, call_next: Any) -> Message:
        if request.method == "tools/call" and b'"a":1' in bytes(request.params.arguments):
            raise OSError("the disk is gone")
        result: Message = await call_next(request)
        return result

    async def scenario(client: Client) -> Any:
        with pytest.raises(MCPError, match=r"Internal error \(id [0-9a-f]{12}\)") as caught:
            await client.call_tool("add", {"a": 1, "b": 1})
        assert "disk" not in str(caught.value)
        return (await client.call_tool("add", {"a": 2, "b": 2})).structured_content, str(caught.value)

    result, said = visit(app, era, scenario)
    assert result == {"result": 4}
    (record,) = caplog.records
    assert said.partition("id ")[2].rstrip(")") in record.message
    assert record.exc_info is not None


def test_what_a_test_raises_arrives_as_it_was_raised() -> None:
    """Not inside the exception groups of the client's tasks."""

    async def scenario(client: Client) -> None:
        raise LookupError("the assertion of a test")

    with pytest.raises(LookupError, match="the assertion of a test"):
        visit(MCPApp(), "stateless", scenario)


# -- errors --------------------------------------------------------------------------------------------------


@both_eras
def test_the_model_reads_a_tool_error_and_never_another(era: str, caplog: pytest.LogCaptureFixture) -> None:
    """D33: no text that nobody wrote for a stranger."""
    app = MCPApp()

    @app.tool
    def fail(kindly: bool) -> str:
        if kindly:
            raise ToolError("Try again tomorrow.", meta={"example.org/retry": 1})
        raise ValueError("password=hunter2 in /srv/secrets.txt")

    kind = call(app, "fail", era, kindly=True)
    assert (kind.is_error, kind.content[0].text) == (True, "Try again tomorrow.")
    assert kind.meta["example.org/retry"] == 1
    assert not caplog.records
    rude = call(app, "fail", era, kindly=False)
    assert rude.is_error
    assert "hunter2" not in rude.model_dump_json()
    assert "/srv" not in rude.model_dump_json()
    correlation = rude.content[0].text.partition("(id ")[2].partition(")")[0]
    assert any(correlation in record.message and record.exc_info for record in caplog.records)


# -- lifespan (D31) ------------------------------------------------------------------------------------------


def test_a_lifespan_may_yield_nothing() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def lifespan(app: MCPApp) -> Any:
        steps.append(f"open {app.name}")
        yield
        steps.append("closed")

    app = MCPApp("Shop", lifespan=lifespan)

    @app.tool
    def value(ctx: Context) -> bool:
        steps.append("called")
        return ctx.lifespan is None

    assert call(app, "value").structured_content == {"result": True}
    assert steps == ["open Shop", "called", "closed"]


# -- logging -------------------------------------------------------------------------------------------------


@pytest.fixture
def loggers() -> Iterator[tuple[logging.Logger, logging.Logger]]:
    root, own = logging.getLogger(), logging.getLogger("enfilade")
    before = (root.level, root.handlers[:], own.level, own.handlers[:])
    yield root, own
    root.level, root.handlers[:], own.level, own.handlers[:] = before


def test_serving_leaves_the_root_logger_alone_and_run_shows_all_loggers(
    loggers: tuple[logging.Logger, logging.Logger],
) -> None:
    """A host's logging is its own; a server that `run()` serves shows the loggers of its author as well."""
    root, own = loggers
    root.handlers.clear()
    level = root.level
    app = MCPApp()
    app.add_tool(add)
    call(app, "add", a=1, b=2)
    assert (own.handlers, root.handlers, root.level) == ([], [], level)
    log_to_stderr("debug")
    log_to_stderr("debug")
    assert len(root.handlers) == 1
    assert own.handlers == []
    assert (root.level, own.level) == (logging.DEBUG, logging.DEBUG)


def test_a_host_that_handles_the_log_keeps_it(loggers: tuple[logging.Logger, logging.Logger]) -> None:
    root, own = loggers
    root.handlers[:] = [logging.NullHandler()]
    log_to_stderr("info")
    assert own.handlers == []
