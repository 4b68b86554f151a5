"""The blocks of nginx on `docs/deployment.md`: a client gets from the 401 to the metadata, and to its tool.

nginx itself does not run here: `support.docs.nginx` tells from a block where a request goes. Easy to get wrong: a
location that is there and leads to another path. So each request goes on to a server with the page's settings.
"""

import io
import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import dotenv
import pytest

from enfilade import Context, MCPApp, Settings
from support.docs.nginx import Directive, passed_on, read_nginx
from support.docs.pages import ROOT, Block, blocks
from support.harness import Serving
from support.http_client.connection import Http
from support.http_client.plain_http import fetch

PAGE = ROOT / "docs" / "deployment.md"
PATH = "/tools/mcp"
RESOURCE = f"https://mcp.example.com{PATH}"
AT_THE_ROOT = f"/.well-known/oauth-protected-resource{PATH}"


def settings_after(configuration: Block) -> dict[str, str | None]:
    following = [
        block for block in blocks(PAGE) if block.line > configuration.line and block.language == "dotenv"
    ]
    return dotenv.dotenv_values(stream=io.StringIO(following[0].code))


CONFIGURATIONS = [block for block in blocks(PAGE) if block.language == "nginx"]
each_configuration = pytest.mark.parametrize("block", CONFIGURATIONS, ids=["strips", "does not strip"])


@pytest.fixture
def server(block: Block, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """A server with the settings that follow a block."""
    for name, value in settings_after(block).items():
        monkeypatch.setenv(name, str(value))
    app = MCPApp("Notes")
    assert app.authenticator is not None

    @app.tool
    def whoami(ctx: Context) -> str:
        """Say who calls."""
        return str(ctx.user_id)

    with Serving(app) as serving:
        yield serving


@each_configuration
def test_a_client_finds_the_metadata(block: Block, server: Serving) -> None:
    """B5, R-602, X-AUTH-2: by the URL of the challenge, and at the root of the host."""
    configuration = read_nginx(block.code)
    endpoint = passed_on(configuration, PATH)
    assert endpoint is not None
    refused = Http(server.port, endpoint).modern("tools/list", host="mcp.example.com")
    assert refused.status == 401
    challenge = re.search(r'resource_metadata="([^"]+)"', refused.header("www-authenticate") or "")
    assert challenge is not None
    named = urlsplit(challenge[1])
    assert named.netloc == "mcp.example.com"
    for path in {named.path, AT_THE_ROOT}:
        inner = passed_on(configuration, path)
        assert inner is not None, path
        document = fetch(server.port, "GET", inner, {"Host": "mcp.example.com"})
        assert (document.status, json.loads(document.body)["resource"]) == (200, RESOURCE), path


@each_configuration
def test_nothing_else_of_the_host_reaches_the_server(block: Block) -> None:
    configuration = read_nginx(block.code)
    for path in ("/", "/mcp", "/tools", "/.well-known/oauth-protected-resource/mcp", "/healthz"):
        assert passed_on(configuration, path) is None, path


def value(directives: list[Directive], name: str) -> str:
    ((_, *words),) = [directive.words for directive in directives if directive.words[0] == name]
    return " ".join(words)


@each_configuration
def test_times_and_sizes_fit_the_servers(block: Block) -> None:
    upstream, http = (directive.block for directive in read_nginx(block.code))
    defaults = Settings()
    assert float(value(http, "proxy_read_timeout").removesuffix("s")) > 2 * defaults.keep_alive
    assert float(value(upstream, "keepalive_timeout").removesuffix("s")) < defaults.idle_timeout
    assert value(http, "client_max_body_size") == f"{defaults.body_limit // 1024**2}m"
    assert value(upstream, "server") == f"127.0.0.1:{defaults.port}"
    assert value(http, "proxy_http_version") == "1.1"
