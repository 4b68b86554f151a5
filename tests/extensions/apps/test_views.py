"""Views as resources: what is listed and read of them, in both kinds of revisions, and files that change."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enfilade import Context, File, MCPApp, TextResourceContents
from support.http_client.asgi_calls import AsgiClient

TYPE = "text/html;profile=mcp-app"
HTML = "<!doctype html><title>View</title>"
URI = "ui://weather/view"
pytestmark = pytest.mark.anyio


async def read(app: MCPApp, uri: str = URI) -> dict[str, Any]:
    """Return the contents of a view, which must be the same in both kinds of revisions."""
    client = AsgiClient(app)
    (contents,) = (await client.modern("resources/read", {"uri": uri})).result["contents"]
    opened = await client.initialize("2025-11-25")
    token = opened.headers["mcp-session-id"]
    (in_session,) = (await client.ask(token, "resources/read", {"uri": uri})).result["contents"]
    assert in_session == contents
    found: dict[str, Any] = contents
    return found


async def error_of(app: MCPApp, uri: str = URI) -> dict[str, Any]:
    answered = await AsgiClient(app).modern("resources/read", {"uri": uri})
    error: dict[str, Any] = answered.response["error"]
    return error


async def listed(app: MCPApp) -> list[dict[str, Any]]:
    resources: list[dict[str, Any]] = (await AsgiClient(app).modern("resources/list")).result["resources"]
    return resources


async def test_a_function_of_html() -> None:
    """X-APP-4, X-APP-6: its media type and its `_meta.ui` stand in the list and in the contents."""
    app = MCPApp()

    @app.view(URI, prefers_border=True, csp={"connect_domains": ["https://api.example.com"]})
    async def view(ctx: Context) -> str:
        """The forecast."""
        return HTML

    meta = {"ui": {"csp": {"connectDomains": ["https://api.example.com"]}, "prefersBorder": True}}
    assert await read(app) == {"uri": URI, "mimeType": TYPE, "text": HTML, "_meta": meta}
    (entry,) = await listed(app)
    assert entry == {"uri": URI, "name": "view", "description": "The forecast.", "mimeType": TYPE, "_meta": meta}


@pytest.mark.parametrize(
    "value",
    [
        HTML,
        HTML.encode(),
        TextResourceContents(uri=URI, mime_type="text/html", text=HTML),
        File(data=HTML.encode(), format="html", uri=URI),
    ],
    ids=["text", "bytes", "contents", "file"],
)
async def test_its_media_type_is_always_that_of_views(value: Any) -> None:
    """X-APP-4."""
    app = MCPApp()
    app.view(URI, name="view")(lambda: value)
    assert await read(app) == {"uri": URI, "mimeType": TYPE, "text": HTML}


async def test_contents_with_meta_of_their_own_keep_it() -> None:
    """X-APP-6: what a function says of its contents counts."""
    app, own = MCPApp(), {"ui": {"prefersBorder": False}}
    app.view(URI, name="view", prefers_border=True)(
        lambda: TextResourceContents(uri=URI, mime_type=TYPE, text=HTML, meta=own)
    )
    assert (await read(app))["_meta"] == own
    assert (await listed(app))[0]["_meta"] == {"ui": {"prefersBorder": True}}


@pytest.mark.parametrize(
    "value",
    ["<p>Hello</p>", {"a": 1}, b"\xff", "", "<!---->" * 1000],
    ids=["part", "data", "bytes", "empty", "comments"],
)
async def test_what_is_no_document_is_an_error(value: Any) -> None:
    """X-APP-4: a host would show nothing. Comments before it take no time that grows exponentially."""
    app = MCPApp()
    app.view(URI, name="view")(lambda: value)
    error = await error_of(app)
    assert error["message"] == f"The view {URI} " + (
        "is not in UTF-8" if value == b"\xff" else 'is no HTML document: it must begin with "<!doctype html>"'
    )


async def test_views_by_a_template_of_uris() -> None:
    """X-APP-6: the `_meta` of a template stands in the contents of each of its views."""
    app = MCPApp()

    @app.view("ui://report/{year}", prefers_border=False)
    def report(year: int) -> str:
        return f"{HTML}<p>{year}</p>"

    app.add_tool(lambda: "text", name="show", ui="ui://report/2026")
    contents = await read(app, "ui://report/2026")
    assert contents["text"] == f"{HTML}<p>2026</p>"
    assert (contents["mimeType"], contents["_meta"]) == (TYPE, {"ui": {"prefersBorder": False}})


async def test_an_older_revision_gets_no_meta_of_tools() -> None:
    """X-APP-3: `_meta` of a tool is there since 2025-06-18."""
    app = MCPApp()
    app.add_view(URI, html=HTML)
    app.add_tool(lambda: "text", name="show", ui=URI)

    async def metas(revision: str) -> list[Any]:
        client = AsgiClient(app)
        token = (await client.initialize(revision)).headers["mcp-session-id"]
        return [tool.get("_meta") for tool in (await client.ask(token, "tools/list")).result["tools"]]

    meta = {"ui": {"resourceUri": URI}, "ui/resourceUri": URI}
    assert await metas("2025-03-26") == [None]
    assert await metas("2025-06-18") == await metas("2025-11-25") == [meta]


# -- files -----------------------------------------------------------------------------------------------------


def change(file: Path, text: str) -> None:
    """Write a file whose time is that of a minute ago, as if it had been left alone since."""
    earlier = file.stat().st_mtime_ns + 1_000_000_000 if file.exists() else 1_000_000_000_000_000_000
    file.write_text(text, encoding="utf-8")
    os.utime(file, ns=(earlier, earlier))


async def test_a_file_is_read_anew_when_it_has_changed(tmp_path: Path) -> None:
    file, app = tmp_path / "view.html", MCPApp()
    app.add_view(URI, file=file, title="Weather")
    change(file, HTML)
    assert (await read(app))["text"] == HTML
    change(file, f"{HTML}<p>new</p>")
    assert (await read(app))["text"] == f"{HTML}<p>new</p>"
    file.write_text(f"{HTML}<p>now</p>", encoding="utf-8")
    assert (await read(app))["text"] == f"{HTML}<p>now</p>"
    file.write_text(f"{HTML}<p>NOW</p>", encoding="utf-8")  # within the same tick of the clock, and as long
    assert (await read(app))["text"] == f"{HTML}<p>NOW</p>"


async def test_a_file_that_does_not_change_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, app, opened = tmp_path / "view.html", MCPApp(), list[str]()
    app.add_view(URI, file=file)
    change(file, HTML)
    real: Callable[..., Any] = Path.open

    def counting(path: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(path.name)
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", counting)
    assert [(await read(app))["text"] for _ in range(3)] == [HTML] * 3
    assert opened.count("view.html") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no file"),
        ("<p>Hello</p>", 'must begin with "<!doctype html>"'),
        (HTML + "x" * 200, "makes the view larger than 100 bytes"),
        (b"<!doctype html>\xff", "is not in UTF-8"),
    ],
    ids=["missing", "part", "large", "encoding"],
)
async def test_what_is_wrong_with_a_file_is_for_the_log(
    text: str | bytes | None, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, app = tmp_path / "view.html", MCPApp()
    app.add_view(URI, file=file, max_size=100)
    change(file, HTML)
    assert (await read(app))["text"] == HTML
    file.unlink()
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    error = await error_of(app)
    assert error["message"] == "The view cannot be read; the log of the server says why"
    assert said in caplog.text


def no_values() -> dict[str, str]:
    """Nothing."""
    return {}


# -- templates -------------------------------------------------------------------------------------------------


async def test_a_template_escapes_its_values(tmp_path: Path) -> None:
    template, app = tmp_path / "view.html.j2", MCPApp()
    change(template, "<!doctype html>{% for city in cities %}<p>{{ city }}</p>{% endfor %}")
    app.add_view(URI, template=template, values={"cities": ["Riga", "<script>"]})
    assert (await read(app))["text"] == "<!doctype html><p>Riga</p><p>&lt;script&gt;</p>"
    change(template, "<!doctype html>{{ cities | length }}")
    assert (await read(app))["text"] == "<!doctype html>2"


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_function_gives_the_values_of_a_template(kind: str, tmp_path: Path) -> None:
    template, app = tmp_path / "view.html", MCPApp()
    template.write_text("<!doctype html><p>{{ revision }}</p>", encoding="utf-8")

    def values(ctx: Context) -> dict[str, str]:
        return {"revision": ctx.meta.get("x", "<none>")}

    async def later(ctx: Context) -> dict[str, str]:
        return values(ctx)

    app.view(URI, template=template, name="view")(values if kind == "def" else later)
    assert (await read(app))["text"] == "<!doctype html><p>&lt;none&gt;</p>"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("<!doctype html>{{ city }}", "'city' is undefined"),
        ("<!doctype html>\n{% if %}", "line 2"),
        ("<p>{{ 1 }}</p>", 'must begin with "<!doctype html>"'),
        ("<!doctype html>{% include 'other.html' %}", "there is no template"),
    ],
    ids=["undefined", "syntax", "part", "missing"],
)
async def test_what_is_wrong_with_a_template_is_for_the_log(
    source: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    template, app = tmp_path / "view.html", MCPApp()
    template.write_text(source, encoding="utf-8")
    app.view(URI, template=template)(no_values)
    assert (await error_of(app))["message"] == "The view cannot be read; the log of the server says why"
    assert said in caplog.text


async def test_a_function_of_a_template_that_returns_no_values(tmp_path: Path) -> None:
    template, app = tmp_path / "view.html", MCPApp()
    template.write_text(HTML, encoding="utf-8")
    app.view(URI, template=template, name="view")(lambda: HTML)
    assert "error" in (await AsgiClient(app).modern("resources/read", {"uri": URI})).response


# -- what cannot be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, TypeError, "takes one of html=, file=, folder= and template="),
        ({"html": HTML, "file": "a.html"}, TypeError, "not html and file"),
        ({"html": "<p>Hello</p>"}, ValueError, 'must begin with "<!doctype html>"'),
        ({"html": 7}, TypeError, "html is a string, not int"),
        ({"html": HTML, "values": {}}, TypeError, "values= are for template="),
        ({"html": HTML, "assets": "served"}, TypeError, 'assets="served" is for folder='),
        ({"folder": "dist", "assets": "served"}, ValueError, "needs base_url="),
        ({"folder": "dist", "assets": "served", "base_url": "cdn/app"}, ValueError, "needs base_url="),
        (
            {"folder": "dist", "assets": "served", "base_url": "https://ada:key@cdn.example.com/"},
            ValueError,
            "needs base_url=",
        ),
        (
            {"folder": "dist", "assets": "served", "base_url": "https://a.com; script-src */"},
            ValueError,
            "needs base_url=",
        ),
        ({"folder": "dist", "assets": "linked"}, ValueError, "assets is 'inline' or 'served', not 'linked'"),
        ({"folder": "dist", "base_url": "https://a.com"}, TypeError, 'base_url= is for assets="served"'),
        ({"folder": "dist", "entry": "../index.html"}, ValueError, "entry is an HTML file in the folder"),
        ({"file": "a.html", "max_size": 0}, ValueError, "max_size is a number of bytes"),
        ({"html": HTML, "mime_type": "text/html"}, TypeError, "a view has no option 'mime_type'"),
    ],
)
async def test_arguments_that_cannot_be(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        MCPApp().add_view(URI, **options)
    assert text in str(caught.value)


async def test_uris_that_cannot_be() -> None:
    """X-APP-4."""
    app = MCPApp()
    with pytest.raises(ValueError, match="begins with ui://"):
        app.add_view("https://example.com", html=HTML)
    with pytest.raises(ValueError, match="needs a function"):
        app.add_view("ui://report/{year}", html=HTML)
    with pytest.raises(TypeError, match=r'write @app\.view\("ui://\.\.\."\)'):
        app.view(lambda: HTML)  # type: ignore[arg-type]
    app.add_view(URI, html=HTML)
    with pytest.raises(ValueError, match=URI):
        app.add_view(URI, html=HTML)


async def test_without_jinja_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "enfilade\[apps\]"'):
        MCPApp().add_view(URI, template=tmp_path / "view.html")
