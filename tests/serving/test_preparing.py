"""Tools that are built later are built once there is time, one in each turn of the event loop."""

import asyncio
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.primitives.tool import Tool
from enfilade.timings import Timings
from support.http_client.asgi_calls import AsgiClient


def app_with_tools() -> MCPApp:
    app = MCPApp()
    app._timings = Timings(prepare_delay=0.05)
    for name in ("one", "two", "three"):
        app.add_tool(lambda text: text, name=name)
    return app


def built(app: MCPApp) -> list[bool]:
    return [bool(each._define.cache_info().misses) for each in app.tools]  # type: ignore[attr-defined]


async def lifespan(app: MCPApp, stop: asyncio.Event) -> None:
    started = False

    async def receive() -> dict[str, Any]:
        nonlocal started
        if started:
            await stop.wait()
        started = True
        return {"type": "lifespan.shutdown" if stop.is_set() else "lifespan.startup"}

    async def send(message: Any) -> None:
        assert message["type"].endswith(".complete")

    await app({"type": "lifespan"}, receive, send)


async def until(app: MCPApp, wanted: list[bool]) -> None:
    async with asyncio.timeout(10):
        while built(app) != wanted:
            await asyncio.sleep(0)


def test_they_are_built_after_the_start() -> None:
    async def scenario() -> None:
        app, stop = app_with_tools(), asyncio.Event()
        serving = asyncio.create_task(lifespan(app, stop))
        await asyncio.sleep(0)
        assert built(app) == [False, False, False]
        for wanted in ([True, False, False], [True, True, False], [True, True, True]):
            await until(app, wanted)
        stop.set()
        await serving

    asyncio.run(scenario())


def test_a_server_that_stops_before_builds_nothing() -> None:
    async def scenario() -> None:
        app, stop = app_with_tools(), asyncio.Event()
        stop.set()
        await lifespan(app, stop)
        await asyncio.sleep(0.1)
        assert built(app) == [False, False, False]

    asyncio.run(scenario())


def test_a_tool_that_is_added_meanwhile_does_not_disturb() -> None:
    async def scenario() -> None:
        app, stop = app_with_tools(), asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        serving = asyncio.create_task(lifespan(app, stop))
        await until(app, [True, False, False])
        app.add_tool(lambda text: text, name="late")
        await until(app, [True, True, True, False])
        stop.set()
        await serving

    failures: list[dict[str, Any]] = []
    asyncio.run(scenario())
    assert failures == []


def test_what_cannot_be_built_yet_is_built_by_its_first_call(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Building imports modules, which fails while the process has no descriptor left; the others are built."""
    prepare, odd = Tool.prepare, []

    def without_descriptors(tool: Tool) -> None:
        if tool.name == "one":
            raise OSError(24, "Too many open files")
        prepare(tool)

    async def scenario() -> None:
        monkeypatch.setattr(Tool, "prepare", without_descriptors)
        app, stop = app_with_tools(), asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: odd.append(context))
        serving = asyncio.create_task(lifespan(app, stop))
        await until(app, [False, True, True])
        stop.set()
        await serving
        params = {"name": "one", "arguments": {"text": "built now"}}
        answered = await AsgiClient(app).modern("tools/call", params)
        assert answered.result["content"][0]["text"] == "built now"

    with caplog.at_level("WARNING", "enfilade.serving"):
        asyncio.run(scenario())
    (said,) = [each for each in caplog.records if each.name == "enfilade.serving"]
    assert (said.levelname, said.exc_info) == ("WARNING", None)
    assert "'one'" in said.getMessage()
    assert odd == []
