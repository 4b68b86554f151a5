"""A server that shows every kind of tool: it is also what the official conformance suite is run against.

The tools' names and texts are the suite's. It calls the first listed tool with no arguments at all, so
`test_simple_text` stays first. Run it with `python examples/everything/server.py --port 3001`; without a port it
speaks stdio.
"""

import argparse
import asyncio
import base64
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from enfilade import (
    Audio,
    Context,
    EmbeddedResource,
    Image,
    InputRequired,
    MCPApp,
    TextContent,
    TextResourceContents,
    ToolError,
    elicitation,
)
from enfilade.extensions.skills import Skill

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
"""An image of one pixel."""

WAV = (
    b"RIFF\x26\x00\x00\x00WAVE"
    b"fmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00"
    b"data\x02\x00\x00\x00\x00\x00"
)
"""A sound of one silent sample."""

app = MCPApp(name="everything", version="1.0.0", instructions="One tool for each thing a tool can do.")

PAUSE = 0.05
"""Seconds between two messages of a tool that sends several."""


@app.tool
def test_simple_text() -> str:
    """Return plain text."""
    return "This is a simple text response for testing."


@app.tool
def test_image_content() -> Image:
    """Return an image."""
    return Image(data=PNG, format="png")


@app.tool
def test_audio_content() -> Audio:
    """Return a sound."""
    return Audio(data=WAV, format="wav")


def embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    """Return a resource together with its text."""
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


@app.tool
def test_embedded_resource() -> EmbeddedResource:
    """Return a resource together with what it holds."""
    return embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")


@app.tool
def test_multiple_content_types() -> list[TextContent | Image | EmbeddedResource]:
    """Return text, an image and a resource in one result."""
    return [
        TextContent(text="Multiple content types test:"),
        Image(data=PNG, format="png"),
        embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ]


@app.tool
def test_error_handling() -> str:
    """Fail with words that the model should read."""
    raise ToolError("This tool intentionally returns an error for testing")


@app.tool
async def test_tool_with_logging(ctx: Context) -> str:
    """Log three messages while working."""
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.log.info(message)
        await asyncio.sleep(PAUSE)
    return "Logged three messages."


@app.tool
async def test_logging_tool(ctx: Context) -> str:
    """Log to a client that may not have asked for logs, and then gets none."""
    await ctx.log.info("Only for clients that asked")
    return "Logged one message."


@app.tool
async def test_tool_with_progress(ctx: Context) -> str:
    """Report progress three times while working."""
    for percent in (0, 50, 100):
        await ctx.progress.report(percent, total=100, message=f"Completed step {percent} of 100")
        await asyncio.sleep(PAUSE)
    return "Reported progress three times."


@app.tool
async def test_reconnection(ctx: Context) -> str:
    """Let the client go in the middle of the work, and leave the result for it to fetch."""
    ctx.close_stream(retry=0.1)
    await asyncio.sleep(0.15)
    return "The result was there when you came back."


CONTACT_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@app.tool(input_schema=CONTACT_SCHEMA)
def json_schema_2020_12_tool(**contact: Any) -> str:
    """Take arguments by a hand-written JSON Schema, which is listed as it is."""
    return f"Received: {', '.join(contact) or 'nothing'}"


@app.tool(name="test_x_mcp_header")
def route(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "<none>",
) -> str:
    """Take an argument that clients repeat in an HTTP header, for proxies to route by."""
    return f"region={region}"


@app.tool
def test_missing_capability(ctx: Context) -> str:
    """Refuse to work for a client that cannot sample."""
    ctx.require_capability("sampling")
    return "The client can sample."


def newcomer() -> str:
    """Be listed for a moment."""
    return "Still here?"


@app.tool
def test_trigger_tool_change() -> str:
    """Add a tool and remove it again, so that clients hear that the list has changed."""
    app.add_tool(newcomer)
    app.remove_tool("newcomer")
    return "The list of tools has changed twice."


app.add_text_resource(
    "test://static-text",
    "This is the content of the static text resource.",
    description="A text that never changes.",
    ttl=3600,
    cache_scope="public",
)
app.add_text_resource("test://watched-resource", "Watched.", description="A resource to subscribe to.")


@app.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """An image that never changes."""
    return PNG


@app.resource("test://template/{id}/data", mime_type="application/json")
def template_data(id: str) -> dict[str, str | bool]:
    """Data by its id."""
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


@app.prompt
def test_simple_prompt() -> str:
    """Say one thing."""
    return "This is a simple prompt for testing."


@app.prompt(complete={"arg1": ["paris", "park", "party"]})
def test_prompt_with_arguments(
    arg1: Annotated[str, "First test argument"], arg2: Annotated[str, "Second test argument"]
) -> str:
    """Say what was filled in."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@app.prompt(name="test_prompt_with_embedded_resource")
def prompt_with_embedded_resource(
    resourceUri: Annotated[str, "URI of the resource to embed"],  # noqa: N803 - the suite's name for it
) -> list[EmbeddedResource | str]:
    """Show a resource and ask about it."""
    return [
        embedded(resourceUri, "text/plain", "Embedded resource content for testing."),
        "Please process the embedded resource above.",
    ]


@app.prompt
def test_prompt_with_image() -> list[Image | str]:
    """Show an image and ask about it."""
    return [Image(data=PNG, format="png"), "Please analyze the image above."]


def passing_prompt() -> str:
    """Be listed for a moment."""
    return "Still here?"


@app.tool
def test_trigger_prompt_change() -> str:
    """Add a prompt and remove it again, so that clients hear that the list has changed."""
    app.add_prompt(passing_prompt)
    app.remove_prompt("passing_prompt")
    return "The list of prompts has changed twice."


@app.prompt
async def test_input_required_result_prompt(ctx: Context) -> str | InputRequired:
    """Ask the user for what to say."""
    answer = ctx.input_responses.get("user_context")
    if answer is None:
        question = elicitation("What context should the prompt use?", CONTEXT)
        return InputRequired({"user_context": question})
    return f"Use the following context: {answer.content}"


CONTEXT = {"type": "object", "properties": {"context": {"type": "string"}}, "required": ["context"]}

app.add_tools_from_module("questions")
app.add_tools_from_module("tasks")

app.add_skills(Path(__file__).with_name("skills"))
app.add_skill(
    Skill(
        "pixel-art",
        "Draw with one pixel. Use it when there is no room for two.",
        "# Pixel art\n\nThe pixel is in `assets/pixel.png`; say where it is and what it means.\n",
        files={"assets/pixel.png": PNG, "references/colours.md": "Red, or any other.\n"},
        front_matter={"license": "MIT", "metadata": {"version": "1.0"}},
    )
)


@app.skill
def server_state() -> str:
    """Tell how the server is. Use it when something seems to be wrong with it."""
    return f"# State of the server\n\nIt is well, and has {len(app.tools)} tools.\n"


def main() -> None:
    """Serve on the port that was asked for, or on stdio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, help="serve Streamable HTTP on 127.0.0.1 at this port")
    port: int | None = parser.parse_args().port
    if port is None:
        app.run()
    else:
        app.run(transport="http", host="127.0.0.1", port=port, path="/mcp")


if __name__ == "__main__":
    main()
