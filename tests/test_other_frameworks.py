"""Types, marks, values and exceptions of other frameworks in functions that are registered here.

The classes are stand-ins with the modules and names of the real ones; those of the official SDK are its own.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import mcp
import mcp.types
import pytest
from mcp import MCPError
from mcp.server.mcpserver import Context as SdkContext, Image as SdkImage
from mcp.server.mcpserver.exceptions import ToolError as SdkToolError
from mcp.server.mcpserver.prompts.base import UserMessage as SdkUserMessage
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.requests import Request as StarletteRequest
from typing_extensions import TypeAliasType

import enfilade
from enfilade import Context, Depends, MCPApp, ToolResult, connect
from support.servers.calls_in_process import called, text


def stand_in(module: str, name: str, *bases: type) -> Any:
    """Return a class that says that it is one of another framework."""
    return type(name, bases, {"__module__": module})


FastContext = stand_in("fastmcp.server.context", "Context")
CurrentContext = stand_in("fastmcp.server.dependencies", "_CurrentContext")
CurrentHeaders = stand_in("fastmcp.server.dependencies", "_CurrentHeaders")
FastDepends = stand_in("uncalled_for.functional", "_Depends")
ApiDepends = stand_in("fastapi.params", "Depends")
ApiUploadFile = stand_in("fastapi.datastructures", "UploadFile", UploadFile)
ApiHeader = stand_in("fastapi.params", "Header")
Progress = stand_in("fastmcp.server.dependencies", "Progress")
Skill = stand_in("fastmcp.skills", "Skill")
FastToolResult = stand_in("fastmcp.tools.base", "ToolResult", BaseModel)
FastMessage = stand_in("fastmcp.prompts.base", "Message", BaseModel)
FastImage = stand_in("fastmcp.utilities.types", "Image")
ResourceResult = stand_in("fastmcp.resources.base", "ResourceResult", BaseModel)
Client = stand_in("fastmcp.client.client", "Client")
FastToolError = stand_in("fastmcp.exceptions", "ToolError", Exception)


class OwnContext(FastContext):  # type: ignore[misc, valid-type]
    pass


REGISTERING: dict[str, Callable[[Callable[..., Any]], Any]] = {
    "tool": lambda fn: MCPApp().add_tool(fn),
    "structured tool": lambda fn: MCPApp().add_tool(fn, structured_output=False),
    "prompt": lambda fn: MCPApp().add_prompt(fn),
    "resource": lambda fn: MCPApp().add_resource(fn, "a://{x}"),
}


def with_parameter(annotation: Any, *default: Any) -> Callable[..., Any]:
    """Return a function with a parameter."""

    def fn(x: Any) -> str:
        return "x"

    fn.__annotations__["x"] = annotation
    fn.__defaults__ = default or None
    return fn


def with_result(annotation: Any) -> Callable[..., Any]:
    """Return a function that says that it returns something."""

    def fn(x: str = "") -> Any: ...

    fn.__annotations__["return"] = annotation
    return fn


@pytest.mark.parametrize("register", REGISTERING.values(), ids=REGISTERING)
@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (
            with_parameter(FastContext),
            "Context of fastmcp is not understood here: take the context as ctx:",
        ),
        (with_parameter(FastContext | None, None), "Context of fastmcp"),
        (with_parameter(Annotated[FastContext, "the context"]), "Context of fastmcp"),
        (with_parameter(OwnContext), "Context of fastmcp"),
        (with_parameter(SdkContext), "Context of the official SDK"),
        (with_parameter(SdkContext[Any, Any]), "Context of the official SDK"),
        (with_parameter(str, CurrentContext()), "CurrentContext of fastmcp"),
        (
            with_parameter(dict, CurrentHeaders()),
            "CurrentHeaders of fastmcp is not understood here: ctx.http has headers",
        ),
        (with_parameter(int, FastDepends()), "Depends of fastmcp is not understood here: write x: Annotated["),
        (with_parameter(Annotated[int, FastDepends()]), "Depends of fastmcp"),
        (with_parameter(list[Annotated[int, FastDepends()]]), "Depends of fastmcp"),
        (with_parameter(int, ApiDepends()), "Depends of FastAPI"),
        (with_parameter(Annotated[str, ApiHeader()]), "Header of FastAPI is not understood here: ctx.http has"),
        (with_parameter(StarletteRequest), "Request of Starlette is not understood here: ctx.http has"),
        (with_parameter(Progress), "Progress of fastmcp is not understood here: await ctx.progress.report("),
        (with_parameter(Skill), "Skill of fastmcp is not understood here: no client can send it"),
        (with_parameter(Callable[[FastContext], str]), "Context of fastmcp"),
        (with_parameter(UploadFile), "UploadFile of Starlette is not understood here: no client uploads files"),
        (with_parameter(list[ApiUploadFile]), "UploadFile of FastAPI is not understood here: no client uploads"),
        (
            with_parameter(mcp.Client),
            "Client of the official SDK is not understood here: open it in the lifespan",
        ),
        (
            with_parameter(mcp.ClientSession | None),
            "ClientSession of the official SDK is not understood here: open",
        ),
    ],
)
def test_a_parameter_of_another_framework_is_refused(
    register: Callable[..., Any], fn: Callable[..., Any], words: str
) -> None:
    pattern = r'fn\(\), parameter "x": ' + re.escape(words) + r".*\(see docs/from-fastmcp\.md\)"
    with pytest.raises(TypeError, match=pattern):
        register(fn)


@pytest.mark.parametrize("register", REGISTERING.values(), ids=REGISTERING)
@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (
            FastToolResult,
            "ToolResult of fastmcp is not understood here: use the class of this name",
        ),
        (FastToolResult | str, "ToolResult of fastmcp"),
        (list[FastMessage], "Message of fastmcp"),
        (FastImage, "Image of fastmcp"),
        (dict[str, SdkImage], "Image of the official SDK"),
        (ResourceResult, "ResourceResult of fastmcp is not understood here: return text, bytes, data"),
    ],
)
def test_a_result_of_another_framework_is_refused(
    register: Callable[..., Any], annotation: Any, words: str
) -> None:
    with pytest.raises(TypeError, match=r"fn\(\), the result: " + re.escape(words)):
        register(with_result(annotation))


def test_what_a_dependency_takes_is_checked_and_what_it_gives_is_not() -> None:
    """A client of another framework is a fine thing to depend on."""

    def client() -> Client:
        return Client()

    def of_context(ctx: FastContext) -> int:
        return 1

    @MCPApp().tool
    def ask(client: Annotated[Client, Depends(client)]) -> str:
        return "asked"

    with pytest.raises(TypeError, match=r'of_context\(\), parameter "ctx": Context of fastmcp'):

        @MCPApp().tool
        def work(x: Annotated[int, Depends(of_context)]) -> str:
            return "worked"


class Connection(Protocol): ...


@dataclass
class Holder:
    server: Connection | str


def test_the_error_names_the_field_of_which_no_json_is_a_value() -> None:
    words = r'parameter "x": no JSON can be read as its type \(its field "server" has no type that JSON has\)'
    with pytest.raises(TypeError, match=words):
        MCPApp().add_tool(with_parameter(Holder))


def test_types_of_the_protocol_and_own_classes_are_fine() -> None:
    class Context:  # of the author, who may call it as they like
        pass

    app = MCPApp()
    app.add_tool(with_result(mcp.types.CallToolResult), name="a")
    app.add_tool(with_result(list[mcp.types.TextContent]), name="b")
    app.add_prompt(with_result(list[SdkUserMessage]))
    json = TypeAliasType("json", "dict[str, json] | list[json] | str")  # type: ignore[misc]
    app.add_tool(with_parameter(json), name="c")
    assert app.tools.names() == ["a", "b", "c"]


@pytest.mark.parametrize(
    "value", [FastToolResult(), FastMessage(), FastImage(), SdkImage(data=b"", format="png")]
)
@pytest.mark.parametrize(
    "within",
    [
        lambda value: value,
        lambda value: [value],
        lambda value: iter(["a", value]),
        lambda value: {"a": value},
        lambda value: {"a": [{"b": value}]},
    ],
)
def test_a_value_of_another_framework_is_no_data(
    value: Any, within: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    app = MCPApp()

    @app.tool
    def free():
        return within(value)

    @app.tool
    def typed() -> dict[str, Any]:
        return within(value)

    result = called(app, "free")
    name = type(value).__name__
    assert result["isError"]
    assert f"{name} of " in text(result)
    assert "use the class of this name from enfilade" in caplog.text
    assert called(app, "typed")["isError"]


@pytest.mark.parametrize(
    "within", [lambda value: [value], lambda value: {"a": value}, lambda value: [[value], 1]]
)
def test_a_whole_result_is_no_data_either(within: Callable[[Any], Any]) -> None:
    app = MCPApp()

    @app.tool
    def free():
        return within(ToolResult(content="a"))

    @app.tool
    def typed() -> list[Any] | dict[str, Any]:
        return within(ToolResult(content="a"))

    for name in ("free", "typed"):
        words = text(called(app, name))
        assert words.endswith("return it alone, or put its structured_content into the data")


def test_a_result_of_the_official_sdk_among_blocks_says_how_to_return_it() -> None:
    app = MCPApp()

    @app.tool
    def work():
        return [mcp.types.CallToolResult(content=[]), "a"]

    assert text(called(app, "work")) == (
        "A CallToolResult was returned, which is no content block; return it alone, or the blocks of its content"
    )


@dataclass
class Untold:
    amount: "Unknown"  # type: ignore[name-defined]  # noqa: F821


def test_an_object_whose_annotations_cannot_be_resolved_is_data() -> None:
    app = MCPApp()

    @app.tool
    def work():
        return [Untold(3)]

    assert text(called(app, "work")) == '[{"amount":3}]'


@pytest.mark.parametrize("value", [FastMessage(), FastImage(), ResourceResult()])
@pytest.mark.parametrize("within", [lambda value: value, lambda value: ["a", value]])
@pytest.mark.anyio
async def test_neither_is_it_in_prompts_and_resources(value: Any, within: Callable[[Any], Any]) -> None:
    app = MCPApp()
    app.add_prompt(lambda: within(value), name="prompt")
    app.add_resource(lambda: within(value), "a://b", name="resource")
    async with connect(app) as client:
        for ask in (client.get_prompt("prompt"), client.read_resource("a://b")):
            with pytest.raises(MCPError, match=rf"{type(value).__name__} of fastmcp is not understood here"):
                await ask


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            FastToolError("a"),
            "ToolError of fastmcp: its text is kept from the client; raise ToolError of",
        ),
        (stand_in("fastmcp.exceptions", "NotFoundError", Exception)(), "raise ResourceNotFound of enfilade"),
        (SdkToolError("a"), "ToolError of the official SDK: its text"),
        (MCPError(1, "a"), "MCPError of the official SDK: its text"),
        (ExceptionGroup("several", [ValueError(), SdkToolError("a")]), "ToolError of the official SDK"),
    ],
)
def test_the_log_says_what_to_raise(error: Exception, words: str, caplog: pytest.LogCaptureFixture) -> None:
    app = MCPApp()

    @app.tool
    def work() -> str:
        raise error

    result = called(app, "work")
    assert result["isError"]
    assert "internal error (id" in text(result)
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert words in record.getMessage()


@pytest.mark.parametrize("name", ["ToolError", "ResourceError", "PromptError", "ResourceNotFound", "Context"])
def test_what_is_advised_is_there(name: str) -> None:
    assert hasattr(enfilade, name)


def test_own_context_is_the_context() -> None:
    app = MCPApp()

    @app.tool
    def work(ctx: Context) -> str:
        return str(ctx.meta)

    assert "x" not in app.tools["work"].definition.input_schema.get("properties", {})
