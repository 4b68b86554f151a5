"""The preview in a real browser: an author calls tools, and views speak with their host.

The views are those of `examples/apps`, one with the official library of views (`@modelcontextprotocol/ext-apps`),
and small ones for what a view must not do.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import tooling
from support.browser import open_browser
from support.servers.processes import ROOT, ServerProcess, enfilade_command, free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FrameLocator, Page

SERVER = '''
import asyncio
from pathlib import Path

from enfilade import Context, MCPApp, ToolResult

app = MCPApp(name="previewed")
HERE = Path(__file__).parent
app.add_view("ui://library", file=HERE / "library.html", prefers_border=True)
app.add_view("ui://strict", html="""<!doctype html><p id=out></p><script>
  const out = document.getElementById("out");
  fetch("http://127.0.0.1:9/").catch(() => out.append("fetch "));
  document.addEventListener("securitypolicyviolation", () => out.append("blocked "));
  try { parent.parent.document.title; out.append("parent "); } catch { out.append("apart "); }
</script><img src="http://127.0.0.1:9/x.png">""")
app.add_view("ui://early", html="""<!doctype html><p id=out></p><script>
  addEventListener("message", ({ data }) => document.getElementById("out").append(data.method ?? "answer"));
</script>""")


@app.tool(ui="ui://library")
def add(a: int, b: int = 2, note: str | None = None) -> ToolResult:
    """Add two numbers."""
    return ToolResult(content=f"{a + b}", structured_content={"sum": a + b, "note": note})


@app.tool(ui={"resource_uri": "ui://library", "visibility": ["app"]})
def double(a: int) -> int:
    """Double a number."""
    return 2 * a


@app.tool(ui={"resource_uri": "ui://library", "visibility": ["model"]})
def secret() -> str:
    """For the model alone."""
    return "secret"


@app.tool(ui="ui://strict")
def strict() -> str:
    """Show a view that wants too much."""
    return "text"


@app.tool(ui="ui://early")
def early() -> str:
    """Show a view that never says that it is initialized."""
    return "text"


@app.tool(ui="ui://library")
async def slow(ctx: Context) -> str:
    """Take long."""
    await asyncio.sleep(60)
    return "done"


@app.tool(ui="ui://library")
def failing() -> str:
    """Fail."""
    raise RuntimeError("hidden")


app.add_text_resource("note://one", "A note.")
'''

#: A view with the official library; it writes down all that it hears, and has a button for each request.
LIBRARY_VIEW = """<!doctype html><meta charset="utf-8">
<button id="double">double</button><button id="secret">secret</button><button id="read">read</button>
<button id="message">message</button><button id="context">context</button><button id="link">link</button>
<button id="full">full</button><button id="unknown">unknown</button><ul id="log"></ul>
<script type="module">
BUNDLE
const { App } = globalThis.extApps;
const app = new App({ name: "library", version: "1" }, { availableDisplayModes: ["inline", "fullscreen"] });
const log = (...words) => {
  const item = document.createElement("li");
  item.textContent = words.map((word) => (typeof word === "string" ? word : JSON.stringify(word))).join(" ");
  document.getElementById("log").append(item);
};
app.ontoolinput = ({ arguments: args }) => log("input", args);
app.ontoolresult = ({ content, structuredContent }) => log("result", content[0].text, structuredContent ?? "");
app.ontoolcancelled = ({ reason }) => log("cancelled", reason ?? "");
const named = (context) => Object.keys(context).sort().join(",");
app.onhostcontextchanged = (context) => log("changed", named(context), context.theme ?? "");
app.onteardown = async () => { log("teardown"); return {}; };
const standard = { version: 1, vendor: "test", validate: (value) => ({ value }) };
const anything = { "~standard": standard, parse: (value) => value };
const on = (id, action) => document.getElementById(id).addEventListener("click", async () => {
  try { log(id, await action()); } catch (error) { log(id, "error", error.message); }
});
on("double", async () => (await app.callServerTool({ name: "double", arguments: { a: 21 } })).content[0].text);
on("secret", () => app.callServerTool({ name: "secret", arguments: {} }));
on("read", async () => (await app.readServerResource({ uri: "note://one" })).contents[0].text);
on("message", () => app.sendMessage({ role: "user", content: [{ type: "text", text: "Hello, chat" }] }));
on("context", () => app.updateModelContext({ content: [{ type: "text", text: "Looks at 42" }] }));
on("link", () => app.openLink({ url: "https://example.com/page" }));
on("full", () => app.requestDisplayMode({ mode: "fullscreen" }));
on("unknown", () => app.request({ method: "ui/unheard-of", params: {} }, anything));
await app.connect();
log("connected", app.getHostVersion().name, app.getHostContext().theme, app.getHostContext().displayMode);
</script>"""


#: A server that lets in who has a key.
GUARDED = '''
from enfilade import Context, MCPApp
from enfilade.auth import APIKeys, Principal, ResourceServer
from enfilade.auth.api_keys import hash_key

keys = APIKeys({hash_key("key-of-a-test"): Principal("ci")})
app = MCPApp(name="guarded", auth=ResourceServer("http://127.0.0.1:8000/mcp", verifiers=[keys]))
app.add_view("ui://view", html="<!doctype html><p>A view</p>")


@app.tool(ui="ui://view")
def who(ctx: Context) -> str:
    """Return who calls."""
    return f"It is {ctx.user_id}"
'''

#: Tools for two official examples of views, with what the servers of these return.
OFFICIAL = '''
from pathlib import Path

from enfilade import MCPApp, ToolResult

app = MCPApp(name="official")
for name in ("basic-vanillajs", "budget-allocator"):
    app.add_view(f"ui://official/{name}", file=Path(__file__).with_name(f"{name}.html"))
TIMES = iter(["2026-11-30T12:00:00.000Z", "2026-11-30T12:00:01.000Z"])
CATEGORIES = [{"id": "ads", "name": "Marketing", "color": "#3b82f6", "defaultPercent": 100}]
HISTORY = [{"month": f"2025-{month:02}", "allocations": {"ads": 100}} for month in range(1, 13)]
RANGE = {"ads": {"p25": 20, "p50": 30, "p75": 45}}


@app.tool(name="get-time", ui="ui://official/basic-vanillajs")
def get_time() -> ToolResult:
    """Return a time."""
    time = next(TIMES)
    return ToolResult(content=time, structured_content={"time": time})


@app.tool(name="get-budget-data", ui="ui://official/budget-allocator")
def get_budget_data() -> ToolResult:
    """Return a budget."""
    config = {"categories": CATEGORIES, "presetBudgets": [50000], "defaultBudget": 50000, "currency": "USD"}
    benchmarks = [{"stage": "Seed", "categoryBenchmarks": RANGE}]
    analytics = {"history": HISTORY, "benchmarks": benchmarks, "stages": ["Seed"], "defaultStage": "Seed"}
    data = {"config": {**config, "currencySymbol": "$"}, "analytics": analytics}
    return ToolResult(content="A budget.", structured_content=data)
'''


def library_view() -> str:
    """Return the view with the library in it, as a bundler would put it there."""
    with tooling.or_skip():
        file = tooling.node_package("@modelcontextprotocol/ext-apps") / "dist" / "src" / "app-with-deps.js"
    code = file.read_text(encoding="utf-8").replace("</script", "<\\/script")
    start = code.rindex("export{")
    names = re.findall(r"([\w$]+)(?: as ([\w$]+))?", code[start + len("export{") : code.index("}", start)])
    exported = ", ".join(f"{public or local}: {local}" for local, public in names)
    bundle = f"{code[:start]};globalThis.extApps = {{{exported}}};"
    return LIBRARY_VIEW.replace("BUNDLE", bundle)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return where the preview of the server above is."""
    folder = tmp_path_factory.mktemp("previewed")
    (folder / "pyproject.toml").touch()
    (folder / "server.py").write_text(SERVER, encoding="utf-8")
    (folder / "library.html").write_text(library_view(), encoding="utf-8")
    yield from serve(folder, "server.py")


@pytest.fixture(scope="module")
def example() -> Iterator[str]:
    """Return where the preview of `examples/apps` is."""
    yield from serve(ROOT / "examples" / "apps", "server.py")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return where the preview of a server is that wants a key."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "pyproject.toml").touch()
    (folder / "server.py").write_text(GUARDED, encoding="utf-8")
    yield from serve(folder, "server.py")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return where the preview of official examples of views is."""
    folder = tmp_path_factory.mktemp("official")
    (folder / "pyproject.toml").touch()
    (folder / "server.py").write_text(OFFICIAL, encoding="utf-8")
    with tooling.or_skip():
        for name in ("basic-vanillajs", "budget-allocator"):
            shutil.copy(tooling.example_view(name), folder)
    yield from serve(folder, "server.py")


def serve(folder: Path, file: str) -> Iterator[str]:
    command = enfilade_command("dev", file, "-p", "{port}")
    with ServerProcess(command, port=free_port(), cwd=folder, start_timeout=90) as server:
        yield server.url.replace("/mcp", "/preview/")


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    opened = browser.new_page(color_scheme="light")
    opened.set_default_timeout(60_000)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    opened.close()
    assert errors == []


def call(page: "Page", address: str, tool: str, **arguments: Any) -> "FrameLocator":
    """Call a tool by its form, and return its view."""
    page.goto(f"{address}#{tool}")
    for name, value in arguments.items():
        page.locator(f"#argument-{name}").fill(str(value))
    page.get_by_role("button", name="Call", exact=True).click()
    return page.frame_locator("#frame iframe").frame_locator("iframe")


def log_of(view: "FrameLocator", entry: str) -> None:
    """Wait until a view has written something down."""
    view.locator("#log li", has_text=entry).first.wait_for()


def test_an_author_sees_the_result_and_the_view(page: "Page", example: str) -> None:
    """X-APP-5, X-APP-7: the example of the documentation, as the page shows it."""
    view = call(page, example, "forecast", city="Riga", days=3)
    view.locator("h1", has_text="Riga, the next 3 days").wait_for()
    assert view.locator("#days button").count() == 3
    assert "Monday: 6 to 21 °C, windy" in page.locator("#panel pre.text").inner_text()
    view.locator("#days button").nth(1).click()
    view.locator("#hours", has_text="06:00").wait_for()
    view.locator("#ask").click()
    page.get_by_role("tab", name="Chat 1").click()
    assert "What should I wear in Riga?" in page.locator("#panel").inner_text()
    page.get_by_role("tab", name="Model context 1").click()
    assert "The user looks at day 1 of Riga." in page.locator("#panel").inner_text()
    height = page.locator("#frame iframe").evaluate("frame => frame.clientHeight")
    assert 200 < height < 400, "it has the height that the view has said"


def test_the_official_library_hears_input_and_result_in_order(page: "Page", address: str) -> None:
    """The handshake, then the arguments, then the result, each once."""
    view = call(page, address, "add", a=40)
    log_of(view, 'result 42 {"sum":42,"note":null}')
    entries = [text for text in view.locator("#log li").all_inner_texts() if not text.startswith("changed")]
    assert entries == [
        'input {"a":40,"b":2}',
        'result 42 {"sum":42,"note":null}',
        "connected enfilade-preview light inline",
    ] or entries == [
        "connected enfilade-preview light inline",
        'input {"a":40,"b":2}',
        'result 42 {"sum":42,"note":null}',
    ]


def test_what_a_view_asks_of_its_host(page: "Page", address: str) -> None:
    """X-APP-8: tools of the server, resources, chat, model, display mode; and what is refused."""
    view = call(page, address, "add", a=1)
    log_of(view, "result 3")
    expected = {
        "double": "double 42",
        "secret": "secret error",
        "read": "read A note.",
        "message": "message {}",
        "context": "context {}",
        "full": 'full {"mode":"fullscreen"}',
        "unknown": "unknown error",
    }
    for button, entry in expected.items():
        if button == "full":
            continue
        view.locator(f"#{button}").click()
        log_of(view, entry)
    assert 'visibility lacks "app"' in view.locator("#log").inner_text()
    assert "this host has no ui/unheard-of" in view.locator("#log").inner_text()
    view.locator("#full").click()
    log_of(view, expected["full"])
    size = page.locator("#frame iframe").evaluate("frame => frame.clientHeight / innerHeight")
    assert size > 0.8
    page.get_by_role("button", name="Leave full screen").click()
    log_of(view, "changed containerDimensions,displayMode")
    page.get_by_role("tab", name="Chat").click()
    assert "Hello, chat" in page.locator("#panel").inner_text()


def test_a_link_is_opened_only_by_the_person(page: "Page", address: str) -> None:
    view = call(page, address, "add", a=1)
    log_of(view, "result 3")
    view.locator("#link").click()
    page.get_by_role("button", name="Refuse").click()
    log_of(view, "link error")
    view.locator("#link").click()
    page.context.route("https://example.com/**", lambda route: route.fulfill(body="opened"))
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open").click()
    log_of(view, "link {}")
    assert opened.value.url == "https://example.com/page"
    opened.value.close()


def test_theme_and_width_change_around_a_view(page: "Page", address: str) -> None:
    view = call(page, address, "add", a=1)
    log_of(view, "result 3")
    page.get_by_label("Theme").select_option("dark")
    log_of(view, "changed theme dark")
    page.get_by_label("Width").select_option("390")
    log_of(view, "changed containerDimensions")
    assert page.locator("#frame iframe").evaluate("frame => frame.clientWidth") <= 390
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_a_cancelled_call_is_told_to_the_view(page: "Page", address: str) -> None:
    view = call(page, address, "slow")
    log_of(view, "input {}")
    page.get_by_role("button", name="Cancel").click()
    log_of(view, "cancelled cancelled by the user")
    assert page.locator("#status").inner_text() == "Cancelled"


def test_a_failing_tool(page: "Page", address: str) -> None:
    view = call(page, address, "failing")
    log_of(view, "result Tool 'failing' failed with an internal error")
    assert page.locator("#status").inner_text().startswith("Error in")
    assert "hidden" not in page.locator("body").inner_text()


def test_another_call_puts_the_view_away_first(page: "Page", address: str) -> None:
    log_of(call(page, address, "add", a=1), "result 3")
    page.locator("#argument-a").fill("2")
    page.get_by_role("button", name="Call", exact=True).click()
    view = page.frame_locator("#frame iframe").frame_locator("iframe")
    log_of(view, "result 4")
    page.get_by_role("button", name="strict").click()
    page.get_by_role("button", name="Call", exact=True).click()
    view.locator("#out").wait_for()
    assert page.locator("#frame iframe").count() == 1


def test_a_view_without_csp_reaches_nothing(page: "Page", address: str) -> None:
    """X-APP-5: the browser enforces it, and the author reads what would allow it."""
    view = call(page, address, "strict")
    view.locator("#out", has_text="fetch").wait_for()
    assert "apart" in view.locator("#out").inner_text()
    assert "parent " not in view.locator("#out").inner_text()
    page.get_by_role("tab", name=re.compile("Messages")).click()
    page.locator("#panel", has_text="blocked by connect-src").wait_for()
    text = page.locator("#panel").inner_text()
    assert 'allow it by csp={"connect_domains": ["http://127.0.0.1:9"]}' in text
    assert 'allow it by csp={"resource_domains": ["http://127.0.0.1:9"]}' in text


def test_a_view_hears_nothing_before_it_is_initialized(page: "Page", address: str) -> None:
    view = call(page, address, "early")
    page.locator("#status", has_text="Done").wait_for()
    page.wait_for_timeout(300)
    assert view.locator("#out").inner_text() == ""


def test_official_examples_of_views_work(page: "Page", official: str) -> None:
    """R-573: as they are in their packages, from our server and in our host."""
    view = call(page, official, "get-time")
    view.locator("#server-time", has_text="2026-11-30T12:00:00.000Z").wait_for()
    view.get_by_role("button", name="Get Server Time").click()
    view.locator("#server-time", has_text="2026-11-30T12:00:01.000Z").wait_for()
    view.get_by_role("button", name="Send Message").click()
    page.get_by_role("tab", name="Chat 1").click()
    assert "This is message text." in page.locator("#panel").inner_text()
    view.get_by_role("button", name="Send Log").click()
    page.get_by_role("tab", name=re.compile("Messages")).click()
    page.locator("#panel summary", has_text="notifications/message").wait_for()
    view = call(page, official, "get-budget-data")
    view.get_by_text("Marketing").first.wait_for()
    assert view.locator("canvas").first.evaluate("canvas => canvas.width") > 0


def test_a_server_with_authorization_gets_a_token(page: "Page", guarded: str) -> None:
    page.goto(guarded)
    page.get_by_label("Bearer token").fill("key-of-a-test")
    page.get_by_role("button", name="Use it").click()
    page.get_by_role("button", name="Call", exact=True).click()
    page.locator("#panel pre.text", has_text="It is ci").wait_for()
    page.frame_locator("#frame iframe").frame_locator("iframe").get_by_text("A view").wait_for()
    assert page.locator("#notice").is_hidden()


def test_arguments_that_cannot_be_are_said_at_the_form(page: "Page", address: str) -> None:
    page.goto(f"{address}#add")
    page.get_by_label("JSON", exact=True).check()
    page.locator("#json").fill('{"a": 20, "b": 22}')
    page.get_by_role("button", name="Call", exact=True).click()
    page.locator("#panel pre.text", has_text="42").wait_for()
    page.locator("#json").fill("{")
    page.get_by_role("button", name="Call", exact=True).click()
    assert "JSON" in page.locator("#status").inner_text()


def test_tools_that_are_not_for_the_model_say_so(page: "Page", address: str) -> None:
    """X-APP-3."""
    page.goto(address)
    page.locator("#tools li").first.wait_for()
    texts = page.locator("#tools li").all_inner_texts()
    assert [text.replace("\n", " ").strip() for text in texts][:3] == [
        "add",
        "double view only",
        "secret model only",
    ]


def test_on_a_telephone_nothing_is_wider_than_the_screen(browser: "Browser", example: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    view = call(page, example, "forecast", city="Riga")
    view.locator("h1", has_text="Riga, the next 5 days").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.close()
