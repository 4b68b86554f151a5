"""The reference's spellings (reference §2.5): the same things under the names its users know."""

import asyncio
import re
from operator import attrgetter
from typing import Any

import pytest

from enfilade import Context, MCPApp
from enfilade.serving.subscriptions import Change, Listener
from support.docs.pages import ROOT, table
from support.rounds import Call, accept, text_of, written
from support.servers.calls_in_process import messages, result, text

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"nickname": {"type": "string"}}, "required": ["nickname"]}


def only(tool: Any, **options: Any) -> MCPApp:
    app = MCPApp(**options)
    app.add_tool(tool, name="tool", requires_secrets=["API_KEY"] if "secrets" in options else ())
    return app


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (accept(nickname="Max"), "accept {'nickname': 'Max'}"),
        ({"action": "decline"}, "decline None"),
        ({"action": "cancel"}, "cancel None"),
    ],
)
async def test_ui_elicit(answer: dict[str, Any], told: str) -> None:
    async def tool(context: Context) -> str:
        found = await context.ui.elicit("Your nickname?", schema=SCHEMA)
        return f"{found.action} {found.content}"

    assert text_of(await Call(only(tool), "tool").answer_all(lambda *_: answer)) == told


async def test_ui_elicit_with_a_page() -> None:
    async def tool(context: Context) -> str:
        with pytest.raises(ValueError, match="needs a url"):
            await context.ui.elicit("Sign in", mode="url")
        return (await context.ui.elicit("Sign in", mode="url", url="https://example.org/")).action

    def answer(key: str, question: dict[str, Any]) -> dict[str, Any]:
        assert question["url"] == "https://example.org/"
        return {"action": "accept"}

    assert text_of(await Call(only(tool), "tool").answer_all(answer)) == "accept"


async def test_sampling_create_message() -> None:
    """It gives the content alone."""

    async def tool(context: Context) -> str:
        content = await context.sampling.create_message("Sum it up", "Be brief", None, 0.5, 99, ["claude", "gpt"])
        return content.text  # type: ignore[union-attr]

    def answer(key: str, question: dict[str, Any]) -> dict[str, Any]:
        assert question["messages"][0]["content"]["text"] == "Sum it up"
        assert (question["systemPrompt"], question["temperature"], question["maxTokens"]) == ("Be brief", 0.5, 99)
        assert [hint["name"] for hint in question["modelPreferences"]["hints"]] == ["claude", "gpt"]
        return written("short")

    assert text_of(await Call(only(tool), "tool").answer_all(answer)) == "short"


async def test_log_with_extra() -> None:
    async def tool(context: Context) -> str:
        await context.log.info("plain")
        await context.log.warning("with more", extra={"tries": 3})
        await context.log.log("error", "named", logger="db", extra={"code": 5})
        return "done"

    found = [each["params"] for each in (await messages(only(tool), "tool"))[:-1]]
    assert [each["data"] for each in found] == [
        "plain",
        {"msg": "with more", "extra": {"tries": 3}},
        {"msg": "named", "extra": {"code": 5}},
    ]
    assert found[2]["logger"] == "db"


async def test_what_is_the_same_value() -> None:
    async def tool(context: Context) -> bool:
        raw = await context.tools.call_raw("tool_that_is_not_there", {})
        assert raw.is_error
        assert context.get_secret("api_key") == context.secret("API_KEY")
        return context.user_id is context.peer.principal is None

    assert text(await result(only(tool, secrets={"API_KEY": "abcdef"}), "tool")) == "true"


async def test_list_roots() -> None:
    async def tool(context: Context) -> str:
        return (await context.resources.list_roots())[0].uri

    found = await Call(only(tool), "tool").answer_all(lambda *_: {"roots": [{"uri": "file:///home/ada"}]})
    assert text_of(found) == "file:///home/ada"


@pytest.mark.parametrize("kind", ["tools", "resources", "prompts"])
async def test_notifications(kind: str) -> None:
    """D11: they reach everybody who wants to know."""

    async def tool(context: Context) -> str:
        await getattr(context.notifications, kind).list_changed()
        return "done"

    app = only(tool)
    told: list[Change] = []
    heard = asyncio.Event()

    def tell(change: Change) -> bool:
        told.append(change)
        heard.set()
        return True

    listener = Listener(lambda change: True, tell)
    assert app.changes.attach(listener)
    await result(app, "tool")
    async with asyncio.timeout(30):
        await heard.wait()
    app.changes.detach(listener)
    assert [change.method for change in told] == [f"notifications/{kind}/list_changed"]


async def test_every_spelling_of_the_table_exists() -> None:
    """`docs/spellings.md` promises nothing that is not there."""
    rows = table(ROOT / "docs" / "spellings.md", "arcade-mcp-server")
    names = {name for row in rows for name in re.findall(r"`(?:context|ctx)\.([\w.]+)", " ".join(row[:2]))}
    assert len(names) > 20

    async def tool(context: Context) -> list[str]:
        return [name for name in sorted(names) if attrgetter(name)(context) is ...]

    assert (await result(only(tool), "tool"))["structuredContent"] == {"result": []}
