"""What people write who come from other frameworks: taken as it is meant, or refused with the way out."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from enfilade import Context, Depends, MCPApp, ResourceNotFound, ToolError, ToolResult, connect, elicitation, tool
from enfilade.auth import ResourceServer
from enfilade.primitives.foreign_names import (
    APP_ATTRIBUTES,
    CONTEXT_ATTRIBUTES,
    LOG_ATTRIBUTES,
    OPTIONS,
    SAMPLE_ATTRIBUTES,
)
from enfilade.primitives.other_frameworks import advice_on_arguments
from enfilade.serving.notifications import ClientLog
from enfilade.testing import accept
from enfilade.wire.client_requests import CreateMessageResult
from support.servers.calls_in_process import called, text

ROOT = Path(__file__).resolve().parents[1]
REGISTERING: dict[str, Callable[..., Any]] = {
    "tool": lambda **options: MCPApp().tool(**options)(work),
    "resource": lambda **options: MCPApp().resource("a://b", **options)(work),
    "view": lambda **options: MCPApp().view("ui://b", **options)(work),
    "prompt": lambda **options: MCPApp().prompt(**options)(work),
    "server": MCPApp,
    "middleware": lambda **options: MCPApp().add_middleware(work, **options),
    "result": ToolResult,
    "run": lambda **options: MCPApp().run(**options),
    "sample": lambda **options: Context.sample(None, "Hi", **options),  # type: ignore[arg-type]
    "resource server": lambda **options: ResourceServer("https://mcp.example.com/mcp", **options),
    "question": lambda **options: Context.elicit(None, "Sure?", **options),  # type: ignore[arg-type]
}


def work() -> str:
    """Work."""
    return "done"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda app: Depends(len, use_cache=False),
            "Depends() has no argument 'use_cache': each dependency runs once per",
        ),
        (lambda app: Depends(len, fnn=1), "Depends() has no argument 'fnn'; is it 'fn'?"),
        (
            lambda app: app.add_tools_from_module("json", prefix="a"),
            "app.add_tools_from_module() has no argument 'prefix'",
        ),
        (lambda app: app.host_route(foo=1), "app.host_route() has no argument 'foo'; it takes none"),
        (lambda app: app.override(len, len, foo=1), "app.override() has no argument 'foo'; it takes fn, other"),
        (lambda app: ToolError("x", code=1), "ToolError() has no argument 'code': the model reads the text"),
        (
            lambda app: ResourceNotFound("x", foo=1),
            "ResourceNotFound() has no argument 'foo'; it takes message, meta",
        ),
    ],
    ids=["use_cache", "near", "prefix", "route", "override", "code", "subclass"],
)
def test_an_unknown_argument_is_refused_under_the_name_of_the_call(call: Any, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        call(MCPApp())
    assert str(caught.value).startswith(text)


def test_messages_and_progress_name_themselves_in_errors() -> None:
    app, said = MCPApp(), []

    @app.tool
    async def work(ctx: Context) -> None:
        for call in (lambda: ctx.log.info("x", foo=1), lambda: ctx.progress.report(1, totl=2)):  # type: ignore[call-arg]
            try:
                call()
            except TypeError as error:
                said.append(str(error))

    called(app, "work")
    assert [text.partition("(")[0] for text in said] == ["ctx.log.info", "ctx.progress.report"]


def test_names_by_position_and_other_spellings_are_taken() -> None:
    app = MCPApp()
    app.tool("first", desc="The first.")(work)
    app.add_tool(work, name="second", desc="The second.")
    app.prompt("third")(work)
    app.resource("a://b", mimeType="text/html")(work)  # type: ignore[call-arg]
    assert [(each.name, each.definition.description) for each in app.tools] == [
        ("first", "The first."),
        ("second", "The second."),
    ]
    assert app.prompts.names() == ["third"]
    assert [each.definition.mime_type for each in app.resources] == ["text/html"]
    assert app.tool("again", name="again")(work) is work


def test_a_result_may_be_spelled_as_the_protocol_does() -> None:
    app = MCPApp()

    @app.tool
    def work() -> ToolResult:
        return ToolResult(content="no", structuredContent={"a": 1}, isError=True, _meta={"b": 2})  # type: ignore[call-arg]

    result = called(app, "work")
    assert (result["structuredContent"], result["isError"], result["_meta"]["b"]) == ({"a": 1}, True, 2)
    with pytest.raises(TypeError, match="isError and is_error are the same"):
        ToolResult(isError=True, is_error=True)  # type: ignore[call-arg]


@pytest.mark.parametrize("option", ["wanted", "response_type", "schema"])
@pytest.mark.anyio
async def test_what_a_question_asks_for_has_three_names(option: str) -> None:
    app = MCPApp()

    @app.tool
    async def ask(ctx: Context) -> str:
        answer = await ctx.elicit("How many?", **{option: int})
        return f"{answer.data}"

    async with connect(app, answers=[accept({"value": 3})]) as client:
        found = await client.call_tool("ask", {})
    assert found.content[0].text == "3"
    made: Any = elicitation
    assert made("How many?", **{option: int}).form == elicitation("How many?", int).form


def test_the_free_decorator_takes_them_too() -> None:
    module = ModuleType("marked")

    @tool("named", desc="Described.")
    def one() -> str:
        return "one"

    @tool(tags={"a"})
    def other() -> str:
        return "other"

    module.__dict__.update(one=one)
    app = MCPApp()
    app.add_tools_from_module(module)
    assert [(each.name, each.definition.description) for each in app.tools] == [("named", "Described.")]
    module.__dict__.update(other=other)
    with pytest.raises(TypeError, match=r"@tool of .*other\(\): a tool has no option 'tags': .*meta="):
        MCPApp().add_tools_from_module(module)


@pytest.mark.parametrize("register", [MCPApp().tool, MCPApp().prompt, tool])
def test_two_names_are_one_too_many(register: Any) -> None:
    with pytest.raises(TypeError, match="two names: 'a' and 'b'"):
        register("a", name="b")


def test_an_option_and_its_other_spelling_exclude_each_other() -> None:
    with pytest.raises(TypeError, match="desc and description are the same"):
        MCPApp().tool(description="a", desc="b")(work)


@pytest.mark.parametrize(
    ("what", "option", "advice"),
    [(what, option, advice) for what, options in OPTIONS.items() for option, advice in options.items()],
)
def test_an_option_from_elsewhere_says_what_to_write(what: str, option: str, advice: str) -> None:
    with pytest.raises(TypeError) as caught:
        REGISTERING[what](**{option: True})
    owner = "run()" if what == "run" else f"a {what}"
    assert str(caught.value) == f"{owner} has no option {option!r}: {advice} (see docs/from-fastmcp.md)"


@pytest.mark.parametrize(
    ("what", "option", "words"),
    [
        ("tool", "descripton", "is it 'description'?"),
        ("server", "instruction", "did you mean 'instructions'?"),
        ("tool", "desk", "it has: name, title, description"),
        ("prompt", "xyz", "it has: name, title, description"),
    ],
)
def test_any_other_option_is_named_with_what_comes_near(what: str, option: str, words: str) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        REGISTERING[what](**{option: True})


@pytest.mark.parametrize(
    ("kind", "name", "advice"),
    [
        *((MCPApp, name, advice) for name, advice in APP_ATTRIBUTES.items()),
        *((Context, name, advice) for name, advice in CONTEXT_ATTRIBUTES.items()),
        *((ClientLog, name, advice) for name, advice in LOG_ATTRIBUTES.items()),
        *((CreateMessageResult, name, advice) for name, advice in SAMPLE_ATTRIBUTES.items()),
    ],
)
def test_an_attribute_from_elsewhere_says_what_to_write(kind: type, name: str, advice: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(kind, name)
    assert str(caught.value) == f"{kind.__name__} has no {name!r}: {advice} (see docs/from-fastmcp.md)"
    assert not hasattr(kind, name)


def test_a_tool_that_asks_for_one_fails_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    app = MCPApp()

    @app.tool
    async def look(ctx: Context) -> str:
        return str(ctx.headers)  # type: ignore[attr-defined]

    assert called(app, "look")["isError"]
    assert "ctx.http has headers" in caplog.text


def test_no_middleware_is_fine() -> None:
    app = MCPApp(middleware=None)
    app.tool(work)
    assert text(called(app, "work")) == "done"


@pytest.mark.parametrize("second", ["Ask for books by title.", "Books", "2.0"])
def test_neither_instructions_nor_a_version_are_given_by_position(second: str) -> None:
    app: Any = MCPApp
    with pytest.raises(TypeError, match=r"by position: name; .* such as version=\.\.\., instructions=\.\.\."):
        app("Library", second)


class Hooks:
    async def on_call_tool(self, context: Any, call_next: Any) -> Any: ...


class Starlettes:
    def __init__(self, app: Any) -> None: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


async def yielding(request: Any, call_next: Any) -> Any:
    yield await call_next(request)


def test_one_middleware_is_given_in_a_list() -> None:
    async def announce(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    one: Any = announce
    with pytest.raises(TypeError, match=re.escape("write middleware=[announce]")):
        MCPApp(middleware=one)


@pytest.mark.parametrize(
    ("middleware", "words"),
    [
        (Hooks(), "not an instance of Hooks; what on_call_tool does goes there, for request.method"),
        (Starlettes, "goes around the app: Starlettes(app, ...)"),
        (None, "call_next), not None (see"),
        (lambda request: None, "does not take them (too many positional arguments); write async def mw(request,"),
        (lambda request, call_next, log: None, "does not take them (missing a required argument: 'log')"),
        (yielding, "middleware yielding() is a generator; write async def mw(request, call_next)"),
    ],
    ids=["hooks", "starlette", "none", "one parameter", "three parameters", "generator"],
)
def test_middleware_of_others_is_refused(middleware: Any, words: str) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        MCPApp(middleware=[middleware])
    with pytest.raises(TypeError, match=re.escape(words)):
        MCPApp().add_middleware(middleware)


def test_the_advice_names_what_there_is() -> None:
    """What an advice says to write is an attribute of the app or the context, or an argument."""
    app = MCPApp()
    app.tool(work)
    advice = [
        *APP_ATTRIBUTES.values(),
        *CONTEXT_ATTRIBUTES.values(),
        *(each for of in OPTIONS.values() for each in of.values()),
    ]
    for name in set(re.findall(r"\bapp\.(\w+)", " ".join(advice))):
        assert hasattr(app, name), name
    for name in set(re.findall(r"\bctx\.(\w+)", " ".join(advice))):
        assert hasattr(Context, name), name
    assert text(called(app, "work")) == "done"
    assert (ROOT / "docs" / "from-fastmcp.md").is_file()


def test_a_good_call_looks_nothing_up() -> None:
    """The names of its arguments are compared only after the function has refused them."""
    called_functions: list[str] = []

    @advice_on_arguments("question")
    def ask(message: str, *, timeout: float = 1.0) -> str:
        return message

    def note(frame: Any, event: str, function: Any) -> None:
        if event in ("call", "c_call"):
            called_functions.append(frame.f_code.co_name if event == "call" else function.__name__)

    sys.setprofile(note)
    try:
        ask("Sure?", timeout=2.0)
    finally:
        sys.setprofile(None)
    assert called_functions == ["call", "ask", "setprofile"]
    with pytest.raises(TypeError, match="a question has no option 'timeot'; is it 'timeout'"):
        ask("Sure?", timeot=2.0)  # type: ignore[call-arg]
