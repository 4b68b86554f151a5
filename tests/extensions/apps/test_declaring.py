"""What server and client declare of views, what the server checks at its start, and calls by views."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from enfilade import Context, MCPApp, connect, tool
from enfilade.extensions.apps import Apps, ViewError
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import modern_headers, request_of, stateless_meta
from support.stdio_client.connection import Stdio

TYPE = "text/html;profile=mcp-app"
UI = "io.modelcontextprotocol/ui"
HTML = "<!doctype html><title>View</title>"
URI = "ui://weather/view"
pytestmark = pytest.mark.anyio


def with_view() -> MCPApp:
    app = MCPApp()
    app.add_view(URI, html=HTML)
    return app


def text() -> str:
    """Return a text."""
    return "text"


async def declared(app: MCPApp, revision: str | None = None) -> Any:
    """Return the extensions that a server declares in a session, or without one."""
    client = AsgiClient(app)
    answered = await (client.modern("server/discover") if revision is None else client.initialize(revision))
    return answered.result["capabilities"].get("extensions")


async def test_it_is_declared_with_the_first_view() -> None:
    """X-APP-1, X-APP-10: in `server/discover` and in 2025-11-25; revisions before that have no extensions."""
    for app in (with_view(), with_tool(URI)):
        assert await declared(app) == {UI: {}}
        assert await declared(app, "2025-11-25") == {UI: {}}
        assert await declared(app, "2025-06-18") is None
    assert await declared(MCPApp()) is None


def with_tool(uri: str) -> MCPApp:
    app = with_view()
    app.add_tool(text, ui=uri)
    return app


async def test_it_is_declared_for_a_tool_of_the_view_alone() -> None:
    """X-APP-10."""
    app = MCPApp()
    app.add_tool(text, ui={"visibility": ["app"]})
    assert await declared(app) == {UI: {}}


async def test_added_by_hand_it_is_declared_once_there_is_a_view() -> None:
    """X-APP-10: views may come later, and go."""
    app = MCPApp()
    extension = app.add_extension(Apps())
    assert await declared(app) is None
    app.add_view(URI, html=HTML)
    assert await declared(app) == {UI: {}}
    app.remove_resource(URI)
    app.add_tool(text, ui={"visibility": ["app"]})
    assert await declared(app) == {UI: {}}
    app.remove_tool("text")
    assert await declared(app) is None
    assert app.extensions is not None
    assert app.extensions.get(UI) is extension


async def test_the_first_view_comes_before_the_start() -> None:
    app = MCPApp()
    await AsgiClient(app).modern("server/discover")
    with pytest.raises(RuntimeError, match=r"app\.add_extension\(Apps\(\)\)"):
        app.add_view(URI, html=HTML)
    with pytest.raises(RuntimeError, match="before the server is first used"):
        app.add_tool(text, ui=URI)
    assert len(app.tools) == 0


async def test_a_mark_has_a_view() -> None:
    @tool(ui=URI)
    def marked() -> str:
        """Marked."""
        return "text"

    app = with_view()
    module = type(sys)("module_of_marks")
    module.marked = marked  # type: ignore[attr-defined]
    app.add_tools_from_module(module)
    (entry,) = (await AsgiClient(app).modern("tools/list")).result["tools"]
    assert entry["_meta"] == {"ui": {"resourceUri": URI}, "ui/resourceUri": URI}


# -- clients ---------------------------------------------------------------------------------------------------


def asking_app() -> MCPApp:
    app = with_view()

    @app.tool(ui=URI)
    def shown(ctx: Context) -> bool:
        """Whether the client shows views."""
        return ctx.client_supports_apps

    return app


DECLARED: dict[str, tuple[Any, bool, bool]] = {  # what a client declares; with a session, and without one
    "the type": ({UI: {"mimeTypes": [TYPE]}}, True, True),
    "the type among others": ({UI: {"mimeTypes": ["text/x", TYPE]}, "a.b/c": {}}, True, True),
    "another type": ({UI: {"mimeTypes": ["text/html"]}}, False, False),
    "no types": ({UI: {"mimeTypes": []}}, False, False),
    "a text": ({UI: {"mimeTypes": TYPE}}, False, False),
    "nothing": ({UI: {}}, True, False),
    "another extension": ({"a.b/c": {"mimeTypes": [TYPE]}}, False, False),
    "no extension": (None, False, False),
}


@pytest.mark.parametrize(("extensions", "in_session", "without"), DECLARED.values(), ids=DECLARED)
async def test_a_client_shows_views_if_the_type_is_in_its_list(
    extensions: Any, in_session: bool, without: bool
) -> None:
    """X-APP-2; X-EXT-2: an empty declaration of a session counts."""
    app = asking_app()
    client, capabilities = AsgiClient(app), {} if extensions is None else {"extensions": extensions}
    token = (await client.initialize(capabilities=capabilities)).headers["mcp-session-id"]
    called = await client.ask(token, "tools/call", {"name": "shown", "arguments": {}})
    assert called.result["structuredContent"] == {"result": in_session}
    meta = stateless_meta(clientCapabilities=capabilities)
    message = request_of("tools/call", {"name": "shown", "arguments": {}}, 1, meta)
    called = await client.post(message, **modern_headers(message))
    assert called.result["structuredContent"] == {"result": without}


@pytest.mark.parametrize(
    ("types", "expected"), [([TYPE], True), (["x" * 3000, TYPE], True), (["text/html"], False)], ids=str
)
async def test_a_long_session_id_still_says_whether_views_are_shown(types: list[str], expected: bool) -> None:
    """X-EXT-2, X-APP-2: other settings are left out of it, so that it stays a header."""
    extensions = {UI: {"mimeTypes": types, "more": "m" * 20_000}, "a.b/c": {"long": "x" * 20_000}}
    client = AsgiClient(asking_app())
    token = (await client.initialize(capabilities={"extensions": extensions})).headers["mcp-session-id"]
    assert len(token) < 4096
    called = await client.ask(token, "tools/call", {"name": "shown", "arguments": {}})
    assert called.result["structuredContent"] == {"result": expected}


# -- calls by views --------------------------------------------------------------------------------------------


async def test_a_tool_for_views_is_listed_and_called_like_any_other() -> None:
    """X-APP-3, X-APP-8: hosts hide it from the model, and nothing else of a view reaches the server."""
    app = with_view()
    app.add_tool(text, ui={"resource_uri": URI, "visibility": ["app"]})
    client = AsgiClient(app)
    (entry,) = (await client.modern("tools/list")).result["tools"]
    assert entry["_meta"]["ui"]["visibility"] == ["app"]
    assert (await client.modern("tools/call", {"name": "text", "arguments": {}})).result["content"] == [
        {"type": "text", "text": "text"}
    ]
    answered = await client.post(
        message := request_of("ui/initialize", {}, 1, stateless_meta()), **modern_headers(message)
    )
    assert answered.response["error"]["code"] == -32601


async def test_the_text_of_a_result_is_there_beside_its_data() -> None:
    """X-APP-7: data becomes text by itself."""
    app = with_view()

    @app.tool(ui=URI)
    def weather() -> dict[str, int]:
        """The weather."""
        return {"degrees": 20}

    result = (await AsgiClient(app).modern("tools/call", {"name": "weather", "arguments": {}})).result
    assert result["structuredContent"] == {"degrees": 20}
    assert result["content"] == [{"type": "text", "text": '{"degrees":20}'}]


# -- at the start ----------------------------------------------------------------------------------------------


def without_the_view(_: Path) -> MCPApp:
    app = MCPApp()
    app.add_tool(text, ui=URI)
    return app


def of_another_type(_: Path) -> MCPApp:
    app = without_the_view(_)
    app.add_text_resource(URI, HTML, mime_type="text/html")
    return app


def without_a_file(folder: Path) -> MCPApp:
    app = MCPApp()
    app.add_view(URI, file=folder / "view.html")
    return app


def with_part_of_a_document(folder: Path) -> MCPApp:
    (folder / "view.html").write_text("<p>Hello</p>", encoding="utf-8")
    return without_a_file(folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (without_the_view, 'tool text: its view "ui://weather/view" is not served; offer it by @app.view('),
        (of_another_type, "is served as text/html, and hosts show text/html;profile=mcp-app alone"),
        (without_a_file, 'view "ui://weather/view": there is no file'),
        (with_part_of_a_document, 'must begin with "<!doctype html>"'),
    ],
    ids=["missing", "type", "file", "document"],
)
async def test_a_view_that_cannot_be_shown_is_an_error_at_the_start(make: Any, said: str, tmp_path: Path) -> None:
    """X-APP-9, X-APP-4."""
    with pytest.raises(ViewError) as caught:
        async with connect(make(tmp_path)):
            pass
    assert said in str(caught.value)


async def test_views_that_a_lifespan_adds_are_checked_after_it() -> None:
    """X-APP-9."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def lifespan(app: MCPApp) -> Any:
        app.add_view(URI, html=HTML)
        yield

    app = MCPApp(lifespan=lifespan)
    app.add_tool(text, ui=URI)
    async with connect(app) as client:
        (contents,) = (await client.read_resource(URI)).contents
        assert contents.mime_type == TYPE


def test_the_command_line_says_it_in_one_line(tmp_path: Path) -> None:
    """X-APP-9."""
    file = tmp_path / "server.py"
    file.write_text(
        'from enfilade import MCPApp\n\napp = MCPApp()\napp.add_tool(lambda: "x", name="show", ui="ui://gone")\n',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "enfilade", "run", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 2
    assert 'tool show: its view "ui://gone" is not served' in done.stderr
    assert "Traceback" not in done.stderr


# -- over stdio ------------------------------------------------------------------------------------------------

SERVER = f"""
from enfilade import Context, MCPApp

app = MCPApp()
app.add_view({URI!r}, html={HTML!r}, prefers_border=True)


@app.tool(ui={URI!r})
def shown(ctx: Context) -> bool:
    return ctx.client_supports_apps


app.run()
"""


def test_over_stdio_in_both_kinds_of_revisions(tmp_path: Path) -> None:
    """X-APP-1, X-APP-2, X-APP-6, R-573."""
    file = tmp_path / "server.py"
    file.write_text(SERVER, encoding="utf-8")
    contents = {"uri": URI, "mimeType": TYPE, "text": HTML, "_meta": {"ui": {"prefersBorder": True}}}
    with Stdio([sys.executable, str(file)]) as client:
        opened = client.initialize("2025-11-25")
        assert opened["result"]["capabilities"]["extensions"] == {UI: {}}
        assert client.ask("resources/read", {"uri": URI}, id=2)["result"]["contents"] == [contents]
    with Stdio([sys.executable, str(file)]) as client:
        capabilities = {"extensions": {UI: {"mimeTypes": [TYPE]}}}
        more = {"io.modelcontextprotocol/clientCapabilities": capabilities}
        called = client.ask("tools/call", {"name": "shown", "arguments": {}}, id=1, claim="2026-07-28", meta=more)
        assert called["result"]["structuredContent"] == {"result": True}
        read = client.ask("resources/read", {"uri": URI}, id=2, claim="2026-07-28")
        assert read["result"]["contents"] == [contents]


async def test_the_official_client_reads_a_view() -> None:
    """R-573: the official client of Python takes `_meta` and media type, in both kinds of revisions."""
    app = asking_app()
    for mode in ("legacy", "auto"):
        async with connect(app, era="session" if mode == "legacy" else "stateless") as client:
            assert isinstance(client, Client)
            (entry,) = (await client.list_tools()).tools
            assert entry.meta is not None
            uri = entry.meta["ui"]["resourceUri"]
            (contents,) = (await client.read_resource(uri)).contents
            assert (contents.mime_type, contents.text) == (TYPE, HTML)  # type: ignore[union-attr]
