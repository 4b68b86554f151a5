"""A server that has one of everything, so that what each revision gets to see of it can be compared.

It runs inside the tests (`ContentServer()`) and as a process of its own (`python content_server.py`), because
2024-11-05 is served over stdio only. Easy to get wrong: a field that no exhibit has is a field that no test can
find leaking, so a new field of a definition or of content belongs on one of these.
"""

import asyncio
from typing import Annotated, Any

from pydantic import BaseModel, Field

from enfilade import (
    Annotations,
    AssistantMessage,
    AudioContent,
    BlobResourceContents,
    Choices,
    Context,
    EmbeddedResource,
    Icon,
    ImageContent,
    MCPApp,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
    ToolResult,
    UserMessage,
    elicitation,
)
from enfilade.primitives.questions.input_required import InputRequired

META = {"example.org/shelf": 3}
ICONS = [Icon(src="https://example.org/icon.png", mime_type="image/png", sizes=["48x48"])]
NOTES = Annotations(audience=["user"], priority=0.5, last_modified="2026-01-01T00:00:00Z")
SOUND = "UklGRg=="
PIXEL = "R0lGODlhAQABAAAAACwAAAAAAQABAAAC"
BIG = 2**60 + 1
SECRET = "swordfish"


class Size(BaseModel):
    """How large something is."""

    width: int
    height: int | None = None


class Wishes(BaseModel):
    """A form with every kind of default that a revision may not know."""

    sure: bool = True
    name: str = "Ada"
    count: int = 3
    size: Annotated[str, Choices({"s": "Small", "l": "Large"})] = "s"


class ContentServer(MCPApp):
    """The server, with its exhibits."""

    def __init__(self, **options: Any) -> None:
        shown: dict[str, Any] = {
            "title": "The ContentServer",
            "icons": ICONS,
            "website_url": "https://example.org",
        }
        super().__init__("gallery", version="1.0.0", **{**shown, **options})
        self.cancelled = 0
        _add_tools(self)
        _add_talking_tools(self)
        _add_resources(self)
        _add_prompts(self)


def _add_tools(app: MCPApp) -> None:
    hints = ToolAnnotations(read_only_hint=True)

    @app.tool(title="Show", annotations=hints, icons=ICONS, meta=META)
    async def show() -> ToolResult:
        """Show a block of each kind."""
        link = ResourceLink(
            uri="gallery://hall", name="hall", title="Hall", icons=ICONS, annotations=NOTES, size=4, meta=META
        )
        return ToolResult(
            content=[
                TextContent(text="a text", annotations=NOTES, meta=META),
                ImageContent(data=PIXEL, mime_type="image/gif", annotations=NOTES, meta=META),
                AudioContent(data=SOUND, mime_type="audio/wav", annotations=NOTES, meta=META),
                link,
                EmbeddedResource(
                    resource=TextResourceContents(uri="gallery://hall", text="hall", meta=META), meta=META
                ),
                EmbeddedResource(resource=BlobResourceContents(uri="gallery://dot", blob=PIXEL)),
            ],
            meta=META,
        )

    @app.tool
    async def measure(width: int = 2) -> Size:
        """Return data that is an object."""
        return Size(width=width)

    @app.tool
    async def count() -> list[int]:
        """Return data that is no object."""
        return [1, 2, BIG]

    @app.tool
    async def bare() -> ToolResult:
        """Return data that is no object, and say so."""
        return ToolResult(structured_content=[1, 2])

    @app.tool
    async def nothing() -> ToolResult:
        """Return data that is null."""
        return ToolResult(content="null", structured_content=None)

    @app.tool
    async def crash() -> str:
        """Fail in a way nobody planned."""
        raise RuntimeError(f"the password is {SECRET}")


def _add_talking_tools(app: ContentServer) -> None:
    @app.tool
    async def report(ctx: Context) -> str:
        """Report progress and log."""
        await ctx.progress.report(0.5, total=2, message="half")
        await ctx.log.info(None)
        await ctx.log.debug("details")
        await ctx.progress.report(0.5, message="no further")
        await ctx.progress.report(2, message="all")
        return "reported"

    @app.tool
    async def ask(ctx: Context) -> str:
        """Ask the user to fill in a form."""
        return (await ctx.elicit("Wishes?", Wishes)).action

    @app.tool
    async def ask_in_two_rounds(ctx: Context) -> str:
        """Ask two questions, and talk in between."""
        first = await ctx.elicit("First?", bool)
        await ctx.log.warning("between")
        second = await ctx.elicit("Second?", bool)
        return f"{first.data} {second.data}"

    @app.tool
    async def visit(ctx: Context) -> str:
        """Send the user to a page, for what must not pass through the client."""
        return (await ctx.elicit_url("Sign in", "https://example.org/sign-in")).action

    @app.tool
    async def write(ctx: Context) -> str:
        """Let the client's model write."""
        return str((await ctx.sample("Write")).content)

    @app.tool
    async def explicit(ctx: Context) -> str | InputRequired:
        """Ask by returning what is needed."""
        if "ok" not in ctx.input_responses:
            return InputRequired({"ok": elicitation("Sure?", bool)})
        return "done"

    @app.tool
    async def linger(ctx: Context) -> str:
        """Say that it began, then wait for ever."""
        await ctx.progress.report(1)
        await ctx.log.info("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            app.cancelled += 1
            await ctx.log.error("too late")
            raise
        return "never"

    @app.tool
    async def stopped() -> int:
        """Say how many calls were cancelled."""
        return app.cancelled


def _add_resources(app: MCPApp) -> None:
    app.add_text_resource(
        "gallery://hall", "hall", title="Hall", icons=ICONS, annotations=NOTES, meta=META, description="The hall."
    )

    @app.resource("gallery://both")
    async def both() -> list[TextResourceContents | BlobResourceContents]:
        """Give a text and a picture."""
        return [
            TextResourceContents(uri="gallery://both", text="a text", meta=META),
            BlobResourceContents(uri="gallery://both", blob=PIXEL, mime_type="image/gif", meta=META),
        ]

    @app.resource("gallery://crash")
    async def crash() -> str:
        """Fail in a way nobody planned."""
        raise RuntimeError(f"the password is {SECRET}")

    @app.resource(
        "gallery://{room}", title="Room", icons=ICONS, annotations=NOTES, meta=META, complete={"room": ["east"]}
    )
    async def room(room: Annotated[str, Field(description="which")]) -> str:
        """Describe a room."""
        return f"the {room} room"


def _add_prompts(app: MCPApp) -> None:
    @app.prompt(title="Guide", icons=ICONS, meta=META, complete={"visitor": ["Ada", "Alan"]})
    async def guide(visitor: Annotated[str, Field(title="Visitor", description="who")]) -> list[Any]:
        """Guide a visitor."""
        sound = AudioContent(data=SOUND, mime_type="audio/wav", meta=META)
        link = ResourceLink(uri="gallery://hall", name="hall", icons=ICONS)
        return [UserMessage(f"I am {visitor}"), AssistantMessage(sound), UserMessage(link)]

    @app.prompt
    async def crash() -> str:
        """Fail in a way nobody planned."""
        raise RuntimeError(f"the password is {SECRET}")


if __name__ == "__main__":
    ContentServer().run("stdio")
