"""`text_of`: one way to the text of a result, whoever made it."""

from typing import Any

import mcp.types
import pytest

from enfilade import (
    Context,
    CreateMessageResult,
    EmbeddedResource,
    MCPApp,
    TextResourceContents,
    ToolResult,
    connect,
    text_of,
)
from enfilade.wire import content as ours

pytestmark = pytest.mark.anyio

IMAGE = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
EMBEDDED = {"type": "resource", "resource": {"uri": "file:///a", "text": "not this"}}


def texts(*words: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": word} for word in words]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([], ""),
        (texts("one"), "one"),
        ([*texts("one"), IMAGE, EMBEDDED, *texts("two")], "one\ntwo"),
    ],
)
def test_what_a_client_of_the_official_sdk_got(content: list[Any], text: str) -> None:
    assert text_of(mcp.types.CallToolResult.model_validate({"content": content})) == text


@pytest.mark.parametrize(
    ("content", "text"), [(texts("one")[0], "one"), (texts("o", "ne"), "one"), (IMAGE, "")], ids=str
)
def test_what_a_model_wrote_is_in_one_piece(content: Any, text: str) -> None:
    message = {"role": "assistant", "model": "m", "content": content}
    whole = mcp.types.CreateMessageResultWithTools.model_validate(message)
    assert text_of(whole) == text
    blocks = content if isinstance(content, list) else [content]
    own: Any = [ours.TextContent(text=each["text"]) for each in blocks if each["type"] == "text"]
    assert text_of(CreateMessageResult(role="assistant", model="m", content=own)) == text


async def test_what_another_tool_of_the_server_returned() -> None:
    app = MCPApp()

    @app.tool
    def several() -> ToolResult:
        hidden = EmbeddedResource(resource=TextResourceContents(uri="file:///a", text="not this"))
        return ToolResult(content=[ours.TextContent(text="one"), hidden, ours.TextContent(text="two")])

    @app.tool
    async def asks(ctx: Context) -> str:
        return text_of(await ctx.tools.call_raw("several")).upper()

    async with connect(app) as client:
        assert text_of(await client.call_tool("several")) == "one\ntwo"
        assert text_of(await client.call_tool("asks")) == "ONE\nTWO"
