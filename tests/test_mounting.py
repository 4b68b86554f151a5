"""The app as an ASGI application: on its own, and inside FastAPI and Starlette, under real uvicorn (D31).

What a path answers inside a host is the host's to decide, so the table of paths is also what `docs/running.md`
says. The easy thing to get wrong is the end: uvicorn, stopped by SIGTERM, ends the process before the event loop
closes, so only a lifespan that the server or the host knows of is put away then.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from mcp import Client
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from enfilade import Context, MCPApp
from support.docs.pages import ROOT, table
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import BOTH, INITIALIZE
from support.servers.processes import HOST, ServerProcess

Diary = list[str]


def make(diary: Diary, **options: Any) -> MCPApp:
    """Return an app that writes into the diary when its lifespan begins and ends."""

    @asynccontextmanager
    async def lifespan(app: MCPApp) -> AsyncIterator[dict[str, str]]:
        diary.append("open")
        yield {"drink": "tea"}
        await asyncio.sleep(0)  # what puts things away may have to wait for something
        diary.append("closed")

    app = MCPApp(name="Tea", lifespan=lifespan, **options)

    @app.tool
    def drink(ctx: Context) -> str:
        """Drink what the lifespan brought."""
        taken: str = ctx.lifespan["drink"]
        return taken

    return app


def fastapi_mount(diary: Diary) -> Any:
    host = FastAPI()
    host.mount("/mcp", make(diary))
    return host


def fastapi_route(diary: Diary) -> Any:
    host = FastAPI()
    host.add_route("/mcp{slash:path}", make(diary))
    return host


def fastapi_host_route(diary: Diary) -> Any:
    host = FastAPI()
    host.router.routes.append(make(diary).host_route())

    @host.get("/mcp-docs")
    def docs() -> str:
        return "of the host"

    return host


def fastapi_host_route_elsewhere(diary: Diary) -> Any:
    host = FastAPI()
    host.router.routes.append(make(diary, path="/tools/mcp/").host_route())
    return host


def fastapi_route_elsewhere(diary: Diary) -> Any:
    host = FastAPI()
    host.add_route("/tools/mcp{slash:path}", make(diary, path="/tools/mcp"))
    return host


def fastapi_prefix(diary: Diary) -> Any:
    host = FastAPI()
    host.mount("/tools", make(diary))
    return host


def fastapi_root(diary: Diary) -> Any:
    host = FastAPI()

    @host.get("/health")
    def health() -> str:
        return "fine"

    host.mount("", make(diary))
    return host


def fastapi_behind_a_proxy(diary: Diary) -> Any:
    host = FastAPI(root_path="/api/v1")
    host.mount("/tools", make(diary))
    return host


def starlette_route(diary: Diary) -> Any:
    return Starlette(routes=[Route("/mcp{slash:path}", make(diary))])


def starlette_host_route(diary: Diary) -> Any:
    return Starlette(routes=[make(diary).host_route()])


def starlette_host_route_at_the_root(diary: Diary) -> Any:
    return Starlette(routes=[make(diary, path="/").host_route()])


def starlette_root(diary: Diary) -> Any:
    return Starlette(routes=[Mount("/", app=make(diary))])


def starlette_nested(diary: Diary) -> Any:
    return Starlette(routes=[Mount("/a", routes=[Mount("/b", app=make(diary))])])


def with_lifespan_of_its_own(diary: Diary) -> Any:
    @asynccontextmanager
    async def lifespan(host: Starlette) -> AsyncIterator[None]:
        diary.append("host open")
        yield
        diary.append("host closed")

    return Starlette(routes=[Mount("/mcp", app=make(diary))], lifespan=lifespan)


def wired(diary: Diary) -> Any:
    app = make(diary)

    @asynccontextmanager
    async def lifespan(host: Starlette) -> AsyncIterator[None]:
        async with app.running():
            diary.append("host open")
            yield
            diary.append("host closed")

    return Starlette(routes=[Mount("/mcp", app=app)], lifespan=lifespan)


#: What each host answers, path by path; the first path is the one that clients are given.
HOSTS: dict[Callable[[Diary], Any], dict[str, int]] = {
    make: {"/mcp": 200, "/mcp/": 200, "/": 404, "/mcpx": 404, "/mcp/x": 404, "/other": 404},
    fastapi_mount: {"/mcp/": 200, "/mcp": 307, "/mcp/x": 404, "/other": 404},
    fastapi_route: {"/mcp": 200, "/mcp/": 200, "/mcpx": 404, "/mcp/x": 404, "/other": 404},
    fastapi_host_route: {"/mcp": 200, "/mcp/": 200, "/mcpx": 404, "/mcp/x": 404, "/other": 404, "/mcp-docs": 405},
    fastapi_host_route_elsewhere: {"/tools/mcp": 200, "/tools/mcp/": 200, "/mcp": 404},
    fastapi_route_elsewhere: {"/tools/mcp": 200, "/tools/mcp/": 200, "/mcp": 404},
    fastapi_prefix: {"/tools/mcp": 200, "/tools/mcp/": 200, "/mcp": 404},
    fastapi_root: {"/mcp": 200, "/mcp/": 200, "/other": 404},
    with_lifespan_of_its_own: {"/mcp/": 200, "/mcp": 307, "/other": 404},
    wired: {"/mcp/": 200, "/mcp": 307, "/other": 404},
    fastapi_behind_a_proxy: {"/tools/mcp": 200, "/api/v1/tools/mcp": 200, "/tools/mcp/": 200, "/mcp": 404},
    starlette_route: {"/mcp": 200, "/mcp/": 200},
    starlette_host_route: {"/mcp": 200, "/mcp/": 200, "/mcpx": 404, "/mcp/x": 404},
    starlette_host_route_at_the_root: {"/": 200, "/mcp": 404},
    starlette_root: {"/mcp": 200, "/mcp/": 200, "/other": 404},
    starlette_nested: {"/a/b/mcp": 200, "/a/b/mcp/": 200, "/a/b/": 200, "/a/mcp": 404},
}


@contextmanager
def served(app: Any, lifespan: Any = "auto", **options: Any) -> Iterator[str]:
    """Serve an ASGI application by uvicorn in a thread, yield its URL, and let its event loop close."""
    config = uvicorn.Config(app, host=HOST, port=0, lifespan=lifespan, log_level="error", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "uvicorn did not start"
            time.sleep(0.005)
        yield f"http://{HOST}:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


async def drink(url: str, mode: str) -> Any:
    """Call the tool with the official client."""
    async with Client(url, mode=mode) as client:
        return (await client.call_tool("drink", {})).structured_content


@pytest.mark.parametrize(("host", "paths"), HOSTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_paths(host: Callable[[Diary], Any], paths: dict[str, int]) -> None:
    with served(host([])) as url, httpx.Client() as client:
        assert {path: client.post(url + path, json=INITIALIZE).status_code for path in paths} == paths


@pytest.mark.parametrize("host", [make, fastapi_prefix, starlette_nested])
def test_paths_below_a_root_path_of_the_server(host: Callable[[Diary], Any]) -> None:
    """`uvicorn --root-path`: the proxy has stripped the prefix, and the server puts it before every path."""
    path = next(iter(HOSTS[host]))
    with served(host([]), root_path="/public/prefix") as url, httpx.Client() as client:
        assert client.post(url + path, json=INITIALIZE).status_code == 200
        assert client.post(f"{url}{path}x", json=INITIALIZE).status_code == 404


@pytest.mark.parametrize(
    ("root_path", "path", "status"),
    [
        ("/api/v1/tools", "/tools/mcp", 200),
        ("/api/v1/tools", "/api/v1/tools/mcp", 200),
        ("/api/v1/tools/", "/tools/mcp", 200),
        ("/tools", "/tools", 200),
        ("/tools", "/toolsmcp", 404),
        ("/m", "/mcp/", 200),
        ("/tools", "/tool/mcp", 404),
        ("/api/tools", "/pi/tools/mcp", 404),
        ("/api/tools", "/tools/tools/mcp", 404),
    ],
)
def test_a_prefix_ends_where_a_segment_ends(root_path: str, path: str, status: int) -> None:
    async def answer() -> int:
        asgi = AsgiClient(MCPApp("Tea"), path)
        scope = asgi.scope({"content-type": "application/json", "accept": BOTH})
        return (await asgi.send({**scope, "root_path": root_path}, json.dumps(INITIALIZE).encode())).status

    assert asyncio.run(answer()) == status


@pytest.mark.parametrize("host", [host for host in HOSTS if host is not wired])
@pytest.mark.parametrize("lifespan", ["on", "off"])
def test_the_official_client_calls_a_tool(host: Callable[[Diary], Any], lifespan: str) -> None:
    """D31: with and without lifespan support in the server, the tool has what the app's lifespan yielded."""
    diary: Diary = []
    with served(host(diary), lifespan) as url:
        for mode in ("legacy", "auto"):
            assert asyncio.run(drink(url + next(iter(HOSTS[host])), mode)) == {"result": "tea"}
    assert [line for line in diary if "host" not in line] == ["open", "closed"]


def test_the_official_client_follows_the_redirect_of_a_mount() -> None:
    with served(fastapi_mount([])) as url:
        assert asyncio.run(drink(f"{url}/mcp", "legacy")) == {"result": "tea"}
        assert asyncio.run(drink(f"{url}/mcp", "auto")) == {"result": "tea"}


def test_a_wired_lifespan_surrounds_the_hosts() -> None:
    diary: Diary = []
    with served(wired(diary), "on") as url:
        assert diary == ["open", "host open"]
        assert asyncio.run(drink(f"{url}/mcp/", "auto")) == {"result": "tea"}
    assert diary == ["open", "host open", "host closed", "closed"]


def test_an_unwired_lifespan_waits_for_the_first_request() -> None:
    diary: Diary = []
    with served(with_lifespan_of_its_own(diary), "on") as url:
        assert diary == ["host open"]
        assert asyncio.run(drink(f"{url}/mcp/", "auto")) == {"result": "tea"}
        assert diary == ["host open", "open"]
    assert diary[-1] == "closed"


def test_first_requests_that_come_together_open_the_lifespan_once() -> None:
    diary: Diary = []
    with served(fastapi_route(diary)) as url:

        async def both() -> list[Any]:
            return await asyncio.gather(*(drink(f"{url}/mcp", "auto") for _ in range(8)))

        assert asyncio.run(both()) == [{"result": "tea"}] * 8
    assert diary == ["open", "closed"]


def test_the_hosts_other_routes_are_left_alone() -> None:
    with served(fastapi_root([])) as url:
        assert httpx.get(f"{url}/health").json() == "fine"


def test_not_found_says_where_the_endpoint_is() -> None:
    with served(make([])) as url:
        answer = httpx.post(f"{url}/elsewhere", json=INITIALIZE)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "nothing here; the MCP endpoint is /mcp"


def test_a_lifespan_that_fails_stops_the_server() -> None:
    @asynccontextmanager
    async def lifespan(app: MCPApp) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    server = uvicorn.Server(
        uvicorn.Config(MCPApp(lifespan=lifespan), host=HOST, port=0, lifespan="on", log_level="critical")
    )
    with pytest.raises(SystemExit):
        server.run()
    assert not server.started


def test_the_table_of_mounts_is_true() -> None:
    """What `docs/running.md` says of each way to put the app into a host."""
    ways: dict[str, Callable[[Diary], Any]] = {
        "`api.router.routes.append(app.host_route())`": fastapi_host_route,
        '`api.add_route("/mcp{slash:path}", app)`': fastapi_route,
        '`api.mount("/mcp", app)`': fastapi_mount,
        '`api.mount("/tools", app)`': fastapi_prefix,
        '`api.mount("", app)`, as the last route': fastapi_root,
    }
    rows = table(ROOT / "docs" / "running.md", "you write")
    assert {row[0] for row in rows} == set(ways)
    for way, *cells in rows:
        for cell in cells:
            path, _, status = cell.replace("`", "").partition(": ")
            assert HOSTS[ways[way]][path] == int(status.split()[0]), (way, path)


PROCESS = """
from contextlib import asynccontextmanager
from pathlib import Path
from starlette.applications import Starlette
from starlette.routing import Mount
from enfilade import MCPApp


@asynccontextmanager
async def lifespan(app):
    yield
    Path(__file__).with_name("closed").touch()


app = MCPApp(name="Tea", lifespan=lifespan)


@app.tool
def drink() -> str:
    return "tea"


@asynccontextmanager
async def host_lifespan(host):
    async with app.running():
        yield


host = Starlette(routes=[Mount("/tools", app=app)])
wired = Starlette(routes=[Mount("/tools", app=app)], lifespan=host_lifespan)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without a signal they could act on")
@pytest.mark.parametrize(
    ("target", "options", "stop"),
    [
        ("app", (), signal.SIGTERM),
        ("app", ("--lifespan", "off"), signal.SIGINT),
        ("host", (), signal.SIGINT),
        ("wired", (), signal.SIGTERM),
    ],
    ids=["bare-SIGTERM", "bare-lifespan-off-SIGINT", "mounted-SIGINT", "mounted-and-wired-SIGTERM"],
)
def test_what_was_opened_is_put_away_when_a_signal_stops_the_server(
    tmp_path: Path, target: str, options: tuple[str, ...], stop: signal.Signals
) -> None:
    """D31, as far as the host lets us: see `docs/running.md`."""
    (tmp_path / "hosting.py").write_text(PROCESS, encoding="utf-8")
    command = [sys.executable, "-m", "uvicorn", f"hosting:{target}", "--port", "{port}", *options]
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    with ServerProcess(
        command, env={"PYTHONPATH": path}, path="/tools/mcp" if target != "app" else "/mcp"
    ) as server:
        assert asyncio.run(drink(server.url, "auto")) == {"result": "tea"}
        server.process.send_signal(stop)
        server.process.wait(20)
    assert (tmp_path / "closed").exists()
