"""Handlers that return their questions (`InputRequired`), for clients of both eras.

Easy to get wrong: how often a handler runs. With all answers it goes on where it was; nothing is replayed.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import mcp.types as mcp
import pytest
from pydantic import Field

from enfilade import Context, InputRequired, connect, elicitation, roots, sampling, url_elicitation
from enfilade.serving.client_requests.ask import MAXIMUM_ROUNDS
from support.rounds import ROOTS, Call, accept, server, text_of, value, written

pytestmark = pytest.mark.anyio


@dataclass
class Person:
    name: str
    age: Annotated[int, Field(ge=0)] = 30


async def greet(ctx: Context) -> str | InputRequired:
    """Greet somebody."""
    answer = ctx.input_responses.elicited("who", Person)
    if answer is None:
        return InputRequired({"who": elicitation("Who are you?", Person)})
    return f"Hello, {answer.data}!" if answer.accepted else f"You said {answer.action}."


@dataclass
class Maybe:
    name: str = "Ada"
    age: int | None = None


async def may_be_null(ctx: Context) -> str | InputRequired:
    """Ask for what may be null."""
    answer = ctx.input_responses.elicited("who", Maybe)
    return InputRequired({"who": elicitation("Who?", Maybe)}) if answer is None else str(answer.data.age)


async def interview(ctx: Context) -> str | InputRequired:
    """Ask in two rounds."""
    told = ctx.input_state or []
    if len(told) < 2:
        if ctx.input_responses:
            told.append(ctx.input_responses[f"q{len(told)}"].data["value"])
        if len(told) < 2:
            return InputRequired({f"q{len(told)}": elicitation(f"Question {len(told)}?", str)}, state=told)
    return " and ".join(told)


async def all_kinds(ctx: Context) -> str | InputRequired:
    """Ask everything at once."""
    found = ctx.input_responses
    if not found:
        return InputRequired(
            {
                "form": elicitation("form", bool),
                "page": url_elicitation("page", "https://x.example"),
                "model": sampling("model", max_tokens=5),
                "roots": roots(),
            }
        )
    assert list(found) == ["form", "page", "model", "roots"]
    return f"{found['form'].data} {found['page'].action} {found['model'].content.text} {found['roots'][0].uri}"


async def session_client(app: Any, name: str, answers: dict[str, Any]) -> Any:
    """Call a tool as a client with a session, and return its result."""

    async def elicited(context: Any, params: Any) -> mcp.ElicitResult:
        return mcp.ElicitResult.model_validate(answers[params.message])

    async def sampled(context: Any, params: Any) -> mcp.CreateMessageResult:
        return mcp.CreateMessageResult.model_validate(answers["model"])

    async def rooted(context: Any) -> mcp.ListRootsResult:
        return mcp.ListRootsResult.model_validate(ROOTS)

    callbacks = {"elicitation_callback": elicited, "sampling_callback": sampled, "list_roots_callback": rooted}
    async with connect(app, era="session", **callbacks) as client:
        return await client.call_tool(name)


CASES = [
    (greet, {"Who are you?": accept(name="Ada")}, "Hello, Person(name='Ada', age=30)!"),
    (greet, {"Who are you?": {"action": "decline"}}, "You said decline."),
    (may_be_null, {"Who?": accept(name="Ada", age=None)}, "None"),
    (interview, {"Question 0?": value("this"), "Question 1?": value("that")}, "this and that"),
    (
        all_kinds,
        {"form": value(True), "page": {"action": "accept"}, "model": written("w"), "roots/list": ROOTS},
        "{'value': True} accept w file:///home/ada",
    ),
]


@pytest.mark.parametrize(("tool", "answers", "text"), CASES)
async def test_in_the_stateless_era(tool: Any, answers: dict[str, Any], text: str) -> None:
    """R-287, R-288, R-29A."""
    call = Call(server(tool), tool.__name__)
    assert text_of(await call.answer_all(lambda question, _: answers[question])) == text


@pytest.mark.parametrize(("tool", "answers", "text"), CASES)
async def test_in_a_session(tool: Any, answers: dict[str, Any], text: str) -> None:
    """R-29C: asked while the client waits, and run again all the same."""
    result = await session_client(server(tool), tool.__name__, answers)
    assert result.content[0].text == text


async def test_the_authors_keys_are_those_on_the_wire() -> None:
    """R-288."""
    call = Call(server(all_kinds), "all_kinds")
    await call.round()
    assert {key: each["method"] for key, each in call.asked.items()} == {
        "form": "elicitation/create",
        "page": "elicitation/create",
        "model": "sampling/createMessage",
        "roots": "roots/list",
    }


async def test_the_next_run_goes_on_where_it_was() -> None:
    """R-29A: one run for each round, each with the answers of the last."""
    runs: list[Any] = []

    async def tool(ctx: Context) -> str | InputRequired:
        runs.append((ctx.input_state, list(ctx.input_responses)))
        if len(runs) < 3:
            return InputRequired({f"q{len(runs)}": elicitation("?", str)}, state=len(runs))
        return "done"

    call = Call(server(tool), "tool")
    states = []
    for responses in ({}, {"q1": value("a")}, {"q2": value("b")}):
        answered = await call.round(responses)
        states.append(call.state)
    assert text_of(answered) == "done"
    assert runs == [(None, []), (1, ["q1"]), (2, ["q2"])]
    assert states[0] != states[1]


async def test_answers_may_come_with_the_first_request() -> None:
    """R-297: without any state; matched with the questions by key, and checked."""
    call = Call(server(interview, greet), "interview")
    answered = await call.round({"q0": value("this"), "q1": value("that"), "stranger": value(1)})
    assert text_of(answered) == "this and that"
    await call.round({"q1": value("that")})
    assert list(call.asked) == ["q0"]
    answered = await Call(server(greet), "greet").round({"who": 12345})
    assert (answered.status, answered.response["error"]["code"]) == (400, -32602)


async def test_state_alone() -> None:
    """R-287: a round may ask nothing, and only hand back its state."""

    async def tool(ctx: Context) -> str | InputRequired:
        return f"state {ctx.input_state}" if ctx.input_state else InputRequired(state={"n": 1})

    app = server(tool)
    call = Call(app, "tool")
    await call.round()
    assert "inputRequests" not in call.rounds[0]
    assert text_of(await call.round()) == "state {'n': 1}"
    assert (await session_client(app, "tool", {})).content[0].text == "state {'n': 1}"


async def test_of_partial_answers_the_rest_is_asked_again() -> None:
    """R-297: the next run has them all."""
    call = Call(server(all_kinds), "all_kinds")
    await call.round()
    await call.round({"form": value(True), "model": written("w"), "stranger": value(1)})
    assert list(call.asked) == ["page", "roots"]
    answered = await call.round({"page": {"action": "accept"}, "roots": ROOTS})
    assert text_of(answered) == "{'value': True} accept w file:///home/ada"


@pytest.mark.parametrize(
    "responses",
    [
        pytest.param({"who": 12345}, id="a number"),
        pytest.param({"who": accept(name="Ada", age="old")}, id="content of another type"),
        pytest.param({"who": accept(age=3)}, id="content without a required field"),
        pytest.param({"who": accept(name="Ada", age=-1)}, id="content beyond a limit"),
    ],
)
async def test_answers_are_checked_against_what_was_asked(responses: Any) -> None:
    """R-297, R-298."""
    call = Call(server(greet), "greet")
    await call.round()
    answered = await call.round(responses)
    assert (answered.status, answered.response["error"]["code"]) == (400, -32602)


async def test_a_tool_that_another_calls_may_return_questions() -> None:
    """P8: the outer one is replayed up to the call, the inner one goes on where it was."""
    runs: list[str] = []

    async def inner(name: str, ctx: Context) -> str | InputRequired:
        runs.append(name)
        if "q" not in ctx.input_responses:
            return InputRequired({"q": elicitation(f"{name}?", str)})
        return f"{name}={ctx.input_responses['q'].data['value']}"

    async def outer(ctx: Context) -> str:
        told = [await ctx.tools.call("inner", {"name": name}) for name in ("a", "b")]
        after = await ctx.elicit("after?", str)
        return f"{told[0]} {told[1]} {after.data}"

    app = server(inner, outer)
    answers = {"a?": value("1"), "b?": value("2"), "after?": value("3")}
    call = Call(app, "outer")
    assert text_of(await call.answer_all(lambda question, _: answers[question])) == "a=1 b=2 3"
    assert runs == ["a", "a", "b", "a", "b", "a", "b"]
    result = await session_client(app, "outer", answers)
    assert result.content[0].text == "a=1 b=2 3"


async def test_a_question_may_be_asked_before_questions_are_returned() -> None:
    async def tool(ctx: Context) -> str | InputRequired:
        if ctx.input_responses:
            second = ctx.input_responses["second"].data["value"]
            return f"{ctx.input_state} {second} {(await ctx.elicit('third?', str)).data}"
        first = await ctx.elicit("first?", str)
        return InputRequired({"second": elicitation("second?", str)}, state=first.data)

    app = server(tool)
    answers = {"first?": value("1"), "second?": value("2"), "third?": value("3")}
    assert text_of(await Call(app, "tool").answer_all(lambda question, _: answers[question])) == "1 2 3"
    assert (await session_client(app, "tool", answers)).content[0].text == "1 2 3"


async def test_a_session_is_not_asked_for_ever() -> None:
    """R-29C."""
    asked: list[int] = []

    async def tool(ctx: Context) -> InputRequired:
        asked.append(1)
        return InputRequired({"q": elicitation("?", str)})

    result = await session_client(server(tool), "tool", {"?": value("x")})
    assert result.is_error
    assert len(asked) == MAXIMUM_ROUNDS + 1
    assert "8 times" in result.content[0].text


@pytest.mark.parametrize("declared", [{}, {"sampling": {}, "roots": {}}], ids=str)
async def test_what_the_client_did_not_declare_is_never_asked(declared: dict[str, Any]) -> None:
    """R-289, R-290."""
    answered = await Call(server(all_kinds), "all_kinds", capabilities=declared).round()
    assert (answered.status, answered.response["error"]["code"]) == (400, -32021)
    assert "elicitation" in answered.response["error"]["data"]["requiredCapabilities"]


async def test_it_is_no_part_of_the_output_schema() -> None:
    """R-514: `str | InputRequired` is published as `str`."""
    app = server(greet)
    async with connect(app) as client:
        (tool,) = (await client.list_tools()).tools
    assert tool.output_schema == {
        "type": "object",
        "properties": {"result": {"type": "string"}},
        "required": ["result"],
    }


async def test_prompts_and_resources_may_return_questions() -> None:
    """R-286."""
    app = server()

    @app.prompt
    async def brief(ctx: Context) -> str | InputRequired:
        if "user_context" not in ctx.input_responses:
            return InputRequired({"user_context": elicitation("What context?", str)})
        return f"Use {ctx.input_responses['user_context'].data['value']}."

    @app.resource("note://{name}")
    async def note(name: str, ctx: Context) -> str | InputRequired:
        if "ok" not in ctx.input_responses:
            return InputRequired({"ok": elicitation(f"Read {name}?", bool)})
        return f"{name} {ctx.input_responses['ok'].data['value']}"

    call = Call(app, method="prompts/get", params={"name": "brief"})
    await call.round()
    answered = await call.round({"user_context": value("this")})
    assert answered.result["messages"][0]["content"]["text"] == "Use this."
    call = Call(app, method="resources/read", params={"uri": "note://x"})
    await call.round()
    answered = await call.round({"ok": value(True)})
    assert answered.result["contents"][0]["text"] == "x True"


async def test_prompts_and_resources_may_ask() -> None:
    """R-286: in the middle, as a tool does; in both eras."""
    app = server()

    @app.prompt
    async def brief(ctx: Context) -> str:
        return f"Use {(await ctx.elicit('What context?', str)).data}."

    @app.resource("note://{name}")
    async def note(name: str, ctx: Context) -> str:
        return f"{name} {(await ctx.elicit('Read?', bool)).data}"

    answers = {"What context?": value("this"), "Read?": value(True)}

    async def elicited(context: Any, params: Any) -> mcp.ElicitResult:
        return mcp.ElicitResult.model_validate(answers[params.message])

    for era in ("session", "stateless"):
        async with connect(app, era=era, elicitation_callback=elicited) as client:
            prompt = await client.get_prompt("brief")
            assert prompt.messages[0].content.text == "Use this."
            read = await client.read_resource("note://x")
            assert read.contents[0].text == "x True"
