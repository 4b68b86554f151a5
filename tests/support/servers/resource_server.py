"""The server that the tests of resources, prompts and completion talk to: each entry is one thing to observe.

It runs inside the tests (`ResourceServer()`) and as a process of its own (`python resource_server.py stdio`),
with the same entries, so that one test holds for every transport.
"""

import sys
from datetime import date
from enum import Enum
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from enfilade import (
    AssistantMessage,
    Caching,
    Context,
    Image,
    MCPApp,
    PromptError,
    ResourceError,
    ResourceNotFound,
    TextContent,
    TextResourceContents,
    UserMessage,
)

PIXEL = b"\x89PNG\r\n\x1a\n"

CACHING = {"resources/list": Caching(ttl=60, scope="public"), "prompts/list": Caching(ttl=1.5)}


class Shelf(Enum):
    FICTION = "fiction"
    FACTS = "facts"


class Book(BaseModel):
    title: str
    pages: int


class ResourceServer(MCPApp):
    """The server."""

    def __init__(self, **options: object) -> None:
        super().__init__("library", version="1.0.0", caching=CACHING, **options)  # type: ignore[arg-type]
        _add_resources(self)
        _add_templates(self)
        _add_failures(self)
        _add_prompts(self)
        _add_tools(self)


def _add_resources(app: MCPApp) -> None:
    app.add_text_resource("library://rules", "Be quiet.", title="House rules", annotations={"priority": 0.9})

    @app.resource("library://stamp", ttl=3600, cache_scope="public")
    def stamp() -> bytes:
        """The stamp in every book."""
        return PIXEL

    @app.resource("library://catalogue", icons=["https://example.org/book.png"], meta={"example.org/a": 1})
    async def catalogue() -> list[Book]:
        """Every book there is."""
        return [Book(title="Emma", pages=474), Book(title="Ulysses", pages=736)]

    @app.resource("library://hall")
    def hall() -> list[TextResourceContents | bytes]:
        """All that is in the hall."""
        return [TextResourceContents(uri="library://hall/clock", mime_type="text/plain", text="ten"), PIXEL]


def _add_templates(app: MCPApp) -> None:
    @app.resource("library://{shelf}/{title}{?page}")
    def book(shelf: Shelf, title: str, page: int = 1) -> str:
        """A page of a book."""
        return f"{shelf.name}: {title!r}, page {page}"

    @app.resource("loans://{reader}{/days*}", complete={"reader": ["Ada", "Adam", "Max"]})
    async def loans(reader: str, days: list[date], ctx: Context) -> dict[str, object]:
        """What a reader has borrowed."""
        rules = await ctx.resources.read("library://rules")
        return {"reader": reader, "days": days, "rules": rules.contents[0].text}


def _add_failures(app: MCPApp) -> None:
    @app.resource("failing://{how}")
    async def failing(how: str, ctx: Context) -> str | None:
        """Fail in one way or another."""
        if how == "gone":
            raise ResourceNotFound("It was sold", meta={"year": 1990})
        if how == "told":
            raise ResourceError("The key is lost", meta={"key": 7})
        if how == "crash":
            raise RuntimeError("the password is swordfish")
        if how == "leave":
            sys.exit(3)
        if how == "inner":
            await ctx.resources.read("library://nothing")
        return None


def _add_prompts(app: MCPApp) -> None:
    @app.prompt(title="Recommend a book", icons=["https://example.org/star.png"])
    def recommend(
        shelf: Shelf,
        pages: Annotated[int, Field(ge=1)] = 300,
        mood: Literal["light", "dark"] = "light",
        since: date | None = None,
        known: list[str] | None = None,
    ) -> list[UserMessage | AssistantMessage]:
        """Ask for a book.

        Args:
            shelf: Where to look.
            known: What the reader has read.
        """
        wish = f"{shelf.name} {pages!r} {mood} {since!r} {known!r}"
        return [UserMessage(wish), AssistantMessage("Let me see.")]

    @app.prompt
    async def describe(cover: str = "red") -> list[Image | TextContent | str]:
        """Ask about a picture."""
        return [Image(data=PIXEL), TextContent(text="What is this?"), cover]

    @app.prompt
    def refuse(how: str) -> str | None:
        """Fail in one way or another."""
        if how == "told":
            raise PromptError("Not today")
        if how == "crash":
            raise RuntimeError("the password is swordfish")
        return None

    @app.completion("recommend", "known")
    async def known(value: str, arguments: dict[str, str], ctx: Context) -> list[str]:
        return [f"{value} of {arguments.get('shelf', 'any shelf')} in {ctx.peer.revision}"]

    @app.completion("describe", "cover")
    def cover(typed: str) -> list[str]:
        if typed == "crash":
            raise RuntimeError("the password is swordfish")
        return [f"{typed}{number}" for number in range(250)]


def _add_tools(app: MCPApp) -> None:
    @app.tool
    async def fetch(uri: str, ctx: Context) -> str:
        """Read a resource on behalf of a caller."""
        result = await ctx.resources.read(uri)
        return result.contents[0].text or ""

    @app.tool
    async def fill_in(name: str, arguments: dict[str, object], ctx: Context) -> list[str]:
        """Fill in a prompt on behalf of a caller."""
        result = await ctx.prompts.get(name, arguments)
        return [message.content.text for message in result.messages if isinstance(message.content, TextContent)]

    @app.tool
    def inventory(ctx: Context) -> list[str]:
        """List what there is."""
        return [each.uri for each in ctx.resources.list()] + [each.name for each in ctx.prompts.list()]


app = ResourceServer()

if __name__ == "__main__":
    app.run(sys.argv[1], port=int(sys.argv[2]) if len(sys.argv) > 2 else None)
