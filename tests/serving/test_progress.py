"""Progress under one token: a burst leaves at once, more of it is coalesced, the last is never lost (R-2B0)."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from enfilade import Context, MCPApp
from enfilade.serving import notifications as serving
from support.servers.calls_in_process import called, messages

pytestmark = pytest.mark.anyio


def shown(found: list[dict[str, object]]) -> list[float]:
    """Return the progress in the notifications before a result."""
    assert "result" in found[-1]
    return [each["params"]["progress"] for each in found[:-1]]  # type: ignore[index]


async def test_few_reports_all_arrive() -> None:
    app = MCPApp()

    @app.tool
    async def work(ctx: Context) -> str:
        for step in range(1, serving.BURST + 1):
            await ctx.progress.report(step, total=serving.BURST)
        return "done"

    assert shown(await messages(app, "work")) == list(range(1, serving.BURST + 1))


async def test_many_are_coalesced_and_the_last_arrives() -> None:
    """With the message and total it had, before the result."""
    app = MCPApp()

    @app.tool
    async def work(ctx: Context) -> str:
        for step in range(1, 5001):
            await ctx.progress.report(step, total=5000, message=f"step {step}")
        return "done"

    found = await messages(app, "work")
    steps = shown(found)
    assert steps[:1000] == list(range(1, 1001))
    assert 1001 not in steps
    assert len(steps) < 2500
    assert found[-2]["params"] == {
        "progressToken": "token",
        "progress": 5000,
        "total": 5000,
        "message": "step 5000",
    }


@pytest.mark.parametrize("total", [float("inf"), float("-inf"), float("nan")])
async def test_a_total_that_json_has_no_number_for_is_none(total: float) -> None:
    app = MCPApp()

    @app.tool
    async def work(ctx: Context) -> str:
        await ctx.progress.report(1, total=10)
        await ctx.progress.report(2, total=total, message="on and on")
        await ctx.progress.report(3, total=10)
        return "done"

    told = [each["params"] for each in (await messages(app, "work"))[:-1]]
    assert [(each["progress"], each.get("total", "none")) for each in told] == [(1, 10), (2, "none"), (3, 10)]


async def test_a_long_silence_saves_up_no_more_than_one_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "BURST", 3)
    app, loop = MCPApp(), asyncio.get_running_loop()
    clock, ahead = loop.time, 0.0

    @app.tool
    async def work(ctx: Context) -> str:
        nonlocal ahead
        for step in range(1, 5):  # the last finds nothing left, and waits
            await ctx.progress.report(step)
        ahead = 3600.0
        await asyncio.sleep(0.001)
        for step in range(5, 20):
            await ctx.progress.report(step)
        return "done"

    monkeypatch.setattr(loop, "time", lambda: clock() + ahead)
    assert shown(await messages(app, "work")) == [1, 2, 3, 4, 5, 6, 19]


class Outlet:
    """Takes what is pushed."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def push(self, message: bytes) -> bool:
        self.taken.append(message)
        return True


@pytest.mark.parametrize(("over", "reports"), [(False, 2), (True, 1)])
async def test_what_waits_when_a_request_is_over_is_not_told(
    monkeypatch: pytest.MonkeyPatch, over: bool, reports: int
) -> None:
    """R-361: of a request that was cancelled nothing is said any more."""
    monkeypatch.setattr(serving, "BURST", 1)
    outlet = Outlet()
    request: Any = SimpleNamespace(
        channel=SimpleNamespace(outlet=outlet), is_done=False, peer=SimpleNamespace(revision="2026-07-28")
    )
    stream = serving.ProgressStream(request, "token")
    stream.take(1, None, None)
    stream.take(2, None, None)
    request.is_done = over
    stream.settle()
    assert len(outlet.taken) == reports


async def test_what_waits_is_sent_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only at the end."""
    monkeypatch.setattr(serving, "RATE", 50.0)
    monkeypatch.setattr(serving, "BURST", 1)
    app = MCPApp()

    @app.tool
    async def work(ctx: Context) -> str:
        ctx.progress.report(1)
        ctx.progress.report(2)
        ctx.progress.report(3)
        await asyncio.sleep(0.2)
        await ctx.log.info("in between")
        return "done"

    found = await messages(app, "work")
    assert [each["params"].get("progress", "log") for each in found[:-1]] == [1, 3, "log"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-5, 5), max_size=60), st.booleans())
def test_it_always_rises_and_ends_with_the_highest(reports: list[float], in_thread: bool) -> None:
    app = MCPApp()

    @app.tool
    async def work(ctx: Context) -> str:
        for each in reports:
            await ctx.progress.report(each)
        return "done"

    @app.tool
    def work_in_a_thread(ctx: Context) -> str:
        for each in reports:
            ctx.progress.report(each)
        return "done"

    steps = shown(asyncio.run(messages(app, "work_in_a_thread" if in_thread else "work")))
    assert steps == sorted(set(steps))
    assert steps[-1:] == ([max(reports)] if reports else [])


async def test_called_tools_report_under_the_same_token() -> None:
    """One limit and one rising line for all of them (P8)."""
    app = MCPApp()

    @app.tool
    async def inner(start: int, ctx: Context) -> None:
        for step in range(1000):
            await ctx.progress.report(start + step)

    @app.tool
    async def outer(ctx: Context) -> str:
        await asyncio.gather(*(ctx.tools.call("inner", {"start": 1000 * each}) for each in range(3)))
        return "done"

    found = await messages(app, "outer")
    steps = shown(found)
    assert steps == sorted(set(steps))
    assert steps[-1] == 2999
    assert len(steps) < 2500
    assert {each["params"]["progressToken"] for each in found[:-1]} == {"token"}


async def test_what_a_called_tool_left_running_says_nothing_more() -> None:
    """Trap 21: nothing for what has ended, although the client's own call goes on."""
    app = MCPApp()
    left: list[asyncio.Task[None]] = []

    @app.tool
    async def inner(ctx: Context) -> None:
        async def later() -> None:
            await asyncio.sleep(0.001)
            await ctx.progress.report(5)
            await ctx.log.info("too late")

        left.append(asyncio.create_task(later()))

    @app.tool
    async def outer(ctx: Context) -> str:
        await ctx.tools.call("inner")
        await left[0]
        await ctx.progress.report(1)
        return "done"

    assert shown(await messages(app, "outer")) == [1]


def test_without_reports_there_is_nothing() -> None:
    app = MCPApp()

    @app.tool
    def work(ctx: Context) -> str:
        return f"{ctx._request.root.progress} {threading.current_thread().daemon}"

    assert called(app, "work")["structuredContent"] == {"result": "None True"}
