"""What goes wrong where something is registered or a server is made: refused at once, with what to write."""

import json
import re
import traceback
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from functools import partial, wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import mcp.types
import msgspec
import pytest
from msgspec import UNSET

from enfilade import Context, MCPApp, tool
from support.servers.calls_in_process import called, text


def work() -> str:
    """Work."""
    return "done"


def test_what_cannot_be_called_is_named_by_its_class() -> None:
    with pytest.raises(TypeError, match=r"^an object of the class int cannot be called, so it cannot be a tool$"):
        MCPApp().tool(5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="not an instance of int"):
        MCPApp(middleware=[1])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "register",
    [
        lambda app: app.resource(work),
        lambda app: app.add_resource("a://b", work),
        lambda app: app.add_text_resource(None, "text"),
        lambda app: app.add_file_resource(Path("a"), "a://b"),
        lambda app: app.add_directory(Path("a"), "a://b"),
    ],
)
def test_a_resource_without_a_uri_is_refused(register: Callable[[MCPApp], Any]) -> None:
    app = MCPApp()
    with pytest.raises(TypeError, match=r'a resource needs a URI, which is a string, not .*; write .*"scheme://'):
        register(app)
    assert app.offered_names() == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda app: app.resource(), 'app.resource() needs uri; write @app.resource("scheme://...")'),
        (
            lambda app: app.add_resource(work),
            'app.add_resource() needs uri; write app.add_resource(fn, "scheme://...")',
        ),
        (lambda app: app.add_tool(), "app.add_tool() needs fn; write app.add_tool(fn)"),
        (lambda app: app.add_prompt(name="a"), "app.add_prompt() needs fn; write app.add_prompt(fn)"),
        (
            lambda app: app.completion("greet"),
            'app.completion() needs argument; write @app.completion("prompt", "argument")',
        ),
        (
            lambda app: app.add_text_resource("a://b"),
            'app.add_text_resource() needs text; write app.add_text_resource("scheme://...", "text")',
        ),
        (
            lambda app: app.add_directory(),
            'app.add_directory() needs uri and path; write app.add_directory("scheme://...", Path("..."))',
        ),
    ],
)
def test_a_call_without_what_it_needs_says_how_to_write_it(call: Callable[[MCPApp], Any], words: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(words)}$"):
        call(MCPApp())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda app: app.tool("name", "description"),
            "tool() takes one argument by position: fn; give",
        ),
        (lambda app: app.prompt("name", "description"), "prompt() takes one argument by position: fn; give"),
        (lambda app: app.resource("a://b", "name"), "resource() takes one argument by position: uri; give"),
        (
            lambda app: app.add_tool(work, "name"),
            "add_tool() takes one argument by position: fn; give the others",
        ),
        (lambda app: app.add_prompt(work, "name"), "add_prompt() takes one argument by position: fn; give"),
        (
            lambda app: app.add_resource(work, "a://b", "n"),
            "add_resource() takes 2 arguments by position: fn, uri",
        ),
        (lambda app: app.run("http", "127.0.0.1"), "run() takes one argument by position: transport; give"),
        (
            lambda app: MCPApp("a", "Ask for books."),  # type: ignore[misc]
            "MCPApp() takes one argument by position: name; give the others by name, such as version=..., "
            "instructions=...",
        ),
        (lambda app: tool("name", "description"), "@tool takes one argument by position, the name; write"),
    ],
)
def test_more_by_position_than_there_is_names_what_goes_there(call: Callable[[MCPApp], Any], words: str) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        call(MCPApp())


def test_no_output_schema_means_no_structured_content() -> None:
    def count() -> int:
        return 1

    module = ModuleType("marked")
    module.__dict__.update(count=tool("marked", output_schema=None)(count))
    app = MCPApp()
    app.tool("decorated", output_schema=None)(count)
    app.add_tool(count, name="added", output_schema=None)
    app.add_tools_from_module(module)
    assert app.tools.names() == ["decorated", "added", "marked"]
    for name in app.tools.names():
        assert app.tools[name].definition.output_schema is UNSET
        assert "structuredContent" not in called(app, name)
    with pytest.raises(ValueError, match="output_schema=None sends no structured content"):
        app.add_tool(count, output_schema=None, structured_output=True)


def as_json(value: Any) -> Any:
    """Return a part of a definition as a client gets it."""
    return json.loads(msgspec.json.encode(value))


def test_models_of_the_official_sdk_are_taken_as_annotations_and_icons() -> None:
    app = MCPApp()
    hints = mcp.types.ToolAnnotations(read_only_hint=True)
    icon = mcp.types.Icon(src="https://example.com/a.png", sizes=["48x48"])
    made = app.add_tool(work, annotations=hints, icons=[icon]).definition
    assert json.loads(msgspec.json.encode(made.annotations)) == {"readOnlyHint": True}
    assert json.loads(msgspec.json.encode(made.icons)) == [
        {"src": "https://example.com/a.png", "sizes": ["48x48"]}
    ]
    audience = mcp.types.Annotations(audience=["user"], priority=0.5)
    resource = app.add_resource(work, "a://b", annotations=audience)
    assert as_json(resource.definition.annotations) == {
        "audience": ["user"],
        "priority": 0.5,
    }
    for wrong in (True, ["readOnlyHint"], "readOnlyHint"):
        with pytest.raises(ValueError, match="annotations is a dict or ToolAnnotations, not"):
            app.add_tool(work, name="other", annotations=wrong)


def test_what_is_no_attribute_is_not_listed_and_nothing_else_is_suggested() -> None:
    app = MCPApp()
    assert [name for name in dir(app) if not hasattr(app, name)] == []
    assert {"tool", "instructions", "settings", "_lifespan"} <= {*dir(app)}
    with pytest.raises(AttributeError) as caught:
        app.mount  # type: ignore[attr-defined]
    assert "Did you mean" not in "".join(traceback.format_exception(caught.value))

    class Own(MCPApp):
        def mount(self) -> str:
            return "mounted"

    assert Own().mount() == "mounted"
    assert "mount" in dir(Own())


def test_what_the_constructor_took_can_be_read() -> None:
    app = MCPApp("a", version="2", title="A", instructions="Ask.", website_url="https://example.com")
    assert (app.name, app.version, app.title, app.instructions) == ("a", "2", "A", "Ask.")
    assert (app.website_url, app.icons) == ("https://example.com", ())
    assert (MCPApp().title, MCPApp().instructions, MCPApp().website_url) == (None, None, None)


def test_the_log_of_the_context_is_no_function(caplog: pytest.LogCaptureFixture) -> None:
    app = MCPApp()

    @app.tool
    async def work(ctx: Context) -> str:
        await ctx.log("started", level="info")  # type: ignore[operator]
        return "worked"

    assert called(app, "work")["isError"]
    assert "ctx.log is not callable; write await ctx.log.info(...)" in caplog.text


async def bare(app: MCPApp) -> Any:
    yield


def plain(app: MCPApp) -> Any:
    yield


async def without_yield(app: MCPApp) -> None: ...


async def with_more(more: int, app: MCPApp) -> Any:
    yield


@asynccontextmanager
async def without_parameters() -> Any:
    yield


@asynccontextmanager
async def right(app: MCPApp) -> Any:
    yield 1


@pytest.mark.parametrize(
    ("lifespan", "words"),
    [
        (bare, "bare() is no asynchronous context manager"),
        (plain, "plain() is no asynchronous context manager"),
        (contextmanager(plain), "plain() is no asynchronous context manager"),
        (partial(with_more, 1), "with_more() is no asynchronous context manager"),
        (without_yield, "without_yield() is no asynchronous context manager"),
        (without_parameters, "without_parameters() is called with the app, and does not take it (too many"),
        (right(MCPApp()), "lifespan is a function, not one that was called already"),
        ({}, "lifespan is a function, not a dict"),
    ],
)
def test_a_lifespan_that_could_never_start_is_refused_at_once(lifespan: Any, words: str) -> None:
    with pytest.raises(
        TypeError, match=re.escape(words) + r".*; write @asynccontextmanager async def lifespan\(app\)"
    ):
        MCPApp(lifespan=lifespan)


class OwnLifespan:
    def __call__(self, app: MCPApp) -> Any:
        return right(app)


class EntersItself:
    """What is called with the app, and the context manager that it returns, are one object."""

    def __call__(self, app: MCPApp) -> Any:
        return self

    async def __aenter__(self) -> int:
        return 1

    async def __aexit__(self, *error: object) -> None: ...


def turned_asynchronous(generator: Any) -> Any:
    """Return an asynchronous context manager that looks like the generator function it was made from."""

    @wraps(generator)
    @asynccontextmanager
    async def entered(app: MCPApp) -> Any:
        with contextmanager(generator)(app):
            yield 1

    return entered


@pytest.mark.parametrize(
    "lifespan", [right, partial(right), OwnLifespan(), EntersItself(), turned_asynchronous(plain)]
)
def test_any_function_that_gives_a_context_manager_is_a_lifespan(lifespan: Any) -> None:
    app = MCPApp(lifespan=lifespan)

    @app.tool
    def value(ctx: Context) -> int:
        return ctx.lifespan

    assert text(called(app, "value")) == "1"


@pytest.mark.parametrize(
    ("register", "words"),
    [
        (MCPApp().tool, "app.add_tool(Shop.work)"),
        (MCPApp().prompt, "app.add_prompt(Shop.work)"),
        (MCPApp().resource("a://b"), "app.add_resource(Shop.work, uri)"),
        (MCPApp().resource("a://{b}"), "app.add_resource(Shop.work, uri)"),
    ],
)
def test_a_class_method_says_how_to_register_what_it_is_to_be(register: Any, words: str) -> None:
    def work(cls: Any, b: str = "") -> str:
        return "worked"

    work.__qualname__ = "Shop.work"
    with pytest.raises(TypeError, match=re.escape(words)):
        register(work)


@pytest.mark.parametrize(
    ("register", "words"),
    [
        (MCPApp().tool, "a tool has one result"),
        (MCPApp().prompt, "a prompt has one result"),
        (MCPApp().resource("a://b"), "a resource has one result"),
        (MCPApp().resource("a://{b}"), "a resource template has one result"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_generator_is_refused_in_the_words_of_what_it_was_to_be(
    register: Any, words: str, is_async: bool
) -> None:
    def work(b: str = "") -> Any:
        yield b

    async def work_async(b: str = "") -> Any:
        yield b

    with pytest.raises(TypeError, match=words):
        register(work_async if is_async else work)


def test_arguments_of_300_levels_are_told_to_be_too_deep() -> None:
    """They are valid JSON, which the words must not deny."""
    app = MCPApp("Deep")

    @app.tool
    def take(value: list[Any]) -> str:
        return "taken"

    value: Any = 1
    for _ in range(300):
        value = [value]
    result = called(app, "take", value=value)
    assert result["isError"]
    assert "nested too deeply" in text(result)
    assert "not valid JSON" not in text(result)
