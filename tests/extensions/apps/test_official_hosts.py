"""What hosts are made of reads the views of a server: official TypeScript clients and their library for hosts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import tooling
from support.servers.processes import ServerProcess, enfilade_command

URI = "ui://weather/view"
TYPE = "text/html;profile=mcp-app"
HTML = "<!doctype html><title>View</title>"
SERVER = f"""
from enfilade import Context, MCPApp

app = MCPApp(name="views")
csp = {{"connect_domains": ["https://api.example.com"]}}
app.add_view({URI!r}, html={HTML!r}, csp=csp, permissions=["camera"])


@app.tool(ui={URI!r})
def shown(ctx: Context) -> dict[str, bool]:
    return {{"shown": ctx.client_supports_apps}}


@app.tool(ui={{"visibility": ["app"]}})
def refresh() -> str:
    return "text"
"""
UI = {"csp": {"connectDomains": ["https://api.example.com"]}, "permissions": {"camera": {}}}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("views") / "server.py"
    path.write_text(SERVER, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def url(file: Path) -> Iterator[str]:
    with ServerProcess(enfilade_command("run", str(file), "-t", "http", "-p", "{port}")) as server:
        yield server.url


@pytest.mark.parametrize("transport", ["http", "stdio"])
@pytest.mark.parametrize("client", ["v1", "legacy", "auto"])
def test_a_host_reads_the_view(client: str, transport: str, file: Path, url: str) -> None:
    """R-573, X-APP-1, X-APP-2, X-APP-3, X-APP-4, X-APP-6."""
    script = tooling.NODE_DRIVERS / "views.mjs"
    with tooling.or_skip():
        for package in ("client", "sdk", "ext-apps"):
            tooling.node_package(f"@modelcontextprotocol/{package}")
        node = [tooling.node(), "--import", (tooling.NODE_DRIVERS / "resolve.mjs").as_uri()]
    target = (
        ["http", url] if transport == "http" else ["stdio", sys.executable, "-m", "enfilade", "run", str(file)]
    )
    done = subprocess.run(
        [*node, str(script), client, *target],
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout) == {
        "declared": {},
        "appOnly": ["refresh"],
        "views": {"shown": [{"uri": URI, "mimeType": TYPE, "text": HTML, "_meta": {"ui": UI}}]},
        "shown": {"shown": True},
    }
