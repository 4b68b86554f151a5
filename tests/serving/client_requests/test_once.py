"""Side effects under `ctx.once`: once per call, in both eras, whatever else happens meanwhile."""

import asyncio
import logging
from typing import Any

import pytest
from mcp.types import ElicitResult

from enfilade import Context, ToolError, connect
from support.rounds import Call, server, text_of, value

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["stateless", "session"])
async def call_and_accept(request: pytest.FixtureRequest) -> Any:
    """Return a function that calls a tool and says yes to whatever it asks."""

    async def call_and_accept(app: Any, name: str, **arguments: Any) -> str:
        if request.param == "stateless":
            return text_of(await Call(app, name, arguments).answer_all(lambda *_: value(True)))

        async def yes(context: Any, params: Any) -> ElicitResult:
            return ElicitResult(action="accept", content={"value": True})

        async with connect(app, era="session", elicitation_callback=yes) as client:
            result = await client.call_tool(name, arguments)
            return str(result.content[0].text)

    return call_and_accept


async def test_it_happens_once_however_many_rounds_there_are(call_and_accept: Any) -> None:
    done: list[str] = []

    async def tool(ctx: Context) -> str:
        async def charge() -> dict[str, int]:
            await asyncio.sleep(0)
            done.append("charge")
            return {"receipt": len(done)}

        await ctx.elicit("Sure?", bool)
        receipt = await ctx.once("charge", charge)
        await ctx.elicit("Printed?", bool)
        receipt = await ctx.once("charge", charge)
        await ctx.elicit("Stapled?", bool)
        return str(receipt)

    assert await call_and_accept(server(tool), "tool") == "{'receipt': 1}"
    assert done == ["charge"]


async def test_a_plain_function_will_do(call_and_accept: Any) -> None:
    done: list[int] = []

    async def tool(ctx: Context) -> str:
        number = await ctx.once("n", lambda: done.append(1) or len(done))
        await ctx.elicit("Sure?", bool)
        return str(number)

    assert await call_and_accept(server(tool), "tool") == "1"


async def test_two_at_the_same_time_happen_once(call_and_accept: Any) -> None:
    done: list[str] = []

    async def tool(ctx: Context) -> str:
        async def charge() -> int:
            done.append("begun")
            await asyncio.sleep(0.01)
            return len(done)

        told = await asyncio.gather(*(ctx.once("charge", charge) for _ in range(3)), ctx.elicit("Sure?", bool))
        return str(told[:3])

    assert await call_and_accept(server(tool), "tool") == "[1, 1, 1]"
    assert done == ["begun"]


async def test_a_round_does_not_end_in_the_middle_of_it(call_and_accept: Any) -> None:
    """A question that is asked meanwhile waits: a charge that was begun is not taken for undone."""
    done: list[str] = []

    async def tool(ctx: Context) -> str:
        async def charge() -> str:
            done.append("begun")
            await asyncio.sleep(0.05)
            done.append("finished")
            return "charged"

        charged, _ = await asyncio.gather(ctx.once("charge", charge), ctx.elicit("Sure?", bool))
        return charged

    assert await call_and_accept(server(tool), "tool") == "charged"
    assert done == ["begun", "finished"]


async def test_what_failed_has_not_happened(call_and_accept: Any) -> None:
    done: list[str] = []

    async def tool(ctx: Context) -> str:
        async def charge() -> str:
            done.append("tried")
            if len(done) == 1:
                raise ConnectionError
            return "charged"

        try:
            await ctx.once("charge", charge)
        except ConnectionError:
            await ctx.elicit("Again?", bool)
        return str(await ctx.once("charge", charge))

    assert await call_and_accept(server(tool), "tool") == "charged"
    assert done == ["tried", "tried"]


async def test_each_tool_has_keys_of_its_own(call_and_accept: Any) -> None:
    """P8: a tool that is called twice by another does it twice, and each of them once."""
    done: list[int] = []

    async def pay(amount: int, ctx: Context) -> str:
        await ctx.once("charge", lambda: done.append(amount))
        await ctx.elicit("Printed?", bool)
        return str(amount)

    async def pay_all(ctx: Context) -> str:
        await ctx.once("charge", lambda: done.append(0))
        for amount in (5, 7, 5):
            await ctx.tools.call("pay", {"amount": amount})
        return "paid"

    assert await call_and_accept(server(pay, pay_all), "pay_all") == "paid"
    assert done == [0, 5, 7, 5]


async def test_it_cannot_ask(call_and_accept: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It would have to run again for the answer."""

    async def tool(ctx: Context) -> str:
        return str(await ctx.once("charge", lambda: ctx.elicit("Sure?", bool)))

    with caplog.at_level(logging.ERROR):
        assert "internal error" in await call_and_accept(server(tool), "tool")
    assert "ask before ctx.once" in caplog.text


async def test_it_cannot_run_itself(call_and_accept: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def tool(ctx: Context) -> str:
        async def charge() -> Any:
            return await ctx.once("charge", charge)

        return str(await ctx.once("charge", charge))

    with caplog.at_level(logging.ERROR):
        assert "internal error" in await call_and_accept(server(tool), "tool")
    assert "runs itself" in caplog.text


async def test_its_result_must_be_something_json_can_carry(call_and_accept: Any) -> None:
    async def tool(ctx: Context) -> str:
        try:
            await ctx.once("charge", object)
        except ToolError as error:
            return error.message
        return "fine"

    expected = 'What ctx.once got for "charge" cannot be sent: JSON cannot hold an object of type object'
    assert expected in await call_and_accept(server(tool), "tool")
