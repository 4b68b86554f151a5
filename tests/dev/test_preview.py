"""The routes of the preview, the policy of its sandbox, and who reaches them."""

import json
import urllib.request
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from enfilade import MCPApp
from enfilade.dev.preview.routes import address_of, attach
from enfilade.dev.preview.sandbox import SandboxServer, content_security_policy
from support.http_client.asgi_calls import AsgiClient, AsgiReply

HTML = "<!doctype html><title>View</title>"
pytestmark = pytest.mark.anyio


async def get(app: MCPApp, path: str, client: str = "127.0.0.1", **headers: Any) -> AsgiReply:
    asgi = AsgiClient(app, path)
    scope = asgi.scope(headers, "GET")
    scope["client"] = (client, 50000)
    return await asgi.send(scope, b"")


@pytest.fixture
def app() -> MCPApp:
    app = MCPApp("previewed")
    app.add_view("ui://view", html=HTML)
    assert attach(app)
    return app


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "text/html"),
        ("host.js", "text/javascript"),
        ("style.css", "text/css"),
        ("bridge.js", "text/javascript"),
    ],
)
async def test_the_page_and_its_files(app: MCPApp, path: str, kind: str) -> None:
    reply = await get(app, f"/preview/{path}")
    assert (reply.status, reply.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["cache-control"] == "no-store"


async def test_what_the_page_needs_to_know(app: MCPApp) -> None:
    config = json.loads((await get(app, "/preview/config.json")).body)
    assert (config["endpoint"], config["name"]) == ("/mcp", "previewed")
    assert config["sandbox"].startswith("http://127.0.0.1:")
    assert (await get(app, "/preview")).headers["location"] == "/preview/"


@pytest.mark.parametrize("path", ["sandbox.html", "..%2froutes.py", "routes.py", "nothing.js", "..", ".hidden"])
async def test_nothing_else_is_there(app: MCPApp, path: str) -> None:
    assert (await get(app, f"/preview/{path}")).status == 404


@pytest.mark.parametrize(
    ("client", "host"),
    [
        ("192.0.2.7", "127.0.0.1:8000"),
        ("127.0.0.1", "evil.example"),
        ("127.0.0.1", "localhost.evil.example:8000"),
    ],
)
async def test_other_machines_and_names_find_nothing(app: MCPApp, client: str, host: str) -> None:
    """A page elsewhere may have its name point at this machine."""
    for path in ("/preview/", "/preview/config.json", "/preview"):
        assert (await get(app, path, client, host=host)).status in (404, 421)


@pytest.mark.parametrize("host", ["localhost:8000", "[::1]:8000", "127.0.0.1"])
async def test_names_of_this_machine(app: MCPApp, host: str) -> None:
    assert (await get(app, "/preview/", host=host)).status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "mcp.example.com"])
async def test_a_server_for_other_machines_has_none(host: str) -> None:
    app = MCPApp(host=host)
    app.add_view("ui://view", html=HTML)
    assert not attach(app)
    assert address_of(app, "http://mcp.example.com:8000/mcp") is None
    assert (await get(app, "/preview/")).status in (404, 421)


async def test_a_route_of_the_author_stays() -> None:
    app = MCPApp()
    app.route("/preview/{name}")(lambda: "mine")
    assert not attach(app)


async def test_an_app_that_is_not_under_development_has_none() -> None:
    app = MCPApp()
    app.add_view("ui://view", html=HTML)
    assert (await get(app, "/preview/")).status == 404


def test_its_address_for_people(app: MCPApp) -> None:
    assert address_of(app, "http://127.0.0.1:8000/mcp") == "http://127.0.0.1:8000/preview/"
    assert address_of(MCPApp(), "http://127.0.0.1:8000/mcp") is None


# -- the sandbox -----------------------------------------------------------------------------------------------


def directives(csp: Any) -> dict[str, str]:
    policy = content_security_policy(csp)
    return dict(directive.split(" ", 1) for directive in policy.split("; "))


def test_the_policy_without_csp_allows_nothing_outside() -> None:
    """X-APP-5."""
    found = directives({})
    assert found["default-src"] == found["connect-src"] == found["frame-src"] == found["object-src"] == "'none'"
    assert found["script-src"] == found["style-src"] == "'self' 'unsafe-inline'"
    assert "http" not in "".join(value for name, value in found.items() if name != "frame-ancestors")


def test_the_policy_has_what_is_declared() -> None:
    """X-APP-5."""
    found = directives(
        {
            "connectDomains": ["https://api.example.com", "wss://live.example.com"],
            "resourceDomains": ["https://*.example.com"],
            "frameDomains": ["https://video.example.com"],
            "baseUriDomains": ["https://base.example.com"],
        }
    )
    assert found["connect-src"] == "https://api.example.com wss://live.example.com"
    for name in ("script-src", "style-src", "img-src", "font-src", "media-src"):
        assert found[name].endswith(" https://*.example.com")
    assert (found["frame-src"], found["base-uri"]) == ("https://video.example.com", "https://base.example.com")


@pytest.mark.parametrize(
    "domain",
    ["*", "https:", "'unsafe-eval'", "https://a.com; script-src *", "https://a.com\r\nX: y", "data:", 7, None],
)
def test_nothing_but_origins_gets_into_the_policy(domain: Any) -> None:
    assert directives({"connectDomains": [domain], "resourceDomains": domain}) == directives({})


def test_the_sandbox_has_a_port_of_its_own() -> None:
    server = SandboxServer()
    csp = quote(json.dumps({"connectDomains": ["https://api.example.com"]}))
    with urllib.request.urlopen(f"{server.url}?csp={csp}") as reply:
        assert "connect-src https://api.example.com;" in reply.headers["content-security-policy"]
        assert b"sandbox-" in reply.read()
    for query in ("?csp=%7B", "?csp=[]", "", "?csp=" + "[" * 5000):
        with urllib.request.urlopen(f"{server.url}{query}") as reply:
            assert "connect-src 'none';" in reply.headers["content-security-policy"]
    with pytest.raises(HTTPError, match="404"):
        urllib.request.urlopen(f"{server.url}host.js")
