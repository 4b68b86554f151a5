"""X-CARD-2, X-CARD-4: the server card and the catalog over HTTP: where they are, who may read them, caching."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

from enfilade import MCPApp, Settings
from enfilade.auth import ResourceServer
from enfilade.hosts import ServedHost, contained_app
from enfilade.testing import Issuer
from support.cluster.worker_processes import all_seen, script, written
from support.harness import Serving
from support.hosts import HOST_NAMES, HOSTS, MakeHost
from support.http_client.plain_http import fetch
from support.publishing.schemas import CARD, complaints

PATH, CATALOG = "/mcp/server-card", "/.well-known/ai-catalog.json"
ORIGIN = "https://mcp.example.com"
issuer = Issuer()


def make(path: str = "/mcp", *, endpoint: str = "/mcp", auth: bool = False, **settings: Any) -> MCPApp:
    """Return an app.

    Args:
        path: of its endpoint, as clients call it.
        endpoint: the same in the app.
        auth: whether callers need a token.
        settings: further ones.
    """
    url = f"{ORIGIN}{path}"
    app = MCPApp(
        "Notes",
        version="1.2.3",
        description="Keep notes.",
        title="Notes of everybody",
        website_url="https://notes.example.com",
        registry_name="io.github.ada/notes",
        path=endpoint,
        auth=ResourceServer(url, [issuer.server()]) if auth else None,
        settings=Settings(**{"public_url": "" if auth else url, **settings}),
    )

    @app.tool
    def write(text: str) -> str:
        """Write it."""
        return text

    return app


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with Serving(make()) as server:
        yield server.port


def test_the_card(port: int) -> None:
    """X-CARD-1, X-CARD-2."""
    reply = fetch(port, "GET", PATH, {"Accept": "application/mcp-server-card+json"})
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/mcp-server-card+json"
    assert reply.headers["cache-control"] == "public, max-age=3600"
    assert reply.headers["etag"].startswith('"')
    assert complaints(CARD, json.loads(reply.body)) == []


def test_the_catalog_leads_to_the_card(port: int) -> None:
    """X-CARD-3."""
    reply = fetch(port, "GET", CATALOG)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/ai-catalog+json")
    (entry,) = json.loads(reply.body)["entries"]
    assert entry["type"] == fetch(port, "GET", urlsplit(entry["url"]).path).headers["content-type"]


def test_it_says_what_the_server_says_when_it_is_called(port: int) -> None:
    """X-CARD-2: it does not contradict `server/discover`."""
    with Serving(make()) as server:
        found = server.http.modern("server/discover").result
        session = server.http.initialize("2025-11-25")
    content = json.loads(fetch(port, "GET", PATH).body)
    told = found["_meta"]["io.modelcontextprotocol/serverInfo"]
    for member in ("version", "title", "description", "websiteUrl"):
        assert content[member] == told[member]
    versions = content["remotes"][0]["supportedProtocolVersions"]
    assert {*found["supportedVersions"], session.revision} <= set(versions)


@pytest.mark.parametrize("path", [PATH, CATALOG])
@pytest.mark.parametrize("headers", [{}, {"Origin": "https://chat.example.com"}, {"Host": "any.example.org"}])
def test_pages_of_any_origin_may_read_it(path: str, headers: dict[str, str], port: int) -> None:
    """X-CARD-2: as a browser asks, with a preflight and without, and under any name."""
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "if-none-match"}
    preflight = fetch(port, "OPTIONS", path, {**headers, **asked})
    reply = fetch(port, "GET", path, headers)
    assert (preflight.status, preflight.body, reply.status) == (204, b"", 200)
    for got in (preflight.headers, reply.headers):
        assert got["access-control-allow-origin"] == "*"
        assert got["access-control-allow-methods"] == "GET"
        assert got["access-control-allow-headers"] == "Content-Type, If-None-Match"
        assert got["access-control-expose-headers"] == "ETag"
        assert "access-control-allow-credentials" not in got


@pytest.mark.parametrize("path", [PATH, CATALOG])
def test_other_methods(path: str, port: int) -> None:
    """X-CARD-4: HEAD as GET without the body; others are refused, with CORS, so that a page reads why."""
    whole, head = fetch(port, "GET", path), fetch(port, "HEAD", path)
    assert (head.status, head.body) == (200, b"")
    volatile = {"date"}
    assert {k: v for k, v in head.headers.items() if k not in volatile} == {
        k: v for k, v in whole.headers.items() if k not in volatile
    }
    for verb in ("POST", "PUT", "DELETE", "PATCH"):
        reply = fetch(port, verb, path, body=b"{}" if verb == "POST" else b"")
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert reply.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("{tag}", 304),
        ("W/{tag}", 304),
        ('"other", {tag}', 304),
        ('"a,b",W/{tag} , "c"', 304),
        ("*", 304),
        (" * ", 304),
        ('"other"', 200),
        ("", 200),
        ("{bare}", 200),
        ('"{bare}x"', 200),
        ('"*"', 200),
        ('"unfinished', 200),
        (",,,", 200),
        ('"' * 8001, 200),
    ],
    ids=[
        *("same", "weak", "list", "commas", "any", "any with blanks", "other", "empty", "unquoted", "longer"),
        *("quoted star", "unfinished", "only commas", "quotation marks"),
    ],
)
def test_entity_tags(value: str, status: int, port: int) -> None:
    """X-CARD-2: RFC 9110 §13.1.2, compared weakly, for HEAD as well."""
    tag = fetch(port, "GET", PATH).headers["etag"]
    given = {"If-None-Match": value.replace("{tag}", tag).replace("{bare}", tag.strip('"'))}
    for verb in ("GET", "HEAD"):
        reply = fetch(port, verb, PATH, given)
        assert reply.status == status
        assert reply.headers["etag"] == tag
        assert reply.headers["cache-control"] == "public, max-age=3600"
        if status == 304:
            assert (reply.body, "content-length" in reply.headers) == (b"", False)


def test_the_tag_follows_the_content() -> None:
    """X-CARD-2: another version has another tag."""
    tags = set()
    for version in ("1.0.0", "1.0.1"):
        app = make()
        app.version = version
        with Serving(app) as server:
            tags.add(fetch(server.port, "GET", PATH).headers["etag"])
    assert len(tags) == 2


@pytest.mark.parametrize(
    "path",
    [
        *("/mcp/server-card/", "/mcp/server-card/x", "/mcp/server-cards", "/server-card", "/mcp//server-card"),
        *(
            "/mcp/../mcp/server-card",
            "/mcp/server-card/../../etc/passwd",
            "/mcp/server-card%00",
            "/mcp/server-card.json",
        ),
        *(
            "/mcp/%2e%2e/server-card",
            "/.well-known/ai-catalog.json/",
            "/.well-known/../.well-known/ai-catalog.json",
        ),
        *("/MCP/server-card", "/mcp%2fserver-card/", "/mcp/server-card%0a"),
    ],
)
def test_near_it_there_is_nothing(path: str, port: int) -> None:
    """X-CARD-4: the path is compared as a whole."""
    assert fetch(port, "GET", path).status == 404


def test_a_query_is_of_no_account(port: int) -> None:
    assert fetch(port, "GET", f"{PATH}?a=1").body == fetch(port, "GET", PATH).body


@pytest.mark.parametrize(
    ("app", "why"),
    [
        (lambda: make(server_card=False), "off"),
        (lambda: MCPApp("Notes", registry_name="io.github.ada/notes"), "no URL"),
        (lambda: MCPApp("Notes", settings=Settings(public_url=f"{ORIGIN}/mcp")), "no name, with a URL"),
        (lambda: MCPApp("Notes"), "nothing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_is_told_unless_it_was_asked_for(app: Callable[[], MCPApp], why: str) -> None:
    """X-CARD-1: a name and a URL are needed, and neither is guessed from a request."""
    with Serving(app()) as server:
        for path in (PATH, CATALOG):
            reply = fetch(server.port, "GET", path, {"Host": "mcp.example.com"})
            assert reply.status == 404
            assert b"mcp.example.com" not in reply.body


def test_with_authorization_it_needs_no_token() -> None:
    """X-AUTH-1, X-CARD-2: the endpoint does, and a bad token is of no account here."""
    with Serving(make(auth=True)) as server:
        for headers in ({}, {"Authorization": "Bearer nonsense"}):
            reply = fetch(server.port, "GET", PATH, headers)
            assert reply.status == 200
            assert json.loads(reply.body)["remotes"][0]["url"] == f"{ORIGIN}/mcp"
            assert issuer.url.encode() not in reply.body
        assert server.http.modern("tools/list").status == 401


def test_under_the_commands_own_server_all_workers_send_the_same(tmp_path: Any) -> None:
    """X-CARD-2: one entity tag, and HTTP as it should be without uvicorn's protocol."""
    text = (
        "import os\nfrom enfilade import MCPApp, Settings\n"
        "app = MCPApp('Working', registry_name='io.github.ada/working', "
        "settings=Settings(public_url='https://mcp.example.com/mcp'))\n"
        "@app.tool\nasync def place() -> str:\n    'Say where this is.'\n    return f'{os.getpid()} first'\n"
        "if __name__ == '__main__':\n    app.run('http', port=int(os.environ['TEST_PORT']), workers=2)\n"
    )
    with script(written(tmp_path, text)) as server:
        all_seen(server, 2)
        replies = [fetch(server.port, "GET", PATH) for _ in range(20)]
        (tag,) = {reply.headers["etag"] for reply in replies}
        assert {reply.status for reply in replies} == {200}
        again = {fetch(server.port, verb, PATH, {"If-None-Match": tag}).status for verb in ("GET", "HEAD")}
        assert again == {304}
        head = fetch(server.port, "HEAD", PATH)
        assert (head.status, head.headers["content-length"]) == (200, str(len(replies[0].body)))
        assert fetch(server.port, "POST", PATH, body=b"{}").status == 405
        assert fetch(server.port, "OPTIONS", PATH).status == 204


# -- hosts ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("host", "path", "stripped"), HOSTS, ids=HOST_NAMES)
def test_the_url_of_the_catalog_leads_to_the_card(host: MakeHost, path: str, stripped: str) -> None:
    """X-CARD-3, X-CARD-4: in hosts, below a mount, and through a proxy that strips a prefix."""
    with Serving(host(lambda endpoint: make(path, endpoint=endpoint), "server_card_route")) as server:
        below = path.removeprefix(stripped).rstrip("/").removesuffix("/mcp")
        places = [CATALOG, f"{below}{CATALOG}", f"{path.removeprefix(stripped).rstrip('/')}{CATALOG}"]
        (body, *_) = [reply.body for at in places if (reply := fetch(server.port, "GET", at)).status == 200]
        url = urlsplit(json.loads(body)["entries"][0]["url"])
        assert (f"{url.scheme}://{url.netloc}", url.path) == (ORIGIN, f"{path.rstrip('/')}/server-card")
        reply = fetch(server.port, "GET", url.path.removeprefix(stripped))
        assert reply.status == 200
        assert json.loads(reply.body)["remotes"][0]["url"] == f"{ORIGIN}{path}"


def test_root_path_of_the_server() -> None:
    """X-CARD-4: of a proxy that strips a prefix."""
    with Serving(make("/prefix/mcp"), root_path="/prefix") as server:
        assert fetch(server.port, "GET", PATH).status == 200


def test_beside_a_mount_the_route_serves_the_catalog_at_the_root() -> None:
    """X-CARD-3: where clients look for it; other paths of the host stay its own."""
    app, host = make("/tools/mcp"), FastAPI()
    host.mount("/tools", app)
    host.router.routes.append(app.server_card_route())
    with Serving(host) as server:
        assert fetch(server.port, "GET", CATALOG).status == 200
        assert fetch(server.port, "GET", "/.well-known/ai-catalog.jsonx").status == 404
        assert fetch(server.port, "POST", CATALOG).status == 405
    assert contained_app(host) == (app, "/tools/mcp")


def test_the_host_route_alone_has_no_card() -> None:
    """X-CARD-4: it is exactly the endpoint."""
    host, app = FastAPI(), make()
    host.router.routes.append(app.host_route())
    with Serving(host) as server:
        assert fetch(server.port, "GET", PATH).status == 404


def test_a_host_that_is_served_as_an_app() -> None:
    """The route is no endpoint, so the host has one app at one path."""
    app, host = make(), FastAPI()
    host.router.routes += [app.server_card_route(), app.host_route(), app.metadata_route()]
    assert ServedHost(host).endpoint_path == "/mcp"


def test_two_apps_in_one_host_have_a_card_each() -> None:
    """X-CARD-4."""
    one, two = make("/one/mcp"), make("/two/mcp")
    two.version = "2.0.0"
    with Serving(Starlette(routes=[Mount("/one", app=one), Mount("/two", app=two)])) as server:
        versions = [
            json.loads(fetch(server.port, "GET", f"/{name}/mcp/server-card").body)["version"]
            for name in ("one", "two")
        ]
    assert versions == ["1.2.3", "2.0.0"]


# -- routes of authors ------------------------------------------------------------------------------------------
def test_a_route_of_the_author_is_in_place_of_a_document() -> None:
    """X-CARD-4: such as a catalog of several servers; the other document stays."""
    app = make()

    @app.route(CATALOG)
    def own() -> dict[str, Any]:
        return {"specVersion": "1.0", "entries": []}

    with Serving(app) as server:
        assert json.loads(fetch(server.port, "GET", CATALOG).body)["entries"] == []
        assert fetch(server.port, "POST", CATALOG).status == 405
        assert fetch(server.port, "GET", PATH).headers["content-type"] == "application/mcp-server-card+json"


def test_routes_and_mounts_of_many_paths_leave_it_alone() -> None:
    """X-CARD-4: what an author serves at all other paths, such as a page of an application."""

    async def site(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("site")(scope, receive, send)

    app = make()
    app.add_route("/", site)
    app.add_route("/.well-known", site)

    @app.route("/{rest:path}")
    def any_page() -> str:
        return "page"

    with Serving(app) as server:
        assert fetch(server.port, "GET", PATH).headers["content-type"] == "application/mcp-server-card+json"
        assert fetch(server.port, "GET", CATALOG).headers["content-type"] == "application/ai-catalog+json"
        assert fetch(server.port, "GET", "/other").body == b"page"


def test_without_a_card_its_path_is_the_authors() -> None:
    """X-CARD-4."""
    app = MCPApp("Notes")

    @app.route(PATH)
    def own() -> str:
        return "mine"

    with Serving(app) as server:
        assert fetch(server.port, "GET", PATH).body == b"mine"
