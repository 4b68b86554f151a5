"""`enfilade run` and `dev` of a host around an app: workers, store, both lifespans, probes and the end."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.http_client.connection import Http
from support.servers.processes import ServerProcess, enfilade_command
from support.waiting import eventually

HOST = '''
import os
from contextlib import asynccontextmanager
from fastapi import FastAPI
from enfilade import Context, MCPApp

@asynccontextmanager
async def of_the_app(app):
    print("app begins\\n", end="", flush=True)
    yield {"name": "tea"}
    print("app ends\\n", end="", flush=True)

@asynccontextmanager
async def of_the_host(api):
    print("host begins\\n", end="", flush=True)
    yield {"shelf": 1}
    print("host ends\\n", end="", flush=True)

app = MCPApp("Shop", lifespan=of_the_app)

@app.tool
async def whereabouts(ctx: Context) -> list[str]:
    """Say which process serves, and what the lifespan has."""
    return [str(os.getpid()), ctx.lifespan["name"]]

@app.tool
async def remember(value: str, ctx: Context) -> str:
    """Keep a value for the session."""
    before = await ctx.state.get("value", "nothing")
    await ctx.state.set("value", value)
    return before

api = FastAPI(lifespan=of_the_host)

@api.get("/orders")
def orders() -> dict[str, int]:
    return {"pid": os.getpid()}

api.mount("/tools", app)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hosted")
    (folder / "main.py").write_text(HOST, encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=[1, 4], ids=["one worker", "four workers"])
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[ServerProcess]:
    command = enfilade_command("run", "main.py:api", "-p", "{port}", "--workers", str(request.param))
    with ServerProcess(command, path="/tools/mcp", cwd=folder) as server:
        server.count = request.param  # type: ignore[attr-defined]
        yield server


def test_the_host_and_its_app_are_served(server: ServerProcess) -> None:
    workers = server.count  # type: ignore[attr-defined]
    assert f"http://127.0.0.1:{server.port}/tools/mcp" in server.output
    http = Http(server.port, "/tools/mcp")
    session = http.initialize()
    pids, values = set[str](), []

    def all_answer() -> bool:
        pid, name = session.call("whereabouts").result["structuredContent"]["result"]
        assert name == "tea"
        pids.add(pid)
        return len(pids) == workers

    eventually(all_answer, "some workers do not serve")
    for number in range(8):
        values.append(session.call("remember", value=str(number)).result["structuredContent"]["result"])
    assert values == ["nothing", *map(str, range(7))]
    answered = httpx.get(f"http://127.0.0.1:{server.port}/orders").json()["pid"]
    assert str(answered) in pids


def test_probes_are_answered_for_the_host(server: ServerProcess) -> None:
    for path in ("/healthz", "/readyz"):
        assert httpx.get(f"http://127.0.0.1:{server.port}{path}").json() == {"status": "ok"}
    assert httpx.get(f"http://127.0.0.1:{server.port}/nothing").json() == {"detail": "Not Found"}


def test_both_lifespans_end_in_order(server: ServerProcess) -> None:
    workers = server.count  # type: ignore[attr-defined]
    assert server.stop() == (-signal.SIGTERM if workers == 1 and sys.platform != "win32" else 0)
    lines = [line for line in server.output.splitlines() if line.endswith((" begins", " ends"))]
    assert sorted(lines) == sorted(["app begins", "host begins", "host ends", "app ends"] * workers)
    if workers == 1:
        assert lines == ["app begins", "host begins", "host ends", "app ends"]


def test_dev_reloads_a_host_and_shows_its_calls(folder: Path) -> None:
    main = folder / "main.py"
    with ServerProcess(
        enfilade_command("dev", "main.py:api", "-p", "{port}"), path="/tools/mcp", cwd=folder
    ) as server:
        Http(server.port, "/tools/mcp").initialize().call("whereabouts")
        eventually(lambda: "tools/call whereabouts" in server.output, "the call is not shown")
        main.write_text(HOST.replace('"/orders"', '"/bills"'), encoding="utf-8")
        os.utime(main)
        url = f"http://127.0.0.1:{server.port}/bills"
        eventually(lambda: httpx.get(url).status_code == 200, "the host was not reloaded")
        main.write_text(HOST, encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-t", "stdio"), "an ASGI application around an app is served over http"),
        (("--path", "/other"), "the path of the endpoint is that of a route of the host"),
    ],
)
def test_what_a_host_decides(folder: Path, options: tuple[str, ...], text: str) -> None:
    with (
        pytest.raises(RuntimeError, match=text),
        ServerProcess(enfilade_command("run", "main.py:api", "-p", "{port}", *options), cwd=folder),
    ):
        pass


def test_applications_without_a_lifespan_and_with_one_that_fails(tmp_path: Path) -> None:
    plain = HOST + "\nasync def bare(scope, receive, send):\n    assert scope['type'] == 'http'\n"
    plain += "    await app(scope, receive, send)\n"
    (tmp_path / "bare.py").write_text(plain, encoding="utf-8")
    with ServerProcess(enfilade_command("run", "bare.py:bare", "-p", "{port}"), cwd=tmp_path) as server:
        result = Http(server.port).initialize().call("whereabouts").result
        assert json.dumps(result["structuredContent"]["result"][1]) == '"tea"'
        server.stop()
    assert [line for line in server.output.splitlines() if line.startswith("app ")] == ["app begins", "app ends"]
    failing = HOST.replace('print("host begins\\n", end="", flush=True)', 'raise RuntimeError("no shelf")')
    (tmp_path / "failing.py").write_text(failing, encoding="utf-8")
    with (
        pytest.raises(RuntimeError, match="no shelf"),
        ServerProcess(enfilade_command("run", "failing.py:api", "-p", "{port}"), cwd=tmp_path),
    ):
        pass
