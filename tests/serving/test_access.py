"""`requires_scopes=` and `visible=`: what may be written, and what callers get in memory and over stdio."""

import asyncio
import functools
import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from mcp import MCPError
from mcp_types import ResourceTemplateReference

import enfilade
from enfilade import Context, MCPApp, Settings, ToolError
from enfilade.auth import Principal
from enfilade.primitives import uris
from enfilade.primitives.resource_index import ResourceIndex
from enfilade.serving.callers import access as access_module
from enfilade.serving.callers.access import AccessPolicy, Caller
from enfilade.serving.channel import Peer
from enfilade.serving.cluster import WorkerChannel
from enfilade.serving.pagination import _MOST_PAGES, _AudiencePages
from enfilade.serving.subscriptions import TOOLS, Change, Listener, hears, updated
from enfilade.testing import connect
from enfilade.timings import Timings
from enfilade.wire.jsonrpc import RpcError
from enfilade.wire.revisions import LATEST_STATELESS
from support.cluster.in_process_workers import SharedMemory
from support.stdio_client.connection import Stdio
from support.waiting import until

PEER = Peer(revision=LATEST_STATELESS)
SCOPES = ["notes:write"]


def text() -> str:
    """Return a text."""
    return "text"


def is_admin(principal: Principal | None, peer: Peer) -> bool:
    return principal is not None and "admin" in principal.scopes


async def decides_later(principal: object, peer: object) -> bool:
    return True


def decides_step_by_step(principal: object, peer: object) -> Any:
    yield True


class TestRegistration:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"requires_scopes": "notes:write"},
                r"text\(\): requires_scopes= takes a list of scopes: \['notes:write'\]",
            ),
            ({"requires_scopes": ["a b"]}, "'a b' in requires_scopes= is no scope"),
            ({"requires_scopes": [""]}, "'' in requires_scopes= is no scope"),
            ({"requires_scopes": ["ümlaut"]}, "is no scope"),
            ({"requires_scopes": [1]}, "takes a list of texts, and 1 is none"),
            ({"requires_scopes": 1}, "takes a list of scopes, not 1"),
            ({"requires_scopes": ["offline_access"]}, "offline_access in requires_scopes="),
            ({"visible": True}, r"text\(\): visible is a function, def visible\(principal"),
            ({"visible": decides_later}, r"decides_later\(\) decides at once who sees it"),
            ({"visible": functools.partial(decides_later)}, r"decides_later\(\) decides at once"),
            ({"visible": decides_step_by_step}, "decides at once"),
            ({"visible": lambda principal: True}, "takes a principal and a peer by position"),
            ({"visible": lambda principal, peer, more: True}, "takes a principal and a peer by position"),
            ({"visible": lambda *, principal, peer: True}, "takes a principal and a peer by position"),
        ],
        ids=lambda value: None if isinstance(value, str) else "",
    )
    @pytest.mark.parametrize("kind", ["tool", "prompt"])
    def test_what_cannot_be_is_refused(self, kind: str, options: dict[str, Any], message: str) -> None:
        app = MCPApp("strict")
        add = app.add_tool if kind == "tool" else app.add_prompt
        with pytest.raises((TypeError, ValueError), match=message):
            add(text, **options)
        assert app.offered_names() == []

    @pytest.mark.parametrize(
        "add",
        [
            lambda app, **options: app.add_resource(text, "a://b", **options),
            lambda app, **options: app.add_resource(lambda x: x, "a://{x}", name="x", **options),
            lambda app, **options: app.add_text_resource("a://b", "text", **options),
            lambda app, **options: app.add_file_resource("a://b", "file.txt", **options),
            lambda app, **options: app.add_directory("a://", ".", **options),
        ],
        ids=["resource", "template", "text", "file", "directory"],
    )
    def test_every_kind_of_resource_takes_them(self, add: Callable[..., Any]) -> None:
        item = add(MCPApp("resources"), requires_scopes=["a", "b", "a"], visible=is_admin)
        assert (item.access.scopes, item.access.visible) == (("a", "b"), is_admin)
        assert add(MCPApp("open")).access is None
        with pytest.raises(TypeError, match=r'resource "a://.*": requires_scopes= takes a list'):
            add(MCPApp("strict"), requires_scopes="a")
        with pytest.raises(ValueError, match='cache_scope="public" lets proxies hand it to anybody'):
            add(MCPApp("strict"), requires_scopes=["a"], cache_scope="public")

    def test_the_free_decorator_takes_them(self) -> None:
        @enfilade.tool(requires_scopes=SCOPES, visible=is_admin)
        def free() -> str:
            """Return a text."""
            return "text"

        app = MCPApp("free")
        tool = app._add_marked(free)
        assert tool.access is not None
        assert (tool.access.scopes, tool.access.visible) == (("notes:write",), is_admin)

    def test_an_open_tool_has_none(self) -> None:
        assert MCPApp("open").add_tool(text, requires_scopes=[], visible=None).access is None


def make_app(**options: Any) -> MCPApp:
    app = MCPApp("Notes", **options)

    @app.tool(requires_scopes=SCOPES)
    def write() -> str:
        """Write a note."""
        return "written"

    @app.tool(visible=is_admin)
    def purge() -> str:
        """Delete everything."""
        return "gone"

    @app.tool
    async def listed(ctx: Context) -> dict[str, list[str]]:
        """Return what a handler sees of its server."""
        return {
            "tools": [tool.name for tool in ctx.tools.list()],
            "resources": [resource.uri for resource in ctx.resources.list()],
            "prompts": [prompt.name for prompt in ctx.prompts.list()],
        }

    @app.tool
    async def drafted(ctx: Context) -> str:
        """Use a prompt."""
        return str(await ctx.prompts.get("draft"))

    app.add_resource(text, "note://open")
    app.add_resource(lambda name: name, "open://{name}", name="open")
    app.add_resource(text, "note://admin", visible=is_admin)
    app.add_resource(lambda name: name, "deep://{name}", name="deep", visible=is_admin)
    app.add_prompt(text, name="draft", requires_scopes=SCOPES)
    app.add_prompt(text, name="audit", visible=is_admin)
    return app


@pytest.mark.anyio
@pytest.mark.parametrize("era", ["stateless", "session"])
class TestInMemory:
    async def test_a_caller_without_scopes_reads_how_to_have_them(self, era: Any) -> None:
        """X-AUTH-5, X-AUTH-31: a JSON-RPC error that names them, and `principal=`."""
        async with connect(make_app(), era=era) as client:
            with pytest.raises(MCPError, match=r"needs the scope notes:write, .* principal=Principal") as refused:
                await client.call_tool("write")
            assert refused.value.error.code == -32600
        async with connect(make_app(), era=era, principal="ada") as client:
            with pytest.raises(MCPError, match="needs the scope notes:write, which the caller lacks"):
                await client.call_tool("write")
        async with connect(make_app(), era=era, principal=Principal("ada", scopes=SCOPES)) as client:
            assert (await client.call_tool("write")).content[0].text == "written"

    async def test_scopes_of_the_setting_hold_in_the_process(self, era: Any) -> None:
        """They are for whoever has started it; a caller that is named has its own."""
        app = make_app(settings=Settings(stdio_scopes=["*"]))
        async with connect(app, era=era) as client:
            assert (await client.call_tool("write")).content[0].text == "written"
        async with connect(app, era=era, principal="ada") as client:
            with pytest.raises(MCPError, match="which the caller lacks"):
                await client.call_tool("write")

    async def test_lists_of_the_official_client(self, era: Any) -> None:
        """B14: tools, resources, templates and prompts; handlers see what their caller sees."""
        admin = Principal("root", scopes=["admin"])
        for principal, hidden in ((admin, False), (None, True)):
            async with connect(make_app(), era=era, principal=principal) as client:
                tools = [tool.name for tool in (await client.list_tools()).tools]
                resources = [str(resource.uri) for resource in (await client.list_resources()).resources]
                templates = (await client.list_resource_templates()).resource_templates
                prompts = [prompt.name for prompt in (await client.list_prompts()).prompts]
                listed = (await client.call_tool("listed")).structured_content
            assert ("purge" not in tools, "audit" not in prompts) == (hidden, hidden)
            assert resources == ["note://open"] + ["note://admin"] * (not hidden)
            assert len(templates) == (1 if hidden else 2)
            assert listed == {"tools": tools, "resources": resources, "prompts": prompts}

    async def test_the_pages_of_an_audience_fit_together(self, era: Any) -> None:
        """R-532: a cursor counts what its caller sees, so that no page is short and nothing is skipped."""
        app = MCPApp("pages", settings=Settings(page_size=2))
        for number in range(9):
            app.add_tool(text, name=f"t{number}", visible=is_admin if number % 2 else None)
        for principal in (None, Principal("root", scopes=["admin"])):
            async with connect(app, era=era, principal=principal) as client:
                names: list[str] = []
                sizes: list[int] = []
                cursor: str | None = None
                while cursor is not None or not sizes:
                    page = await client.list_tools(cursor=cursor)
                    sizes.append(len(page.tools))
                    names += [tool.name for tool in page.tools]
                    cursor = page.next_cursor
            step = 1 if principal else 2
            assert names == [f"t{number}" for number in range(0, 9, step)]
            assert set(sizes[:-1]) == {2}

    async def test_capabilities_are_those_of_what_is_visible(self, era: Any) -> None:
        """B14, R-284: what needs scopes counts, since a client can ask for them."""
        app = MCPApp("capabilities")
        app.add_prompt(lambda name: name, name="greet", visible=is_admin)
        app.completion("greet", "name")(lambda value: ["ada"])
        app.add_resource(text, "note://admin", visible=is_admin)
        admin = Principal("root", scopes=["admin"])
        assert await offered_to(app, era, None) == set()
        assert await offered_to(app, era, admin) == {"prompts", "completions", "resources"}
        app.add_prompt(text, name="draft", requires_scopes=SCOPES)
        app.add_resource(lambda name: name, "deep://{name}", name="deep", requires_scopes=SCOPES)
        assert await offered_to(app, era, None) == {"prompts", "resources"}
        app.completion("deep://{name}", "name")(lambda value: ["a"])
        assert await offered_to(app, era, None) == {"prompts", "completions", "resources"}

    async def test_what_is_invisible_is_unknown(self, era: Any) -> None:
        async with connect(make_app(), era=era) as client:
            with pytest.raises(MCPError, match="Unknown tool: purge"):
                await client.call_tool("purge")
            with pytest.raises(MCPError, match="Unknown prompt: audit"):
                await client.get_prompt("audit")
            for uri in ("note://admin", "deep://a"):
                with pytest.raises(MCPError, match=r"(?i)not found"):
                    await client.read_resource(uri)

    async def test_a_chained_prompt_is_told_which_scopes(self, era: Any) -> None:
        async with connect(make_app(), era=era) as client:
            with pytest.raises(ToolError, match="needs the scope notes:write, which the caller lacks"):
                result = await client.call_tool("drafted")
                assert result.is_error
                raise ToolError(result.content[0].text)


async def offered_to(app: MCPApp, era: Any, principal: Principal | None) -> set[str]:
    """Return the capabilities that depend on the caller."""
    async with connect(app, era=era, principal=principal) as client:
        capabilities = client.server_capabilities
    names = ("prompts", "completions", "resources")
    return {name for name in names if getattr(capabilities, name) is not None}


@pytest.mark.anyio
async def test_a_hidden_resource_gives_way_to_a_template() -> None:
    """B14: it counts as one that does not exist, so what else is at its URI is served."""
    app = MCPApp("overlapping")
    app.add_text_resource("note://a", "hidden", visible=is_admin)
    app.add_resource(lambda name: f"note {name}", "note://{name}", name="note")
    for principal, expected in ((None, "note a"), (Principal("root", scopes=["admin"]), "hidden")):
        async with connect(app, principal=principal) as client:
            assert (await client.read_resource("note://a")).contents[0].text == expected


LONG_URI = "docs://" + "é" * 9_000

#: What a client can do with a URI, and the era that has it.
URI_REQUESTS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "resources/read": ("stateless", lambda client: client.read_resource(LONG_URI)),
    "resources/subscribe": ("session", lambda client: client.subscribe_resource(LONG_URI)),
    "resources/unsubscribe": ("session", lambda client: client.unsubscribe_resource(LONG_URI)),
    "completion/complete": (
        "stateless",
        lambda client: client.complete(
            ResourceTemplateReference(type="ref/resource", uri=LONG_URI), {"name": "name", "value": ""}
        ),
    ),
}


async def pass_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:.*is removed as of 2026-07-28")
@pytest.mark.parametrize("middleware", [[], [pass_on]], ids=["plain", "middleware"])
@pytest.mark.parametrize("method", URI_REQUESTS)
async def test_a_uri_that_is_too_long_is_refused_before_it_is_matched(
    method: str, middleware: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """B14: to match it would block the event loop, for everybody."""
    app = MCPApp("docs", middleware=middleware)
    app.add_resource(lambda name: name, "docs://{name}", name="docs", requires_scopes=SCOPES)
    app.completion("docs://{name}", "name")(lambda value: ["a"])
    era, send = URI_REQUESTS[method]
    lengths: list[int] = []

    def canonical(uri: str) -> str:
        lengths.append(len(uri))
        return original(uri)

    original = uris.canonical
    async with connect(app, era=era) as client:
        monkeypatch.setattr(uris, "canonical", canonical)
        with pytest.raises(MCPError, match="the URI is longer than 8192 characters") as refused:
            await send(client)
    assert refused.value.error.code == -32602
    assert lengths == []


SERVER = """
from enfilade import MCPApp
app = MCPApp("pipe")
@app.tool(requires_scopes=["notes:write"])
def write() -> str:
    "Write a note."
    return "written"
if __name__ == "__main__":
    app.run("stdio")
"""


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        ("", False),
        ("notes:read", False),
        ("notes:read,notes:write", True),
        ("*", True),
    ],
)
def test_the_client_over_stdio_has_the_scopes_of_a_setting(tmp_path: Path, granted: str, allowed: bool) -> None:
    """X-AUTH-5: nobody is known there; the error names the scopes and the setting."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    with Stdio([sys.executable, str(script)], {"ENFILADE_STDIO_SCOPES": granted}) as stdio:
        stdio.send({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE})
        stdio.answer(1)
        stdio.send({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "write"}})
        answer = stdio.answer(2)
    if allowed:
        assert answer["result"]["content"][0]["text"] == "written"
    else:
        assert answer["error"] == {
            "code": -32600,
            "message": "This needs the scope notes:write, and nobody is known to call; "
            "ENFILADE_STDIO_SCOPES=notes:write gives it to the client of this process",
        }


INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


class TestVisible:
    @pytest.mark.parametrize("fault", ["raises", "returns None", "returns 1", "exits"])
    def test_a_function_that_fails_hides_and_is_logged_once(
        self, fault: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """B14: nothing is shown by mistake."""

        def visible(principal: object, peer: object) -> Any:
            if fault == "raises":
                raise LookupError("nobody there")
            if fault == "exits":
                raise SystemExit(3)
            return 1 if fault == "returns 1" else None

        app = MCPApp("faults")
        access = app.add_tool(text, visible=visible).access
        policy = AccessPolicy()
        for _ in range(3):
            assert policy.sees(Caller(None, PEER), access) is False
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert "visible" in caplog.text

    def test_one_function_is_called_once_for_a_list(self) -> None:
        calls: list[object] = []

        def visible(principal: object, peer: object) -> bool:
            calls.append(principal)
            return False

        app = MCPApp("many")
        for number in range(100):
            app.add_tool(text, name=f"t{number}", visible=visible)
        assert len(AccessPolicy().hidden(app.tools.items(), Caller(None, PEER))) == 100
        assert len(calls) == 1


HIERARCHY: Mapping[str, list[str]] = {"a": ["b"], "b": ["c", "d"], "d": ["a"]}
some_scopes = st.frozensets(st.sampled_from("abcde"))


@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(st.tuples(some_scopes, st.sampled_from([None, True, False])), max_size=8),
    granted=some_scopes,
    with_principal=st.booleans(),
)
def test_a_list_never_has_what_a_call_refuses(
    items: list[tuple[frozenset[str], bool | None]], granted: frozenset[str], with_principal: bool
) -> None:
    """B14, X-AUTH-6: with `list_by_scope`, what is listed may be called, and what may be called is listed."""
    app = MCPApp("property")
    for number, (scopes, shown) in enumerate(items):
        visible = None if shown is None else (lambda principal, peer, shown=shown: shown)
        app.add_tool(text, name=f"t{number}", requires_scopes=sorted(scopes), visible=visible)
    policy = AccessPolicy(HIERARCHY, list_by_scope=True)
    caller = Caller(Principal("ada", scopes=granted) if with_principal else None, PEER)
    tools = app.tools.items()
    listed = {tool.name for tool in policy.shown(tools, caller)}
    callable_ = {
        tool.name
        for tool in tools
        if tool.access is None or (policy.sees(caller, tool.access) and policy.holds(caller, tool.access.scopes))
    }
    assert listed == callable_


@given(granted=some_scopes)
def test_a_closure_is_the_least_one(granted: frozenset[str]) -> None:
    """R-607: also in a circle; what is granted stays."""
    policy = AccessPolicy(HIERARCHY)
    caller = Caller(Principal("ada", scopes=granted), PEER)
    held = {scope for scope in "abcde" if policy.holds(caller, [scope])}
    expected = set(granted) | (set("abcd") if granted & set("abd") else set())
    assert held == expected


def test_pages_of_audiences_are_bounded() -> None:
    """B14: by their number and by their bytes; those that were used last stay."""
    pages = _AudiencePages()
    for number in range(_MOST_PAGES + 10):
        pages.add((str(number), "", frozenset()), b"x")
    assert pages.get(("9", "", frozenset())) is None
    assert pages.get(("10", "", frozenset())) == b"x"
    pages.add(("large", "", frozenset()), b"x" * 8 * 1024 * 1024)
    assert pages.get(("10", "", frozenset())) is None
    assert pages.get(("large", "", frozenset())) is not None


@pytest.mark.anyio
async def test_another_worker_looks_up_who_may_see_an_item() -> None:
    """B14, R-2CB: by its name; of one that it does not have it tells nobody, since its lists do not have it."""
    store, apps = SharedMemory(), [MCPApp("one"), MCPApp("other")]
    for app in apps:
        app.add_tool(text, name="hidden", visible=is_admin)
        channel = WorkerChannel(store)
        await channel.start()
        app.changes.share(channel)
    heard: dict[str, list[str]] = {"root": [], "ada": []}
    for name, granted in (("root", ["admin"]), ("ada", ["other"])):
        caller = Caller(Principal(name, scopes=granted), PEER)
        deliver = functools.partial(record, heard[name])
        timings = Timings(change_debounce=0.001)
        listener = Listener(
            lambda change: True, deliver, may_see=partial(hears, AccessPolicy(), caller), timings=timings
        )
        assert apps[1].changes.attach(listener)

    async def announced() -> dict[str, list[str]]:
        apps[0].changes.announce(updated("note://fence"))
        await until(lambda: all(changes[-1:] == [UPDATED] for changes in heard.values()))
        lists = {name: changes[:-1] for name, changes in heard.items()}
        for changes in heard.values():
            changes.clear()
        return lists

    apps[0].remove_tool("hidden")
    assert await announced() == {"root": [TOOLS.method], "ada": []}
    apps[0].add_tool(text, name="elsewhere", visible=is_admin)
    assert await announced() == {"root": [], "ada": []}
    apps[0].add_tool(text, name="open")
    assert await announced() == {"root": [TOOLS.method], "ada": [TOOLS.method]}


UPDATED = "notifications/resources/updated"


def record(changes: list[str], change: Change) -> bool:
    changes.append(change.method)
    return True


@pytest.mark.anyio
async def test_a_check_of_many_uris_lets_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-606, R-714: it takes as long as there are URIs and templates, but not at a time."""
    monkeypatch.setattr(access_module, "_SLICE", 0.0)
    app = MCPApp("many")
    for number in range(3):
        app.add_resource(lambda name: name, f"note{number}://{{name}}", requires_scopes=[f"scope-{number}"])
    policy = AccessPolicy(resources=ResourceIndex(app.resources, app.templates))
    channel = SimpleNamespace(local_scopes=None, lists_all=False, http=None)
    request: Any = SimpleNamespace(
        root=SimpleNamespace(channel=channel), channel=channel, principal=None, peer=PEER, parent=None
    )
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count_turns())
    await policy.require_for_many([f"other://{number}" for number in range(50)], request)
    assert turns >= 50
    with pytest.raises(RpcError, match="scope-0 scope-2"):
        await policy.require_for_many(["note0://a", "other://a", "note2://a", "note0://b"], request)
    other.cancel()
