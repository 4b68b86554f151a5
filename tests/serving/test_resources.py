"""`serving/resources.py` over both transports in both eras: lists, contents, what is not there (R-520 ff)."""

import base64
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from mcp.shared.exceptions import MCPError

from enfilade import Context, Depends, MCPApp, PromptError, Request, ResourceError, ToolError, connect
from enfilade.wire.content import TextResourceContents
from enfilade.wire.jsonrpc import METHOD_NOT_FOUND
from enfilade.wire.revisions import HANDSHAKE
from support.harness import McpClient, Outcome, Stdio
from support.http_client.asgi_calls import AsgiClient
from support.servers import resource_server as served
from support.servers.resource_server import PIXEL

NOT_FOUND = {False: -32002, True: -32602}
"""Code by whether the client is stateless."""


def read(client: McpClient, uri: str) -> Outcome:
    return client.ask("resources/read", {"uri": uri})


def contents(client: McpClient, uri: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(client, uri).result["contents"]
    return found


def test_lists_resources_and_no_templates(resource_client: McpClient) -> None:
    found = resource_client.ask("resources/list").result["resources"]
    assert [each["uri"] for each in found] == [
        "library://rules",
        "library://stamp",
        "library://catalogue",
        "library://hall",
    ]
    assert found[0] == {
        "uri": "library://rules",
        "name": "rules",
        "title": "House rules",
        "mimeType": "text/plain",
        "size": 9,
        "annotations": {"priority": 0.9},
    }
    assert found[2]["_meta"] == {"example.org/a": 1}


def test_lists_templates(resource_client: McpClient) -> None:
    found = resource_client.ask("resources/templates/list").result["resourceTemplates"]
    assert [each["uriTemplate"] for each in found] == [
        "library://{shelf}/{title}{?page}",
        "loans://{reader}{/days*}",
        "failing://{how}",
    ]
    assert found[0] == {
        "uriTemplate": "library://{shelf}/{title}{?page}",
        "name": "book",
        "description": "A page of a book.",
        "mimeType": "text/plain",
    }


def test_reads_text(resource_client: McpClient) -> None:
    assert contents(resource_client, "library://rules") == [
        {"uri": "library://rules", "mimeType": "text/plain", "text": "Be quiet."}
    ]


def test_reads_bytes(resource_client: McpClient) -> None:
    (found,) = contents(resource_client, "library://stamp")
    assert base64.b64decode(found.pop("blob")) == PIXEL
    assert found == {"uri": "library://stamp", "mimeType": "image/png"}


def test_reads_data(resource_client: McpClient) -> None:
    (found,) = contents(resource_client, "library://catalogue")
    assert found["mimeType"] == "application/json"
    assert json.loads(found["text"])[1] == {"title": "Ulysses", "pages": 736}


def test_reads_several_contents(resource_client: McpClient) -> None:
    """R-522."""
    assert [each["uri"] for each in contents(resource_client, "library://hall")] == [
        "library://hall/clock",
        "library://hall",
    ]


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("library://fiction/Emma", "FICTION: 'Emma', page 1"),
        ("library://facts/A%20%2F%20B?page=7", "FACTS: 'A / B', page 7"),
        ("LIBRARY://fiction/Zo%c3%ab", "FICTION: 'Zoë', page 1"),
    ],
)
def test_reads_by_template(resource_client: McpClient, uri: str, text: str) -> None:
    """The contents have the URI that was asked for, however it was spelled."""
    assert contents(resource_client, uri) == [{"uri": uri, "mimeType": "text/plain", "text": text}]


def test_a_template_may_read_another_resource(resource_client: McpClient) -> None:
    (found,) = contents(resource_client, "loans://Ada/2026-01-01/2026-01-02")
    assert json.loads(found["text"]) == {
        "reader": "Ada",
        "days": ["2026-01-01", "2026-01-02"],
        "rules": "Be quiet.",
    }


@pytest.mark.parametrize(
    "uri", ["library://nothing", "nowhere://x", "library://fiction/x/y", "", "no URI", "failing://"]
)
def test_what_is_not_there(resource_client: McpClient, uri: str) -> None:
    """R-523: a code for each revision, with the URI, and never empty contents."""
    error = read(resource_client, uri).error
    assert error["code"] == NOT_FOUND[resource_client.stateless]
    assert error["data"] == {"uri": uri}


def test_what_its_author_says_is_not_there(resource_client: McpClient) -> None:
    """R-523."""
    error = read(resource_client, "failing://gone").error
    assert error["code"] == NOT_FOUND[resource_client.stateless]
    assert error["message"] == "It was sold"
    assert error["data"] == {"uri": "failing://gone", "year": 1990}


@pytest.mark.parametrize("revision", HANDSHAKE)
def test_every_revision_of_the_session_era(revision: str) -> None:
    """R-501: each in its own words, which the harness holds against its schema."""
    with Stdio([sys.executable, served.__file__, "stdio"]) as stdio:
        stdio.initialize(revision)
        for method in ("resources/list", "resources/templates/list", "prompts/list"):
            assert "error" not in stdio.ask(method)
        for uri in ("library://rules", "library://stamp", "library://hall", "loans://Ada"):
            assert "error" not in stdio.ask("resources/read", {"uri": uri})
        assert "error" not in stdio.ask("prompts/get", {"name": "describe"})
        assert stdio.ask("resources/read", {"uri": "library://nothing"})["error"]["code"] == -32002


def test_what_another_resource_says_is_not_there(resource_client: McpClient) -> None:
    """The URI of the error is the one that the client asked for."""
    error = read(resource_client, "failing://inner").error
    assert error["code"] == NOT_FOUND[resource_client.stateless]
    assert error["message"] == "Resource not found: library://nothing"
    assert error["data"] == {"uri": "failing://inner"}


def test_values_that_do_not_fit(resource_client: McpClient) -> None:
    error = read(resource_client, "library://poetry/x?page=one").error
    assert error["code"] == -32602
    assert '"shelf" should be "fiction" or "facts", got string "poetry"' in error["message"]
    assert '"page" should be integer, got string "one"' in error["message"]
    assert error["data"] == {"uri": "library://poetry/x?page=one"}


@pytest.mark.parametrize("title", ["..", "%2e%2e", "%2Fetc%2Fpasswd", "..%5Cx"])
def test_values_that_lead_out(resource_client: McpClient, title: str) -> None:
    """R-520."""
    error = read(resource_client, f"library://fiction/{title}").error
    assert (error["code"], "may hold neither" in error["message"]) == (-32602, True)


def test_words_for_the_client(resource_client: McpClient) -> None:
    error = read(resource_client, "failing://told").error
    assert error == {"code": -32603, "message": "The key is lost", "data": {"key": 7, "uri": "failing://told"}}


@pytest.mark.parametrize("how", ["crash", "leave"])
def test_failures_are_masked(resource_client: McpClient, how: str) -> None:
    """R-719: no exception's text leaves the server, and no handler ends it."""
    error = read(resource_client, f"failing://{how}").error
    assert error["code"] == -32603
    assert error["message"].startswith("Internal error (id ")
    assert contents(resource_client, "library://rules")


def test_a_uri_without_end(resource_client: McpClient) -> None:
    assert read(resource_client, "a://" + "x" * 10_000).error["code"] == -32602


def test_caching_hints(resource_client: McpClient) -> None:
    """R-2A0, R-2A3: of lists and of resources, with safe defaults, for those who know them alone."""
    hints = [
        resource_client.ask(method, params).result
        for method, params in [
            ("resources/list", None),
            ("resources/templates/list", None),
            ("resources/read", {"uri": "library://stamp"}),
            ("resources/read", {"uri": "library://rules"}),
        ]
    ]
    found = [(each.get("ttlMs"), each.get("cacheScope")) for each in hints]
    known = [(60_000, "public"), (0, "private"), (3_600_000, "public"), (0, "private")]
    assert found == (known if resource_client.stateless else [(None, None)] * 4)


def test_handlers_use_what_the_server_has(resource_client: McpClient) -> None:
    assert resource_client.call("fetch", uri="library://rules").text == "Be quiet."
    gone = resource_client.call("fetch", uri="library://nothing").result
    assert gone["isError"] is True
    assert gone["content"][0]["text"] == "Resource not found: library://nothing"
    lost = resource_client.call("fetch", uri="failing://told").result
    assert (lost["isError"], lost["content"][0]["text"]) == (True, "The key is lost")
    wrong = resource_client.call("fetch", uri="library://poetry/x").result
    assert (wrong["isError"], '"shelf" should be' in wrong["content"][0]["text"]) == (True, True)
    assert resource_client.call("fetch", uri="failing://crash").error["message"].startswith("Internal error (id ")
    assert json.loads(resource_client.call("inventory").text)[:2] == ["library://rules", "library://stamp"]


def test_subscribing_is_offered(resource_client: McpClient) -> None:
    """R-213: what is advertised has a handler; statelessly `subscriptions/listen` takes its place."""
    for method in ("resources/subscribe", "resources/unsubscribe"):
        outcome = resource_client.ask(method, {"uri": "library://rules"})
        if resource_client.stateless:
            assert outcome.error["code"] == METHOD_NOT_FOUND
        else:
            assert outcome.result == {}


@pytest.mark.parametrize("era", ["session", "stateless"])
@pytest.mark.anyio
async def test_only_while_there_is_something(era: str) -> None:
    """R-213: neither capability nor method without a resource, prompt or completion.

    In sessions the lists alone are served, and empty: clients ask for them whatever the capabilities say.
    """

    async def nothing(listed: Callable[[], Awaitable[Any]], member: str) -> None:
        if era == "session":
            assert getattr(await listed(), member) == []
        else:
            with pytest.raises(MCPError, match="Method not found"):
                await listed()

    app = MCPApp()
    async with connect(app, era=era) as client:
        offered = client.server_capabilities
        assert (offered.resources, offered.prompts, offered.completions) == (None, None, None)
        await nothing(client.session.list_resources, "resources")
        await nothing(client.session.list_resource_templates, "resource_templates")
        await nothing(client.session.list_prompts, "prompts")
        with pytest.raises(MCPError, match="Method not found"):
            await client.session.read_resource("a://b")
        app.add_text_resource("a://b", "x")
        assert [each.uri for each in (await client.session.list_resources()).resources] == ["a://b"]
        app.remove_resource("a://b")
        await nothing(client.session.list_resources, "resources")
        assert (await client.session.list_tools()).tools == [], "and nobody was told of a change that is no offer"


@pytest.mark.parametrize("era", ["session", "stateless"])
@pytest.mark.anyio
async def test_files_are_listed_as_they_are(era: str, tmp_path: Path) -> None:
    """Nothing of a listing with files is kept; sizes are those of the moment."""
    app = MCPApp()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("a")
    app.add_directory("docs://", tmp_path / "docs", title="The docs")
    app.add_file_resource("log://today", tmp_path / "log.txt")
    async with connect(app, era=era) as client:

        async def sizes() -> dict[str, int | None]:
            return {each.uri: each.size for each in (await client.list_resources()).resources}

        assert await sizes() == {"log://today": None, "docs://a.txt": 1}
        (tmp_path / "docs" / "b.txt").write_text("bb")
        (tmp_path / "log.txt").write_text("log")
        assert await sizes() == {"log://today": 3, "docs://a.txt": 1, "docs://b.txt": 2}
        (template,) = (await client.list_resource_templates()).resource_templates
        assert (template.uri_template, template.title) == ("docs://{+path}", "The docs")
        (found,) = (await client.read_resource("docs://b.txt")).contents
        assert found.text == "bb"
        with pytest.raises(MCPError, match=r"Resource not found: docs://\.\./log\.txt"):
            await client.read_resource("docs://../log.txt")


@pytest.mark.anyio
async def test_middleware_sees_every_request() -> None:
    """Chained reads, too."""
    seen: list[str] = []
    app = served.ResourceServer()

    @app.add_middleware
    async def watch(request: Request, call_next: Any) -> Any:
        seen.append(request.method)
        return await call_next(request)

    async with connect(app, era="session", log_level=None) as client:
        await client.read_resource("loans://Ada")
        await client.list_resources()
        await client.get_prompt("describe")
    assert [each for each in seen if each != "initialize"] == [
        "resources/read",
        "resources/read",
        "resources/list",
        "prompts/get",
    ]


@pytest.mark.anyio
async def test_the_first_template_that_matches_is_read() -> None:
    app = MCPApp()
    app.add_text_resource("a://fixed", "the resource")
    app.resource("a://x{rest}")(lambda rest: f"the first: {rest}")
    app.resource("a://{name}")(lambda name: f"the second: {name}")
    async with connect(app) as client:
        for uri, text in [("a://fixed", "the resource"), ("a://xy", "the first: y"), ("a://y", "the second: y")]:
            (found,) = (await client.read_resource(uri)).contents
            assert found.text == text


@pytest.mark.parametrize("era", ["session", "stateless"])
@pytest.mark.anyio
async def test_a_circle_ends(era: str) -> None:
    """D35."""
    app = MCPApp()

    @app.resource("round://{number}")
    async def round_and_round(number: int, ctx: Context) -> str:
        result = await ctx.resources.read(f"round://{number + 1}")
        return result.contents[0].text or ""

    async with connect(app, era=era) as client:
        with pytest.raises(MCPError, match="more than 32 deep"):
            await client.read_resource("round://0")


@pytest.mark.anyio
async def test_handlers_have_dependencies() -> None:
    """Resources, templates, prompts and completions get theirs as tools do, and no client can fill them."""
    app = MCPApp()

    def shelf() -> str:
        return "fiction"

    Shelf = Annotated[str, Depends(shelf)]

    @app.resource("a://fixed")
    def fixed(of: Shelf) -> str:
        return of

    @app.resource("a://{name}/x")
    def by_name(name: str, of: Shelf) -> str:
        return f"{name} {of}"

    @app.prompt(complete={"name": lambda value: [value]})
    def ask(name: str, of: Shelf) -> str:
        return f"{name} {of}"

    async with connect(app) as client:
        for uri, text in [("a://fixed", "fiction"), ("a://Emma/x", "Emma fiction")]:
            (contents,) = (await client.read_resource(uri)).contents
            assert contents.text == text
        (message,) = (await client.get_prompt("ask", {"name": "Emma"})).messages
        assert message.content.text == "Emma fiction"
        with pytest.raises(MCPError, match='"of" is not an argument of this prompt'):
            await client.get_prompt("ask", {"name": "Emma", "of": "facts"})


@pytest.mark.anyio
async def test_its_meta_stands_in_the_list_and_in_what_is_read() -> None:
    """Hosts of MCP Apps look for it in the contents."""
    meta = {"ui": {"csp": {"connectDomains": ["https://api.example.com"]}}}
    own = TextResourceContents(uri="ui://own", text="<p>", meta={"own": True})
    app = MCPApp()
    app.add_resource(lambda: "<p>", "ui://page", name="page", meta=meta)
    app.add_resource(lambda: [own, "<p>"], "ui://own", name="own", meta=meta)
    app.add_resource(lambda name: b"x", "ui://pages/{name}", name="family", meta=meta)
    app.add_text_resource("ui://text", "<p>", meta=meta)
    app.add_text_resource("ui://plain", "<p>")
    asgi = AsgiClient(app)

    async def read(uri: str) -> list[Any]:
        found = (await asgi.modern("resources/read", {"uri": uri})).result
        return [each.get("_meta") for each in found["contents"]]

    listed = (await asgi.modern("resources/list")).result["resources"]
    assert [each.get("_meta") for each in listed] == [meta, meta, meta, None]
    assert await read("ui://page") == [meta]
    assert await read("ui://own") == [{"own": True}, meta]
    assert await read("ui://pages/a") == [meta]
    assert await read("ui://text") == [meta]
    assert await read("ui://plain") == [None]


@pytest.mark.parametrize("era", ["session", "stateless"])
@pytest.mark.anyio
async def test_what_a_uri_has_besides_is_passed_over_where_nothing_fits_the_whole(era: str) -> None:
    app = MCPApp()
    app.add_text_resource("a://page", "page")
    app.add_text_resource("https://example.org/Page", "web page")
    app.resource("b://{name}{?units}")(lambda name, units="none": f"{name} in {units}")
    app.resource("b://{name}{?colour}")(lambda name, colour: f"{name} in {colour}")
    app.resource("c://{name}{#part}")(lambda name, part="whole": f"{part} of {name}")
    app.resource("https://{tenant}.Example.org/{Path}")(lambda tenant, Path: f"{Path} of {tenant}")
    texts = {
        "a://page#top": "page",
        "HTTPS://Example.ORG/Page#top": "web page",
        "https://Riga.example.ORG/Page": "Page of riga",
        "b://Riga?units=m&v=2": "Riga in m",
        "b://Riga?v=2#top": "Riga in none",
        "b://Riga?colour=red": "Riga in red",
        "c://x#top": "top of x",
    }
    async with connect(app, era=era) as client:
        for uri, text in texts.items():
            (found,) = (await client.read_resource(uri)).contents
            assert (found.text, found.uri) == (text, uri)
        for uri in (
            "a://Page",
            "a://page?v=2",
            "https://example.org/page",
            "a://#page",
        ):
            with pytest.raises(MCPError, match="not found"):
                await client.read_resource(uri)


@pytest.mark.parametrize("era", ["session", "stateless"])
@pytest.mark.anyio
async def test_an_error_without_a_text_gets_one(era: str) -> None:
    app = MCPApp()

    @app.tool
    def tool() -> None:
        raise ToolError("")

    @app.resource("a://b")
    def resource() -> str:
        raise ResourceError(" ")

    @app.prompt
    def prompt() -> str:
        raise PromptError("")

    async with connect(app, era=era) as client:
        result = await client.call_tool("tool", {})
        assert (result.is_error, result.content[0].text) == (True, "It failed, and the server does not say why")
        with pytest.raises(MCPError, match="the server does not say why"):
            await client.read_resource("a://b")
        with pytest.raises(MCPError, match="the server does not say why"):
            await client.get_prompt("prompt")


@pytest.mark.parametrize("era", ["session", "stateless"])
@pytest.mark.anyio
async def test_the_client_reads_that_nothing_was_returned(era: str, caplog: pytest.LogCaptureFixture) -> None:
    app = MCPApp()

    @app.resource("a://b")
    def resource():  # type: ignore[no-untyped-def]
        pass

    @app.prompt
    def prompt():  # type: ignore[no-untyped-def]
        pass

    async with connect(app, era=era) as client:
        with pytest.raises(MCPError, match="It returned nothing; raise ResourceNotFound"):
            await client.read_resource("a://b")
        with pytest.raises(MCPError, match="It returned nothing where messages are due"):
            await client.get_prompt("prompt")
    assert [each.getMessage() for each in caplog.records if each.name == "enfilade.serving"] == [
        "resource 'a://b': It returned nothing; raise ResourceNotFound where there is nothing to read",
        "prompt 'prompt': It returned nothing where messages are due",
    ]


def test_functions_that_say_that_they_return_nothing_are_refused_where_something_is_due() -> None:
    app = MCPApp()

    def nothing() -> None: ...

    def by_name(name: str) -> None: ...

    with pytest.raises(TypeError, match=r"nothing\(\) returns None, .*; return the messages of the prompt"):
        app.prompt(nothing)
    with pytest.raises(TypeError, match=r"nothing\(\) returns None, .*; return the contents of the resource"):
        app.resource("a://b")(nothing)
    with pytest.raises(TypeError, match=r"by_name\(\) returns None, .*; return the contents of the resource"):
        app.resource("a://{name}")(by_name)
    app.tool(nothing)
