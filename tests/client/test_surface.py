"""The surface of a server: all pages of all lists, and none that do not end."""

import asyncio
import sys

import pytest

from enfilade import MCPApp
from enfilade.client.surface import EndlessListError
from enfilade.settings import Settings
from enfilade.testing import Command, Surface, connect, read_surface
from support.servers import asking_server

ENDLESS = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    answers = {
        "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                       "serverInfo": {"name": "Endless", "version": "1"}},
        "tools/list": {"tools": [], "nextCursor": "again"},
    }
    if "id" in message:
        known = message["method"] in answers
        answer = {"result": answers[message["method"]]} if known else {"error": {"code": -32601, "message": "?"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
"""


async def surface_of(target: object, era: str = "auto") -> Surface:
    async with connect(target, era=era) as client:  # type: ignore[arg-type]
        return await read_surface(client)


@pytest.mark.parametrize(("era", "revision"), [("stateless", "2026-07-28"), ("session", "2025-11-25")])
def test_all_of_it(era: str, revision: str) -> None:
    found = asyncio.run(surface_of(asking_server.app, era))
    assert (found.revision, found.server["name"], found.server["version"]) == (revision, "Shop", "1.2.3")
    assert found.instructions == "Be [bold]nice[/bold]."
    assert [tool["name"] for tool in found.tools] == [tool.name for tool in asking_server.app.tools]
    assert found.tools[0]["annotations"] == {"readOnlyHint": True}
    assert [each["uri"] for each in found.resources] == ["shop://prices"]
    assert [each["name"] for each in found.prompts] == ["greet"]
    assert {"tools", "resources", "prompts", "logging"} <= set(found.capabilities)


def test_all_pages() -> None:
    app = MCPApp(settings=Settings(page_size=2))
    for number in range(5):
        app.add_tool(lambda: 1, name=f"tool_{number}")
    found = asyncio.run(surface_of(app))
    assert [tool["name"] for tool in found.tools] == [f"tool_{number}" for number in range(5)]


def test_pages_in_a_circle_are_noticed() -> None:
    with pytest.raises(EndlessListError, match=r"the pages of tools/list do not end: cursor 'again'"):
        asyncio.run(surface_of(Command([sys.executable, "-c", ENDLESS])))
