"""Time limits of tools and of requests, and what a stopped handler sees (D42).

No test looks at a clock: a limit is either so long that it cannot matter, or the tool waits until it was stopped.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest

from enfilade import Context, Depends, MCPApp, ToolError, connect, text_of
from enfilade.serving.channel import Peer
from enfilade.serving.execution import TimeLimit, ToolTimeoutError
from enfilade.serving.request import Request
from enfilade.testing import accept, connect as connect_client
from enfilade.timings import Timings
from enfilade.wire.message import RequestParams
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import modern_headers, request_of, stateless_meta
from support.servers.calls_in_process import entered_limits, expire, messages, result, text

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


async def test_a_thread_sees_that_it_was_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread cannot be stopped from outside; nothing it says afterwards is sent."""
    app, limits = MCPApp(), entered_limits(monkeypatch)
    entered, saw = threading.Event(), threading.Event()

    @app.tool(timeout=NEVER)
    def work(ctx: Context) -> str:
        entered.set()
        while not ctx.cancelled:
            saw.wait(0.001)
        ctx.log.error("too late")
        ctx.progress.report(1)
        saw.set()
        return "done"

    calling = asyncio.create_task(messages(app, "work"))
    assert await asyncio.to_thread(entered.wait, 30)
    expire(limits[0])
    assert [text(each["result"]) for each in await calling] == [stopped(limit=NEVER)]
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
async def test_the_callers_limit_stops_the_called_tool(in_thread: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Side by side or not; a called thread sees the flag of its caller's call."""
    app, limits = MCPApp(), entered_limits(monkeypatch)
    seen: list[str] = []
    entered, saw = threading.Semaphore(0), threading.Event()

    @app.tool
    async def inner() -> str:
        entered.release()
        try:
            return await for_ever()
        finally:
            seen.append("stopped")

    @app.tool
    def inner_in_a_thread(ctx: Context) -> str:
        entered.release()
        while not ctx.cancelled:
            saw.wait(0.001)
        saw.set()
        return "done"

    @app.tool(timeout=NEVER)
    async def outer(ctx: Context) -> str:
        tool = "inner_in_a_thread" if in_thread else "inner"
        await asyncio.gather(*(ctx.tools.call(tool) for _ in range(2)))
        return "never"

    calling = asyncio.create_task(result(app, "outer"))
    for _ in range(2):
        assert await asyncio.to_thread(entered.acquire, timeout=30)
    expire(limits[0])
    assert text(await calling) == stopped("outer", NEVER)
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
            expire(limits[-1])
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
                    asyncio.get_running_loop().call_soon(expire, outer)
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
            expire(limit)
            try:
                await for_ever()
            except asyncio.CancelledError:
                raise LookupError from None


async def ask_stateless(app: MCPApp, tool: str) -> dict[str, Any]:
    """Call a tool of a client that can be asked, and return the result."""
    meta = stateless_meta(clientCapabilities={"elicitation": {"form": {}}})
    call = request_of("tools/call", {"name": tool, "arguments": {}}, 1, meta)
    async with asyncio.timeout(60):
        (answer,) = (await AsgiClient(app).post(call, **modern_headers(call))).messages
    found: dict[str, Any] = answer["result"]
    return found


async def test_a_round_ends_although_the_tool_has_reached_its_limit() -> None:
    """Its question is open, and the handler waits for it while it unwinds: nothing else would ever wake it."""
    app, expired = MCPApp(), asyncio.Event()

    async def wait_for_the_limit() -> int:
        await expired.wait()
        return 1

    @app.tool(timeout=SOON)
    async def work(ctx: Context) -> None:
        side_effect = asyncio.create_task(ctx.once("order", wait_for_the_limit))
        question = asyncio.create_task(ctx.elicit("Sure?", bool))
        try:
            await asyncio.wait({question, side_effect})
        finally:
            expired.set()
            await asyncio.wait({question, side_effect})

    assert (await ask_stateless(app, "work"))["resultType"] == "input_required"
    assert app.endpoint.services.request_limit.count == 0


async def test_a_tool_may_ask_after_its_limit() -> None:
    app = MCPApp()

    @app.tool(timeout=SOON)
    async def work(ctx: Context) -> str:
        try:
            return await for_ever()
        except asyncio.CancelledError:
            return str((await ctx.elicit("Go on?", bool)).action)

    assert (await ask_stateless(app, "work"))["resultType"] == "input_required"


async def test_middleware_may_ask_after_the_limit_of_a_tool() -> None:
    contexts: list[Context] = []
    actions: list[str] = []

    async def ask_again(request: Request, call_next: Any) -> Any:
        outcome = await call_next(request)
        if request.method == "tools/call":
            actions.append((await contexts[0].elicit("Again?", bool)).action)
        return outcome

    app = MCPApp(middleware=[ask_again])

    @app.tool(timeout=SOON)
    async def work(ctx: Context) -> str:
        contexts.append(ctx)
        return await for_ever()

    async with connect(app, era="session", answers=[accept({"value": True})]) as client:
        assert (await client.call_tool("work", {})).is_error
    assert actions == ["accept"]


@pytest.mark.parametrize("transport", ["memory", "http"])
async def test_a_call_that_ended_was_not_given_up(transport: Any) -> None:
    """Work that outlives the call learns the same over every transport."""
    app = MCPApp()
    contexts: list[Context] = []

    @app.tool
    async def work(ctx: Context) -> str:
        contexts.append(ctx)
        await asyncio.sleep(SOON)
        return "done"

    async with connect(app, era="session", transport=transport) as client:
        await client.call_tool("work", {})
        assert [context.cancelled for context in contexts] == [False]


@pytest.mark.parametrize("era", ["session", "stateless"])
async def test_a_handler_goes_on_after_a_limit_of_its_own(era: Any) -> None:
    """The timer of `asyncio.timeout` cancels its task as a host does; the handler may take long after that."""
    app = MCPApp()
    app._timings = Timings(unwinding=SOON)

    @app.tool
    async def work() -> str:
        for _ in range(3):
            try:
                async with asyncio.timeout(SOON):
                    await for_ever()
            except TimeoutError:
                await asyncio.sleep(3 * SOON)
        return "went on"

    async with connect_client(app, era=era, transport="http") as client:
        assert text_of(await client.call_tool("work")) == "went on"
