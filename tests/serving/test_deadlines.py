"""Time limits of tools and of requests, and what a stopped handler sees (D42).

No test looks at a clock: a limit is either so long that it cannot matter, or the tool waits until it was stopped.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest

from enfilade import Context, Depends, MCPApp, ToolError
from enfilade.serving.channel import Peer
from enfilade.serving.execution import TimeLimit, ToolTimeoutError
from enfilade.serving.request import Request
from enfilade.timings import Timings
from enfilade.wire.message import RequestParams
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import modern_headers, request_of, stateless_meta
from support.servers.calls_in_process import messages, result, text

pytestmark = pytest.mark.anyio

SOON = 0.02
NEVER = 1000.0


def stopped(tool: str = "work", limit: float = SOON) -> str:
    return f"Tool '{tool}' took longer than the {limit:g} seconds it may take, and was stopped"


async def for_ever() -> str:
    await asyncio.Event().wait()
    return "woken"


async def test_the_model_is_told_the_limit() -> None:
    app = MCPApp()
    seen: list[str] = []

    @app.tool(timeout=SOON)
    async def work() -> str:
        try:
            return await for_ever()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    found = await result(app, "work")
    assert found["isError"] is True
    assert text(found) == stopped()
    assert seen == ["cancelled"]


async def test_a_tool_in_time_is_not_disturbed() -> None:
    """And its timer is put away."""
    app = MCPApp()

    @app.tool(timeout=NEVER)
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    assert text(await result(app, "work")) == "done"


async def test_a_thread_sees_that_it_was_given_up() -> None:
    """A thread cannot be stopped from outside; nothing it says afterwards is sent."""
    app = MCPApp()
    saw = threading.Event()

    @app.tool(timeout=SOON)
    def work(ctx: Context) -> str:
        while not ctx.cancelled:
            saw.wait(0.001)
        ctx.log.error("too late")
        ctx.progress.report(1)
        saw.set()
        return "done"

    found = await messages(app, "work")
    assert [text(each["result"]) for each in found] == [stopped()]
    assert await asyncio.to_thread(saw.wait, 30)


async def test_its_dependencies_are_cleaned_up() -> None:
    app = MCPApp()
    seen: list[str] = []

    async def resource() -> AsyncIterator[None]:
        try:
            yield
        finally:
            seen.append("closed")

    @app.tool(timeout=SOON)
    async def work(it: Annotated[None, Depends(resource)]) -> str:
        return await for_ever()

    assert text(await result(app, "work")) == stopped()
    assert seen == ["closed"]


async def test_dependencies_and_secrets_count() -> None:
    """The limit is that of the whole call, not of the function alone."""

    async def slow(name: str, peer: Peer) -> str:
        return await for_ever()

    app = MCPApp(secrets=slow)

    @app.tool(timeout=SOON)
    async def slow_dependency(it: Annotated[str, Depends(for_ever)]) -> str:
        return it

    @app.tool(timeout=SOON, requires_secrets=["API_KEY"])
    async def slow_secret() -> str:
        return "done"

    for tool in ("slow_dependency", "slow_secret"):
        assert text(await result(app, tool)) == stopped(tool)


async def test_a_called_tool_has_its_own_limit() -> None:
    """The caller goes on, and decides what it means."""
    app = MCPApp()

    @app.tool(timeout=SOON)
    async def inner() -> str:
        return await for_ever()

    @app.tool(timeout=NEVER)
    async def outer(ctx: Context) -> str:
        raw = await ctx.tools.call_raw("inner")
        try:
            await ctx.tools.call("inner")
        except ToolError as error:
            return f"{raw.is_error} {error} {ctx.cancelled}"
        return "never"

    assert text(await result(app, "outer")) == f"True {stopped('inner')} False"


@pytest.mark.parametrize("in_thread", [False, True])
async def test_the_callers_limit_stops_the_called_tool(in_thread: bool) -> None:
    """Side by side or not; a called thread sees the flag of its caller's call."""
    app = MCPApp()
    seen: list[str] = []
    saw = threading.Event()

    @app.tool
    async def inner() -> str:
        try:
            return await for_ever()
        finally:
            seen.append("stopped")

    @app.tool
    def inner_in_a_thread(ctx: Context) -> str:
        while not ctx.cancelled:
            saw.wait(0.001)
        saw.set()
        return "done"

    limit = 10 * SOON  # by then the threads run, also on a busy machine

    @app.tool(timeout=limit)
    async def outer(ctx: Context) -> str:
        tool = "inner_in_a_thread" if in_thread else "inner"
        await asyncio.gather(*(ctx.tools.call(tool) for _ in range(2)))
        return "never"

    assert text(await result(app, "outer")) == stopped("outer", limit)
    if in_thread:
        assert await asyncio.to_thread(saw.wait, 30)
    else:
        assert seen == ["stopped", "stopped"]


async def test_a_timeout_of_the_tools_own_is_another_matter(caplog: pytest.LogCaptureFixture) -> None:
    app = MCPApp()

    @app.tool(timeout=NEVER)
    async def work() -> str:
        async with asyncio.timeout(0):
            return await for_ever()

    assert "internal error" in text(await result(app, "work"))
    assert "TimeoutError" in caplog.text


async def test_the_requests_deadline_outranks_the_limit_of_the_tool(caplog: pytest.LogCaptureFixture) -> None:
    """One clear error: the request's, which is none for the model."""
    app = MCPApp(request_timeout=SOON)
    seen: list[bool] = []

    @app.tool(timeout=NEVER)
    async def work(ctx: Context) -> str:
        try:
            return await for_ever()
        finally:
            seen.append(ctx.cancelled)

    call = request_of("tools/call", {"name": "work", "arguments": {}}, 1, stateless_meta())
    (answer,) = (await AsgiClient(app).post(call, **modern_headers(call))).messages
    assert answer["error"]["code"] == -32603
    assert answer["error"]["message"] == "The request took longer than 0.02 seconds and was stopped"
    assert seen == [True]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "tools/call 'work' took longer than 0.02 s and was cancelled (request_timeout)"


async def test_the_log_says_that_a_tool_took_too_long(caplog: pytest.LogCaptureFixture) -> None:
    app = MCPApp()

    @app.tool(timeout=SOON)
    async def work() -> str:
        return await for_ever()

    await result(app, "work")
    (record,) = caplog.records
    assert (
        record.getMessage() == "tool 'work' took longer than 0.02 s and was cancelled (the timeout of the tool)"
    )


async def test_the_log_says_that_a_handler_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Its caller has an outcome, and whoever runs the server learns what still takes memory and time."""
    app, go = MCPApp(request_timeout=SOON), asyncio.Event()
    app._timings = Timings(unwinding=SOON)

    @app.tool
    async def work() -> str:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        return "done"

    call = request_of("tools/call", {"name": "work", "arguments": {}}, 1, stateless_meta())
    posting = asyncio.create_task(AsgiClient(app).post(call, **modern_headers(call)))
    while len(caplog.records) < 2:
        await asyncio.sleep(0.005)
    assert caplog.records[1].getMessage() == (
        "tools/call 'work' goes on 0.02 s after it was cancelled; its caller is not waiting for it any more"
    )
    go.set()
    (answer,) = (await posting).messages
    assert "took longer" in answer["error"]["message"]


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_limits_that_are_none_are_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout is a number of seconds above 0"):
        MCPApp().tool(timeout=timeout)(for_ever)


# -- the limit itself ----------------------------------------------------------------------------------------


def request() -> Request:
    return Request(None, "tools/call", RequestParams(), Peer(revision="2025-11-25"))


async def expired(limit: TimeLimit) -> None:
    limit._timer.cancel()
    limit._expire()


async def test_a_cancellation_from_outside_passes_through() -> None:
    """Even at the same moment: whoever cancelled the task must see it cancelled."""
    entered = asyncio.Event()
    limits: list[TimeLimit] = []

    async def work() -> None:
        with TimeLimit(request(), "work", NEVER) as limit:
            limits.append(limit)
            entered.set()
            await for_ever()

    for too in (False, True):
        entered.clear()
        task = asyncio.create_task(work())
        await entered.wait()
        if too:
            await expired(limits[-1])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_limit_within_another() -> None:
    """The outer one passes through the inner one, and is told outside."""
    outer_request = request()
    inner_ended: list[Any] = []

    with pytest.raises(ToolTimeoutError, match="longer than the 1000 seconds"):
        with TimeLimit(outer_request, "work", NEVER) as outer:
            try:
                with TimeLimit(request(), "work", NEVER):
                    asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(expired(outer)))
                    await for_ever()
            except BaseException as error:
                inner_ended.append(type(error))
                raise
    assert inner_ended == [asyncio.CancelledError]
    assert outer_request.is_given_up
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_another_error_than_the_cancellation_is_the_outcome() -> None:
    with pytest.raises(LookupError):
        with TimeLimit(request(), "work", NEVER) as limit:
            await expired(limit)
            try:
                await for_ever()
            except asyncio.CancelledError:
                raise LookupError from None
