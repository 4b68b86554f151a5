"""The protocol of `run()` under uvicorn's own command, as `--http enfilade.transports.http11:Protocol`."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.http_client.connection import Http
from support.servers.processes import ROOT, ServerProcess, environment

SERVER = """
from enfilade import MCPApp
from starlette.applications import Starlette
from starlette.routing import Mount

app = MCPApp("bar")
api = Starlette(routes=[Mount("/tools", app)])

@app.tool
async def pour(drink: str) -> str:
    return drink
"""

PROTOCOL = ["--http", "enfilade.transports.http11:Protocol"]


@pytest.mark.parametrize(("target", "path"), [("app", "/mcp"), ("api", "/tools/mcp")])
def test_an_app_and_a_host_are_served(tmp_path: Path, target: str, path: str) -> None:
    """An `Upgrade` is ignored and a long head refused, neither of which uvicorn's own protocol does."""
    (tmp_path / "bar.py").write_text(SERVER, encoding="utf-8")
    command = [sys.executable, "-m", "uvicorn", f"bar:{target}", "--port", "{port}", *PROTOCOL]
    variables = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "src")])}
    with ServerProcess(command, env=variables, path=path) as server:
        http = Http(server.port, path)
        session = http.initialize()
        for _ in range(3):
            assert session.call("pour", drink="tea").result["structuredContent"] == {"result": "tea"}
        upgrading = {"connection": "upgrade", "upgrade": "websocket", "content-type": "application/json"}
        assert http.request("POST", b"[", upgrading).status == 400
        with http.raw(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 70_000 + b"\r\n\r\n") as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 431 ")
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(20)
        assert "Traceback" not in server.output


def test_an_unknown_uvicorn_is_refused_at_the_start() -> None:
    code = "import uvicorn.server\nuvicorn.server.ServerState = object\n"
    code += "from enfilade.transports.http11 import Protocol"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 1
    assert "enfilade.transports.http11 does not support uvicorn" in done.stderr
