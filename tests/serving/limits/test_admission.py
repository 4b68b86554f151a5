"""Calls within limits in one worker: for whom they count, what callers read, chains, and cancelled calls."""

import asyncio
from typing import Any

import pytest

from enfilade import Context, MCPApp, ToolError, connect
from enfilade.auth import Principal
from enfilade.state.limits.claims import limits_of
from enfilade.state.limits.memory_limits import MemoryLimits
from enfilade.state.memory import MemoryKeys
from support.http_client.asgi_calls import AsgiClient
from support.servers.calls_in_process import result, text
from support.waiting import until

pytestmark = pytest.mark.anyio

RETRY = "enfilade/retryAfterMs"


async def test_a_refusal_says_how_long_to_wait() -> None:
    app = MCPApp()

    @app.tool(rate_limit="2/hour", on_limit="refuse")
    async def work() -> str:
        return "done"

    assert [text(await result(app, "work")) for _ in range(2)] == ["done"] * 2
    refused = await result(app, "work")
    assert refused["isError"] is True
    assert text(refused) == (
        "Tool 'work' takes 2 calls an hour, and has no room for this one now; try again in 1800 seconds"
    )
    assert 1_790_000 < refused["_meta"][RETRY] <= 1_800_000


async def test_a_wait_that_would_be_too_long_is_refused_at_once() -> None:
    app = MCPApp()

    @app.tool(rate_limit="1/hour", max_wait=5)
    async def work() -> str:
        return "done"

    await result(app, "work")
    assert (await result(app, "work"))["_meta"][RETRY] > 3_000_000


async def test_calls_wait_for_their_turn() -> None:
    app = MCPApp()
    running: list[int] = []
    most: list[int] = []
    order: list[int] = []

    @app.tool(max_concurrency=2)
    async def work(number: int) -> str:
        running.append(number)
        order.append(number)
        most.append(len(running))
        await asyncio.sleep(0.002)
        running.remove(number)
        return "done"

    await asyncio.gather(*(result(app, "work", number=number) for number in range(20)))
    assert max(most) == 2
    assert order == list(range(20)), "they run in the order in which they came"


async def test_a_full_tool_refuses() -> None:
    app = MCPApp()
    gate = asyncio.Event()

    @app.tool(max_concurrency=1, on_limit="refuse")
    async def work() -> str:
        await gate.wait()
        return "done"

    first = asyncio.create_task(result(app, "work"))
    await asyncio.sleep(0)
    refused = await result(app, "work")
    assert "takes 1 call at the same time" in text(refused)
    assert refused["_meta"][RETRY] == 1000
    gate.set()
    assert text(await first) == "done"
    assert text(await result(app, "work")) == "done"


async def test_a_wait_for_a_slot_has_an_end() -> None:
    app = MCPApp()
    gate = asyncio.Event()

    @app.tool(max_concurrency=1, max_wait=0.02)
    async def work() -> str:
        await gate.wait()
        return "done"

    first = asyncio.create_task(result(app, "work"))
    await asyncio.sleep(0)
    assert "has no room" in text(await result(app, "work"))
    gate.set()
    await first
    assert _is_empty(app)


def _is_empty(app: MCPApp) -> bool:
    """Whether no slots are held, and nobody waits for any."""
    limits = limits_of(app.store)
    assert isinstance(limits, MemoryLimits)
    assert isinstance(limits.values, MemoryKeys)
    return not [key for key in limits.values._entries if key.startswith("limit_slots:")]


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_cancelled_call_leaves_no_slot_behind(waiting: bool) -> None:
    app = MCPApp()
    gate = asyncio.Event()

    @app.tool(max_concurrency=1)
    async def work() -> str:
        await gate.wait()
        return "done"

    first = asyncio.create_task(result(app, "work"))
    second = asyncio.create_task(result(app, "work"))
    await asyncio.sleep(0.01)
    (second if waiting else first).cancel()
    gate.set()
    await asyncio.wait((first, second))
    assert text((first if waiting else second).result()) == "done"
    assert _is_empty(app)


async def test_a_deadline_counts_the_wait_and_leaves_no_slot_behind() -> None:
    app = MCPApp(request_timeout=0.05)
    gate = asyncio.Event()

    @app.tool(max_concurrency=1)
    async def work(stubborn: bool) -> str:
        if stubborn:
            await asyncio.shield(gate.wait())
        return "done"

    client = AsgiClient(app)
    calls = [
        client.modern("tools/call", {"name": "work", "arguments": {"stubborn": stubborn}}, mcp_name="work")
        for stubborn in (True, False)
    ]
    replies = await asyncio.gather(*calls)
    assert any("took longer" in reply.messages[-1].get("error", {}).get("message", "") for reply in replies)
    gate.set()
    await until(lambda: _is_empty(app))


async def test_the_timeout_of_a_tool_begins_when_it_runs() -> None:
    app = MCPApp()
    gate = asyncio.Event()

    @app.tool(max_concurrency=1, timeout=0.2)
    async def work(wait: bool) -> str:
        if wait:
            await gate.wait()
        return "done"

    first, second = (asyncio.create_task(result(app, "work", wait=wait)) for wait in (True, False))
    assert "took longer" in text(await first)
    assert text(await second) == "done"


# -- chains ------------------------------------------------------------------------------------------------------


async def test_a_tool_that_calls_itself_counts_once() -> None:
    app = MCPApp()

    @app.tool(max_concurrency=1, rate_limit="2/hour", on_limit="refuse")
    async def countdown(number: int, ctx: Context) -> int:
        return number if number == 0 else await ctx.tools.call("countdown", {"number": number - 1})

    assert (await result(app, "countdown", number=10))["structuredContent"] == {"result": 0}
    assert (await result(app, "countdown", number=10))["structuredContent"] == {"result": 0}
    assert "2 calls an hour" in text(await result(app, "countdown", number=1))
    assert _is_empty(app)


async def test_tools_that_call_each_other_never_wait_for_each_other() -> None:
    app = MCPApp()
    both = asyncio.Barrier(2)

    @app.tool(max_concurrency=1)
    async def one(ctx: Context) -> str:
        return await _other(ctx, "two")

    @app.tool(max_concurrency=1)
    async def two(ctx: Context) -> str:
        return await _other(ctx, "one")

    async def _other(ctx: Context, name: str) -> str:
        await both.wait()  # until each holds its own slot, and afterwards until each was refused the other's
        try:
            return str(await ctx.tools.call(name))
        except ToolError as error:
            return f"refused {error.meta}"
        finally:
            await both.wait()

    found = await asyncio.gather(result(app, "one"), result(app, "two"))
    assert [text(each) for each in found] == [f"refused {{'{RETRY}': 1000}}"] * 2
    assert _is_empty(app)


async def test_a_call_below_another_counts_for_its_own_tool() -> None:
    app = MCPApp()

    @app.tool(rate_limit="1/hour", on_limit="refuse")
    async def inner() -> str:
        return "inner"

    @app.tool
    async def outer(ctx: Context) -> str:
        return str(await ctx.tools.call("inner"))

    assert text(await result(app, "outer")) == "inner"
    assert "1 call an hour" in text(await result(app, "outer"))


# -- the whole app -----------------------------------------------------------------------------------------------


def limited_app(**options: Any) -> MCPApp:
    app = MCPApp(on_limit="refuse", **options)

    @app.tool
    async def work() -> str:
        return "done"

    @app.tool(requires_secrets=["KEY"])
    async def secret() -> str:
        return "done"

    @app.tool
    async def chain(ctx: Context) -> str:
        return str(await ctx.tools.call("work")) + str(await ctx.tools.call("work"))

    @app.resource("a://b")
    async def page() -> str:
        return "page"

    return app


@pytest.mark.parametrize("tool", ["work", "secret", "chain"])
async def test_a_request_beyond_the_limit_of_the_app_is_429(tool: str) -> None:
    app = limited_app(rate_limit="1/hour", secrets={"KEY": "a secret of the server"})
    client = AsgiClient(app)
    call = {"name": tool, "arguments": {}}
    assert (await client.modern("tools/call", call)).status == 200
    for method, params in (("tools/call", call), ("resources/read", {"uri": "a://b"})):
        refused = await client.modern(method, params)
        assert refused.status == 429
        assert 3500 < int(refused.header("retry-after") or "") <= 3600
        assert refused.messages[0]["error"]["data"][RETRY] > 3_500_000
        assert "This server takes 1 call an hour" in refused.messages[0]["error"]["message"]
    assert (await client.modern("tools/list")).status == 200


async def test_without_http_it_is_an_error_of_the_tool() -> None:
    async with connect(limited_app(max_concurrency=1, rate_limit="1/hour")) as client:
        await client.call_tool("work")
        refused = await client.call_tool("work")
        assert refused.is_error
        assert "This server takes 1 call an hour" in refused.content[0].text


async def test_limits_of_a_tool_and_of_the_app_count_both() -> None:
    app = MCPApp(rate_limit="3/hour", on_limit="refuse")

    @app.tool(rate_limit="1/hour", on_limit="refuse")
    async def one() -> str:
        return "done"

    @app.tool
    async def other() -> str:
        return "done"

    client = AsgiClient(app)
    assert text(await result(app, "one")) == "done"
    assert "Tool 'one'" in text(await result(app, "one")), "which takes no share of the app's"
    assert [text(await result(app, "other")) for _ in range(2)] == ["done"] * 2
    assert (await client.modern("tools/call", {"name": "other", "arguments": {}})).status == 429


# -- for whom ----------------------------------------------------------------------------------------------------


async def call_of(app: MCPApp, principal: Principal | None, name: str = "work", **options: Any) -> bool:
    """Whether a new client's call is admitted."""
    async with connect(app, principal=principal, **options) as client:
        return await _is_admitted(client, name)


async def _is_admitted(client: Any, name: str = "work") -> bool:
    return not (await client.call_tool(name)).is_error


async def test_each_principal_has_a_limit() -> None:
    app = MCPApp()

    @app.tool(rate_limit="1/hour", limit_per="principal", on_limit="refuse")
    async def work() -> str:
        return "done"

    for principal in (Principal("ada"), Principal("bob"), Principal("ada", issuer="https://idp.example"), None):
        assert await call_of(app, principal)
        assert not await call_of(app, principal)


async def test_each_session_has_a_limit() -> None:
    app = MCPApp()

    @app.tool(rate_limit="1/hour", limit_per="session", on_limit="refuse")
    async def work() -> str:
        return "done"

    for era in ("session", "session"):
        async with connect(app, era=era) as client:
            assert await _is_admitted(client)
            assert not await _is_admitted(client)
    assert await call_of(app, None, era="stateless")
    assert not await call_of(app, None, era="stateless"), "without sessions, callers that nobody knows are one"


async def test_each_client_has_a_limit() -> None:
    app = MCPApp()

    @app.tool(rate_limit="1/hour", limit_per="client", on_limit="refuse")
    async def work() -> str:
        return "done"

    for client_id in ("one", "two"):
        assert await call_of(app, Principal("ada", client_id=client_id))
        assert not await call_of(app, Principal("bob", client_id=client_id))
