"""Questions in the stateless era: a handler runs from the top in each round, and answers find their questions.

Easy to get wrong: what two runs do at different times. Questions asked side by side must get the answers that
were given to them, in whatever order a run comes to ask them.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from enfilade import AnswerError, Context, Peer, Request, ToolError
from enfilade.serving.client_requests.ask import elicit
from enfilade.serving.failures import too_long
from enfilade.wire.lifecycle import ClientCapabilities, ElicitationCapability
from enfilade.wire.tools import CallToolRequestParams
from support.rounds import ROOTS, Call, accept, server, text_of, value, words, written

pytestmark = pytest.mark.anyio

Answer = Callable[[str, dict[str, Any]], Any]


def echo(question: str, params: dict[str, Any]) -> dict[str, Any]:
    """Answer every question with its own words, so that a mix-up shows."""
    return value(f"re {question}")


async def sequence(ctx: Context) -> str:
    return " | ".join([(await ctx.elicit(f"q{n}", str)).data for n in range(3)])


async def same_words(ctx: Context) -> str:
    told = [(await ctx.elicit("again", str)).data for _ in range(3)]
    return f"{len(told)} {told[0]}"


async def side_by_side(ctx: Context) -> str:
    answers = await asyncio.gather(*(ctx.elicit(f"q{n}", str) for n in range(3)))
    return " | ".join(answer.data for answer in answers)


async def branches(ctx: Context) -> str:
    """Each branch goes on by itself: what comes second in one is asked before what comes first in another."""

    async def branch(name: str) -> str:
        first = await ctx.elicit(f"{name}1", str)
        second = await ctx.elicit(f"{name}2", str)
        return f"{first.data} {second.data}"

    return " | ".join(await asyncio.gather(branch("a"), branch("b")))


async def branches_at_random(ctx: Context) -> str:
    """Branches that take their time, another one in each run."""

    async def branch(name: str) -> str:
        told = []
        for n in range(2):
            await asyncio.sleep(random.choice([0, 0.01]))
            told.append((await ctx.elicit(f"{name}{n}", str)).data)
        return " ".join(told)

    return " | ".join(await asyncio.gather(branch("a"), branch("b"), branch("c")))


async def task_group(ctx: Context) -> str:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ctx.elicit(f"q{n}", str)) for n in range(2)]
    return " | ".join(task.result().data for task in tasks)


async def time_limit(ctx: Context) -> str:
    async with asyncio.timeout(30):
        first = await ctx.elicit("q0", str)
    second = await asyncio.wait_for(ctx.elicit("q1", str), 30)
    return f"{first.data} | {second.data}"


async def every_kind(ctx: Context) -> str:
    form, page, message, roots = await asyncio.gather(
        ctx.elicit("form", str), ctx.elicit_url("page", "https://x.example"), ctx.sample("model"), ctx.roots()
    )
    return f"{form.data} {page.action} {message.content.text} {roots[0].uri}"


def any_kind(question: str, params: dict[str, Any]) -> dict[str, Any]:
    known = {"page": {"action": "accept"}, "model": written("w"), "roots/list": ROOTS}
    return known.get(question) or value("f")


async def yes_then_why(ctx: Context) -> str:
    if (await ctx.elicit("yes?", bool)).data:
        return f"because {(await ctx.elicit('why?', str)).data}"
    return "no"


def agrees(question: str, params: dict[str, Any]) -> dict[str, Any]:
    return value(True) if question == "yes?" else value("so")


def disagrees(question: str, params: dict[str, Any]) -> dict[str, Any]:
    return value(False)


async def until_seven(ctx: Context) -> str:
    tries = 1
    while (await ctx.elicit(f"guess {tries}", int)).data != 7:
        tries += 1
    return f"{tries} tries"


def guesses(question: str, params: dict[str, Any]) -> dict[str, Any]:
    return value(int(question.split()[1]) + 4)


ECHOES = "re q0 | re q1 | re q2"


@pytest.mark.parametrize(
    ("tool", "answer", "rounds", "text"),
    [
        (sequence, echo, 3, ECHOES),
        (same_words, echo, 3, "3 re again"),
        (side_by_side, echo, 1, ECHOES),
        (branches, echo, 2, "re a1 re a2 | re b1 re b2"),
        (task_group, echo, 1, "re q0 | re q1"),
        (time_limit, echo, 2, "re q0 | re q1"),
        (every_kind, any_kind, 1, "f accept w file:///home/ada"),
        (yes_then_why, agrees, 2, "because so"),
        (yes_then_why, disagrees, 1, "no"),
        (until_seven, guesses, 3, "3 tries"),
    ],
    ids=lambda part: getattr(part, "__name__", None),
)
async def test_questions_find_their_answers(tool: Any, answer: Answer, rounds: int, text: str) -> None:
    """R-29A, R-29C."""
    call = Call(server(tool), tool.__name__)
    assert text_of(await call.answer_all(answer)) == text
    assert len(call.rounds) == rounds


async def test_branches_may_come_to_their_questions_in_any_order() -> None:
    """R-29A: a question is known by its words and not by its place."""
    app = server(branches_at_random)
    for _ in range(10):
        answered = await Call(app, "branches_at_random").answer_all(echo)
        assert text_of(answered) == "re a0 re a1 | re b0 re b1 | re c0 re c1"


async def test_keys_stay_different_over_the_rounds() -> None:
    """R-288: a client that still sends an old answer cannot answer a new question with it."""
    call = Call(server(sequence), "sequence")
    await call.answer_all(echo)
    keys = [key for each in call.rounds for key in each["inputRequests"]]
    assert len(set(keys)) == 3


async def test_questions_with_keys() -> None:
    """R-288: the author's key is the key on the wire, and tells questions with the same words apart."""

    async def tool(ctx: Context) -> str:
        left, right = await asyncio.gather(
            ctx.elicit("name?", str, key="left"), ctx.elicit("name?", str, key="right")
        )
        return f"{left.data} {right.data}"

    call = Call(server(tool), "tool")
    await call.round()
    assert list(call.asked) == ["left", "right"]
    assert text_of(await call.round({"right": value("r"), "left": value("l")})) == "l r"


@pytest.mark.parametrize(
    "responses", [None, {}, {"somebody": value("x")}, {"q": accept(), "name": {}, "n": 5, "m": None}], ids=str
)
async def test_missing_answers_are_asked_for_again(responses: Any) -> None:
    """R-297: and unknown keys are ignored."""
    call = Call(server(sequence), "sequence")
    await call.round()
    first = call.asked
    await call.round(responses)
    assert call.asked == first


async def test_of_partial_answers_the_rest_is_asked_again() -> None:
    """R-297."""
    call = Call(server(side_by_side), "side_by_side")
    await call.round()
    keys = list(call.asked)
    await call.round({keys[1]: value("second")})
    assert [words(each) for each in call.asked.values()] == ["q0", "q2"]
    keys = list(call.asked)
    answered = await call.round({keys[0]: value("first"), keys[1]: value("third")})
    assert text_of(answered) == "first | second | third"


@pytest.mark.parametrize(
    "responses",
    [
        pytest.param({"question-1": 12345}, id="a number"),
        pytest.param({"question-1": None}, id="null"),
        pytest.param({"question-1": []}, id="an array"),
        pytest.param({"question-1": {"action": "perhaps"}}, id="no such action"),
        pytest.param({"question-1": {"content": {}}}, id="no action"),
        pytest.param({"question-1": written("hello")}, id="another kind's answer"),
        pytest.param({"question-1": accept(value={"a": 1})}, id="content of an object"),
        pytest.param({"question-1": accept(value=7)}, id="content that does not fit the form"),
        pytest.param({"question-1": accept()}, id="content without a required field"),
        pytest.param([], id="responses that are an array"),
        pytest.param("x", id="responses that are a string"),
    ],
)
async def test_malformed_answers_are_an_error(responses: Any) -> None:
    """R-297, R-298: never a result, never a failure of the server."""
    call = Call(server(sequence), "sequence")
    await call.round()
    answered = await call.round(responses)
    assert answered.status == (400 if isinstance(responses, dict) else 200), "C-06"
    assert answered.response["error"]["code"] == -32602


async def test_null_in_place_of_answers_is_an_error() -> None:
    """R-297."""
    call = Call(server(sequence), "sequence")
    await call.round()
    answered = await call.round(None, inputResponses=None)
    assert answered.response["error"]["code"] == -32602


async def test_a_handler_may_ask_again_after_an_answer_that_does_not_fit() -> None:
    """R-298: what the author catches is no error of the client's."""

    async def tool(ctx: Context) -> str:
        try:
            return str((await ctx.elicit("how many?", int)).data)
        except AnswerError:
            return str((await ctx.elicit("how many, in digits?", int)).data)

    answers = {"how many?": value("three"), "how many, in digits?": value(3)}
    call = Call(server(tool), "tool")
    assert text_of(await call.answer_all(lambda question, _: answers[question])) == "3"


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_user_may_say_no(action: str) -> None:
    """R-543."""

    async def tool(ctx: Context) -> str:
        answer = await ctx.elicit("yes?", bool)
        return f"{answer.action} {answer.content} {answer.accepted}"

    answered = await Call(server(tool), "tool").answer_all(lambda *_: {"action": action})
    assert text_of(answered) == f"{action} None False"


async def test_a_run_that_asks_something_else_is_refused() -> None:
    """R-29A: with words that tell the author what differs."""

    async def tool(ctx: Context) -> str:
        await ctx.elicit("Now really?", bool)
        return str((await ctx.elicit(f"Roll {random.random()}?", bool)).data)

    call = Call(server(tool), "tool")
    await call.round()
    await call.round({key: value(True) for key in call.asked})
    first = words(*call.asked.values())
    answered = await call.round({key: value(True) for key in call.asked})
    error = answered.response["error"]
    assert error["code"] == -32603
    assert f'elicitation/create "{first}"' in error["message"]
    assert 'elicitation/create "Roll 0.' in error["message"].partition("Now it asks")[2]
    assert "ctx.once" in error["message"]


async def test_a_handler_that_swallows_the_end_of_its_round_asks_all_the_same() -> None:
    async def tool(ctx: Context) -> str:
        try:
            return str((await ctx.elicit("yes?", bool)).data)
        except BaseException:
            return "never mind"

    call = Call(server(tool), "tool")
    await call.round()
    assert [words(each) for each in call.asked.values()] == ["yes?"]
    assert text_of(await call.round({key: value(True) for key in call.asked})) == "True"


async def test_a_handler_that_swallows_the_end_of_its_round_and_asks_on() -> None:
    async def tool(ctx: Context) -> str:
        try:
            await ctx.elicit("first?", bool)
        except BaseException:
            await ctx.elicit("second?", bool)
        return "done"

    call = Call(server(tool), "tool")
    await call.round()
    assert [words(each) for each in call.asked.values()] == ["first?", "second?"]
    assert text_of(await call.round({key: value(True) for key in call.asked})) == "done"


async def test_a_handler_that_fails_at_the_end_of_its_round_asks_all_the_same() -> None:
    async def tool(ctx: Context) -> str:
        try:
            return str((await ctx.elicit("yes?", bool)).data)
        except asyncio.CancelledError:
            raise ToolError("interrupted") from None

    call = Call(server(tool), "tool")
    await call.round()
    assert text_of(await call.round({key: value(True) for key in call.asked})) == "True"


async def test_a_question_that_the_handler_gave_up_on_is_not_asked() -> None:
    async def tool(ctx: Context) -> str:
        asking = asyncio.ensure_future(ctx.elicit("yes?", bool))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.sleep(0.05)
        return "on my own"

    assert text_of(await Call(server(tool), "tool").round()) == "on my own"


async def test_a_question_that_nobody_waits_for_is_not_asked() -> None:
    """And the task that asks it ends with the call."""
    left: list[asyncio.Task[Any]] = []

    async def tool(ctx: Context) -> str:
        left.append(asyncio.create_task(ctx.elicit("yes?", bool)))
        await asyncio.sleep(0)
        return "done"

    assert text_of(await Call(server(tool), "tool").round()) == "done"
    with pytest.raises(asyncio.CancelledError):
        await left[0]


async def test_tools_that_are_called_by_a_tool_ask_too() -> None:
    """P8: in one journal, that of the client's own call."""

    async def inner(name: str, ctx: Context) -> str:
        return f"{name}={(await ctx.elicit('value?', str)).data}"

    async def outer(ctx: Context) -> str:
        told = [await ctx.tools.call("inner", {"name": name}) for name in ("a", "b")]
        told += await asyncio.gather(*(ctx.tools.call("inner", {"name": name}) for name in ("c", "d")))
        return " ".join(told)

    numbers = iter("1234")
    call = Call(server(inner, outer), "outer")
    assert text_of(await call.answer_all(lambda *_: value(next(numbers)))) == "a=1 b=2 c=3 d=4"
    assert len(call.rounds) == 3


async def test_middleware_asks_too() -> None:
    async def confirm(request: Any, call_next: Any) -> Any:
        if request.method == "tools/call" and not (await elicit(request, "Really?", bool)).data:
            raise ToolError("you did not want it")
        return await call_next(request)

    app = server(yes_then_why, middleware=[confirm])
    answers = {"Really?": value(True), "yes?": value(True), "why?": value("so")}
    call = Call(app, "yes_then_why")
    assert text_of(await call.answer_all(lambda question, _: answers[question])) == "because so"
    assert len(call.rounds) == 3


@pytest.mark.parametrize(
    ("declared", "tool", "required"),
    [
        ({}, sequence, {"elicitation": {}}),
        ({"elicitation": {"url": {}}}, sequence, {"elicitation": {"form": {}}}),
        ({"elicitation": {}, "roots": {}}, every_kind, {"elicitation": {"url": {}}}),
    ],
    ids=["nothing", "urls only", "forms only"],
)
async def test_what_the_client_did_not_declare_is_never_asked(
    declared: dict[str, Any], tool: Any, required: dict[str, Any]
) -> None:
    """R-289, R-290."""
    answered = await Call(server(tool), tool.__name__, capabilities=declared).round()
    error = answered.response["error"]
    assert (answered.status, error["code"]) == (400, -32021)
    assert error["data"] == {"requiredCapabilities": required}


@pytest.mark.parametrize(
    ("how", "part"),
    [
        ({"tool_choice": "auto"}, "tools"),
        ({"include_context": "thisServer"}, "context"),
    ],
    ids=["tools", "context"],
)
async def test_parts_of_sampling_need_a_capability_of_their_own(how: dict[str, Any], part: str) -> None:
    """R-289, R-550."""

    async def tool(ctx: Context) -> str:
        await ctx.sample("hello", **how)
        return "done"

    call = Call(server(tool), "tool", capabilities={"sampling": {}})
    error = (await call.round()).response["error"]
    assert error["data"] == {"requiredCapabilities": {"sampling": {part: {}}}}


@pytest.mark.parametrize("who", ["the client", "the server", "a deadline"])
async def test_a_round_that_is_cancelled_while_it_ends(who: str) -> None:
    """R-277, R-361: two cancellations at once, and each is accounted for."""
    ending = asyncio.Event()

    async def tool(ctx: Context) -> str:
        try:
            return str((await ctx.elicit("yes?", bool)).data)
        finally:
            ending.set()
            await asyncio.sleep(0.05)

    params = CallToolRequestParams(name="tool")
    peer = Peer(revision="2026-07-28", capabilities=ClientCapabilities(elicitation=ElicitationCapability()))
    async with server(tool).running() as dispatcher:
        request = Request(1, "tools/call", params, peer)
        task = request.task = asyncio.ensure_future(dispatcher.respond(request))
        await ending.wait()
        if who == "the server":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return
        request.cancel(verdict=too_long(1) if who == "a deadline" else None)
        body, error = await task
        assert (body is None, error is None) == (who == "the client", who == "the client")
        assert task.cancelling() == 0
