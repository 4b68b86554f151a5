"""Slots of calls that ask their client: held in a session until there is an answer, given back between rounds.

Each test has a tool with one slot, which refuses at once, so that a call shows whether the slot is free. What
frees a slot is told by the server, so tests wait for it, and for nothing else.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from enfilade import Context, MCPApp
from support.harness import Serving, eventually
from support.http_client.connection import Http, HttpSession, PendingReply
from support.rounds import EVERYTHING, value

STORES = ["memory", "sqlite", "valkey"]


class AskingServer(MCPApp):
    """Tools that ask, with one slot each."""

    def __init__(self, store: str) -> None:
        super().__init__("slots", store=store)
        self.add_tool(self.ask, max_concurrency=1, on_limit="refuse")
        self.add_tool(self.ask_briefly, max_concurrency=1, on_limit="refuse")
        self.add_tool(self.ask_rarely, rate_limit="2/hour", on_limit="refuse")

    async def ask(self, ctx: Context, answer: bool = True) -> str:
        """Ask, or do not."""
        return str((await ctx.elicit("Sure?", bool)).data) if answer else "free"

    async def ask_briefly(self, ctx: Context, answer: bool = True) -> str:
        """Ask without much patience."""
        return str((await ctx.elicit("Sure?", bool, timeout=0.01)).data) if answer else "free"

    async def ask_rarely(self, ctx: Context) -> str:
        """Ask, twice an hour."""
        return str((await ctx.elicit("Sure?", bool)).data)


@pytest.fixture(params=STORES)
def http(request: pytest.FixtureRequest) -> Iterator[Http]:
    url = "memory://" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")
    with Serving(AskingServer(url)) as serving:
        yield serving.http


@pytest.fixture
def session(http: Http) -> HttpSession:
    return http.initialize(capabilities=EVERYTHING)


def is_free(http: Http, tool: str = "ask") -> bool:
    """Whether a call of somebody else has room."""
    result = http.modern_call(tool, answer=False).messages[-1]["result"]
    text = result["content"][0]["text"]
    assert text == "free" or "takes 1 call at the same time" in text
    return bool(text == "free")


def begin(session: HttpSession, tool: str = "ask") -> tuple[PendingReply, Iterator[dict[str, Any]], Any]:
    """Call a tool, and return the call, its stream and the id of the question on it."""
    waiting = session.start("tools/call", {"name": tool, "arguments": {}}, id="asking")
    events = waiting.events()
    question = next(events)
    assert question["method"] == "elicitation/create"
    return waiting, events, question["id"]


# -- in a session ------------------------------------------------------------------------------------------------


def test_a_session_holds_the_slot_until_the_answer(http: Http, session: HttpSession) -> None:
    waiting, events, question = begin(session)
    with waiting:
        assert not is_free(http)
        session.post({"jsonrpc": "2.0", "id": question, "result": value(True)})
        (response,) = events
        assert response["result"]["content"][0]["text"] == "True"
    eventually(lambda: is_free(http))


def test_a_refused_call_asks_nobody(http: Http, session: HttpSession) -> None:
    waiting, _, _ = begin(session)
    with waiting:
        (refused,) = session.call("ask", id="second").messages
        assert "takes 1 call at the same time" in refused["result"]["content"][0]["text"]


@pytest.mark.parametrize("end", ["cancelled", "deleted", "refused"])
def test_a_call_without_an_answer_gives_its_slot_back(http: Http, session: HttpSession, end: str) -> None:
    waiting, _, question = begin(session)
    with waiting:
        assert not is_free(http)
        if end == "cancelled":
            session.cancel("asking")
        elif end == "deleted":
            session.delete()
        else:
            error = {"code": -1, "message": "nobody is here"}
            session.post({"jsonrpc": "2.0", "id": question, "error": error})
        eventually(lambda: is_free(http))


def test_a_question_that_took_too_long_gives_the_slot_back(http: Http, session: HttpSession) -> None:
    waiting, events, _ = begin(session, "ask_briefly")
    with waiting:
        messages = list(events)
        assert messages[-1]["result"]["isError"] is True
    eventually(lambda: is_free(http, "ask_briefly"))


# -- without a session -------------------------------------------------------------------------------------------


def rounds(http: Http, tool: str, **more: Any) -> dict[str, Any]:
    """Make one round of a stateless call, and return its result."""
    meta = {"io.modelcontextprotocol/clientCapabilities": EVERYTHING}
    params = {"name": tool, "arguments": {}, **more}
    found: dict[str, Any] = http.modern("tools/call", params, meta=meta).messages[-1]["result"]
    return found


def answered(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the members of the next round, with an answer to each question."""
    answers = {key: value(True) for key in asked["inputRequests"]}
    return {"requestState": asked["requestState"], "inputResponses": answers}


def test_between_rounds_nobody_holds_the_slot(http: Http) -> None:
    """Also if the answer never comes: a client that goes away takes nothing with it."""
    open_calls = []
    for _ in range(3):
        open_calls.append(rounds(http, "ask"))
        assert open_calls[-1]["resultType"] == "input_required"
        eventually(lambda: is_free(http))
    result = rounds(http, "ask", **answered(open_calls[0]))
    assert result["content"][0]["text"] == "True"
    eventually(lambda: is_free(http))


def test_an_answer_waits_for_room_like_any_call(http: Http, session: HttpSession) -> None:
    """The state stays good: the client sends the same round again."""
    asked = rounds(http, "ask")
    eventually(lambda: is_free(http))
    waiting, events, question = begin(session)
    with waiting:
        refused = rounds(http, "ask", **answered(asked))
        assert refused["isError"] is True
        session.post({"jsonrpc": "2.0", "id": question, "result": value(False)})
        assert len(list(events)) == 1
    eventually(lambda: is_free(http))
    assert rounds(http, "ask", **answered(asked))["content"][0]["text"] == "True"


def test_each_round_takes_a_share_of_the_rate(http: Http) -> None:
    asked = rounds(http, "ask_rarely")
    assert rounds(http, "ask_rarely", **answered(asked))["content"][0]["text"] == "True"
    assert "takes 2 calls an hour" in rounds(http, "ask_rarely")["content"][0]["text"]
