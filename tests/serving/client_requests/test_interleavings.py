"""Branches that ask side by side and take another time in each round: nothing is refused, and nothing mixed up.

No time passes here: a slow branch waits for what never comes, or for more turns of the event loop than a round
takes to end. So whatever is decided by a clock shows as a refusal or as a call that hangs.
"""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from enfilade import Context
from enfilade.serving.client_requests.stateless import STALLED_ROUNDS
from support.rounds import Call, server, text_of, value, words

LIMIT = 20.0
"""Seconds for a call over all its rounds; nearly always it is a hundredth of one."""

TURNS = 50
"""Turns of the event loop that a branch takes which is slow and not stuck: many more than a round waits for."""

Slow = set[tuple[int, int, int]]
"""Round, branch and step at which a branch gets no further in that round."""


def echo(question: str, params: dict[str, Any]) -> dict[str, Any]:
    return value(f"re {question}")


class Branches:
    """A tool of branches that ask one question after the other."""

    def __init__(self, steps: list[int], slow: Slow, *, stuck: bool = True) -> None:
        self.steps = steps
        self.slow = slow
        self.stuck = stuck
        self.round = 0

    async def branch(self, ctx: Context, number: int) -> list[str]:
        told = []
        for step in range(self.steps[number]):
            if (self.round, number, step) in self.slow:
                if self.stuck:
                    await asyncio.Event().wait()
                for _ in range(TURNS):
                    await asyncio.sleep(0)
            told.append((await ctx.elicit(f"{number}.{step}", str)).data)
        return told

    async def tool(self, ctx: Context) -> str:
        """Ask."""
        self.round += 1
        told = await asyncio.gather(*(self.branch(ctx, number) for number in range(len(self.steps))))
        return " ".join(answer for branch in told for answer in branch)

    @property
    def whole(self) -> str:
        return " ".join(f"re {number}.{step}" for number, steps in enumerate(self.steps) for step in range(steps))


def play(branches: Branches, most: int) -> str:
    async def played() -> str:
        call = Call(server(branches.tool), "tool")
        async with asyncio.timeout(LIMIT):
            return text_of(await call.answer_all(echo, most=most))

    return asyncio.run(played())


def test_a_branch_is_slower_in_the_second_round() -> None:
    """The one asks "0.0" at once in the first round, and in the second not before it ends."""
    branches = Branches([1, 2], {(2, 0, 0)})
    assert play(branches, 4) == "re 0.0 re 1.0 re 1.1"
    assert branches.round == 3


def test_a_branch_is_slow_for_many_rounds() -> None:
    """While another goes on, an answer waits for as long as it takes."""
    rounds = 2 * STALLED_ROUNDS
    branches = Branches([1, rounds], {(number, 0, 0) for number in range(2, rounds + 1)})
    assert play(branches, rounds + 2) == branches.whole


@st.composite
def interleavings(draw: st.DrawFn) -> Branches:
    """Branches that are slow at any step of any of the first rounds."""
    steps = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    slow: Slow = set()
    for number in range(1, draw(st.integers(1, 12)) + 1):
        late = draw(st.sets(st.sampled_from(range(len(steps)))))
        slow |= {(number, branch, draw(st.integers(0, steps[branch] - 1))) for branch in late}
    return Branches(steps, slow, stuck=False)


@settings(max_examples=60, deadline=None)
@given(interleavings())
def test_whatever_is_slow_whenever(branches: Branches) -> None:
    assert play(branches, 60) == branches.whole


@pytest.mark.anyio
async def test_tasks_that_ask_something_else_each_time_are_refused_in_the_end() -> None:
    """Proof takes rounds here, since the task that was not heard of may be a slow one."""
    asked = 0

    async def tool(ctx: Context) -> str:
        nonlocal asked
        asked += 1
        (answer,) = await asyncio.gather(ctx.elicit(f"{asked}?", bool))
        return str(answer.data)

    call = Call(server(tool), "tool")
    answered = await call.round()
    while "result" in answered.response:
        answered = await call.round({key: value(True) for key in call.asked})
    assert answered.response["error"]["code"] == -32603
    assert "asks something else" in answered.response["error"]["message"]
    assert asked == STALLED_ROUNDS + 1


@pytest.mark.anyio
async def test_a_task_of_one_question_after_the_other_is_refused_at_once() -> None:
    asked = 0

    async def tool(ctx: Context) -> str:
        nonlocal asked
        asked += 1
        return str((await ctx.elicit(f"{asked}?", bool)).data)

    call = Call(server(tool), "tool")
    await call.round()
    answered = await call.round({key: value(True) for key in call.asked})
    assert "asks something else" in answered.response["error"]["message"]


@pytest.mark.anyio
async def test_a_client_may_answer_one_question_at_a_time() -> None:
    """R-297: what it leaves open is asked again, and nothing is refused for it."""
    branches = Branches([2, 2, 2], set())
    call = Call(server(branches.tool), "tool")
    answered = await call.round()
    while answered.result.get("resultType") == "input_required":
        key = min(call.asked)
        answered = await call.round({key: echo(words(call.asked[key]), {})})
    assert text_of(answered) == branches.whole
