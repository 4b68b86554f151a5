"""The lifespan: up before the first request, and put away whichever way the server ends (D31)."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from enfilade import Context, MCPApp
from support.harness import Serving, Stdio
from support.http_client.asgi_calls import AsgiClient

pytestmark = pytest.mark.anyio


class Watched:
    """A server that writes down what its lifespan does."""

    def __init__(self, value: Any = "the pool") -> None:
        self.diary: list[str] = []

        @asynccontextmanager
        async def lifespan(app: MCPApp) -> AsyncIterator[Any]:
            assert app is self.app
            self.diary.append("up")
            try:
                yield value
            finally:
                await asyncio.sleep(0)
                self.diary.append("down")

        self.app = MCPApp("watched", lifespan=lifespan)

        @self.app.tool
        async def look(ctx: Context) -> str:
            return repr(ctx.lifespan)


@pytest.mark.parametrize("value", ["the pool", None], ids=repr)
def test_under_uvicorn(value: Any) -> None:
    """D31: `yield` without a value is no reason to wait for ever."""
    watched = Watched(value)
    with Serving(watched.app) as serving:
        assert watched.diary == ["up"], "before the first request"
        for _ in range(3):
            assert serving.http.modern_call("look").result["content"][0]["text"] == repr(value)
    assert watched.diary == ["up", "down"]


def test_in_a_host_that_says_nothing_of_its_lifespan() -> None:
    """The first request starts it, and the end of the event loop ends it."""
    watched = Watched()
    with Serving(Starlette(routes=[Mount("/", app=watched.app)])) as serving:
        assert watched.diary == []
        for _ in range(3):
            assert serving.http.modern_call("look").result["content"][0]["text"] == "'the pool'"
        assert watched.diary == ["up"]
    assert watched.diary == ["up", "down"]


async def test_many_first_requests_start_it_once() -> None:
    watched = Watched()
    asgi = AsgiClient(watched.app)
    call = {"name": "look", "arguments": {}}
    answers = await asyncio.gather(*(asgi.modern("tools/call", call) for _ in range(20)))
    assert {answered.result["content"][0]["text"] for answered in answers} == {"'the pool'"}
    assert watched.diary == ["up"]
    await watched.app._close()
    assert watched.diary == ["up", "down"]


async def test_in_memory() -> None:
    from enfilade import connect

    watched = Watched()
    async with connect(watched.app) as client:
        result = await client.call_tool("look", {})
        assert result.content[0].text == "'the pool'"
    assert watched.diary == ["up", "down"]


def test_one_loop_after_another() -> None:
    """As tests do it: each loop has a lifespan of its own."""
    watched = Watched()

    async def use() -> None:
        async with watched.app.running():
            answered = await AsgiClient(watched.app).modern("tools/call", {"name": "look", "arguments": {}})
            assert answered.status == 200

    for _ in range(2):
        asyncio.run(use())
    assert watched.diary == ["up", "down"] * 2


SERVER = """
import asyncio, sys
from contextlib import asynccontextmanager
from enfilade import MCPApp

@asynccontextmanager
async def lifespan(app):
    print("up", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        await asyncio.sleep(0)
        print("down", file=sys.stderr, flush=True)

app = MCPApp("watched", lifespan=lifespan)

@app.tool
async def wait() -> str:
    await asyncio.sleep(600)
    return "never"

app.run("stdio")
"""


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("end", ["input", "signal"])
def test_over_stdio(tmp_path: Path, busy: bool, end: str) -> None:
    """Also when the end comes in the middle of a call."""
    if end == "signal" and sys.platform == "win32":
        pytest.skip("no SIGTERM there")
    file = tmp_path / "server.py"
    file.write_text(SERVER, "utf-8")
    with Stdio([sys.executable, str(file)], {"ENFILADE_SHUTDOWN_TIMEOUT": "1"}) as stdio:
        stdio.initialize()
        if busy:
            stdio.request("tools/call", {"name": "wait", "arguments": {}})
            assert "result" in stdio.ask("ping", id=2)
        if end == "signal":
            stdio.process.terminate()
            assert stdio.process.wait(30) == 0
        else:
            assert stdio.end() == 0
        stdio.read_to_end()
        for reader in stdio.readers:
            reader.join(10)
        assert [line for line in stdio.log.split() if line in ("up", "down")] == ["up", "down"]


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_a_start_that_fails_has_an_exit_code_of_its_own(tmp_path: Path, transport: str) -> None:
    file = tmp_path / "server.py"
    start = f'app.run("{transport}", port=0)'
    text = SERVER.replace('print("up", file=sys.stderr, flush=True)', 'raise OSError("no database")')
    file.write_text(text.replace('app.run("stdio")', start), "utf-8")
    done = subprocess.run(
        [sys.executable, str(file)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "could not be started" in done.stderr
    assert "OSError: no database" in done.stderr


class TestFailures:
    @staticmethod
    def failing(when: str) -> MCPApp:
        @asynccontextmanager
        async def lifespan(app: MCPApp) -> AsyncIterator[None]:
            if when == "up":
                raise ConnectionError("no database")
            yield
            raise ConnectionError("the database would not close")

        app = MCPApp("failing", lifespan=lifespan)
        app.add_tool(lambda: "x", name="x")
        return app

    async def test_a_start_that_fails_stops_the_server(self) -> None:
        """The ASGI server is told, and so is whoever starts it by hand."""
        sent: list[Any] = []

        async def receive() -> dict[str, str]:
            return {"type": "lifespan.startup"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.failing("up")({"type": "lifespan"}, receive, send)
        (message,) = sent
        assert message["type"] == "lifespan.startup.failed"
        assert "no database" in message["message"]
        with pytest.raises(ConnectionError, match="no database"):
            async with self.failing("up").running():
                pass

    async def test_a_start_that_fails_fails_the_request_of_a_silent_host(self) -> None:
        """And the next request tries again."""
        asgi = AsgiClient(self.failing("up"))
        for _ in range(2):
            answered = await asgi.modern("tools/list")
            assert (answered.status, answered.response["error"]["code"]) == (500, -32603)
            assert "database" not in answered.response["error"]["message"]

    async def test_an_end_that_fails_is_told(self) -> None:
        with pytest.raises(ConnectionError, match="would not close"):
            async with self.failing("down").running():
                pass
