"""Asking cannot be got wrong: what was not awaited or not accepted does not pass for a yes."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Annotated, Any

import pytest
from mcp.types import ElicitResult

from enfilade import (
    Context,
    Depends,
    Elicited,
    MCPApp,
    NotAccepted,
    PromptError,
    ResourceError,
    ToolError,
    connect,
    text_of,
)
from enfilade.serving.awaitables import Awaited
from enfilade.serving.client_requests import ask as questions
from enfilade.testing import accept

pytestmark = pytest.mark.anyio

ERAS = ["session", "stateless"]
each_era = pytest.mark.parametrize("era", ERAS)

#: Whatever a context offers that must be awaited, by its name in errors.
AWAITED: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "ctx.elicit": lambda ctx: ctx.elicit("Really?"),
    "ctx.elicit_url": lambda ctx: ctx.elicit_url("Visit", "https://x.example"),
    "ctx.sample": lambda ctx: ctx.sample("Write"),
    "ctx.roots": lambda ctx: ctx.roots(),
    "ctx.once": lambda ctx: ctx.once("key", lambda: 1),
    "ctx.tools.call": lambda ctx: ctx.tools.call("other"),
    "ctx.tools.call_raw": lambda ctx: ctx.tools.call_raw("other"),
    "ctx.resources.read": lambda ctx: ctx.resources.read("file:///x"),
    "ctx.resources.list_roots": lambda ctx: ctx.resources.list_roots(),
    "ctx.prompts.get": lambda ctx: ctx.prompts.get("other"),
    "context.ui.elicit": lambda ctx: ctx.ui.elicit("Really?"),
    "context.sampling.create_message": lambda ctx: ctx.sampling.create_message("Write"),
}
each_awaited = pytest.mark.parametrize("name", AWAITED)


async def called(app: MCPApp, tool: str, *, era: str = "auto", action: str = "accept", **arguments: Any) -> Any:
    """Call a tool; a user who accepts says yes."""

    async def user(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        content: Any = {"value": True} if params.requested_schema["properties"] else {}
        return ElicitResult(action=action, content=content if action == "accept" else None)

    asked: list[str] = []
    async with connect(app, era=era, elicitation_callback=user) as client:
        result = await client.call_tool(tool, arguments)
    return result, result.content[0].text, asked


@each_awaited
async def test_a_plain_function_fails_at_the_call(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """It cannot await anything; without this it would get an object, which is true."""
    app, done = MCPApp(), []

    @app.tool
    def wipe(ctx: Context) -> str:
        if AWAITED[name](ctx):
            done.append("wiped")
        return "wiped"

    result, _, asked = await called(app, "wipe")
    assert (result.is_error, done, asked) == (True, [], [])
    assert f"RuntimeError: {name} must be awaited" in caplog.text
    assert f"make it `async def`, and write `await {name}(…)`" in caplog.text


@each_awaited
async def test_what_was_not_awaited_has_no_truth_value(name: str, caplog: pytest.LogCaptureFixture) -> None:
    app, done = MCPApp(), []

    @app.tool
    async def wipe(ctx: Context) -> str:
        if AWAITED[name](ctx):
            done.append("wiped")
        return "wiped"

    result, _, asked = await called(app, "wipe")
    assert (result.is_error, done, asked) == (True, [], [])
    assert f"TypeError: {name} was not awaited, so there is no answer yet: write `await {name}(…)`" in caplog.text


def asks_in_a_condition(ctx: Context) -> str:
    return "wiped" if ctx.elicit("Really?") else "kept"


def calls_in_text(city: str, ctx: Context) -> str:
    return f"{city}: {ctx.tools.call('weather', {'city': city})}"


def asks_in_a_loop(ctx: Context) -> str:
    for each in range(3):
        ctx.sample(f"{each}", max_tokens=5)
    return "asked"


def asks_in_a_method(ctx: Context | None) -> str:
    assert ctx is not None
    return str(ctx.ui.elicit("Really?"))


def asks_before_it_yields(ctx: Context) -> Iterator[int]:
    ctx.once("key", lambda: 1)
    yield 1


def hands_it_on(ctx: Context) -> str:
    return str(partial(ctx.elicit, "Really?"))


def asks_in_a_function_of_its_own(ctx: Context) -> str:
    async def ask() -> str:
        return str(await ctx.elicit("Really?"))

    return str(ask)


def uses_what_acts_at_once(ctx: Context) -> str:
    ctx.log.info("once")
    return f"{ctx.meta} {ctx.tools.list()} {ctx.lifespan.sample('x')} {ctx.request_data['roots']}"


async def awaits_before_it_yields(ctx: Context) -> AsyncIterator[int]:
    yield await ctx.once("key", lambda: 1)


@pytest.mark.parametrize(
    ("fn", "call"),
    [
        (asks_in_a_condition, "ctx.elicit"),
        (calls_in_text, "ctx.tools.call"),
        (asks_in_a_loop, "ctx.sample"),
        (asks_in_a_method, "ctx.ui.elicit"),
    ],
)
def test_a_plain_function_that_asks_is_refused_at_once(fn: Callable[..., Any], call: str) -> None:
    """Where that is certain: of tools, prompts and resources alike."""
    words = rf"{fn.__name__}\(\) is a plain function, and {call} must be awaited: make it `async def`"
    with pytest.raises(TypeError, match=words):
        MCPApp().add_tool(fn)
    with pytest.raises(TypeError, match=words):
        MCPApp().prompt(fn)


@pytest.mark.parametrize("fn", [hands_it_on, asks_in_a_function_of_its_own, uses_what_acts_at_once])
def test_what_may_be_right_is_not_refused(fn: Callable[..., Any]) -> None:
    app = MCPApp()
    app.add_tool(fn)
    assert app.tools.names() == [fn.__name__]


def test_dependencies_that_ask() -> None:
    def plain(number: Annotated[int, Depends(asks_before_it_yields)]) -> int:
        return number

    def asynchronous(number: Annotated[int, Depends(awaits_before_it_yields)]) -> int:
        return number

    with pytest.raises(TypeError, match=r"and ctx\.once must be awaited"):
        MCPApp().add_tool(plain)
    MCPApp().add_tool(asynchronous)


async def test_helpers_and_dependencies_fail_likewise(caplog: pytest.LogCaptureFixture) -> None:
    app = MCPApp()

    def consent(ctx: Context) -> bool:
        elicit = ctx.elicit
        return bool(elicit("Really?"))

    @app.tool
    async def wipe(sure: Annotated[bool, Depends(consent)]) -> str:
        return f"wiped {sure}"

    @app.tool
    async def clear(ctx: Context) -> str:
        return f"cleared {consent(ctx)}"

    for tool, words in (("wipe", "make it `async def`"), ("clear", "was not awaited")):
        caplog.clear()
        result, _, asked = await called(app, tool)
        assert (result.is_error, asked) == (True, [])
        assert words in caplog.text


async def test_attributes_of_what_was_not_awaited_say_so() -> None:
    app = MCPApp()

    @app.tool
    async def wipe(ctx: Context) -> str:
        asking: Any = ctx.elicit("Really?")
        try:
            return str(asking.accepted)
        except AttributeError as error:
            asking.close()
            return str(error)

    _, text, _ = await called(app, "wipe")
    assert text == "ctx.elicit was not awaited, so there is no accepted yet: write `await ctx.elicit(…)`"


async def test_what_is_sent_at_once_has_no_truth_value_either(caplog: pytest.LogCaptureFixture) -> None:
    app = MCPApp()

    @app.tool
    def work(ctx: Context) -> str:
        ctx.log.info("here")
        ctx.progress.report(1, 2)
        return "told" if ctx.log.info("there") else "untold"

    assert (await called(app, "work"))[0].is_error
    assert "neither true nor false" in caplog.text


@each_era
async def test_questions_side_by_side_are_tasks_as_any(era: str) -> None:
    """Whatever runs coroutines runs what a context gives out: tasks, gather, wait_for, a task group."""
    app = MCPApp()

    @app.tool
    async def several(ctx: Context) -> list[bool]:
        first, second = await asyncio.gather(ctx.elicit("1?", bool), ctx.elicit("2?", bool))
        async with asyncio.TaskGroup() as group:
            third = group.create_task(ctx.elicit("3?", bool))
        fourth = await asyncio.wait_for(ctx.elicit("4?", bool), 5)
        task = asyncio.create_task(ctx.elicit("5?", bool))
        assert "elicit" in repr(task)
        return [each.data for each in (first, second, third.result(), fourth, await task)]

    result, _, asked = await called(app, "several", era=era)
    assert result.structured_content == {"result": [True] * 5}
    assert asked == ["1?", "2?", "3?", "4?", "5?"]


async def test_what_is_never_awaited_is_still_warned_of() -> None:
    async def nothing() -> None:
        pass

    with pytest.warns(RuntimeWarning, match="never awaited"):
        Awaited(nothing(), "ctx.nothing")
    closed = Awaited(nothing(), "ctx.nothing")
    closed.close()
    assert repr(closed) == "<ctx.nothing(…), ended>"


async def test_a_question_that_is_asked_may_be_logged() -> None:
    app = MCPApp()
    lines: list[str] = []

    @app.tool
    async def work(ctx: Context) -> bool:
        question = ctx.elicit("Sure?", bool)
        task = asyncio.create_task(question)
        await asyncio.sleep(0)
        lines.append(f"waiting for {question}")
        with pytest.raises(TypeError, match=r"ctx\.elicit has no truth value"):
            bool(question)
        answer = await task
        lines.append(f"done: {question}")
        return answer.data

    async with connect(app, era="session", answers=[accept({"value": True})]) as client:
        assert (await client.call_tool("work", {})).structured_content == {"result": True}
    assert lines == ["waiting for <ctx.elicit(…), awaited>", "done: <ctx.elicit(…), ended>"]


@pytest.mark.parametrize("write", [str, "{}".format, "{:>9}".format], ids=["str", "format", "with a width"])
async def test_what_was_not_awaited_has_no_text(write: Any) -> None:
    """In an f-string it would be a result that says nothing."""

    async def nothing() -> None:
        pass

    with pytest.raises(TypeError, match=r"ctx\.nothing was not awaited, .* write `await ctx\.nothing\(…\)`"):
        write(Awaited(nothing(), "ctx.nothing"))


@pytest.mark.parametrize("returns", [str, Any, dict[str, Any], list[str], None], ids=str)
@pytest.mark.parametrize(
    "wrap", [lambda it: it, lambda it: [it], lambda it: {"a": [it]}], ids=["it", "list", "dict"]
)
async def test_what_was_not_awaited_is_no_result(returns: Any, wrap: Any) -> None:
    app = MCPApp(tool_names="plain")

    def price() -> float:
        return 1.5

    app.add_tool(price)

    async def ask(ctx: Context) -> Any:
        return wrap(ctx.tools.call("price"))

    if returns is not None:
        ask.__annotations__["return"] = returns
    app.add_tool(ask)

    async def dependent(ctx: Context, one: Annotated[int, Depends(lambda: 1)]) -> Any:
        return await ask(ctx)

    dependent.__annotations__.update(ask.__annotations__)
    app.add_tool(dependent)
    async with connect(app) as client:
        for name in ("ask", "dependent"):
            answer = await client.call_tool(name, {})
            assert answer.is_error
            assert "write `await ctx.tools.call(…)`" in text_of(answer)


# -- what was not accepted -------------------------------------------------------------------------------------


@each_era
@pytest.mark.parametrize(("action", "said"), [("decline", "declined"), ("cancel", "cancelled")])
@pytest.mark.parametrize("tool", ["wipe", "visit", "explicit"])
async def test_an_unguarded_tool_ends_and_the_model_reads_why(
    era: str, action: str, said: str, tool: str
) -> None:
    app, done = MCPApp(), []

    @app.tool
    async def wipe(ctx: Context) -> str:
        if not (await ctx.elicit("Really wipe everything?", bool)).data:
            return "kept"
        done.append("wiped")
        return "wiped"

    @app.tool
    async def visit(ctx: Context) -> str:
        return f"wiped {(await ctx.elicit('Really?')).data}"

    @app.tool
    async def explicit(ctx: Context) -> Any:
        from enfilade import InputRequired, elicitation

        if not ctx.input_responses:
            return InputRequired({"sure": elicitation("Really?", bool)})
        return f"wiped {ctx.input_responses['sure'].data}"

    result, text, asked = await called(app, tool, era=era, action=action)
    assert (result.is_error, text) == (True, f"The user {said} what was asked, so this did not go on")
    assert (done, len(asked)) == ([], 1)


@each_era
async def test_an_answer_has_no_truth_value(era: str, caplog: pytest.LogCaptureFixture) -> None:
    """`if await ctx.elicit("Really?")` asks, and would take a no for a yes."""
    app = MCPApp()

    @app.tool
    async def wipe(ctx: Context) -> str:
        return "wiped" if await ctx.elicit("Really?") else "kept"

    result, text, asked = await called(app, "wipe", era=era, action="decline")
    assert result.is_error
    assert "wiped" not in text
    assert asked == ["Really?"]
    assert "look at its `accepted`, and then at its `data`" in caplog.text


async def test_it_can_be_caught_and_names_what_the_user_did() -> None:
    app = MCPApp()

    @app.tool
    async def wipe(ctx: Context) -> str:
        try:
            return str((await ctx.elicit("Really?", bool)).data)
        except NotAccepted as end:
            return f"kept: {end.action}"

    assert (await called(app, "wipe", action="cancel"))[1] == "kept: cancel"
    assert (await called(app, "wipe"))[1] == "True"
    assert issubclass(NotAccepted, ToolError)
    assert not issubclass(NotAccepted, PromptError | ResourceError)


async def test_middleware_and_its_questions() -> None:
    """The functions for middleware follow the same rules."""
    app = MCPApp()

    @app.add_middleware
    async def ask_first(request: Any, call_next: Any) -> Any:
        if request.method == "tools/call":
            _ = (await questions.elicit(request, "Really?", bool)).data
        return await call_next(request)

    @app.tool
    def wipe() -> str:
        return "wiped"

    assert (await called(app, "wipe"))[1] == "wiped"
    page = "https://x.example"
    for ask, *given in (
        (questions.elicit, "Really?"),
        (questions.elicit_url, "Visit", page),
        (questions.sample, "Write"),
        (questions.roots,),
    ):
        with pytest.raises(RuntimeError, match=f"{ask.__name__} must be awaited"):
            await asyncio.to_thread(ask, None, *given)


def test_an_answer_is_a_value() -> None:
    yes, no = Elicited("accept", data=5, content={"value": 5}), Elicited[int]("decline")
    assert (yes.accepted, yes.data, yes.content) == (True, 5, {"value": 5})
    assert (no.accepted, no.action, no.content) == (False, "decline", None)
    with pytest.raises(NotAccepted, match="declined"):
        no.data
    assert yes == Elicited("accept", 5, {"value": 5}) != no
    assert pickle.loads(pickle.dumps(yes)) == yes
    assert repr(yes) == "Elicited(action='accept', data=5, content={'value': 5})"
    with pytest.raises(AttributeError):
        yes.action = "cancel"  # type: ignore[misc]


async def is_given(ctx: Context) -> bool:
    return ctx.elicit("Sure?") is not None


async def branches(ctx: Context) -> str:
    if ctx.elicit("Sure?", key=str(len("a"))) is not None:
        return "wiped"
    return "kept"


async def matches(ctx: Context) -> str:
    match ctx.elicit("Sure?"):
        case _:
            return "wiped"


async def is_true(ctx: Context) -> str:
    return "wiped" if ctx.elicit("Sure?") else "kept"


async def drops(ctx: Context) -> str:
    ctx.elicit("Sure?")
    return "wiped"


async def compares(ctx: Context) -> bool:
    return ctx.elicit("Sure?") == 1


@pytest.mark.parametrize("fn", [is_given, branches, matches, is_true, drops, compares])
def test_a_question_that_is_dropped_or_tested_in_place_of_its_answer_is_refused(fn: Any) -> None:
    with pytest.raises(
        TypeError, match=rf"^{fn.__name__}\(\) does not await ctx\.elicit, which does nothing until"
    ):
        MCPApp().add_tool(fn)


async def gathers(ctx: Context) -> Any:
    return await asyncio.gather(ctx.elicit("a"), ctx.roots())


async def stores(ctx: Context) -> Any:
    pending = [ctx.elicit("a"), ctx.elicit("b")]
    later = asyncio.ensure_future(ctx.elicit("c"))
    if (last := ctx.elicit("d")) is not None:
        await last
    pending.append(ctx.elicit("e"))
    return [await each for each in (*pending, later)]


async def chooses(ctx: Context) -> Any:
    if (await ctx.elicit("a", key=str(ctx.elicit is None))).accepted:
        return ctx.elicit("b")
    return await (ctx.elicit("c") if ctx.supports("elicitation") else ctx.roots())


@pytest.mark.parametrize("fn", [gathers, stores, chooses])
def test_a_question_that_is_awaited_elsewhere_is_taken(fn: Any) -> None:
    assert MCPApp().add_tool(fn).name == fn.__name__
