"""What type checkers know of the public face; read by them and never run."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict, assert_never, assert_type

from fastapi import FastAPI
from mcp.types import Icon as SdkIcon, ToolAnnotations as SdkToolAnnotations
from pydantic import BaseModel, Field
from starlette.applications import Starlette

from enfilade import (
    Choices,
    Context,
    CreateMessageResult,
    Elicited,
    MCPApp,
    Request,
    Root,
    connect,
    elicitation,
    text_of,
    tool,
)
from enfilade.serving.client_requests import ask as questions
from enfilade.testing import Connect, Connected, accept


@dataclass
class Wishes:
    seat: Literal["window", "aisle"]


class Seat(BaseModel):
    number: int


class Row(TypedDict):
    number: int


class Colour(Enum):
    RED = "red"


class Database:
    pass


@asynccontextmanager
async def lifespan(app: MCPApp) -> AsyncIterator[Database]:
    yield Database()


app = MCPApp(lifespan=lifespan)
api = FastAPI()
api.router.routes.append(app.host_route())
api.mount("/tools", app)
host = Starlette(routes=[app.host_route()])


def plain_tool(number: int) -> str:
    return "x"


def registered() -> None:
    """Decorators leave a function as it is, and take every option."""
    hints = SdkToolAnnotations(read_only_hint=True)
    same = app.tool(plain_tool)
    assert_type(same(1), str)
    assert_type(app.tool("name", desc="x", annotations=hints, icons=["data:,"], timeout=1)(plain_tool)(1), str)
    assert_type(app.tool(cache="5 minutes", cache_per="all", annotations=hints)(plain_tool)(1), str)
    assert_type(app.tool(idempotency_key="x", idempotency_ttl=5, on_interrupted="refuse")(plain_tool)(1), str)
    app.tool(cache_per="session")  # type: ignore[call-overload]
    app.tool(idempotency_key=5)  # type: ignore[call-overload]
    assert_type(app.tool(output_schema=None, requires_secrets=["KEY"])(plain_tool)(1), str)
    assert_type(app.prompt("name", complete={"number": ["1"]}, meta={})(plain_tool)(1), str)
    assert_type(app.resource("a://{number}", ttl=5, cache_scope="public", verbatim=["b"])(plain_tool)(1), str)
    assert_type(tool("name", structured_output=False, title="x")(plain_tool)(1), str)
    app.add_tool(plain_tool, name="x", input_schema={}, additional_properties=True, annotations={})
    app.add_text_resource("a://b", "text", name="b", mime_type="text/plain", annotations={"priority": 1})
    app.add_file_resource("a://c", "c", max_size=1, icons=[SdkIcon(src="data:,")])
    app.add_directory("a://", "d", hidden=True, most_listed=1, ttl=1, title="x")


async def connected(connection: Connect) -> None:
    """The fixture connects as `connect` does."""
    async with connection(answers=[accept()], era="session") as client:
        assert_type(client, Connected)
    async with connect(app) as client:
        assert_type(client, Connected)


@app.tool
async def asking(ctx: Context) -> None:
    """Every kind of form has its type."""
    assert_type(await ctx.elicit("?"), Elicited[None])
    assert_type(await ctx.elicit("?", Wishes), Elicited[Wishes])
    assert_type(await ctx.elicit("?", Seat), Elicited[Seat])
    assert_type(await ctx.elicit("?", Row), Elicited[Row])
    assert_type(await ctx.elicit("?", Colour), Elicited[Colour])
    assert_type(await ctx.elicit("?", bool, key="k", timeout=5), Elicited[bool])
    assert_type(await ctx.elicit("?", Literal["a", "b"]), Elicited[Literal["a", "b"]])
    assert_type(await ctx.elicit("?", list[Literal["a", "b"]]), Elicited[list[Literal["a", "b"]]])
    assert_type(await ctx.elicit("?", Annotated[str, Field(min_length=2)]), Elicited[str])
    assert_type(await ctx.elicit("?", int | None), Elicited[int | None])
    assert_type(await ctx.elicit("?", Choices({"a": "A"})), Elicited[str])
    assert_type(await ctx.elicit("?", {"type": "object"}), Elicited[dict[str, Any]])
    await ctx.elicit("?", ["a", "b"])  # type: ignore[call-overload]
    await ctx.elicit("?", "a")  # type: ignore[call-overload]
    assert_type(await ctx.elicit_url("?", "https://x.example"), Elicited[None])
    assert_type((await ctx.elicit("?", Wishes)).data.seat, Literal["window", "aisle"])
    assert_type(await ctx.sample("?"), CreateMessageResult)
    assert_type(text_of(await ctx.sample("?")), str)
    assert_type(text_of(await ctx.tools.call_raw("?")), str)
    assert_type(await ctx.roots(), list[Root])


async def actions(ctx: Context) -> str:
    """An action narrows, to the end."""
    answer = await ctx.elicit("?", Wishes)
    if answer.action == "accept":
        return answer.data.seat
    if answer.action == "decline":
        return "no"
    assert_type(answer.action, Literal["cancel"])
    match answer.action:
        case "cancel":
            return "closed"
        case _:
            assert_never(answer.action)


async def explicitly(ctx: Context) -> None:
    question = elicitation("?", Seat)
    assert_type(question.read(b"{}"), Elicited[Seat])
    assert_type(ctx.input_responses.elicited("seat", Seat), Elicited[Seat] | None)
    elicitation("?", ("a", "b"))  # type: ignore[call-overload]
    ctx.input_responses.elicited("seat", {"a", "b"})  # type: ignore[call-overload]


async def in_middleware(request: Request) -> None:
    assert_type(await questions.elicit(request, "?", Wishes), Elicited[Wishes])
    assert_type(await questions.roots(request), list[Root])
    await questions.elicit(request, "?", ["a", "b"])  # type: ignore[call-overload]


async def once(ctx: Context) -> None:
    """What is JSON comes back as it went; of all else nothing is promised."""

    async def charge() -> dict[str, int]:
        return {"receipt": 1}

    def plain() -> str:
        return "receipt"

    async def typed() -> Row:
        return {"number": 1}

    async def made() -> Seat:
        return Seat(number=1)

    assert_type(await ctx.once("key", charge), dict[str, int])
    assert_type(await ctx.once("key", plain), str)
    assert_type(await ctx.once("key", lambda: 1), int)
    assert_type(await ctx.once("key", typed), Row)
    assert_type(await ctx.once("key", made), Any)


def state(ctx: Context[Database], plain: Context) -> None:
    assert_type(ctx.lifespan, Database)
    assert_type(plain.lifespan, Any)
    assert_type(plain.meta, dict[str, Any])
    everything: Mapping[str, Any] = plain.request_data
    del everything


async def kept(ctx: Context) -> None:
    assert_type(await ctx.state.get("key"), Any)
    assert_type(await ctx.state.update("key", str), Any)
    assert_type(await ctx.state.keys(), list[str])
    assert_type(await ctx.get_state("key"), Any)
    await ctx.state.set("key", {"a": [1, None]}, ttl=60)
    if ctx.http is not None:
        assert_type(ctx.http.headers.getlist("x-team"), list[str])
        assert_type(ctx.http.headers.get("x-team"), str | None)
        assert_type(ctx.http.client, str | None)
        assert_type(ctx.http.url, str)
