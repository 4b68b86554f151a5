"""Questions in the session era, message by message over HTTP: on whose stream they go out, and who may answer.

Every question is checked against the schema of its revision on the way (`support/schemas/validator.py`). Easy to
get wrong: a stream is read up to the question and no further, since what follows comes only after the answer.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest

from enfilade import Choices, Context
from support.harness import Serving, eventually
from support.http_client.connection import Http, HttpSession, PendingReply, request_of
from support.rounds import EVERYTHING, server, value, written

ended: list[str] = []


async def sure(ctx: Context) -> str:
    """Ask one question."""
    try:
        answer = await ctx.elicit("Sure?", bool)
    except asyncio.CancelledError:
        ended.append("cancelled")
        raise
    return f"{answer.action} {answer.data}"


async def hasty(ctx: Context) -> str:
    """Ask one question, without much patience."""
    return str(await ctx.elicit("Sure?", bool, timeout=0.01))


async def sample(ctx: Context) -> str:
    """Let the model write."""
    return str((await ctx.sample("Say something")).content)


async def tool_use(ctx: Context) -> str:
    """Let the model use tools."""
    return str(await ctx.sample("Say something", tool_choice="auto"))


async def page(ctx: Context) -> str:
    """Show a page."""
    return (await ctx.elicit_url("Look", "https://x.example")).action


async def size(ctx: Context) -> str:
    """Ask for a choice with titles."""
    return str((await ctx.elicit("Size?", Choices({"s": "Small", "l": "Large"}))).data)


async def several(ctx: Context) -> str:
    """Ask for several choices."""
    wanted = Annotated[list[Literal["a", "b"]], "any"]
    return str((await ctx.elicit("Which?", wanted)).data)


TOOLS = (sure, hasty, sample, tool_use, page, size, several)


@pytest.fixture(scope="module")
def asked_over() -> Iterator[Serving]:
    with Serving(server(*TOOLS)) as serving:
        yield serving


@pytest.fixture
def http(asked_over: Serving) -> Http:
    return asked_over.http


@pytest.fixture
def session(http: Http) -> HttpSession:
    return http.initialize(capabilities=EVERYTHING)


def begin(session: HttpSession, tool: str) -> tuple[PendingReply, Iterator[dict[str, Any]], dict[str, Any]]:
    """Call a tool and return the call, its stream and the first question on it."""
    waiting = session.start("tools/call", {"name": tool, "arguments": {}})
    events = waiting.events()
    return waiting, events, next(events)


def answer(session: HttpSession, question: dict[str, Any], **outcome: Any) -> None:
    """Answer a question, and see that the answer is taken, whatever becomes of it."""
    reply = session.post({"jsonrpc": "2.0", "id": question["id"], **outcome})
    assert (reply.status, reply.body) == (202, b"")


def text_of(message: dict[str, Any]) -> str:
    text: str = message["result"]["content"][0]["text"]
    return text


def test_a_question_goes_out_on_the_stream_of_its_call(session: HttpSession) -> None:
    """SEP-2260, C-13: and its answer comes in a message of its own."""
    waiting, events, question = begin(session, "sure")
    assert question["method"] == "elicitation/create"
    assert question["params"]["message"] == "Sure?"
    answer(session, question, result=value(True))
    (response,) = events
    assert text_of(response) == "accept True"
    waiting.close()


def test_an_answer_in_another_session_counts_for_nothing(session: HttpSession, http: Http) -> None:
    """R-334: nor does one to another question, or a second one."""
    waiting, events, question = begin(session, "sure")
    answer(http.initialize(capabilities=EVERYTHING), question, result=value(False))
    answer(session, {"id": "ask-0000000000000000"}, result=value(False))
    answer(session, question, result=value(True))
    answer(session, question, result=value(False))
    (response,) = events
    assert text_of(response) == "accept True"
    waiting.close()


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        ({"error": {"code": -1, "message": "User rejected"}}, "The client refused: User rejected"),
        ({"error": {"code": -32602, "message": ""}}, "The client refused"),
        ({"result": {"action": "perhaps"}}, "The client's answer is not what was asked for"),
        ({"result": written("x")}, "The client's answer is not what was asked for"),
        ({"result": value("x")}, "The answer does not fit the question"),
        ({"result": {"action": "decline"}}, "The user declined what was asked"),
    ],
    ids=lambda part: json.dumps(part)[:40] if isinstance(part, dict) else "",
)
def test_every_answer_has_its_outcome(session: HttpSession, outcome: dict[str, Any], text: str) -> None:
    """R-298, R-543, R-553: an error is a refusal, and nothing crashes."""
    waiting, events, question = begin(session, "sure")
    answer(session, question, **outcome)
    (response,) = events
    assert text_of(response).startswith(text)
    waiting.close()


def test_a_question_that_took_too_long_is_withdrawn(session: HttpSession) -> None:
    """R-36A: and a late answer is ignored."""
    waiting, events, question = begin(session, "hasty")
    withdrawal, response = events
    assert withdrawal["method"] == "notifications/cancelled"
    assert withdrawal["params"]["requestId"] == question["id"]
    assert response["result"]["isError"]
    assert text_of(response) == "The client did not answer within 0.01 seconds"
    answer(session, question, result=value(True))
    waiting.close()


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_a_call_that_is_cancelled_asks_no_more(session: HttpSession, asked_over: Serving, how: str) -> None:
    """R-361, R-310: the handler hears of it, the question is withdrawn, only the end of its session is told."""
    ended.clear()
    waiting, events, question = begin(session, "sure")
    reply = session.cancel(1) if how == "cancel" else session.delete()
    assert reply.status < 300
    withdrawal, *outcome = events
    assert [each["error"]["code"] for each in outcome] == ([] if how == "cancel" else [-32600])
    assert withdrawal["method"] == "notifications/cancelled"
    assert withdrawal["params"]["requestId"] == question["id"]
    eventually(lambda: ended == ["cancelled"])
    waiting.close()


def nobody_waits(app: Any) -> bool:
    return len(app.endpoint.services.asker) == 0


def test_no_question_is_kept_beyond_its_call() -> None:
    app = server(*TOOLS)
    with Serving(app) as serving:
        session = serving.http.initialize(capabilities=EVERYTHING)
        waiting, events, question = begin(session, "sure")
        assert len(app.endpoint.services.asker) == 1
        answer(session, question, result=value(True))
        assert len(list(events)) == 1
        assert nobody_waits(app)
        waiting.close()
        waiting, events, _ = begin(session, "hasty")
        assert len(list(events)) == 2
        waiting.close()
        begin(session, "sure")[0].close()
        session.cancel(1)
        eventually(lambda: nobody_waits(app))


def test_a_client_that_takes_json_only_cannot_be_asked(session: HttpSession) -> None:
    """R-272: said at once and not after a timeout."""
    reply = session.post(
        request_of("tools/call", {"name": "sure", "arguments": {}}, 1, None), accept="application/json"
    )
    assert reply.result["isError"]
    assert "plain JSON" in reply.result["content"][0]["text"]


@pytest.mark.parametrize(
    ("options", "words"), [({"json_response": True}, "plain JSON"), ({"sessions": False}, "no session")], ids=str
)
def test_a_server_without_streams_or_sessions_cannot_ask(options: dict[str, Any], words: str) -> None:
    from enfilade import Settings

    with Serving(server(*TOOLS, settings=Settings(**options))) as serving:
        params = {"name": "sure", "arguments": {}}
        if "sessions" in options:
            reply = serving.http.post(request_of("tools/call", params, 1, None))
            words = "needs a client with the capability elicitation"  # without a session, nobody declares any
        else:
            reply = serving.http.initialize(capabilities=EVERYTHING).ask("tools/call", params)
        assert reply.header("content-type") == "application/json"
        assert reply.result["isError"]
        assert words in reply.result["content"][0]["text"]


@pytest.mark.parametrize(
    ("revision", "declared", "tool", "text"),
    [
        ("2025-03-26", EVERYTHING, "sure", "This needs a client with the capability elicitation"),
        ("2025-06-18", EVERYTHING, "several", "This client cannot be asked that: a form has no multiple choice"),
        ("2025-06-18", EVERYTHING, "tool_use", "This client cannot be asked that: sampling has no tools"),
        ("2025-06-18", EVERYTHING, "page", "This client cannot be asked that"),
        ("2025-11-25", {}, "sure", "This needs a client with the capability elicitation"),
        ("2025-11-25", {"elicitation": {}}, "page", "This needs a client with the capability elicitation.url"),
        ("2025-11-25", {"elicitation": {"url": {}}}, "sure", "capability elicitation.form"),
        ("2025-11-25", {"sampling": {}}, "tool_use", "This needs a client with the capability sampling.tools"),
        ("2025-11-25", {"elicitation": {}}, "sample", "This needs a client with the capability sampling"),
    ],
)
def test_who_cannot_be_asked_is_not_asked(
    http: Http, revision: str, declared: dict[str, Any], tool: str, text: str
) -> None:
    """R-289, R-303, R-540, R-550: in words that say what is missing."""
    reply = http.initialize(revision, declared).call(tool)
    assert reply.result["isError"]
    assert text in reply.result["content"][0]["text"]
    assert "request" not in [each.get("method") for each in reply.messages]


@pytest.mark.parametrize("revision", ["2025-03-26", "2025-06-18", "2025-11-25"])
def test_sampling_in_every_revision(http: Http, revision: str) -> None:
    """R-552."""
    session = http.initialize(revision, {"sampling": {}})
    waiting, events, question = begin(session, "sample")
    assert question["params"]["maxTokens"] == 512
    answer(session, question, result=written("something"))
    (response,) = events
    assert "something" in text_of(response)
    waiting.close()


LEGACY = {"type": "string", "enum": ["s", "l"], "enumNames": ["Small", "Large"]}
TITLED = {"type": "string", "oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]}


@pytest.mark.parametrize(
    ("revision", "mode", "field"), [("2025-06-18", None, LEGACY), ("2025-11-25", "form", TITLED)]
)
def test_forms_in_the_words_of_the_revision(
    http: Http, revision: str, mode: str | None, field: dict[str, Any]
) -> None:
    """R-540."""
    session = http.initialize(revision, {"elicitation": {}})
    waiting, events, question = begin(session, "size")
    assert question["params"].get("mode") == mode
    assert question["params"]["requestedSchema"]["properties"] == {"value": field}
    answer(session, question, result=value("l"))
    (response,) = events
    assert text_of(response) == "l"
    waiting.close()


def test_a_page_has_an_id_of_its_own(session: HttpSession) -> None:
    """R-546."""
    ids = []
    for _ in range(2):
        waiting, events, question = begin(session, "page")
        ids.append(question["params"]["elicitationId"])
        answer(session, question, result={"action": "accept"})
        (response,) = events
        assert text_of(response) == "accept"
        waiting.close()
    assert ids[0] != ids[1]
